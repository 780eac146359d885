# -*- test-case-name: tests.grpc.test_status -*-
"""
How a call ends: gRPC's status codes, and what of HTTP stands for one.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, and statuscodes.md and
http-grpc-status-mapping.md beside it.
"""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import unquote_to_bytes

from meshproxy.codec.http2 import ErrorCode
from meshproxy.errors import MeshProxyError
from meshproxy.flags import grpcStatus
from meshproxy.headers import HeaderMap

__all__ = [
    "GRPCError",
    "Status",
    "decodeMessage",
    "encodeMessage",
    "httpStatus",
    "isServerError",
    "ofHTTPStatus",
    "ofReset",
    "ofTrailers",
]


class Status(IntEnum):
    """
    The codes.
    """

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class GRPCError(MeshProxyError):
    """
    A call that did not end well.

    @ivar status: One of L{Status}, never C{OK}.
    @ivar message: What the peer, or this side, said of it; a peer is shown what a server raises.
    """

    def __init__(self, status: Status, message: str = "") -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.status.name}: {self.message}" if self.message else self.status.name


# Printable ASCII but the percent sign goes as it is.
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}
# A message is for people; a head has little room.
_LONGEST_MESSAGE = 4096


def encodeMessage(message: str) -> bytes:
    """
    As C{grpc-message} has it: percent-encoded UTF-8.
    """
    data = message.encode("utf-8", "replace")[:_LONGEST_MESSAGE]
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in data)


def decodeMessage(value: bytes) -> str:
    """
    The text of a C{grpc-message}; what is wrong in it is replaced, never refused.
    """
    return unquote_to_bytes(value).decode("utf-8", "replace")


def ofTrailers(trailers: HeaderMap) -> GRPCError | None:
    """
    What trailers, or the head of a response without a body, say.

    @return: L{None} for C{OK}.
    """
    value = trailers.get(b"grpc-status")
    message = decodeMessage(trailers.get(b"grpc-message") or b"")
    if value is None:
        return GRPCError(Status.UNKNOWN, "the response ended without a grpc-status")
    if not (value.isdigit() and len(value) <= 9):
        return GRPCError(Status.UNKNOWN, f"the grpc-status is no number: {value[:32]!r}")
    code = int(value)
    if code == 0:
        return None
    # Codes that are not known are unknown.
    return GRPCError(Status(code) if code <= 16 else Status.UNKNOWN, message)


def ofHTTPStatus(status: int) -> Status:
    """
    What an HTTP status without a C{grpc-status} means.
    """
    return Status(grpcStatus(status))


# https://cloud.google.com/apis/design/errors has HTTP's 5xx for these; what is not known is one, too.
_NOT_SERVER = frozenset(Status) - {
    Status.UNKNOWN,
    Status.DEADLINE_EXCEEDED,
    Status.UNIMPLEMENTED,
    Status.INTERNAL,
    Status.UNAVAILABLE,
    Status.DATA_LOSS,
}


def isServerError(code: int) -> bool:
    """
    Whether a status is the server's fault.
    """
    return code not in _NOT_SERVER


# The statuses of HTTP that Envoy takes these for.
_HTTP = {
    Status.OK: 200,
    Status.CANCELLED: 499,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.ALREADY_EXISTS: 409,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.FAILED_PRECONDITION: 400,
    Status.ABORTED: 409,
    Status.OUT_OF_RANGE: 400,
    Status.UNIMPLEMENTED: 501,
    Status.UNAVAILABLE: 503,
    Status.UNAUTHENTICATED: 401,
}


def httpStatus(code: int) -> int:
    """
    The status of HTTP that says the same.
    """
    return _HTTP.get(code, 500)  # type: ignore[call-overload, no-any-return]  # the keys are numbers


_OF_RESET: dict[int, Status] = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def ofReset(code: int) -> Status:
    """
    What RST_STREAM with a code means.
    """
    return _OF_RESET.get(code, Status.INTERNAL)
