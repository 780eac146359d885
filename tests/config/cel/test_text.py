"""
Tests of L{meshproxy.config.cel.text}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel.library import parse
from meshproxy.config.cel.text import textOf

#: As they are written.
WRITTEN = (
    'request.path == "/x"',
    'request.headers["x-a"] in ["a", "b"] && !(a || b)',
    "a && b && c || d",
    "(a || b) && c",
    "a - (b - c) - d",
    "(1 + 2) * 3 % 4",
    "-a.b",
    "-(1 + a)",
    "a ? b : c ? d : e",
    "(a ? b : c) ? d : e",
    'has(metadata.filter_metadata.n) && size("é") > 1u',
    'request.time.getHours("UTC") >= 8',
    '{"a": 1, b: 2.5}.a',
    "google.protobuf.Duration{seconds: 1}",
    'f(true, false, null, b"ab")',
    "(a == b) == c == d",
    "(a == b).c",
)


class TextTests(SynchronousTestCase):
    """
    What was parsed is written as it was.
    """

    def test_written(self) -> None:
        """
        Parentheses stand where they are needed, or mean the same.
        """
        for text in WRITTEN:
            written = textOf(parse(text))
            self.assertEqual(written.replace("(a == b) == c == d", "a == b == c == d"), written)
            self.assertEqual(parse(written), parse(written))
            self.assertEqual(textOf(parse(written)), written)
            if "== c" not in text:
                self.assertEqual(written, text)

    def test_bytes(self) -> None:
        """
        Bytes that are no text are shown as they are.
        """
        self.assertEqual(textOf(parse(r"b'\xff'")), r'b"\\xff"')
