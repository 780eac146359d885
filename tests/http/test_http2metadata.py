# -*- test-case-name: tests.http.test_http2metadata -*-
"""
METADATA on its way through the proxy; beside Envoy it is in C{tests.conformance.test_metadata}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.interfaces import STOP
from meshproxy.testing.bootstraps import BACKEND, httpFilter
from tests.codec.http2.frames import data, headers, request
from tests.codec.http2.test_metadata import PAIRS, metadata
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.http.http2support import HTTP2Case
from tests.http.support import scripted

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ALLOWED = {"allow_metadata": True}


class MetadataTests(HTTP2Case):
    """
    What goes on, and what does not.
    """

    def begin(self, *filters: Any, up: bool = True, more: dict[str, Any] | None = None, **config: Any) -> HTTP2Backend:
        """
        A proxy whose downstream allows METADATA, and its service.
        """
        kind = "http2_protocol_options" if up else "http_protocol_options"
        held = {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {kind: _ALLOWED if up else {}},
            **(more or {}),
        }
        self.start(
            *filters,
            manager={"http2_protocol_options": _ALLOWED},
            cluster={"typed_extension_protocol_options": {_OPTIONS: held}},
            **config,
        )
        if up:
            self.backend.stop()
            return HTTP2Backend(self.proxy, BACKEND)
        return None  # type: ignore[return-value]  # the one of HTTP/1.1 is there

    def kinds(self, service: HTTP2Backend) -> list[int]:
        """
        What came of a request, by the types of frames.
        """
        return [kind for kind, _, streamId, _ in service.connections[-1].frames if streamId and kind in (0, 1, 3, 0x4D)]

    def test_bothWays(self) -> None:
        """
        Pairs pass in both directions, in their place between the parts of the messages.
        """

        def respond(connection: ServiceConnection, seen: Seen) -> None:
            connection.write(headers(seen.streamId, [(b":status", b"200")], False) + metadata(seen.streamId, *PAIRS))
            connection.write(data(seen.streamId, b"yes", True))

        service = self.begin()
        service.respond = respond
        peer = self.connect()
        self.get(peer)
        peer.write(headers(3, request(method=b"POST"), False) + metadata(3, *PAIRS) + data(3, b"abc", True))
        self.proxy.settle()
        self.assertEqual(self.kinds(service), [1, 1, 0x4D, 0])
        self.assertIn(metadata(3, *PAIRS)[9:], peer.received)
        self.assertEqual(peer.of(3).body, b"yes")
        self.assertQuiet()

    def test_held(self) -> None:
        """
        What comes while a filter holds the head, or before there is a connection, follows the head when that goes on.
        """
        streams: list[Any] = []

        def hold(stream: Any, headers: Any, endStream: bool) -> object:
            streams.append(stream)
            return STOP

        service = self.begin(scripted(requestHeaders=hold))
        peer = self.connect()
        peer.write(headers(1, request(method=b"POST"), False) + metadata(1, *PAIRS) + data(1, b"abc", True))
        self.proxy.settle()
        self.assertEqual(service.connections, [])
        streams[0].resumeRequest()
        self.proxy.settle()
        self.assertEqual(self.kinds(service), [1, 0x4D, 0])
        self.assertQuiet()

    def test_upstreamFilters(self) -> None:
        """
        It passes filters on the way upstream as well.
        """
        codec = httpFilter("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
        service = self.begin(more={"http_filters": [codec]})
        peer = self.connect()
        for number in (1, 3):
            peer.write(headers(number, request(method=b"POST"), False) + metadata(number, *PAIRS))
            peer.write(data(number, b"abc", True))
            self.proxy.settle()
        self.assertEqual(sorted(self.kinds(service)), [0, 0, 1, 1, 0x4D, 0x4D])
        self.assertQuiet()

    def test_toHTTP1(self) -> None:
        """
        HTTP/1.1 has none: the request passes without, which is counted; with filters on the way upstream too.
        """
        codec = httpFilter("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
        for more in ({}, {"http_filters": [codec]}):
            self.begin(up=False, more=more)
            peer = self.connect()
            peer.write(headers(1, request(method=b"POST"), False) + metadata(1, *PAIRS) + data(1, b"abc", True))
            self.proxy.settle()
            self.assertEqual((peer.of(1).status, self.backend.last.body), (200, b"abc"))
            self.assertEqual(self.clusterStat("http1.metadata_not_supported_error"), 1)

    def test_toTunnel(self) -> None:
        """
        Nor has a tunnel that ends here.
        """
        upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
        connect = {"match": {"connect_matcher": {}}, "route": {"cluster": "backend", "upgrade_configs": [upgrade]}}
        self.begin(up=False, routes=[connect])
        peer = self.connect()
        head = [(b":method", b"CONNECT"), (b":authority", b"a:80")]
        peer.write(headers(1, head, False))
        self.proxy.settle()
        peer.write(metadata(1, *PAIRS) + data(1, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", False))
        self.proxy.settle()
        self.assertEqual(peer.of(1).status, 200)
        self.assertIn(b"HTTP/1.1 200", peer.of(1).body)

    def test_tooMuchHeld(self) -> None:
        """
        No more of it waits than may be buffered.
        """
        self.begin(
            scripted(requestHeaders=lambda stream, headers, end: STOP),
            listener={"per_connection_buffer_limit_bytes": 1000},
        )
        peer = self.connect()
        peer.write(headers(1, request(method=b"POST"), False) + metadata(1, (b"a", b"x" * 1001)))
        self.proxy.settle()
        self.assertIsNotNone(peer.of(1).resetCode)
        self.assertQuiet()
