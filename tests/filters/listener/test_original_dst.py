"""
L{meshproxy.filters.listener.original_dst}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.listener import inspection
from meshproxy.net.address import Address
from tests.filters.http.support import pageExample
from tests.http.support import ProxyCase


class OriginalDstTests(ProxyCase):
    """
    The filter, at a listener before an C{ORIGINAL_DST} cluster.
    """

    def ask(self, address: Address | None) -> tuple[int, str]:
        """
        Send a request on a connection that was made to an address.
        """
        self.patch(inspection, "originalDestination", lambda sock: address)
        cluster: dict[str, Any] = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None}
        listener = pageExample("original_dst")
        self.start(cluster=cluster, listener=listener, accessLog="%DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST%")
        return self.proxy.request("GET", "/").status, self.proxy.accessLog[-1]

    def test_told(self) -> None:
        """
        The kernel's address is the local one, and the cluster goes there.
        """
        self.assertEqual(self.ask(Address("127.0.0.1", 9000)), (200, "127.0.0.1:9000 127.0.0.1:9000"))

    def test_notTold(self) -> None:
        """
        Where it knows none, there is nowhere to go.
        """
        status, line = self.ask(None)
        self.assertEqual((status, line.partition(" ")[2]), (503, "-"))
