# -*- test-case-name: tests.filters.http.test_decompressor -*-
"""
C{envoy.filters.http.decompressor}: decompresses requests for the service, and responses for clients.

What is broken, or stands for far more than it looks like, ends the stream: half a body must not pass for a whole one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.compression import Coding, CompressionError, IDecompressor, compileDecompressor
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.interfaces import Stop
from meshproxy.stats.store import Scope

__all__ = ["Decompressor", "DecompressorPlan", "Direction", "DirectionCounters", "withCoding"]

_MESSAGE = "envoy.extensions.filters.http.decompressor.v3.Decompressor"

declare(_MESSAGE, "decompressor_library", "request_direction_config", "response_direction_config")
declare(_MESSAGE + ".CommonDirectionConfig", "enabled", "ignore_no_transform_header")
declare(_MESSAGE + ".RequestDirectionConfig", "common_config", "advertise_accept_encoding")
declare(_MESSAGE + ".ResponseDirectionConfig", "common_config")

# What Envoy's libraries call their faults, and ours are counted as.
_FAULTS = {"gzip": "zlib_data_error", "brotli": "brotli_error", "zstd": "zstd_generic_error"}


class DirectionCounters:
    """
    What one direction counts.
    """

    __slots__ = ("decompressed", "notDecompressed", "totalIn", "totalOut")

    def __init__(self, scope: Scope) -> None:
        self.decompressed = scope.counter("decompressed")
        self.notDecompressed = scope.counter("not_decompressed")
        self.totalIn = scope.counter("total_compressed_bytes")
        self.totalOut = scope.counter("total_uncompressed_bytes")


@dataclass(frozen=True, slots=True)
class Direction:
    """
    A compiled C{CommonDirectionConfig}.

    @ivar ignoresNoTransform: Whether C{cache-control: no-transform} does not matter.
    """

    isEnabled: Callable[[], bool]
    ignoresNoTransform: bool
    counters: DirectionCounters


@dataclass(frozen=True, slots=True)
class DecompressorPlan:
    """
    A compiled C{Decompressor}.

    @ivar advertises: Whether the service is told that it may compress its responses.
    """

    coding: Coding
    advertises: bool
    request: Direction
    response: Direction


class Decompressor(HTTPFilter):
    """
    One instance serves all streams; it remembers those whose bodies it decompresses.
    """

    shared = True
    hasRouteConfig = False
    configType = _MESSAGE

    def __init__(self, config: DecompressorPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        coding = config.coding
        scope = context.scope.scope(f"decompressor.{coding.libraryName}.{coding.statName}.decompressor_library.")
        self._faults = scope.counter(_FAULTS.get(coding.statName, "error"))
        self._requests: dict[Any, IDecompressor] = {}
        self._responses: dict[Any, IDecompressor] = {}

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> DecompressorPlan:
        coding = compileDecompressor(section.childOrEmpty("decompressor_library"))
        scope = context.scope.scope(f"decompressor.{coding.libraryName}.{coding.statName}.")
        request = section.childOrEmpty("request_direction_config")

        def direction(name: str, held: Section) -> Direction:
            common = held.childOrEmpty("common_config")
            return Direction(
                context.runtime.featureFlag(common.child("enabled"), True),
                common.get("ignore_no_transform_header"),
                DirectionCounters(scope.scope(f"{name}.")),
            )

        return DecompressorPlan(
            coding,
            request.wrapped("advertise_accept_encoding", True),
            direction("request", request),
            direction("response", section.childOrEmpty("response_direction_config")),
        )

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> None:
        plan: DecompressorPlan = self.config
        if plan.advertises and plan.response.isEnabled():
            told = headers.joined(b"accept-encoding") or b""
            headers.set(b"accept-encoding", withCoding(told, plan.coding.name))
        if not endStream and self._begins(plan.request, headers):
            self._requests[stream] = plan.coding.make()

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> None:
        if not endStream and self._begins(self.config.response, headers):
            self._responses[stream] = self.config.coding.make()

    def _begins(self, direction: Direction, headers: HeaderMap) -> bool:
        coding: Coding = self.config.coding
        codings = (headers.joined(b"content-encoding") or b"").split(b",")
        # RFC 9110, 8.4: they are listed in the order in which they were applied, so the last one comes off first.
        if (
            codings[-1].strip(b" \t").lower() != coding.name
            or not direction.isEnabled()
            or not (direction.ignoresNoTransform or _mayChange(headers))
        ):
            direction.counters.notDecompressed.value += 1
            return False
        direction.counters.decompressed.value += 1
        headers.remove(b"content-length")
        left = b",".join(codings[:-1]).strip(b" \t")
        if left:
            headers.set(b"content-encoding", left)
        else:
            headers.remove(b"content-encoding")
        return True

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> bytes | Stop | None:
        decompressor = self._requests.get(stream)
        if decompressor is None:
            return None
        try:
            return _decompress(decompressor, data, endStream, self.config.request.counters)
        except CompressionError as error:
            return self._refuse(stream, error)

    def requestTrailers(self, stream: Any, trailers: HeaderMap) -> Stop | None:
        return self._trailers(self._requests.get(stream), stream, self._refuse)

    def heedsBody(self, stream: Any) -> bool:
        return stream in self._responses

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> bytes | Stop | None:
        decompressor = self._responses.get(stream)
        if decompressor is None:
            return None
        try:
            return _decompress(decompressor, data, endStream, self.config.response.counters)
        except CompressionError as error:
            return self._fail(stream, error)

    def responseTrailers(self, stream: Any, trailers: HeaderMap) -> Stop | None:
        return self._trailers(self._responses.get(stream), stream, self._fail)

    def _trailers(
        self, decompressor: IDecompressor | None, stream: Any, fail: Callable[[Any, CompressionError], Stop]
    ) -> Stop | None:
        if decompressor is not None:
            try:
                decompressor.finish()
            except CompressionError as error:
                return fail(stream, error)
        return None

    def _refuse(self, stream: Any, error: CompressionError) -> Stop:
        self._tell(stream, error)
        stop: Stop = stream.reply(413 if error.isBomb else 400, b"", details="request_decompression_failed")
        return stop

    def _fail(self, stream: Any, error: CompressionError) -> Stop:
        self._tell(stream, error)
        stop: Stop = stream.reply(502, b"", details="response_decompression_failed")
        return stop

    def _tell(self, stream: Any, error: CompressionError) -> None:
        self._forget(stream)
        self._faults.value += 1
        self.context.log.debug("{name}: {error}", name=self.context.name, error=error)

    def _forget(self, stream: Any) -> None:
        self._requests.pop(stream, None)
        self._responses.pop(stream, None)

    def streamEnded(self, stream: Any) -> None:
        if self._requests or self._responses:
            self._forget(stream)


def _decompress(decompressor: IDecompressor, data: bytes, endStream: bool, counters: DirectionCounters) -> bytes:
    made = decompressor.decompress(data)
    if endStream:
        decompressor.finish()
    counters.totalIn.value += len(data)
    counters.totalOut.value += len(made)
    return made


def _mayChange(headers: HeaderMap) -> bool:
    told = headers.joined(b"cache-control")
    return told is None or b"no-transform" not in (each.strip(b" \t").lower() for each in told.split(b","))


def withCoding(accepted: bytes, coding: bytes) -> bytes:
    """
    An C{accept-encoding} with one more coding, once, and with the greatest weight.
    """
    tokens = [token.strip(b" \t") for token in accepted.split(b",")]
    kept = [token for token in tokens if token and token.partition(b";")[0].strip(b" \t") != coding]
    return b",".join([*kept, coding])
