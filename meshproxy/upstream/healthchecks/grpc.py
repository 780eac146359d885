# -*- test-case-name: tests.upstream.healthchecks.test_grpc -*-
"""
Checks by gRPC's own protocol for it, C{grpc.health.v1.Health}: C{grpc_health_check}.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Its two messages have one field each, which are
written and read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshproxy.config import Section
from meshproxy.grpc.framing import MessageReader, encodeFrame
from meshproxy.grpc.status import GRPCError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.routing.mutations import Mutation, compileHeaderOptions
from meshproxy.upstream.healthchecks.exchange import USER_AGENT, Exchange, FailureKind, IJudge

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["GRPCCheck", "GRPCProbe", "compileGRPCCheck", "readStatus"]

_PATH: Final = b"/grpc.health.v1.Health/Check"

# HealthCheckResponse.ServingStatus
_SERVING: Final = 1

# An answer is two bytes long; one that is longer by far is none.
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class GRPCCheck:
    """
    What is asked.

    @ivar authority: C{:authority}, unless the endpoint has another; empty for the cluster's name.
    @ivar request: The request's message, framed.
    """

    authority: str
    request: bytes
    mutate: Mutation | None


def compileGRPCCheck(section: Section) -> GRPCCheck:
    """
    Read it from a C{GrpcHealthCheck}.
    """
    service = section.get("service_name").encode("utf-8")
    message = b"\x0a" + _varint(len(service)) + service if service else b""
    return GRPCCheck(section.get("authority"), encodeFrame(message), compileHeaderOptions(section, "initial_metadata"))


def _formatTimeout(seconds: float) -> bytes:
    """
    As C{grpc-timeout} has it, in milliseconds as Envoy does while their eight digits last.
    """
    milliseconds = int(seconds * 1000)
    return b"%dm" % milliseconds if milliseconds < 100_000_000 else b"%dS" % (milliseconds // 1000)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def readStatus(message: bytes) -> int | None:
    """
    The C{status} of a C{HealthCheckResponse}, 0 where it is not said; L{None} if it is no such message.
    """
    status, position = 0, 0
    while position < len(message):
        tag, position = _readVarint(message, position)
        if tag == 0x08:
            status, position = _readVarint(message, position)
            continue
        # What later versions may add is skipped, by its wire type.
        kind = tag & 7
        if kind == 0:
            _, position = _readVarint(message, position)
        elif kind == 2:
            size, position = _readVarint(message, position)
            position += max(size, 0)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            return None
        if tag < 8:
            return None
    return status if position == len(message) else None


def _readVarint(message: bytes, position: int) -> tuple[int, int]:
    """
    @return: A number, and where it ends: behind the message where it does not.
    """
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    return -1, len(message) + 1


class GRPCProbe(Exchange):
    """
    Asks an endpoint.
    """

    closesLate = False

    def __init__(
        self,
        check: GRPCCheck,
        pool: HTTP1Pool,
        judge: IJudge,
        authority: bytes,
        scheme: bytes,
        info: Callable[[], StreamInfo],
        timeout: float,
    ) -> None:
        """
        @param info: Makes what added metadata may speak of.
        @param timeout: Seconds that the endpoint is told to have.
        """
        super().__init__(pool, judge)
        self._check = check
        self._authority = authority
        self._scheme = scheme
        self._info = info
        self._timeout = _formatTimeout(timeout)
        self._reader = MessageReader(_MOST_BYTES)
        self._status: int | None = None

    def send(self, connection: Any) -> None:
        """
        See L{Exchange.send}.
        """
        self._reader = MessageReader(_MOST_BYTES)
        self._status = None
        fields = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), USER_AGENT]
        headers = RequestHeaders(b"POST", _PATH, self._authority, fields, self._scheme)
        if self._check.mutate is not None:
            self._check.mutate(headers, self._info())
        headers.set(b"grpc-timeout", self._timeout)
        connection.sendHeaders(headers, False)
        connection.sendData(self._check.request, True)

    def headReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{Exchange.headReceived}.
        """
        if endStream:
            # "Trailers-Only": no answer, for better or for worse.
            self._fail(False)
        elif headers.status != 200 or not (headers.get(b"content-type") or b"").startswith(b"application/grpc"):
            self._fail(True)

    def bodyReceived(self, data: bytes) -> None:
        """
        See L{Exchange.bodyReceived}.
        """
        try:
            messages = self._reader.receiveData(data)
        except GRPCError:
            self._fail(True)
            return
        for message in filter(None, messages):
            status = readStatus(message)
            if self._status is not None or status is None:
                self._fail(True)
                return
            self._status = status

    def completed(self, trailers: HeaderMap | None) -> None:
        """
        See L{Exchange.completed}.
        """
        self.end()
        code = None if trailers is None else trailers.get(b"grpc-status")
        if code == b"0" and self._status == _SERVING:
            self.judge.passed()
        else:
            self.judge.failed(FailureKind.ACTIVE)

    def _fail(self, isEarly: bool) -> None:
        """
        @param isEarly: Whether there is more to come.
        """
        if self.breakOff() if isEarly else self.end():
            self.judge.failed(FailureKind.ACTIVE)
