"""
C{envoy.filters.network.http_connection_manager}: how it takes its place in a filter chain. What it does with streams is
tested in C{tests.http}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.network.http_connection_manager import HTTPConnectionManager
from meshproxy.http.downstream import HTTP1Connection
from meshproxy.testing import Answer, MemoryProxy
from tests.integration.configs import bootstrap, cluster, direct, forward, listener

PORT = 10000


class FilterTests(SynchronousTestCase):
    """
    One filter, and its successor.
    """

    def setUp(self) -> None:
        self.proxy = MemoryProxy(bootstrap(listener("l", PORT, direct("1"), logs=True)))
        self.filter = self.current()

    def current(self) -> Any:
        """
        The filter that serves now.
        """
        [chain] = self.proxy.server.listeners.byName["l"].chains
        return chain.terminal

    def change(self, *resources: dict[str, Any]) -> None:
        """
        Put another one in its place.
        """
        self.assertTrue(self.proxy.reload(bootstrap(*resources)))

    def test_protocol(self) -> None:
        """
        It builds HTTP/1 connections, which are in its slot while they are open.
        """
        self.assertIsInstance(self.filter, HTTPConnectionManager)
        client = self.proxy.client()
        client.request()
        [connection] = self.filter.slot.connections
        self.assertIsInstance(connection, HTTP1Connection)
        client.close()
        self.proxy.advance(2)
        self.assertEqual(self.filter.slot.connections, set())

    def test_succeed(self) -> None:
        """
        A successor takes over the slot with all its connections.
        """
        client = self.proxy.client()
        client.request()
        slot, manager = self.filter.slot, self.filter.slot.current
        self.change(listener("l", PORT, direct("2")))
        self.assertIs(self.current().slot, slot)
        self.assertIsNot(slot.current, manager)
        self.assertEqual(client.request().body, b"2")

    def test_stopIsTheLastOnes(self) -> None:
        """
        Stopping one that has a successor touches nothing of the successor's.
        """
        self.change(listener("l", PORT, direct("2"), logs=True))
        self.filter.stop()
        self.proxy.request()
        self.assertEqual(self.proxy.stat("http.l.downstream_rq_total"), 1)
        self.assertEqual(len(self.proxy.accessLog), 1)

    def test_metrics(self) -> None:
        """
        A manager's metrics go with its last stream.
        """
        backend = self.proxy.backend("127.0.0.1:80", Answer(body=b"slow", delay=5))
        self.change(listener("l", PORT, forward("c"), stat_prefix="old"), cluster("c", 80))
        client = self.proxy.client()
        client.send()
        self.proxy.advance(1)
        self.change(listener("l", PORT, direct("3"), stat_prefix="new"))
        self.assertEqual(self.proxy.stat("http.old.downstream_rq_active"), 1)
        self.proxy.advance(5)
        self.assertEqual(client.response().body, b"slow")
        self.assertEqual(len(backend.requests), 1)
        self.assertEqual(self.proxy.stats("http.old."), {})
        self.assertIn("http.new.downstream_rq_total", self.proxy.stats("http.new."))

    def test_drain(self) -> None:
        """
        Draining closes idle connections.
        """
        client = self.proxy.client()
        client.request()
        self.filter.drain()
        self.proxy.settle()
        self.assertTrue(client.closed)

    def test_closeGently(self) -> None:
        """
        Closing gently lets responses say so, until it is taken back.
        """
        self.filter.closeGently(True)
        self.assertEqual(self.proxy.request().header("connection"), "close")
        self.filter.closeGently(False)
        self.assertIsNone(self.proxy.request().header("connection"))
