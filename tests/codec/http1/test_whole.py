"""
Whole responses that are not quite the usual one: in chunks, with several cookies, or without a body. They take a short
way through either codec, to what the long way makes of them.
"""

from __future__ import annotations

import random

from meshproxy.codec.http1 import DownstreamCodec, Http1Options
from meshproxy.codec.http1.chunked import wholeChunked
from meshproxy.codec.http1.states import ReadState, WriteState
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from tests.codec.http1.helpers import CodecTestCase, RecordingSink, splits, upstream

HEAD = b"HTTP/1.1 200 OK\r\nServer: s\r\n"
CODED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
COOKIES = HEAD + b"Set-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nset-cookie: c\r\nContent-Length: 4\r\n\r\nbody"

BODIES = [
    b"4\r\nbody\r\n0\r\n\r\n",
    b"004\r\nbody\r\n00\r\n\r\n",
    b"A\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n",
    b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
    b"".join(b"1\r\n%d\r\n" % (number % 10) for number in range(40)) + b"0\r\n\r\n",
    b"0\r\n\r\n",
    b"4;a=b\r\nbody\r\n0\r\n\r\n",
    b"4\r\nbody\r\n0\r\nt: u\r\n\r\n",
]
#: Nothing of these may pass for a whole one.
BROKEN = [
    b"4\r\nbody\r\n0\r\n",
    b"5\r\nbody\r\n0\r\n\r\n",
    b"3\r\nbody\r\n0\r\n\r\n",
    b"4\nbody\r\n0\r\n\r\n",
    b"4 \r\nbody\r\n0\r\n\r\n",
    b"-4\r\nbody\r\n0\r\n\r\n",
    b"0x4\r\nbody\r\n0\r\n\r\n",
    b"4\r\nbody0\r\n\r\n",
    b"4\r\nbody\r\n0\r\n\r\nx",
    b"4\r\nbody\r\n\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nbody\r\n0\r\n\r\n",
    b"fffffffffffffff\r\nbody\r\n0\r\n\r\n",
]


class ReadTests(CodecTestCase):
    """
    L{UpstreamCodec.takeWhole}.
    """

    def seen(self, pieces: list[bytes]) -> tuple[object, ...]:
        """
        What is told of a response, and what becomes of the connection.
        """
        codec, sink = upstream()
        error = ""
        try:
            for piece in pieces:
                codec.receiveData(piece)
        except RemoteProtocolError as raised:
            error = raised.why
        return sink.transcript, error, codec.readState, codec.keepAlive

    def test_chunked(self) -> None:
        """
        Chunked bodies, legal and not, whole and however they are cut.
        """
        for body in BODIES + BROKEN:
            wire = CODED + body
            # In two pieces, of which neither is whole.
            expected = self.seen([wire[:20], wire[20:]])
            if body in BODIES:
                for pieces in splits(wire):
                    self.assertEqual(self.seen(pieces), expected, (body, pieces))
            self.assertEqual(self.seen([wire]), expected, body)

    def test_taken(self) -> None:
        """
        Few chunks and nothing besides are taken at once; more are not.
        """
        for body in BODIES[:4]:
            codec, sink = upstream()
            self.assertIsNotNone(codec.takeWhole(CODED + body), body)
            self.assertEqual(sink.transcript, [])
        for body in BODIES[4:] + BROKEN:
            codec, _ = upstream()
            self.assertIsNone(codec.takeWhole(CODED + body), body)
            self.assertIsNone(wholeChunked(body, 0), body)
        both = CODED.replace(b"Transfer", b"Content-Length: 4\r\nTransfer")
        for head in (both, CODED.replace(b"chunked", b"gzip, chunked"), CODED.replace(b"200 OK", b"204 No Content")):
            codec, _ = upstream()
            self.assertIsNone(codec.takeWhole(head + BODIES[0]), head)
        codec, _ = upstream(b"HEAD")
        self.assertIsNone(codec.takeWhole(CODED + BODIES[0]))

    def test_random(self) -> None:
        """
        Whatever changes in a byte or two, the short way takes nothing that the long one would not, and as it does.
        """
        draw = random.Random(5)
        taken = 0
        for _ in range(4000):
            wire = bytearray(CODED + draw.choice(BODIES[:4]))
            for _ in range(draw.randint(0, 2)):
                wire[draw.randrange(len(HEAD), len(wire))] = draw.choice(b"\r\n0148aF;: \0x")
            data = bytes(wire)
            self.assertEqual(self.seen([data]), self.seen([data[:20], data[20:]]), data)
            taken += upstream()[0].takeWhole(data) is not None
        self.assertGreater(taken, 1000)

    def test_cookies(self) -> None:
        """
        Several cookies are as usual; other fields that come twice are not, and the short way is not for them.
        """
        expected = self.seen([COOKIES[:20], COOKIES[20:]])
        for pieces in splits(COOKIES):
            self.assertEqual(self.seen(pieces), expected, pieces)
        for wire, isTaken in (
            (COOKIES, True),
            (COOKIES.replace(b"X:", b"Server:"), False),
            (COOKIES.replace(b"X: y", b"Content-Length: 4"), False),
            (COOKIES.replace(b"X: y", b"Connection: close"), False),
        ):
            codec, _ = upstream()
            self.assertEqual(codec.takeWhole(wire) is not None, isTaken, wire)
            self.assertEqual(self.seen([wire]), self.seen([wire[:20], wire[20:]]), wire)


