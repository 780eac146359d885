# -*- test-case-name: tests.http.test_requestheaders -*-
"""
What the connection manager does to the head of a request before any filter sees it: hop-by-hop fields end here, what
the outside may not say is taken away, the client's address and the request's id are added (Envoy's
C{ConnectionManagerUtility::mutateRequestHeaders}).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders
from meshproxy.http.clientcert import FORWARDED_CLIENT_CERT, ClientCert, sanitizeClientCert
from meshproxy.http.originalip import Detect, Detected, addressBefore
from meshproxy.net.address import Address

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.http.stream import Stream

__all__ = [
    "BEHIND_EDGE",
    "HOP_BY_HOP",
    "INTERNAL",
    "SCHEMES",
    "ForwardingSettings",
    "compileEdgeHeaders",
    "compileInsideHeaders",
    "compileRequestHeaders",
    "localAddress",
]

# RFC 9110, 7.6.1, and what older clients send like them. They speak of one connection.
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"))

# Orders to the router, believed from internal clients only (Envoy's cleanInternalHeaders).
INTERNAL = frozenset(
    (
        b"x-envoy-internal",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retriable-header-names",
        b"x-envoy-retry-on",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-max-retries",
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-force-trace",
        b"x-envoy-ip-tags",
        b"x-envoy-original-url",
        b"x-envoy-hedge-on-per-try-timeout",
    )
)

# What, moreover, only hops behind the edge may say.
BEHIND_EDGE = frozenset(
    (
        b"x-envoy-decorator-operation",
        b"x-envoy-downstream-service-cluster",
        b"x-envoy-downstream-service-node",
        b"x-envoy-original-path",
        b"x-envoy-original-host",
        b"x-envoy-external-address",
    )
)

# Tokens of Connection that name no field.
_NO_FIELDS = frozenset((b"", b"close", b"keep-alive", b"upgrade", b"http2-settings"))

# Fields that a client may not have removed: they say who it is.
_NOT_NOMINATED = frozenset((b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))

# The peers instead of which this machine is told; as in Envoy, the rest of 127.0.0.0/8 is not among them.
_LOOPBACK = ("127.0.0.1", "::1")

# What C{x-forwarded-proto} is believed to be.
SCHEMES = (b"http", b"https")

# As in Envoy.
_MOST_NOMINATED = 10
_LONGEST_TE = 256

# How many are known, by what a proxy says of them, and how long that is at most: a client may have begun it.
_MOST_CLIENTS = 1000
_LONGEST_KNOWN = 256

_PLAIN_CONNECTION = re.compile(rb"(?i)(?:close|keep-alive)?")


@dataclass(frozen=True, slots=True)
class ForwardingSettings:
    """
    Fields of the connection manager's message that concern a request's head, by the same names.

    @ivar isInternal: Whether an address is internal (C{internal_address_config}); L{None} for no address.
    @ivar areUnixSocketsInternal: Whether whoever comes by a unix socket is.
    @ivar detect: The C{original_ip_detection_extensions}; L{None} for C{x-forwarded-for} alone.
    @ivar scheme: C{scheme_to_overwrite}; empty for no.
    @ivar serviceCluster: C{node.cluster}, for C{add_user_agent}; L{None} for no.
    @ivar serviceNode: C{node.id}.
    @ivar clientCert: Sees to C{x-forwarded-client-cert}; L{None} leaves it as it is.
    @ivar setsClientCert: Whether requests without that field may get it.
    @ivar internalOnly: What only internal clients may send, in lower case: L{INTERNAL}, and C{internal_only_headers} of
        routes.
    @ivar protoOfPort: What C{x-forwarded-proto} is, by the port that a load balancer says the client connected to
        (C{forward_proto_config}); by whether the connection has TLS, else.
    """

    useRemoteAddress: bool = False
    trustedHops: int = 0
    skipXFFAppend: bool = False
    appendXForwardedPort: bool = False
    generateRequestId: bool = True
    preserveExternalRequestId: bool = False
    isInternal: Callable[[str], bool] | None = None
    areUnixSocketsInternal: bool = False
    detect: Detect | None = None
    scheme: bytes = b""
    serviceCluster: bytes | None = None
    serviceNode: bytes = b""
    via: bytes = b""
    clientCert: ClientCert | None = sanitizeClientCert
    setsClientCert: bool = False
    protoOfPort: Mapping[int, bytes] = field(default_factory=dict)
    internalOnly: frozenset[bytes] = INTERNAL

    @property
    def isPeculiar(self) -> bool:
        """
        Whether anything is set that few set.
        """
        return bool(
            self.trustedHops
            or self.skipXFFAppend
            or self.appendXForwardedPort
            or self.isInternal
            or self.detect
            or self.scheme
            or self.serviceCluster is not None
            or self.via
            or self.setsClientCert
            or self.protoOfPort
            or self.internalOnly is not INTERNAL
        )

    def proto(self, connection: ConnectionInfo) -> bytes:
        """
        What the client spoke, by the connection.
        """
        told = connection.localAddress
        if self.protoOfPort and told is not None and told is not (connection.directLocalAddress or told):
            found = self.protoOfPort.get(told.port or 0)
            if found is not None:
                return found
        return b"http" if connection.tls is None else b"https"


def compileRequestHeaders(
    settings: ForwardingSettings, requestId: Callable[[], bytes]
) -> Callable[[RequestHeaders, ConnectionInfo], Address | LocalReply | None]:
    """
    Make the function that prepares heads.

    @param requestId: Makes a new C{x-request-id}.

    @return: A function of a head and its connection, that returns the client's address where the head tells it, or
        L{None} for the peer's own, or how to answer a request whose client cannot be told; it raises
        L{RemoteProtocolError} for a C{Connection} field that asks for what it may not.
    """
    needsNothing = HOP_BY_HOP | INTERNAL | {FORWARDED_CLIENT_CERT}
    if not settings.useRemoteAddress:
        needsNothing |= {b"x-forwarded-for"}
    isPlain = needsNothing.isdisjoint
    generate = settings.generateRequestId
    edge = settings.useRemoteAddress
    extras = edge or settings.isPeculiar
    scheme = settings.scheme
    clientCert = settings.clientCert

    def prepare(headers: RequestHeaders, connection: ConnectionInfo) -> Address | LocalReply | None:
        first = headers.first
        client = None
        if extras or not isPlain(first):
            _endHopByHop(headers)
            client = _tellClient(headers, connection, settings)
            if type(client) is LocalReply:
                return client
            if clientCert is not None:
                clientCert(headers, connection)
        if scheme:
            headers.set(b"x-forwarded-proto", scheme)
        proto = first.get(b"x-forwarded-proto")
        if proto is None:
            if settings.protoOfPort:
                first[b"x-forwarded-proto"] = headers.scheme = settings.proto(connection)
            elif connection.tls is None:
                first[b"x-forwarded-proto"] = b"http"
            else:
                first[b"x-forwarded-proto"] = headers.scheme = b"https"
        elif proto in SCHEMES:
            headers.scheme = proto
        if generate and b"x-request-id" not in first:
            first[b"x-request-id"] = requestId()
        return client

    return prepare


def compileEdgeHeaders(
    settings: ForwardingSettings, requestId: Callable[[], bytes]
) -> Callable[[RequestHeaders, ConnectionInfo], bool] | None:
    """
    Make the function that does for the usual head at an edge what L{compileRequestHeaders}' does for any: one that has
    no fields of L{HOP_BY_HOP}, L{INTERNAL} or L{BEHIND_EDGE}, and none twice. What it tells of the connection is made
    once for each.

    @return: A function that says whether it could; L{None} where C{use_remote_address} is not all that is set.
    """
    if not settings.useRemoteAddress or settings.isPeculiar:
        return None
    keepsId = settings.preserveExternalRequestId
    generate = settings.generateRequestId

    def tell(headers: RequestHeaders, connection: ConnectionInfo) -> bool:
        told = connection.edge
        if told is None:
            peer = connection.remoteAddress
            if peer is None or not peer.isIP:
                return False
            address = localAddress() if peer.host in _LOOPBACK else peer.host
            told = connection.edge = (address.encode("ascii"), peer.host.encode("ascii"))
        forwarded, external = told
        first = headers.first
        if b"x-forwarded-for" in first and (before := first[b"x-forwarded-for"]):
            forwarded = b"%b,%b" % (before, forwarded)
        first[b"x-forwarded-for"] = forwarded
        if connection.tls is None:
            first[b"x-forwarded-proto"] = b"http"
        else:
            first[b"x-forwarded-proto"] = headers.scheme = b"https"
        first[b"x-envoy-external-address"] = external
        if generate and not (keepsId and b"x-request-id" in first):
            first[b"x-request-id"] = requestId()
        return True

    return tell


def compileInsideHeaders(
    settings: ForwardingSettings, requestId: Callable[[], bytes]
) -> Callable[[RequestHeaders, Stream], None] | None:
    """
    Make the function that does for the usual head behind an edge, as of a sidecar, what L{compileRequestHeaders}' does
    for any: one that has no fields of L{HOP_BY_HOP} (but C{te: trailers}) or L{INTERNAL}, and none twice. Who asks, and
    by which certificate, may be told.

    @return: L{None} where more is set.
    """
    if settings.useRemoteAddress or replace(settings, setsClientCert=False).isPeculiar:
        return None
    clientCert = settings.clientCert
    setsClientCert = settings.setsClientCert
    generate = settings.generateRequestId
    # Whoever asks through one proxy, asks often.
    known: dict[bytes, Address | None] = {}

    def tell(headers: RequestHeaders, stream: Stream) -> None:
        first = headers.first
        connection = stream.connection
        forwarded = first.get(b"x-forwarded-for")
        if forwarded is not None:
            if forwarded in known:
                client = known[forwarded]
            else:
                host = addressBefore(forwarded, 0)[0]
                client = None if host is None else Address(host, 0)
                if len(forwarded) <= _LONGEST_KNOWN:
                    if len(known) >= _MOST_CLIENTS:
                        known.clear()
                    known[forwarded] = client
            peer = connection.remoteAddress
            if client is not None and (peer is None or client.host != peer.host):
                stream.remoteAddress = client
        if clientCert is not None and (setsClientCert or FORWARDED_CLIENT_CERT in first):
            clientCert(headers, connection)
        if b"x-forwarded-proto" in first:
            proto = first[b"x-forwarded-proto"]
            if proto in SCHEMES:
                headers.scheme = proto
        elif connection.tls is None:
            first[b"x-forwarded-proto"] = b"http"
        else:
            first[b"x-forwarded-proto"] = headers.scheme = b"https"
        if generate and b"x-request-id" not in first:
            first[b"x-request-id"] = requestId()

    return tell


def _endHopByHop(headers: RequestHeaders) -> None:
    first = headers.first
    if HOP_BY_HOP.isdisjoint(first):
        return
    connection = headers.joined(b"connection")
    if connection is not None and not _PLAIN_CONNECTION.fullmatch(connection):
        _removeNominated(headers, connection)
    te = headers.joined(b"te")
    if te:
        if _hasTrailers(te):
            headers.set(b"te", b"trailers")
        else:
            headers.remove(b"te")
    for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"):
        if name in first:
            headers.remove(name)


def _removeNominated(headers: RequestHeaders, connection: bytes) -> None:
    """
    Remove the fields that C{Connection} names (RFC 9110, 7.6.1).
    """
    tokens = connection.split(b",")
    if len(tokens) >= _MOST_NOMINATED:
        raise _refused(f"Connection has {_MOST_NOMINATED} options or more")
    nominated = {token.strip(b" \t").lower() for token in tokens} - _NO_FIELDS
    for name in nominated:
        if name in _NOT_NOMINATED or name.startswith(b":"):
            shown = name.decode("ascii", "backslashreplace")
            raise _refused(f"Connection names {shown}, which is not the client's to remove")
        if name == b"te":
            if len(headers.joined(b"te") or b"") > _LONGEST_TE:
                raise _refused(f"TE is longer than {_LONGEST_TE} bytes")
        else:
            headers.remove(name)


def _refused(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(why, 400, "http1.connection_header_rejected")


def _hasTrailers(te: bytes) -> bool:
    """
    Whether C{TE} says that trailers are understood, in just that word; all else it could say ends here.
    """
    return any(token.strip(b" \t") == b"trailers" for token in te.split(b","))


def _tellClient(
    headers: RequestHeaders, connection: ConnectionInfo, settings: ForwardingSettings
) -> Address | LocalReply | None:
    """
    See to the fields that say who asks: the forwarded ones, and those that only friends may send.
    """
    first = headers.first
    peer = connection.remoteAddress
    found = _detect(headers, peer, settings)
    if found.refusal is not None:
        return found.refusal
    client = found.client
    if found.appends and peer is not None and peer.isIP:
        told = localAddress() if peer.host in _LOOPBACK else peer.host
        forwarded = headers.joined(b"x-forwarded-for")
        headers.set(b"x-forwarded-for", (forwarded + b"," if forwarded else b"") + told.encode("ascii"))
    if settings.useRemoteAddress and (not settings.trustedHops or b"x-forwarded-proto" not in first):
        headers.set(b"x-forwarded-proto", settings.proto(connection))
    if settings.appendXForwardedPort:
        _tellPort(headers, connection, settings.trustedHops)
    internal = found.mayBeInternal and _isInternal(client, peer, settings)
    edge = settings.useRemoteAddress and not internal
    if internal:
        headers.set(b"x-envoy-internal", b"true")
    else:
        _removeThose(headers, settings.internalOnly)
        if edge:
            _removeThose(headers, BEHIND_EDGE)
    _tellService(headers, settings)
    if edge and client is not None:
        headers.set(b"x-envoy-external-address", client.encode("ascii"))
        if settings.generateRequestId and not settings.preserveExternalRequestId:
            headers.remove(b"x-request-id")
    if client is None or (peer is not None and client == peer.host):
        return None
    return Address(client, 0)


def _isInternal(client: str | None, peer: Address | None, settings: ForwardingSettings) -> bool:
    """
    @param client: Who asks, where that is an IP address.
    """
    if client:
        return settings.isInternal is not None and settings.isInternal(client)
    # Whoever came by a unix socket has no other address.
    return settings.areUnixSocketsInternal and settings.useRemoteAddress and peer is not None and not peer.isIP


def _detect(headers: RequestHeaders, peer: Address | None, settings: ForwardingSettings) -> Detected:
    """
    Find out who asks.
    """
    address = peer.host if peer is not None and peer.isIP else None
    if settings.detect is not None:
        return settings.detect(headers, address)
    forwarded = headers.joined(b"x-forwarded-for")
    if not settings.useRemoteAddress:
        return Detected(*addressBefore(forwarded, settings.trustedHops))
    client = addressBefore(forwarded, settings.trustedHops - 1)[0] if settings.trustedHops else None
    return Detected(address if client is None else client, forwarded is None, not settings.skipXFFAppend)


def _tellService(headers: RequestHeaders, settings: ForwardingSettings) -> None:
    """
    C{add_user_agent} and C{via}.
    """
    if settings.serviceCluster is not None:
        headers.set(b"x-envoy-downstream-service-cluster", settings.serviceCluster)
        if not headers.first.get(b"user-agent"):
            headers.set(b"user-agent", settings.serviceCluster)
        if settings.serviceNode:
            headers.set(b"x-envoy-downstream-service-node", settings.serviceNode)
    if settings.via:
        via = headers.joined(b"via")
        headers.set(b"via", settings.via if via is None else via + b", " + settings.via)


def _tellPort(headers: RequestHeaders, connection: ConnectionInfo, trustedHops: int) -> None:
    local = connection.localAddress
    if local is not None and local.isIP and not (trustedHops and b"x-forwarded-port" in headers.first):
        headers.set(b"x-forwarded-port", b"%d" % (local.port or 0))


def _removeThose(headers: RequestHeaders, names: frozenset[bytes]) -> None:
    for name in names.intersection(headers.first):
        headers.remove(name)


_local: list[str] = []


def localAddress() -> str:
    """
    The address of this machine that is told instead of a loopback peer's, as in Envoy: that of an interface, or
    127.0.0.1 where there is no other.
    """
    if not _local:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Nothing is sent: connecting a datagram socket only asks for the route. RFC 5737's address.
                probe.connect(("192.0.2.1", 9))
                _local.append(probe.getsockname()[0])
            except OSError:
                _local.append("127.0.0.1")
    return _local[0]
