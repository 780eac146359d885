"""
Tests for L{meshproxy.controlplane.api.call}.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.access import Principal
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.replies import Refused


def call(body: bytes = b"", query: dict[str, Sequence[str]] | None = None, **headers: str) -> Call:
    """
    A call with some of it.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Call("GET", ["a", "b"], query or {}, named, body, Principal("ann", frozenset()), "")


class CallTests(SynchronousTestCase):
    """
    L{Call} reads what handlers ask for, and refuses what is none of it.
    """

    def test_queries(self) -> None:
        """
        Parameters that stand once, flags and numbers.
        """
        asked = call(query={"a": ["1"], "yes": ["true"], "bare": [""], "no": ["FALSE"], "twice": ["1", "2"]})
        self.assertEqual((asked.path, asked.one("a"), asked.one("none", "x")), ("/a/b", "1", "x"))
        self.assertEqual([asked.flag(name) for name in ("a", "yes", "bare", "no", "none")], [True] * 3 + [False] * 2)
        self.assertEqual((asked.number("a", 5), asked.number("none", 5)), (1, 5))
        self.assertRaises(Refused, asked.one, "twice")
        for value in ("", "-1", "+1", "1_0", "x", "\u0661", "9" * 30, "11"):
            self.assertRaises(Refused, call(query={"n": [value]}).number, "n", 0, 10)
        self.assertRaises(Refused, call(query={"f": ["maybe"]}).flag, "f")

    def test_dryRun(self) -> None:
        """
        Kubernetes' way and the plain one.
        """
        values = [call(query={"dryRun": [value]}).dryRun for value in ("All", "true", "", "false")]
        self.assertEqual(values, [True, True, True, False])
        self.assertFalse(call().dryRun)

    def test_expected(self) -> None:
        """
        Entity tags are revisions in quotes.
        """
        self.assertEqual(call(if_match='"12"').expected, 12)
        self.assertEqual(call(if_match='W/"12"').expected, 12)
        self.assertEqual(call(if_none_match="*").expected, 0)
        self.assertIsNone(call(if_match="*").expected)
        self.assertIsNone(call().expected)
        for tag in ("12", '"x"', '"1", "2"', '"-1"'):
            self.assertRaises(Refused, lambda tag=tag: call(if_match=tag).expected)

    def test_types(self) -> None:
        """
        Media types without their parameters.
        """
        asked = call(content_type="Application/YAML; charset=utf-8", accept="text/html, application/json;q=0.9")
        self.assertEqual(asked.contentType, "application/yaml")
        self.assertEqual([asked.accepts("application/json"), asked.accepts("application/xml")], [True, False])

    def test_documents(self) -> None:
        """
        JSON, or YAML where it says so.
        """
        self.assertEqual(call(b'{"a": [1]}').document(), {"a": [1]})
        self.assertEqual(call(b"a: [1]", content_type="application/yaml").document(), {"a": [1]})
        for body in (b"a: [1]", b"\xff", b"", b"[" * 100_000, b'{"a": NaN}'):
            self.assertRaises(Refused, call(body).document)
