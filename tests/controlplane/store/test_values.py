"""
Tests for L{meshproxy.controlplane.store.values}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.store.values import Key, decode, encode


class ValueTests(SynchronousTestCase):
    """
    Documents as text, keys as words.
    """

    def test_roundTrip(self) -> None:
        """
        Text is a document again.
        """
        document: dict[str, object] = {"a": [1, 2.5, None, True, {"b": "ä\0\u2028"}], "": ""}
        self.assertEqual(decode(encode(document)), document)

    def test_deep(self) -> None:
        """
        A document that nests without end is refused, and not a crash.
        """
        deep: dict[str, object] = {}
        for _ in range(200_000):
            deep = {"d": deep}
        self.assertRaises(ValueError, encode, deep)
        # Taken apart by hand: the interpreter's own way to free it recurses.
        while deep:
            deep = deep.pop("d")  # type: ignore[assignment]  # only dictionaries in it

    def test_words(self) -> None:
        """
        A key is told as paths are.
        """
        self.assertEqual(str(Key("networking.istio.io/gateways", "a", "b")), "networking.istio.io/gateways/a/b")
        self.assertEqual(str(Key("/namespaces", "", "b")), "namespaces/b")
