"""
L{meshproxy.upstream.healthchecks.session}: thresholds, flags and times, whatever is asked.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.stats import Store
from meshproxy.testing import VirtualReactor
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthchecks.exchange import FailureKind
from meshproxy.upstream.healthchecks.session import CheckRules, CheckSession, CheckStats, Transition
from meshproxy.upstream.healthchecks.settings import CheckTimes
from meshproxy.upstream.healthflags import HealthFlag, flagsText
from tests.upstream.support import value

_TIMES = CheckTimes(
    timeout=1.0,
    interval=10.0,
    unhealthyThreshold=2,
    healthyThreshold=2,
    unhealthyInterval=4.0,
    unhealthyEdgeInterval=3.0,
    healthyEdgeInterval=2.0,
)


class _Probe:
    """
    One that a test plays.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self) -> None:
        self.told.append("begin")

    def giveUp(self) -> None:
        self.told.append("giveUp")

    def stop(self) -> None:
        self.told.append("stop")


class SessionTests(SynchronousTestCase):
    """
    L{CheckSession}.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = Store()
        self.told: list[Transition] = []
        self.hasTraffic = True
        self.endpoint = Endpoint(Address("192.0.2.1", 80))
        self.endpoint.flags = int(HealthFlag.FAILED_ACTIVE_HC)
        self.endpoint.judge()

    def start(self, times: CheckTimes = _TIMES) -> CheckSession:
        """
        A session that begins.
        """
        rules = CheckRules(
            times,
            CheckStats(self.store.scope("cluster.c.")),
            self.reactor,
            lambda: 0.5,
            lambda key, default: default,
            lambda: self.hasTraffic,
        )
        rules.timeouts = Deadlines(self.reactor, times.timeout, CheckSession.timedOut)
        session = CheckSession(self.endpoint, rules, lambda session, transition: self.told.append(transition))
        self.probe = _Probe()
        session.probe = self.probe
        session.start()
        return session

    def next(self) -> float:
        """
        How long it takes until the next check begins.
        """
        began = self.reactor.seconds()
        count = self.probe.told.count("begin")
        while self.probe.told.count("begin") == count:
            self.reactor.advance(0.5)
            if self.reactor.seconds() > began + 100:
                self.fail("there is no further check")
        return self.reactor.seconds() - began

    def stat(self, name: str) -> int | None:
        return value(self.store, f"cluster.c.health_check.{name}")

    def test_firstPasses(self) -> None:
        """
        The first check suffices for an endpoint to be healthy, whatever the threshold.
        """
        session = self.start()
        self.assertEqual((self.probe.told, self.endpoint.healthy, self.stat("healthy")), (["begin"], False, 0))
        session.passed()
        self.assertEqual((self.endpoint.healthy, self.told, self.stat("healthy")), (True, [Transition.CHANGED], 1))
        self.assertEqual(self.next(), 10)

    def test_thresholds(self) -> None:
        """
        Later it takes as many in a row as there are to be, and each state has its pace.
        """
        session = self.start()
        session.passed()
        paces = []
        for verdict in ("network", "network", "network", "passed", "network", "passed", "passed"):
            self.next()
            session.passed() if verdict == "passed" else session.failed(FailureKind.NETWORK)
            paces.append((self.endpoint.healthy, self.told[-1].name))
        self.assertEqual(
            paces,
            [
                (True, "PENDING"),
                (False, "CHANGED"),
                (False, "NOTHING"),
                (False, "PENDING"),
                (False, "NOTHING"),
                (False, "PENDING"),
                (True, "CHANGED"),
            ],
        )
        self.assertEqual((self.stat("attempt"), self.stat("success"), self.stat("failure")), (8, 4, 4))
        self.assertEqual((self.stat("network_failure"), self.stat("passive_failure")), (4, 0))

    def test_paces(self) -> None:
        """
        The edge has an interval of its own, either way.
        """
        session = self.start()
        session.passed()
        self.assertEqual(self.next(), 10)
        session.failed(FailureKind.NETWORK)
        self.assertEqual(self.next(), 3)
        session.failed(FailureKind.NETWORK)
        self.assertEqual(self.next(), 4)
        session.passed()
        self.assertEqual(self.next(), 2)
        session.passed()
        self.assertEqual(self.next(), 10)

    def test_noTraffic(self) -> None:
        """
        Nobody uses the cluster: a minute.
        """
        self.hasTraffic = False
        self.start().passed()
        self.assertEqual(self.next(), 60)

    def test_saidSo(self) -> None:
        """
        An endpoint that says that it is ill is ill at once, unless what it says may be said again.
        """
        session = self.start()
        session.passed()
        session.failed(FailureKind.ACTIVE, isRetriable=True)
        self.assertTrue(self.endpoint.healthy)
        session.failed(FailureKind.ACTIVE, isRetriable=True)
        self.assertFalse(self.endpoint.healthy)
        session.passed()
        session.passed()
        self.assertTrue(self.endpoint.healthy)
        session.failed(FailureKind.ACTIVE)
        self.assertFalse(self.endpoint.healthy)

    def test_timeout(self) -> None:
        """
        A check that takes too long is given up; the flag goes when it fails otherwise.
        """
        session = self.start(replace(_TIMES, unhealthyThreshold=1))
        self.reactor.advance(1.0)
        self.assertEqual(self.probe.told, ["begin", "giveUp"])
        self.assertEqual(flagsText(self.endpoint.flags), "/failed_active_hc/active_hc_timeout")
        self.next()
        session.failed(FailureKind.NETWORK)
        self.assertEqual(flagsText(self.endpoint.flags), "/failed_active_hc")
        self.next()
        self.reactor.advance(1.0)
        self.next()
        session.passed()
        session.passed()
        self.assertEqual((self.endpoint.flags, self.stat("network_failure")), (0, 3))

    def test_noTimeoutLater(self) -> None:
        """
        A check that ended in time is not given up.
        """
        self.start().passed()
        self.reactor.advance(5.0)
        self.assertEqual(self.probe.told, ["begin"])

    def test_degraded(self) -> None:
        """
        It says whether it is degraded with each check.
        """
        session = self.start()
        session.passed(True)
        self.assertEqual((flagsText(self.endpoint.flags), self.stat("degraded")), ("/degraded_active_hc", 1))
        session.passed(True)
        session.passed(False)
        self.assertEqual((self.endpoint.flags, self.stat("degraded")), (0, 0))
        self.assertEqual(self.told, [Transition.CHANGED, Transition.NOTHING, Transition.CHANGED])

    def test_pending(self) -> None:
        """
        One that was not counted yet is after the first check, whatever that found.
        """
        self.endpoint.flags |= HealthFlag.PENDING_ACTIVE_HC
        self.start().failed(FailureKind.NETWORK)
        self.assertEqual((flagsText(self.endpoint.flags), self.told), ("/failed_active_hc", [Transition.CHANGED]))

    def test_passive(self) -> None:
        """
        A response to a request says that it wants none: it is ill and not counted, and its next check comes as it would
        have come.
        """
        session = self.start()
        session.passed()
        self.reactor.advance(6.0)
        session.failedPassively()
        self.assertEqual(flagsText(self.endpoint.flags), "/failed_active_hc/excluded_via_immediate_hc_fail")
        self.assertEqual((self.stat("passive_failure"), self.stat("failure"), self.stat("healthy")), (1, 1, 0))
        self.assertEqual(self.next(), 4)

    def test_initialJitter(self) -> None:
        """
        The first check comes at a random time within it.
        """
        self.start(replace(_TIMES, initialJitter=4.0))
        self.assertEqual(self.probe.told, [])
        self.assertEqual(self.next(), 2)

    def test_stop(self) -> None:
        """
        Nothing happens any more, and nobody is told of more than the end.
        """
        session = self.start()
        session.stop()
        session.passed()
        session.failed(FailureKind.NETWORK)
        session.failedPassively()
        self.assertEqual((self.probe.told, self.told), (["begin", "stop"], [Transition.NOTHING]))
        self.assertEqual(self.reactor.getDelayedCalls()[1:], [])

    def test_stopHealthy(self) -> None:
        """
        One that is gone does not count as healthy, or degraded.
        """
        session = self.start()
        session.passed(True)
        session.stop()
        self.assertEqual((self.stat("healthy"), self.stat("degraded"), len(self.told)), (0, 0, 1))

    def test_stoppedByVerdict(self) -> None:
        """
        Whoever is told may stop it there and then.
        """
        session = self.start()
        session._told = lambda session, transition: session.stop()
        session.passed()
        self.reactor.advance(100.0)
        self.assertEqual(self.probe.told, ["begin", "stop"])
