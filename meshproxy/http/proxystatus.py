# -*- test-case-name: tests.http.test_proxystatus -*-
"""
C{proxy_status_config}: the C{Proxy-Status} field (RFC 9209) that says what went wrong on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from meshproxy.config import Section
from meshproxy.flags import ResponseFlag, flagsShort
from meshproxy.headers import ResponseHeaders

if TYPE_CHECKING:
    from meshproxy.http.stream import Stream

__all__ = ["TellStatus", "compileProxyStatus"]

#: Adds the field to the head of a response, where there is something to tell.
TellStatus: TypeAlias = Callable[["Stream", ResponseHeaders], None]


class _Error(NamedTuple):
    """
    A type of RFC 9209, 2.3, and the status that it recommends.
    """

    name: str
    status: int


_UNAVAILABLE = _Error("destination_unavailable", 503)
_NOT_FOUND = _Error("destination_not_found", 500)
_REFUSED = _Error("connection_refused", 502)
_TERMINATED = _Error("connection_terminated", 502)
_CONNECTION_TIMEOUT = _Error("connection_timeout", 504)
_LIMIT = _Error("connection_limit_reached", 503)
_RESPONSE_TIMEOUT = _Error("http_response_timeout", 504)
_REQUEST_ERROR = _Error("http_request_error", 400)
_PROTOCOL_ERROR = _Error("http_protocol_error", 502)
_CONFIGURATION = _Error("proxy_configuration_error", 500)
_DNS = _Error("dns_error", 502)

# The first flag that is set decides, as in Envoy (ProxyStatusUtils::fromStreamInfo). It tells nothing of what is no
# request: the flag for that is set when the answer is written already.
_BY_FLAG: tuple[tuple[int, _Error], ...] = (
    (ResponseFlag.FAILED_LOCAL_HEALTH_CHECK, _UNAVAILABLE),
    (ResponseFlag.NO_HEALTHY_UPSTREAM, _UNAVAILABLE),
    (ResponseFlag.UPSTREAM_REQUEST_TIMEOUT, _RESPONSE_TIMEOUT),
    (ResponseFlag.LOCAL_RESET, _CONNECTION_TIMEOUT),
    (ResponseFlag.UPSTREAM_REMOTE_RESET, _TERMINATED),
    (ResponseFlag.UPSTREAM_CONNECTION_FAILURE, _REFUSED),
    (ResponseFlag.UPSTREAM_CONNECTION_TERMINATION, _TERMINATED),
    (ResponseFlag.UPSTREAM_OVERFLOW, _LIMIT),
    (ResponseFlag.NO_ROUTE_FOUND, _NOT_FOUND),
    (ResponseFlag.RATE_LIMITED, _LIMIT),
    (ResponseFlag.RATE_LIMIT_SERVICE_ERROR, _LIMIT),
    (ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED, _UNAVAILABLE),
    (ResponseFlag.STREAM_IDLE_TIMEOUT, _RESPONSE_TIMEOUT),
    (ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS, _REQUEST_ERROR),
    (ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED, _RESPONSE_TIMEOUT),
    (ResponseFlag.NO_FILTER_CONFIG_FOUND, _CONFIGURATION),
    (ResponseFlag.UPSTREAM_PROTOCOL_ERROR, _PROTOCOL_ERROR),
    (ResponseFlag.NO_CLUSTER_FOUND, _UNAVAILABLE),
    (ResponseFlag.DNS_RESOLUTION_FAILED, _DNS),
)


def compileProxyStatus(section: Section | None, serverName: str, nodeId: str) -> TellStatus | None:
    """
    Compile C{ProxyStatusConfig}.

    @param serverName: How the proxy is called where nothing else is said.
    """
    if section is None:
        return None
    kind = section.oneof("proxy_name")
    name: str = serverName
    if kind == "literal_proxy_name":
        name = section.get(kind)
    elif kind == "use_node_id" and section.get(kind):
        name = nodeId
    withDetails = not section.get("remove_details")
    withTermination = not section.get("remove_connection_termination_details")
    withFlags = not section.get("remove_response_flags")
    recommends: bool = section.get("set_recommended_response_code")

    def tell(stream: Stream, headers: ResponseHeaders) -> None:
        flags = stream.responseFlags
        error = next((error for flag, error in _BY_FLAG if flags & flag), None) if flags else None
        if error is None:
            return
        parts = [name, f"error={error.name}"]
        if withDetails and stream.responseCodeDetails.strip():
            details = [stream.responseCodeDetails]
            termination = stream.connectionTerminationDetails or stream.connection.terminationDetails
            if withTermination and termination:
                details.append(termination)
            if withFlags:
                details.append(flagsShort(flags))
            parts.append(f'details="{_escaped("; ".join(details))}"')
        value = "; ".join(parts).encode("utf-8")
        before = headers.joined(b"proxy-status")
        headers.set(b"proxy-status", value if before is None else before + b", " + value)
        if recommends:
            headers.status = error.status

    return tell


def _escaped(text: str) -> str:
    """
    For a quoted string (RFC 9110, 5.6.4), which has no control characters.
    """
    shown = "".join(letter if letter.isprintable() else "_" for letter in text)
    return shown.replace("\\", "\\\\").replace('"', '\\"')
