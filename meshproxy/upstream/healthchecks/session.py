# -*- test-case-name: tests.upstream.healthchecks.test_session -*-
"""
The checks of one endpoint: when they come, and what follows from how they end.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from meshproxy.upstream.healthchecks.exchange import FailureKind, IProbe
from meshproxy.upstream.healthflags import HealthFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from meshproxy.net.deadlines import Deadlines
    from meshproxy.stats.store import Scope
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.healthchecks.events import EventLog
    from meshproxy.upstream.healthchecks.settings import CheckTimes, NumberOf

__all__ = ["CheckRules", "CheckSession", "CheckStats", "Transition"]

# Plain numbers: endpoints have them by the thousand, and are asked often.
_FAILED: Final = int(HealthFlag.FAILED_ACTIVE_HC)
_DEGRADED: Final = int(HealthFlag.DEGRADED_ACTIVE_HC)
_PENDING: Final = int(HealthFlag.PENDING_ACTIVE_HC)
_TIMEOUT: Final = int(HealthFlag.ACTIVE_HC_TIMEOUT)
_EXCLUDED: Final = int(HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL)

_NETWORK: Final = (FailureKind.NETWORK, FailureKind.NETWORK_TIMEOUT)


class Transition(Enum):
    """
    What a check changed: nothing, nothing yet, or what the endpoint is.
    """

    NOTHING = 0
    PENDING = 1
    CHANGED = 2


class CheckStats:
    """
    C{cluster.NAME.health_check.}
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: The cluster's.
        """
        scope = scope.scope("health_check.")
        self.attempt = scope.counter("attempt")
        self.success = scope.counter("success")
        self.failure = scope.counter("failure")
        self.passiveFailure = scope.counter("passive_failure")
        self.networkFailure = scope.counter("network_failure")
        self.verifyCluster = scope.counter("verify_cluster")
        self.healthy = scope.gauge("healthy")
        self.degraded = scope.gauge("degraded")


class CheckRules:
    """
    What all sessions of a cluster go by.

    @ivar logsFailures: Whether each failure is logged, and C{logsSuccesses} likewise.
    @ivar hasTraffic: Whether anybody has used the cluster.
    @ivar timeouts: Ends checks that take too long.
    """

    timeouts: Deadlines[CheckSession]

    def __init__(
        self,
        times: CheckTimes,
        stats: CheckStats,
        clock: IReactorTime,
        random: Callable[[], float],
        number: NumberOf,
        hasTraffic: Callable[[], bool],
        log: EventLog | None = None,
        logsFailures: bool = False,
        logsSuccesses: bool = False,
    ) -> None:
        self.times = times
        self.stats = stats
        self.clock = clock
        self.random = random
        self.number = number
        self.hasTraffic = hasTraffic
        self.log = log
        self.logsFailures = logsFailures
        self.logsSuccesses = logsSuccesses


class CheckSession:
    """
    Checks one endpoint. One check is under way at a time: the next one waits for its end.

    @ivar checkedBy: How the endpoint was to be checked when it began.
    @ivar isFirst: Whether nothing is known yet.
    @ivar isWell: Whether the last check passed, and it is not failed.
    """

    __slots__ = (
        "_call",
        "_failures",
        "_isStopped",
        "_rules",
        "_successes",
        "_told",
        "checkedBy",
        "endpoint",
        "isFirst",
        "isWell",
        "probe",
    )

    probe: IProbe

    def __init__(
        self, endpoint: Endpoint, rules: CheckRules, told: Callable[[CheckSession, Transition], object]
    ) -> None:
        """
        @param told: Is told after each verdict, and at the end where there never was one.
        """
        self.endpoint = endpoint
        self.checkedBy = endpoint.checkedBy
        self.isFirst = True
        self.isWell = False
        self._rules = rules
        self._told = told
        self._call: IDelayedCall | None = None
        # In a row.
        self._failures = self._successes = 0
        self._isStopped = False
        if not endpoint.flags & _FAILED:
            rules.stats.healthy.value += 1
        if endpoint.flags & _DEGRADED:
            rules.stats.degraded.value += 1

    def start(self) -> None:
        """
        Begin, soon.
        """
        rules = self._rules
        jitter = rules.times.initialJitter
        if jitter:
            self._wait(rules.times.spread(0.0, jitter, rules.random, rules.number))
        else:
            self._begin()

    def stop(self) -> None:
        """
        The endpoint is gone, or the cluster.
        """
        self._isStopped = True
        self._settle()
        rules = self._rules
        if not self.endpoint.flags & _FAILED:
            rules.stats.healthy.value -= 1
        if self.endpoint.flags & _DEGRADED:
            rules.stats.degraded.value -= 1
        self.probe.stop()
        if self.isFirst:
            self._told(self, Transition.NOTHING)

    def _settle(self) -> None:
        """
        Nothing is waited for.
        """
        self._rules.timeouts.cancel(self)
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _wait(self, seconds: float) -> None:
        self._call = self._rules.clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._call = None
        rules = self._rules
        rules.stats.attempt.value += 1
        rules.timeouts.start(self)
        self.probe.begin()

    def timedOut(self) -> None:
        """
        A check takes too long.
        """
        self.probe.giveUp()
        self.failed(FailureKind.NETWORK_TIMEOUT)

    # Verdicts

    def passed(self, isDegraded: bool = False) -> None:
        """
        See L{IJudge.passed<meshproxy.upstream.healthchecks.exchange.IJudge.passed>}.
        """
        if self._isStopped:
            return
        rules, endpoint = self._rules, self.endpoint
        self._failures = 0
        transition = Transition.NOTHING
        if endpoint.flags & _FAILED:
            self._successes += 1
            # As in Envoy, the first check of all suffices.
            if self.isFirst or self._successes == rules.times.healthyThreshold:
                endpoint.flags &= ~(_FAILED | _TIMEOUT | _EXCLUDED)
                rules.stats.healthy.value += 1
                transition = Transition.CHANGED
                if rules.log is not None:
                    rules.log.added(endpoint, self.isFirst)
            else:
                transition = Transition.PENDING
        if transition is not Transition.CHANGED and rules.logsSuccesses and rules.log is not None:
            rules.log.passed(endpoint)
        transition = self._known(transition)
        if isDegraded is not bool(endpoint.flags & _DEGRADED):
            endpoint.flags ^= _DEGRADED
            rules.stats.degraded.value += 1 if isDegraded else -1
            if rules.log is not None:
                rules.log.degraded(endpoint, isDegraded)
            if transition is Transition.NOTHING:
                transition = Transition.CHANGED
        rules.stats.success.value += 1
        self.isWell = not endpoint.flags & _FAILED
        self._end(transition)
        self._again(True, transition)

    def failed(self, kind: FailureKind, isRetriable: bool = False, excludes: bool = False, status: int = 0) -> None:
        """
        See L{IJudge.failed<meshproxy.upstream.healthchecks.exchange.IJudge.failed>}.
        """
        if not self._isStopped:
            self._again(False, self._fail(kind, isRetriable, excludes, status))

    def failedPassively(self) -> None:
        """
        A request that was no check found out that the endpoint wants none (C{x-envoy-immediate-health-check-fail}).
        """
        if not self._isStopped:
            self._fail(FailureKind.PASSIVE, False, True, 0)

    def _fail(self, kind: FailureKind, isRetriable: bool, excludes: bool, status: int) -> Transition:
        rules, endpoint = self._rules, self.endpoint
        self._successes = 0
        self.isWell = False
        if excludes:
            endpoint.flags |= _EXCLUDED
        transition = Transition.NOTHING
        isOfNetwork = kind in _NETWORK
        if not endpoint.flags & _FAILED:
            isSure = not isOfNetwork and not isRetriable
            if not isSure:
                self._failures += 1
            if isSure or self._failures == rules.times.unhealthyThreshold:
                endpoint.flags |= _FAILED
                rules.stats.healthy.value -= 1
                transition = Transition.CHANGED
                if rules.log is not None:
                    rules.log.ejected(endpoint, kind, status)
            else:
                transition = Transition.PENDING
        # An endpoint may fail now in this way, now in that.
        if kind is FailureKind.NETWORK_TIMEOUT and endpoint.flags & _FAILED:
            endpoint.flags |= _TIMEOUT
        else:
            endpoint.flags &= ~_TIMEOUT
        transition = self._known(transition)
        if (self.isFirst or rules.logsFailures) and rules.log is not None:
            rules.log.failed(endpoint, kind, self.isFirst, status)
        stats = rules.stats
        stats.failure.value += 1
        if isOfNetwork:
            stats.networkFailure.value += 1
        elif kind is FailureKind.PASSIVE:
            stats.passiveFailure.value += 1
        self._end(transition)
        return transition

    def _known(self, transition: Transition) -> Transition:
        """
        Something is known of it: whoever counts endpoints counts it from now on.
        """
        endpoint = self.endpoint
        if endpoint.flags & _PENDING:
            endpoint.flags &= ~_PENDING
            return Transition.CHANGED
        return transition

    def _end(self, transition: Transition) -> None:
        self.isFirst = False
        self.endpoint.judge()
        self._told(self, transition)

    def _again(self, isWell: bool, transition: Transition) -> None:
        """
        Check again, when it is time. Whoever was told may have stopped it.
        """
        if not self._isStopped:
            self._settle()
            rules = self._rules
            isPending = transition is Transition.PENDING
            self._wait(rules.times.pause(isWell, isPending, rules.hasTraffic(), rules.random, rules.number))
