# -*- test-case-name: tests.filters.http.test_grpc_stats -*-
"""
C{envoy.filters.http.grpc_stats}: counts gRPC calls by service and method, how they ended, and their messages.

As Envoy's, it knows calls of Connect (https://connectrpc.com/docs/protocol), too, and counts them under the same names.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshproxy.config import Section
from meshproxy.config.expressions import Expression
from meshproxy.config.supported import declare
from meshproxy.grpc.framing import FrameCounter
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, isGRPC, isGRPCType
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.passage import Step, usually
from meshproxy.upstream.grpcstats import CallStats, GRPCStats, serviceAndMethod

__all__ = ["STATE", "GRPCStatsFilter", "GRPCStatsPlan", "MessageCounts"]

_MESSAGE = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
_LIST = "envoy.config.core.v3.GrpcMethodList"

declare(_MESSAGE, "emit_filter_state", "individual_method_stats_allowlist", "stats_for_all_methods")
declare(_MESSAGE, "enable_upstream_stats", "replace_dots_in_grpc_service_name")
declare(_LIST, "services")
declare(_LIST + ".Service", "name", "method_names")

#: The key of the filter state.
STATE = "envoy.filters.http.grpc_stats"

# How long a message is, behind the byte that tells of compression.
_lengthOf = struct.Struct(">xL").unpack_from

# Connect's flag for the last message of a stream.
_END_OF_STREAM = 0x02

#: Where a call to a path is counted; L{None} for nowhere.
Find = Callable[[GRPCStats, bytes], CallStats | None]


@dataclass(frozen=True, slots=True)
class GRPCStatsPlan:
    """
    A compiled C{FilterConfig}.

    @ivar find: Where calls are counted.
    @ivar emits: Whether numbers of messages go to the filter state.
    @ivar times: Whether the upstream's time is recorded.
    """

    find: Find
    emits: bool
    times: bool


class MessageCounts(Mapping[str, str]):
    """
    What the filter state holds: the numbers of messages as JSON has 64-bit integers, as text C{REQUESTS,RESPONSES}.
    """

    __slots__ = ("_call",)

    def __init__(self, call: _Call) -> None:
        self._call = call

    def _fields(self) -> dict[str, str]:
        # As protobuf's JSON, without those that are 0.
        requests, responses = self._call.counts
        named = (("requestMessageCount", requests), ("responseMessageCount", responses))
        return {name: str(number) for name, number in named if number}

    def __getitem__(self, name: str) -> str:
        return self._fields()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def __str__(self) -> str:
        return "{},{}".format(*self._call.counts)


class _Call:
    """
    What is known of a call.

    @ivar stats: Where it is counted, or L{None}.
    @ivar isGRPC: Whether the request is gRPC's.
    @ivar isUnary: Whether it is one of Connect that has one message each way, and no frames.
    @ivar counts: How many messages came.
    """

    __slots__ = ("_request", "_response", "countsResponse", "isGRPC", "isShown", "isUnary", "stats", "unary")

    def __init__(self, stats: CallStats | None, isGRPC: bool, isUnary: bool) -> None:
        self.stats = stats
        self.isGRPC = isGRPC
        self.isUnary = isUnary
        self.unary = [0, 0]
        # Whether the response's body is made of messages, and whether the filter state shows this.
        self.countsResponse = self.isShown = False
        self._request = FrameCounter()
        self._response = FrameCounter(0 if isGRPC else _END_OF_STREAM)

    @property
    def counts(self) -> tuple[int, int]:
        if self.isUnary:
            return self.unary[0], self.unary[1]
        return self._request.count, self._response.count

    def requestReceived(self, data: bytes, endStream: bool) -> bool:
        """
        @return: Whether messages began.
        """
        if self.isUnary:
            number = self.unary[0] = int(endStream)
        else:
            number = self._request.receiveData(data)
        if number and self.stats is not None:
            self.stats.requestMessages(number)
        return number > 0

    def responseReceived(self, data: bytes, endStream: bool) -> bool:
        """
        @return: Whether messages began.
        """
        if self.isUnary:
            number = self.unary[1] = int(endStream)
        else:
            number = self._response.receiveData(data)
        if number and self.stats is not None:
            self.stats.responseMessages(number)
        return number > 0

    @property
    def endedWell(self) -> bool:
        """
        Whether the last message of a stream of Connect says so.
        """
        try:
            said = json.loads(self._response.end or b"")
        except (ValueError, RecursionError):
            # Brackets by the thousand (CVE-2026-48042).
            return False
        return isinstance(said, dict) and "error" not in said


class GRPCStatsFilter(HTTPFilter):
    """
    One instance serves all streams; it remembers those that are calls.

    Of a call of gRPC it has nothing to remember but where it is counted, as long as each piece that comes is one
    message: C{stream.counted} tells it then. L{_Call} takes over where a piece is anything else.
    """

    shared = True
    passesAll = True
    remembers = True
    configType = _MESSAGE

    def __init__(self, config: GRPCStatsPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        self._calls: dict[Any, _Call] = {}
        self._find = config.find
        self._times = config.times
        if not config.emits:
            # They have the same signatures.
            self.requestHeaders = _called(self.requestHeaders, self._requestStep())  # type: ignore[assignment,method-assign]
            self.responseHeaders = _called(self.responseHeaders, self._responseStep())  # type: ignore[assignment,method-assign]

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> GRPCStatsPlan:
        return GRPCStatsPlan(
            _compileFind(section), section.get("emit_filter_state"), section.get("enable_upstream_stats")
        )

    def _requestStep(self) -> Step:
        """
        A call of gRPC to a path that was found before, on a route to one cluster.
        """
        usual = (
            "(first.get(b'content-type') == b'application/grpc' and stream.counted is None and route is not None"
            " and (action := route.action) is not None and (cluster := {clusters}.get(action.cluster)) is not None"
            " and (place := cluster.stats.grpc.byPath.get(({find}, headers.path))) is not None)"
        )
        names = {"clusters": self.context.clusters.byName, "find": self._find}
        return Step(Expression.of(usual, **names), (Expression.statement("stream.counted = place"),))

    def _responseStep(self) -> Step:
        """
        The head of an answer that messages follow, to such a call.
        """
        usual = (
            "(stream.counted is not None and stream.counted[0] is {find} and headers.status == 200 and not endStream"
            " and first.get(b'content-type') == b'application/grpc' and b'grpc-status' not in first)"
        )
        return Step(Expression.of(usual, find=self._find))

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> None:
        contentType = headers.first.get(b"content-type", b"")
        if isGRPC(headers):
            self._begin(stream, headers, True, False)
        elif b"connect-protocol-version" in headers.first or contentType.startswith(b"application/connect+"):
            self._begin(stream, headers, False, not contentType.startswith(b"application/connect+"))

    def _begin(self, stream: Any, headers: RequestHeaders, isGRPC: bool, isUnary: bool) -> None:
        route = stream.route
        action = None if route is None else route.action
        if action is None:
            return
        cluster = self.context.clusters.byName.get(action.cluster or action.selectCluster(headers, stream))
        if cluster is not None:
            self._remember(stream, _Call(cluster.stats.grpc.recall(self._find, headers.path), isGRPC, isUnary))

    def _remember(self, stream: Any, call: _Call) -> _Call:
        self._calls[stream] = call
        stream.remember()
        return call

    def _callOf(self, stream: Any) -> _Call | None:
        """
        What is known of a call from now on, where not each piece is a message.
        """
        counted = stream.counted
        if counted is None or counted[0] is not self._find:
            return self._calls.get(stream)
        stream.counted = None
        call = _Call(counted[1], True, False)
        # If its head came, it was that of an answer with messages; else that is yet to be seen.
        call.countsResponse = True
        return self._remember(stream, call)

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> None:
        counted, size = stream.counted, len(data) - 5
        if counted is not None and size >= 0 and _lengthOf(data)[0] == size and counted[0] is self._find:
            requests = counted[1].requests
            if requests is None:
                counted[1].requestMessages(1)
            else:
                requests.value += 1
            return
        call = self._callOf(stream)
        if call is not None and call.requestReceived(data, endStream):
            self._show(stream, call)

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> None:
        call = self._callOf(stream)
        isOK = headers.status == 200
        contentType = headers.first.get(b"content-type", b"")
        if call is None:
            if not (self.config.emits and isOK and isGRPCType(contentType)):
                return
            # As in Envoy, messages that answer what was no call are shown, and not counted.
            call = self._remember(stream, _Call(None, True, False))
        stats = call.stats
        if call.isGRPC:
            call.countsResponse = isOK and isGRPCType(contentType)
            if stats is not None:
                stats.statusReceived(headers.first.get(b"grpc-status"))
        elif call.isUnary:
            call.countsResponse = True
            if stats is not None:
                stats.ended(isOK)
        else:
            call.countsResponse = True
            if stats is not None and not (isOK and contentType.startswith(b"application/connect+")):
                stats.statusReceived(headers.first.get(b"grpc-status"))
        if endStream:
            self._recordTime(stream, call.stats)

    def heedsBody(self, stream: Any) -> bool:
        return stream.counted is not None or stream in self._calls

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> None:
        counted, size = stream.counted, len(data) - 5
        if counted is not None and size >= 0 and _lengthOf(data)[0] == size and counted[0] is self._find:
            counted[1].responseMessages(1)
            return
        call = self._callOf(stream)
        if call is None or not call.countsResponse:
            return
        if call.responseReceived(data, endStream):
            self._show(stream, call)
        if endStream and not call.isGRPC:
            if call.stats is not None and not call.isUnary:
                call.stats.ended(call.endedWell)
            self._recordTime(stream, call.stats)

    def responseTrailers(self, stream: Any, trailers: HeaderMap) -> None:
        counted = stream.counted
        if counted is not None and counted[0] is self._find:
            stats = counted[1]
        else:
            call = self._calls.get(stream)
            if call is None or not call.isGRPC:
                return
            stats = call.stats
        if stats is not None:
            stats.statusReceived(trailers.first.get(b"grpc-status"))
        self._recordTime(stream, stats)

    def answerPassed(self, stream: Any, body: bytes, trailers: HeaderMap) -> None:
        counted, size = stream.counted, len(body) - 5
        if counted is None or size < 0 or _lengthOf(body)[0] != size or counted[0] is not self._find:
            self.responseData(stream, body, False)
            self.responseTrailers(stream, trailers)
            return
        stats = counted[1]
        try:
            stats.answers[trailers.first[b"grpc-status"]] += 1
        except KeyError:
            stats.answered(trailers.first.get(b"grpc-status"))
        if self._times:
            # What _recordTime does; here the request went upstream when it came.
            elapsed = int((stream.responseStart - stream.requestEnd) * 1000)
            try:
                stats.times.bins[elapsed] += 1
            except (AttributeError, KeyError):
                # The first one at all, or of its kind.
                stats.recordTime(max(0, elapsed))

    def _show(self, stream: Any, call: _Call) -> None:
        if self.config.emits and not call.isShown:
            call.isShown = True
            stream.filterState[STATE] = MessageCounts(call)

    def _recordTime(self, stream: Any, stats: CallStats | None) -> None:
        sent = stream.upstreamRequestEnd
        if self._times and stats is not None and sent is not None and not stream.replied:
            stats.recordTime(max(0, int((self.context.clock.seconds() - sent) * 1000)))

    def streamEnded(self, stream: Any) -> None:
        self._calls.pop(stream, None)


def _called(method: Callable[[Any, Any, bool], None], step: Step) -> Callable[[Any, Any, bool], None]:
    """
    A method that tells what it does with the usual head.
    """
    return usually(lambda stream, headers, endStream: method(stream, headers, endStream), step)


def _compileFind(section: Section) -> Find:
    """
    Where calls are counted: those that are not told apart all in one place, those without service and method nowhere.
    """
    replacesDots = section.get("replace_dots_in_grpc_service_name")
    if section.oneof("per_method_stat_specifier") == "stats_for_all_methods" and section.wrapped(
        "stats_for_all_methods", False
    ):

        def ofAll(stats: GRPCStats, path: bytes) -> CallStats | None:
            names = serviceAndMethod(path)
            if names is None:
                return None
            service, method = names
            return stats.method(service.replace(".", "_") if replacesDots else service, method)

        return ofAll
    listed = frozenset(
        (service.get("name"), method)
        for service in section.childOrEmpty("individual_method_stats_allowlist").children("services")
        for method in service.scalars("method_names")
    )

    def ofListed(stats: GRPCStats, path: bytes) -> CallStats | None:
        names = serviceAndMethod(path)
        if names is None:
            return None
        return stats.method(*names) if names in listed else stats.unnamed

    return ofListed
