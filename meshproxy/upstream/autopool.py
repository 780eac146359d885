# -*- test-case-name: tests.upstream.test_autopool -*-
"""
Connections to one endpoint that speak what ALPN agrees upon (C{auto_config}).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from meshproxy.upstream.http1pool import HTTP1Pool, IPoolRequest
from meshproxy.upstream.http2connection import HTTP2UpstreamConnection
from meshproxy.upstream.http2pool import HTTP2Pool

__all__ = ["AutoPool"]


class AutoPool(HTTP2Pool):
    """
    Takes a connection for HTTP/2 until it is there, and then for what it is. In the clear nothing is agreed upon, which
    means HTTP/1.1.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        """
        @param args: As of L{HTTP2Pool}.
        """
        super().__init__(*args, **more)
        self.idle = deque()
        # What the last connection turned out to speak.
        self._isHTTP1 = False

    def request(self, request: IPoolRequest) -> None:
        """
        See L{HTTP1Pool.request}.
        """
        (HTTP1Pool if self._isHTTP1 else HTTP2Pool).request(self, request)

    def _attach(self, connection: Any, request: Any) -> None:
        (HTTP2Pool if connection.isHTTP2 else HTTP1Pool)._attach(self, connection, request)

    def _connectIfNeeded(self) -> None:
        (HTTP1Pool if self._isHTTP1 else HTTP2Pool)._connectIfNeeded(self)

    def _make(self) -> Any:
        return self.http2ConnectionClass(self)

    def isSpoken(self, connection: HTTP2UpstreamConnection, transport: Any) -> bool:
        """
        See L{HTTP2Pool.isSpoken}.
        """
        if getattr(transport, "negotiatedProtocol", b"") == b"h2":
            return True
        other = self.connectionClass(self)
        other.began = connection.began
        self.connections.discard(connection)
        self.connections.add(other)
        self._dials[other] = self._dials.pop(connection)
        transport.protocol = other
        other.makeConnection(transport)
        return False

    def connected(self, connection: Any) -> None:
        """
        See L{HTTP1Pool.connected}.
        """
        self._isHTTP1 = not connection.isHTTP2
        total = self.stats.cxHttp1Total if self._isHTTP1 else self.stats.cxHttp2Total
        total.value += 1
        HTTP1Pool.connected(self, connection)

    def release(self, connection: Any) -> None:
        """
        See L{HTTP1Pool.release}.
        """
        (HTTP2Pool if connection.isHTTP2 else HTTP1Pool).release(self, connection)

    def leaving(self, connection: Any) -> None:
        """
        See L{HTTP1Pool.leaving}.
        """
        (HTTP2Pool if connection.isHTTP2 else HTTP1Pool).leaving(self, connection)

    def drain(self) -> None:
        """
        See L{HTTP1Pool.drain}.
        """
        HTTP1Pool.drain(self)
        HTTP2Pool.drain(self)
