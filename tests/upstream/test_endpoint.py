"""
L{meshproxy.upstream.endpoint}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.upstream.endpoint import Endpoint


class EndpointTests(SynchronousTestCase):
    """
    One address in a cluster.
    """

    def test_healthy(self) -> None:
        """
        What may be chosen, by C{health_status}.
        """
        address = Address("192.0.2.1", 80)
        healthy = {
            name: Endpoint(address, healthStatus=name).healthy
            for name in ("UNKNOWN", "HEALTHY", "DEGRADED", "UNHEALTHY", "DRAINING", "TIMEOUT")
        }
        self.assertEqual([name for name, is_ in healthy.items() if is_], ["UNKNOWN", "HEALTHY", "DEGRADED"])

    def test_key(self) -> None:
        """
        The same endpoint is one of the same address, name and priority; weight and health may change.
        """
        address = Address("192.0.2.1", 80)
        endpoint = Endpoint(address, "a", weight=1)
        self.assertEqual(endpoint.key, Endpoint(Address("192.0.2.1", 80), "a", 5, "UNHEALTHY").key)
        others = (Endpoint(Address("192.0.2.1", 81), "a"), Endpoint(address, "b"), Endpoint(address, "a", priority=1))
        for other in others:
            self.assertNotEqual(endpoint.key, other.key)

    def test_repr(self) -> None:
        """
        It is known by its address.
        """
        self.assertEqual(repr(Endpoint(Address("192.0.2.1", 80))), "<Endpoint 192.0.2.1:80>")
