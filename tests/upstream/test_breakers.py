"""
L{meshproxy.upstream.breakers}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.breakers import NO_LIMIT, Breaker, Breakers
from tests.upstream.support import value


class BreakerTests(SynchronousTestCase):
    """
    Limits of one priority.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.scope = self.store.scope("b.")

    def test_exhausted(self) -> None:
        """
        A resource is exhausted at its limit, and the gauge says so exactly as long.
        """
        resource = Breaker(self.scope, pending=2).pending
        seen = []
        for step in (resource.take, resource.take, resource.take, resource.give, resource.give, resource.give):
            step()
            seen.append((resource.used, resource.exhausted, value(self.store, "b.rq_pending_open")))
        self.assertEqual(
            seen, [(1, False, 0), (2, True, 1), (3, True, 1), (2, True, 1), (1, False, 0), (0, False, 0)]
        )

    def test_remaining(self) -> None:
        """
        C{track_remaining} shows each use, and never less than nothing; without it there is no such gauge.
        """
        resource = Breaker(self.scope, requests=2, trackRemaining=True).requests
        seen = [value(self.store, "b.remaining_rq")]
        for step in (resource.take, resource.take, resource.take, resource.give, resource.give, resource.give):
            step()
            seen.append(value(self.store, "b.remaining_rq"))
        self.assertEqual(seen, [2, 1, 0, 0, 0, 1, 2])
        other = Store()
        Breaker(other.scope("b."))
        self.assertIsNone(value(other, "b.remaining_rq"))

    def test_none(self) -> None:
        """
        A limit of 0 is exhausted from the beginning.
        """
        self.assertTrue(Breaker(self.scope, requests=0).requests.exhausted)

    def test_retries(self) -> None:
        """
        Without a budget C{max_retries} counts.
        """
        breaker = Breaker(self.scope, retries=1)
        self.assertFalse(breaker.retriesExhausted)
        breaker.retries.take()
        self.assertTrue(breaker.retriesExhausted)

    def test_budget(self) -> None:
        """
        With one, the share of what is active or waits; the least number is always allowed.
        """
        breaker = Breaker(self.scope, retries=0, retryBudget=(0.2, 3))
        breaker.retries.used = 2
        self.assertFalse(breaker.retriesExhausted)
        breaker.retries.used = 3
        self.assertTrue(breaker.retriesExhausted)
        breaker.requests.used, breaker.pending.used = 15, 5
        self.assertFalse(breaker.retriesExhausted)
        breaker.retries.used = 4
        self.assertTrue(breaker.retriesExhausted)


class BreakersTests(SynchronousTestCase):
    """
    Those of a cluster, as configured.
    """

    def breakers(self, *thresholds: dict[str, object]) -> Breakers:
        """
        Compile them.
        """
        section = Section.of("envoy.config.cluster.v3.CircuitBreakers", {"thresholds": list(thresholds)})
        return Breakers(Store().scope("c."), section)

    def test_defaults(self) -> None:
        """
        Envoy's defaults, with and without a message.
        """
        for breakers in (Breakers(Store().scope("c.")), self.breakers({})):
            for breaker in (breakers.default, breakers.high):
                limits = [getattr(breaker, name).limit for name in ("connections", "pending", "requests", "retries")]
                self.assertEqual(limits, [1024, 1024, 1024, 3])
                self.assertIsNone(breaker.retryBudget)

    def test_priorities(self) -> None:
        """
        Each priority has its own.
        """
        breakers = self.breakers({"max_connections": 1}, {"priority": "HIGH", "max_connections": 2, "max_retries": 9})
        self.assertEqual((breakers.default.connections.limit, breakers.high.connections.limit), (1, 2))
        self.assertEqual((breakers.default.retries.limit, breakers.high.retries.limit), (3, 9))

    def test_budget(self) -> None:
        """
        A retry budget, with its defaults and without.
        """
        self.assertEqual(self.breakers({"retry_budget": {}}).default.retryBudget, (0.2, 3))
        given = {"budget_percent": {"value": 50.0}, "min_retry_concurrency": 7}
        self.assertEqual(self.breakers({"retry_budget": given}).default.retryBudget, (0.5, 7))

    def test_perHost(self) -> None:
        """
        How many connections one endpoint may have; nothing else can be limited so.
        """
        limits = [{"max_connections": 5}, {"priority": "HIGH", "max_connections": 6, "max_requests": 1}]
        section = Section.of("envoy.config.cluster.v3.CircuitBreakers", {"per_host_thresholds": limits})
        breakers = Breakers(Store().scope("c."), section)
        self.assertEqual((breakers.default.perHost, breakers.high.perHost), (5, 6))
        self.assertEqual([error.path for error in section.report.errors], ["per_host_thresholds[1].max_requests"])
        self.assertEqual(self.breakers({}).default.perHost, NO_LIMIT)
