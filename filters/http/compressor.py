# -*- test-case-name: tests.filters.http.test_compressor -*-
"""
C{envoy.filters.http.compressor}: compresses responses for clients that take them so, and requests for the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshproxy.config import Section
from meshproxy.config.matchers import parseInteger
from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.codings import Choice, chooseCoding
from meshproxy.http.compression import Coding, ICompressor, compileCompressor
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.runtime import never
from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope

__all__ = ["Compressor", "CompressorPlan", "Direction", "DirectionCounters", "RequestCompressor", "RouteSays"]

_PACKAGE = "envoy.extensions.filters.http.compressor.v3."
_MESSAGE = _PACKAGE + "Compressor"

declare(_MESSAGE, "content_length", "content_type", "disable_on_etag_header", "remove_accept_encoding_header")
declare(_MESSAGE, "runtime_enabled", "compressor_library", "request_direction_config", "response_direction_config")
declare(_MESSAGE, "choose_first")
declare(_MESSAGE + ".CommonDirectionConfig", "enabled", "min_content_length", "content_type")
declare(_MESSAGE + ".RequestDirectionConfig", "common_config")
declare(_MESSAGE + ".ResponseDirectionConfig", "common_config", "disable_on_etag_header", "status_header_enabled")
declare(_MESSAGE + ".ResponseDirectionConfig", "remove_accept_encoding_header", "uncompressible_response_codes")
declare(_PACKAGE + "CompressorPerRoute", "disabled", "overrides")
declare(_PACKAGE + "CompressorOverrides", "response_direction_config", "compressor_library")
declare(_PACKAGE + "ResponseDirectionOverrides", "remove_accept_encoding_header")

_SHORTEST = 30
_TYPES = (
    "text/html text/plain text/css application/javascript application/x-javascript text/javascript text/x-javascript"
    " text/ecmascript text/js text/jscript text/x-js application/ecmascript application/x-json application/xml"
    " application/json image/svg+xml text/xml application/xhtml+xml application/grpc-web application/grpc-web+proto"
)
_DEFAULT_TYPES = frozenset(name.encode("ascii") for name in _TYPES.split())
_COMPRESSIONS = frozenset((b"gzip", b"br", b"deflate", b"compress", b"zstd"))
# Under which key of the filter state the compressors of a chain find each other.
_STATE = "meshproxy.compressors"


class DirectionCounters:
    """
    What one direction counts.
    """

    __slots__ = ("compressed", "notCompressed", "tooShort", "totalIn", "totalOut")

    def __init__(self, scope: Scope) -> None:
        self.compressed = scope.counter("compressed")
        self.notCompressed = scope.counter("not_compressed")
        self.totalIn = scope.counter("total_uncompressed_bytes")
        self.totalOut = scope.counter("total_compressed_bytes")
        self.tooShort = scope.counter("content_length_too_small")


@dataclass(frozen=True, slots=True)
class Direction:
    """
    A compiled C{CommonDirectionConfig}.

    @ivar shortest: Shorter bodies are left as they are.
    @ivar types: The content types that are compressed, in lower case.
    """

    isEnabled: Callable[[], bool]
    shortest: int
    types: frozenset[bytes]
    counters: DirectionCounters

    def isLongEnough(self, headers: HeaderMap) -> bool:
        """
        Whether a body is worth it, as far as its length is told.
        """
        told = headers.first.get(b"content-length")
        if told is None:
            return True
        length = parseInteger(told)
        if length is not None and length >= self.shortest:
            return True
        self.counters.tooShort.value += 1
        return False

    def takes(self, headers: HeaderMap) -> bool:
        """
        Whether a body is of a type that is compressed; one without a type is.
        """
        told = headers.first.get(b"content-type")
        return told is None or _mediaType(told) in self.types


@dataclass(frozen=True, slots=True)
class CompressorPlan:
    """
    A compiled C{Compressor}.
    """

    coding: Coding
    isFirst: bool
    request: Direction
    response: Direction
    skipsEtags: bool
    removesAcceptEncoding: bool
    skippedStatuses: frozenset[int]
    showsStatus: bool
    takesRequests: bool


@dataclass(frozen=True, slots=True)
class RouteSays:
    """
    A compiled C{CompressorPerRoute}; L{None} leaves the filter's configuration as it is.
    """

    isEnabled: bool | None = None
    removesAcceptEncoding: bool | None = None
    coding: Coding | None = None


class _Shared:
    """
    What the compressors of a chain know of a stream together.
    """

    __slots__ = ("acceptEncoding", "choice", "offered")

    def __init__(self) -> None:
        self.offered: list[tuple[Coding, CompressorPlan]] = []
        self.choice: Choice | None = None


class _Mine:
    """
    What one compressor knows of a stream.

    @ivar acceptEncoding: What the client takes, as this filter saw it.
    """

    __slots__ = ("acceptEncoding", "request", "response", "shared")

    def __init__(self, shared: _Shared, acceptEncoding: bytes | None) -> None:
        self.shared = shared
        self.acceptEncoding = acceptEncoding
        self.request: ICompressor | None = None
        self.response: ICompressor | None = None


class Compressor(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    servesUpstream = True
    configType = _MESSAGE
    routeConfigType = _PACKAGE + "CompressorPerRoute"

    def __new__(cls, config: CompressorPlan, context: FilterContext) -> Compressor:
        # Requests with bodies that no filter looks at take shorter ways through the proxy.
        return object.__new__(RequestCompressor if cls is Compressor and config.takesRequests else cls)

    def __init__(self, config: CompressorPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        scope = _scope(context, config.coding)
        names = ("compressor_used", "compressor_overshadowed", "identity", "wildcard", "not_valid")
        self._counted: dict[str, Counter] = {f"header_{name}": scope.counter(f"header_{name}") for name in names}
        self._noAcceptHeader = scope.counter("no_accept_header")
        self._etags = scope.counter("not_compressed_etag")
        self._streams: dict[Any, _Mine] = {}

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> CompressorPlan:
        return _compile(section, context)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> RouteSays:
        if section.oneof("override") == "disabled":
            return RouteSays(isEnabled=False)
        held = section.childOrEmpty("overrides")
        direction, library = held.child("response_direction_config"), held.child("compressor_library")
        return RouteSays(
            None if direction is None else True,
            None if direction is None else direction.wrapped("remove_accept_encoding_header", None),
            None if library is None else compileCompressor(library),
        )

    # Requests

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> None:
        plan: CompressorPlan = self.config
        said: RouteSays | None = stream.routeConfig(self.context.name)
        coding = plan.coding if said is None or said.coding is None else said.coding
        shared = stream.filterState.get(_STATE)
        if shared is None:
            shared = stream.filterState[_STATE] = _Shared()
        shared.offered.append((coding, plan))
        mine = self._streams[stream] = _Mine(shared, headers.joined(b"accept-encoding"))
        removes = plan.removesAcceptEncoding
        if said is not None and said.removesAcceptEncoding is not None:
            removes = said.removesAcceptEncoding
        if removes and _isEnabled(plan, said):
            headers.remove(b"accept-encoding")
        direction = plan.request
        if (
            endStream
            or not direction.isEnabled()
            or stream.upgrade
            or not direction.isLongEnough(headers)
            or not direction.takes(headers)
            or b"content-encoding" in headers.first
            or not _isPlain(headers)
        ):
            direction.counters.notCompressed.value += 1
            return
        _becomes(headers, coding)
        direction.counters.compressed.value += 1
        mine.request = coding.make()

    # Responses

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> None:
        plan: CompressorPlan = self.config
        said: RouteSays | None = stream.routeConfig(self.context.name)
        coding = plan.coding if said is None or said.coding is None else said.coding
        counters = plan.response.counters
        mine = self._streams.get(stream)
        isEnabled = _isEnabled(plan, said)
        why = self._whyNot(headers, endStream and stream.replied) if isEnabled else ""
        isCompressible = isEnabled and not why and not stream.tunnel and headers.status != 101
        isChosen = isEnabled and why != "ContentLengthTooSmall" and self._isChosen(mine, coding)
        isCompressible = isCompressible and _mayChange(headers)
        length = headers.first.get(b"content-length", b"")
        if mine is not None and isChosen and isCompressible and not endStream and _isPlain(headers):
            _sanitizeEtag(headers)
            _becomes(headers, coding)
            counters.compressed.value += 1
            mine.response = coding.make()
            why = "Compressed;OriginalLength=" + length.decode("ascii", "replace")
        else:
            counters.notCompressed.value += 1
        if isCompressible:
            _insertVary(headers)
        if plan.showsStatus and why and not endStream:
            headers.add(b"x-envoy-compression-status", coding.name + b";" + why.encode("ascii"))

    def _whyNot(self, headers: ResponseHeaders, isBare: bool) -> str:
        """
        Why a response is not to be compressed, in the words of C{x-envoy-compression-status}; empty where it may be.
        """
        plan: CompressorPlan = self.config
        # As in Envoy, the proxy's own answers without a body have no length yet.
        if not isBare and not plan.response.isLongEnough(headers):
            return "ContentLengthTooSmall"
        if not plan.response.takes(headers):
            return "ContentTypeNotAllowed"
        if plan.skipsEtags and b"etag" in headers.first:
            self._etags.value += 1
            return "EtagNotAllowed"
        return "StatusCodeNotAllowed" if headers.status in plan.skippedStatuses else ""

    def _isChosen(self, mine: _Mine | None, coding: Coding) -> bool:
        """
        Whether the client gets this filter's coding.
        """
        if mine is None or mine.acceptEncoding is None:
            self._noAcceptHeader.value += 1
            return False
        shared = mine.shared
        choice = shared.choice
        if choice is None:
            offered = [(each.name, plan.isFirst) for each, plan in shared.offered]
            choice = shared.choice = chooseCoding(mine.acceptEncoding, offered)
        isMine = choice.coding == coding.name
        stat = choice.stat
        if stat == "header_compressor_used" and not isMine:
            stat = "header_compressor_overshadowed"
        self._counted[stat].value += 1
        return isMine

    def heedsBody(self, stream: Any) -> bool:
        mine = self._streams.get(stream)
        return mine is not None and mine.response is not None

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> bytes | None:
        mine = self._streams.get(stream)
        if mine is None or mine.response is None:
            return None
        return _compress(mine.response, data, endStream, self.config.response.counters)

    def responseTrailers(self, stream: Any, trailers: HeaderMap) -> bytes | None:
        mine = self._streams.get(stream)
        if mine is None or mine.response is None:
            return None
        return _compress(mine.response, b"", True, self.config.response.counters)

    def streamEnded(self, stream: Any) -> None:
        self._streams.pop(stream, None)


class RequestCompressor(Compressor):
    """
    The same for requests, too.
    """

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> bytes | None:
        mine = self._streams.get(stream)
        if mine is None or mine.request is None:
            return None
        return _compress(mine.request, data, endStream, self.config.request.counters)

    def requestTrailers(self, stream: Any, trailers: HeaderMap) -> bytes | None:
        mine = self._streams.get(stream)
        if mine is None or mine.request is None:
            return None
        return _compress(mine.request, b"", True, self.config.request.counters)


def _isEnabled(plan: CompressorPlan, said: RouteSays | None) -> bool:
    return plan.response.isEnabled() if said is None or said.isEnabled is None else said.isEnabled


def _compress(compressor: ICompressor, data: bytes, endStream: bool, counters: DirectionCounters) -> bytes:
    if endStream:
        made = compressor.finish(data)
    else:
        made = compressor.compress(data) if data else b""
    counters.totalIn.value += len(data)
    counters.totalOut.value += len(made)
    return made


# Headers


def _mediaType(value: bytes) -> bytes:
    return value.partition(b";")[0].strip(b" \t").lower()


def _becomes(headers: HeaderMap, coding: Coding) -> None:
    headers.remove(b"content-length")
    headers.set(b"content-encoding", coding.name)


def _isPlain(headers: HeaderMap) -> bool:
    """
    Whether no transfer coding compresses the body already.
    """
    told = headers.joined(b"transfer-encoding")
    return told is None or _COMPRESSIONS.isdisjoint(each.strip(b" \t").lower() for each in told.split(b","))


def _mayChange(headers: ResponseHeaders) -> bool:
    """
    Whether the service lets its response be compressed, and did not compress it itself.
    """
    if b"content-encoding" in headers.first:
        return False
    told = headers.joined(b"cache-control")
    return told is None or b"no-transform" not in (each.strip(b" \t").lower() for each in told.split(b","))


def _sanitizeEtag(headers: ResponseHeaders) -> None:
    # RFC 9110, 8.8.1: a strong validator is that of these bytes, and others are sent now.
    etag = headers.first.get(b"etag")
    if etag is not None and etag[:2] not in (b"W/", b"w/"):
        headers.remove(b"etag")


def _insertVary(headers: ResponseHeaders) -> None:
    told = headers.joined(b"vary")
    if told is None:
        headers.set(b"vary", b"Accept-Encoding")
    elif b"Accept-Encoding" not in (each.strip(b" \t") for each in told.split(b",")):
        headers.set(b"vary", told + b", Accept-Encoding")


# Compiling


def _scope(context: FilterContext, coding: Coding) -> Scope:
    return context.scope.scope(f"compressor.{coding.libraryName}.{coding.statName}.")


def _compile(section: Section, context: FilterContext) -> CompressorPlan:
    coding = compileCompressor(section.childOrEmpty("compressor_library"))
    scope = _scope(context, coding)
    request, response = section.child("request_direction_config"), section.child("response_direction_config")
    runtime = context.runtime

    def direction(held: Section | None, scope: Scope, isEnabled: Callable[[], bool]) -> Direction:
        common = None if held is None else held.child("common_config")
        if common is None:
            return Direction(isEnabled, _SHORTEST, _DEFAULT_TYPES, DirectionCounters(scope))
        return Direction(
            runtime.featureFlag(common.child("enabled"), True),
            common.wrapped("min_content_length", 0) or _SHORTEST,
            _types(common),
            DirectionCounters(scope),
        )

    onRequest = direction(
        request, scope.scope("request."), never if request is None else runtime.featureFlag(None, True)
    )
    if response is None:
        # The fields that did the same before there were directions.
        onResponse = Direction(
            runtime.featureFlag(section.child("runtime_enabled"), True),
            section.wrapped("content_length", 0) or _SHORTEST,
            _types(section),
            DirectionCounters(scope),
        )
    else:
        onResponse = direction(response, scope.scope("response."), runtime.featureFlag(None, True))
    told = section if response is None else response
    return CompressorPlan(
        coding,
        section.get("choose_first"),
        onRequest,
        onResponse,
        told.get("disable_on_etag_header"),
        told.get("remove_accept_encoding_header"),
        frozenset() if response is None else frozenset(response.scalars("uncompressible_response_codes")),
        response is not None and response.get("status_header_enabled"),
        request is not None,
    )


def _types(section: Section) -> frozenset[bytes]:
    told = section.scalars("content_type")
    return frozenset(name.lower().encode("utf-8") for name in told) if told else _DEFAULT_TYPES
