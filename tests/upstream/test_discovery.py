"""
L{meshproxy.upstream.discovery}.
"""

from __future__ import annotations

from meshproxy.config import Section
from tests.upstream.dnssupport import DiscoveryCase
from tests.upstream.support import clusterSection


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

    def test_nothingAssigned(self) -> None:
        """
        As with Envoy, a cluster may have no endpoints; somebody is told.
        """
        for kind in ("STATIC", "STRICT_DNS"):
            section = Section.of("envoy.config.cluster.v3.Cluster", {"name": "c", "type": kind})
            self.begin(section)
            self.assertEqual((section.report.errors, self.found[-1]), ([], []))
            self.assertIn("has no endpoints", section.report.warnings[0].why)

    def test_refusals(self) -> None:
        """
        A name needs C{STRICT_DNS}, an endpoint an address, and a cluster endpoints; each is told at its place.
        """
        section = clusterSection("192.0.2.1", "example.com")
        self.make(section)
        [error] = section.report.errors
        self.assertIn("endpoints[0].lb_endpoints[1].endpoint.address.socket_address.address", error.path)
        self.assertIn("STRICT_DNS", error.why)
        section = Section.of("envoy.config.cluster.v3.Cluster", {"name": "c", "type": "LOGICAL_DNS"})
        self.make(section)
        self.assertIn("needs a load_assignment", section.report.errors[0].why)
        section = clusterSection(load_assignment={"cluster_name": "c", "endpoints": [{"lb_endpoints": [{}]}]})
        self.make(section)
        self.assertIn("needs an address", section.report.errors[0].why)