class BodilessTests(CodecTestCase):
    """
    L{UpstreamCodec.takeWhole} of responses that end with their heads.
    """

    HEADS = (
        b"HTTP/1.1 204 No Content\r\nServer: s\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nServer: s\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nServer: s\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: 0\r\n\r\n",
        HEAD + b"content-length: 0\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        HEAD + b"Content-Length: 4\r\n\r\n",
        HEAD + b"X-Content-Length: 0\r\n\r\n",
        HEAD + b"X-Content-Length: 0\r\nContent-Length: 7\r\n\r\n",
        CODED,
    )

    def seen(self, method: bytes, pieces: list[bytes], again: bool = False) -> tuple[object, ...]:
        """
        What is told of the response to a request of a method, and what becomes of the connection.

        @param again: Whether it was told the same before, so that it is remembered.
        """
        codec, sink = upstream(method)
        if again:
            codec.receiveData(b"".join(pieces))
            sink.transcript.clear()
            if not codec.keepAlive or codec.readState is not ReadState.WAITING:
                return ("not again",)
            codec.encodeHeaders(RequestHeaders(method, b"/", b"a"), True)
        error = ""
        try:
            for piece in pieces:
                codec.receiveData(piece)
        except RemoteProtocolError as raised:
            error = raised.why
        return sink.transcript, error, codec.readState, codec.keepAlive

    def test_agrees(self) -> None:
        """
        However they are cut, and whatever was answered before.
        """
        for method in (b"GET", b"HEAD", b"POST"):
            for wire in self.HEADS:
                expected = self.seen(method, [wire[:20], wire[20:]])
                for pieces in splits(wire):
                    self.assertEqual(self.seen(method, pieces), expected, (method, pieces))
                if expected[2] is ReadState.WAITING:
                    self.assertEqual(self.seen(method, [wire], True), expected, (method, wire))

    def test_taken(self) -> None:
        """
        Which of them are taken at once.
        """
        for method, taken in ((b"GET", [0, 1, 2, 4, 5]), (b"HEAD", [0, 1, 2, 4, 5, 6, 7, 8])):
            for number, wire in enumerate(self.HEADS):
                codec, _ = upstream(method)
                whole = codec.takeWhole(wire)
                self.assertEqual(whole is not None, number in taken, (method, wire))
                self.assertEqual(b"" if whole is None else whole[1], b"")

    def test_remembered(self) -> None:
        """
        The head of an answer to a HEAD is not taken for a whole answer to a GET.
        """
        codec, sink = upstream(b"HEAD")
        wire = HEAD + b"Content-Length: 4\r\n\r\n"
        for _ in range(2):
            self.assertIsNotNone(codec.takeWhole(wire))
            codec.encodeHeaders(RequestHeaders(b"GET", b"/", b"a"), True)
            self.assertIsNone(codec.takeWhole(wire))
            codec.receiveParts(wire + b"body")
            codec.encodeHeaders(RequestHeaders(b"HEAD", b"/", b"a"), True)
        self.assertEqual([event[0] for event in sink.transcript].count("data"), 2)

    def test_random(self) -> None:
        """
        Whatever changes in a byte or two, the short way takes nothing that the long one would not, and as it does.
        """
        draw = random.Random(9)
        taken = 0
        for _ in range(6000):
            wire = bytearray(draw.choice(self.HEADS))
            for _ in range(draw.randint(0, 2)):
                wire[draw.randrange(9, len(wire))] = draw.choice(b"\r\n01234:; \0cC")
            data, method = bytes(wire), draw.choice((b"GET", b"HEAD"))
            self.assertEqual(self.seen(method, [data]), self.seen(method, [data[:8], data[8:]]), data)
            taken += upstream(method)[0].takeWhole(data) is not None
        self.assertGreater(taken, 1000)


