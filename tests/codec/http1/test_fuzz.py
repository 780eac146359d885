"""
The codec under mutated bytes, and what one role writes read by the other.
"""

from __future__ import annotations

from random import Random

from meshproxy.codec.http1 import DownstreamCodec, Http1Options, UnderscoreAction, UpstreamCodec
from meshproxy.codec.http1.grammar import INTERN
from meshproxy.errors import ProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http1.helpers import CodecTestCase, RecordingSink

REQUESTS = [
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n",
    b"GET http://u@x:80/y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    b"CONNECT x:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nhello",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\na_b: c\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"=",
    b'"',
    b"0",
    b"-1",
    b"+1",
    b"f" * 20,
    b"9" * 20,
]
PIECES += [
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"\xff",
    b"#",
    b"@",
]
PIECES += [b"HTTP/1.1", b"0\r\n\r\n", b"chunked", b"http://"]


def mutated(random: Random, samples: list[bytes]) -> bytes:
    """
    Some samples behind each other, changed at some places.
    """
    wire = bytearray(b"".join(random.choice(samples) for _ in range(random.randint(1, 3))))
    for _ in range(random.randint(0, 4)):
        place = random.randrange(len(wire) + 1)
        change = random.randrange(4)
        if change == 0:
            wire[place:place] = random.choice(PIECES)
        elif change == 1:
            del wire[place : place + random.randint(1, 8)]
        elif change == 2 and place < len(wire):
            wire[place] = random.randrange(256)
        else:
            other = random.randrange(len(wire) + 1)
            wire[place:place] = wire[other : other + random.randint(1, 20)]
    return bytes(wire)


