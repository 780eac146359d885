"""
L{meshproxy.filters.network.sni_cluster}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.listenerfilter import ListenerFilter
from tests.filters.network.support import TCP, BytesBackend, FilterProxy


class Named(ListenerFilter):
    """
    Stands for what finds the server name out: the first bytes are it.
    """

    maxBytes = 10

    def inspect(self, connection: Any, data: bytes) -> object:
        """
        Take it.
        """
        connection.facts.serverName = data.decode().strip()
        return None


class SNIClusterTests(SynchronousTestCase):
    """
    The server name names the cluster.
    """

    def setUp(self) -> None:
        self.proxy = FilterProxy(
            ("sni_cluster", {}), ("tcp_proxy", TCP), before=[("named", {})], custom={"named": Named}
        )
        self.other = BytesBackend(self.proxy.proxy, 9001)

    def test_named(self) -> None:
        """
        The cluster of that name is used, not the configured one.
        """
        self.proxy.talk(b"other")
        self.assertEqual((self.other.received, self.proxy.backend.received), ([b"other"], []))

    def test_unknown(self) -> None:
        """
        A name that is no cluster closes the connection; it falls back to none.
        """
        self.assertTrue(self.proxy.talk(b"nobody").closed)
        self.assertEqual(self.proxy.stat("tcp.t.downstream_cx_no_route"), 1)

    def test_nameless(self) -> None:
        """
        Without a name the configured cluster is used.
        """
        self.proxy.talk(b" ")
        self.assertEqual(self.proxy.backend.received, [b" "])
