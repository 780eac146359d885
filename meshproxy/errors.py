# -*- test-case-name: tests.test_errors -*-
"""
The exception tree::

    MeshProxyError
      ConfigError                one fault in a configuration, with its place
      ConfigErrors               all faults of one configuration
      ProtocolError
        RemoteProtocolError      the peer broke its protocol
        LocalProtocolError       this program used a codec wrongly
      UpstreamError
        ConnectFailed
        ConnectTimeout
        UpstreamReset
        NoHealthyEndpoint
        UpstreamOverflow
      TransportError
        TLSError
        HandshakeTimeout
      LimitExceeded

The data plane turns them into values once, where bytes enter: see L{meshproxy.flags}.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BindFailed",
    "ConfigError",
    "ConfigErrors",
    "ConnectFailed",
    "ConnectTimeout",
    "HandshakeTimeout",
    "LimitExceeded",
    "LocalProtocolError",
    "MeshProxyError",
    "NoHealthyEndpoint",
    "ProtocolError",
    "RemoteProtocolError",
    "TLSError",
    "TransportError",
    "UpstreamError",
    "UpstreamOverflow",
    "UpstreamReset",
]


class MeshProxyError(Exception):
    """
    The root of every exception that this program raises on purpose.
    """


class ConfigError(MeshProxyError):
    """
    One fault in a configuration.

    @ivar path: Where it is, in Envoy's words: C{static_resources.clusters[2].lb_policy}.
    @ivar why: What was found and what would be right, with a near name where there is one.
    @ivar file: The file it came from, or L{None}.
    @ivar line: Its line there, from 1, or 0 where it is unknown.
    @ivar column: Its column there, from 1, or 0 where it is unknown.
    """

    def __init__(self, path: str, why: str, file: str | None = None, line: int = 0, column: int = 0) -> None:
        super().__init__(path, why, file, line, column)
        self.path = path
        self.why = why
        self.file = file
        self.line = line
        self.column = column

    def __str__(self) -> str:
        """
        The place (C{file:line:column}), the path and why, without what is unknown.
        """
        place = ""
        if self.file is not None:
            place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        told = f"{self.path}: {self.why}" if self.path else self.why
        return f"{place}  {told}" if place else told


class ConfigErrors(MeshProxyError):
    """
    All faults of one configuration, in the order of the file.
    """

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors)
        self.errors = list(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class ProtocolError(MeshProxyError):
    """
    A wire protocol was broken.
    """


class RemoteProtocolError(ProtocolError):
    """
    The peer broke its protocol; the codec that raised this takes no more data.

    @ivar why: One sentence for the log. The peer never sees it.
    @ivar statusHint: What a server answers: 400, 413, 426, 431, 501 ...
    @ivar details: Envoy's response code details, for example C{http1.codec_error}.
    @ivar h2Code: The HTTP/2 error code (RFC 9113, 7) to reset or close with.
    """

    def __init__(self, why: str, statusHint: int = 400, details: str = "http1.codec_error", h2Code: int = 1) -> None:
        super().__init__(why)
        self.why = why
        self.statusHint = statusHint
        self.details = details
        self.h2Code = h2Code


class LocalProtocolError(ProtocolError):
    """
    This program asked a codec for what its state does not allow: a fault of ours.
    """


class UpstreamError(MeshProxyError):
    """
    An upstream could not be used.
    """


class ConnectFailed(UpstreamError):
    """
    The endpoint refused the connection, or could not be reached.
    """


class BindFailed(ConnectFailed):
    """
    The local address that connections are to come from cannot be used.
    """


class ConnectTimeout(UpstreamError):
    """
    The endpoint did not accept within C{connect_timeout}.
    """


class UpstreamReset(UpstreamError):
    """
    The upstream connection ended before the response did.
    """


class NoHealthyEndpoint(UpstreamError):
    """
    The cluster has no endpoint to choose.
    """


class UpstreamOverflow(UpstreamError):
    """
    A circuit breaker of the cluster is open.
    """


class TransportError(MeshProxyError):
    """
    A transport socket could not be set up, or broke.
    """


class TLSError(TransportError):
    """
    A TLS handshake failed, or the peer broke the protocol later.

    @ivar why: What the TLS library, or the verification of the peer, said; empty where it said nothing.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class HandshakeTimeout(TransportError):
    """
    The handshake took longer than C{transport_socket_connect_timeout}.
    """


class LimitExceeded(MeshProxyError):
    """
    A configured limit was reached.

    @ivar limit: The name of the limit, as in the configuration.
    """

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit
