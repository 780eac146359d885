"""
L{meshproxy.upstream.cluster}.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Counter, Store
from meshproxy.testing import MemoryBackend, MemoryNetwork, VirtualReactor
from meshproxy.upstream.balancers.leastrequest import LeastRequest
from meshproxy.upstream.balancers.random import RandomChoice
from meshproxy.upstream.cluster import Cluster
from tests.upstream.support import Asker, clusterSection, value


def address(host: str) -> dict[str, Any]:
    """
    An C{Address}.
    """
    return {"socket_address": {"address": host, "port_value": 80}}


class ClusterCase(SynchronousTestCase):
    """
    A cluster in memory.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor)
        self.store = Store()

    def make(self, section: Section) -> Cluster:
        """
        A cluster that looks for its endpoints.
        """
        cluster = Cluster(section, self.store, self.network, self.reactor, lambda: 0.0)
        section.report.raiseIfAny()
        cluster.start()
        self.reactor.settle()
        return cluster

    def stat(self, name: str) -> int | None:
        """
        A metric of it.
        """
        return value(self.store, f"cluster.c.{name}")


class EndpointTests(ClusterCase):
    """
    Endpoints that are found.
    """

    def test_found(self) -> None:
        """
        They are chosen in turn, and counted; the cluster is warm.
        """
        cluster = self.make(clusterSection("192.0.2.1", "192.0.2.2"))
        self.assertIs(self.successResultOf(cluster.warmed), cluster)
        chosen = [cluster.chooseEndpoint() for _ in range(4)]
        self.assertEqual([e.address.host for e in chosen if e], ["192.0.2.1", "192.0.2.2"] * 2)
        self.assertEqual((self.stat("membership_total"), self.stat("membership_healthy")), (2, 2))
        self.assertEqual((self.stat("membership_change"), self.stat("max_host_weight")), (1, 0))

    def test_kept(self) -> None:
        """
        One that is found again is the same, with its connections; one that is not drains.
        """
        self.network.hosts["a.example"] = ["192.0.2.1", "192.0.2.2"]
        for host in ("192.0.2.1", "192.0.2.2"):
            MemoryBackend(self.network, f"{host}:80")
        cluster = self.make(clusterSection("a.example", kind="STRICT_DNS"))
        before = cluster.endpoints
        for endpoint in before:
            cluster.pool(endpoint).request(Asker())
        self.reactor.settle()
        self.network.hosts["a.example"] = ["192.0.2.2", "192.0.2.3"]
        self.reactor.advance(5)
        self.assertIs(cluster.endpoints[0], before[1])
        self.assertEqual(len(cluster.pool(before[1]).idle), 1)
        self.assertEqual(len(before[0].pools["DEFAULT"].connections), 0)
        self.assertEqual(self.stat("membership_change"), 2)
        self.reactor.advance(5)
        self.assertEqual((self.stat("membership_change"), self.stat("update_no_rebuild")), (2, 1))
        self.assertEqual(self.stat("max_host_weight"), 1)

    def test_outlier(self) -> None:
        """
        Who fails is left out at once, and counted so; an update that names it again does not have it back, its time
        does.
        """
        self.network.hosts["a.example"] = ["192.0.2.1", "192.0.2.2"]
        outliers = {"consecutive_5xx": 2, "max_ejection_percent": 50, "base_ejection_time": "20s"}
        cluster = self.make(clusterSection("a.example", kind="STRICT_DNS", outlier_detection=outliers))
        first, second = cluster.endpoints
        for _ in range(2):
            first.responded(500)
        self.assertEqual((self.stat("membership_healthy"), self.chosen(cluster)), (1, {"192.0.2.2"}))
        self.network.hosts["a.example"] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        self.reactor.advance(5)
        self.assertEqual(cluster.endpoints[:2], (first, second))
        self.assertEqual((self.stat("membership_healthy"), self.chosen(cluster)), (2, {"192.0.2.2", "192.0.2.3"}))
        self.reactor.advance(15)
        self.assertEqual((self.stat("membership_healthy"), len(self.chosen(cluster))), (3, 3))

    def test_outlierGone(self) -> None:
        """
        One that comes back after its discovery forgot it has nothing against it.
        """
        self.network.hosts["a.example"] = ["192.0.2.1", "192.0.2.2"]
        outliers = {"consecutive_5xx": 1, "max_ejection_percent": 50}
        cluster = self.make(clusterSection("a.example", kind="STRICT_DNS", outlier_detection=outliers))
        cluster.endpoints[0].responded(500)
        active = "outlier_detection.ejections_active"
        self.assertEqual((self.stat(active), self.chosen(cluster)), (1, {"192.0.2.2"}))
        for hosts in (["192.0.2.2"], ["192.0.2.1", "192.0.2.2"]):
            self.network.hosts["a.example"] = hosts
            self.reactor.advance(5)
            self.assertEqual((self.stat(active), self.chosen(cluster)), (0, set(hosts)))

    def chosen(self, cluster: Cluster) -> set[str]:
        """
        Who gets requests.
        """
        return {endpoint.address.host for endpoint in (cluster.chooseEndpoint() for _ in range(6)) if endpoint}

    def test_countedUpdates(self) -> None:
        """
        What changes after the first time counts as an update of the cluster.
        """
        self.network.hosts["a.example"] = ["192.0.2.1"]
        cluster = self.make(clusterSection("a.example", kind="STRICT_DNS"))
        cluster.countUpdates = Counter("cluster_manager.cluster_updated")
        self.reactor.advance(5)
        self.assertEqual(cluster.countUpdates.value, 0)
        self.network.hosts["a.example"] = ["192.0.2.2"]
        self.reactor.advance(5)
        self.assertEqual(cluster.countUpdates.value, 1)

    def test_changedPriorities(self) -> None:
        """
        A change counts once for each priority that it touches.
        """
        groups = [
            {"priority": priority, "lb_endpoints": [{"endpoint": {"address": address(f"192.0.2.{number}")}}]}
            for priority, number in ((0, 1), (0, 2), (1, 3))
        ]
        self.make(clusterSection(load_assignment={"cluster_name": "c", "endpoints": groups}))
        self.assertEqual(self.stat("membership_change"), 2)

    def test_none(self) -> None:
        """
        Without endpoints nothing is chosen, and nothing changed.
        """
        cluster = self.make(clusterSection("a.example", kind="STRICT_DNS"))
        self.assertIsNone(cluster.chooseEndpoint())
        self.assertEqual((self.stat("membership_total"), self.stat("membership_change")), (0, 0))

    def test_panic(self) -> None:
        """
        With too few healthy endpoints all are chosen from, which is counted; when they are well again, no more.
        """
        cluster = self.make(clusterSection("192.0.2.1", "192.0.2.2", "192.0.2.3"))
        for endpoint in cluster.endpoints[1:]:
            endpoint.healthy = False
        cluster.refresh()
        self.assertEqual(len({cluster.chooseEndpoint() for _ in range(3)}), 3)
        self.assertEqual(self.stat("lb_healthy_panic"), 3)
        self.assertEqual(self.stat("membership_healthy"), 1)
        cluster.endpoints[1].healthy = True
        cluster.refresh()
        self.assertEqual(len({cluster.chooseEndpoint() for _ in range(4)}), 2)
        self.assertEqual(self.stat("lb_healthy_panic"), 3)

    def test_panicThreshold(self) -> None:
        """
        The threshold is configured.
        """
        section = clusterSection("192.0.2.1", "192.0.2.2", common_lb_config={"healthy_panic_threshold": {"value": 0.0}})
        cluster = self.make(section)
        for endpoint in cluster.endpoints:
            endpoint.healthy = False
        cluster.refresh()
        self.assertIsNone(cluster.chooseEndpoint())


