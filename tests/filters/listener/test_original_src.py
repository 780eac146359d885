"""
L{meshproxy.filters.listener.original_src}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.net.dial import SocketOptions
from meshproxy.testing import MemoryNetwork, httpBootstrap
from tests.filters.http.support import pageExample
from tests.http.support import ProxyCase


class OriginalSrcTests(ProxyCase):
    """
    The filter: whoever asks, connections to upstreams come from there.
    """

    def setUp(self) -> None:
        self.sources: list[str] = []
        connect = MemoryNetwork.connect

        def noting(network: MemoryNetwork, *args: Any) -> Any:
            options = args[-1]
            assert isinstance(options, SocketOptions)
            self.sources.append("-" if options.source is None else options.source.address.text)
            return connect(network, *args)

        self.patch(MemoryNetwork, "connect", noting)

    def ask(self, source: str, requests: int = 1) -> None:
        """
        Send requests on one connection.
        """
        client = self.proxy.client(source=source)
        for _ in range(requests):
            self.assertEqual(client.request("GET", "/").status, 200)
        client.close()
        self.proxy.settle()

    def test_http(self) -> None:
        """
        Each client's requests have connections of their own, which they share.
        """
        self.start(listener=pageExample("original_src"))
        for source in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            self.ask(source, 2)
        self.assertEqual(self.sources, ["192.0.2.1:0", "192.0.2.2:0"])

    def test_otherListener(self) -> None:
        """
        Whoever comes by another listener has the connections of all; the short way is not taken with another's.
        """
        self.start(listener=pageExample("original_src"))
        self.ask("192.0.2.1")
        self.assertTrue(self.proxy.reload(httpBootstrap()))
        self.ask("192.0.2.1")
        self.ask("192.0.2.2")
        self.assertEqual(self.sources, ["192.0.2.1:0", "-"])

    def test_mark(self) -> None:
        """
        The kernel marks the packets, where it is to.
        """
        (filter_,) = pageExample("original_src")["listener_filters"]
        filter_["typed_config"]["mark"] = 7
        self.start(listener={"listener_filters": [filter_]})
        self.ask("192.0.2.1")
        (pool,) = self.proxy.server.clusters.byName["backend"].pools()
        assert pool.settings.socketOptions.source is not None
        self.assertEqual(pool.settings.socketOptions.source.mark, 7)

    def test_connectionOfItsOwn(self) -> None:
        """
        C{connection_pool_per_downstream_connection}: no two downstream connections share one.
        """
        self.start(cluster={"connection_pool_per_downstream_connection": True})
        for _ in range(2):
            self.ask("192.0.2.1", 3)
        self.assertEqual(self.sources, ["-", "-"])
        self.start()
        for _ in range(2):
            self.ask("192.0.2.1", 3)
        self.assertEqual(len(self.sources), 3)
