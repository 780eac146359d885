# -*- test-case-name: tests.routing.test_path -*-
"""
Tests for L{meshproxy.routing.path}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.path import EscapedSlashes, NormalizedPath, PathVerdict, compilePathNormalization
from tests.routing.path_vectors import VECTORS

SETTINGS = {
    "normalize": compilePathNormalization(normalizePath=True),
    "merge": compilePathNormalization(mergeSlashes=True),
    "normalize_merge": compilePathNormalization(normalizePath=True, mergeSlashes=True),
    "reject": compilePathNormalization(escapedSlashes=EscapedSlashes.REJECT_REQUEST),
    "redirect": compilePathNormalization(True, True, EscapedSlashes.UNESCAPE_AND_REDIRECT),
    "forward": compilePathNormalization(True, True, EscapedSlashes.UNESCAPE_AND_FORWARD),
    "forward_only": compilePathNormalization(escapedSlashes=EscapedSlashes.UNESCAPE_AND_FORWARD),
    "redirect_only": compilePathNormalization(escapedSlashes=EscapedSlashes.UNESCAPE_AND_REDIRECT),
}


def told(outcome: NormalizedPath) -> str:
    """
    An outcome in the words of the table.
    """
    if isinstance(outcome, bytes):
        return outcome.decode("ascii")
    if isinstance(outcome, tuple):
        return "->" + outcome[1].decode("ascii")
    return {PathVerdict.REJECT: "400"}[outcome]


class PathNormalizationTests(SynchronousTestCase):
    """
    L{compilePathNormalization} gives what Envoy gives.
    """

    def test_asEnvoy(self) -> None:
        """
        Every path of the recorded table, through every setting, ends as in Envoy.
        """
        for path, outcomes in VECTORS:
            expected = {name: outcome for outcome, names in outcomes.items() for name in names.split()}
            for name, normalize in SETTINGS.items():
                assert normalize is not None
                self.assertEqual(told(normalize(path.encode("ascii"))), expected.get(name, path), f"{path} with {name}")

    def test_nothingAsked(self) -> None:
        """
        Settings that ask for nothing compile to nothing, so that the caller skips the call.
        """
        self.assertIsNone(compilePathNormalization())

    def test_cleanPathIsTheSameObject(self) -> None:
        """
        A path with nothing to do is handed back as it is, whatever its query holds.
        """
        normalize = SETTINGS["redirect"]
        assert normalize is not None
        for path in (b"/a/b.html", b"/api/v1/users?x=/../%2f//", b"/a/b/c~d_e-f;v=1"):
            self.assertIs(normalize(path), path)

    def test_idempotent(self) -> None:
        """
        What was normalized stays, but for the parameters that an escaped dot segment uncovers, as in Envoy.
        """
        normalize = SETTINGS["normalize_merge"]
        assert normalize is not None
        for path, _ in VECTORS:
            once = normalize(path.encode("ascii"))
            if isinstance(once, bytes) and b".;" not in once:
                self.assertEqual(normalize(once), once)

    def test_bytesOutsideASCII(self) -> None:
        """
        Bytes that no codec should let through are escaped, not kept.
        """
        normalize = SETTINGS["normalize"]
        assert normalize is not None
        self.assertEqual(normalize(b"/a\xc3\xa9 \x01"), b"/a%C3%A9%20%01")

    def test_hostilePathIsLinear(self) -> None:
        """
        A head full of dots, slashes and escapes is worked through once: neither quadratic nor recursive.
        """
        normalize = SETTINGS["forward"]
        assert normalize is not None
        for piece in (b"/..;x", b"/%2e%2e", b"%2f", b"/a", b"/.", b"%", b"/a/..", b"//"):
            path = b"/" + piece * (60_000 // len(piece))
            self.assertIsInstance(normalize(path), bytes)
