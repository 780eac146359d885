"""
The routes of a proxy in memory choose their clusters by the host.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import MemoryProxy


class ByTenantTests(SynchronousTestCase):
    """
    L{ByTenant}, in its own bootstrap.
    """

    def test_tenants(self):
        """
        Who has a cluster gets it, whoever has none gets the other.
        """
        proxy = MemoryProxy((Path(__file__).parent / "tenants.yaml").read_text())
        acme, shared = proxy.backend("127.0.0.1:9001"), proxy.backend("127.0.0.1:9000")
        proxy.request(headers=[("host", "acme.example.com")])
        proxy.request(headers=[("host", "example.com")])
        self.assertEqual([request.header("host") for request in acme.requests], ["acme.example.com"])
        self.assertEqual([request.header("host") for request in shared.requests], ["example.com"])