class WriteTests(CodecTestCase):
    """
    L{DownstreamCodec.encodeResponse}.
    """

    def codec(self, request: bytes, **options: object) -> DownstreamCodec:
        """
        One that owes a response.
        """
        codec = DownstreamCodec(RecordingSink(), Http1Options(**options))  # type: ignore[arg-type]
        codec.receiveData(request)
        return codec

    def test_agrees(self) -> None:
        """
        What is written is what the long way writes, and the codec is where it would be.
        """
        cookies = [(b"a", b"1"), (b"set-cookie", b"x"), (b"b", b"2"), (b"set-cookie", b"y"), (b"set-cookie", b"z")]
        heads: list[list[tuple[bytes, bytes]]] = [
            [(b"a", b"1")],
            [(b"a", b"1"), (b"content-length", b"4")],
            [(b"a", b"1"), (b"content-length", b"5")],
            [(b"a", b"1"), (b"connection", b"close")],
            [(b"a", b"1"), (b"transfer-encoding", b"chunked")],
            [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")],
            [(b"a%b", b"1%b"), (b"b", b"%x")],
            cookies,
            [*cookies, (b"content-length", b"4")],
            [(b"set-cookie", b"a"), (b"set-cookie", b"b\r\nc: d")],
            [(b"set-cookie", b"a\n"), (b"set-cookie", b"b")],
            [(b"a", b"1\0")],
            [(b"a\n", b"1")],
            [(b"a\r", b"1"), (b"content-length", b"4")],
            [(b"a", b"1"), (b"content-length", b"0")],
            [(b"a\r", b"1"), (b"content-length", b"0")],
            [(b"a", b"1\n"), (b"content-length", b"0")],
            [],
        ]
        get, old = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"
        for request in (
            get,
            old,
            get.replace(b"GET", b"HEAD"),
            get.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        ):
            for status in (200, 404, 204, 304, 999, 199):
                for pairs in heads:
                    for body in (b"body", b""):
                        for options in ({}, {"properCase": True}):
                            told: list[tuple[object, ...]] = []
                            for isWhole in (True, False):
                                codec = self.codec(request, acceptHTTP10=True, **options)
                                headers = ResponseHeaders(status, pairs)
                                try:
                                    if isWhole:
                                        wire = codec.encodeResponse(headers, body)
                                    elif body:
                                        wire = codec.encodeHeaders(headers, False) + codec.encodeData(body, True)
                                    else:
                                        wire = codec.encodeHeaders(headers, True)
                                    told.append((wire, codec.keepAlive, codec.readState, codec.writeState))
                                except LocalProtocolError as error:
                                    # The response was not given.
                                    self.assertIsNot(codec.writeState, WriteState.IDLE)
                                    told.append((str(error),))
                            self.assertEqual(told[0], told[1], (request, status, pairs, body, options))

    def test_short(self) -> None:
        """
        One chunk, one write.
        """
        codec = self.codec(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        wire = codec.encodeResponse(ResponseHeaders(200, [(b"a", b"1")]), b"0123456789")
        self.assertEqual(
            wire, b"HTTP/1.1 200 OK\r\na: 1\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"
        )
