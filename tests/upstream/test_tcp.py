"""
L{meshproxy.upstream.tcp}: what the connections of one tcp_proxy have in common.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import MemoryNetwork, VirtualReactor
from meshproxy.upstream.tcp import Backoff
from tests.upstream.tcpsupport import BytesProxy


class IdleTests(SynchronousTestCase):
    """
    C{idle_timeout}.
    """

    def test_idle(self) -> None:
        """
        A connection without bytes ends after that time, both sides in peace; the log says why.
        """
        proxy = BytesProxy({"idle_timeout": "10s"}, format="%DURATION% %DOWNSTREAM_LOCAL_CLOSE_REASON%")
        downstream, upstream = proxy.pair()
        proxy.proxy.advance(9.9)
        self.assertFalse(downstream.closed)
        proxy.proxy.advance(0.2)
        self.assertTrue(downstream.closed)
        self.assertTrue(upstream.closed)
        self.assertFalse(downstream.wasReset)
        self.assertEqual(proxy.proxy.stat("tcp.test.idle_timeout"), 1)
        self.assertEqual(proxy.proxy.accessLog, ["10000 tcp_session_idle_timeout"])
        self.assertEqual(proxy.stats("cluster.backend.upstream_cx_destroy_")["local"], 1)

    def test_eitherWay(self) -> None:
        """
        Bytes of either side begin the time anew.
        """
        proxy = BytesProxy({"idle_timeout": "10s"})
        downstream, upstream = proxy.pair()
        proxy.proxy.advance(7)
        downstream.write(b"x")
        proxy.proxy.advance(7)
        upstream.write(b"x")
        proxy.proxy.advance(9.9)
        self.assertFalse(downstream.closed)
        proxy.proxy.advance(0.2)
        self.assertTrue(downstream.closed)

    def test_default(self) -> None:
        """
        It is an hour.
        """
        proxy = BytesProxy()
        downstream, _ = proxy.pair()
        proxy.proxy.advance(3599)
        self.assertFalse(downstream.closed)
        proxy.proxy.advance(2)
        self.assertTrue(downstream.closed)

    def test_disabled(self) -> None:
        """
        0 is never.
        """
        proxy = BytesProxy({"idle_timeout": "0s"})
        downstream, _ = proxy.pair()
        proxy.proxy.advance(100000)
        self.assertFalse(downstream.closed)

    def test_unread(self) -> None:
        """
        A peer that does not read what waits for it sees a reset, and no regular end of what it did not get.
        """
        proxy = BytesProxy({"idle_timeout": "10s"}, network=MemoryNetwork(VirtualReactor(), capacity=1000))
        downstream, upstream = proxy.pair()
        downstream.pause()
        upstream.write(b"x" * 5000)
        proxy.proxy.advance(11)
        downstream.resume()
        proxy.settle()
        self.assertTrue(downstream.wasReset)
        self.assertLess(len(downstream.received), 5000)


class DurationTests(SynchronousTestCase):
    """
    C{max_downstream_connection_duration}.
    """

    def test_duration(self) -> None:
        """
        A connection ends after that time though it is active, with the flag DT.
        """
        proxy = BytesProxy(
            {"max_downstream_connection_duration": "10s"},
            format="%RESPONSE_FLAGS% %BYTES_RECEIVED% %DOWNSTREAM_LOCAL_CLOSE_REASON%",
        )
        downstream, upstream = proxy.pair()
        for _ in range(11):
            self.assertFalse(downstream.closed)
            downstream.write(b"x")
            proxy.proxy.advance(0.99)
        self.assertTrue(downstream.closed)
        self.assertTrue(upstream.closed)
        self.assertEqual(proxy.proxy.stat("tcp.test.max_downstream_connection_duration"), 1)
        self.assertEqual(proxy.proxy.accessLog, ["DT 11 max_connection_duration_reached"])


class LogTests(SynchronousTestCase):
    """
    C{access_log_options}.
    """

    FORMAT = "%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %DURATION% %UPSTREAM_HOST%"

    def test_periodic(self) -> None:
        """
        A line each C{access_log_flush_interval}, with the figures until then, and one at the end.
        """
        proxy = BytesProxy({"access_log_options": {"access_log_flush_interval": "1s"}}, format=self.FORMAT)
        downstream, upstream = proxy.pair()
        downstream.write(b"abc")
        proxy.proxy.advance(2.5)
        downstream.close()
        upstream.close()
        proxy.settle()
        proxy.proxy.advance(5)
        self.assertEqual(
            proxy.proxy.accessLog,
            [
                "TcpPeriodic 3 1000 127.0.0.1:9000",
                "TcpPeriodic 3 2000 127.0.0.1:9000",
                "TcpConnectionEnd 3 2500 127.0.0.1:9000",
            ],
        )

    def test_onConnected(self) -> None:
        """
        C{flush_access_log_on_connected} writes one as soon as the upstream is there; the deprecated field of the same
        name does as well.
        """
        for config in (
            {"access_log_options": {"flush_access_log_on_connected": True}},
            {"flush_access_log_on_connected": True},
        ):
            proxy = BytesProxy(config, format=self.FORMAT)
            proxy.pair()
            self.assertEqual(proxy.proxy.accessLog, ["TcpUpstreamConnected 0 0 127.0.0.1:9000"])

    def test_onStart(self) -> None:
        """
        C{flush_access_log_on_start} writes one before there is an upstream.
        """
        proxy = BytesProxy({"access_log_options": {"flush_access_log_on_start": True}}, format=self.FORMAT)
        downstream, upstream = proxy.pair()
        self.assertEqual(proxy.proxy.accessLog, ["TcpConnectionStart 0 0 -"])
        downstream.close()
        upstream.close()
        proxy.settle()
        self.assertEqual(proxy.proxy.accessLog[1:], ["TcpConnectionEnd 0 0 127.0.0.1:9000"])

    def test_notConnected(self) -> None:
        """
        Without an upstream there is no such line.
        """
        proxy = BytesProxy(
            {"access_log_options": {"flush_access_log_on_connected": True}}, format=self.FORMAT, listening=False
        )
        proxy.connect()
        self.assertEqual(proxy.proxy.accessLog, ["TcpConnectionEnd 0 0 127.0.0.1:9000"])


class BackoffTests(SynchronousTestCase):
    """
    L{Backoff}.
    """

    def test_doubles(self) -> None:
        """
        The interval doubles up to the most, and chance takes a part of it.
        """
        backoff = Backoff(0.1, 0.5)
        self.assertEqual([backoff.delay(n, lambda: 1.0) for n in range(4)], [0.1, 0.2, 0.4, 0.5])
        self.assertEqual(backoff.delay(1, lambda: 0.25), 0.05)
        self.assertEqual(backoff.delay(100000, lambda: 1.0), 0.5)
