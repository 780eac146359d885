"""
L{meshproxy.codec.http1.shapes}: requests with the same names are taken apart by a pattern of their own.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1 import DownstreamCodec, Http1Options, UnderscoreAction
from meshproxy.codec.http1.grammar import matchRequest, splitFields
from meshproxy.codec.http1.memory import _TRIES, RequestMemory
from meshproxy.codec.http1.shapes import _MOST_COUNTED, _MOST_SHAPES, _OFTEN, _OFTEN_WHEN_FULL, Shapes, Take
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from tests.codec.http1.helpers import RecordingSink

FIELDS = [(b"Host", b"a.example"), (b"X-Id", b"1"), (b"Accept", b"*/*"), (b"cookie", b"a=b; c=\xff")]


def get(fields: list[tuple[bytes, bytes]], line: bytes = b"GET /p?q HTTP/1.1") -> bytes:
    """
    A request.
    """
    return b"\r\n".join([line, *map(b": ".join, fields), b"", b""])


def shape(names: list[bytes], shapes: Shapes | None = None) -> Take | None:
    """
    What takes requests with these names apart.
    """
    shapes = Shapes() if shapes is None else shapes
    for _ in range(_OFTEN - 1):
        assert shapes.noticed(tuple(names)) is None
    return shapes.noticed(tuple(names))


def told(reads: list[bytes], options: Http1Options | None = None) -> list[Any]:
    """
    What a sink is told of requests on one connection, each answered; a refusal ends it.
    """
    sink = RecordingSink()
    codec = DownstreamCodec(sink, options)
    for read in reads:
        try:
            codec.receiveData(read)
            if codec.request is None:
                sink.transcript.append(("nothing",))
                break
            codec.encodeHeaders(ResponseHeaders(200, [(b"content-length", b"0")]), True)
            codec.resume()
        except RemoteProtocolError as error:
            sink.transcript.append((error.why, error.statusHint))
            break
    return sink.transcript


class TakeTests(SynchronousTestCase):
    """
    A pattern takes what the usual way takes, and only that.
    """

    def test_same(self) -> None:
        """
        The head is the same, in the same order, and its dictionary its own.
        """
        take = shape([name for name, _ in FIELDS])
        assert take is not None
        first, second = take(get(FIELDS)), take(get(FIELDS))
        assert first is not None
        assert second is not None
        self.assertEqual((first.method, first.path, first.authority), (b"GET", b"/p?q", b"a.example"))
        self.assertEqual(list(first.fields()), [(name.lower(), value) for name, value in FIELDS[1:]])
        self.assertIsNone(first.more)
        self.assertIsNot(first.first, second.first)

    def test_changedByte(self) -> None:
        """
        A head that differs in one byte, has one more or one less, is what it is without any pattern.
        """
        usual = [get([(name, b"%d" % number) for name, _ in FIELDS]) for number in range(_OFTEN + 8)]
        wire = get(FIELDS)
        swaps = (b"x", b"\0", b" ")
        changes = [wire[:place] + byte + wire[place + 1 :] for place in range(len(wire)) for byte in swaps]
        changes += [wire[:place] + byte + wire[place:] for place in range(len(wire)) for byte in (b"\r", b"\n", b":")]
        changes += [wire[:place] + wire[place + 1 :] for place in range(len(wire))]
        changes += [wire + b"G", wire[:-2], wire * 2, wire.replace(b"X-Id", b"x-id"), wire.replace(b"X-Id", b"Host")]
        before = told(usual)
        for changed in changes:
            self.assertEqual(told([*usual, changed])[len(before) :], told([changed]), changed)

    def test_changedByteWithConnection(self) -> None:
        """
        Nor does one byte make a difference to what a browser says of its connection.
        """
        fields = [FIELDS[0], (b"Connection", b"keep-alive"), *FIELDS[1:3]]
        usual = [get([*fields[:2], (b"X-Id", b"%d" % number), fields[3]]) for number in range(_OFTEN + 8)]
        wire = get(fields)
        start, end = wire.index(b"Connection"), wire.index(b"X-Id")
        changes = [
            wire[:place] + byte + wire[place + 1 :] for place in range(start, end) for byte in (b"x", b" ", b",")
        ]
        changes += [wire[:place] + wire[place + 1 :] for place in range(start, end)]
        changes += [
            wire.replace(b"keep-alive", value) for value in (b"Keep-Alive", b"KEEP-ALIVE", b"close", b"x, close")
        ]
        before = told(usual)
        for changed in changes:
            self.assertEqual(told([*usual, changed])[len(before) :], told([changed]), changed)

    def test_keepAlive(self) -> None:
        """
        Connection is not in the head where it tells nothing, and else the pattern does not match.
        """
        take = shape([b"Host", b"Connection", b"Accept"])
        assert take is not None
        for value in (b"keep-alive", b"Keep-Alive"):
            head = take(get([(b"Host", b"a"), (b"Connection", value), (b"Accept", b"*/*")]))
            assert head is not None
            self.assertEqual(head.first, {b"accept": b"*/*"})
        for value in (b"close", b"keep-alive, close", b"", b"keep-alive2"):
            self.assertIsNone(take(get([(b"Host", b"a"), (b"Connection", value), (b"Accept", b"*/*")])), value)

    def test_values(self) -> None:
        """
        Values of any kind: empty, with spaces around, colons, other bytes.
        """
        usual = [get([(name, b"%d" % number) for name, _ in FIELDS]) for number in range(_OFTEN + 8)]
        before = told(usual)
        for value in (b"", b" a", b"a ", b"\ta", b"a: b", b"\x80\xff", b"a\tb", b"@:[]", b"a b", b"a/b", b"a" * 70_000):
            changed = get([(name, value) for name, _ in FIELDS])
            self.assertEqual(told([*usual, changed])[len(before) :], told([changed]), value[:9])

    def test_notForThem(self) -> None:
        """
        Fields that decide about body and connection, a name twice or no Host make no pattern; asking again costs
        nothing.
        """
        for names in (
            [b"Host", b"Content-Length"],
            [b"Host", b"transfer-encoding"],
            [b"Host", b"Proxy-Connection"],
            [b"Host", b"X", b"x"],
            [b"Host", b"host"],
            [b"X"],
            [],
        ):
            shapes = Shapes()
            self.assertIsNone(shape(names, shapes))
            self.assertEqual(len(shapes), 1)
            self.assertIsNone(shapes.noticed(tuple(names)))
        self.assertIsNone(shape([b"Host", b"x" * 2000]))
        self.assertIsNone(shape([b"Host", *[b"x%d" % number for number in range(50)]]))

    def test_options(self) -> None:
        """
        Limits hold for heads that have a pattern too, and underscores are looked at.
        """
        fields = [(b"Host", b"h"), (b"a_b", b"1")]
        usual = [get([*fields, (b"n", b"%d" % number)]) for number in range(_OFTEN + 8)]
        for options in (
            Http1Options(underscores=UnderscoreAction.REJECT),
            Http1Options(underscores=UnderscoreAction.DROP),
            Http1Options(maxHeaderCount=2),
            Http1Options(maxHeadBytes=50),
        ):
            told(usual)
            last = get([*fields, (b"n", b"x" * 40)])
            self.assertEqual(told([*usual, last], options)[-1:], told([last], options)[-1:])


class ShapesTests(SynchronousTestCase):
    """
    Patterns are few, and made seldom.
    """

    def test_bounded(self) -> None:
        """
        Ever new names grow nothing without bound; when there are many patterns, another one takes long to come.
        """
        shapes = Shapes()
        random = Random(1)
        for _ in range(3 * _MOST_COUNTED):
            shapes.noticed((b"Host", b"%x" % random.getrandbits(60)))
        self.assertEqual(len(shapes), 0)
        self.assertLessEqual(len(shapes._counts), _MOST_COUNTED + 1)
        for number in range(_MOST_SHAPES):
            self.assertIsNotNone(shape([b"Host", b"n%d" % number], shapes))
        late = (b"Host", b"late")
        for _ in range(_OFTEN_WHEN_FULL - 1):
            self.assertIsNone(shapes.noticed(late))
        self.assertIsNotNone(shapes.noticed(late))
        self.assertEqual(len(shapes), _MOST_SHAPES)

    def test_connection(self) -> None:
        """
        A connection whose heads differ all the time stops looking.
        """
        memory = RequestMemory()
        for number in range(_TRIES):
            self.assertTrue(memory.tries)
            wire = get([(b"Host", b"h"), (b"n%d" % number, b"1")])
            match = matchRequest(wire)
            assert match is not None
            memory.notice(wire, match[3])
        self.assertFalse(memory.tries)
        self.assertIsNone(memory.shapes)

    def test_used(self) -> None:
        """
        A connection whose heads have the same names is served by their pattern, also where they take turns.
        """
        sink = RecordingSink()
        codec = DownstreamCodec(sink)
        names = [b"Host", b"used-1", b"used-2"]
        for number in range(4 * _OFTEN):
            if number == 3 * _OFTEN:
                codec._takeMatch = None  # type: ignore[assignment,method-assign]  # whoever parses, fails
            fields = [(name, b"v%d" % number) for name in names[: 2 + number % 2]]
            codec.receiveData(get(fields))
            self.assertEqual(len(splitFields(get(fields).partition(b"\r\n")[2])), len(fields))
            request = codec.request
            assert isinstance(request, RequestHeaders)
            self.assertEqual(list(request.fields()), fields[1:])
            codec.encodeHeaders(ResponseHeaders(200, [(b"content-length", b"0")]), True)
            codec.resume()
