"""
The server's role.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, ResponseHeaders
from tests.codec.http2.frames import block, data, framesIn, goAway, headers, request, reset, windowUpdate
from tests.codec.http2.helpers import downstream


class RequestTests(SynchronousTestCase):
    """
    L{DownstreamCodec<meshproxy.codec.http2.DownstreamCodec>} reads requests.
    """

    def test_contentLength(self) -> None:
        """
        A body is as long as its content-length says, with trailers or without; else the client is told, and the sink.
        """
        post = request((b"content-length", b"5"), method=b"POST")
        begin = headers(1, post, False)
        for more in (data(1, b"hello", True), data(1, b"hel") + data(1, b"lo") + headers(1, [(b"a", b"b")])):
            codec, sink, counters = downstream()
            codec.receiveData(begin + more)
            self.assertEqual(counters.rxMessagingError.value, 0)
        for more in (
            data(1, b"hell", True),
            data(1, b"hello!", True),
            data(1, b"hello!"),
            headers(1, [(b"a", b"b")]),
            data(1, b"", True),
        ):
            codec, sink, counters = downstream(streamErrorOnInvalidMessage=True)
            codec.receiveData(begin + more)
            self.assertEqual(sink.transcript[-1], ("reset", 1, 1, False))
            self.assertEqual(counters.rxMessagingError.value, 1)
            codec, sink, counters = downstream()
            codec.receiveData(begin + more)
            self.assertEqual(sink.transcript[-1], ("reset", 1, 1, False))
        codec, sink, _ = downstream()
        self.assertRaises(RemoteProtocolError, codec.receiveData, headers(1, post))
        self.assertEqual(sink.transcript, [("refused", 1, "http2.violation.of.messaging.rule")])

    def test_malformedStream(self) -> None:
        """
        Where a malformed request ends its stream only, the connection, its table included, goes on.
        """
        codec, sink, _ = downstream(streamErrorOnInvalidMessage=True)
        codec.receiveData(headers(1, block(request((b"x-kept", b"1"), (b"A", b"b")), 0x40)))
        codec.receiveData(headers(3, block(request()) + b"\xbf"))
        self.assertEqual(sink.transcript[0][:2], ("refused", 1))
        self.assertIn((b"x-kept", b"1"), sink.transcript[1][2])
        self.assertEqual([frame[0] for frame in framesIn(codec.dataToSend())], [3])

    def test_overflow(self) -> None:
        """
        A head over the limit is refused, whatever is in it, and its stream alone ends.
        """
        codec, sink, counters = downstream(maxHeadBytes=1000)
        many = [(b"cookie", b"a=b")] * 90
        codec.receiveData(headers(1, request(*[(b"x-%d" % number, b"y" * 20) for number in range(45)])))
        codec.receiveData(headers(3, request(*many, *many)))
        codec.receiveData(headers(5, request()))
        self.assertEqual([entry[:2] for entry in sink.transcript], [("refused", 1), ("refused", 3), ("request", 5)])
        self.assertEqual(counters.headerListSizeTooLarge.value, 1)
        self.assertEqual(counters.headerOverflow.value, 1)

    def test_bombs(self) -> None:
        """
        CVE-2016-6581, CVE-2026-47774: a head that unfolds to many times the limits ends its connection; also where
        nobody would have read it.
        """
        large = headers(1, block(request(method=b"POST")) + block([(b"cookie", b"b" * 3900)], 0x40), False)
        for late in (b"", windowUpdate(1, 0)):
            codec, _, counters = downstream()
            codec.receiveData(large + late)
            bomb = headers(1 if late else 3, block(request()) + b"\xbe" * 15000)
            error = self.assertRaises(RemoteProtocolError, codec.receiveData, bomb)
            self.assertEqual((error.h2Code, error.details), (11, "http2.header_list_size_too_large"))
            self.assertEqual(counters.headerListSizeTooLarge.value, 1)
        codec, _, counters = downstream()
        many = headers(1, block(request()) + b"\x00\x01a\x00" * 801)
        error = self.assertRaises(RemoteProtocolError, codec.receiveData, many)
        self.assertEqual((error.h2Code, error.details), (11, "http2.too_many_headers"))
        self.assertEqual(counters.headerOverflow.value, 1)

    def test_mostStreams(self) -> None:
        """
        More streams than were allowed are refused; those that ended make room.
        """
        codec, sink, counters = downstream(maxConcurrentStreams=2)
        codec.receiveData(b"".join(headers(streamId, request()) for streamId in (1, 3, 5)))
        self.assertEqual(framesIn(codec.dataToSend()), [(3, 0, 5, b"\0\0\0\7")])
        self.assertEqual(counters.streamRefusedErrors.value, 1)
        sink.streams[0].sendHeaders(ResponseHeaders(204), True)
        codec.receiveData(headers(7, request()))
        self.assertEqual(sorted(codec.streams), [3, 7])
        self.assertEqual(counters.streamsActive.value, 2)

    def test_afterGoAway(self) -> None:
        """
        Streams after the announced last one are neither served nor an error, and keep the table right.
        """
        codec, sink, _ = downstream()
        codec.sendGoAway(lastStreamId=2**31 - 1)
        codec.receiveData(headers(1, request()))
        codec.sendGoAway()
        codec.receiveData(headers(3, block(request((b"x-kept", b"1")), 0x40)) + data(3, b"x"))
        self.assertEqual([entry[1] for entry in sink.transcript], [1])

    def test_remembered(self) -> None:
        """
        The same bytes give the same head again, each time another object; not when the table changed in between.
        """
        codec, sink, _ = downstream()
        whole = block(request((b"a", b"1"), (b"b", b"2")))
        codec.receiveData(headers(1, whole))
        codec.receiveData(headers(3, whole))
        self.assertEqual(sink.transcript[0][2], sink.transcript[1][2])
        codec.receiveData(headers(5, block([*request(), (b"x", b"old")], 0x40)))
        indexed = b"\xc2\xc1\xc0\xbf\xbe"
        codec.receiveData(headers(7, indexed) + headers(9, indexed))
        codec.receiveData(headers(11, block(request()) + block([(b"x", b"new")], 0x40)))
        codec.receiveData(headers(13, block(request()) + b"\xbe"))
        self.assertEqual(sink.transcript[4][2][-1], (b"x", b"old"))
        self.assertEqual(sink.transcript[6][2][-1], (b"x", b"new"))

    def test_rememberedWithLength(self) -> None:
        """
        So does a head that tells how long the body is; the body is held to it each time, and its absence is noticed.
        """
        post = block(request((b"content-length", b"5"), method=b"POST"))
        codec, sink, _ = downstream()
        for number in range(1, 9, 2):
            codec.receiveData(headers(number, post, False) + data(number, b"hello", True))
        self.assertIn(post, codec._knownWithLength)
        self.assertEqual(
            sink.transcript[:2], [("request", 1, sink.transcript[0][2], False), ("data", 1, b"hello", True)]
        )
        for number in range(3):
            self.assertEqual(
                [each[2:] for each in sink.transcript[2 * number :][:2]], [each[2:] for each in sink.transcript[:2]]
            )
        codec.receiveData(headers(9, post, False) + data(9, b"hell", True))
        self.assertEqual(sink.transcript[-1], ("reset", 9, 1, False))
        self.assertRaises(RemoteProtocolError, codec.receiveData, headers(11, post))
        self.assertEqual(sink.transcript[-1], ("refused", 11, "http2.violation.of.messaging.rule"))

    def test_rememberedTrailers(self) -> None:
        """
        Trailers are remembered likewise, for as long as the table is the same, and are the sink's to change.
        """
        codec, sink, counters = downstream()
        kept: list[HeaderMap] = []
        sink.during = lambda stream: self.patch(stream.sink, "trailersReceived", kept.append)
        codec.receiveData(headers(1, block([*request(), (b"x", b"old")], 0x40)))
        number = 3
        for section in (block([(b"t", b"1")]), b"\xbe", b"\xbe"):
            for _ in range(3):
                codec.receiveData(headers(number, request(method=b"POST"), False) + headers(number, section))
                number += 2
            self.assertEqual(kept[-1], kept[-2])
            kept[-1].set(b"t", b"changed")
            codec.receiveData(headers(number, request(method=b"POST"), False) + headers(number, section))
            number += 2
            self.assertEqual(kept[-1], kept[-3])
            if section == b"\xbe" and kept[-1].get(b"x") == b"old":
                codec.receiveData(headers(number, block([*request(), (b"x", b"new")], 0x40)))
                number += 2
        self.assertEqual([trailers.get(b"x") for trailers in kept if b"t" not in trailers], [b"old"] * 3 + [b"new"] * 3)
        self.assertEqual(counters.trailers.value, 12)
        # Wrong ones stay wrong: those that end nothing.
        self.assertRaises(
            RemoteProtocolError, codec.receiveData, headers(number, request(), False) + headers(number, b"\xbe", False)
        )

    def test_changed(self) -> None:
        """
        What filters do to a head does not change the one that is remembered.
        """
        codec, sink, _ = downstream()
        whole = block(request((b"a", b"1")))
        seen = []

        def requestReceived(stream: object, head: HeaderMap, endStream: bool) -> None:
            seen.append(list(head.fields()))
            head.set(b"a", b"2")
            head.add(b"b", b"3")

        codec._sink.requestReceived = requestReceived  # a sink of this test only
        codec.receiveData(headers(1, whole) + headers(3, whole) + headers(5, whole))
        self.assertEqual(seen, [[(b"a", b"1")]] * 3)

    def test_goAwayOfClient(self) -> None:
        """
        A client that goes away is told of.
        """
        codec, sink, _ = downstream()
        codec.receiveData(goAway(0, 2, b"bye"))
        self.assertEqual(sink.transcript, [("goaway", 0, 2, b"bye")])


class ResponseTests(SynchronousTestCase):
    """
    L{DownstreamCodec<meshproxy.codec.http2.DownstreamCodec>} writes responses.
    """

    def test_interim(self) -> None:
        """
        An interim response, a head, a body and trailers.
        """
        codec, sink, _ = downstream()
        codec.receiveData(headers(1, request()))
        stream = sink.streams[0]
        stream.sendInformational(ResponseHeaders(103, [(b"link", b"x")]))
        stream.sendHeaders(ResponseHeaders(200), False)
        stream.sendData(b"ok", False)
        stream.sendTrailers(HeaderMap([(b"a", b"b")]))
        self.assertEqual([frame[:2] for frame in framesIn(codec.dataToSend())], [(1, 4), (1, 4), (0, 0), (1, 5)])

    def test_rapidReset(self) -> None:
        """
        A stream that is reset at once leaves nothing behind, however often.
        """
        codec, sink, counters = downstream()
        for streamId in range(1, 4001, 2):
            codec.receiveData(headers(streamId, request()) + reset(streamId))
        self.assertEqual(codec.streams, {})
        self.assertEqual(counters.streamsActive.value, 0)
        self.assertEqual(counters.rxReset.value, 2000)