class ConfigurationTests(ClusterCase):
    """
    What is compiled.
    """

    def test_policies(self) -> None:
        """
        Each C{lb_policy} is the balancer of that name.
        """
        for name, kind in (
            ("ROUND_ROBIN", cycle),
            ("LEAST_REQUEST", LeastRequest),
            ("RANDOM", RandomChoice),
        ):
            cluster = self.make(clusterSection("192.0.2.1", lb_policy=name))
            chooses: Any = cluster.chooseEndpoint
            self.assertIsInstance(chooses.__self__, kind)

    def test_names(self) -> None:
        """
        C{alt_stat_name} stands in for the name in stats and logs.
        """
        cluster = self.make(clusterSection("192.0.2.1", alt_stat_name="other:name"))
        self.assertEqual((cluster.name, cluster.statName), ("c", "other:name"))
        self.assertEqual(value(self.store, "cluster.other_name.membership_total"), 1)

    def test_nameWithin(self) -> None:
        """
        One may be called as a part of another's stats is; both are counted there.
        """
        made = [self.make(clusterSection("192.0.2.1", alt_stat_name=name)) for name in ("d", "d.external", "d")]
        for cluster in made:
            cluster.stats.rqTime.record(7)
        self.assertEqual(self.store.histograms["cluster.d.external.upstream_rq_time"].bins, {7: 3})
        self.assertEqual(self.store.histograms["cluster.d.upstream_rq_time"].bins, {7: 2})

    def test_priorities(self) -> None:
        """
        Priorities have pools and breakers of their own.
        """
        cluster = self.make(clusterSection("192.0.2.1"))
        endpoint = cluster.endpoints[0]
        high = cluster.pool(endpoint, "HIGH")
        self.assertIs(cluster.pool(endpoint, "HIGH"), high)
        self.assertIsNot(cluster.pool(endpoint), high)
        self.assertIs(high.breaker, cluster.breakers.high)
        self.assertEqual(len(list(cluster.pools())), 2)


