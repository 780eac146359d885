"""
Tests of L{meshproxy.accesslog.attributes}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.attributes import ofConnections, ofStreams
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.config.cel.library import isError
from meshproxy.config.cel.program import compileText
from meshproxy.config.cel.syntax import ExpressionError
from meshproxy.flags import ResponseFlag
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.net.address import Address
from meshproxy.net.certificates import AltNames


class Session:
    """
    A TLS session.
    """

    isPresented = True
    peerAltNames = AltNames(uris=("spiffe://a/b", "spiffe://a/c"))
    localAltNames = AltNames(dns=("a.test",))

    def get(self, fact: str) -> str | None:
        """
        A fact.
        """
        return {"TLS_VERSION": "TLSv1.3", "PEER_SUBJECT": "CN=b", "PEER_FINGERPRINT_256": "abcd"}.get(fact)


class Host:
    """
    An endpoint.
    """

    address = Address("192.0.2.9", 80)

    class locality:
        """
        Where it is.
        """

        names = ("r", "z", "")


def stream() -> StreamInfo:
    """
    A stream of which everything is known.
    """
    info = StreamInfo()
    info.connection = ConnectionInfo()
    info.connection.id = 7
    info.connection.remoteAddress = Address("192.0.2.1", 1234)
    info.connection.localAddress = Address("192.0.2.2", 443)
    info.connection.requestedServerName = "a.test"
    info.connection.filterChainName = "chain"
    info.connection.listenerDirection = 2
    info.connection.terminationDetails = "over"
    fields = [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-odd", b"\xff"), (b"referer", b"r"), (b"x-request-id", b"id")]
    info.requestHeaders = RequestHeaders(b"GET", b"/p/q?a=b#c", b"a.test", fields, b"https")
    info.responseHeaders = ResponseHeaders(404, [(b"x-r", b"1")])
    info.responseTrailers = HeaderMap([(b"grpc-status", b"5")])
    info.startTime, info.startMonotonic, info.end = 1577836800.25, 10.0, 11.5
    info.upstreamRequestStart, info.upstreamResponseEnd = 10.25, 10.75
    info.protocol, info.responseCode, info.responseCodeDetails = "HTTP/1.1", 404, "via_upstream"
    info.bytesReceived, info.bytesSent = 3, 5
    info.responseFlags = ResponseFlag.NO_ROUTE_FOUND | ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    info.upstreamHost, info.upstreamAttempts, info.connectionPoolReady = Host(), 2, 0.001
    info.upstreamLocalAddress = Address("192.0.2.2", 5678)
    info.upstreamCluster, info.routeName, info.virtualHostName = "cluster", "route", "host"
    info.dynamicMetadata = {"n": {"text": "abc", "number": 7, "list": ["a", 2], "none": None, "deep": {"x": True}}}
    info.routeMetadata = {}
    info.upstreamMetadata = {"e": {"k": "v"}}
    info.filterState = {"s": "text", "b": b"\xff"}
    info.route = object()  # type: ignore[attr-defined]  # as HTTP streams have it
    return info


#: What holds of it.
HOLDING = """
request.path == '/p/q?a=b#c'
request.url_path == '/p/q'
request.query == 'a=b'
request.host == 'a.test' && request.scheme == 'https' && request.method == 'GET'
request.headers['x-a'] == '1,2' && request.headers['X-A'] == '1,2' && request.headers[':method'] == 'GET'
size(request.headers['x-odd']) == 1 && size(request.headers) == 8
request.headers_bytes > 40 && request.total_size == request.headers_bytes + 3 && request.size == 3
request.referer == 'r' && request.id == 'id' && !has(request.useragent)
request.time == timestamp('2020-01-01T00:00:00.25Z') && request.duration == duration('1.5s')
request.protocol == 'HTTP/1.1'
response.code == 404 && response.code_details == 'via_upstream' && response.flags == 33024
response.grpc_status == 5 && response.trailers['grpc-status'] == '5' && response.headers['x-r'] == '1'
response.size == 5 && response.total_size > response.headers_bytes + 5
response.backend_latency == duration('0.5s')
source.address == '192.0.2.1:1234' && source.port == 1234 && destination.port == 443
connection.id == 7u && connection.requested_server_name == 'a.test' && connection.termination_details == 'over'
!connection.mtls && !has(connection.tls_version) && !has(connection.transport_failure_reason)
upstream.address == '192.0.2.9:80' && upstream.port == 80 && upstream.local_address == '192.0.2.2:5678'
upstream.locality.zone == 'z' && has(upstream.locality.zone) && !has(upstream.locality.sub_zone)
upstream.locality == envoy.config.core.v3.Locality{region: 'r', zone: 'z'}
upstream.request_attempt_count == 2u && upstream.cx_pool_ready_duration == duration('0.001s')
upstream.transport_failure_reason == '' && !has(upstream.tls_version)
xds.cluster_name == 'cluster' && xds.route_name == 'route' && xds.virtual_host_name == 'host'
xds.filter_chain_name == 'chain' && xds.listener_direction == 2
!has(xds.route_metadata.filter_metadata) && !has(xds.route_metadata.filter_metadata.x)
xds.upstream_host_metadata.filter_metadata['e'].k == 'v'
metadata.filter_metadata.n.text == 'abc' && metadata.filter_metadata['n']['number'] + 1.0 == 8.0
metadata.filter_metadata.n.list[1] == 2.0 && metadata.filter_metadata.n.none == null
metadata.filter_metadata.n.deep.x && 'x' in metadata.filter_metadata.n.deep
has(metadata.filter_metadata.n.none) && !has(metadata.filter_metadata.n.other) && has(metadata.filter_metadata)
metadata == envoy.config.core.v3.Metadata{filter_metadata: metadata.filter_metadata}
filter_state['s'] == b'text' && filter_state['b'] == b'\\xff' && !has(filter_state.c)
""".strip().splitlines()

#: What is not there.
MISSING = """
request.useragent
request.headers['x-b']
metadata.filter_metadata.m
metadata.filter_metadata.n.text.deeper
has(metadata.filter_metadata.m.x)
connection.tls_version
filter_state['c']
""".strip().splitlines()

#: What there is not, or what cannot be given, with words that say so.
REFUSED = {
    "request.pathh": "there is no attribute request.pathh; did you mean path?",
    "reqest.path": "there is no attribute reqest; did you mean request?",
    "request": "request as a whole cannot be given",
    "plugin_name": "there is no attribute plugin_name",
    "xds.node.id": "xds.node is not known here",
    "upstream.num_endpoints": "membership_total",
    "xds.upstream_host_locality_metadata.filter_metadata": "is not known here",
    "metadata['filter_metadata']": "there is .filter_metadata",
    "metadata.typed_filter_metadata": "there is .filter_metadata",
    "upstream.locality.place": "there are region, zone, sub_zone",
    "filter_state": "name what is asked",
    "upstream_filter_state['x']": "no filter here sets any",
}


class AttributeTests(SynchronousTestCase):
    """
    What expressions may ask.
    """

    def value(self, text: str, info: StreamInfo) -> Any:
        """
        What one gives.
        """
        return compileText(text, ofStreams).value(info)

    def test_stream(self) -> None:
        """
        All that Envoy has.
        """
        info = stream()
        for text in HOLDING:
            value = self.value(text, info)
            self.assertIs(value.value(), True, f"{text}: {value.value()}")

    def test_missing(self) -> None:
        """
        What is not there is an error.
        """
        info = stream()
        for text in MISSING:
            self.assertTrue(isError(self.value(text, info)), text)

    def test_empty(self) -> None:
        """
        Of a stream of which nothing is known nothing fails but what is asked.
        """
        info = StreamInfo()
        for text in HOLDING:
            self.value(text, info)
        for text in ("request.path", "request.url_path", "response.code", "response.grpc_status", "upstream.port"):
            self.assertTrue(isError(self.value(text, info)), text)
        for text in ("xds.route_metadata", "xds.upstream_host_metadata", "upstream.locality", "request.duration"):
            self.assertTrue(isError(self.value(text, info)), text)
        self.assertEqual(self.value("request.headers", info).plain_value(), {})
        self.assertEqual(self.value("response.flags + request.size + response.total_size", info).value(), 0)

    def test_contentLength(self) -> None:
        """
        The size of a request is what it says, if it says it.
        """
        info = stream()
        assert info.requestHeaders is not None
        info.requestHeaders.add(b"content-length", b"12")
        self.assertEqual(self.value("request.size", info).value(), 12)
        info.requestHeaders.set(b"content-length", b"x")
        self.assertTrue(isError(self.value("request.size", info)))

    def test_tls(self) -> None:
        """
        A session, and the first names of its certificates.
        """
        info = stream()
        info.connection.tls = Session()  # type: ignore[assignment]  # it has what is asked
        for text in (
            "connection.mtls && connection.tls_version == 'TLSv1.3'",
            "connection.uri_san_peer_certificate == 'spiffe://a/b' && !has(connection.dns_san_peer_certificate)",
            "connection.dns_san_local_certificate == 'a.test'",
            "connection.subject_peer_certificate == 'CN=b' && connection.sha256_peer_certificate_digest == 'abcd'",
        ):
            self.assertIs(self.value(text, info).value(), True, text)

    def test_refused(self) -> None:
        """
        What cannot be given is refused by name.
        """
        for text, why in REFUSED.items():
            error = self.assertRaises(ExpressionError, compileText, text, ofStreams)
            self.assertIn(why, str(error), text)

    def test_connections(self) -> None:
        """
        Connections have no requests.
        """
        error = self.assertRaises(ExpressionError, compileText, "request.path == ''", ofConnections)
        self.assertIn("a connection has no request", str(error))
        self.assertIs(compileText("source.port == 1234", ofConnections).holds(stream()), True)
