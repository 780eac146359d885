"""
Storms of HTTP/2 on both sides of a proxy in memory: whatever clients and upstreams do, nothing is left, and each
response is to its own request.
"""

from __future__ import annotations

from random import Random
from typing import Any

from meshproxy.testing.bootstraps import BACKEND
from tests.codec.http2.frames import data, goAway, headers, ping, reset, settings, windowUpdate
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.http.http2support import HTTP2Case, HTTP2Peer

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = {
    "typed_extension_protocol_options": {
        _OPTIONS: {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": 65535}},
        }
    }
}


class StormTests(HTTP2Case):
    """
    What peers do at random.
    """

    capacity = 20000

    def respond(self, connection: ServiceConnection, request: Seen) -> None:
        """
        Answer with what was asked for, or do something else.
        """
        random = self.random
        streamId = request.streamId
        name = request.get(b"x-name") or b""
        kind = random.randrange(14)
        head = headers(streamId, [(b":status", b"200"), (b"x-name", name)], False)
        if kind < 6:
            connection.write(head + data(streamId, name * random.randrange(1, 50), True))
        elif kind == 6:
            connection.write(head + data(streamId, name) + headers(streamId, [(b"t", name)]))
        elif kind == 7:
            connection.write(reset(streamId, random.choice((0, 2, 7, 8))))
        elif kind == 8:
            connection.write(head + data(streamId, name) + reset(streamId, 2))
        elif kind == 9:
            connection.write(goAway(random.choice((streamId, max(streamId - 2, 0), 2**31 - 1))))
        elif kind == 10:
            connection.write(settings((3, random.randrange(3)), (4, random.randrange(100000))))
            connection.write(head + data(streamId, name, True))
        elif kind == 11:
            connection.write(
                random.choice((ping(bytes(7)), head + head, data(streamId, b"x"), windowUpdate(streamId, 0)))
            )
        elif kind == 12:
            transport: Any = connection.transport
            transport.abortConnection()
        # Else nothing: a time-out ends it.

    def act(self, peer: HTTP2Peer, names: dict[tuple[HTTP2Peer, int], bytes]) -> None:
        """
        One thing that a client does.
        """
        random = self.random
        kind = random.randrange(10)
        if kind < 5:
            name = b"%d" % random.getrandbits(40)
            body = random.choice((None, None, b"", bytes(random.randrange(30000))))
            streamId = peer.ask((b"x-name", name), body=body, endStream=bool(random.randrange(4)))
            names[peer, streamId] = name
        elif kind == 5 and peer.nextId > 1:
            peer.write(reset(random.randrange(1, peer.nextId, 2)))
        elif kind == 6:
            peer.write(settings((4, random.randrange(100000))) + ping())
        elif kind == 7 and peer.nextId > 1:
            streamId = random.randrange(1, peer.nextId, 2)
            peer.write(windowUpdate(0, 50000) + windowUpdate(streamId, 50000))
        elif kind == 8 and not random.randrange(8):
            peer.abort()
        elif kind == 9 and not random.randrange(8):
            peer.pause()
        else:
            peer.resume()

    def storm(self, seed: int) -> int:
        """
        A storm, and the calm after it.

        @return: How many responses came whole.
        """
        self.random = random = Random(seed)
        self.start(
            chance=random.random,
            cluster=_HTTP2,
            route={"timeout": "20s", "retry_policy": {"retry_on": "refused-stream,reset", "num_retries": 1}},
            listener={"per_connection_buffer_limit_bytes": 30000},
            manager={"http2_protocol_options": {"initial_stream_window_size": 65535}, "stream_idle_timeout": "30s"},
        )
        self.backend.stop()
        service = HTTP2Backend(self.proxy, BACKEND)
        service.respond = self.respond
        names: dict[tuple[HTTP2Peer, int], bytes] = {}
        peers = [self.connect(credits=bool(number % 3)) for number in range(6)]
        for _ in range(120):
            peer = random.choice(peers)
            if peer.lost is not None or peer.ended:
                peers.remove(peer)
                peer = self.connect()
                peers.append(peer)
            self.act(peer, names)
            if random.randrange(3):
                self.proxy.settle()
            if not random.randrange(10):
                self.proxy.advance(random.random() * 3)
        for peer in peers:
            if peer.lost is None:
                peer.resume()
        self.proxy.advance(100.0)
        for (peer, streamId), name in names.items():
            answered = peer.of(streamId)
            if answered.status == 200:
                self.assertEqual(answered.header(b"x-name"), name)
                self.assertEqual(answered.body.replace(name, b""), b"")
        for peer in peers:
            if peer.lost is None:
                peer.abort()
        self.proxy.advance(40.0)
        self.assertQuiet()
        for gauge in ("http2.streams_active", "http2.pending_send_bytes"):
            self.assertEqual(self.proxy.stat(gauge), 0)
            self.assertEqual(self.clusterStat(gauge), 0)
        breaker = self.proxy.server.context.clusters.byName["backend"].breaker("DEFAULT")
        self.assertEqual((breaker.requests.used, breaker.pending.used), (0, 0))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.proxy.stop()
        return sum(peer.of(streamId).ended and peer.of(streamId).status == 200 for peer, streamId in names)

    def test_storms(self) -> None:
        """
        Some of them, each with its seed.
        """
        whole = sum(self.storm(seed) for seed in range(12))
        self.assertGreater(whole, 100)
