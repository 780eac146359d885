# -*- test-case-name: tests.filters.http.test_fault -*-
"""
C{envoy.filters.http.fault}: delays, aborts and slow responses on purpose, to see what callers make of them.

Delay comes before abort, and a request may meet both. Percentages, durations and statuses may be fixed, told by the
request's headers, or changed while the proxy runs, by runtime keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from google.protobuf.json_format import MessageToDict
from twisted.internet.defer import Deferred

from meshproxy.config import Section
from meshproxy.config.expressions import Expression, compileFunction, expressionOf
from meshproxy.config.matchers import HeadersTest, compileHeaderMatchers, parseInteger
from meshproxy.config.supported import declare
from meshproxy.flags import ResponseFlag
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, Foreseen, HTTPFilter, RequestHeadersMethod
from meshproxy.http.localreply import expectsGRPC
from meshproxy.http.metadata import noteMetadata
from meshproxy.http.passage import Step, usually
from meshproxy.interfaces import IHTTPStream, Stop
from meshproxy.runtime import Runtime, fractionOf

__all__ = ["Abort", "Fault", "FaultPlan", "Pace", "PacingFault"]

_FAULT = "envoy.extensions.filters.http.fault.v3."
_COMMON = "envoy.extensions.filters.common.fault.v3."

declare(_FAULT + "HTTPFault", "delay", "abort", "response_rate_limit", "upstream_cluster", "headers")
declare(_FAULT + "HTTPFault", "downstream_nodes", "max_active_faults", "disable_downstream_cluster_stats")
declare(_FAULT + "HTTPFault", "filter_metadata", "delay_percent_runtime", "abort_percent_runtime")
declare(_FAULT + "HTTPFault", "delay_duration_runtime", "abort_http_status_runtime", "abort_grpc_status_runtime")
declare(_FAULT + "HTTPFault", "max_active_faults_runtime", "response_rate_limit_percent_runtime")
declare(_FAULT + "FaultAbort", "http_status", "grpc_status", "header_abort", "percentage", "response_body")
declare(_FAULT + "FaultAbort.HeaderAbort")
declare(_COMMON + "FaultDelay", "fixed_delay", "header_delay", "percentage")
declare(_COMMON + "FaultDelay.HeaderDelay")
declare(_COMMON + "FaultRateLimit", "fixed_limit", "header_limit", "percentage")
declare(_COMMON + "FaultRateLimit.FixedLimit", "limit_kbps")
declare(_COMMON + "FaultRateLimit.HeaderLimit")

_NEVER_FULL = (1 << 64) - 1
# The caller's name becomes part of a metric's: a caller that makes up names must not fill the memory.
_MOST_CALLERS = 256
# As in Envoy, a response begins with what this many seconds allow, not with a whole second's worth.
_SLICE = 0.05

#: A number that a request asks for or a configuration fixes; L{None} where there is none.
Ask = Callable[[RequestHeaders], int | None]
#: Whether a fault hits this request; its text is the caller's name, or empty.
Chance = Callable[[RequestHeaders, str], bool]


@dataclass(frozen=True, slots=True)
class Abort:
    """
    How to end a request.

    @ivar chance: Whether to.
    @ivar status: The HTTP status; L{None} to ask L{grpcStatus} instead.
    @ivar grpcStatus: The gRPC status.
    @ivar body: What the answer says: to who speaks gRPC, in C{grpc-message}.
    """

    chance: Chance
    status: Ask
    grpcStatus: Ask
    body: bytes


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """
    A compiled C{HTTPFault}.

    @ivar matches: Whether a request is meant at all; L{None} for every request.
    @ivar onlyHeaders: The same, where headers are all that it looks at.
    @ivar delayChance: Whether to delay; L{None} for never.
    @ivar delayMilliseconds: For how long.
    @ivar abort: How to abort; L{None} for never.
    @ivar rateChance: Whether to slow the response down; L{None} for never.
    @ivar rate: To how many KiB a second.
    @ivar mostActive: How many requests may have a fault at a time.
    @ivar keys: The runtime keys.
    @ivar metadata: To note on requests with a fault.
    @ivar namesCallers: Whether there are counters for each caller.
    @ivar delayShare: Which part of the requests is delayed, as far as the configuration says, and C{abortShare} which
        is aborted.
    """

    matches: Callable[[IHTTPStream, RequestHeaders], bool] | None
    onlyHeaders: HeadersTest | None
    delayChance: Chance | None
    delayMilliseconds: Ask
    abort: Abort | None
    rateChance: Chance | None
    rate: Ask
    mostActive: int
    keys: dict[str, str]
    metadata: dict[str, object]
    namesCallers: bool
    delayShare: float = 0.0
    abortShare: float = 0.0

    @property
    def injectsNothing(self) -> bool:
        """
        Whether it has no fault.
        """
        return self.delayChance is None and self.abort is None and self.rateChance is None


class Pace:
    """
    A bucket of bytes that lets a response through slowly.
    """

    __slots__ = ("_free", "_rate")

    def __init__(self, bytesPerSecond: int, now: float) -> None:
        self._rate = bytesPerSecond
        self._free = now - _SLICE

    def wait(self, size: int, now: float) -> float:
        """
        Take room for some bytes.

        @return: How many seconds they have to wait for it.
        """
        # A pause earns at most one second's worth.
        begin = max(self._free, now - 1)
        self._free = begin + size / self._rate
        return max(self._free - now, 0.0)


class Fault(HTTPFilter):
    """
    One instance serves all streams; it remembers only those that have a fault.

    @cvar routesPace: Whether any route has a C{response_rate_limit}.
    """

    shared = True
    remembers = True
    configType = _FAULT + "HTTPFault"
    routesPace: ClassVar[bool] = False

    def __new__(cls, config: FaultPlan, context: FilterContext) -> Fault:
        # Responses that no filter looks at take shorter ways through the proxy, so only a filter that may slow one down
        # looks. A route with a configuration of its own has its own chain, made when its configuration is known.
        if cls is Fault and (config.rateChance is not None or Fault.routesPace):
            return object.__new__(PacingFault)
        return object.__new__(cls)

    def __init__(self, config: FaultPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        self._runtime: Runtime = context.runtime
        self._scope = scope = context.scope.scope("fault.")
        self._delays = scope.counter("delays_injected")
        self._aborts = scope.counter("aborts_injected")
        self._overflows = scope.counter("faults_overflow")
        self._slowed = scope.counter("response_rl_injected")
        self._activeGauge = scope.gauge("active_faults")
        self._active: set[IHTTPStream] = set()
        self._paces: dict[IHTTPStream, Pace] = {}
        self._callers: set[str] = set()
        if config.injectsNothing:
            # As control planes write it: only routes tell of faults.
            passes = Expression("False", {})
            self.requestHeaders = self._compilePass(passes)  # type: ignore[assignment,method-assign]
        elif config.onlyHeaders is not None:
            test = expressionOf(config.onlyHeaders, "headers")
            self.requestHeaders = self._compilePass(test)  # type: ignore[assignment,method-assign]

    def _compilePass(self, test: Expression) -> RequestHeadersMethod:
        """
        Make a function that lets requests that are not meant pass in one step.

        @param test: Whether one is, where its route says nothing.
        """
        body = [
            "route = stream.route",
            f"if {test.source} or (route is not None and route.overrides.configs):",
            "    return general(stream, headers, endStream)",
        ]
        function = compileFunction("stream, headers, endStream", body, {**test.names, "general": self.requestHeaders})
        return usually(function, Step(Expression(f"(not ({test.source} or configured))", test.names)))

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> FaultPlan:
        return _compile(section, context)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> FaultPlan:
        plan = _compile(section, context)
        if plan.rateChance is not None:
            Fault.routesPace = True
        return plan

    @classmethod
    def foresee(cls, config: FaultPlan, stream: Any, headers: RequestHeaders) -> Foreseen:
        if config.matches is not None and not config.matches(stream, headers):
            return Foreseen("its faults are for other requests")
        told = []
        milliseconds = config.delayMilliseconds(headers)
        if milliseconds and config.delayShare:
            told.append(f"delays {_part(config.delayShare)} by {milliseconds / 1000:g}s")
        status, details = 0, ""
        if config.abort is not None and config.abortShare:
            found, grpcStatus = config.abort.status(headers), config.abort.grpcStatus(headers)
            if found is not None or grpcStatus is not None:
                answer = str(found) if found is not None else f"gRPC status {grpcStatus}"
                told.append(f"aborts {_part(config.abortShare)} with {answer}")
                if config.abortShare >= 1:
                    status, details = (200 if found is None else found), "fault_filter_abort"
        if config.rateChance is not None:
            told.append("slows responses down")
        return Foreseen("; ".join(told) or "no fault", status, details)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        plan: FaultPlan = stream.routeConfig(self.context.name) or self.config
        if plan.matches is not None and not plan.matches(stream, headers):
            return None
        named = headers.first.get(b"x-envoy-downstream-service-cluster")
        caller = named.decode("latin-1") if named else ""
        if plan.rateChance is not None and plan.rateChance(headers, caller):
            self._slowDown(stream, headers, plan)
        if plan.delayChance is not None and plan.delayChance(headers, caller):
            seconds = self._delaySeconds(headers, plan, caller)
            if seconds > 0 and self._mayInject(stream, plan):
                return self._delay(stream, headers, plan, caller, seconds)
        if plan.abort is not None and plan.abort.chance(headers, caller):
            return self._abort(stream, headers, plan, caller)
        return None

    def streamEnded(self, stream: IHTTPStream) -> None:
        if stream in self._active:
            self._active.discard(stream)
            self._activeGauge.value -= 1
        if self._paces:
            self._paces.pop(stream, None)

    # Delays

    def _delaySeconds(self, headers: RequestHeaders, plan: FaultPlan, caller: str) -> float:
        milliseconds = plan.delayMilliseconds(headers)
        if milliseconds is None:
            return 0.0
        milliseconds = self._runtime.number(plan.keys["delay_duration"], milliseconds)
        if caller:
            milliseconds = self._runtime.number(f"fault.http.{caller}.delay.fixed_duration_ms", milliseconds)
        return milliseconds / 1000

    def _delay(
        self, stream: IHTTPStream, headers: RequestHeaders, plan: FaultPlan, caller: str, seconds: float
    ) -> Deferred[Any]:
        self._count(self._delays, "delays_injected", caller, plan)
        self._mark(stream, ResponseFlag.DELAY_INJECTED, plan)

        def later(_: None) -> None:
            if plan.abort is not None and plan.abort.chance(headers, caller):
                self._abort(stream, headers, plan, caller)

        waiting: Deferred[Any] = Deferred(lambda _: call.cancel())
        call = self.context.clock.callLater(seconds, waiting.callback, None)
        return waiting.addCallback(later)

    # Aborts

    def _abort(self, stream: IHTTPStream, headers: RequestHeaders, plan: FaultPlan, caller: str) -> Stop | None:
        abort = plan.abort
        assert abort is not None
        status = abort.status(headers)
        grpcStatus = None
        if status is not None:
            status = self._overridden(plan.keys["abort_http_status"], "http_status", caller, status)
        else:
            grpcStatus = abort.grpcStatus(headers)
            if grpcStatus is None:
                return None
            grpcStatus = self._overridden(plan.keys["abort_grpc_status"], "grpc_status", caller, grpcStatus)
        if not self._mayInject(stream, plan):
            return None
        self._count(self._aborts, "aborts_injected", caller, plan)
        self._mark(stream, ResponseFlag.FAULT_INJECTED, plan)
        extra = ((b"grpc-status", b"%d" % grpcStatus),) if grpcStatus is not None and expectsGRPC(stream) else ()
        # As in Envoy, an abort with a gRPC status answers 200 to those who do not speak gRPC.
        return stream.reply(
            200 if status is None else status,
            abort.body,
            extra,
            "fault_filter_abort",
            ResponseFlag.FAULT_INJECTED,
        )

    def _overridden(self, key: str, name: str, caller: str, value: int) -> int:
        value = self._runtime.number(key, value)
        return self._runtime.number(f"fault.http.{caller}.abort.{name}", value) if caller else value

    def _slowDown(self, stream: IHTTPStream, headers: RequestHeaders, plan: FaultPlan) -> None:
        rate = plan.rate(headers)
        if rate:
            self._slowed.value += 1
            stream.remember()
            self._paces[stream] = Pace(rate * 1024, self.context.clock.seconds())

    # What all have in common

    def _mayInject(self, stream: IHTTPStream, plan: FaultPlan) -> bool:
        if stream in self._active:
            return True
        if self._activeGauge.value >= self._runtime.number(plan.keys["max_active_faults"], plan.mostActive):
            self._overflows.value += 1
            return False
        stream.remember()
        self._active.add(stream)
        self._activeGauge.value += 1
        return True

    def _mark(self, stream: Any, flag: int, plan: FaultPlan) -> None:
        stream.responseFlags |= flag
        if plan.metadata:
            noteMetadata(stream, self.context.name, dict(plan.metadata))

    def _count(self, counter: Any, name: str, caller: str, plan: FaultPlan) -> None:
        counter.value += 1
        if caller and plan.namesCallers and (caller in self._callers or len(self._callers) < _MOST_CALLERS):
            self._callers.add(caller)
            self._scope.counter(f"{caller}.{name}").value += 1


class PacingFault(Fault):
    """
    The same with slow responses.
    """

    def heedsBody(self, stream: Any) -> bool:
        return stream in self._paces

    def responseData(self, stream: IHTTPStream, data: bytes, endStream: bool) -> object:
        if not self._paces:
            return None
        pace = self._paces.get(stream)
        if pace is None:
            return None
        seconds = pace.wait(len(data), self.context.clock.seconds())
        if seconds <= 0:
            return None
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.context.clock.callLater(seconds, waiting.callback, None)
        return waiting


# Compiling


_KEYS = {
    "delay_percent": "fault.http.delay.fixed_delay_percent",
    "delay_duration": "fault.http.delay.fixed_duration_ms",
    "abort_percent": "fault.http.abort.abort_percent",
    "abort_http_status": "fault.http.abort.http_status",
    "abort_grpc_status": "fault.http.abort.grpc_status",
    "max_active_faults": "fault.http.max_active_faults",
    "response_rate_limit_percent": "fault.http.rate_limit.response_percent",
}


def _part(share: float) -> str:
    return "all requests" if share >= 1 else f"{share:.4%}".replace(".0000%", "%") + " of the requests"


def _nothing(headers: RequestHeaders) -> int | None:
    return None


def _compile(section: Section, context: FilterContext) -> FaultPlan:
    runtime: Runtime = context.runtime
    keys = {name: section.get(f"{name}_runtime") or key for name, key in _KEYS.items()}
    delay, abort, rate = (section.child(name) for name in ("delay", "abort", "response_rate_limit"))
    delayChance = rateChance = None
    milliseconds: Ask = _nothing
    kib: Ask = _nothing
    if delay is not None:
        delayHeader = b"x-envoy-fault-delay-request" if delay.oneof("fault_delay_secifier") == "header_delay" else b""
        delayChance = _chance(delay, keys["delay_percent"], delayHeader, "delay.fixed_delay_percent", runtime)
        milliseconds = _ask(delayHeader, round((delay.seconds("fixed_delay", 0.0)) * 1000))
    if rate is not None:
        rateHeader = b"x-envoy-fault-throughput-response" if rate.oneof("limit_type") == "header_limit" else b""
        rateChance = _chance(rate, keys["response_rate_limit_percent"], rateHeader, "", runtime)
        kib = _ask(rateHeader, rate.childOrEmpty("fixed_limit").get("limit_kbps"))
    return FaultPlan(
        matches=_matches(section),
        onlyHeaders=_onlyHeaders(section),
        delayChance=delayChance,
        delayMilliseconds=milliseconds,
        abort=None if abort is None else _abort(abort, keys, runtime),
        rateChance=rateChance,
        rate=kib,
        mostActive=section.wrapped("max_active_faults", _NEVER_FULL),
        keys=keys,
        metadata=MessageToDict(section.message.filter_metadata),
        namesCallers=not section.get("disable_downstream_cluster_stats"),
        delayShare=0.0 if delay is None else fractionOf(delay.child("percentage")),
        abortShare=0.0 if abort is None else fractionOf(abort.child("percentage")),
    )


def _abort(section: Section, keys: dict[str, str], runtime: Runtime) -> Abort:
    kind = section.oneof("error_type")
    byHeader = kind == "header_abort"
    percentHeader = b"x-envoy-fault-abort-request" if byHeader else b""
    chance = _chance(section, keys["abort_percent"], percentHeader, "abort.abort_percent", runtime)
    body = section.get("response_body").encode("utf-8") or b"fault filter abort"
    if not byHeader:
        value: int = section.get(kind or "http_status")
        asked = _ask(b"", value)
        isHTTP = kind == "http_status"
        return Abort(chance, asked if isHTTP else _nothing, _nothing if isHTTP else asked, body)
    status = _ask(b"x-envoy-fault-abort-request", 0)

    def legalStatus(headers: RequestHeaders) -> int | None:
        asked = status(headers)
        return asked if asked is not None and 200 <= asked < 600 else None

    return Abort(chance, legalStatus, _ask(b"x-envoy-fault-abort-grpc-request", 0), body)


def _ask(header: bytes, fixed: int) -> Ask:
    """
    A number that a header tells, or a fixed one where no header is named.
    """
    if not header:
        return lambda headers: fixed

    def ask(headers: RequestHeaders) -> int | None:
        value = headers.first.get(header)
        if value is None:
            return None
        number = parseInteger(value)
        return number if number is not None and number >= 0 else None

    return ask


def _chance(section: Section, key: str, header: bytes, callerKey: str, runtime: Runtime) -> Chance:
    """
    Whether a fault hits.

    @param header: The header of the fault where requests ask for it: one that ends in C{-percentage} may then make
        the configured percentage smaller.
    @param callerKey: What stands after the caller's name in a runtime key; empty where there is no such key.
    """
    percentage = section.child("percentage")
    share = fractionOf(percentage)
    decide = runtime.share(percentage, key)
    asks = _ask(header + b"-percentage", 0) if header else _nothing
    per = 0.0
    if percentage is not None and percentage.get("numerator"):
        per = share / percentage.get("numerator")

    def hits(headers: RequestHeaders, caller: str) -> bool:
        asked = asks(headers)
        if asked is None and not (caller and callerKey):
            return decide()
        mine = share if asked is None else min(asked * per, share)
        keys = (f"fault.http.{caller}.{callerKey}", key) if caller and callerKey else (key,)
        return runtime.hits(mine, *keys)

    return hits


def _onlyHeaders(section: Section) -> HeadersTest | None:
    if section.get("upstream_cluster") or section.scalars("downstream_nodes"):
        return None
    return compileHeaderMatchers(section.children("headers"))


def _matches(section: Section) -> Callable[[IHTTPStream, RequestHeaders], bool] | None:
    cluster: str = section.get("upstream_cluster")
    nodes = frozenset(node.encode("utf-8") for node in section.scalars("downstream_nodes"))
    headersMatch: HeadersTest | None = compileHeaderMatchers(section.children("headers"))
    if not cluster and not nodes and headersMatch is None:
        return None

    def matches(stream: IHTTPStream, headers: RequestHeaders) -> bool:
        if cluster and _clusterOf(stream, headers) != cluster:
            return False
        if nodes and headers.first.get(b"x-envoy-downstream-service-node") not in nodes:
            return False
        return headersMatch is None or headersMatch(headers)

    return matches


def _clusterOf(stream: IHTTPStream, headers: RequestHeaders) -> str | None:
    action = None if stream.route is None else stream.route.action
    return None if action is None else action.selectCluster(headers, stream)