class TimeTests(ClusterCase):
    """
    Connections that end by the clock.
    """

    def served(self, cluster: Cluster) -> None:
        """
        One request.
        """
        asker = Asker()
        cluster.pool(cluster.endpoints[0]).request(asker)
        self.reactor.settle()
        self.assertEqual(asker.told, ["ready", 200, "end"])

    def test_idle(self) -> None:
        """
        C{idle_timeout} of any of a cluster's connections.
        """
        backend = MemoryBackend(self.network, "192.0.2.1:80")
        cluster = self.make(clusterSection("192.0.2.1", common_http_protocol_options={"idle_timeout": "10s"}))
        self.served(cluster)
        self.reactor.advance(11)
        self.assertTrue(backend.connections[0].closed)
        self.assertEqual(self.stat("upstream_cx_idle_timeout"), 1)

    def test_old(self) -> None:
        """
        C{max_connection_duration}: an idle one closes when it is too old.
        """
        backend = MemoryBackend(self.network, "192.0.2.1:80")
        cluster = self.make(
            clusterSection("192.0.2.1", common_http_protocol_options={"max_connection_duration": "10s"})
        )
        self.served(cluster)
        self.reactor.advance(8)
        self.served(cluster)
        self.assertEqual(len(backend.connections), 1)
        self.reactor.advance(3)
        self.assertTrue(backend.connections[0].closed)
        self.assertEqual(self.stat("upstream_cx_max_duration_reached"), 1)


class DrainTests(ClusterCase):
    """
    The end.
    """

    def test_drain(self) -> None:
        """
        Idle connections close, looking for endpoints stops, and the metrics are given up.
        """
        self.network.hosts["a.example"] = ["192.0.2.1"]
        backend = MemoryBackend(self.network, "192.0.2.1:80")
        cluster = self.make(clusterSection("a.example", kind="STRICT_DNS"))
        cluster.pool(cluster.endpoints[0]).request(Asker())
        self.reactor.settle()
        cluster.drain()
        self.reactor.settle()
        self.assertTrue(backend.connections[0].closed)
        self.assertIsNone(self.stat("membership_total"))
        self.network.hosts["a.example"] = []
        self.reactor.advance(100)
        self.assertEqual(len(cluster.endpoints), 1)

    def test_late(self) -> None:
        """
        A request that still has the cluster gets a connection, which is not kept.
        """
        backend = MemoryBackend(self.network, "192.0.2.1:80")
        cluster = self.make(clusterSection("192.0.2.1"))
        cluster.drain()
        asker = Asker()
        cluster.pool(cluster.endpoints[0]).request(asker)
        self.reactor.settle()
        self.assertEqual(asker.told, ["ready", 200, "end"])
        self.assertTrue(backend.connections[0].closed)

    def test_beforeItWasWarm(self) -> None:
        """
        One that ends before it found anything keeps nobody waiting.
        """
        cluster = Cluster(
            clusterSection("a.example", kind="STRICT_DNS"), self.store, self.network, self.reactor, lambda: 0.0
        )
        cluster.drain()
        self.assertIs(self.successResultOf(cluster.warmed), cluster)
