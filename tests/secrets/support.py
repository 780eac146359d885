"""
TLS contexts of plain data, and handshakes between them in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol

from meshproxy.config import Section
from meshproxy.net.address import Address
from meshproxy.net.tls import TLSTransport
from meshproxy.net.tlsbuffered import beginTLS
from meshproxy.secrets.downstream import DownstreamTLS
from meshproxy.secrets.store import SecretStore
from meshproxy.secrets.upstream import UpstreamTLS
from meshproxy.stats import Store
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.sockets import socketPair

__all__ = ["Heard", "Room", "section"]

TLS = "envoy.extensions.transport_sockets.tls.v3."


def section(name: str, value: object) -> Section:
    """
    A message of the TLS package.
    """
    return Section.of(TLS + name, value)


class Heard(Protocol):
    """
    One end: what came, and how it ended.
    """

    def __init__(self) -> None:
        self.isMade = False
        self.received = b""
        self.failure: Any = None
        self.lost: Any = None

    def connectionMade(self) -> None:
        """
        The handshake is over.
        """
        self.isMade = True

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came.
        """
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is gone.
        """
        self.lost = reason.value

    @property
    def why(self) -> str:
        """
        Why the handshake failed.
        """
        return "" if self.failure is None else str(self.failure)


class Room:
    """
    Secrets, stats, a clock, and pairs of connections.
    """

    def __init__(self) -> None:
        self.reactor = VirtualReactor()
        self.store = Store()
        self.secrets = SecretStore(self.store, self.reactor)

    def downstream(self, value: dict[str, Any]) -> DownstreamTLS:
        """
        A C{DownstreamTlsContext}.

        @raise meshproxy.errors.ConfigErrors: If it is refused.
        """
        held = section("DownstreamTlsContext", value)
        tls = DownstreamTLS(held, self.secrets, self.store.scope("listener.a."))
        held.report.raiseIfAny()
        return tls

    def upstream(self, value: dict[str, Any]) -> UpstreamTLS:
        """
        An C{UpstreamTlsContext}, for TLS 1.3 as well where it does not say.
        """
        common = value.setdefault("common_tls_context", {})
        common.setdefault("tls_params", {"tls_maximum_protocol_version": "TLSv1_3"})
        held = section("UpstreamTlsContext", value)
        tls = UpstreamTLS(held, self.secrets, self.store.scope("cluster.b."))
        held.report.raiseIfAny()
        return tls

    def shake(
        self, downstream: DownstreamTLS, upstream: UpstreamTLS, readSize: int = 0, **options: Any
    ) -> tuple[Heard, Heard]:
        """
        Connect one with the other.

        @param options: For the upstream's session.

        @return: The ends of the server and of the client.
        """
        one, other = socketPair(self.reactor, Address("192.0.2.1", 443), Address("192.0.2.2", 5000))
        one.readSize = other.readSize = readSize
        server, client = Heard(), Heard()
        self.begin(one, server, downstream.session)
        self.begin(other, client, lambda sock: upstream.session(sock, **options))
        self.reactor.settle()
        return server, client

    def begin(self, sock: Any, end: Heard, start: Any, timeout: float = 0.0) -> TLSTransport:
        """
        Begin TLS on one end.
        """

        def failed(error: Exception) -> None:
            end.failure = error

        return beginTLS(self.reactor, sock, None, start, end, failed, timeout=timeout)

    def counted(self, prefix: str = "") -> dict[str, int]:
        """
        The counters that are not 0, without the prefix.
        """
        return {
            name.removeprefix(prefix): counter.value
            for name, counter in self.store.counters.items()
            if counter.value and name.startswith(prefix)
        }
