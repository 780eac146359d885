"""
L{meshproxy.upstream.tcpconnection}: what a cluster counts of a TCP connection.
"""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from meshproxy.upstream.tcpconnection import TCPUpstreamConnection
from tests.upstream.tcpsupport import BytesProxy


class TCPUpstreamConnectionTests(SynchronousTestCase):
    """
    The counting, from the attempt to the end.
    """

    def test_interfaces(self) -> None:
        """
        It is a protocol that knows of half-closed connections.
        """
        verifyClass(IProtocol, TCPUpstreamConnection)
        verifyClass(IHalfCloseableProtocol, TCPUpstreamConnection)

    def test_whileConnected(self) -> None:
        """
        A connection is an active connection and an active request, of the cluster, of its breakers and of the endpoint.
        """
        proxy = BytesProxy(cluster={"circuit_breakers": {"thresholds": [{"track_remaining": True}]}})
        proxy.pair()
        self.assertEqual(
            proxy.stats("cluster.backend.upstream_"),
            {"cx_active": 1, "cx_connect_ms": 1, "cx_total": 1, "rq_active": 1, "rq_pending_total": 1, "rq_total": 1},
        )
        breakers = proxy.stats("cluster.backend.circuit_breakers.default.")
        self.assertEqual((breakers["remaining_cx"], breakers["remaining_rq"]), (1023, 1023))
        self.assertEqual(breakers["remaining_pending"], 1024)
        endpoint = proxy.proxy.server.clusters.byName["backend"].endpoints[0]
        self.assertEqual((endpoint.active, endpoint.cxActive.value, endpoint.rqTotal.value), (1, 1, 1))

    def test_afterwards(self) -> None:
        """
        At its end everything is given back, and its length is known.
        """
        proxy = BytesProxy(cluster={"circuit_breakers": {"thresholds": [{"track_remaining": True}]}})
        downstream, upstream = proxy.pair()
        proxy.proxy.advance(3)
        downstream.close()
        upstream.close()
        proxy.settle()
        stats = proxy.stats("cluster.backend.upstream_")
        self.assertFalse({"cx_active", "rq_active", "rq_pending_active"} & set(stats))
        self.assertEqual((stats["cx_destroy"], stats["cx_destroy_with_active_rq"], stats["cx_length_ms"]), (1, 1, 1))
        self.assertEqual(proxy.stats("cluster.backend.circuit_breakers.default.")["remaining_cx"], 1024)
        endpoint = proxy.proxy.server.clusters.byName["backend"].endpoints[0]
        self.assertEqual((endpoint.active, endpoint.cxActive.value, endpoint.cxTotal.value), (0, 0, 1))
