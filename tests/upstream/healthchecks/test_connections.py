"""
TCP connections to endpoints that become ill.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import MemoryProxy, Peer
from meshproxy.testing.network import parseAddress
from tests.upstream.healthchecks.support import TIMES
from tests.upstream.tcpsupport import BACKEND, tcpBootstrap


class ConnectionTests(SynchronousTestCase):
    """
    C{close_connections_on_host_health_failure}.
    """

    def lost(self, closes: bool) -> tuple[bool, bool]:
        """
        Whether both ends of a connection are gone after its endpoint failed its checks.
        """
        check = {**TIMES, "unhealthy_threshold": 1, "interval": "10s", "tcp_health_check": {}}
        cluster = {"health_checks": [check], "close_connections_on_host_health_failure": closes}
        proxy = MemoryProxy(tcpBootstrap(cluster=cluster))
        self.addCleanup(proxy.stop)
        peers: list[Peer] = []

        def build(address: object) -> Peer:
            peers.append(Peer())
            return peers[-1]

        listening = proxy.network.listen(parseAddress(BACKEND), build)
        # The first check found nobody there.
        proxy.advance(21.0)
        client = Peer()
        proxy.connect(client)
        client.write(b"a")
        proxy.settle()
        [upstream] = [peer for peer in peers if peer.received]
        listening.stopListening()
        proxy.advance(21.0)
        found = (client.closed, upstream.closed)
        client.close()
        proxy.settle()
        self.assertEqual(proxy.server.clusters.byName["backend"].lasting, {} if closes else None)
        return found

    def test_goOn(self) -> None:
        """
        They go on, unless they are not to.
        """
        self.assertEqual(self.lost(False), (False, False))

    def test_close(self) -> None:
        """
        Both ends are gone where they are to end.
        """
        self.assertEqual(self.lost(True), (True, True))
