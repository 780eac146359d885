"""
L{meshproxy.filters.network.http_connection_manager}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.network.http_connection_manager import HTTPConnectionManager
from meshproxy.testing import MemoryProxy, httpBootstrap


def answering(body: str) -> str:
    """
    A bootstrap whose one route answers with a body.
    """
    return httpBootstrap(
        routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}}]
    )


class HTTPConnectionManagerTests(SynchronousTestCase):
    """
    The filter between a listener and the streams of its connections.
    """

    def setUp(self) -> None:
        self.proxy = MemoryProxy(answering("old"))
        self.addCleanup(self.proxy.stop)

    def terminal(self) -> Any:
        """
        The filter of the one filter chain.
        """
        (listener,) = self.proxy.server.listeners
        return listener.chains[0].terminal

    def test_serves(self) -> None:
        """
        Bytes of a connection are requests.
        """
        self.assertIsInstance(self.terminal(), HTTPConnectionManager)
        self.assertEqual(self.proxy.request().body, b"old")

    def test_succeed(self) -> None:
        """
        After a reload, the next stream of a live connection has the new routes, and the old manager's files are given up
        once.
        """
        client = self.proxy.client()
        self.assertEqual(client.request().body, b"old")
        before = self.terminal().slot
        self.assertTrue(self.proxy.reload(answering("new")))
        self.assertIs(self.terminal().slot, before)
        self.assertEqual(client.request().body, b"new")
        self.assertFalse(client.closed)

    def test_rejectedReload(self) -> None:
        """
        A configuration with a fault leaves the connection and its routes as they are.
        """
        client = self.proxy.client()
        manager = self.terminal().slot.current
        self.assertFalse(self.proxy.reload(answering("new").replace("direct_response", "direct_respons")))
        self.assertIs(self.terminal().slot.current, manager)
        self.assertEqual(client.request().body, b"old")

    def test_closeGently(self) -> None:
        """
        While connections are to close gently, the next response is the last.
        """
        client = self.proxy.client()
        self.terminal().closeGently(True)
        self.assertEqual(client.request().header("connection"), "close")
        self.terminal().closeGently(False)
        self.assertIsNone(self.proxy.request().header("connection"))
