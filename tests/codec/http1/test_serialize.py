"""
L{meshproxy.codec.http1.serialize}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1.serialize import (
    STATUS_LINES,
    HeadTemplates,
    chunk,
    encodeHead,
    isOneLine,
    lastChunk,
    properCase,
    without,
)
from meshproxy.errors import LocalProtocolError
from meshproxy.headers import HeaderMap


class HeadTemplatesTests(SynchronousTestCase):
    """
    L{HeadTemplates} are what L{encodeHead} writes, for heads without a name twice.
    """

    def test_same(self) -> None:
        """
        Any names, percent signs among them, and any values.
        """
        templates = HeadTemplates(b"S %b\r\n")
        for pairs in ([], [(b"a", b"1")], [(b"a%b", b"%d"), (b"%", b""), (b"c", b"d: e")], [(b"%%b", b"\xff")]):
            headers = HeaderMap(pairs)
            head = templates[tuple(headers.first)] % (b"x", *headers.first.values())
            self.assertEqual(head, encodeHead(b"S x\r\n", 1, headers) + b"\r\n")

    def test_judged(self) -> None:
        """
        Names are judged here, values by who fills them in: neither may have what ends a line.
        """
        templates = HeadTemplates(b"")
        for bad in (b"a\rb", b"\n", b"\0a", b"a: b\r\nc"):
            self.assertRaises(LocalProtocolError, templates.__getitem__, (b"a", bad))
            self.assertFalse(isOneLine([b"fine", bad]))
        self.assertTrue(isOneLine([b"a", b"", b"b: \t\xff"]))
        self.assertEqual(len(templates), 0)

    def test_bounded(self) -> None:
        """
        Ever new names, and long ones, do not stay.
        """
        templates = HeadTemplates(b"", 10)
        for number in range(100):
            self.assertEqual(templates[(b"n%d" % number,)], b"n%d: %%b\r\n\r\n" % number)
        self.assertLessEqual(len(templates), 10)
        long = (b"x" * 5000,)
        self.assertEqual(len(templates[long] % b"y"), 5000 + 7)
        self.assertNotIn(long, templates)


class HeadTests(SynchronousTestCase):
    """
    L{encodeHead} writes lines.
    """

    def test_fields(self) -> None:
        """
        In the order of the map, further values after the first one.
        """
        self.assertEqual(encodeHead(b"S\r\n", 1, HeaderMap([(b"a", b"1"), (b"b", b"")])), b"S\r\na: 1\r\nb: \r\n")
        several = HeaderMap([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
        self.assertEqual(encodeHead(b"S\r\n", 1, several), b"S\r\na: 1\r\na: 3\r\nb: 2\r\n")
        self.assertEqual(encodeHead(b"S\r\n", 1, HeaderMap()), b"S\r\n")

    def test_injection(self) -> None:
        """
        CR, LF and NUL are refused wherever they stand.
        """
        for bad in (b"\r", b"\n", b"\0", b"\r\n", b"x\r\ny: z"):
            for pairs in ([(b"a", bad)], [(bad, b"a")], [(b"a", b"1"), (b"a", bad)]):
                self.assertRaises(LocalProtocolError, encodeHead, b"S\r\n", 1, HeaderMap(pairs))
            self.assertRaises(LocalProtocolError, encodeHead, b"S %b\r\n" % bad, 1, HeaderMap([(b"a", b"b")]))
            self.assertRaises(LocalProtocolError, encodeHead, b"S %b\r\n" % bad, 1, HeaderMap())

    def test_framing(self) -> None:
        """
        C{transfer-encoding} is not the map's to say.
        """
        headers = HeaderMap([(b"transfer-encoding", b"chunked"), (b"a", b"b"), (b"transfer-encoding", b"gzip")])
        self.assertEqual(encodeHead(b"", 0, headers), b"a: b\r\n")
        self.assertIn(b"transfer-encoding", headers)

    def test_without(self) -> None:
        """
        The map itself stays as it is.
        """
        headers = HeaderMap([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
        self.assertEqual(list(without(headers, b"a").fields()), [(b"b", b"2")])
        self.assertEqual(len(headers), 3)

    def test_statusLines(self) -> None:
        """
        Envoy's reason phrases; no status that has not three digits.
        """
        self.assertEqual(STATUS_LINES[False][404], b"HTTP/1.1 404 Not Found\r\n")
        self.assertEqual(STATUS_LINES[True][299], b"HTTP/1.0 299 Unknown\r\n")
        for status in (99, 1000, -1):
            self.assertRaises(LocalProtocolError, STATUS_LINES[False].__getitem__, status)

    def test_properCase(self) -> None:
        """
        Names get capitals, the start line and values stay.
        """
        head = b"GET /a:b HTTP/1.1\r\nx-a_b-3d: c-d: e\r\nhost: y\r\n\r\n"
        self.assertEqual(properCase(head), b"GET /a:b HTTP/1.1\r\nX-A_B-3d: c-d: e\r\nHost: y\r\n\r\n")


class ChunkTests(SynchronousTestCase):
    """
    Chunks.
    """

    def test_chunk(self) -> None:
        """
        The size in hexadecimal digits; no data is no chunk, since an empty one is the last.
        """
        self.assertEqual(chunk(b"x" * 26), b"1a\r\n" + b"x" * 26 + b"\r\n")
        self.assertEqual(chunk(b""), b"")

    def test_last(self) -> None:
        """
        With and without trailers.
        """
        self.assertEqual(lastChunk(), b"0\r\n\r\n")
        self.assertEqual(lastChunk(HeaderMap()), b"0\r\n\r\n")
        self.assertEqual(lastChunk(HeaderMap([(b"a", b"b")])), b"0\r\na: b\r\n\r\n")
        self.assertRaises(LocalProtocolError, lastChunk, HeaderMap([(b"a", b"b\r\n\r\nGET")]))
