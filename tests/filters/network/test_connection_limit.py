"""
L{meshproxy.filters.network.connection_limit}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.network.support import TCP, FilterProxy, accessLog, refusals

LIMIT = {"stat_prefix": "c", "max_connections": 2}


class ConnectionLimitTests(SynchronousTestCase):
    """
    So many at a time.
    """

    def test_limit(self) -> None:
        """
        One too many is closed at once, counted and logged, and never gets an upstream; when another one goes there is
        room again.
        """
        proxy = FilterProxy(("connection_limit", LIMIT), ("tcp_proxy", {**TCP, "access_log": accessLog()}))
        first, second, third = (proxy.talk(b"x") for _ in range(3))
        self.assertEqual([first.closed, second.closed, third.closed], [False, False, True])
        self.assertEqual(len(proxy.backend.peers), 2)
        self.assertEqual(proxy.stat("connection_limit.c.active_connections"), 2)
        self.assertEqual(proxy.stat("connection_limit.c.limited_connections"), 1)
        first.abort()
        proxy.proxy.settle()
        self.assertFalse(proxy.talk(b"x").closed)
        self.assertEqual(proxy.log[0], "- over_connection_limit - 0 0")
        self.assertEqual(proxy.stat("tcp.t.downstream_cx_total"), 4)

    def test_delay(self) -> None:
        """
        With a C{delay} it is kept for so long, and counts as active but not towards the limit.
        """
        proxy = FilterProxy(("connection_limit", {**LIMIT, "delay": "3s"}), ("tcp_proxy", TCP))
        first, _ = proxy.talk(), proxy.talk()
        late = proxy.talk(b"never passed on")
        self.assertFalse(late.closed)
        self.assertEqual(proxy.stat("connection_limit.c.active_connections"), 3)
        first.abort()
        proxy.proxy.advance(2)
        self.assertFalse(proxy.talk().closed)
        proxy.proxy.advance(1)
        self.assertTrue(late.closed)
        self.assertEqual(proxy.backend.received, [b""] * 3)

    def test_leavesEarly(self) -> None:
        """
        One that leaves within its delay takes the timer with it.
        """
        proxy = FilterProxy(("connection_limit", {**LIMIT, "max_connections": 1, "delay": "3s"}), ("tcp_proxy", TCP))
        proxy.talk()
        late = proxy.talk()
        late.abort()
        proxy.proxy.settle()
        self.assertEqual(proxy.stat("connection_limit.c.active_connections"), 1)
        proxy.proxy.advance(5)

    def test_disabled(self) -> None:
        """
        The runtime may switch it off.
        """
        off = {"default_value": False, "runtime_key": "k"}
        proxy = FilterProxy(
            ("connection_limit", {**LIMIT, "max_connections": 1, "runtime_enabled": off}), ("tcp_proxy", TCP)
        )
        for _ in range(3):
            self.assertFalse(proxy.talk().closed)

    def test_last(self) -> None:
        """
        It cannot be the last filter: nobody would take the connection.
        """
        self.assertIn("is not a terminal filter", refusals(("connection_limit", LIMIT)))
