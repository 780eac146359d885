"""
A stream with everything known about it, for the tests of this room.
"""

from __future__ import annotations

from meshproxy.accesslog.streaminfo import Address, ConnectionInfo, StreamInfo
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["Host", "TLSRecord", "sampleStream"]


class Host:
    """
    An endpoint, as far as logs are concerned.
    """

    def __init__(self, host: str = "10.0.0.9", port: int = 8080, hostname: str = "") -> None:
        self.address = Address(host, port)
        self.hostname = hostname


def sampleStream() -> StreamInfo:
    """
    A request that was answered after 30 ms, at 2026-11-22T12:31:31.845Z.
    """
    info = StreamInfo()
    info.startTime = 1795350691.845744
    info.startMonotonic = 100.0
    info.requestEnd = 100.001
    info.upstreamRequestStart = 100.002
    info.upstreamRequestEnd = 100.0031
    info.upstreamResponseStart = 100.02
    info.upstreamResponseEnd = 100.025
    info.responseStart = 100.021
    info.responseEnd = 100.0299
    info.end = 100.0305
    info.requestHeaders = RequestHeaders(
        b"GET",
        b"/p%20q?a=x%41y&b=&a=2&c",
        b"example.com",
        [(b"user-agent", b"curl/8"), (b"x-multi", b"one"), (b"x-multi", b"two")],
    )
    info.responseHeaders = ResponseHeaders(200, [(b"server", b"envoy")])
    info.responseTrailers = HeaderMap([(b"x-end", b"yes")])
    info.protocol = "HTTP/1.1"
    info.responseCode = 200
    info.responseCodeDetails = "via_upstream"
    info.bytesReceived = 7
    info.bytesSent = 1234
    info.upstreamHost = Host()
    info.upstreamLocalAddress = Address("10.0.0.1", 40000)
    info.upstreamCluster = "backend"
    info.upstreamAttempts = 2
    info.routeName = "r1"
    info.requestId = "962d6ebf-fa9d-498a-9041-4f493e855ee3"
    connection = ConnectionInfo()
    connection.id = 5
    connection.remoteAddress = Address("192.0.2.7", 51000)
    connection.directRemoteAddress = Address("192.0.2.1", 52000)
    connection.localAddress = Address("::1", 80)
    connection.filterChainName = "fc"
    info.connection = connection
    return info


class TLSRecord(dict[str, str]):
    """
    Facts about a TLS session, as they are written down.
    """

    serverName = ""

    def moment(self, fact: str) -> float | None:
        """
        Any moment is the same.
        """
        return 1e9
