# -*- test-case-name: tests.upstream.test_outliers -*-
"""
Outlier detection: endpoints that fail more than others, or many times in a row, are left out for a while.

What an endpoint answers well is not told of here, that would cost each request: its own counters are looked at once in
an interval, and watched only while there are failures in a row to be forgotten.

Source: C{envoy.config.cluster.v3.OutlierDetection},
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from meshproxy.config import Section
from meshproxy.config.matchers import compileHeaderMatchers
from meshproxy.headers import ResponseHeaders
from meshproxy.runtime import Runtime
from meshproxy.stats import Scope
from meshproxy.stats.metrics import Counter
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthchecks.events import timestampText
from meshproxy.upstream.healthflags import HealthFlag
from meshproxy.upstream.settings import httpOptions

if TYPE_CHECKING:
    from meshproxy.accesslog.files import LogFile, LogFiles

__all__ = ["Detector", "Monitor", "OutlierSettings", "Rates", "compileOutliers", "openOutlierLog"]

_KINDS = (
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "success_rate",
    "local_origin_success_rate",
    "failure_percentage",
    "local_origin_failure_percentage",
)

# Whether one is enforced is asked for by these names.
_ENFORCING = {
    **{kind: f"enforcing_{kind}" for kind in _KINDS},
    "local_origin_failure_percentage": "enforcing_failure_percentage_local_origin",
}

# How events call them, where it is not by the same words.
_EVENTS = {
    "local_origin_success_rate": "SUCCESS_RATE_LOCAL_ORIGIN",
    "local_origin_failure_percentage": "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
}

_GATEWAY = frozenset((502, 503, 504))


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """
    C{OutlierDetection}, with its defaults. Times are in milliseconds, shares in percent; each number may be another one
    by the runtime key C{outlier_detection.} and its name.
    """

    interval_ms: int = 10_000
    base_ejection_time_ms: int = 30_000
    max_ejection_time_ms: int = 300_000
    max_ejection_time_jitter_ms: int = 0
    max_ejection_percent: int = 10
    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    always_eject_one_host: bool = False
    split_external_local_origin_errors: bool = False
    successful_active_health_check_uneject_host: bool = True


_TIMES = ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")
_FLAGS = ("always_eject_one_host", "successful_active_health_check_uneject_host")
_SPLIT = "split_external_local_origin_errors"
_NUMBERS = tuple(
    one.name for one in fields(OutlierSettings) if not one.name.endswith("_ms") and one.name not in (*_FLAGS, _SPLIT)
)


def _compileSettings(section: Section) -> OutlierSettings:
    given: dict[str, Any] = {}
    for name in _TIMES:
        seconds = section.seconds(name, None)
        if seconds is not None:
            given[f"{name}_ms"] = round(seconds * 1000)
    for name in (*_NUMBERS, *_FLAGS):
        value = section.wrapped(name, None)
        if value is not None:
            given[name] = value
    defaults = OutlierSettings()
    base = given.get("base_ejection_time_ms", defaults.base_ejection_time_ms)
    # As in Envoy, who is left out for longer at first is not left out for less at most.
    given.setdefault("max_ejection_time_ms", max(defaults.max_ejection_time_ms, base))
    if given["max_ejection_time_ms"] < base:
        section.refuse("cannot be less than base_ejection_time", "max_ejection_time")
    return OutlierSettings(**given, split_external_local_origin_errors=section.get(_SPLIT))


def compileOutliers(
    section: Section,
    scope: Scope,
    clock: IReactorTime,
    random: Callable[[], float],
    runtime: Runtime | None,
    changed: Callable[[], object],
    log: LogFile | None = None,
) -> Detector | None:
    """
    What looks for outliers in a C{Cluster}; L{None} where nobody is to.

    @param scope: That of the cluster.
    @param random: From 0 up to 1.
    @param changed: Called after an endpoint was left out, or is back.
    @param log: Where that is logged.
    """
    held = section.child("outlier_detection")
    if held is None:
        return None
    made = Detector(_compileSettings(held), scope.scope("outlier_detection."), clock, random, runtime, changed)
    options = httpOptions(section)
    matcher = None if options is None else options.childOrEmpty("outlier_detection").child("error_matcher")
    if matcher is not None:
        made.isFailure = _compileMatcher(matcher)
    if log is not None:
        made.log = _EventLog(section.get("name"), log, clock.seconds)
    return made


def _compileMatcher(section: Section) -> Callable[[ResponseHeaders], bool]:
    """
    Compile a C{MatchPredicate} that only looks at the head of a response.
    """
    for name, decide in (("or_match", any), ("and_match", all)):
        rules = section.child(name)
        if rules is not None:
            several = [_compileMatcher(rule) for rule in rules.children("rules")]
            return lambda headers, several=several, decide=decide: decide(  # type: ignore[misc]  # bound as defaults
                rule(headers) for rule in several
            )
    inverted = section.child("not_match")
    if inverted is not None:
        rule = _compileMatcher(inverted)
        return lambda headers: not rule(headers)
    if section.get("any_match"):
        return lambda headers: True
    test = compileHeaderMatchers(section.childOrEmpty("http_response_headers_match").children("headers"))
    return (lambda headers: True) if test is None else test


def openOutlierLog(bootstrap: Section, files: LogFiles) -> LogFile | None:
    """
    The file that C{cluster_manager.outlier_detection} names; L{None} where it names none.
    """
    section = bootstrap.childOrEmpty("cluster_manager").childOrEmpty("outlier_detection")
    path: str = section.get("event_log_path")
    if not path:
        return None
    try:
        return files.open(path)
    except OSError as error:
        section.refuse(f"cannot open {path!r}: {error.strerror}", "event_log_path")
        return None


class _EventLog:
    """
    Writes who is left out and who is back: C{envoy.data.cluster.v3.OutlierDetectionEvent} in JSON.
    """

    def __init__(self, cluster: str, file: LogFile, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._file = file
        self._now = now

    def ejected(self, monitor: Monitor, kind: str, isEnforced: bool, rates: Rates) -> None:
        """
        One was found, and is left out where that is enforced.
        """
        facts: dict[str, object] = {}
        name = "eject_consecutive_event"
        if not kind.startswith("consecutive"):
            own = monitor.localSuccessRate if kind.startswith("local") else monitor.successRate
            facts["host_success_rate"] = int(own)
            name = "eject_failure_percentage_event"
        if kind.endswith("success_rate"):
            name = "eject_success_rate_event"
            facts["cluster_average_success_rate"] = int(rates.average)
            facts["cluster_success_rate_ejection_threshold"] = max(int(rates.threshold), 0)
        self._write(monitor, _EVENTS.get(kind, kind.upper()), "EJECT", isEnforced, monitor.unejectedAt, {name: facts})

    def unejected(self, monitor: Monitor) -> None:
        """
        One is back.
        """
        # As in Envoy, which leaves out what is not told.
        self._write(monitor, "CONSECUTIVE_5XX", "UNEJECT", False, monitor.ejectedAt, {})

    def _write(
        self, monitor: Monitor, kind: str, action: str, isEnforced: bool, last: float | None, more: dict[str, object]
    ) -> None:
        now = self._now()
        event: dict[str, object] = {"type": kind, "timestamp": timestampText(now)}
        if last is not None:
            event["secs_since_last_action"] = str(int(now - last))
        event["cluster_name"] = self._cluster
        event["upstream_url"] = monitor.endpoint.address.text
        event |= {"action": action, "num_ejections": monitor.ejections, "enforced": isEnforced, **more}
        self._file.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n")


class Rates(NamedTuple):
    """
    What was found of all endpoints at the end of the last interval; -1 where there was too little.

    @ivar average: The mean of their shares of successes, in percent.
    @ivar threshold: Whoever is below is an outlier.
    """

    average: float = -1.0
    threshold: float = -1.0


class _Watching(Counter):
    """
    Stands in the place of an endpoint's counter until it counts.
    """

    __slots__ = ("_counted", "counter")

    def __init__(self, counter: Counter, counted: Callable[[], object]) -> None:
        self._counted = counted
        self.counter = counter
        self.name, self.base, self.tags, self.references = counter.name, counter.base, counter.tags, 0

    @property
    def value(self) -> int:
        return self.counter.value

    @value.setter
    def value(self, value: int) -> None:
        self.counter.value = value
        self._counted()


class Monitor:
    """
    What is known of one endpoint.

    @ivar ejections: How often it was left out.
    @ivar successRate: The share of its successes in the last interval, in percent; -1 where there was too little.
    @ivar localSuccessRate: The same of what happened on the way to it, where that counts by itself.
    """

    def __init__(self, detector: Detector, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.ejections = 0
        self.successRate = self.localSuccessRate = -1.0
        self.backoff = 0
        self.jitter = 0.0
        self.ejectedAt = self.unejectedAt = None  # type: float | None
        self._detector = detector
        self._isSplit = detector.settings.split_external_local_origin_errors
        self._inARow = dict.fromkeys(_KINDS[:3], 0)
        # Of this interval: failures, and successes that the endpoint's counters do not have.
        self._failures = self._localFailures = self._others = 0
        self._successBase = self._totalBase = 0
        # Successes and all of the last interval.
        self.last = self.lastLocal = (0, 0)
        self.endInterval()

    @property
    def isEjected(self) -> bool:
        """
        Whether it is left out.
        """
        return bool(self.endpoint.flags & HealthFlag.FAILED_OUTLIER_CHECK)

    # What happens

    def answered(self, status: int) -> None:
        """
        It answered.
        """
        if self._detector.isFailure is None:
            self._take(status)

    def judged(self, isFailure: bool) -> None:
        """
        It answered, and the configuration says whether that is a failure.
        """
        self._take(500 if isFailure else 200)

    def _take(self, status: int) -> None:
        if status < 500:
            self._others += 1
            self._forget(_KINDS[0], _KINDS[1])
            return
        self._failures += 1
        endpoint = self.endpoint
        if self._detector.isFailure is None and not isinstance(endpoint.rqSuccess, _Watching):
            endpoint.rqSuccess = _Watching(endpoint.rqSuccess, self._succeeded)
        if status in _GATEWAY:
            self._count("consecutive_gateway_failure")
        else:
            self._forget("consecutive_gateway_failure")
        self._count("consecutive_5xx")

    def failed(self, status: int = 503) -> None:
        """
        It could not be reached, did not answer in time, or broke off.

        @param status: The answer that this counts as where it does not count by itself.
        """
        if not self._isSplit:
            self._take(status)
            return
        self._localFailures += 1
        endpoint = self.endpoint
        if not isinstance(endpoint.rqTotal, _Watching):
            endpoint.rqTotal = _Watching(endpoint.rqTotal, self._reached)
        self._count("consecutive_local_origin_failure")

    def connected(self) -> None:
        """
        There is a connection whose bytes nobody looks at.
        """
        if not self._isSplit:
            self._take(200)

    def _succeeded(self) -> None:
        watching = self.endpoint.rqSuccess
        if isinstance(watching, _Watching):
            self.endpoint.rqSuccess = watching.counter
        self._forget(_KINDS[0], _KINDS[1])

    def _reached(self) -> None:
        watching = self.endpoint.rqTotal
        if isinstance(watching, _Watching):
            self.endpoint.rqTotal = watching.counter
        self._forget("consecutive_local_origin_failure")

    def _count(self, kind: str) -> None:
        self._inARow[kind] += 1
        if self._inARow[kind] == self._detector.number(kind):
            if self._detector.failedInARow(self, kind):
                self._forget(kind)

    def _forget(self, *kinds: str) -> None:
        for kind in kinds:
            self._inARow[kind] = 0

    # What follows

    def eject(self, now: float) -> None:
        """
        Leave it out.
        """
        self.ejections += 1
        self.ejectedAt = now
        self.endpoint.flags |= HealthFlag.FAILED_OUTLIER_CHECK
        self.endpoint.judge()

    def uneject(self, now: float) -> None:
        """
        Have it back.
        """
        self.unejectedAt = now
        self.endpoint.flags &= ~HealthFlag.FAILED_OUTLIER_CHECK
        self.endpoint.judge()
        self._forget(*_KINDS[:3])

    def endInterval(self) -> None:
        """
        Begin to count anew.
        """
        endpoint = self.endpoint
        successes = self._others
        if self._detector.isFailure is None:
            successes += int(endpoint.rqSuccess.value) - self._successBase
        self.last = (successes, successes + self._failures)
        # As in Envoy an answer that is good says that the way is, too.
        reached = int(endpoint.rqTotal.value) - self._totalBase + successes
        self.lastLocal = (reached, reached + self._localFailures) if self._isSplit else (0, 0)
        self._successBase, self._totalBase = int(endpoint.rqSuccess.value), int(endpoint.rqTotal.value)
        self._failures = self._localFailures = self._others = 0
        self.successRate = self.localSuccessRate = -1.0

    def stop(self) -> None:
        """
        Look at it no more.
        """
        self._succeeded()
        self._reached()
        self.endpoint.monitor = None


class Detector:
    """
    Looks for outliers among the endpoints of a cluster.

    @ivar rates: What was found of all endpoints in the last interval.
    @ivar localRates: The same of the way to them.
    @ivar isFailure: Says which responses are failures, if the statuses from 500 on are not; their heads are told by
        L{responded} then.
    @ivar log: Is told who is left out and who is back, if anybody is.
    """

    isFailure: Callable[[ResponseHeaders], bool] | None = None
    log: _EventLog | None = None

    def __init__(
        self,
        settings: OutlierSettings,
        scope: Scope,
        clock: IReactorTime,
        random: Callable[[], float],
        runtime: Runtime | None,
        changed: Callable[[], object],
    ) -> None:
        """
        @param scope: C{cluster.NAME.outlier_detection.}.
        @param random: From 0 up to 1.
        @param changed: Called after an endpoint was left out, or is back.
        """
        self.settings = settings
        self.rates = self.localRates = Rates()
        self._clock = clock
        self._random = random
        self._runtime = runtime
        self._changed = changed
        self._monitors: dict[Endpoint, Monitor] = {}
        self._call: Any = None
        self._detected = {kind: scope.counter(f"ejections_detected_{kind}") for kind in _KINDS}
        self._enforced = {kind: scope.counter(f"ejections_enforced_{kind}") for kind in _KINDS}
        self._enforcedTotal = scope.counter("ejections_enforced_total")
        self._overflow = scope.counter("ejections_overflow")
        # Deprecated in Envoy, and there.
        self._total = scope.counter("ejections_total")
        self._consecutive = scope.counter("ejections_consecutive_5xx")
        self._successRate = scope.counter("ejections_success_rate")
        self._active = scope.gauge("ejections_active")
        # Counted by what is refused here (detect_degraded_hosts).
        scope.counter("ejections_detected_degradation")

    def number(self, name: str) -> int:
        """
        One of the settings as it is now.
        """
        default = int(getattr(self.settings, name))
        return default if self._runtime is None else self._runtime.number(f"outlier_detection.{name}", default)

    def start(self) -> None:
        """
        Begin the first interval.
        """
        self._call = self._clock.callLater(self.number("interval_ms") / 1000, self._intervalEnded)

    def stop(self) -> None:
        """
        Look for none any more.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        for monitor in self._monitors.values():
            self._active.value -= monitor.isEjected
            monitor.stop()
        self._monitors = {}

    def watch(self, endpoints: Iterable[Endpoint]) -> None:
        """
        Look at these, and at others no more.
        """
        known, self._monitors = self._monitors, {}
        for endpoint in endpoints:
            monitor = known.pop(endpoint, None)
            if monitor is None:
                monitor = endpoint.monitor = Monitor(self, endpoint)
            self._monitors[endpoint] = monitor
        for monitor in known.values():
            self._active.value -= monitor.isEjected
            monitor.stop()

    def responded(self, endpoint: Endpoint, headers: ResponseHeaders) -> None:
        """
        The head of a response came.
        """
        monitor = endpoint.monitor
        if monitor is not None and self.isFailure is not None and headers.status >= 200:
            monitor.judged(self.isFailure(headers))

    def checkPassed(self, endpoint: Endpoint) -> None:
        """
        An active health check of an endpoint passed: it is back, unless the settings say otherwise.
        """
        monitor = self._monitors.get(endpoint)
        if monitor is not None and monitor.isEjected and self.settings.successful_active_health_check_uneject_host:
            self._uneject(monitor, self._clock.seconds())
            self._changed()

    # Failures in a row

    def failedInARow(self, monitor: Monitor, kind: str) -> bool:
        """
        There were as many as there may be.

        @return: Whether they begin anew.
        """
        if monitor.isEjected or self._monitors.get(monitor.endpoint) is not monitor:
            return False
        self._detected[kind].value += 1
        if self._eject(monitor, kind):
            self._changed()
        if kind == "consecutive_5xx":
            self._consecutive.value += 1
        return True

    def _eject(self, monitor: Monitor, kind: str) -> bool:
        """
        Leave it out, if that may be.

        @return: Whether it is.
        """
        active = int(self._active.value)
        share = 100.0 * (active + 1) / len(self._monitors)
        mayEject = share <= min(100, self.number("max_ejection_percent"))
        if not mayEject and not (self.settings.always_eject_one_host and active == 0):
            self._overflow.value += 1
            return False
        if kind in ("consecutive_5xx", "success_rate"):
            self._total.value += 1
        if not self._isEnforced(kind):
            self._tell(monitor, kind, False)
            return False
        self._active.value += 1
        self._enforcedTotal.value += 1
        self._enforced[kind].value += 1
        monitor.eject(self._clock.seconds())
        base, most = self.number("base_ejection_time_ms"), self.number("max_ejection_time_ms")
        monitor.jitter = int(self._random() * (self.number("max_ejection_time_jitter_ms") + 1)) / 1000
        if monitor.backoff * base < most + base:
            monitor.backoff += 1
        self._tell(monitor, kind, True)
        return True

    def _tell(self, monitor: Monitor, kind: str, isEnforced: bool) -> None:
        if self.log is not None:
            self.log.ejected(monitor, kind, isEnforced, self.localRates if kind.startswith("local") else self.rates)

    def _isEnforced(self, kind: str) -> bool:
        share = self.number(_ENFORCING[kind])
        return share >= 100 or self._random() * 100 < share

    def _uneject(self, monitor: Monitor, now: float) -> None:
        self._active.value -= 1
        monitor.uneject(now)
        if self.log is not None:
            self.log.unejected(monitor)

    # At the end of an interval

    def _intervalEnded(self) -> None:
        now = self._clock.seconds()
        hasChanged = False
        base, most = self.number("base_ejection_time_ms"), self.number("max_ejection_time_ms")
        for monitor in self._monitors.values():
            if monitor.isEjected and monitor.ejectedAt is not None:
                lasts = min(base * monitor.backoff, most) / 1000 + monitor.jitter
                if lasts <= now - monitor.ejectedAt + 1e-9:
                    self._uneject(monitor, now)
                    hasChanged = True
            monitor.endInterval()
        hasChanged = self._judgeRates(isLocal=False) or hasChanged
        hasChanged = self._judgeRates(isLocal=True) or hasChanged
        for monitor in self._monitors.values():
            since = None if monitor.isEjected else monitor.unejectedAt
            if since is not None and now - since >= self.number("interval_ms") / 1000 and monitor.backoff:
                monitor.backoff -= 1
        if hasChanged:
            self._changed()
        self.start()

    def _judgeRates(self, isLocal: bool) -> bool:
        """
        Look for those whose share of successes is too low.

        @return: Whether any is left out now.
        """
        found = self._ratesOf(isLocal)
        prefix = "local_origin_" if isLocal else ""
        rates, volume = Rates(), self.number("success_rate_request_volume")
        valid = [(monitor, rate) for monitor, rate, total in found if total >= volume]
        hasEjected = False
        if valid and len(valid) >= self.number("success_rate_minimum_hosts"):
            rates = _threshold([rate for _, rate in valid], self.number("success_rate_stdev_factor") / 1000)
        if isLocal:
            self.localRates = rates
        else:
            self.rates = rates
        for monitor, rate in valid if rates.average >= 0 else ():
            if rate < rates.threshold:
                self._successRate.value += 1
                hasEjected = self._foundRate(monitor, f"{prefix}success_rate") or hasEjected
        volume = self.number("failure_percentage_request_volume")
        valid = [(monitor, rate) for monitor, rate, total in found if total >= volume]
        if valid and len(valid) >= self.number("failure_percentage_minimum_hosts"):
            threshold = self.number("failure_percentage_threshold")
            for monitor, rate in valid:
                if 100.0 - rate >= threshold:
                    hasEjected = self._foundRate(monitor, f"{prefix}failure_percentage") or hasEjected
        return hasEjected

    def _ratesOf(self, isLocal: bool) -> list[tuple[Monitor, float, int]]:
        """
        The endpoints that are not left out, with their shares of successes and of how many, where they are enough.
        """
        hosts = len(self._monitors)
        fewest = min(self.number("success_rate_minimum_hosts"), self.number("failure_percentage_minimum_hosts"))
        if hosts < fewest:
            return []
        volume = min(self.number("success_rate_request_volume"), self.number("failure_percentage_request_volume"))
        found = []
        for monitor in self._monitors.values():
            successes, total = monitor.lastLocal if isLocal else monitor.last
            if monitor.isEjected or not total:
                continue
            rate = successes * 100.0 / total
            if total >= volume:
                if isLocal:
                    monitor.localSuccessRate = rate
                else:
                    monitor.successRate = rate
            found.append((monitor, rate, total))
        return found

    def _foundRate(self, monitor: Monitor, kind: str) -> bool:
        self._detected[kind].value += 1
        # One may be found by both.
        return not monitor.isEjected and self._eject(monitor, kind)


def _threshold(rates: Sequence[float], factor: float) -> Rates:
    """
    The mean, and below it by C{factor} standard deviations who is an outlier.
    """
    mean = sum(rates) / len(rates)
    deviation = sqrt(sum((rate - mean) ** 2 for rate in rates) / len(rates))
    return Rates(mean, mean - factor * deviation)
