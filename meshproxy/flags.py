# -*- test-case-name: tests.test_flags -*-
"""
Why a stream or connection failed, and what its peer is told: response flags, response code details and local
replies, in one place.

A L{Failure} is why; its value is a L{LocalReply}, so that no member can be without one. The same reply labels
the access log (flag and details) and is what the downstream sees (status and body). Texts are Envoy's. What
varies from case to case comes from a function: L{upstreamResetReply}, L{protocolErrorReply}.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

__all__ = [
    "GRPC_STATUSES",
    "TEXT",
    "Details",
    "Failure",
    "LocalReply",
    "OVERLOADED",
    "SHORT",
    "SUPPRESSIBLE",
    "ResetReason",
    "ResponseFlag",
    "flagsLong",
    "flagsShort",
    "grpcStatus",
    "legacyFlags",
    "maskOf",
    "protocolErrorReply",
    "reasonPhrase",
    "upstreamResetReply",
]


class ResponseFlag:
    """
    Response flags: plain integers to be or-ed into C{StreamInfo.responseFlags}. (An C{IntFlag} would cost a
    microsecond where these cost a few nanoseconds.)

    Envoy prints several flags in the order in which they were set. The bits here stand in the order in which a
    request meets the causes, so that C{URX,UF} reads the same. tcp_proxy meets its limit of connect attempts
    last, thus L{CONNECT_ATTEMPTS_EXCEEDED}, which bears the same names as L{UPSTREAM_RETRY_LIMIT_EXCEEDED}.
    """

    DELAY_INJECTED = 1 << 0
    FAULT_INJECTED = 1 << 1
    RATE_LIMITED = 1 << 2
    RATE_LIMIT_SERVICE_ERROR = 1 << 3
    UNAUTHORIZED_EXTERNAL_SERVICE = 1 << 4
    NO_FILTER_CONFIG_FOUND = 1 << 5
    RESPONSE_FROM_CACHE_FILTER = 1 << 6
    FAILED_LOCAL_HEALTH_CHECK = 1 << 7
    OVERLOAD_MANAGER = 1 << 8
    INVALID_ENVOY_REQUEST_HEADERS = 1 << 9
    NO_ROUTE_FOUND = 1 << 10
    NO_CLUSTER_FOUND = 1 << 11
    DNS_RESOLUTION_FAILED = 1 << 12
    DROP_OVERLOAD = 1 << 13
    UNCONDITIONAL_DROP_OVERLOAD = 1 << 14
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 1 << 15
    UPSTREAM_OVERFLOW = 1 << 16
    NO_HEALTHY_UPSTREAM = 1 << 17
    UPSTREAM_CONNECTION_FAILURE = 1 << 18
    UPSTREAM_CONNECTION_TERMINATION = 1 << 19
    UPSTREAM_PROTOCOL_ERROR = 1 << 20
    UPSTREAM_REMOTE_RESET = 1 << 21
    LOCAL_RESET = 1 << 22
    UPSTREAM_REQUEST_TIMEOUT = 1 << 23
    UPSTREAM_MAX_STREAM_DURATION_REACHED = 1 << 24
    DURATION_TIMEOUT = 1 << 25
    STREAM_IDLE_TIMEOUT = 1 << 26
    DOWNSTREAM_PROTOCOL_ERROR = 1 << 27
    DOWNSTREAM_CONNECTION_TERMINATION = 1 << 28
    DOWNSTREAM_REMOTE_RESET = 1 << 29
    CONNECT_ATTEMPTS_EXCEEDED = 1 << 30


_NAMES: dict[int, tuple[str, str]] = {
    ResponseFlag.DELAY_INJECTED: ("DI", "DelayInjected"),
    ResponseFlag.FAULT_INJECTED: ("FI", "FaultInjected"),
    ResponseFlag.RATE_LIMITED: ("RL", "RateLimited"),
    ResponseFlag.RATE_LIMIT_SERVICE_ERROR: ("RLSE", "RateLimitServiceError"),
    ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE: ("UAEX", "UnauthorizedExternalService"),
    ResponseFlag.NO_FILTER_CONFIG_FOUND: ("NFCF", "NoFilterConfigFound"),
    ResponseFlag.RESPONSE_FROM_CACHE_FILTER: ("RFCF", "ResponseFromCacheFilter"),
    ResponseFlag.FAILED_LOCAL_HEALTH_CHECK: ("LH", "FailedLocalHealthCheck"),
    ResponseFlag.OVERLOAD_MANAGER: ("OM", "OverloadManagerTerminated"),
    ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS: ("IH", "InvalidEnvoyRequestHeaders"),
    ResponseFlag.NO_ROUTE_FOUND: ("NR", "NoRouteFound"),
    ResponseFlag.NO_CLUSTER_FOUND: ("NC", "NoClusterFound"),
    ResponseFlag.DNS_RESOLUTION_FAILED: ("DF", "DnsResolutionFailed"),
    ResponseFlag.DROP_OVERLOAD: ("DO", "DropOverload"),
    ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD: ("UDO", "UnconditionalDropOverload"),
    ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED: ("URX", "UpstreamRetryLimitExceeded"),
    ResponseFlag.UPSTREAM_OVERFLOW: ("UO", "UpstreamOverflow"),
    ResponseFlag.NO_HEALTHY_UPSTREAM: ("UH", "NoHealthyUpstream"),
    ResponseFlag.UPSTREAM_CONNECTION_FAILURE: ("UF", "UpstreamConnectionFailure"),
    ResponseFlag.UPSTREAM_CONNECTION_TERMINATION: ("UC", "UpstreamConnectionTermination"),
    ResponseFlag.UPSTREAM_PROTOCOL_ERROR: ("UPE", "UpstreamProtocolError"),
    ResponseFlag.UPSTREAM_REMOTE_RESET: ("UR", "UpstreamRemoteReset"),
    ResponseFlag.LOCAL_RESET: ("LR", "LocalReset"),
    ResponseFlag.UPSTREAM_REQUEST_TIMEOUT: ("UT", "UpstreamRequestTimeout"),
    ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED: ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ResponseFlag.DURATION_TIMEOUT: ("DT", "DurationTimeout"),
    ResponseFlag.STREAM_IDLE_TIMEOUT: ("SI", "StreamIdleTimeout"),
    ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR: ("DPE", "DownstreamProtocolError"),
    ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION: ("DC", "DownstreamConnectionTermination"),
    ResponseFlag.DOWNSTREAM_REMOTE_RESET: ("DR", "DownstreamRemoteReset"),
    ResponseFlag.CONNECT_ATTEMPTS_EXCEEDED: ("URX", "UpstreamRetryLimitExceeded"),
}


class _FlagText(dict[int, str]):
    """
    The text of each mask that was ever asked for. There are few: causes exclude each other.
    """

    def __init__(self, which: int) -> None:
        self._which = which

    def __missing__(self, mask: int) -> str:
        text = ",".join(names[self._which] for bit, names in _NAMES.items() if mask & bit) or "-"
        self[mask] = text
        return text


SHORT = _FlagText(0)
"""
C{%RESPONSE_FLAGS%} by mask: see L{flagsShort}.
"""

_LONG = _FlagText(1)


def flagsShort(mask: int) -> str:
    """
    C{%RESPONSE_FLAGS%}: C{"UF"}, C{"URX,UF"}, or C{"-"}.
    """
    return SHORT[mask]


def flagsLong(mask: int) -> str:
    """
    C{%RESPONSE_FLAGS_LONG%}: C{"UpstreamConnectionFailure"}, or C{"-"}.
    """
    return _LONG[mask]


# The order of Envoy's bits, by the names that logs show.
_LEGACY = (
    "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO".split()
)


class _LegacyMask(dict[int, int]):
    """
    As L{_FlagText}.
    """

    def __missing__(self, mask: int) -> int:
        found = self[mask] = sum({1 << _LEGACY.index(names[0]) for bit, names in _NAMES.items() if mask & bit})
        return found


_LEGACY_MASKS = _LegacyMask()


def legacyFlags(mask: int) -> int:
    """
    The flags as Envoy numbers them: C{response.flags} in expressions.
    """
    return _LEGACY_MASKS[mask]


def maskOf(name: str) -> int | None:
    """
    The bits of a flag's short name (C{response_flag_filter}), or L{None} if no flag is called so.
    """
    return sum(bit for bit, names in _NAMES.items() if names[0] == name) or None


class Details:
    """
    Response code details that are not those of a L{Failure}.
    """

    #: There are details, and they say nothing: what Envoy has for a reply of custom_response. Logs show an empty text.
    EMPTY = " "
    VIA_UPSTREAM = "via_upstream"
    DIRECT_RESPONSE = "direct_response"
    INTERNAL_REDIRECT = "internal_redirect"
    DOWNSTREAM_REMOTE_DISCONNECT = "downstream_remote_disconnect"
    FILTER_CHAIN_NOT_FOUND = "filter_chain_not_found"
    EARLY_UPSTREAM_RESET = "upstream_reset_before_response_started"
    LATE_UPSTREAM_RESET = "upstream_reset_after_response_started"
    DURATION_TIMEOUT = "duration_timeout"
    EARLY_CONNECT_DATA = "early_connect_data"


#: What a local reply is of, unless somebody says otherwise.
TEXT: Final = b"text/plain"


@dataclass(frozen=True, slots=True, eq=False)
class LocalReply:
    """
    What a downstream is told when this proxy answers by itself.

    Two replies are never equal: members of L{Failure} with equal texts stay different members.

    @ivar status: The HTTP status.
    @ivar body: The body; no body and no content type if empty.
    @ivar details: C{%RESPONSE_CODE_DETAILS%}.
    @ivar flag: The L{ResponseFlag} bits to set, 0 for none.
    @ivar headers: Further fields of the response.
    @ivar grpcStatus: What a gRPC client is told; 0 for what the status means.
    @ivar contentType: Of the body.
    @ivar isPage: Whether its headers may tell a content type though there is no body.
    """

    status: int
    body: bytes
    details: str
    flag: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    grpcStatus: int = 0
    contentType: bytes = TEXT
    isPage: bool = False

    def withStatus(self, status: int) -> LocalReply:
        """
        The same reply under another status (408 while the request is incomplete,
        C{cluster_not_found_response_code}).
        """
        return self if status == self.status else replace(self, status=status)


OVERLOADED = ((b"x-envoy-overloaded", b"true"),)
"""
What Envoy's router says whenever it refuses for overload, unless it is to add no such fields.
"""
_DROPPED = ((b"x-envoy-drop-overload", b"true"),)
_SHED = ((b"x-envoy-unconditional-drop-overload", b"true"),)

#: What the router does not say where it is to add no such fields.
SUPPRESSIBLE: Final = (*OVERLOADED, *_DROPPED, *_SHED)


class Failure(Enum):
    """
    Why this proxy answers by itself.

    Timeouts that may strike before the request is complete stand here with the status for a complete one;
    before that it is 408: C{Failure.STREAM_IDLE_TIMEOUT.value.withStatus(408)}.
    """

    # No way to go.
    NO_ROUTE = LocalReply(404, b"", "route_not_found", ResponseFlag.NO_ROUTE_FOUND)
    NO_ROUTE_CONFIGURATION = LocalReply(404, b"", "route_configuration_not_found", ResponseFlag.NO_ROUTE_FOUND)
    NO_CLUSTER = LocalReply(503, b"", "cluster_not_found", ResponseFlag.NO_CLUSTER_FOUND)
    NO_HEALTHY_UPSTREAM = LocalReply(
        503, b"no healthy upstream", "no_healthy_upstream", ResponseFlag.NO_HEALTHY_UPSTREAM
    )
    DNS_FAILED = LocalReply(
        503, b"DNS resolution failure", "dns_resolution_failure", ResponseFlag.DNS_RESOLUTION_FAILED
    )
    MAINTENANCE_MODE = LocalReply(
        503, b"maintenance mode", "maintenance_mode", ResponseFlag.UPSTREAM_OVERFLOW, OVERLOADED
    )
    DROP_OVERLOAD = LocalReply(503, b"drop overload", "drop_overload", ResponseFlag.DROP_OVERLOAD, _DROPPED)
    UNCONDITIONAL_DROP_OVERLOAD = LocalReply(
        503,
        b"unconditional drop overload",
        "unconditional_drop_overload",
        ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD,
        _SHED,
    )
    OVERLOAD = LocalReply(503, b"envoy overloaded", "overload", ResponseFlag.OVERLOAD_MANAGER)

    # Time ran out.
    UPSTREAM_TIMEOUT = LocalReply(
        504, b"upstream request timeout", "response_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
    )
    PER_TRY_TIMEOUT = LocalReply(
        504, b"upstream request timeout", "upstream_per_try_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
    )
    PER_TRY_IDLE_TIMEOUT = LocalReply(
        504, b"upstream request timeout", "upstream_per_try_idle_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
    )
    UPSTREAM_MAX_STREAM_DURATION = LocalReply(
        504,
        b"upstream max stream duration reached",
        "upstream_max_stream_duration_reached",
        ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED,
    )
    STREAM_IDLE_TIMEOUT = LocalReply(504, b"stream timeout", "stream_idle_timeout", ResponseFlag.STREAM_IDLE_TIMEOUT)
    MAX_STREAM_DURATION = LocalReply(504, b"downstream duration timeout", "max_duration_timeout", grpcStatus=4)
    REQUEST_TIMEOUT = LocalReply(408, b"request timeout", "request_overall_timeout")
    REQUEST_HEADERS_TIMEOUT = LocalReply(408, b"request header timeout", "request_header_timeout")

    # The request cannot be accepted.
    UPGRADE_FAILED = LocalReply(403, b"", "upgrade_failed")
    MISSING_HOST = LocalReply(400, b"", "missing_host_header")
    MISSING_PATH = LocalReply(404, b"", "missing_path_rejected")
    ABSOLUTE_PATH = LocalReply(404, b"", "absolute_path_rejected")
    PATH_NORMALIZATION_FAILED = LocalReply(400, b"", "path_normalization_failed")
    ORIGINAL_IP_DETECTION_FAILED = LocalReply(403, b"", "rejecting_because_detection_failed")
    INVALID_ENVOY_HEADERS = LocalReply(
        400, b"", "request_headers_failed_strict_check", ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS
    )
    REQUEST_PAYLOAD_TOO_LARGE = LocalReply(413, b"Payload Too Large", "request_payload_too_large")
    RETRY_BUFFER_EXCEEDED = LocalReply(
        507, b"exceeded request buffer limit while retrying upstream", "request_payload_exceeded_retry_buffer_limit"
    )

    # Faults on this side.
    RESPONSE_PAYLOAD_TOO_LARGE = LocalReply(500, b"Internal Server Error", "response_payload_too_large")
    FILTER_EXCEPTION = LocalReply(500, b"Internal Server Error", "filter_exception")
    FILTER_REMOVED_REQUEST_HEADERS = LocalReply(400, b"", "filter_removed_required_request_headers")
    FILTER_REMOVED_RESPONSE_HEADERS = LocalReply(502, b"", "filter_removed_required_response_headers")


class ResetReason(Enum):
    """
    Why an upstream stream ended before its response did, with Envoy's words for it and the flag it sets.
    """

    LOCAL_CONNECTION_FAILURE = ("local connection failure", ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
    REMOTE_CONNECTION_FAILURE = ("remote connection failure", ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
    CONNECTION_TIMEOUT = ("connection timeout", ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
    CONNECTION_TERMINATION = ("connection termination", ResponseFlag.UPSTREAM_CONNECTION_TERMINATION)
    OVERFLOW = ("overflow", ResponseFlag.UPSTREAM_OVERFLOW)
    PROTOCOL_ERROR = ("protocol error", ResponseFlag.UPSTREAM_PROTOCOL_ERROR)
    REMOTE_RESET = ("remote reset", ResponseFlag.UPSTREAM_REMOTE_RESET)
    REMOTE_REFUSED_STREAM = ("remote refused stream reset", ResponseFlag.UPSTREAM_REMOTE_RESET)
    CONNECT_ERROR = ("remote error with CONNECT request", ResponseFlag.UPSTREAM_REMOTE_RESET)
    LOCAL_RESET = ("local reset", ResponseFlag.LOCAL_RESET)
    LOCAL_REFUSED_STREAM = ("local refused stream reset", ResponseFlag.LOCAL_RESET)
    PREMATURE_HALF_CLOSE = ("Http1 premature upstream half close", ResponseFlag.LOCAL_RESET)
    OVERLOAD_MANAGER = ("overload manager reset", ResponseFlag.OVERLOAD_MANAGER)
    #: There are as many connection pools as there may be: as in Envoy, the same as if no endpoint were there.
    NO_POOL = ("no connection pool", ResponseFlag.NO_HEALTHY_UPSTREAM)

    @property
    def words(self) -> str:
        """
        Envoy's words, as they stand in the body.
        """
        return self.value[0]

    @property
    def flag(self) -> int:
        """
        The L{ResponseFlag}.
        """
        return self.value[1]

    def details(self, when: str = Details.EARLY_UPSTREAM_RESET, transportFailure: str = "") -> str:
        """
        The response code details: C{upstream_reset_before_response_started{connection_termination}}.

        @param when: L{Details.EARLY_UPSTREAM_RESET} or L{Details.LATE_UPSTREAM_RESET}.
        @param transportFailure: C{%UPSTREAM_TRANSPORT_FAILURE_REASON%}.
        """
        why = f"{self.words}|{transportFailure}" if transportFailure else self.words
        return f"{when}{{{why}}}".replace(" ", "_")


def upstreamResetReply(reason: ResetReason, transportFailure: str = "", retried: bool = False) -> LocalReply:
    """
    The reply to a request whose upstream stream ended before a response came.

    The transport's own reason stands in the details and never in the body (as of Envoy 1.39,
    C{hide_transport_failure_reason_in_response_body}): it may tell what is behind the proxy.

    @param retried: Whether this was not the first attempt.
    """
    if reason is ResetReason.NO_POOL:
        return Failure.NO_HEALTHY_UPSTREAM.value
    told = "retried and the latest reset reason" if retried else "reset reason"
    body = f"upstream connect error or disconnect/reset before headers. {told}: {reason.words}"
    return LocalReply(
        502 if reason is ResetReason.PROTOCOL_ERROR else 503,
        body.encode("ascii"),
        reason.details(transportFailure=transportFailure),
        reason.flag,
        OVERLOADED if reason is ResetReason.OVERFLOW else (),
    )


def protocolErrorReply(status: int, details: str) -> LocalReply:
    """
    The reply to a downstream that broke its protocol: from C{RemoteProtocolError.statusHint} and C{.details}.
    """
    return LocalReply(status, reasonPhrase(status).encode("ascii"), details, ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)


def reasonPhrase(status: int) -> str:
    """
    Envoy's reason phrase of a status (C{Http::CodeUtility::toString}), C{"Unknown"} for others.
    """
    return _PHRASES.get(status, "Unknown")


# RFC 9110 has other words for 413 and 422; these are Envoy's, and stand in its status lines and bodies.
_PHRASES = {
    100: "Continue",
    101: "Switching Protocols",
    102: "Processing",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Payload Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Entity",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    510: "Not Extended",
    511: "Network Authentication Required",
    599: "Last Unassigned Server Error Code",
}


def grpcStatus(status: int) -> int:
    """
    The gRPC status that an HTTP status stands for where no C{grpc-status} came, and that a local reply tells
    (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
    """
    return _GRPC_STATUS.get(status, 2)


_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


#: The status codes of gRPC by name; the place is the number (https://grpc.io/docs/guides/status-codes/).
GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
