"""
L{meshproxy.upstream.tcpsession}: one connection from its beginning to its end.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.testing import MemoryNetwork, VirtualReactor
from tests.upstream.tcpsupport import BytesProxy, endpointsOf


class RelayedTests(SynchronousTestCase):
    """
    Sessions whose upstream is there.
    """

    def setUp(self) -> None:
        self.bytes = BytesProxy()
        self.downstream, self.upstream = self.bytes.pair()

    def test_bothWays(self) -> None:
        """
        Bytes pass both ways, and are counted and logged.
        """
        self.downstream.write(b"question")
        self.bytes.settle()
        self.assertEqual(self.upstream.received, b"question")
        self.upstream.write(b"an answer")
        self.bytes.settle()
        self.assertEqual(self.downstream.received, b"an answer")
        self.downstream.close()
        self.upstream.close()
        self.bytes.settle()
        self.assertEqual(self.bytes.proxy.accessLog, ["TcpConnectionEnd - 8 9 127.0.0.1:9000 1"])
        self.assertEqual(
            self.bytes.stats("tcp.test."),
            {"downstream_cx_total": 1, "downstream_cx_rx_bytes_total": 8, "downstream_cx_tx_bytes_total": 9},
        )
        cluster = self.bytes.stats("cluster.backend.upstream_cx_")
        self.assertEqual((cluster["tx_bytes_total"], cluster["rx_bytes_total"]), (8, 9))

    def test_upstreamFirst(self) -> None:
        """
        An upstream that speaks first is heard.
        """
        self.upstream.write(b"220 ready")
        self.bytes.settle()
        self.assertEqual(self.downstream.received, b"220 ready")

    def test_downstreamFinishesFirst(self) -> None:
        """
        When the downstream finished writing, the upstream sees that and may still answer; its own end ends both.
        """
        self.downstream.write(b"all")
        self.downstream.finish()
        self.bytes.settle()
        self.assertEqual((self.upstream.received, self.upstream.ended), (b"all", True))
        self.assertFalse(self.downstream.closed)
        self.upstream.write(b"late")
        self.upstream.finish()
        self.bytes.settle()
        self.assertEqual((self.downstream.received, self.downstream.ended), (b"late", True))
        self.assertEqual(self.bytes.stats("listener.")["127.0.0.1_10000.downstream_cx_destroy"], 1)
        self.assertEqual(self.bytes.stats("cluster.backend.upstream_cx_destroy_")["remote"], 1)

    def test_upstreamFinishesFirst(self) -> None:
        """
        The same the other way round; then this side is who closes the upstream connection.
        """
        self.upstream.write(b"all")
        self.upstream.finish()
        self.bytes.settle()
        self.assertEqual((self.downstream.received, self.downstream.ended), (b"all", True))
        self.downstream.write(b"late")
        self.downstream.finish()
        self.bytes.settle()
        self.assertEqual((self.upstream.received, self.upstream.ended), (b"late", True))
        self.assertEqual(self.bytes.stats("cluster.backend.upstream_cx_destroy_")["local"], 1)
        self.assertEqual(self.bytes.stats("cluster.backend.upstream_cx_active"), {})

    def test_downstreamReset(self) -> None:
        """
        A reset of the downstream resets the upstream, without a flag.
        """
        self.downstream.abort()
        self.bytes.settle()
        self.assertTrue(self.upstream.wasReset)
        self.assertEqual(self.bytes.proxy.accessLog, ["TcpConnectionEnd - 0 0 127.0.0.1:9000 1"])
        self.assertEqual(self.bytes.stats("cluster.backend.upstream_cx_destroy_")["local"], 1)

    def test_upstreamReset(self) -> None:
        """
        A reset of the upstream resets the downstream, and has the flag UR.
        """
        self.upstream.abort()
        self.bytes.settle()
        self.assertTrue(self.downstream.wasReset)
        self.assertEqual(self.bytes.proxy.accessLog, ["TcpConnectionEnd UR 0 0 127.0.0.1:9000 1"])
        self.assertEqual(self.bytes.stats("cluster.backend.upstream_cx_destroy_")["remote"], 1)

    def test_abortedHere(self) -> None:
        """
        When this side aborts a connection (the process ends), its upstream goes as well, and everything is given back.
        """
        for listener in self.bytes.proxy.server.listeners.byName.values():
            listener.abort()
        self.bytes.settle()
        self.assertTrue(self.downstream.closed)
        self.assertTrue(self.upstream.closed)
        self.assertEqual(self.bytes.stats("cluster.backend.upstream_rq_active"), {})
        self.assertEqual(self.bytes.proxy.accessLog, ["TcpConnectionEnd - 0 0 127.0.0.1:9000 1"])

    def test_drain(self) -> None:
        """
        Draining leaves the connection as it is.
        """
        self.bytes.proxy.server.drainListeners()
        self.downstream.write(b"still")
        self.bytes.proxy.advance(5)
        self.assertEqual(self.upstream.received, b"still")
        self.assertFalse(self.downstream.closed)


class BackPressureTests(SynchronousTestCase):
    """
    Peers that do not read.
    """

    def test_slowUpstream(self) -> None:
        """
        While the upstream does not read, the downstream is not read for more than the limits; nothing is lost.
        """
        proxy = BytesProxy(
            listener={"per_connection_buffer_limit_bytes": 4096},
            cluster={"per_connection_buffer_limit_bytes": 4096},
            network=MemoryNetwork(VirtualReactor(), capacity=10000),
        )
        downstream, upstream = proxy.pair()
        upstream.pause()
        data = bytes(range(256)) * 400
        downstream.write(data)
        proxy.settle()
        moved = proxy.proxy.stat("tcp.test.downstream_cx_rx_bytes_total")
        self.assertGreaterEqual(moved, 10000)
        self.assertLessEqual(moved, 10000 + 4096)
        self.assertEqual(proxy.proxy.stat("tcp.test.downstream_flow_control_paused_reading_total"), 1)
        self.assertEqual(proxy.proxy.stat("tcp.test.downstream_flow_control_resumed_reading_total"), 0)
        downstream.finish()
        upstream.resume()
        proxy.settle()
        self.assertEqual(upstream.received, data)
        self.assertTrue(upstream.ended)
        stats = proxy.stats("tcp.test.downstream_flow_control_")
        self.assertEqual(stats["paused_reading_total"], stats["resumed_reading_total"])

    def test_slowDownstream(self) -> None:
        """
        The same the other way, counted by the cluster; the idle time begins when the peer reads again.
        """
        proxy = BytesProxy(network=MemoryNetwork(VirtualReactor(), capacity=10000))
        downstream, upstream = proxy.pair()
        downstream.pause()
        data = b"0123456789" * 30000
        upstream.write(data)
        proxy.settle()
        stats = proxy.stats("cluster.backend.upstream_flow_control_")
        self.assertEqual(stats, {"paused_reading_total": 1})
        downstream.resume()
        proxy.settle()
        self.assertEqual(downstream.received, data)

    def test_closeFlushes(self) -> None:
        """
        What the downstream sent before it vanished without a reset still goes upstream.
        """
        proxy = BytesProxy(network=MemoryNetwork(VirtualReactor(), capacity=10000))
        downstream, upstream = proxy.pair()
        upstream.pause()
        downstream.write(b"x" * 15000)
        downstream.close()
        proxy.settle()
        upstream.resume()
        proxy.settle()
        self.assertEqual(len(upstream.received), 15000)
        self.assertTrue(upstream.ended)

    def test_brokenDownstream(self) -> None:
        """
        A downstream that is found gone by writing to it is no reset: its upstream ends in peace, and what waits for it
        is sent (C{upstream_flush_total}).
        """
        proxy = BytesProxy(network=MemoryNetwork(VirtualReactor(), capacity=10000))
        downstream, upstream = proxy.pair()
        upstream.pause()
        downstream.write(b"x" * 15000)
        downstream.close()
        proxy.settle()
        # Its end waits in the socket behind what is held; both writes find it gone.
        upstream.write(b"hello?")
        proxy.settle()
        upstream.write(b"hello?")
        proxy.settle()
        upstream.resume()
        proxy.settle()
        self.assertEqual(upstream.received, b"x" * 15000)
        self.assertTrue(upstream.ended)
        self.assertFalse(upstream.wasReset)
        self.assertEqual(proxy.proxy.stat("tcp.test.upstream_flush_active"), 0)


class ConnectingTests(SynchronousTestCase):
    """
    The way to an upstream.
    """

    def failed(self, proxy: BytesProxy, flags: str, host: str, attempts: int) -> None:
        """
        Assert how a connection ended that got no upstream.
        """
        downstream = proxy.connect()
        self.assertTrue(downstream.closed)
        self.assertFalse(downstream.wasReset)
        self.assertEqual(proxy.proxy.accessLog, [f"TcpConnectionEnd {flags} 0 0 {host} {attempts}"])

    def test_nothingReadBefore(self) -> None:
        """
        Nothing is read before the upstream is there; then all of it goes there.
        """
        proxy = BytesProxy({"max_connect_attempts": 2})
        silent = proxy.proxy.network.silent
        silent.add(Address("127.0.0.1", 9000))
        downstream = proxy.connect()
        downstream.write(b"early")
        proxy.proxy.advance(0.9)
        self.assertEqual(proxy.proxy.stat("tcp.test.downstream_cx_rx_bytes_total"), 0)
        silent.clear()
        proxy.proxy.advance(0.2)
        self.assertEqual(proxy.upstreams[0].received, b"early")

    def test_refused(self) -> None:
        """
        A refused connection: UF, and URX for the only attempt; the downstream is closed.
        """
        proxy = BytesProxy(listening=False, format="%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%")
        self.assertTrue(proxy.connect().closed)
        self.assertEqual(proxy.proxy.accessLog, ["UF,URX delayed_connect_error:_Connection_refused"])
        self.assertEqual(
            proxy.stats("cluster.backend.upstream_"),
            {
                "cx_connect_attempts_exceeded": 1,
                "cx_connect_fail": 1,
                "cx_destroy": 1,
                "cx_destroy_remote": 1,
                "cx_length_ms": 1,
                "cx_total": 1,
                "rq_pending_failure_eject": 1,
                "rq_pending_total": 1,
            },
        )

    def test_timeOut(self) -> None:
        """
        An endpoint that does not answer: C{connect_timeout} per attempt, no reason of a transport's.
        """
        proxy = BytesProxy(
            {"max_connect_attempts": 2}, format="%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %DURATION%"
        )
        proxy.proxy.network.silent.add(Address("127.0.0.1", 9000))
        downstream = proxy.connect()
        proxy.proxy.advance(1.9)
        self.assertFalse(downstream.closed)
        proxy.proxy.advance(0.2)
        self.assertTrue(downstream.closed)
        self.assertEqual(proxy.proxy.accessLog, ["UF,URX - 2000"])
        stats = proxy.stats("cluster.backend.upstream_cx_")
        self.assertEqual((stats["connect_timeout"], stats["connect_fail"], stats["destroy_local"]), (2, 2, 2))

    def test_anotherEndpoint(self) -> None:
        """
        The next attempt goes to another endpoint; the flag of the one that failed stays.
        """
        proxy = BytesProxy(
            {"max_connect_attempts": 2},
            cluster={"load_assignment": endpointsOf("backend", 9001, 9000)},
            chance=lambda: 0.0,
        )
        downstream, upstream = proxy.pair()
        downstream.close()
        upstream.close()
        proxy.settle()
        self.assertEqual(proxy.proxy.accessLog, ["TcpConnectionEnd UF 0 0 127.0.0.1:9000 2"])

    def test_backoff(self) -> None:
        """
        C{backoff_options}: attempts are apart by a random part of an interval that doubles.
        """
        proxy = BytesProxy(
            {"max_connect_attempts": 4, "backoff_options": {"base_interval": "1s", "max_interval": "2s"}},
            listening=False,
        )
        downstream = proxy.connect()
        times = []
        for _ in range(40):
            times.append(len(proxy.proxy.network.dialled))
            proxy.proxy.advance(0.125)
        # 0.5 s, 1 s, and 1 s again, as the interval grows no further.
        self.assertEqual([times.index(number) / 8 for number in (1, 2, 3, 4)], [0.0, 0.5, 1.5, 2.5])
        self.assertTrue(downstream.closed)

    def test_goneInBackoff(self) -> None:
        """
        A connection that ends between two attempts makes no other.
        """
        proxy = BytesProxy(
            {
                "max_connect_attempts": 9,
                "backoff_options": {"base_interval": "10s"},
                "max_downstream_connection_duration": "1s",
            },
            listening=False,
        )
        downstream = proxy.connect()
        proxy.proxy.advance(100)
        self.assertTrue(downstream.closed)
        self.assertEqual(len(proxy.proxy.network.dialled), 1)

    def test_noEndpoint(self) -> None:
        """
        A cluster without endpoints: UH.
        """
        proxy = BytesProxy(cluster={"load_assignment": {"cluster_name": "backend"}})
        self.failed(proxy, "UH", "-", 0)
        self.assertEqual(proxy.proxy.stat("cluster.backend.upstream_cx_none_healthy"), 1)

    def test_noCluster(self) -> None:
        """
        A cluster that does not exist: NC.
        """
        proxy = BytesProxy({"cluster": "missing"})
        self.failed(proxy, "NC", "-", 0)
        self.assertEqual(proxy.proxy.stat("tcp.test.downstream_cx_no_route"), 1)

    def test_maxConnections(self) -> None:
        """
        C{max_connections}: one too many is closed at once (UO), and the next after one ended is not.
        """
        proxy = BytesProxy(cluster={"circuit_breakers": {"thresholds": [{"max_connections": 1}]}})
        first, upstream = proxy.pair()
        self.failed(proxy, "UO", "-", 0)
        self.assertEqual(proxy.proxy.stat("cluster.backend.upstream_cx_overflow"), 1)
        first.close()
        upstream.close()
        proxy.settle()
        self.assertFalse(proxy.connect().closed)
        self.assertEqual(proxy.proxy.stat("cluster.backend.circuit_breakers.default.cx_open"), 1)

    def test_maxPending(self) -> None:
        """
        C{max_pending_requests}: as in Envoy, an attempt that may not wait counts as one that failed.
        """
        proxy = BytesProxy(cluster={"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}})
        self.failed(proxy, "URX", "-", 1)
        self.assertEqual(proxy.proxy.stat("cluster.backend.upstream_rq_pending_overflow"), 1)
        self.assertEqual(proxy.proxy.stat("cluster.backend.upstream_cx_total"), 0)

    def test_endedWhileConnecting(self) -> None:
        """
        A session that ends while it connects gives the attempt up, and what it held of the breakers.
        """
        proxy = BytesProxy({"max_downstream_connection_duration": "0.5s"})
        proxy.proxy.network.silent.add(Address("127.0.0.1", 9000))
        downstream = proxy.connect()
        proxy.proxy.advance(0.6)
        self.assertTrue(downstream.closed)
        stats = proxy.stats("cluster.backend.upstream_")
        self.assertEqual((stats["rq_cancelled"], stats["cx_destroy_local"]), (1, 1))
        self.assertNotIn("cx_active", stats)
        self.assertNotIn("rq_pending_active", stats)
        proxy.proxy.advance(5)
        self.assertEqual(len(proxy.proxy.accessLog), 1)
