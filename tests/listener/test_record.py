"""
L{meshproxy.listener.record}: a listener's own access log.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import MemoryProxy
from tests.filters.network.support import TCP, FilterProxy, accessLog
from tests.integration.configs import bootstrap, direct, listener

BYTES = accessLog("%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %ACCESS_LOG_TYPE%\n")


class ListenerLogTests(SynchronousTestCase):
    """
    One line for each connection, when it is gone.
    """

    def test_bytes(self) -> None:
        """
        The bytes of a connection, of whatever protocol.
        """
        proxy = FilterProxy(("echo", {}), access_log=BYTES)
        peer = proxy.talk(b"abc", b"defg")
        self.assertEqual(proxy.log, [])
        peer.close()
        self.assertEqual(proxy.log, ["7 7 2250 NotSet"])

    def test_filters(self) -> None:
        """
        Network filters change nothing about that.
        """
        limit = ("connection_limit", {"stat_prefix": "c", "max_connections": 1})
        proxy = FilterProxy(limit, ("echo", {}), access_log=BYTES)
        proxy.talk(b"abc").close()
        self.assertEqual(proxy.log, ["3 3 125 NotSet"])

    def test_tcpProxy(self) -> None:
        """
        tcp_proxy's own record is used, which knows more.
        """
        log = accessLog("%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST%\n")
        proxy = FilterProxy(("tcp_proxy", TCP), access_log=log)
        peer = proxy.talk(b"abc")
        proxy.backend.peers[0].write(b"defg")
        proxy.proxy.settle()
        peer.abort()
        self.assertEqual(proxy.log, ["3 4 127.0.0.1:9000"])

    def test_http(self) -> None:
        """
        All bytes of an HTTP connection, not those of bodies alone.
        """
        made = {**listener("l", 10000, direct("hi")), "access_log": BYTES}
        proxy = MemoryProxy(bootstrap(made))
        client = proxy.client()
        self.assertEqual(client.request().body, b"hi")
        client.close()
        proxy.advance(2)
        [line] = proxy.accessLog
        received, sent = map(int, line.split()[:2])
        self.assertGreater(received, 20)
        self.assertGreater(sent, 60)
