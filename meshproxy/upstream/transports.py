# -*- test-case-name: tests.upstream.test_transports -*-
"""
How the connections of a cluster get their transports: C{transport_socket} and C{transport_socket_matches}, and what
requests ask of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.interfaces import IProtocol, IReactorTime

from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.headers import RequestHeaders
from meshproxy.interfaces import ICancellable
from meshproxy.net.address import Address
from meshproxy.net.dial import SocketOptions, Source
from meshproxy.net.proxyheader import ProxyProtocolData
from meshproxy.net.tlsdial import TLSDial
from meshproxy.secrets.store import SecretStore
from meshproxy.secrets.upstream import UpstreamTLS
from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.plain import plainStruct
from meshproxy.upstream.proxyheader import PROXY_TRANSPORT, HeaderConnector, UpstreamHeader

__all__ = ["MATCH_METADATA", "NO_WISH", "IConnector", "TLSConnector", "TLSWish", "UpstreamTransports", "hostOf"]

_RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

#: The metadata of endpoints that C{transport_socket_matches} look at.
MATCH_METADATA = "envoy.transport_socket_match"


class IConnector(Protocol):
    """
    What pools connect by: the network itself, or one that speaks TLS on it.
    """

    def connect(
        self,
        address: Address,
        protocol: Any,
        failed: Callable[[Exception], object],
        timeout: float = 5.0,
        bufferLimit: int = 1 << 20,
        options: Any = None,
    ) -> ICancellable:
        """
        See L{meshproxy.interfaces.INetwork.connect}.
        """


class TLSWish(NamedTuple):
    """
    What a request asks of the connection that it is sent on. Requests that ask for other things have other pools.

    @ivar serverName: The server name to ask the endpoint for; empty for the configured one.
    @ivar names: One of these the endpoint's certificate has to have, if there are any.
    @ivar told: Whose connection the PROXY protocol says it is.
    @ivar source: Where it comes from, in place of what the cluster says.
    @ivar downstream: The id of the downstream connection that it is for alone; 0 where it is for all.
    """

    serverName: str = ""
    names: tuple[str, ...] = ()
    told: ProxyProtocolData | None = None
    source: Source | None = None
    downstream: int = 0


NO_WISH = TLSWish()


class TLSConnector:
    """
    Connects as a network does, and speaks TLS: a connection is there when its handshake is over, and the time-out is
    that of both.
    """

    def __init__(
        self,
        network: IConnector,
        clock: IReactorTime,
        tls: UpstreamTLS,
        wish: TLSWish = NO_WISH,
        alpn: tuple[bytes, ...] = (),
        isOverridden: bool = False,
    ) -> None:
        """
        @param alpn: What to offer where the configuration offers nothing.
        @param isOverridden: Whether to offer that in any case.
        """
        self._isOverridden = isOverridden
        self._network = network
        self._clock = clock
        self._tls = tls
        self._wish = wish
        self._alpn = alpn

    def connect(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float = 5.0,
        bufferLimit: int = 1 << 20,
        options: SocketOptions | None = None,
    ) -> ICancellable:
        """
        See L{IConnector.connect}.
        """
        tls, (serverName, names, *_) = self._tls, self._wish
        dial = TLSDial(
            lambda sock: tls.session(sock, serverName, names, self._alpn, self._isOverridden),
            protocol,
            failed,
            timeout,
            bufferLimit,
        )
        return dial.begin(
            lambda inner: self._network.connect(address, inner, failed, timeout, bufferLimit, options),
            self._clock.seconds(),
        )


class _Transport(NamedTuple):
    """
    A compiled transport socket.

    @ivar tls: L{None} for cleartext.
    @ivar header: What a connection begins with; L{None} for nothing.
    @ivar matched: C{NAME.total_match_count}.
    """

    tls: UpstreamTLS | None = None
    header: UpstreamHeader | None = None
    matched: Counter | None = None


def _matched(scope: Scope, name: str) -> Counter:
    return scope.counter(f"{name}.total_match_count")


class UpstreamTransports:
    """
    The transport sockets of a cluster.

    @ivar wishOf: What a request asks of its connection, L{None} where none asks for anything.
    @ivar tellsClient: Whether connections begin with a header of the PROXY protocol, which says whose they are.
    """

    def __init__(
        self, section: Section, options: Section | None, secrets: SecretStore, scope: Scope, network: Any, clock: Any
    ) -> None:
        """
        @param section: The C{Cluster} message.
        @param options: Its C{envoy.config.core.v3.UpstreamHttpProtocolOptions}.
        @param scope: The cluster's.
        """
        self._secrets = secrets
        self._scope = scope
        self._network = network
        self._clock = clock
        self._all: list[UpstreamTLS] = []
        self.tellsClient = False
        self._default = self._compile(section.child("transport_socket"))._replace(matched=_matched(scope, "default"))
        self._matches = [self._compileMatch(each) for each in section.children("transport_socket_matches")]
        self.wishOf: Callable[[RequestHeaders], TLSWish] | None = None
        if options is not None:
            self.wishOf = self._compileWish(options)

    def _compileMatch(self, section: Section) -> tuple[dict[str, object], _Transport]:
        match = section.child("match")
        wanted = {} if match is None else plainStruct(match.message)
        transport = self._compile(section.child("transport_socket"))
        return wanted, transport._replace(matched=_matched(self._scope, section.get("name")))

    def _compile(self, section: Section | None) -> _Transport:
        config = None if section is None else section.any("typed_config")
        if section is None or (config is not None and config.typeName == _RAW_BUFFER):
            return _Transport()
        if config is not None and config.typeName == PROXY_TRANSPORT:
            return self._compileHeader(config)
        if config is None or config.typeName != _TLS:
            section.refuse(
                f"of the transport sockets, only envoy.transport_sockets.tls ({_TLS}), "
                f"envoy.transport_sockets.upstream_proxy_protocol ({PROXY_TRANSPORT}) and "
                f"envoy.transport_sockets.raw_buffer ({_RAW_BUFFER}) are implemented"
            )
            return _Transport()
        stats = self._all[0].stats if self._all else None
        made = UpstreamTLS(config, self._secrets, self._scope, stats)
        self._all.append(made)
        return _Transport(made)

    def _compileHeader(self, section: Section) -> _Transport:
        inner = self._compile(section.child("transport_socket"))
        if inner.header is not None:
            section.refuse("a connection begins with one header", "transport_socket")
        self.tellsClient = True
        return _Transport(inner.tls, UpstreamHeader(section.child("config"), self._scope))

    def _compileWish(self, options: Section) -> Callable[[RequestHeaders], TLSWish] | None:
        asks, verifies = options.get("auto_sni"), options.get("auto_san_validation")
        header = options.get("override_auto_sni_header").lower().encode("ascii", "replace") or b":authority"
        if not asks and not verifies:
            return None
        if verifies and not self._verifies():
            options.refuse(
                "names in a certificate that nobody verifies are worth nothing: transport_socket needs a trusted_ca",
                "auto_san_validation",
            )

        def wish(headers: RequestHeaders) -> TLSWish:
            value = headers.get(header)
            if not value and header != b":authority":
                value = headers.authority
            host = hostOf((value or b"").decode("ascii", "replace"))
            if not host:
                return NO_WISH
            return TLSWish(
                host if asks and packAddress(host) is None else "",
                (host,) if verifies else (),
            )

        return wish

    def _verifies(self) -> bool:
        # One whose secret has not come yet may do so.
        return all(tls.validation is None or tls.validation.verifies for tls in self._all)

    @property
    def defaultPort(self) -> int:
        """
        The port of hosts that are named without one.
        """
        return 80 if self._default.tls is None else 443

    def of(self, endpoint: Endpoint) -> UpstreamTLS | None:
        """
        The TLS that is spoken with an endpoint, L{None} for none.
        """
        return self._of(endpoint).tls

    def found(self, endpoint: Endpoint) -> None:
        """
        Count an endpoint that is new.
        """
        matched = self._of(endpoint).matched
        if matched is not None:
            matched.value += 1

    def _of(self, endpoint: Endpoint) -> _Transport:
        if self._matches:
            said = (endpoint.metadata or {}).get(MATCH_METADATA, {})
            for wanted, transport in self._matches:
                if all(name in said and said[name] == value for name, value in wanted.items()):
                    return transport
        return self._default

    @property
    def isReady(self) -> bool:
        """
        Whether all secrets have come.
        """
        return all(tls.isReady for tls in self._all)

    def awaitSecrets(self, came: Callable[[], object]) -> None:
        """
        Be told whenever secrets came.
        """
        for tls in self._all:
            tls.came = came

    def checkConnector(self, endpoint: Endpoint, alpn: tuple[bytes, ...]) -> IConnector:
        """
        What connects to an endpoint for a check of its health.

        @param alpn: What to offer instead of what the configuration offers; nothing for that.
        """
        return self.connector(endpoint, alpn=alpn, isOverridden=True)

    def connector(
        self,
        endpoint: Endpoint,
        wish: TLSWish = NO_WISH,
        alpn: tuple[bytes, ...] = (),
        isOverridden: bool = False,
    ) -> IConnector:
        """
        What connects to an endpoint.

        @param alpn: What to offer where the configuration offers nothing.
        @param isOverridden: Whether to offer that in any case.
        """
        tls, header, _ = self._of(endpoint)
        network: IConnector = self._network
        if header is not None:
            network = HeaderConnector(network, header, wish.told)
        if tls is None:
            return network
        if tls.usesHostname and endpoint.hostname and not wish.serverName:
            wish = wish._replace(serverName=endpoint.hostname)
        return TLSConnector(network, self._clock, tls, wish, alpn, isOverridden)

    def stop(self) -> None:
        """
        There will be no more connections.
        """
        for tls in self._all:
            tls.stop()


def hostOf(authority: str) -> str:
    """
    The host of an authority, without its port and the brackets of an IPv6 address.
    """
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() and ":" not in host else authority
