"""
L{meshproxy.upstream.healthchecks.checker}, and what a cluster makes of what it finds out.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config import Section
from meshproxy.runtime import Value
from meshproxy.testing import Answer
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.cluster import Cluster
from tests.upstream.healthchecks.support import TIMES, CheckedCase, httpCheck
from tests.upstream.support import Asker, clusterSection, value


class WarmingTests(CheckedCase):
    """
    A cluster begins when each endpoint was checked once.
    """

    def test_waits(self) -> None:
        """
        It is not warm before that, whatever the checks find out.
        """
        self.backend("192.0.2.1")
        slow = self.backend("192.0.2.2")
        slow.answer(Answer(503, delay=0.5))
        cluster = self.make(httpCheck(), "192.0.2.1", "192.0.2.2")
        self.assertNoResult(cluster.warmed)
        self.assertEqual([self.flags(e) for e in cluster.endpoints], ["healthy", "/failed_active_hc"])
        self.reactor.advance(0.5)
        self.assertIs(self.successResultOf(cluster.warmed), cluster)
        self.assertEqual({cluster.chooseEndpoint() for _ in range(3)}, {cluster.endpoints[0]})
        self.assertEqual(self.member("healthy"), 1)

    def member(self, name: str) -> int | None:
        """
        A C{membership_} figure.
        """
        return value(self.store, f"cluster.c.membership_{name}")

    def test_late(self) -> None:
        """
        A check that never ends does, and the cluster is warm.
        """
        self.backend().default = Answer.hang()
        cluster = self.make(httpCheck())
        self.reactor.advance(0.9)
        self.assertNoResult(cluster.warmed)
        self.reactor.advance(0.1)
        self.successResultOf(cluster.warmed)

    def test_nothing(self) -> None:
        """
        Nobody waits where nothing is checked, or when the cluster is gone.
        """
        off = {"endpoint": {"address": {"socket_address": {"address": "192.0.2.1", "port_value": 80}}}}
        off["endpoint"]["health_check_config"] = {"disable_active_health_check": True}  # type: ignore[dict-item]
        assignment = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [off]}]}
        cluster = self.begin(clusterSection(health_checks=[httpCheck()], load_assignment=assignment))
        self.successResultOf(cluster.warmed)
        self.assertEqual((self.flags(cluster.endpoints[0]), self.stats("attempt", "healthy")), ("healthy", (0, 0)))
        gone = self.make(httpCheck(), settles=False)
        gone.drain()
        self.successResultOf(gone.warmed)

    def test_logical(self) -> None:
        """
        The endpoint of a name is healthy until it fails, as in Envoy; its checks follow the address.
        """
        self.network.hosts["a.example"] = ["192.0.2.1"]
        cluster = self.make(httpCheck(), "a.example", kind="LOGICAL_DNS")
        [endpoint] = cluster.endpoints
        self.assertEqual((self.flags(endpoint), self.stats("healthy")), ("healthy", (1,)))
        self.network.hosts["a.example"] = ["192.0.2.2"]
        self.reactor.advance(10.0)
        self.assertEqual((self.flags(endpoint), self.stats("healthy")), ("/failed_active_hc", (0,)))
        self.backend("192.0.2.2")
        for _ in range(2):
            self.reactor.advance(10.0)
        self.assertEqual(self.flags(endpoint), "healthy")


class CheckerTests(CheckedCase):
    """
    What follows from checks.
    """

    def test_changes(self) -> None:
        """
        An endpoint that becomes ill is not chosen, its idle connections end, and one that is well again is chosen.
        """
        backend = self.backend()
        self.backend("192.0.2.2")
        cluster = self.make(httpCheck(), "192.0.2.1", "192.0.2.2")
        first, second = cluster.endpoints
        for endpoint in cluster.endpoints:
            cluster.pool(endpoint).request(Asker())
        self.reactor.settle()
        backend.default = Answer(503)
        self.reactor.advance(10.0)
        self.assertEqual({cluster.chooseEndpoint() for _ in range(4)}, {second})
        self.assertEqual(backend.connections[1].closed, True)
        self.assertEqual((first.pools, len(second.pools)), ({}, 1))
        backend.default = Answer()
        for _ in range(2):
            self.reactor.advance(10.0)
        self.assertEqual({cluster.chooseEndpoint() for _ in range(4)}, {first, second})

    def test_underWay(self) -> None:
        """
        What is under way when an endpoint becomes ill ends in peace, with its connection.
        """
        backend = self.backend()
        cluster = self.make(httpCheck())
        asker = Asker()
        backend.answer(Answer(body=[b"a", b"b"], delay=10.0))
        cluster.pool(cluster.endpoints[0]).request(asker)
        self.reactor.settle()
        backend.answer(Answer(503))
        self.reactor.advance(10.0)
        self.assertEqual(self.flags(cluster.endpoints[0]), "/failed_active_hc")
        self.assertFalse(backend.connections[1].closed)
        self.reactor.advance(30.0)
        self.assertEqual((asker.told[-1], asker.body), ("end", b"ab"))
        self.assertTrue(backend.connections[1].closed)
        self.assertEqual((cluster.stats.cxActive.value, cluster.stats.rqActive.value), (0, 0))

    def test_traffic(self) -> None:
        """
        The pace is that of the interval as soon as somebody uses the cluster.
        """
        self.backend()
        cluster = self.make(httpCheck({"interval": "2s", "no_traffic_interval": "20s"}))
        self.reactor.advance(19.0)
        self.assertEqual(self.stats("attempt"), (1,))
        cluster.pool(cluster.endpoints[0]).request(Asker())
        self.reactor.advance(1.0)
        self.assertEqual(self.stats("attempt"), (2,))
        self.reactor.advance(2.0)
        self.assertEqual(self.stats("attempt"), (3,))

    def test_elsewhere(self) -> None:
        """
        An endpoint may be checked elsewhere, and by another name.
        """
        backend = self.backend("192.0.2.9", 90)
        at: dict[str, Any] = {"address": {"socket_address": {"address": "192.0.2.1", "port_value": 80}}}
        at["health_check_config"] = {
            "port_value": 90,
            "hostname": "h.example",
            "address": {"socket_address": {"address": "192.0.2.9", "port_value": 1}},
        }
        assignment = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": at}]}]}
        cluster = self.begin(clusterSection(health_checks=[httpCheck()], load_assignment=assignment))
        self.assertEqual(self.flags(cluster.endpoints[0]), "healthy")
        self.assertEqual(backend.last.headers.get(b"host"), b"h.example")

    def test_passive(self) -> None:
        """
        A response may say that its endpoint wants no more: it is ill, and is not counted.
        """
        backend = self.backend()
        cluster = self.make(httpCheck(), "192.0.2.1")
        backend.answer(Answer(body=b"a", headers=[(b"x-envoy-immediate-health-check-fail", b"true")]))
        cluster.pool(cluster.endpoints[0]).request(Asker())
        self.reactor.settle()
        self.assertEqual(self.flags(cluster.endpoints[0]), "/failed_active_hc/excluded_via_immediate_hc_fail")
        self.assertEqual(value(self.store, "cluster.c.membership_excluded"), 1)

    def test_runtime(self) -> None:
        """
        The runtime bounds the pace.
        """
        self.backend()
        self.runtime.values["health_check.max_interval"] = Value("1000", 1000.0, 1000)
        self.make(httpCheck())
        self.reactor.advance(3.0)
        self.assertEqual(self.stats("attempt"), (4,))

    def test_refused(self) -> None:
        """
        One check, of a kind that there is, of endpoints that stay.
        """
        section = clusterSection("192.0.2.1", health_checks=[httpCheck(), httpCheck()])
        with section.report.despite():
            Cluster(section, self.store, self.network, self.reactor, lambda: 0.0)
        self.assertIn("Multiple health checks not supported", str(section.report.errors[0]))
        refused = self.refused(httpCheck(), type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", load_assignment=None)
        self.assertIn("come and go", refused)

    def test_drain(self) -> None:
        """
        A cluster that is gone checks no more, and leaves no connection and nothing to wait for.
        """
        backend = self.backend()
        cluster = self.make(httpCheck())
        cluster.drain()
        self.reactor.advance(100.0)
        self.assertEqual((len(backend.requests), backend.connections[0].closed), (1, True))
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class MembershipTests(CheckedCase):
    """
    Endpoints that come and go.
    """

    def setUp(self) -> None:
        super().setUp()
        self.network.hosts["a.example"] = ["192.0.2.1"]
        self.first = self.backend("192.0.2.1")
        self.second = self.backend("192.0.2.2")

    def resolve(self, *hosts: str) -> None:
        """
        Another answer of the name servers, which is looked up.
        """
        self.network.hosts["a.example"] = list(hosts)
        self.reactor.advance(5.0)

    def named(self, **fields: Any) -> Cluster:
        """
        A cluster of names.
        """
        return self.make(httpCheck(), "a.example", kind="STRICT_DNS", **fields)

    def all(self, cluster: Cluster) -> dict[str, str]:
        """
        The flags of all endpoints.
        """
        return {endpoint.address.host: self.flags(endpoint) for endpoint in cluster.endpoints}

    def test_new(self) -> None:
        """
        A new one is ill until it was checked, and may be left out of the count until then.
        """
        self.second.default = Answer.hang()
        cluster = self.named(common_lb_config={"ignore_new_hosts_until_first_hc": True})
        self.resolve("192.0.2.1", "192.0.2.2")
        pending = "/failed_active_hc/pending_active_hc"
        self.assertEqual(self.all(cluster), {"192.0.2.1": "healthy", "192.0.2.2": pending})
        self.assertEqual(value(self.store, "cluster.c.membership_excluded"), 1)
        self.reactor.advance(1.0)
        self.assertEqual(self.all(cluster)["192.0.2.2"], "/failed_active_hc/active_hc_timeout")
        self.assertEqual(value(self.store, "cluster.c.membership_excluded"), 0)

    def test_stays(self) -> None:
        """
        One that is named no more stays while it is well, and goes with its first failure.
        """
        cluster = self.named()
        self.resolve("192.0.2.2")
        self.assertEqual(self.all(cluster), {"192.0.2.2": "healthy", "192.0.2.1": "/pending_dynamic_removal"})
        self.resolve("192.0.2.2", "192.0.2.1")
        self.assertEqual(set(self.all(cluster).values()), {"healthy"})
        self.resolve("192.0.2.2")
        self.first.default = Answer(503)
        self.reactor.advance(10.0)
        self.assertEqual(self.all(cluster), {"192.0.2.2": "healthy"})
        self.assertEqual(value(self.store, "cluster.c.membership_total"), 1)
        seen = len(self.first.requests)
        self.reactor.advance(50.0)
        self.assertEqual(len(self.first.requests), seen)
        self.assertEqual(self.stats("healthy"), (1,))

    def test_illGoes(self) -> None:
        """
        One that is ill goes at once, as does any where that is asked for.
        """
        self.first.default = Answer(503)
        cluster = self.named()
        self.resolve("192.0.2.2")
        self.assertEqual(list(self.all(cluster)), ["192.0.2.2"])

    def test_ignored(self) -> None:
        """
        Health may be ignored when an endpoint goes.
        """
        cluster = self.named(ignore_health_on_host_removal=True)
        self.resolve("192.0.2.2")
        self.assertEqual(list(self.all(cluster)), ["192.0.2.2"])
        self.assertTrue(self.first.connections[0].closed)

    def test_setChange(self) -> None:
        """
        Those that stay may have to begin with new connections when others come.
        """
        for closes in (False, True):
            self.network.hosts["a.example"] = ["192.0.2.1"]
            cluster = self.named(common_lb_config={"close_connections_on_host_set_change": closes})
            cluster.pool(cluster.endpoints[0]).request(Asker())
            self.reactor.settle()
            used = self.first.connections[-1]
            self.resolve("192.0.2.1", "192.0.2.2")
            self.assertEqual(used.closed, closes)
            cluster.drain()
            self.reactor.settle()

    def test_other(self) -> None:
        """
        One that is to be checked otherwise begins anew.
        """
        assignments = Assignments(self.reactor)
        section = clusterSection(
            kind="EDS",
            health_checks=[{**TIMES, "tcp_health_check": {}}],
            load_assignment=None,
            eds_cluster_config={"eds_config": {"ads": {}}},
        )
        assignments.hasSource = True
        cluster = Cluster(section, self.store, self.network, self.reactor, lambda: 0.0, assignments=assignments)
        section.report.raiseIfAny()
        cluster.start()

        def tell(**config: Any) -> None:
            at: dict[str, Any] = {"address": {"socket_address": {"address": "192.0.2.1", "port_value": 80}}}
            at["health_check_config"] = config
            value = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": at}]}]}
            assignments.receive("c", Section.of("envoy.config.endpoint.v3.ClusterLoadAssignment", value))
            self.reactor.settle()

        tell()
        self.assertEqual(self.all(cluster), {"192.0.2.1": "healthy"})
        tell(port_value=81)
        self.assertEqual((self.all(cluster), self.stats("healthy")), ({"192.0.2.1": "/failed_active_hc"}, (0,)))
        tell(disable_active_health_check=True)
        self.assertEqual((self.all(cluster), self.stats("healthy")), ({"192.0.2.1": "healthy"}, (0,)))
        tell()
        self.assertEqual((self.all(cluster), self.stats("healthy")), ({"192.0.2.1": "healthy"}, (1,)))
