"""
L{meshproxy.codec.http1.memory}: heads that are taken apart by comparing them with the last one.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1 import DownstreamCodec, Http1Options, UpstreamCodec
from meshproxy.codec.http1.memory import _LONGEST, RequestMemory, ResponseMemory
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from tests.codec.http1.helpers import RecordingSink, downstream

FIELDS = b"Host: a\r\nAccept: */*\r\n\r\n"
ANSWER = ResponseHeaders(200, [(b"content-length", b"2")])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: s\r\n\r\n"


def get(path: bytes = b"/", fields: bytes = FIELDS) -> bytes:
    """
    A request.
    """
    return b"GET " + path + b" HTTP/1.1\r\n" + fields


def answer(codec: DownstreamCodec) -> None:
    """
    Answer the request that a codec told of.
    """
    codec.encodeHeaders(ANSWER.copy(), False)
    codec.encodeData(b"ok", True)
    codec.resume()


def ask(codec: UpstreamCodec, method: bytes = b"GET", *pairs: tuple[bytes, bytes]) -> None:
    """
    Send a request without a body.
    """
    codec.encodeHeaders(RequestHeaders(method, b"/", b"h", pairs), True)


def told(make: type[DownstreamCodec] | type[UpstreamCodec], messages: list[bytes], step: int) -> list[Any]:
    """
    What the sink of a codec is told of messages on one connection, each answered or asked for in turn, and how the
    codec stands then; a refusal ends it.

    @param step: How many bytes it is fed at a time; 0 for a whole message.
    """
    sink = RecordingSink()
    codec = make(sink, Http1Options())
    transcript: list[Any] = sink.transcript
    for message in messages:
        try:
            if isinstance(codec, UpstreamCodec):
                if not codec.keepAlive:
                    break
                ask(codec)
            for start in range(0, len(message), step or len(message)):
                codec.receiveData(message[start : start + (step or len(message))])
        except RemoteProtocolError as error:
            transcript.append(("refused", error.statusHint, error.details))
            break
        transcript.append((codec.readState, codec.keepAlive))
        if isinstance(codec, DownstreamCodec):
            if codec.readState.name != "WAITING":
                break
            answer(codec)
    return transcript


def mutated(random: Random, message: bytes) -> bytes:
    """
    A message with one byte changed, taken out or put in.
    """
    place = random.randrange(len(message))
    byte = bytes([random.choice(b"\0\r\n\t :/aZ09\xff")])
    return message[:place] + random.choice((byte, b"", byte + message[place : place + 1])) + message[place + 1 :]


class RequestMemoryTests(SynchronousTestCase):
    """
    L{RequestMemory}, and L{DownstreamCodec} with it.
    """

    def setUp(self) -> None:
        self.codec, self.sink = downstream()

    def receive(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """
        Read a request and answer it.

        @return: Its fields.
        """
        self.sink.transcript.clear()
        self.codec.receiveData(data)
        ((event, fields, endStream),) = self.sink.transcript
        self.assertEqual((event, endStream), ("request", True))
        answer(self.codec)
        found: list[tuple[bytes, bytes]] = fields
        return found

    def test_nothing(self) -> None:
        """
        A memory that remembers nothing is not asked.
        """
        self.assertFalse(RequestMemory().isWorthwhile)

    def test_remembered(self) -> None:
        """
        The second of two requests with the same fields is taken apart without reading its fields, into the same
        as the first; its first line is its own.
        """
        first = self.receive(get(b"/a"))
        self.codec._takeMatch = None  # type: ignore[assignment,method-assign]  # whoever parses, fails
        second = self.receive(get(b"/b?c"))
        self.assertEqual(dict(second), {**dict(first), b":path": b"/b?c"})

    def test_independent(self) -> None:
        """
        What is done to a request's fields is not remembered.
        """
        kept: list[RequestHeaders] = []
        self.codec._requestReceived = lambda headers, endStream: kept.append(headers)
        for _ in range(3):
            self.codec.receiveData(get())
            kept[-1].set(b"x-added", b"1")
            kept[-1].remove(b"accept")
            kept[-1].authority = b"changed"
            answer(self.codec)
        self.codec.receiveData(get())
        self.assertEqual((kept[-1].authority, kept[-1].first), (b"a", {b"accept": b"*/*"}))
        self.assertEqual(len({id(headers.first) for headers in kept}), 4)

    def test_changedByte(self) -> None:
        """
        After any head, one that differs in a single byte at any place is what it is without the first.
        """
        wire = get(b"/p")
        for place in range(len(wire)):
            for byte in (b"x", b"\0", b" ", b":"):
                changed = wire[:place] + byte + wire[place + 1 :]
                alone = told(DownstreamCodec, [changed], 1)
                self.assertEqual(told(DownstreamCodec, [wire, wire, changed], 0)[4:], alone, changed)

    def test_longerAndShorter(self) -> None:
        """
        A head that goes on after what is remembered, or ends before, is no hit.
        """
        self.receive(get())
        self.codec._takeMatch = None  # type: ignore[assignment,method-assign]  # whoever parses, fails
        self.assertIsNone(self.codec.takeWhole(get()[:-1]))
        self.assertIsNone(self.codec.takeWhole(get() + b"G"))
        self.assertIsNotNone(self.codec.takeWhole(get()))

    def test_otherLine(self) -> None:
        """
        Under another line the fields are the same; a line that would cost much memory is not kept.
        """
        self.receive(get(b"/a"))
        for path in (b"/a", b"/b", b"/b", b"/a"):
            self.assertIn((b":path", path), self.receive(get(path)))
        self.receive(get(b"/" + b"x" * 5000))
        memory = self.codec._memory
        self.assertLess(len(memory.head) + len(memory.path), 2 * memory.LONGEST)
        self.assertIn((b":path", b"/a"), self.receive(get(b"/a")))

    def test_patience(self) -> None:
        """
        When so many heads in a row differ, comparing is given up; a hit before that begins the count again.
        """
        memory = RequestMemory()
        headers = RequestHeaders(b"GET", b"/", b"a")
        for _ in range(3):
            for _ in range(RequestMemory.PATIENCE):
                memory.missed(get(), 16, headers)
                self.assertTrue(memory.isWorthwhile)
            memory.misses = 0
        for _ in range(RequestMemory.PATIENCE + 1):
            memory.missed(get(), 16, headers)
        self.assertFalse(memory.isWorthwhile)

    def test_givenUp(self) -> None:
        """
        A connection on which no two heads are alike stops comparing, and reads on as before.
        """
        for number in range(RequestMemory.PATIENCE + 3):
            fields = self.receive(get(b"/", b"Host: a\r\nX: %d\r\n\r\n" % number))
            self.assertIn((b"x", b"%d" % number), fields)
        self.assertFalse(self.codec._memory.isWorthwhile)

    def test_long(self) -> None:
        """
        A long head is not kept, so that idle connections hold little memory.
        """
        self.receive(get(b"/", b"Host: a\r\nCookie: " + b"c" * _LONGEST + b"\r\n\r\n"))
        self.assertFalse(self.codec._memory.isWorthwhile)
        self.assertLess(len(self.codec._memory.block), _LONGEST)

    def test_duplicates(self) -> None:
        """
        A head with a name twice is not remembered: its second value would be lost.
        """
        wire = get(b"/", b"Host: a\r\nX: 1\r\nX: 2\r\n\r\n")
        for _ in range(3):
            self.assertEqual(self.receive(wire)[-2:], [(b"x", b"1"), (b"x", b"2")])
            self.assertFalse(self.codec._memory.isWorthwhile)

    def test_framed(self) -> None:
        """
        Heads that say how a body is framed, or what becomes of the connection, are never remembered.
        """
        self.receive(get())
        block = self.codec._memory.block
        for field in (b"Content-Length: 0", b"Connection: TE", b"Proxy-Connection: keep-alive"):
            self.receive(get(b"/", b"Host: a\r\n" + field + b"\r\n\r\n"))
            self.assertEqual(self.codec._memory.block, block)

    def test_keepAlive(self) -> None:
        """
        What browsers say of the connection, which tells nothing, is no hindrance, and not in the head; what looks
        nearly like it is read as ever.
        """
        wire = get(b"/", b"Host: a\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n")
        for _ in range(3):
            self.assertEqual(self.receive(wire)[-1:], [(b"accept", b"*/*")])
            self.assertTrue(self.codec._memory.isWorthwhile)
        self.assertTrue(self.codec.keepAlive)
        told = self.receive(wire.replace(b"keep-alive", b"keep-alive, x"))
        self.assertEqual(told[-2:], [(b"connection", b"keep-alive, x"), (b"accept", b"*/*")])
        self.receive(wire.replace(b"keep-alive", b"close"))
        self.assertFalse(self.codec.keepAlive)

    def test_whole(self) -> None:
        """
        Any sequence of requests, legal and broken ones, is told the same whole and byte by byte.
        """
        random = Random(20)
        twice = b"Host: a\r\nX: 1\r\nx: 2\r\n\r\n"
        blocks = [FIELDS, b"Host: b\r\n\r\n", twice, b"Host: a\r\nContent-Length: 0\r\n\r\n"]
        for _ in range(300):
            messages = [get(random.choice((b"/", b"/a?b", b"/c")), random.choice(blocks[: random.choice((1, 4))]))]
            messages += [random.choice((messages[0], get(b"/n", random.choice(blocks)))) for _ in range(4)]
            if random.random() < 0.5:
                messages[-1] = mutated(random, messages[-1])
            self.assertEqual(told(DownstreamCodec, messages, 0), told(DownstreamCodec, messages, 1), messages)


class ResponseMemoryTests(SynchronousTestCase):
    """
    L{ResponseMemory}, and L{UpstreamCodec} with it.
    """

    def setUp(self) -> None:
        self.sink = RecordingSink()
        self.codec = UpstreamCodec(self.sink, Http1Options())

    def receive(self, data: bytes, method: bytes = b"GET", *pairs: tuple[bytes, bytes]) -> list[Any]:
        """
        Ask for a response and read it.
        """
        self.sink.transcript.clear()
        ask(self.codec, method, *pairs)
        self.codec.receiveData(data)
        return list(self.sink.transcript)

    def test_nothing(self) -> None:
        """
        What begins no head is no response to a codec that remembers none.
        """
        ask(self.codec)
        try:
            self.codec.receiveData(b"\0")
        except RemoteProtocolError:
            pass
        self.assertEqual(self.sink.transcript, [])

    def test_forgotten(self) -> None:
        """
        A head too long to keep, or with a name twice, leaves nothing that anything compares equal to.
        """
        long = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"x" * _LONGEST + b"\r\n\r\nok"
        twice = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nX: 2\r\n\r\nok"
        for wire in (long, twice):
            for last in (OK + b"ok", b"\0ok"):
                messages = [OK + b"ok", wire, last]
                self.assertEqual(told(UpstreamCodec, messages, 0), told(UpstreamCodec, messages, 1))
        memory = ResponseMemory()
        memory.remember(OK + b"ok", len(OK), ANSWER)
        memory.remember(long, len(long) - 2, ANSWER)
        self.assertEqual(memory.size, -1)

    def test_remembered(self) -> None:
        """
        The second of two equal heads is not parsed, and its body is its own.
        """
        first = self.receive(OK + b"ok")
        self.codec._takeMatch = None  # type: ignore[assignment,method-assign]  # whoever parses, fails
        second = self.receive(OK + b"no")
        self.assertEqual(second, [first[0], ("data", b"no", True)])

    def test_independent(self) -> None:
        """
        What is done to a response's fields is not remembered.
        """
        kept: list[ResponseHeaders] = []
        self.codec._wholeReceived = lambda headers, body: kept.append(headers)
        for _ in range(3):
            ask(self.codec)
            self.codec.receiveData(OK + b"ok")
            self.assertEqual(kept[-1].first, {b"content-length": b"2", b"server": b"s"})
            self.assertIsNone(kept[-1].more)
            kept[-1].set(b"server", b"other")
            kept[-1].add(b"server", b"more")

    def test_changedByte(self) -> None:
        """
        After any response, one that differs in a single byte at any place is what it is without the first.
        """
        wire = OK + b"ok"
        for place in range(len(wire)):
            for byte in (b"3", b"\0", b" ", b":"):
                changed = wire[:place] + byte + wire[place + 1 :]
                alone = told(UpstreamCodec, [changed], 1)
                self.assertEqual(told(UpstreamCodec, [wire, wire, changed], 0)[6:], alone, changed)

    def test_otherLength(self) -> None:
        """
        The remembered head with less or more behind it is no whole response.
        """
        self.receive(OK + b"ok")
        self.assertEqual(self.receive(OK + b"o")[1:], [("data", b"o", False)])
        self.codec.receiveData(b"k")
        self.assertTrue(self.codec.keepAlive)
        self.assertEqual(self.receive(OK + b"ok!")[1:], [("data", b"ok", True)])
        self.assertFalse(self.codec.keepAlive)

    def test_head(self) -> None:
        """
        The remembered head as the answer to HEAD has no body; bytes behind it belong to nothing.
        """
        self.receive(OK + b"ok")
        self.assertEqual([event[2] for event in self.receive(OK, b"HEAD")], [True])
        self.assertEqual([event[2] for event in self.receive(OK + b"ok", b"HEAD")], [True])
        self.assertFalse(self.codec.keepAlive)

    def test_tunnel(self) -> None:
        """
        The remembered head as the answer to CONNECT opens a tunnel: what follows is no body of known length.
        """
        self.receive(OK + b"ok")
        self.sink.transcript.clear()
        self.codec.encodeHeaders(RequestHeaders(b"CONNECT", b"", b"h:80", []), False)
        self.codec.receiveData(OK + b"ok")
        self.assertEqual([event[2] for event in self.sink.transcript], [False, False])
        self.assertTrue(self.codec.upgraded)

    def test_duplicates(self) -> None:
        """
        A second value of a name is told each time.
        """
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nX: 2\r\n\r\nok"
        for _ in range(3):
            self.assertEqual(self.receive(wire)[0][1][-2:], [(b"x", b"1"), (b"x", b"2")])

    def test_whole(self) -> None:
        """
        Any sequence of responses, legal and broken ones, is told the same whole and byte by byte.
        """
        random = Random(21)
        heads = [
            OK,
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\na: 1\r\na: 2\r\n\r\n",
        ]
        for _ in range(300):
            first = random.choice(heads)
            messages = [random.choice((first, random.choice(heads))) + random.choice((b"ok", b"no")) for _ in range(5)]
            if random.random() < 0.5:
                messages[-1] = mutated(random, messages[-1])
            self.assertEqual(told(UpstreamCodec, messages, 0), told(UpstreamCodec, messages, 1), messages)
