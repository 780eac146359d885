"""
Tests for L{meshproxy.xds.counting}.
"""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats import Store
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.counting import NamedStats, RouteStats, routesScope, secretScope


class NamedStatsTests(SynchronousTestCase):
    """
    What is counted of resources that are asked for by name.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.stats = NamedStats(RouteStats, lambda: 12.5)

    def want(self, *names: str) -> None:
        """
        Ask for routes of these names.
        """
        self.stats.want({name: partial(routesScope, self.store, "in", name) for name in names})

    def counted(self, name: str) -> dict[str, int]:
        """
        What is not zero of a name.
        """
        metrics = {**self.store.counters, **self.store.gauges}
        prefix = f"http.in.rds.{name}."
        return {
            key.removeprefix(prefix): one.value for key, one in metrics.items() if key.startswith(prefix) and one.value
        }

    def test_names(self) -> None:
        """
        A response counts for the names in it that are asked for, and those that changed are told.
        """
        self.want("a", "b")
        self.stats.taken(("a", "other"), "", ("a", "other"))
        self.stats.taken(("a",), "")
        found = self.counted("a")
        self.assertEqual((found["update_attempt"], found["update_success"], found["config_reload"]), (3, 2, 1))
        self.assertEqual((found["update_time"], found["config_reload_time_ms"]), (12500, 12500))
        self.assertEqual(self.counted("b"), {"update_attempt": 1})

    def test_gone(self) -> None:
        """
        What is asked for no more is counted no more, and shown no more; asked for again it begins anew.
        """
        self.want("a", "b")
        self.want("b")
        self.assertEqual((self.counted("a"), len(self.stats.all)), ({}, 1))
        self.want("a", "b")
        self.assertEqual((self.counted("a"), self.counted("b")), ({"update_attempt": 1}, {"update_attempt": 1}))

    def test_secrets(self) -> None:
        """
        Of secrets it is not counted how often they change.
        """
        stats = NamedStats(SubscriptionStats, lambda: 12.5)
        stats.want({"x": partial(secretScope, self.store, "x")})
        stats.taken(("x",), "1", ("x",))
        self.assertEqual(self.store.counters["sds.x.update_success"].value, 1)
        self.assertNotIn("sds.x.config_reload", self.store.counters)