def pieces(random: Random, wire: bytes) -> list[bytes]:
    """
    A random split.
    """
    cuts = sorted(random.randrange(len(wire) + 1) for _ in range(random.randint(0, 6)))
    return [wire[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


class ServingSink(RecordingSink):
    """
    Answers every request that ends.
    """

    codec: DownstreamCodec

    def _tell(self, name: str) -> None:
        event = self.transcript[-1]
        if name == "trailers" or event[-1] is True:
            self.codec.encodeHeaders(ResponseHeaders(200), True)
            self.codec.resume()


def served(wirePieces: list[bytes]) -> tuple[list[object], str | None]:
    """
    What a server is told, and why it stopped.
    """
    sink = ServingSink()
    options = Http1Options(acceptHTTP10=True, enableTrailers=True, underscores=UnderscoreAction.DROP)
    codec = sink.codec = DownstreamCodec(sink, options)
    why = None
    try:
        for piece in wirePieces:
            codec.receiveData(piece)
        codec.receiveEOF()
    except ProtocolError as error:
        why = str(error)
    return list(sink.transcript), why


def fetched(method: bytes, upgrade: bool, wirePieces: list[bytes]) -> tuple[list[object], str | None]:
    """
    What a client is told, and why it stopped.
    """
    sink = RecordingSink()
    codec = UpstreamCodec(sink, Http1Options(enableTrailers=True))
    fields = [(b"connection", b"upgrade"), (b"upgrade", b"x")] if upgrade else []
    codec.encodeHeaders(RequestHeaders(method, b"/", b"a", fields), not upgrade and method != b"CONNECT")
    why = None
    try:
        for piece in wirePieces:
            codec.receiveData(piece)
        codec.receiveEOF()
    except ProtocolError as error:
        why = str(error)
    return list(sink.transcript), why


class FuzzTests(CodecTestCase):
    """
    Seeded, so that a failure can be had again.
    """

    def test_requests(self) -> None:
        """
        No mutation raises anything but a L{ProtocolError}, and no split changes what is told, error or not.
        """
        random = Random(9112)
        for _ in range(3000):
            wire = mutated(random, REQUESTS)
            whole = served([wire])
            self.assertEqual(served(pieces(random, wire)), whole, wire)

    def test_responses(self) -> None:
        """
        So with responses. What follows a response may come with it or later: that is an error only then.
        """
        random = Random(2119)
        for _ in range(3000):
            wire = mutated(random, RESPONSES)
            method, upgrade = random.choice([(b"GET", False), (b"HEAD", False), (b"CONNECT", False), (b"GET", True)])
            whole, _ = fetched(method, upgrade, [wire])
            cut, _ = fetched(method, upgrade, pieces(random, wire))
            self.assertEqual(cut, whole, wire)

    def test_singleBytes(self) -> None:
        """
        Byte by byte too.
        """
        random = Random(7230)
        for _ in range(300):
            wire = mutated(random, REQUESTS)
            self.assertEqual(served([wire[place : place + 1] for place in range(len(wire))]), served([wire]), wire)

    def test_tableStaysSmall(self) -> None:
        """
        The table of names survived all that.
        """
        self.assertLessEqual(len(INTERN), 1024)


class RoundTripTests(CodecTestCase):
    """
    What one role writes, the other reads.
    """

    def fields(self, random: Random) -> list[tuple[bytes, bytes]]:
        """
        Legal fields, some of them several times.
        """
        names = [b"a", b"x-b", b"cookie", b"!#$%&'*+-.^_`|~0"]
        values = [b"", b"x", b"a b\tc", b"\xff\x80", b"a:b", b'"q, w"']
        return [(random.choice(names), random.choice(values)) for _ in range(random.randint(0, 5))]

    def body(self, random: Random) -> list[bytes]:
        """
        A body in pieces.
        """
        return [random.randbytes(random.randint(0, 40)) for _ in range(random.randint(0, 4))]

    def test_requests(self) -> None:
        """
        Requests with and without length, body and trailers.
        """
        random = Random(1)
        options = Http1Options(enableTrailers=True)
        for _ in range(500):
            body = self.body(random)
            whole = b"".join(body)
            headers = RequestHeaders(random.choice([b"GET", b"POST", b"PURGE"]), b"/x?y", b"h:1", self.fields(random))
            if body and random.random() < 0.5:
                headers.set(b"content-length", b"%d" % len(whole))
            client = UpstreamCodec(RecordingSink(), options)
            wire = client.encodeHeaders(headers, not body)
            for piece in body[:-1]:
                wire += client.encodeData(piece, False)
            trailers = HeaderMap([(b"t", b"x")]) if random.random() < 0.3 and b"content-length" not in headers else None
            if body and trailers:
                wire += client.encodeData(body[-1], False) + client.encodeTrailers(trailers)
            elif body:
                wire += client.encodeData(body[-1], True)
            sink = RecordingSink()
            server = DownstreamCodec(sink, options)
            for piece in pieces(random, wire):
                server.receiveData(piece)
            seen = HeaderMap(sink.transcript[0][1])
            for name in (b"content-length", b"transfer-encoding"):
                seen.remove(name)
            expected = headers.copy()
            expected.remove(b"content-length")
            self.assertEqual(list(seen.allFields()), list(HeaderMap(expected.allFields()).allFields()))
            self.assertEqual(b"".join(event[1] for event in sink.transcript if event[0] == "data"), whole)
            self.assertEqual(sink.transcript[-1][0] == "trailers", bool(body and trailers))

    def test_responses(self) -> None:
        """
        Responses to GET and HEAD, whatever their status.
        """
        random = Random(2)
        for _ in range(500):
            method = random.choice([b"GET", b"HEAD"])
            body = self.body(random)
            whole = b"".join(body)
            headers = ResponseHeaders(random.choice([200, 204, 304, 404, 599]), self.fields(random))
            if body and random.random() < 0.5:
                headers.set(b"content-length", b"%d" % len(whole))
            server = DownstreamCodec(RecordingSink())
            server.receiveData(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
            wire = server.encodeHeaders(headers, not body)
            for number, piece in enumerate(body, 1):
                wire += server.encodeData(piece, number == len(body))
            sink = RecordingSink()
            client = UpstreamCodec(sink)
            client.encodeHeaders(RequestHeaders(method, b"/", b"a"), True)
            for piece in pieces(random, wire):
                client.receiveData(piece)
            empty = method == b"HEAD" or headers.status in (204, 304)
            self.assertEqual(
                b"".join(event[1] for event in sink.transcript if event[0] == "data"), b"" if empty else whole
            )
            self.assertTrue(sink.transcript[-1][-1])
            self.assertTrue(client.keepAlive and server.keepAlive)
