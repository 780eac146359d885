"""
Tests of L{meshproxy.codec.http2.paths}. That a codec which takes heads this way tells the same as one that does not,
whatever comes, is a matter of L{tests.codec.http2.test_shapes}.
"""

from __future__ import annotations

from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import paths
from meshproxy.codec.http2.huffman import huffmanDecode, huffmanEncode
from meshproxy.codec.http2.paths import LONGEST_LITERAL, PathShape, RecentPaths
from meshproxy.headers import RequestHeaders


def literal(value: bytes) -> bytes:
    """
    A string as it is.
    """
    return bytes((len(value),)) + value


def coded(value: bytes) -> bytes:
    """
    A Huffman-coded string.
    """
    data = huffmanEncode(value)
    return bytes((0x80 | len(data),)) + data


class RecentPathsTests(SynchronousTestCase):
    """
    L{RecentPaths}.
    """

    def test_decodedOnce(self) -> None:
        """
        What came lately is not decoded again.
        """
        known = RecentPaths()
        with patch.object(paths, "huffmanDecode", side_effect=huffmanDecode) as decode:
            for _ in range(3):
                for number in range(100):
                    self.assertEqual(known[coded(b"/items/%d" % number)], b"/items/%d" % number)
                    self.assertEqual(known[literal(b"/items/%d" % number)], b"/items/%d" % number)
        self.assertEqual(decode.call_count, 100)

    def test_bounded(self) -> None:
        """
        However many come, no more than twice the number is kept, and what comes again and again is among them.
        """
        known = RecentPaths(50)
        known[coded(b"/often")]
        with patch.object(paths, "huffmanDecode", side_effect=huffmanDecode) as decode:
            for number in range(1000):
                self.assertEqual(known[coded(b"/%d" % number)], b"/%d" % number)
                self.assertEqual(known[coded(b"/often")], b"/often")
                self.assertLessEqual(len(known) + len(known._before), 100)
        self.assertEqual(decode.call_count, 1000)

    def test_noPath(self) -> None:
        """
        What is no literal, no Huffman code, no path or no usual one is nothing, each time anew, and takes no room.
        """
        known = RecentPaths()
        for wrong in (
            b"",
            b"\x00",
            b"\x80",
            b"\x02/",
            b"\x01/a",
            b"\x84\xff\xff\xff\xff",
            b"\x82\x00\x00",
            literal(b"*"),
            literal(b"a/b"),
            literal(b"/a b"),
            literal(b"/a\x00"),
            literal(b"/\r\n"),
            coded(b"a"),
            coded(b"/ "),
            b"\x7f/" + b"a" * 126,
            b"\x7e/" + b"a" * 124,
            b"\x7f\x00/" + b"a" * 126,
        ):
            for _ in range(2):
                self.assertEqual(known[wrong], b"", wrong)
        self.assertFalse(known)
        longest = b"/" + b"a" * (LONGEST_LITERAL - 2)
        self.assertEqual(known[literal(longest)], longest)


class PathShapeTests(SynchronousTestCase):
    """
    L{PathShape}.
    """

    like = RequestHeaders(b"GET", b"/first", b"test", [(b"accept", b"*/*")], b"https")

    def test_taken(self) -> None:
        """
        The head is as the one that it is like but for the path, and its own to change.
        """
        shape = PathShape(self.like, b"\x82\x04", b"\xbe", 100)
        head = shape.take(b"\x82\x04" + coded(b"/second") + b"\xbe")
        self.assertEqual(head, RequestHeaders(b"GET", b"/second", b"test", [(b"accept", b"*/*")], b"https"))
        assert head is not None
        head.first[b"accept"] = b"nothing"
        again = shape.take(b"\x82\x04" + literal(b"/third") + b"\xbe")
        self.assertEqual(again, RequestHeaders(b"GET", b"/third", b"test", [(b"accept", b"*/*")], b"https"))

    def test_nothingBehind(self) -> None:
        """
        The path may be the last field.
        """
        head = PathShape(self.like, b"\x82\x04", b"", 100).take(b"\x82\x04" + literal(b"/second"))
        assert head is not None
        self.assertEqual(head.path, b"/second")

    def test_others(self) -> None:
        """
        Sections with something else around the path, or within, are left alone.
        """
        shape = PathShape(self.like, b"\x82\x04", b"\x04\xbe", 20)
        usual = b"\x82\x04" + literal(b"/second") + b"\x04\xbe"
        self.assertIsNotNone(shape.take(usual))
        for other in (
            b"",
            b"\x82\x04\xbe",
            b"\x82\x04\x04\xbe",
            usual[1:],
            usual[:-1],
            b"\x83" + usual[1:],
            usual[:-1] + b"\xbf",
            b"\x82\x04" + literal(b"/second") + b"\x04\x01a\x04\xbe",
            b"\x82\x04" + literal(b"/a b") + b"\x04\xbe",
            b"\x82\x04" + literal(b"/" + b"a" * 20) + b"\x04\xbe",
            b"\x82\x04" + literal(b"/a")[:-1] + b"\x04\xbe",
            b"\x82\x04\x7f\x01/" + b"a" * 127 + b"\x04\xbe",
            b"\x82\x04" + b"a" * 10000 + b"\x04\xbe",
        ):
            self.assertIsNone(shape.take(other), other)
