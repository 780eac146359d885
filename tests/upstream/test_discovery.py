"""
L{meshproxy.upstream.discovery}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.discovery import compileDiscovery
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.stats import ClusterStats
from tests.upstream.support import clusterSection, value


class Names:
    """
    A network that only resolves; each look-up waits for the test.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.waiting: dict[str, Deferred[list[str]]] = {}

    def resolve(self, host: str, family: str = "AUTO") -> Deferred[list[str]]:
        """
        See L{meshproxy.interfaces.INetwork.resolve}.
        """
        self.asked.append((host, family))
        self.waiting[host] = Deferred()
        return self.waiting[host]

    def answer(self, **hosts: list[str]) -> None:
        """
        Answer look-ups; dots are underscores.
        """
        for host, addresses in hosts.items():
            self.waiting.pop(host.replace("_", ".")).callback(addresses)


class DiscoveryCase(SynchronousTestCase):
    """
    A discovery and what it finds.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names()
        self.store = Store()
        self.found: list[list[Endpoint]] = []

    def make(self, section: Section) -> Any:
        """
        Compile one.
        """
        network: Any = self.names
        return compileDiscovery(section, network, self.clock, ClusterStats(self.store.scope("cluster.c.")))

    def begin(self, section: Section) -> Any:
        """
        Compile one without faults and begin.
        """
        discovery = self.make(section)
        section.report.raiseIfAny()
        discovery.start(self.found.append)
        return discovery

    def last(self) -> list[str]:
        """
        The addresses that were found last.
        """
        return [endpoint.address.text for endpoint in self.found[-1]]

    def stat(self, name: str) -> int | None:
        """
        A metric of the cluster.
        """
        return value(self.store, f"cluster.c.{name}")


class StaticTests(DiscoveryCase):
    """
    C{STATIC}.
    """

    def test_found(self) -> None:
        """
        All at once, in order.
        """
        self.begin(clusterSection("192.0.2.1", "2001:db8::1")).stop()
        self.assertEqual(self.last(), ["192.0.2.1:80", "[2001:db8::1]:80"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fields(self) -> None:
        """
        What is configured for an endpoint and its locality.
        """
        item = {
            "endpoint": {"address": {"pipe": {"path": "/run/s"}}, "hostname": "h"},
            "load_balancing_weight": 7,
            "health_status": "DRAINING",
            "metadata": {
                "filter_metadata": {
                    "envoy.lb": {"text": "t", "list": [1, True, None], "nested": {"a": {"b": "c"}}},
                }
            },
        }
        group = {"locality": {"region": "r", "zone": "z", "sub_zone": "s"}, "priority": 2, "lb_endpoints": [item]}
        section = clusterSection(load_assignment={"cluster_name": "c", "endpoints": [group]})
        self.begin(section)
        [endpoint] = self.found[0]
        self.assertEqual(endpoint.address.text, "/run/s")
        self.assertEqual((endpoint.hostname, endpoint.weight, endpoint.priority), ("h", 7, 2))
        self.assertFalse(endpoint.healthy)
        locality = endpoint.locality
        self.assertEqual((locality.region, locality.zone, locality.subZone), ("r", "z", "s"))
        self.assertEqual(
            endpoint.metadata,
            {"envoy.lb": {"text": "t", "list": [1.0, True, None], "nested": {"a": {"b": "c"}}}},
        )

    def test_refusals(self) -> None:
        """
        A name needs C{STRICT_DNS}, an endpoint an address, and a cluster endpoints; each is told at its place.
        """
        section = clusterSection("192.0.2.1", "example.com")
        self.make(section)
        [error] = section.report.errors
        self.assertIn("endpoints[0].lb_endpoints[1].endpoint.address.socket_address.address", error.path)
        self.assertIn("STRICT_DNS", error.why)
        section = Section.of("envoy.config.cluster.v3.Cluster", {"name": "c", "type": "STATIC"})
        self.make(section)
        self.assertIn("needs a load_assignment", section.report.errors[0].why)
        section = clusterSection(load_assignment={"cluster_name": "c", "endpoints": [{"lb_endpoints": [{}]}]})
        self.make(section)
        self.assertIn("needs an address", section.report.errors[0].why)


class StrictDNSTests(DiscoveryCase):
    """
    C{STRICT_DNS}.
    """

    def cluster(self, *hosts: str, **fields: Any) -> Section:
        """
        Such a cluster.
        """
        return clusterSection(*hosts, kind="STRICT_DNS", **fields)

    def test_allAddresses(self) -> None:
        """
        Each address of each name, when all names were looked up; an IP address is its own.
        """
        self.begin(self.cluster("a.example", "b.example", "192.0.2.9", dns_lookup_family="V4_ONLY"))
        self.assertEqual(self.names.asked, [("a.example", "V4_ONLY"), ("b.example", "V4_ONLY")])
        self.names.answer(a_example=["192.0.2.1", "192.0.2.2"])
        self.assertEqual(self.found, [])
        self.names.answer(b_example=["192.0.2.3"])
        self.assertEqual(self.last(), [f"192.0.2.{number}:80" for number in (1, 2, 3, 9)])
        self.assertEqual([e.hostname for e in self.found[0]], ["a.example", "a.example", "b.example", ""])
        self.assertEqual((self.stat("update_attempt"), self.stat("update_success")), (1, 1))

    def test_refresh(self) -> None:
        """
        Names are looked up again at the configured pace, counted from the answer.
        """
        self.begin(self.cluster("a.example", dns_refresh_rate="7s"))
        self.clock.advance(3)
        self.names.answer(a_example=["192.0.2.1"])
        self.clock.advance(6.9)
        self.assertEqual(len(self.names.asked), 1)
        self.clock.advance(0.1)
        self.names.answer(a_example=["192.0.2.2"])
        self.assertEqual(self.last(), ["192.0.2.2:80"])
        self.assertEqual(len(self.found), 2)

    def test_failure(self) -> None:
        """
        A look-up that fails keeps the addresses of that name, is told in the log, and is tried again sooner.
        """
        rates = {"dns_refresh_rate": "60s", "dns_failure_refresh_rate": {"base_interval": "2s", "max_interval": "9s"}}
        self.begin(self.cluster("a.example", "b.example", **rates))
        self.names.answer(a_example=["192.0.2.1"], b_example=["192.0.2.2"])
        self.clock.advance(60)
        self.names.waiting.pop("a.example").errback(DNSLookupError("no server"))
        self.names.answer(b_example=["192.0.2.3"])
        self.assertEqual(self.last(), ["192.0.2.1:80", "192.0.2.3:80"])
        self.assertEqual(self.stat("update_failure"), 1)
        self.clock.advance(2)
        self.assertEqual(len(self.names.asked), 6)

    def test_empty(self) -> None:
        """
        So does one that finds nothing.
        """
        self.begin(self.cluster("a.example"))
        self.names.answer(a_example=["192.0.2.1"])
        self.clock.advance(5)
        self.names.answer(a_example=[])
        self.assertEqual(self.last(), ["192.0.2.1:80"])
        self.assertEqual(self.stat("update_empty"), 1)

    def test_firstFails(self) -> None:
        """
        A cluster whose names cannot be looked up begins to serve, without endpoints, and finds them later.
        """
        self.begin(self.cluster("a.example"))
        self.names.waiting.pop("a.example").errback(DNSLookupError("no server"))
        self.assertEqual(self.found, [[]])
        self.clock.advance(5)
        self.names.answer(a_example=["192.0.2.1"])
        self.assertEqual(self.last(), ["192.0.2.1:80"])

    def test_once(self) -> None:
        """
        A name that stands twice is looked up once, and its address is one endpoint.
        """
        self.begin(self.cluster("a.example", "a.example"))
        self.assertEqual(len(self.names.asked), 1)
        self.names.answer(a_example=["192.0.2.1"])
        self.assertEqual(self.last(), ["192.0.2.1:80"])

    def test_stop(self) -> None:
        """
        After the end nothing is looked up, and an answer that comes late is not told.
        """
        discovery = self.begin(self.cluster("a.example"))
        self.names.answer(a_example=["192.0.2.1"])
        discovery.stop()
        discovery.stop()
        self.clock.advance(100)
        self.assertEqual(len(self.names.asked), 1)
        discovery = self.begin(self.cluster("a.example"))
        discovery.stop()
        self.names.answer(a_example=["192.0.2.1"])
        self.assertEqual(len(self.found), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
