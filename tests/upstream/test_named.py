"""
L{meshproxy.upstream.named}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.endpoint import Locality
from meshproxy.upstream.named import NamedEndpoint, isIP


class NamedEndpointTests(SynchronousTestCase):
    """
    An endpoint as it is configured.
    """

    def named(self, host: str, hostname: str = "") -> NamedEndpoint:
        """
        One of weight 3.
        """
        return NamedEndpoint(host, 80, hostname, 3, "DEGRADED", Locality(zone="z"), 2, None, 5)

    def test_at(self) -> None:
        """
        At one of its addresses it has all that was configured, and the name that it was found by.
        """
        found = self.named("a.example").at("192.0.2.1")
        self.assertEqual((found.address.text, found.hostname, found.weight), ("192.0.2.1:80", "a.example", 3))
        self.assertEqual((found.healthStatus, found.priority, found.localityWeight), ("DEGRADED", 2, 5))
        self.assertEqual(self.named("a.example", "own").at("192.0.2.1").hostname, "own")
        self.assertEqual(self.named("192.0.2.1").at("192.0.2.1").hostname, "")
        self.assertEqual(self.named("192.0.2.1").at("192.0.2.1", isNamed=True).hostname, "192.0.2.1")

    def test_isIP(self) -> None:
        """
        Addresses and names.
        """
        hosts = ("192.0.2.1", "2001:db8::1", "a.example", "", "192.0.2")
        self.assertEqual([isIP(host) for host in hosts], [True, True, False, False, False])
