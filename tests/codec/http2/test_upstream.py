"""
The client's role.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import CodecStream, UpstreamCodec
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders
from tests.codec.http2.frames import data, framesIn, goAway, headers, pushPromise, request, reset, settings
from tests.codec.http2.helpers import RecordingSink, StreamSink, upstream

OK = [(b":status", b"200")]


def ask(
    codec: UpstreamCodec, sink: RecordingSink, endStream: bool = True, method: bytes = b"GET", **fields: bytes
) -> CodecStream:
    """
    Send a request.
    """
    head = RequestHeaders(method, b"/", b"test", [(name.encode(), value) for name, value in fields.items()])
    streamSink = StreamSink(sink.transcript, 0)
    stream = codec.request(streamSink, head, endStream)
    streamSink.id = stream.id
    return stream


class RequestTests(SynchronousTestCase):
    """
    L{UpstreamCodec} writes requests.
    """

    def test_preface(self) -> None:
        """
        A connection begins with the preface, settings without push, and the window.
        """
        wire = UpstreamCodec(RecordingSink()).dataToSend()
        self.assertTrue(wire.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        frames = framesIn(wire[24:])
        self.assertEqual([frame[0] for frame in frames], [4, 8])
        self.assertTrue(frames[0][3].startswith(bytes.fromhex("000200000000")))

    def test_identifiers(self) -> None:
        """
        Streams are odd and count up.
        """
        codec, sink, _ = upstream()
        self.assertEqual([ask(codec, sink).id for _ in range(3)], [1, 3, 5])
        self.assertEqual([frame[:3] for frame in framesIn(codec.dataToSend())], [(1, 5, 1), (1, 5, 3), (1, 5, 5)])

    def test_peerLimit(self) -> None:
        """
        The peer's limit holds; it may be 0 for a while, before a GOAWAY too (CVE-2021-32780).
        """
        codec, sink, _ = upstream(maxConcurrentStreams=10)
        self.assertEqual(codec.availableStreams, 10)
        codec.receiveData(settings((3, 2)))
        ask(codec, sink)
        self.assertEqual(codec.availableStreams, 1)
        codec.receiveData(settings((3, 0)))
        self.assertEqual(codec.availableStreams, 0)
        self.assertRaises(LocalProtocolError, ask, codec, sink)
        codec.receiveData(settings((3, 5)))
        self.assertEqual(codec.availableStreams, 4)
        codec.receiveData(goAway(1) + settings((3, 0)) + settings((3, 5)))
        self.assertEqual(codec.availableStreams, 0)
        self.assertTrue(codec.isSpent)
        codec.receiveData(headers(1, OK))
        self.assertEqual(codec.streams, {})

    def test_takenBack(self) -> None:
        """
        A GOAWAY may serve fewer streams than the one before, never more; nor are settings acknowledged twice.
        """
        codec, _, _ = upstream()
        codec.receiveData(goAway(9) + goAway(5) + goAway(5))
        self.assertEqual(codec.goAwayReceived, 5)
        self.assertRaises(RemoteProtocolError, codec.receiveData, goAway(7))
        codec, _, _ = upstream()
        codec.receiveData(settings(ack=True))
        self.assertRaises(RemoteProtocolError, codec.receiveData, settings(ack=True))

    def test_tooLarge(self) -> None:
        """
        A response over the limits ends its stream, and as in Envoy that is called a reset; so do trailers.
        """
        codec, sink, counters = upstream(maxHeadBytes=1000)
        large = [(b"x", b"y" * 800)] * 20
        first, second, third = ask(codec, sink), ask(codec, sink), ask(codec, sink)
        codec.receiveData(headers(first.id, [*OK, *large]))
        codec.receiveData(headers(second.id, OK, False) + headers(second.id, large))
        codec.receiveData(headers(third.id, OK))
        resets = [entry for entry in sink.transcript if entry[0] == "reset"]
        self.assertEqual(resets, [("reset", first.id, 2, True), ("reset", second.id, 2, True)])
        self.assertEqual(sink.transcript[-1][:2], ("response", third.id))
        self.assertEqual(counters.headerListSizeTooLarge.value, 2)
        self.assertEqual([frame[3] for frame in framesIn(codec.dataToSend()) if frame[0] == 3], [b"\0\0\0\2"] * 2)

    def test_te(self) -> None:
        """
        RFC 9113, 8.2.2: te is of no use in a response, but for C{trailers}, which Envoy lets pass.
        """
        codec, sink, _ = upstream()
        codec.receiveData(headers(ask(codec, sink).id, [*OK, (b"te", b"trailers")]))
        self.assertRaises(RemoteProtocolError, codec.receiveData, headers(ask(codec, sink).id, [*OK, (b"te", b"gzip")]))


class ResponseTests(SynchronousTestCase):
    """
    L{UpstreamCodec} reads responses.
    """

    def test_interim(self) -> None:
        """
        Interim responses, a head, a body, trailers.
        """
        codec, sink, counters = upstream()
        stream = ask(codec, sink)
        codec.receiveData(headers(1, [(b":status", b"103")], False) + headers(1, OK, False))
        codec.receiveData(data(1, b"ab") + data(1, b"c") + headers(1, [(b"t", b"1")]))
        self.assertEqual(
            sink.transcript,
            [
                ("informational", 1, [(b":status", b"103")]),
                ("response", 1, [(b":status", b"200")], False),
                ("data", 1, b"abc", False),
                ("trailers", 1, [(b"t", b"1")]),
            ],
        )
        self.assertFalse(stream.canSend or stream.canReceive)
        # As in Envoy, trailers of responses are not counted.
        self.assertEqual(counters.trailers.value, 0)

    def test_whole(self) -> None:
        """
        The same head again, from memory, each its own.
        """
        codec, sink, _ = upstream()
        for _ in range(3):
            stream = ask(codec, sink)
            codec.receiveData(headers(stream.id, [*OK, (b"a", b"b")], False) + data(stream.id, b"x", True))
        self.assertEqual([entry[2] for entry in sink.transcript if entry[0] == "response"], [[*OK, (b"a", b"b")]] * 3)

    def test_malformed(self) -> None:
        """
        What is no response resets its stream; the others go on. Trailers without an end are among it (CVE-2026-73513).
        """
        announced = headers(1, [*OK, (b"content-length", b"5")], False)
        # As in Envoy these end their stream in any case.
        longer = (announced + data(1, b"1234", True), announced + data(1, b"123456"))
        for wire in (
            *longer,
            headers(1, [(b":status", b"99")]),
            headers(1, [(b":status", b"101")], False),
            headers(1, [(b":status", b"100")], True),
            headers(1, request()),
            headers(1, [*OK, (b"content-length", b"5")]),
            headers(1, [*OK, (b"transfer-encoding", b"chunked")]),
            headers(1, OK, False) + headers(1, [(b"t", b"1")], False),
            headers(1, OK, False) + headers(1, OK),
            data(1, b"x"),
            headers(1, [(b":status", b"103")], False) + data(1, b"x", True),
        ):
            codec, sink, counters = upstream(streamErrorOnInvalidMessage=True)
            ask(codec, sink)
            ask(codec, sink)
            codec.receiveData(wire)
            self.assertEqual(sink.transcript[-1], ("reset", 1, 1, False))
            self.assertEqual(counters.rxMessagingError.value, 1)
            codec.receiveData(headers(3, OK))
            self.assertEqual(sink.transcript[-1], ("response", 3, OK, True))
            codec, sink, counters = upstream()
            ask(codec, sink)
            if wire not in longer:
                self.assertRaises(RemoteProtocolError, codec.receiveData, wire)

    def test_bodiless(self) -> None:
        """
        An answer to HEAD, and 304, have no body whatever length they name.
        """
        codec, sink, _ = upstream()
        ask(codec, sink, method=b"HEAD")
        ask(codec, sink)
        codec.receiveData(headers(1, [*OK, (b"content-length", b"5")]))
        codec.receiveData(headers(3, [(b":status", b"304"), (b"content-length", b"5")]))
        self.assertEqual(codec.streams, {})

    def test_unasked(self) -> None:
        """
        A push, a response on a stream that was not begun: the end of the connection.
        """
        for wire in (pushPromise(1, 2, request()), headers(5, OK), headers(2, OK), data(3, b"x"), reset(3)):
            codec, sink, _ = upstream()
            ask(codec, sink)
            self.assertRaises(RemoteProtocolError, codec.receiveData, wire)

    def test_goAway(self) -> None:
        """
        What the peer does not serve is told so, and may be tried elsewhere; the rest ends in peace.
        """
        codec, sink, _ = upstream()
        for _ in range(3):
            ask(codec, sink)
        codec.receiveData(goAway(1, 0, b"bye"))
        self.assertEqual(
            sink.transcript,
            [("reset", 3, 7, True), ("reset", 5, 7, True), ("goaway", 1, 0, b"bye")],
        )
        codec.receiveData(headers(1, OK))
        self.assertEqual(sink.transcript[-1], ("response", 1, OK, True))

    def test_upgrade(self) -> None:
        """
        An upgrade that is accepted has status 101 for whoever asked, and bytes go both ways (RFC 8441).
        """
        codec, sink, _ = upstream()
        stream = ask(codec, sink, endStream=True, connection=b"upgrade", upgrade=b"websocket")
        codec.receiveData(headers(1, OK, False) + data(1, b"hi"))
        self.assertEqual(sink.transcript[0][2][0], (b":status", b"101"))
        codec.dataToSend()
        stream.sendData(b"ho", True)
        self.assertEqual(framesIn(codec.dataToSend()), [(0, 1, 1, b"ho")])
        refused = ask(codec, sink, endStream=True, connection=b"upgrade", upgrade=b"websocket")
        codec.receiveData(headers(refused.id, [(b":status", b"403")]))
        self.assertEqual(sink.transcript[-1], ("response", refused.id, [(b":status", b"403")], True))

    def test_requestTrailers(self) -> None:
        """
        A body and trailers.
        """
        codec, sink, _ = upstream()
        stream = ask(codec, sink, False, b"POST")
        stream.sendData(b"body", False)
        stream.sendTrailers(HeaderMap([(b"a", b"b")]))
        self.assertEqual([frame[:2] for frame in framesIn(codec.dataToSend())], [(1, 4), (0, 0), (1, 5)])
