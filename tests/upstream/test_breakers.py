"""
L{meshproxy.upstream.breakers}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.breakers import NO_LIMIT, Breaker, Breakers, RetryBudget
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
        self.assertEqual(seen, [(1, False, 0), (2, True, 1), (3, True, 1), (2, True, 1), (1, False, 0), (0, False, 0)])

    def test_remaining(self) -> None:
        """
        C{track_remaining} shows what is left when somebody looks, and never less than nothing; without it there is no
        such gauge.
        """
        breaker = Breaker(self.scope, requests=2, trackRemaining=True)
        resource = breaker.requests
        seen = [value(self.store, "b.remaining_rq")]
        for step in (resource.take, resource.take, resource.take, resource.give, resource.give, resource.give):
            step()
            breaker.measure()
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
        breaker = Breaker(self.scope, retries=0, retryBudget=RetryBudget(0.2, 3))
        breaker.retries.used = 2
        self.assertFalse(breaker.retriesExhausted)
        breaker.retries.used = 3
        self.assertTrue(breaker.retriesExhausted)
        breaker.requests.used, breaker.pending.used = 15, 5
        self.assertFalse(breaker.retriesExhausted)
        breaker.retries.used = 4
        self.assertTrue(breaker.retriesExhausted)

    def test_budgetInterval(self) -> None:
        """
        With an interval the share is of all requests that began within it, those that are over too; they are forgotten
        by tenths of it, at the latest one tenth late.
        """
        now = [100.0]
        budget = RetryBudget(0.5, 1, 10.0)
        breaker = Breaker(self.scope, retryBudget=budget, requests=5, trackRemaining=True, now=lambda: now[0])
        requests, retries = breaker.requests, breaker.retries

        def allowed() -> int:
            retries.used = 0
            while not breaker.retriesExhausted:
                retries.used += 1
            return retries.used

        seen = [allowed()]
        for _ in range(4):
            requests.take()
            requests.give()
        seen.append(allowed())
        now[0] = 105.0
        requests.take()
        requests.take()
        seen.append(allowed())
        for now[0] in (110.5, 111.0, 115.0, 116.0):
            seen.append(allowed())
        self.assertEqual(seen, [1, 2, 3, 3, 1, 1, 1])
        # What is under way counts as ever for the limit and its gauges.
        breaker.measure()
        self.assertEqual((requests.used, value(self.store, "b.remaining_rq"), requests.exhausted), (2, 3, False))

    def test_budgetWithoutEnd(self) -> None:
        """
        However many requests there are, no more than a window of them is kept.
        """
        now = [0.0]
        breaker = Breaker(self.scope, retryBudget=RetryBudget(1.0, 0, 1.0), now=lambda: now[0])
        for number in range(1000):
            now[0] = number / 4
            breaker.requests.take()
            breaker.requests.give()
        breaker.retries.used = 5
        self.assertTrue(breaker.retriesExhausted)
        breaker.retries.used = 4
        self.assertFalse(breaker.retriesExhausted)


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
        self.assertEqual(self.breakers({"retry_budget": {}}).default.retryBudget, (0.2, 3, 0.0))
        given: dict[str, object] = {"budget_percent": {"value": 50.0}, "min_retry_concurrency": 7}
        self.assertEqual(self.breakers({"retry_budget": given}).default.retryBudget, (0.5, 7, 0.0))
        given["budget_interval"] = "2.5s"
        self.assertEqual(self.breakers({"retry_budget": given}).default.retryBudget, (0.5, 7, 2.5))

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
