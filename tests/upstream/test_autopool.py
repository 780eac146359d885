"""
L{meshproxy.upstream.autopool}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import Http2Counters
from meshproxy.net.address import Address
from meshproxy.stats import Store
from meshproxy.upstream.autopool import AutoPool
from meshproxy.upstream.breakers import Breakers
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.settings import ClusterSettings
from meshproxy.upstream.stats import ClusterStats
from tests.codec.http2.frames import framesIn, headers, settings
from tests.http.support import ProxyCase
from tests.upstream.support import Asker
from tests.upstream.test_http2pool import protocolOptions


class Wire:
    """
    A transport that keeps what is written.
    """

    unsent = 0

    def __init__(self, negotiated: bytes) -> None:
        self.negotiatedProtocol = negotiated
        self.protocol: Any = None
        self.written = b""

    def write(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.written += data

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


class Dials:
    """
    Connects when it is told to.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Any]] = []

    def connect(self, address: Address, protocol: Any, failed: Any, *more: Any) -> Any:
        """
        Remember who wants to.
        """
        self.waiting.append((protocol, failed))
        return self

    def cancel(self) -> None:
        """
        Nothing to do.
        """

    def succeed(self, negotiated: bytes) -> Wire:
        """
        The first one is connected.
        """
        protocol, _ = self.waiting.pop(0)
        wire = Wire(negotiated)
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return wire


class AutoPoolTests(SynchronousTestCase):
    """
    L{AutoPool} speaks what was agreed upon.
    """

    def setUp(self) -> None:
        self.store = Store()
        scope = self.store.scope("cluster.c.")
        self.dials = Dials()
        self.pool = AutoPool(
            Endpoint(Address("192.0.2.1", 80)),
            ClusterSettings(),
            ClusterStats(scope),
            Breakers(scope, None).default,
            self.dials,
            Clock(),
            None,
            None,
            counters=Http2Counters(),
            random=lambda: 0.0,
        )

    def totals(self) -> tuple[int, int]:
        """
        How many connections spoke HTTP/1 and HTTP/2.
        """
        counters = self.store.counters
        return tuple(  # type: ignore[return-value]  # two of them
            counters[f"cluster.c.upstream_cx_http{version}_total"].value for version in (1, 2)
        )

    def test_http2(self) -> None:
        """
        C{h2}: requests share the connection.
        """
        askers = [Asker() for _ in range(3)]
        for asker in askers:
            self.pool.request(asker)
        self.assertEqual(len(self.dials.waiting), 1)
        wire = self.dials.succeed(b"h2")
        self.assertEqual([frame[0] for frame in framesIn(wire.written[24:])].count(1), 3)
        wire.protocol.dataReceived(settings() + b"".join(headers(n, [(b":status", b"204")]) for n in (1, 3, 5)))
        self.assertEqual([asker.told for asker in askers], [["ready", 204, "end"]] * 3)
        self.assertEqual(self.totals(), (0, 1))

    def test_http1(self) -> None:
        """
        C{http/1.1}, or nothing: one request at a time, also for those that come later.
        """
        for negotiated in (b"http/1.1", b""):
            self.setUp()
            askers = [Asker(), Asker()]
            for asker in askers:
                self.pool.request(asker)
            wire = self.dials.succeed(negotiated)
            self.assertTrue(wire.written.startswith(b"GET / HTTP/1.1"))
            wire.protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n\r\n")
            wire.protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.assertEqual([asker.told for asker in askers], [["ready", 204, "end"]] * 2)
            third = Asker()
            self.pool.request(third)
            self.assertEqual(third.told, ["ready"])
            self.assertEqual(self.totals(), (1, 0))
            self.pool.drain()

    def test_drainWhileWaiting(self) -> None:
        """
        Requests that wait for a connection when the pool begins to drain get it, as do those that come late; it closes
        with the last of them, and no other one is made.
        """
        for negotiated in (b"h2", b"http/1.1"):
            self.setUp()
            askers = [Asker(), Asker()]
            self.pool.request(askers[0])
            self.pool.drain()
            wire = self.dials.succeed(negotiated)
            self.assertEqual((askers[0].told, wire.protocol.closedHere), (["ready"], False))
            if negotiated == b"h2":
                wire.protocol.dataReceived(settings() + headers(1, [(b":status", b"204")]))
            else:
                wire.protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.assertEqual((askers[0].told, wire.protocol.closedHere), (["ready", 204, "end"], True))
            self.assertEqual(self.dials.waiting, [])
            self.pool.request(askers[1])
            self.assertEqual(len(self.dials.waiting), 1)
            self.dials.succeed(negotiated)
            self.assertEqual(askers[1].told, ["ready"])


class CleartextTests(ProxyCase):
    """
    C{auto_config} in the clear.
    """

    def test_http1(self) -> None:
        """
        Where nothing is agreed upon, HTTP/1.1 is spoken.
        """
        self.start(cluster=protocolOptions(auto_config={}))
        for _ in range(3):
            self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(self.backend.requests), 3)
        self.assertEqual(self.clusterStat("upstream_cx_http1_total"), 1)
        self.assertQuiet()
