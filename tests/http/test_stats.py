"""
Tests for L{meshproxy.http.stats}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.stats import ConnectionManagerStats
from meshproxy.stats import Store

PREFIX = "http.in."
LISTENER = "listener.0.0.0.0_80.http.in."


class ConnectionManagerStatsTests(SynchronousTestCase):
    """
    L{ConnectionManagerStats} binds a connection manager's metrics.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.stats = ConnectionManagerStats(self.store.scope(PREFIX), self.store.scope(LISTENER))

    def values(self) -> dict[str, int]:
        """
        The counters that moved.
        """
        return {name: counter.value for name, counter in self.store.counters.items() if counter.value}

    def test_distinct(self) -> None:
        """
        No two attributes are the same metric, and each has a name of its own below the manager's prefix.
        """
        bound = [metric for name, metric in vars(self.stats).items() if name not in ("responses", "http1", "http2")]
        for version in (self.stats.http1, self.stats.http2):
            bound += [version.cxTotal, version.cxActive, version.rqTotal]
        self.assertEqual(len({id(metric) for metric in bound}), len(bound))
        self.assertEqual(len({(type(metric), metric.name) for metric in bound}), len(bound))
        self.assertEqual([metric.name for metric in bound if not metric.name.startswith(PREFIX)], [])

    def test_thereFromTheStart(self) -> None:
        """
        Classes of responses are shown before the first response, of the manager and of its listener.
        """
        for prefix in (PREFIX, LISTENER):
            for name in ("completed", "1xx", "2xx", "3xx", "4xx", "5xx"):
                self.assertIn(f"{prefix}downstream_rq_{name}", self.store.counters)

    def test_responses(self) -> None:
        """
        A response moves its class and what is completed, here and at the listener.
        """
        for status in (200, 204, 503):
            self.stats.responses.add(status)
        expected = {"downstream_rq_completed": 3, "downstream_rq_2xx": 2, "downstream_rq_5xx": 1}
        both = {prefix + name: value for prefix in (PREFIX, LISTENER) for name, value in expected.items()}
        self.assertEqual(self.values(), both)

    def test_noResponse(self) -> None:
        """
        A stream without a response is completed and of no class.
        """
        self.stats.responses.add(0)
        name = "downstream_rq_completed"
        self.assertEqual(self.values(), {PREFIX + name: 1, LISTENER + name: 1})
