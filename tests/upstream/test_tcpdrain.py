"""
L{meshproxy.upstream.tcpdrain}: connections that end while their listener drains.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.upstream.tcpsupport import BytesProxy, Message, tcpBootstrap

_FORMAT = "%DOWNSTREAM_LOCAL_CLOSE_REASON% %BYTES_RECEIVED% %BYTES_SENT%"


class DrainTests(SynchronousTestCase):
    """
    C{check_drain_close}.
    """

    def start(self, **more: object) -> BytesProxy:
        """
        A proxy that checks.
        """
        config: Message = {"check_drain_close": True, **more}
        return BytesProxy(config, format=_FORMAT)

    def test_nextBytes(self) -> None:
        """
        The next bytes, of either side, still pass; then the connection is closed. One without any lives on.
        """
        for isUpstream in (False, True):
            proxy = self.start()
            pair = proxy.pair()
            idle, _ = proxy.pair()
            pair[0].write(b"before")
            proxy.settle()
            proxy.proxy.server.drainListeners()
            proxy.settle()
            self.assertFalse(pair[0].closed)
            pair[isUpstream].write(b"last")
            proxy.settle()
            self.assertEqual(pair[not isUpstream].received[-4:], b"last")
            self.assertEqual([peer.closed for peer in (*pair, idle)], [True, True, False])
            self.assertEqual(proxy.stats("tcp.test.")["downstream_cx_drain_close"], 1)
            counted = "6 4" if isUpstream else "10 0"
            self.assertEqual(proxy.proxy.accessLog, [f"tcp_proxy_drain_close {counted}"])
            self.assertEqual(proxy.stats("cluster.backend.upstream_cx_destroy_")["local"], 1)

    def test_unchecked(self) -> None:
        """
        Nothing ends where it is not asked for.
        """
        proxy = BytesProxy()
        downstream, upstream = proxy.pair()
        proxy.proxy.server.drainListeners()
        downstream.write(b"more")
        proxy.settle()
        self.assertEqual((upstream.received, downstream.closed), (b"more", False))

    def test_wellAgain(self) -> None:
        """
        A listener that does not drain any more lets its connections live.
        """
        proxy = self.start()
        downstream, upstream = proxy.pair()
        for failed in (True, False):
            proxy.proxy.server.failHealthCheck(failed)
        for _ in range(2):
            downstream.write(b"more")
            proxy.settle()
        self.assertEqual((upstream.received, downstream.closed), (b"moremore", False))
        proxy.proxy.server.failHealthCheck(True)
        downstream.write(b"last")
        proxy.settle()
        self.assertEqual((upstream.received, downstream.closed), (b"moremorelast", True))

    def test_connectedLate(self) -> None:
        """
        A connection that comes while the listener drains has its first bytes.
        """
        proxy = self.start()
        proxy.proxy.server.failHealthCheck(True)
        downstream, upstream = proxy.pair()
        downstream.write(b"all")
        proxy.settle()
        self.assertEqual((upstream.received, downstream.closed), (b"all", True))

    def test_earlyData(self) -> None:
        """
        Bytes that came before the upstream was there are bytes, too.
        """
        proxy = self.start(upstream_connect_mode="ON_DOWNSTREAM_DATA", max_early_data_bytes=100)
        proxy.proxy.server.failHealthCheck(True)
        downstream = proxy.connect()
        downstream.write(b"early")
        proxy.settle()
        self.assertEqual((proxy.upstreams[-1].received, downstream.closed), (b"early", True))

    def test_afterReload(self) -> None:
        """
        Connections of a chain that a reload left alone end with its successor's.
        """
        proxy = self.start()
        downstream, upstream = proxy.pair()
        config = {"check_drain_close": True}
        self.assertTrue(proxy.proxy.reload(tcpBootstrap(config, format=_FORMAT, listener={"stat_prefix": "again"})))
        downstream.write(b"on")
        proxy.settle()
        self.assertFalse(downstream.closed)
        proxy.proxy.server.failHealthCheck(True)
        downstream.write(b"last")
        proxy.settle()
        self.assertEqual((upstream.received, downstream.closed), (b"onlast", True))


class GoneTests(SynchronousTestCase):
    """
    Listeners and chains that are gone.
    """

    def test_timeIsOver(self) -> None:
        """
        When the time to drain is over, the connections of what is gone are closed, as Envoy closes them; those of a
        chain that stays are not.
        """
        proxy = BytesProxy(format=_FORMAT)
        downstream, upstream = proxy.pair()
        self.assertTrue(proxy.proxy.reload(tcpBootstrap(format=_FORMAT, listener={"stat_prefix": "again"})))
        proxy.proxy.advance(60)
        self.assertFalse(downstream.closed)
        other, _ = proxy.pair()
        match = {"source_prefix_ranges": [{"address_prefix": "192.0.2.0", "prefix_len": 24}]}
        chain = json.loads(tcpBootstrap())["static_resources"]["listeners"][0]["filter_chains"][0]
        gone = {"filter_chains": [{**chain, "filter_chain_match": match}]}
        self.assertTrue(proxy.proxy.reload(tcpBootstrap(format=_FORMAT, listener=gone)))
        proxy.settle()
        self.assertFalse(downstream.closed)
        proxy.proxy.advance(60)
        self.assertEqual([peer.closed for peer in (downstream, upstream, other)], [True] * 3)
        self.assertEqual(proxy.proxy.accessLog, ["filter_chain_is_being_removed 0 0"] * 2)
