# -*- test-case-name: tests.http.test_router -*-
"""
Requests that want their connection to become another: tunnels, and the handshake of WebSocket
between HTTP/1.1 and HTTP/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.codec.websocket import acceptOf, makeKey
from meshproxy.headers import ResponseHeaders
from meshproxy.http.tries import TriedRequest
from meshproxy.net.proxyheader import toldOf

if TYPE_CHECKING:
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.tunnel import TunnelHeader

__all__ = ["UpgradedRequest"]

_KEY, _ACCEPT = b"sec-websocket-key", b"sec-websocket-accept"


class UpgradedRequest(TriedRequest):
    """
    What a request does for an upgrade, where its stream asks for one.
    """

    _expectsTunnel = False
    _ownKey = b""

    def _tunnelHeader(self) -> TunnelHeader | None:
        """
        What a tunnel that ends here begins with upstream.
        """
        header, info = self._action.tunnelHeader, self._stream.connection
        if header is None:
            return None
        return lambda transport: header.encode(toldOf(info), transport.localAddress, transport.peerAddress)[0]

    def _beginHandshake(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Ask a server of HTTP/1.1 for what a client of HTTP/2 asked.
        """
        if self._stream.protocol == "HTTP/2" and not connection.isHTTP2 and _KEY not in self._headers.first:
            # RFC 8441, 5: a client of HTTP/2 has no key, and a server of HTTP/1.1 wants one.
            self._ownKey = makeKey(self._router.random)
            self._headers.set(_KEY, self._ownKey)

    def _finishHandshake(self, headers: ResponseHeaders) -> bool:
        """
        Do the part of a WebSocket handshake that one side's protocol has and the other's has not.

        @return: Whether the upstream is a WebSocket server, as far as the client cannot see that itself.
        """
        connection = self.connection
        if connection is None or not connection.codec.upgraded:
            return True
        if self._ownKey and not connection.isHTTP2:
            accept = headers.get(_ACCEPT)
            headers.remove(_ACCEPT)
            # As in Envoy, a 101 without one will do.
            return accept is None or accept == acceptOf(self._ownKey)
        key = self._headers.get(_KEY)
        if connection.isHTTP2 and key is not None and _ACCEPT not in headers.first:
            headers.set(_ACCEPT, acceptOf(key))
        return True

    def _tunnelBegins(self, connection: HTTP1UpstreamConnection) -> None:
        connection.beginTunnel()
        if self._timeouts is not None:
            # As in Envoy, a tunnel may last: only idle time-outs end it.
            self._timeouts.cancel(self)

    def tunnelEnded(self) -> None:
        """
        The endpoint of a tunnel that ends here has finished: so has the client's connection, once all was sent. A
        POST that became a tunnel has a response that came to its end.
        """
        if self._stream.upgrade:
            self._stream.reset()
