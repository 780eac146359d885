"""
Messages that come whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import CodecStream
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http2.frames import (
    continuation,
    data,
    frame,
    framesIn,
    goAway,
    headers,
    ping,
    priority,
    request,
    reset,
    settings,
    windowUpdate,
)
from tests.codec.http2.helpers import RecordingSink, StreamSink, downstream, splits, upstream

POST = request((b"te", b"trailers"), method=b"POST")
OK = [(b":status", b"200")]
END = [(b"grpc-status", b"0")]


def byStream(transcript: list[tuple[Any, ...]]) -> dict[object, list[tuple[Any, ...]]]:
    """
    What was told of each stream, in order; what concerns the connection stands under its name.
    """
    told: dict[object, list[tuple[Any, ...]]] = defaultdict(list)
    for each in transcript:
        of = told[each[1] if len(each) > 1 and isinstance(each[1], int) else each[0]]
        if each[0] == "data" and of and of[-1][0] == "data":
            each = (*each[:2], of.pop()[2] + each[2], each[3])
        of.append(each)
    return told


class WholeSink(RecordingSink):
    """
    Notes which requests came whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[int] = []

    def callReceived(self, stream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        self.whole.append(stream.id)
        return super().callReceived(stream, headers, message)


class WholeStream(StreamSink):
    """
    Notes that an answer came whole.
    """

    def __init__(self, transcript: list[tuple[Any, ...]], streamId: int) -> None:
        super().__init__(transcript, streamId)
        self.whole = 0

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        self.whole += 1
        super().answerReceived(headers, body, trailers)


class RequestTests(SynchronousTestCase):
    """
    What a downstream sends.
    """

    def codec(self, takesCalls: bool = True, **options: Any) -> tuple[Any, WholeSink]:
        """
        A codec and its sink.
        """
        codec, _, _ = downstream(**options)
        sink = WholeSink()
        sink.takesCalls = takesCalls
        codec._sink = sink
        codec._callReceived = sink.callReceived
        return codec, sink

    def test_whole(self) -> None:
        """
        Calls whose heads come before all messages, as of h2load, are each told in one step, in the order in which they
        are complete; so are those that come one after the other.
        """
        heads = [headers(number, POST, False) for number in (1, 3, 5)]
        messages = [data(number, b"m%d" % number, True) for number in (1, 3, 5)]
        for wire, order in (
            ([*heads, *messages], [1, 3, 5]),
            ([*heads, *messages[::-1]], [5, 3, 1]),
            ([part for pair in zip(heads, messages, strict=True) for part in pair], [1, 3, 5]),
        ):
            codec, sink = self.codec()
            codec.receiveData(b"".join(wire))
            self.assertEqual(sink.whole, order)
            self.assertEqual(
                [told[:2] for told in sink.transcript if told[0] == "request"], [("request", n) for n in order]
            )
            self.assertEqual({stream.canReceive for stream in sink.streams}, {False})

    def test_everySplit(self) -> None:
        """
        However it is cut, and whether the sink takes the messages with the heads or not, the same is told of each call.
        """
        wire = b"".join(
            (
                *(headers(number, POST, False) for number in (1, 3, 5)),
                data(3, b"three", True),
                data(1, b"o"),
                windowUpdate(5, 1),
                data(1, b"ne", True),
                data(5, b"five", padding=2),
                headers(5, END),
            )
        )
        expected = None
        for takesCalls in (True, False):
            for pieces in splits(wire):
                codec, sink = self.codec(takesCalls)
                for piece in pieces:
                    codec.receiveData(piece)
                seen = byStream(sink.transcript), codec._receiveWindow, codec._uncredited, len(codec.streams)
                expected = expected or seen
                self.assertEqual(seen, expected)

    def test_notWhole(self) -> None:
        """
        What lets a call not be told in one step: it is in pieces, padded, empty, longer or shorter than it says, or the
        client resets it between.
        """
        long = request((b"content-length", b"4"), method=b"POST")
        for wire in (
            headers(1, POST, False) + data(1, b"m"),
            headers(1, POST, False) + data(1, b"m", True, padding=1),
            headers(1, POST, False) + data(1, b"", True),
            headers(1, POST, False) + reset(1),
            headers(1, POST, False) + windowUpdate(1, 1) + data(1, b"m", True),
            headers(1, POST, False) + ping() + data(1, b"m", True),
            headers(1, POST, False) + headers(1, END),
            headers(1, long, False) + data(1, b"mess!", True),
        ):
            codec, sink = self.codec()
            codec.receiveData(wire)
            self.assertEqual((sink.whole, sink.transcript[0][:2]), ([], ("request", 1)))
        codec, sink = self.codec()
        codec.receiveData(headers(1, long, False) + data(1, b"mess", True))
        self.assertEqual(sink.whole, [1])

    def test_windows(self) -> None:
        """
        A message beyond a window is refused as ever; what came whole counts, and is credited when half of a window is
        used up.
        """
        codec, sink = self.codec(initialStreamWindow=100, initialConnectionWindow=65535)
        codec.receiveData(headers(1, POST, False) + data(1, b"m" * 101, True))
        self.assertEqual(sink.transcript[-1], ("reset", 1, 3, False))
        codec, sink = self.codec(initialConnectionWindow=65535)
        credited = 0
        for number in range(1, 40, 2):
            codec.receiveData(headers(number, POST, False) + data(number, b"m" * 16000, True))
            for kind, _, streamId, payload in framesIn(codec.dataToSend()):
                self.assertEqual((kind, streamId), (8, 0))
                credited += int.from_bytes(payload, "big")
        self.assertEqual(len(sink.whole), 20)
        self.assertEqual(credited + codec._uncredited, 20 * 16000)

    def test_paused(self) -> None:
        """
        Who takes a call and wants no more for now gives no credit for it before.
        """
        codec, sink = self.codec()
        sink.during = CodecStream.pauseReading
        codec.receiveData(headers(1, POST, False) + data(1, b"message", True))
        self.assertEqual((sink.whole, codec._uncredited), ([1], 0))
        sink.streams[0].resumeReading()
        self.assertEqual(codec._uncredited, 7)

    def test_fails(self) -> None:
        """
        What was held when the connection fails is told before.
        """
        for wrong in (
            data(0, b"x"),
            headers(2, POST),
            frame(4, 0, 1),
            frame(9, 4, 1),
            data(9, b"x", True),
            b"\xff" * 9,
        ):
            codec, sink = self.codec()
            wire = headers(1, POST, False) + headers(3, POST, False) + data(3, b"m", True) + headers(5, POST, False)
            self.assertRaises(RemoteProtocolError, codec.receiveData, wire + wrong)
            self.assertEqual(sorted(told[1] for told in sink.transcript if told[0] == "request"), [1, 3, 5])

    def test_dropped(self) -> None:
        """
        A connection that is gone in the middle of a read tells nothing more.
        """
        codec, sink = self.codec()
        sink.during = lambda stream: codec.drop()
        codec.receiveData(headers(1, POST, False) + headers(3, POST, False) + data(3, b"m", True))
        self.assertEqual([told[:2] for told in sink.transcript if told[0] == "request"], [("request", 3)])

    def test_manyHeads(self) -> None:
        """
        Heads that are the same as one before are taken many at a time, and judged as each would be by itself: by the
        order of their streams, how many there may be, and whether any more is served.
        """
        warm = [headers(number, POST, False) + data(number, b"m", True) for number in (1, 3, 5)]
        run = [headers(number, POST, False) for number in (7, 9, 11)]
        messages = [data(number, b"m%d" % number, True) for number in (7, 9, 11)]
        for wire in (
            [*run, *messages],
            [*run, headers(13, POST), *messages],
            [*run, headers(13, request(method=b"PUT"), False), *messages, data(13, b"m", True)],
            [*run, headers(9, POST, False), *messages],
            [*run, headers(12, POST, False), *messages],
            [*run, headers(5, POST, False), *messages],
            [*run, headers(2**31 + 13, POST, False), *messages, data(13, b"m", True)],
            [*run, *[headers(number, POST, False) for number in (13, 15, 17, 19)], *messages, data(15, b"m", True)],
            [*run, messages[0], data(9, b"m" * 51, True), messages[2]],
            [*run, messages[0], data(9, b"m"), messages[2], data(9, b"", True)],
        ):
            for goesAway in (False, True):
                seen = []
                for reads in ([b"".join(wire)], wire):
                    codec, sink = self.codec(initialStreamWindow=50, maxConcurrentStreams=8)
                    for each in warm:
                        codec.receiveData(each)
                        sink.streams[-1].sendHeaders(ResponseHeaders(200), True)
                    codec.dataToSend()
                    if goesAway:
                        codec.sendGoAway(lastStreamId=9)
                    failed = ""
                    try:
                        for read in reads:
                            codec.receiveData(read)
                    except RemoteProtocolError as error:
                        failed = error.why
                    frames = sorted(framesIn(codec.dataToSend()))
                    told = byStream(sink.transcript)
                    state = codec.lastStreamId, sorted(codec.streams), codec._floods.openedStreams
                    windows = codec._receiveWindow, codec._uncredited, codec.counters.streamsActive.value
                    seen.append((told, frames, failed, state, windows))
                self.assertEqual(*seen)

    def test_turns(self) -> None:
        """
        However many heads are the same, others have their turn between.
        """
        codec, sink = self.codec(maxConcurrentStreams=1000)
        for number in (1, 3, 5):
            codec.receiveData(headers(number, POST, False) + data(number, b"m", True))
        numbers = range(7, 407, 2)
        wire = b"".join(headers(number, POST, False) + data(number, b"m", True) for number in numbers)
        for first in (wire, b"".join(headers(n, POST, False) for n in range(407, 807, 2))):
            turns = 1
            codec.receiveData(first)
            while codec.hasRest:
                codec.resume()
                turns += 1
            self.assertGreaterEqual(turns, 3)
        self.assertEqual(len(sink.streams), 403)

    def test_anything(self) -> None:
        """
        Any frames in any order, all in one read and each in one of its own, tell the same of each stream and answer the
        same.
        """
        random = Random(7)
        whole = 0
        for _ in range(400):
            self.last = -1
            wire = [self._any(random) for _ in range(random.randint(2, 14))]
            seen = []
            for reads in ([b"".join(wire)], wire):
                codec, sink = self.codec(initialStreamWindow=50, initialConnectionWindow=65535, maxConcurrentStreams=4)
                sink.during = _act
                failed = ""
                try:
                    for read in reads:
                        codec.receiveData(read)
                except RemoteProtocolError as error:
                    failed = error.why
                frames = sorted(each for each in framesIn(codec.dataToSend()))
                seen.append((byStream(sink.transcript), frames, failed, codec._receiveWindow, codec._uncredited))
                whole += len(sink.whole)
            self.assertEqual(*seen)
        self.assertGreater(whole, 100)

    last: int

    def _any(self, random: Random) -> bytes:
        if self.last < 0 or random.random() < 0.4:
            number = self.last = self.last + 2
            length = random.choice((b"3", b"5"))
            return random.choice(
                (
                    *[headers(number, POST, random.random() < 0.1)] * 6,
                    headers(number, request((b"content-length", length), method=b"POST"), False),
                    headers(number, POST, False, False) + continuation(number, [(b"a", b"b")]),
                )
            )
        number = random.randrange(max(1, self.last - 4), self.last + 1, 2)
        makes: list[Callable[[], bytes]] = [
            lambda: headers(number, POST),
            *[lambda: data(number, b"hello"[: random.randint(0, 5)], random.random() < 0.8)] * 8,
            lambda: data(number, b"hello", True, padding=random.randint(0, 9)),
            lambda: data(number, b"m" * 51, True),
            lambda: headers(number, END),
            lambda: reset(number),
            lambda: windowUpdate(random.choice((0, number)), random.choice((1, 1000, 2**31 - 1))),
            lambda: settings((4, random.randint(0, 100))),
            lambda: ping(),
            lambda: priority(number),
            lambda: goAway(0),
            lambda: frame(0x77, 0, number, b"unknown"),
        ]
        return random.choice(makes)()


def _act(stream: CodecStream) -> None:
    """
    Do something with a stream when its request begins.
    """
    if stream.id == 3:
        stream.sendHeaders(ResponseHeaders(200), True)
    elif stream.id == 5:
        stream.reset()
    elif stream.id == 7:
        stream.sendHeaders(ResponseHeaders(200), False)
        stream.sendData(b"answer" * 20, True)


class AnswerTests(SynchronousTestCase):
    """
    What an upstream sends.
    """

    def codec(self, count: int = 3, takesAnswer: bool = True, **options: Any) -> tuple[Any, list[WholeStream], Any]:
        """
        A codec that sent so many calls, their sinks, and the transcript.
        """
        codec, sink, _ = upstream(**options)
        sinks = []
        for number in range(1, 2 * count, 2):
            stream = WholeStream(sink.transcript, number)
            stream.takesAnswer = takesAnswer
            self.assertIsNotNone(codec.call(stream, RequestHeaders(b"POST", b"/", b"a"), b"message"))
            sinks.append(stream)
        codec.dataToSend()
        # Trailers are known from the second time on.
        other = StreamSink([], 2 * count + 1)
        codec.request(other, RequestHeaders(b"GET", b"/", b"a"), True)
        codec.receiveData(headers(2 * count + 1, OK, False) + data(2 * count + 1, b"x") + headers(2 * count + 1, END))
        codec.dataToSend()
        return codec, sinks, sink.transcript

    def answer(self, number: int) -> bytes:
        """
        An answer.
        """
        return headers(number, OK, False) + data(number, b"m%d" % number) + headers(number, END)

    def test_whole(self) -> None:
        """
        Answers in one read are told in one step each, be the frames of one between those of another.
        """
        for wire in (
            self.answer(1) + self.answer(3) + self.answer(5),
            b"".join(headers(n, OK, False) + data(n, b"m%d" % n) for n in (5, 3, 1))
            + b"".join(headers(n, END) for n in (1, 3, 5)),
        ):
            codec, sinks, transcript = self.codec()
            codec.receiveData(wire)
            self.assertEqual([sink.whole for sink in sinks], [1, 1, 1])
            self.assertEqual(codec.streams, {})
            self.assertEqual(byStream(transcript)[3][1:], [("data", 3, b"m3", False), ("trailers", 3, END)])
            # What nginx does when it answered before it looked at the message.
            codec.receiveData(reset(1, 0))

    def test_resetBehind(self) -> None:
        """
        The reset of a stream behind its answer changes nothing, be there one or not, or be it of another stream, which
        then is reset.
        """
        for behind, left in ((b"", [3, 5]), (reset(1, 0), [3, 5]), (reset(3, 8), [5]), (reset(1) + reset(3), [5])):
            codec, sinks, transcript = self.codec()
            codec.receiveData(self.answer(1) + behind + self.answer(5)[:4])
            self.assertEqual((list(codec.streams), sinks[0].whole), (left, 1))
            self.assertEqual(("reset", 3) in [told[:2] for told in transcript], 3 not in left)
            self.assertEqual(codec.counters.trailers.value, 0)
            self.assertEqual(codec.counters.streamsActive.value, len(left))

    def test_otherTrailers(self) -> None:
        """
        Trailers that were known go with the dynamic table that they were known by.
        """
        codec, sinks, _ = self.codec(5)
        named = b"\x40\x01a\x01b"
        indexed = frame(1, 5, 7, b"\xbe")
        codec.receiveData(headers(1, OK, False) + data(1, b"m") + frame(1, 5, 1, named))
        codec.receiveData(headers(3, OK, False) + data(3, b"m") + frame(1, 5, 3, b"\xbe"))
        codec.receiveData(headers(5, OK, False) + data(5, b"m") + frame(1, 5, 5, b"\x40\x01c\x01d"))
        codec.receiveData(headers(7, OK, False) + data(7, b"m") + indexed)
        codec.receiveData(headers(9, OK, False) + data(9, b"m") + frame(1, 5, 9, b"\xbe"))
        seen = [told[2] for told in sinks[0].transcript if told[0] == "trailers"]
        self.assertEqual(seen, [[pair] for pair in [(b"a", b"b")] * 2 + [(b"c", b"d")] * 3])

    def test_manyTurns(self) -> None:
        """
        However many answers come at once, others have their turn between.
        """
        codec, sinks, _ = self.codec(300)
        codec.receiveData(b"".join(self.answer(number) for number in range(1, 600, 2)))
        turns = 1
        while codec.hasRest:
            codec.resume()
            turns += 1
        self.assertGreaterEqual(turns, 2)
        self.assertEqual(codec.streams, {})
        self.assertEqual({sink.whole for sink in sinks}, {1})

    def test_everySplit(self) -> None:
        """
        However they are cut, and whether anybody takes them in one step or not, the same is told.
        """
        wire = self.answer(1) + headers(3, OK, False) + self.answer(5) + data(3, b"x") + reset(5, 0) + headers(3, END)
        expected = None
        for takesAnswer in (True, False):
            for pieces in splits(wire):
                codec, _, transcript = self.codec(takesAnswer=takesAnswer)
                for piece in pieces:
                    codec.receiveData(piece)
                seen = byStream(transcript), codec._receiveWindow, codec._uncredited, codec.streams
                expected = expected or seen
                self.assertEqual(seen, expected)

    def test_notWhole(self) -> None:
        """
        What lets an answer not be told in one step: trailers alone, a message in pieces or none, a length that it does
        not have, a reset between.
        """
        length = [*OK, (b"content-length", b"3")]
        for wire in (
            headers(1, [*OK, *END]),
            headers(1, OK, False) + data(1, b"m", True),
            headers(1, OK, False) + data(1, b"m") + data(1, b"n") + headers(1, END),
            headers(1, OK, False) + headers(1, END),
            headers(1, OK, False) + data(1, b""),
            headers(1, OK, False) + data(1, b"m", padding=1) + headers(1, END),
            headers(1, OK, False) + data(1, b"m") + reset(1, 0),
            headers(1, length, False) + data(1, b"m") + headers(1, END),
            headers(1, OK, False) + data(1, b"m") + headers(1, [*END, (b"a", b"other")]),
        ):
            codec, sinks, transcript = self.codec(1)
            codec.receiveData(wire)
            self.assertEqual((sinks[0].whole, transcript[0][:2]), (0, ("response", 1)))
        codec, sinks, _ = self.codec(1)
        codec.receiveData(headers(1, [*OK, (b"content-length", b"1")], False) + data(1, b"m") + headers(1, END))
        self.assertEqual(sinks[0].whole, 1)

    def test_unsent(self) -> None:
        """
        An answer that overtakes the rest of its request takes the long way, and the request is reset.
        """
        codec, sink, _ = upstream()
        codec.receiveData(settings((4, 3)))
        stream = WholeStream(sink.transcript, 1)
        head = RequestHeaders(b"POST", b"/", b"a")
        self.assertIsNone(codec.call(stream, head, b"message"))
        codec.request(stream, head, False).sendData(b"message", True)
        codec.receiveData(self.answer(1))
        self.assertEqual(stream.whole, 0)
        self.assertEqual(list(codec.streams), [1])

    def test_oneStep(self) -> None:
        """
        A call goes out as one head and one message; where it cannot go at once, nothing is done.
        """
        codec, sink, _ = upstream()
        head = RequestHeaders(b"POST", b"/", b"a", [(b"content-length", b"7")])
        stream = codec.call(StreamSink(sink.transcript, 1), head, b"message")
        assert stream is not None
        self.assertEqual([each[:3] for each in framesIn(codec.dataToSend())], [(1, 4, 1), (0, 1, 1)])
        self.assertEqual((stream.canSend, stream.sendWindow, codec.sendWindow), (False, 65528, 65528))
        for wrong in (
            lambda: codec.call(
                StreamSink([], 3), RequestHeaders(b"POST", b"/", b"a", [(b"content-length", b"8")]), b"message"
            ),
            lambda: codec.call(
                StreamSink([], 3), RequestHeaders(b"POST", b"/", b"a", [(b"upgrade", b"x")]), b"message"
            ),
            lambda: codec.call(StreamSink([], 3), RequestHeaders(b"CONNECT", b"", b"a"), b"message"),
            lambda: codec.call(StreamSink([], 3), head, b"m" * 16385),
        ):
            self.assertIsNone(wrong())
            self.assertEqual((list(codec.streams), codec._nextId, codec.sendWindow), ([1], 3, 65528))
        codec.pauseSending()
        self.assertIsNone(codec.call(StreamSink([], 3), head, b"message"))

    def test_anything(self) -> None:
        """
        Any frames in any order, all in one read and each in one of its own, tell the same of each stream and answer the
        same.
        """
        random = Random(8)
        whole = 0
        for _ in range(400):
            wire = [self._any(random) for _ in range(random.randint(2, 14))]
            seen = []
            for reads in ([b"".join(wire)], wire):
                codec, sinks, transcript = self.codec(
                    6, initialStreamWindow=50, streamErrorOnInvalidMessage=len(wire) % 2 > 0
                )
                failed = ""
                try:
                    for read in reads:
                        codec.receiveData(read)
                except RemoteProtocolError as error:
                    failed = error.why
                frames = sorted(each for each in framesIn(codec.dataToSend()))
                seen.append((byStream(transcript), frames, failed, codec._receiveWindow, codec._uncredited))
                whole += sum(sink.whole for sink in sinks)
            self.assertEqual(*seen)
        self.assertGreater(whole, 100)

    def test_alike(self) -> None:
        """
        Runs of answers that are alike in all lengths, with resets behind them or none, and among them some that are
        not in a frame, a byte or a stream: the same is told as of single frames.
        """
        random = Random(9)
        whole = 0
        for _ in range(300):
            streams = random.sample(range(1, 41, 2), 20)
            wire: list[bytes] = []
            isReset, body = random.random() < 0.5, b"body"
            for number in streams:
                if random.random() < 0.15:
                    isReset = not isReset
                if random.random() < 0.15:
                    body = random.choice((b"body", b"BODY", b"longer", b"b"))
                frames = [headers(number, OK, False), data(number, body), headers(number, END)]
                if isReset:
                    frames.append(reset(number, 0))
                if random.random() < 0.1:
                    self._spoil(random, frames, number, streams[0])
                wire += frames
            seen = []
            read = b"".join(wire)
            cut = random.randrange(len(read))
            for reads in (wire, [read], [read[:cut], read[cut:]]):
                codec, sinks, transcript = self.codec(20, initialStreamWindow=50, streamErrorOnInvalidMessage=True)
                failed = ""
                try:
                    for each in reads:
                        codec.receiveData(each)
                        while codec.hasRest:
                            codec.resume()
                except RemoteProtocolError as error:
                    failed = error.why
                sent = sorted(each for each in framesIn(codec.dataToSend()))
                seen.append((byStream(transcript), sent, failed, codec._receiveWindow, codec._uncredited))
                whole += sum(sink.whole for sink in sinks) if reads[0] == read else 0
            self.assertEqual(seen[1], seen[0])
            self.assertEqual(seen[2], seen[0])
        self.assertGreater(whole, 2000)

    def _spoil(self, random: Random, frames: list[bytes], number: int, other: int) -> None:
        """
        Make something else of one of the frames of an answer.
        """
        place = random.randrange(len(frames))
        frame = frames[place]
        ways: list[list[bytes]] = [
            [],
            [frame, ping()],
            [frame[:4] + b"\1" + frame[5:]],
            [frame[:8] + bytes((other,)) + frame[9:]],
            [headers(number, [*END, (b"x", b"y")])],
            [data(number, b"m" * 51)],
            [headers(number, [(b":status", b"503")], False)],
        ]
        frames[place : place + 1] = random.choice(ways)

    def _any(self, random: Random) -> bytes:
        number = random.choice((1, 3, 5, 7, 9, 11))
        makes: list[Callable[[], bytes]] = [
            *[lambda: self.answer(number)] * 4,
            *[lambda: headers(number, OK, random.random() < 0.1)] * 4,
            lambda: headers(number, [*OK, (b"content-length", random.choice((b"2", b"4")))], False),
            lambda: headers(number, [(b":status", b"103")], False),
            *[lambda: data(number, b"body"[: random.randint(0, 4)], random.random() < 0.2)] * 6,
            lambda: data(number, b"body", padding=random.randint(0, 9)),
            lambda: data(number, b"m" * 51),
            *[lambda: headers(number, END)] * 4,
            lambda: headers(number, END, False),
            lambda: headers(number, [(b":a", b"b")]),
            lambda: reset(number, random.choice((0, 7))),
            lambda: windowUpdate(random.choice((0, number)), random.choice((1, 1000, 2**31 - 1))),
            lambda: settings((4, random.randint(0, 100))),
            lambda: ping(),
            lambda: goAway(random.choice((1, 3, 5))),
        ]
        return random.choice(makes)()
