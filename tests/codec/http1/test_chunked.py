"""
L{meshproxy.codec.http1.chunked}, through the codec that uses it.
"""

from __future__ import annotations

from meshproxy.codec.http1 import DownstreamCodec
from meshproxy.errors import RemoteProtocolError
from tests.codec.http1.helpers import CodecTestCase, RecordingSink, downstream

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def begun(**options: object) -> tuple[DownstreamCodec, RecordingSink]:
    """
    A codec that has read the head of a chunked request.
    """
    codec, sink = downstream(**options)
    codec.receiveData(HEAD)
    sink.transcript.clear()
    sink.calls = 0
    return codec, sink


class ChunkedTests(CodecTestCase):
    """
    Chunked bodies.
    """

    def test_bodies(self) -> None:
        """
        Every legal form of a body, in every split.
        """
        for body, expected in (
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"0\r\n\r\n", b""),
            (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
            (b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
            (b'3;a\r\nabc\r\n1 ; b = "\\"x" ;c=d\r\nd\r\n0;e\r\n\r\n', b"abcd"),
            (b"3\r\n\r\n0\r\n0\r\n\r\n", b"\r\n0"),
            (b"3\r\nabc\r\n0\r\nT: x\r\nU: y\r\n\r\n", b"abc"),
        ):
            self.assertEverySplit(begun, body, [("data", expected, True)])

    def test_refused(self) -> None:
        """
        Whatever else stands where a size or the end of a chunk has to.
        """
        for body in (
            b" 3\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b"0x3\r\nabc",
            b"+3\r\nabc",
            b"-3\r\nabc",
            b"3,3\r\nabc",
            b"g\r\nabc",
            b"3g\r\nabc",
            b"\r\n3\r\nabc",
            b"3\nabc",
            b"3\r\r\nabc",
            b"3;a\nb\r\nabc",
            b"3;a\rb\r\nabc",
            b"3;\r\nabc",
            b'3;a="b\r\nabc',
            b"3 a\r\nabc",
            b"f" * 16 + b"\r\nabc",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc\r0\r\n",
            b"3\r\nabc\r\n0\n\r\n",
            b"3\r\nabc\r\n0\r\n\n",
        ):
            self.assertRefused(begun, body)
        for body in (b"3;a\0b\r\nabc", b"3\r\nabc\r\n0\r\nA: b\0\r\n\r\n"):
            self.assertRefused(begun, body, 400, "http1.invalid_characters")

    def test_dataBeforeError(self) -> None:
        """
        What was decoded before the fault is told before it.
        """
        codec, sink = begun()
        self.assertRaises(RemoteProtocolError, codec.receiveData, b"3\r\nabc\r\nx\r\n")
        self.assertEqual(sink.transcript, [("data", b"abc", False)])

    def test_oneCallForEachRead(self) -> None:
        """
        A thousand tiny chunks in one read are one piece of data (CVE-2020-8659).
        """
        codec, sink = begun()
        codec.receiveData(b"1\r\nx\r\n" * 1000)
        self.assertEqual((sink.calls, sink.transcript), (1, [("data", b"x" * 1000, False)]))
        codec.receiveData(b"1\r\ny\r\n" * 10 + b"0\r\n\r\n")
        self.assertEqual((sink.calls, sink.transcript), (2, [("data", b"x" * 1000 + b"y" * 10, True)]))

    def test_extensionLimit(self) -> None:
        """
        Extensions have a limit: of one line, whether it ends or not, and of all together.
        """
        codec, _ = begun(maxChunkExtensionBytes=10)
        codec.receiveData(b"1;a=bcdefg\r\nx\r\n")
        for body in (b"1;a=bcdefghi\r\n", b"1;" + b"a" * 100, b"1;abcd\r\nx\r\n1;abcdef\r\n"):
            self.assertRefused(lambda: begun(maxChunkExtensionBytes=10), body)

    def test_pipelined(self) -> None:
        """
        What follows the body is not the body's.
        """
        codec, sink = begun()
        codec.receiveData(b"1\r\nx\r\n0\r\n\r\nGET")
        self.assertEqual((sink.transcript, codec.bufferedBytes), ([("data", b"x", True)], 3))


class TrailerTests(CodecTestCase):
    """
    Trailers.
    """

    body = b"3\r\nabc\r\n0\r\nT: x\r\nU: \t y\r\nt: z\r\n\r\n"

    def test_dropped(self) -> None:
        """
        By default they end with the codec.
        """
        self.assertEverySplit(begun, self.body, [("data", b"abc", True)])

    def test_enabled(self) -> None:
        """
        C{enable_trailers} passes them on.
        """
        expected = [("data", b"abc", False), ("trailers", [(b"t", b"x"), (b"t", b"z"), (b"u", b"y")])]
        self.assertEverySplit(lambda: begun(enableTrailers=True), self.body, expected)

    def test_withoutData(self) -> None:
        """
        Trailers end a body that has no data.
        """
        self.assertEverySplit(lambda: begun(enableTrailers=True), b"0\r\na: b\r\n\r\n", [("trailers", [(b"a", b"b")])])

    def test_framingFields(self) -> None:
        """
        What only a head may say is left out (RFC 9110, 6.5.1).
        """
        body = b"0\r\nContent-Length: 3\r\na: b\r\nTransfer-Encoding: x\r\nHost: y\r\nConnection: a\r\n\r\n"
        self.assertEverySplit(lambda: begun(enableTrailers=True), body, [("trailers", [(b"a", b"b")])])

    def test_refused(self) -> None:
        """
        They are held to the rules of a head, passed on or not.
        """
        for line in (
            b"A : b",
            b"Ab",
            b": b",
            b"A: b\rc",
            b" A: b",
            b"A: b\r\n c",
            b"A b: c",
            b"A: b\nC: d",
            b"\xe4: b",
        ):
            body = b"0\r\n" + line + b"\r\n\r\n"
            self.assertRefused(begun, body)
            self.assertRefused(lambda: begun(enableTrailers=True), body)

    def test_limits(self) -> None:
        """
        Their bytes and their number are limited like those of a head.
        """
        limited = {"maxHeadBytes": 100, "maxHeaderCount": 3}
        fits = b"0\r\n" + b"a: b\r\n" * 3 + b"\r\n"
        self.assertEverySplit(lambda: begun(**limited), fits, [("data", b"", True)])
        for section, details in (
            (b"a: b\r\n" * 4, "http1.too_many_headers"),
            (b"a: " + b"b" * 100 + b"\r\n", "http1.headers_too_large"),
            (b"a: " + b"b" * 40 + b"\r\nc: " + b"d" * 60 + b"\r\n", "http1.headers_too_large"),
            (b"a" * 200, "http1.headers_too_large"),
        ):
            self.assertRefused(lambda: begun(**limited), b"0\r\n" + section, 431, details)
