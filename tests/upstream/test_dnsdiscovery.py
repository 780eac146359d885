"""
L{meshproxy.upstream.dnsdiscovery}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import DNSLookupError

from meshproxy.config import Section
from meshproxy.net.dns import Addresses
from meshproxy.upstream.dnsdiscovery import Lookups
from tests.upstream.dnssupport import DiscoveryCase
from tests.upstream.support import clusterSection


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
        self.assertEqual([e.hostname for e in self.found[0]], ["a.example", "a.example", "b.example", "192.0.2.9"])
        self.assertEqual((self.stat("update_attempt"), self.stat("update_success")), (2, 2))

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
        self.assertEqual(len(self.names.asked), 4)
        self.clock.advance(1)  # half of the interval
        self.assertEqual(self.names.asked[4:], [("a.example", "AUTO")])

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

    def test_gone(self) -> None:
        """
        As in Envoy, one of which the name servers themselves say that there is nothing takes its endpoints along, and
        is asked for at the usual pace.
        """
        self.begin(self.cluster("a.example"))
        self.names.answer(a_example=Addresses(["192.0.2.1"], 60.0))
        self.clock.advance(5)
        self.names.answer(a_example=Addresses())
        self.assertEqual(self.found[-1], [])
        self.assertEqual((self.stat("update_success"), self.stat("update_empty")), (2, 0))
        self.clock.advance(4.9)
        self.assertEqual(len(self.names.asked), 2)
        self.clock.advance(0.2)
        self.assertEqual(len(self.names.asked), 3)

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

    def test_failuresInARow(self) -> None:
        """
        After each further failure it waits within twice as long, up to the most.
        """
        rates = {"dns_refresh_rate": "60s", "dns_failure_refresh_rate": {"base_interval": "2s", "max_interval": "9s"}}
        self.begin(self.cluster("a.example", **rates))
        for pause in (1, 2, 4, 4.5, 4.5):
            asked = len(self.names.asked)
            self.names.waiting.pop("a.example").errback(DNSLookupError("no server"))
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.names.asked), asked)
            self.clock.advance(0.01)
            self.assertEqual(len(self.names.asked), asked + 1)

    def test_names(self) -> None:
        """
        Each name keeps its own pace; what is found of one is told at once.
        """
        self.begin(self.cluster("a.example", "b.example"))
        self.names.answer(a_example=["192.0.2.1"])
        self.clock.advance(1)
        self.names.answer(b_example=["192.0.2.2"])
        self.clock.advance(4)
        self.names.answer(a_example=["192.0.2.3"])
        self.assertEqual(self.last(), ["192.0.2.3:80", "192.0.2.2:80"])


class PaceTests(DiscoveryCase):
    """
    When a name is looked up again.
    """

    def test_ttl(self) -> None:
        """
        When its answer does not hold any more, where that is to be heeded and was said.
        """
        for ttl, pause in ((2.0, 2.0), (0.0, 7.0), (None, 7.0)):
            self.setUp()
            self.begin(clusterSection("a.example", kind="STRICT_DNS", respect_dns_ttl=True, dns_refresh_rate="7s"))
            self.assertTrue(self.names.neededTTL)
            self.names.answer(a_example=Addresses(["192.0.2.1"], ttl))
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.names.asked), 1, ttl)
            self.clock.advance(0.01)
            self.assertEqual(len(self.names.asked), 2, ttl)

    def test_ttlUnheeded(self) -> None:
        """
        Nobody is asked for it else.
        """
        self.begin(clusterSection("a.example", kind="STRICT_DNS"))
        self.assertFalse(self.names.neededTTL)

    def test_jitter(self) -> None:
        """
        A random part is added.
        """
        lookups = Lookups(5.0, jitter=2.0)
        self.assertEqual([lookups.pause(0, None, lambda: 0.0), lookups.pause(0, None, lambda: 0.5)], [5.0, 6.0])


class LogicalDNSTests(DiscoveryCase):
    """
    C{LOGICAL_DNS}.
    """

    def test_moves(self) -> None:
        """
        One endpoint at the first address; when that changes, it is the same endpoint elsewhere, and nobody is told.
        """
        self.begin(clusterSection("a.example", kind="LOGICAL_DNS"))
        self.names.answer(a_example=["192.0.2.1", "192.0.2.2"])
        self.assertEqual(self.last(), ["192.0.2.1:80"])
        [endpoint] = self.found[0]
        self.assertEqual(endpoint.hostname, "a.example")
        self.clock.advance(5)
        self.names.answer(a_example=["192.0.2.2"])
        self.assertEqual(endpoint.address.text, "192.0.2.2:80")
        self.clock.advance(5)
        self.names.answer(a_example=[])
        self.assertEqual(endpoint.address.text, "192.0.2.2:80")
        self.assertEqual(len(self.found), 1)

    def test_late(self) -> None:
        """
        A name that is found later becomes an endpoint then.
        """
        discovery = self.begin(clusterSection("a.example", kind="LOGICAL_DNS"))
        self.names.waiting.pop("a.example").errback(DNSLookupError("no server"))
        self.assertEqual(self.found, [[]])
        self.clock.advance(5)
        self.names.answer(a_example=["192.0.2.1"])
        self.assertEqual(self.last(), ["192.0.2.1:80"])
        discovery.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_address(self) -> None:
        """
        An IP address is not looked up.
        """
        self.begin(clusterSection("192.0.2.1", kind="LOGICAL_DNS"))
        self.assertEqual((self.last(), self.names.asked), (["192.0.2.1:80"], []))

    def test_one(self) -> None:
        """
        More than one name makes no sense.
        """
        section = clusterSection("a.example", "b.example", kind="LOGICAL_DNS")
        self.make(section)
        self.assertIn("must have a single", section.report.errors[0].why)


class ClusterTypeTests(DiscoveryCase):
    """
    The same by C{cluster_type}.
    """

    def section(self, name: str, **config: Any) -> Section:
        """
        A cluster of such a type.
        """
        custom: dict[str, Any] = {"name": name}
        if config:
            kind = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
            custom["typed_config"] = {"@type": kind, **config}
        section = clusterSection("a.example", kind="STATIC")
        other = Section.of("envoy.config.cluster.v3.Cluster", {"name": "c", "cluster_type": custom})
        other.message.load_assignment.CopyFrom(section.message.load_assignment)
        return other

    def test_kinds(self) -> None:
        """
        By name, or by the configuration of its DNS.
        """
        for name, config, family in (
            ("envoy.cluster.strict_dns", {}, "AUTO"),
            ("envoy.cluster.logical_dns", {}, "AUTO"),
            ("envoy.cluster.dns", {"dns_lookup_family": "V6_ONLY"}, "V6_ONLY"),
            ("x", {"all_addresses_in_single_endpoint": True}, "AUTO"),
        ):
            self.setUp()
            self.begin(self.section(name, **config))
            self.assertEqual(self.names.asked, [("a.example", family)])
            self.names.answer(a_example=["192.0.2.1", "192.0.2.2"])
            isLogical = "logical" in name or "all_addresses_in_single_endpoint" in config
            self.assertEqual(len(self.found[0]), 1 if isLogical else 2)

    def test_unknown(self) -> None:
        """
        Others are refused.
        """
        section = self.section("envoy.clusters.redis")
        self.make(section)
        self.assertEqual(section.report.errors[0].path, "cluster_type.name")
