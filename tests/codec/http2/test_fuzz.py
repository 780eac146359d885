"""
The codec under mutated bytes, and against the package C{h2} as its peer.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

import h2.config
import h2.connection
import h2.events
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import DownstreamCodec, Http2Options, UpstreamCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http2 import frames
from tests.codec.http2.helpers import RecordingSink, StreamSink, downstream, upstream

REQUESTS = [
    frames.headers(1, frames.request()),
    frames.headers(3, frames.request(method=b"POST"), False) + frames.data(3, b"hello", True),
    frames.headers(5, frames.block(frames.request((b"a", b"b")), 0x40), False, padding=3),
    frames.data(5, b"x", padding=9) + frames.headers(5, [(b"t", b"1")]),
    frames.headers(7, b"\x82\x84\x86", True, False) + frames.continuation(7, b"\xbe"),
    frames.settings((4, 100), (1, 0), (5, 20000)),
    frames.windowUpdate(0, 1000) + frames.windowUpdate(1, 5),
    frames.ping() + frames.priority(9, 1) + frames.reset(3),
    frames.goAway(0, 0, b"x"),
]
RESPONSES = [
    frames.headers(1, [(b":status", b"200"), (b"content-length", b"2")], False) + frames.data(1, b"ok", True),
    frames.headers(3, [(b":status", b"103")], False) + frames.headers(3, [(b":status", b"200")], False),
    frames.data(3, b"x") + frames.headers(3, [(b"t", b"1")]),
    frames.settings((3, 0)) + frames.windowUpdate(5, 70000),
    frames.goAway(1) + frames.reset(5),
]


def mutate(random: Random, wire: bytearray) -> None:
    """
    Change, drop or insert a few bytes.
    """
    for _ in range(random.randrange(4)):
        place = random.randrange(len(wire))
        kind = random.randrange(3)
        if kind == 0:
            wire[place] = random.randrange(256)
        elif kind == 1:
            del wire[place : place + random.randrange(1, 4)]
        else:
            wire[place:place] = random.randbytes(random.randrange(1, 4))
        if not wire:
            return


class MutationTests(SynchronousTestCase):
    """
    Bytes never cause another exception than L{ProtocolError}.
    """

    def feed(self, random: Random, codec: Any, sink: RecordingSink, samples: list[bytes]) -> None:
        """
        Feed a mutated conversation in random pieces.
        """
        wire = bytearray(b"".join(random.sample(samples, random.randrange(1, len(samples)))))
        mutate(random, wire)
        position = 0
        with contextlib.suppress(ProtocolError):
            while position < len(wire):
                step = random.choice((1, 7, 100, 10000))
                codec.receiveData(bytes(wire[position : position + step]))
                position += step
                for stream in list(codec.streams.values()):
                    action = random.randrange(6)
                    if action == 0:
                        stream.sendData(random.randbytes(random.randrange(50000)), bool(random.randrange(2)))
                    elif action == 1:
                        stream.sendTrailers(HeaderMap([(b"a", b"b")]))
                    elif action == 2:
                        stream.reset()
                    elif action == 3:
                        stream.stopReading()
                frames.framesIn(codec.dataToSend())
        while codec.dataToSend():
            pass
        self.assertEqual(codec.counters.streamsActive.value, len(codec.streams))
        self.assertEqual(codec.unsent, sum(stream.unsent for stream in codec.streams.values()))

    def test_downstream(self) -> None:
        """
        Requests.
        """
        random = Random(9113)
        for number in range(1500):
            codec, sink, _ = downstream(streamErrorOnInvalidMessage=bool(number % 2), initialStreamWindow=65535)
            self.feed(random, codec, sink, REQUESTS)

    def test_upstream(self) -> None:
        """
        Responses.
        """
        random = Random(9114)
        for number in range(1000):
            codec, sink, _ = upstream(streamErrorOnInvalidMessage=bool(number % 2))
            for _ in range(3):
                codec.request(StreamSink(sink.transcript, 0), RequestHeaders(b"POST", b"/", b"a"), False)
            self.feed(random, codec, sink, RESPONSES)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.binary(max_size=300))
    def test_anything(self, wire: bytes) -> None:
        """
        Bytes of any kind behind a good beginning.
        """
        for make in (downstream, upstream):
            codec, _, _ = make()
            with contextlib.suppress(ProtocolError):
                codec.receiveData(wire)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.binary(max_size=200))
    def test_sections(self, section: bytes) -> None:
        """
        Field sections of any kind.
        """
        codec, _, _ = downstream()
        with contextlib.suppress(ProtocolError):
            codec.receiveData(frames.headers(1, section))


class PeerTests(SynchronousTestCase):
    """
    The package C{h2} understands this codec, and this codec it.
    """

    def test_asServer(self) -> None:
        """
        C{h2} asks a hundred times, with bodies; each answer arrives whole.
        """
        random = Random(2)
        sink = RecordingSink()
        codec = DownstreamCodec(sink, Http2Options(initialStreamWindow=65535, initialConnectionWindow=65535))
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        peer.initiate_connection()
        answers: dict[int, bytes] = {}
        statuses: dict[int, bytes] = {}

        def exchange() -> None:
            while True:
                out = peer.data_to_send()
                if out:
                    codec.receiveData(out)
                back = codec.dataToSend()
                if back:
                    for event in peer.receive_data(back):
                        if isinstance(event, h2.events.DataReceived):
                            assert event.stream_id is not None and event.data is not None
                            answers[event.stream_id] = answers.get(event.stream_id, b"") + event.data
                            peer.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                        elif isinstance(event, h2.events.ResponseReceived):
                            assert event.stream_id is not None and event.headers is not None
                            statuses[event.stream_id] = bytes(dict(event.headers)[b":status"])
                if not out and not back:
                    return

        exchange()
        sent = {}
        for number in range(100):
            streamId = 2 * number + 1
            body = random.randbytes(random.choice((0, 10, 20000, 60000)))
            fields = [*frames.request(method=b"POST"), (b"x-number", b"%d" % number), (b"x-same", b"value")]
            peer.send_headers(streamId, fields, end_stream=not body)
            for start in range(0, len(body), 16384):
                peer.send_data(streamId, body[start : start + 16384], end_stream=start + 16384 >= len(body))
                exchange()
            exchange()
            answer = random.randbytes(random.choice((0, 10, 100000)))
            sent[streamId] = answer
            stream = sink.streams[-1]
            stream.sendHeaders(ResponseHeaders(200, [(b"x-number", b"%d" % number)]), not answer)
            if answer:
                stream.sendData(answer, True)
            exchange()
        self.assertEqual(set(statuses.values()), {b"200"})
        self.assertEqual({streamId: answers.get(streamId, b"") for streamId in sent}, sent)
        self.assertEqual(codec.streams, {})

    def test_asClient(self) -> None:
        """
        C{h2} answers a hundred requests with their own bodies.
        """
        random = Random(3)
        sink = RecordingSink()
        codec = UpstreamCodec(sink, Http2Options(initialStreamWindow=65535, initialConnectionWindow=65535))
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        peer.initiate_connection()
        bodies: dict[int, bytes] = {}

        def exchange() -> None:
            while True:
                out = codec.dataToSend()
                for event in peer.receive_data(out) if out else []:
                    if isinstance(event, h2.events.DataReceived):
                        assert event.stream_id is not None and event.data is not None
                        bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                        peer.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        assert event.stream_id is not None
                        body = bodies.get(event.stream_id, b"")
                        peer.send_headers(event.stream_id, [(b":status", b"200"), (b"x-same", b"y")])
                        while body:
                            room = min(peer.local_flow_control_window(event.stream_id), 16384)
                            peer.send_data(event.stream_id, body[:room])
                            body = body[room:]
                            codec.receiveData(peer.data_to_send())
                            peer.receive_data(codec.dataToSend())
                        peer.end_stream(event.stream_id)
                back = peer.data_to_send()
                if back:
                    codec.receiveData(back)
                if not out and not back:
                    return

        exchange()
        for number in range(100):
            body = random.randbytes(random.choice((1, 10, 100000)))
            sink.transcript.clear()
            head = RequestHeaders(b"POST", b"/", b"a", [(b"x-number", b"%d" % number), (b"x-same", b"value")])
            stream = codec.request(StreamSink(sink.transcript, 1), head, False)
            stream.sendData(body, True)
            exchange()
            self.assertEqual(b"".join(entry[2] for entry in sink.transcript if entry[0] == "data"), body)
            self.assertEqual(sink.transcript[-1][3], True)
        self.assertEqual(codec.streams, {})
