# -*- test-case-name: tests.accesslog.test_attributes -*-
"""
What expressions may ask of a stream: Envoy's attributes, by their names.

Those that Envoy has and that cannot be given here are refused by name, as are names that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshproxy.accesslog.headervalues import responseStatusOf
from meshproxy.accesslog.values import encodeText
from meshproxy.config.cel.program import Read, Variable
from meshproxy.config.cel.syntax import ExpressionError, Index
from meshproxy.config.near import near
from meshproxy.config.pool import newMessage
from meshproxy.config.valuematchers import MISSING
from meshproxy.flags import legacyFlags
from meshproxy.net.certificates import pemOf

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo
    from meshproxy.headers import HeaderMap
    from meshproxy.net.address import Address

__all__ = ["ofConnections", "ofStreams"]

#: Finds a variable from the names behind that of its group: C{["headers", "x"]}.
_Find: TypeAlias = Callable[[Sequence[str]], Variable]

_METADATA: Final = "envoy.config.core.v3.Metadata"
_LOCALITY: Final = "envoy.config.core.v3.Locality"


def _text(value: bytes) -> str:
    """
    Bytes of a peer as the text that expressions take: what is no UTF-8 cannot stand in one.
    """
    return value.decode("utf-8", "replace")


def _clean(text: str) -> str:
    return text if text.isascii() else encodeText(text).decode("utf-8", "replace")


def _value(held: object) -> object:
    """
    A value of metadata, as a C{Struct} would have it: all numbers are doubles.
    """
    if isinstance(held, str):
        return _clean(held)
    if held is None or isinstance(held, bool | float):
        return held
    if isinstance(held, int):
        return float(held)
    if isinstance(held, Mapping):
        return {_clean(str(key)): _value(each) for key, each in held.items()}
    if isinstance(held, list | tuple):
        return [_value(each) for each in held]
    return _clean(str(held))


# Attributes that are one value.


def _one(read: Read, kind: str = "") -> _Find:
    return lambda path: Variable(1, read, kind)


def _attribute(name: str) -> _Find:
    """
    A text that is not there where it is empty.
    """
    get = attrgetter(name)
    return _one(lambda info: _clean(get(info)) if get(info) else MISSING)


def _count(name: str, kind: str = "") -> _Find:
    return _one(attrgetter(name), kind)


def _span(seconds: float | None) -> object:
    return MISSING if seconds is None or seconds < 0 else timedelta(seconds=seconds)


# Header fields.


def _requestField(name: bytes) -> _Find:
    def read(info: StreamInfo) -> object:
        headers = info.requestHeaders
        value = None if headers is None else headers.joined(name)
        return MISSING if not value else _text(value)

    return _one(read)


def _fields(attribute: str) -> _Find:
    get: Callable[[Any], HeaderMap | None] = attrgetter(attribute)

    def whole(info: StreamInfo) -> object:
        headers = get(info)
        if headers is None:
            return {}
        return {_text(name): _text(headers.joined(name) or b"") for name, _ in headers.allFields()}

    def find(path: Sequence[str]) -> Variable:
        if len(path) == 1:
            return Variable(1, whole, foldsKeys=True)
        name = path[1].lower().encode("utf-8")

        def read(info: StreamInfo) -> object:
            headers = get(info)
            value = None if headers is None else headers.joined(name)
            return MISSING if value is None else _text(value)

        return Variable(2, read)

    return find


def _size(attribute: str) -> Callable[[StreamInfo], int]:
    get: Callable[[Any], HeaderMap | None] = attrgetter(attribute)

    def read(info: StreamInfo) -> int:
        headers = get(info)
        return 0 if headers is None else headers.byteSize()

    return read


_requestBytes, _responseBytes, _trailerBytes = map(_size, ("requestHeaders", "responseHeaders", "responseTrailers"))


def _urlPath(info: StreamInfo) -> object:
    headers = info.requestHeaders
    return MISSING if headers is None else _text(headers.path.partition(b"?")[0])


def _query(info: StreamInfo) -> object:
    headers = info.requestHeaders
    return MISSING if headers is None else _text(headers.path.partition(b"?")[2].partition(b"#")[0])


def _requestSize(info: StreamInfo) -> object:
    headers = info.requestHeaders
    length = None if headers is None else headers.get(b"content-length")
    if length is None:
        return info.bytesReceived
    return int(length) if length.isdigit() and len(length) < 19 else MISSING


def _requestDuration(info: StreamInfo) -> object:
    # As in Envoy, of all of it, and so not known before it is over.
    return _span(None if info.end is None else info.end - info.startMonotonic)


def _responseCode(info: StreamInfo) -> int:
    headers = info.responseHeaders
    return info.responseCode or (0 if headers is None else headers.status)


def _latency(info: StreamInfo) -> object:
    begun, ended = info.upstreamRequestStart, info.upstreamResponseEnd
    return _span(None if begun is None or ended is None else ended - begun)


def _grpcStatus(info: StreamInfo) -> object:
    return responseStatusOf(info) if _responseCode(info) else MISSING


# Connections.


def _ofAddress(find: Callable[[Any], Address | None], part: str) -> _Find:
    get = attrgetter(part)

    def read(info: StreamInfo) -> object:
        address = find(info)
        value = None if address is None else get(address)
        return MISSING if value is None else value

    return _one(read)


def _source(info: StreamInfo) -> Address | None:
    return info.remoteAddress or info.connection.remoteAddress


def _destination(info: StreamInfo) -> Address | None:
    return info.connection.localAddress


def _upstream(info: StreamInfo) -> Address | None:
    return None if info.upstreamHost is None else info.upstreamHost.address


def _upstreamLocal(info: StreamInfo) -> Address | None:
    return info.upstreamLocalAddress


def _isMutual(info: StreamInfo) -> bool:
    tls: Any = info.connection.tls
    return tls is not None and bool(tls.isPresented)


def _fact(session: str, operator: str) -> _Find:
    """
    A fact about a TLS session, which has the name of an operator.
    """
    get = attrgetter(session)

    def read(info: StreamInfo) -> object:
        tls = get(info)
        value = None if tls is None else tls.get(operator)
        return MISSING if value is None else _clean(value)

    return _one(read)


def _name(session: str, side: str, kind: str) -> _Find:
    """
    The first name of a certificate.
    """
    get, names = attrgetter(session), attrgetter(f"{side}AltNames.{kind}")

    def read(info: StreamInfo) -> object:
        tls = get(info)
        found = () if tls is None else names(tls)
        return _clean(found[0]) if found else MISSING

    return _one(read)


def _certificate(session: str) -> _Find:
    get = attrgetter(session)

    def read(info: StreamInfo) -> object:
        certificate = getattr(get(info), "peerCertificate", None)
        # As in Envoy: several lines, and not encoded as that of logs is.
        return MISSING if certificate is None else pemOf(certificate)

    return _one(read)


def _session(session: str) -> dict[str, _Find]:
    found = {
        "tls_version": _fact(session, "TLS_VERSION"),
        "sha256_peer_certificate_digest": _fact(session, "PEER_FINGERPRINT_256"),
        "peer_certificate": _certificate(session),
    }
    for side in ("peer", "local"):
        found[f"subject_{side}_certificate"] = _fact(session, f"{side.upper()}_SUBJECT")
        found[f"uri_san_{side}_certificate"] = _name(session, side, "uris")
        found[f"dns_san_{side}_certificate"] = _name(session, side, "dns")
    return found


# Metadata.


def _metadata(
    attribute: str, isThere: Callable[[StreamInfo], bool] = lambda info: True, otherwise: Read = lambda info: MISSING
) -> _Find:
    """
    C{Metadata}, whose C{filter_metadata} is what is known of it here.

    @param isThere: Whether there is such metadata, be it empty.
    @param otherwise: What it is as a whole where it is not.
    """
    get: Callable[[Any], Mapping[str, Mapping[str, object]] | None] = attrgetter(attribute)

    def message(info: StreamInfo) -> object:
        if not isThere(info):
            return otherwise(info)
        made: Any = newMessage(_METADATA)
        for namespace, held in (get(info) or {}).items():
            made.filter_metadata[namespace].update(_value(held))
        return made

    def find(path: Sequence[str]) -> Variable:
        if len(path) == 1:
            return Variable(1, message)
        if path[1] != "filter_metadata" or isinstance(path[1], Index):
            raise ExpressionError(f"of metadata there is .filter_metadata here, and not {path[1]!r}")
        keys = tuple(path[2:])

        def held(info: StreamInfo, keys: Sequence[str]) -> object:
            found: object = (get(info) or {}) if isThere(info) else MISSING
            for key in keys:
                if not isinstance(found, Mapping) or key not in found:
                    return MISSING
                found = found[key]
            return found

        def read(info: StreamInfo) -> object:
            found = held(info, keys)
            return found if found is MISSING else _value(found)

        def has(info: StreamInfo) -> object:
            if not keys:
                return bool(get(info)) if isThere(info) else MISSING
            within = held(info, keys[:-1])
            return keys[-1] in within if isinstance(within, Mapping) else MISSING

        return Variable(len(path), read, isThere=has)

    return find


def _locality(path: Sequence[str]) -> Variable:
    def of(info: StreamInfo) -> Any:
        return getattr(info.upstreamHost, "locality", None)

    def message(info: StreamInfo) -> object:
        found = of(info)
        if found is None:
            return MISSING
        made: Any = newMessage(_LOCALITY)
        made.region, made.zone, made.sub_zone = found.names
        return made

    if len(path) == 1:
        return Variable(1, message)
    if path[1] not in _PLACES or isinstance(path[1], Index):
        raise ExpressionError(f"of a locality there are {', '.join(_PLACES)}, and not {path[1]!r}")
    part = _PLACES.index(path[1])

    def read(info: StreamInfo) -> object:
        found = of(info)
        return MISSING if found is None else _clean(found.names[part])

    return Variable(2, read, isThere=lambda info: found if (found := read(info)) is MISSING else bool(found))


_PLACES: Final = ("region", "zone", "sub_zone")


def _filterState(path: Sequence[str]) -> Variable:
    if len(path) == 1:
        raise ExpressionError('name what is asked of the filter state: filter_state["..."]')
    key = path[1]

    def read(info: StreamInfo) -> object:
        held = (info.filterState or {}).get(key)
        if held is None:
            held = (info.connection.filterState or {}).get(key)
        if held is None or not getattr(held, "isShown", True):
            return MISSING
        return held if isinstance(held, bytes) else encodeText(str(held))

    return Variable(2, read)


def _routed(read: Callable[[Any], Any]) -> _Find:
    """
    What is there when there is a route.
    """
    return _one(lambda info: MISSING if getattr(info, "route", None) is None else read(info))


def _hasRoute(info: StreamInfo) -> bool:
    return getattr(info, "route", None) is not None


def _cluster(info: StreamInfo) -> str:
    return info.clusterName or info.upstreamClusterRaw or info.upstreamCluster


def _noHostMetadata(info: StreamInfo) -> object:
    # As in Envoy, an endpoint without metadata has none, rather than an empty one.
    return MISSING if info.upstreamHost is None else None


def _refused(why: str) -> _Find:
    def find(path: Sequence[str]) -> Variable:
        raise ExpressionError(why)

    return find


_REQUEST: Final[Mapping[str, _Find]] = {
    "path": _requestField(b":path"),
    "url_path": _one(_urlPath),
    "host": _requestField(b":authority"),
    "scheme": _requestField(b":scheme"),
    "method": _requestField(b":method"),
    "headers": _fields("requestHeaders"),
    "headers_bytes": _one(_requestBytes),
    "referer": _requestField(b"referer"),
    "useragent": _requestField(b"user-agent"),
    "id": _requestField(b"x-request-id"),
    "time": _one(lambda info: datetime.fromtimestamp(info.startTime, UTC), "TIMESTAMP"),
    "protocol": _attribute("protocol"),
    "query": _one(_query),
    "duration": _one(_requestDuration, "DURATION"),
    "size": _one(_requestSize),
    "total_size": _one(lambda info: info.bytesReceived + _requestBytes(info)),
}

_RESPONSE: Final[Mapping[str, _Find]] = {
    "code": _one(lambda info: _responseCode(info) or MISSING),
    "code_details": _attribute("responseCodeDetails"),
    "flags": _one(lambda info: legacyFlags(info.responseFlags)),
    "grpc_status": _one(_grpcStatus),
    "headers": _fields("responseHeaders"),
    "headers_bytes": _one(_responseBytes),
    "trailers": _fields("responseTrailers"),
    "size": _count("bytesSent"),
    "total_size": _one(lambda info: info.bytesSent + _responseBytes(info) + _trailerBytes(info)),
    "backend_latency": _one(_latency, "DURATION"),
}

_CONNECTION: Final[Mapping[str, _Find]] = {
    "id": _count("connection.id", "UINT"),
    "mtls": _one(_isMutual),
    "requested_server_name": _one(lambda info: _clean(info.connection.requestedServerName)),
    "termination_details": _one(
        lambda info: _clean(info.connectionTerminationDetails or info.connection.terminationDetails) or MISSING
    ),
    "transport_failure_reason": _attribute("connection.transportFailureReason"),
    **_session("connection.tls"),
}

_UPSTREAM: Final[Mapping[str, _Find]] = {
    "address": _ofAddress(_upstream, "text"),
    "port": _ofAddress(_upstream, "port"),
    "local_address": _ofAddress(_upstreamLocal, "text"),
    "locality": _locality,
    "transport_failure_reason": _one(
        lambda info: _clean(info.upstreamTransportFailureReason) if info.upstreamHost is not None else MISSING
    ),
    "request_attempt_count": _count("upstreamAttempts", "UINT"),
    "cx_pool_ready_duration": _one(lambda info: _span(info.connectionPoolReady), "DURATION"),
    "num_endpoints": _refused("upstream.num_endpoints is not known here; it is the statistic membership_total"),
    **_session("upstreamTls"),
}

_XDS: Final[Mapping[str, _Find]] = {
    "cluster_name": _one(lambda info: _clean(_cluster(info)) or MISSING),
    "cluster_metadata": _metadata("clusterMetadata", lambda info: _cluster(info) != ""),
    "route_name": _routed(lambda info: _clean(info.routeName)),
    "route_metadata": _metadata("routeMetadata", _hasRoute),
    "virtual_host_name": _attribute("virtualHostName"),
    "virtual_host_metadata": _metadata("virtualHostMetadata", lambda info: info.virtualHostName != ""),
    "upstream_host_metadata": _metadata("upstreamMetadata", lambda info: bool(info.upstreamMetadata), _noHostMetadata),
    "upstream_host_locality_metadata": _refused("xds.upstream_host_locality_metadata is not known here"),
    "filter_chain_name": _one(lambda info: _clean(info.connection.filterChainName)),
    "listener_metadata": _metadata("listenerMetadata"),
    "listener_direction": _count("connection.listenerDirection"),
    "node": _refused("xds.node is not known here; its values are those of the bootstrap, and can be written out"),
}


def _address(find: Callable[[Any], Address | None]) -> Mapping[str, _Find]:
    return {"address": _ofAddress(find, "text"), "port": _ofAddress(find, "port")}


_GROUPS: Final[Mapping[str, Mapping[str, _Find]]] = {
    "request": _REQUEST,
    "response": _RESPONSE,
    "connection": _CONNECTION,
    "source": _address(_source),
    "destination": _address(_destination),
    "upstream": _UPSTREAM,
    "xds": _XDS,
}

_WHOLE: Final[Mapping[str, _Find]] = {
    "metadata": _metadata("dynamicMetadata"),
    "filter_state": _filterState,
    "upstream_filter_state": _refused("upstream_filter_state: no filter here sets any"),
}

_OF_REQUESTS: Final = frozenset({"request", "response", "upstream"})


def ofStreams(path: Sequence[str]) -> Variable:
    """
    See L{FindVariable}: the attributes of an HTTP stream.
    """
    name = path[0]
    whole = _WHOLE.get(name)
    if whole is not None:
        return whole(path)
    group = _GROUPS.get(name)
    if group is None:
        raise ExpressionError(_unknown(name, (*_GROUPS, *_WHOLE), f"there is no attribute {name}"))
    if len(path) == 1:
        raise ExpressionError(f"{name} as a whole cannot be given: name one of its attributes")
    attribute = group.get(path[1])
    if attribute is None:
        raise ExpressionError(_unknown(path[1], group, f"there is no attribute {name}.{path[1]}"))
    variable = attribute(path[1:])
    return variable._replace(names=variable.names + 1)


def _unknown(name: str, known: Sequence[str] | Mapping[str, object], why: str) -> str:
    meant = near(name, known)
    return f"{why}; did you mean {' or '.join(meant)}?" if meant else why


def ofConnections(path: Sequence[str]) -> Variable:
    """
    See L{FindVariable}: the attributes of a connection without requests.
    """
    if path[0] in _OF_REQUESTS:
        raise ExpressionError(f"a connection has no request; only an HTTP filter can ask for {path[0]}")
    return ofStreams(path)
