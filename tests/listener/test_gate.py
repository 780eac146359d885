"""
L{meshproxy.listener.gate}: network filters before the terminal one, in a proxy in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter
from meshproxy.listener.gate import Gate
from meshproxy.net.filter import ConnectionFilter, PassingFilter
from meshproxy.net.relay import BufferedRelay, SocketRelay
from meshproxy.testing import MemoryNetwork, MemoryProxy, VirtualReactor
from tests.filters.network.support import TCP, FilterProxy, filterOf
from tests.integration.configs import bootstrap, cluster, forward, listener


class Scripted(ConnectionFilter):
    """
    Does what a test says.
    """

    def __init__(self, made: Callable[[Any], object] | None, came: Callable[[Any, bytes], object] | None) -> None:
        self._made, self._came = made, came
        self.seesData = came is not None
        self.connection: Any = None
        self.lost = 0

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        self.connection = connection
        return None if self._made is None else self._made(connection)

    def dataReceived(self, data: bytes) -> object:
        """
        See L{INetworkFilter.dataReceived}.
        """
        return None if self._came is None else self._came(self, data)

    def connectionLost(self, reason: Any) -> None:
        """
        See L{INetworkFilter.connectionLost}.
        """
        self.lost += 1
        if self._made is not None and self._made is raising:
            raise ZeroDivisionError


def raising(connection: Any) -> object:
    """
    Fail.
    """
    raise ZeroDivisionError


class GateTests(SynchronousTestCase):
    """
    Filters before tcp_proxy.
    """

    def proxy(
        self, *scripts: tuple[Callable[[Any], object] | None, Callable[[Any, bytes], object] | None]
    ) -> FilterProxy:
        """
        A proxy with a filter for each pair: what it does with a connection, and with bytes.
        """
        self.made: list[list[Scripted]] = [[] for _ in scripts]
        custom = {}
        for number, script in enumerate(scripts):

            def buildFilter(
                self: object, info: Any, script: Any = script, made: list[Scripted] = self.made[number]
            ) -> INetworkFilter:
                made.append(Scripted(*script))
                return made[-1]

            custom[f"f{number}"] = type(f"F{number}", (PassingFilter,), {"buildFilter": buildFilter})
        names: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in custom]
        return FilterProxy(*names, ("tcp_proxy", TCP), custom=custom)

    def relay(self, proxy: FilterProxy) -> type:
        """
        How bytes go upstream.
        """
        [connection] = proxy.proxy.server.listeners.byName["l"].connections
        return type(connection._inner.relay)

    def test_interfaces(self) -> None:
        """
        What filters see of a connection, and what the least of them is.
        """
        owner: Any = None
        info: Any = None
        self.assertTrue(verifyObject(INetworkConnection, Gate(owner, [], info, None)))
        self.assertTrue(verifyObject(INetworkFilter, ConnectionFilter()))

    def test_passes(self) -> None:
        """
        A filter that wants to see no bytes costs none of them anything.
        """
        proxy = self.proxy((None, None))
        proxy.talk(b"abc")
        self.assertEqual(proxy.backend.received, [b"abc"])
        self.assertIs(self.relay(proxy), SocketRelay)

    def test_sees(self) -> None:
        """
        Filters see bytes in their order, and may replace them, or swallow them.
        """
        seen = []

        def upper(self: Any, data: bytes) -> object:
            seen.append(data)
            return data.upper()

        def drop(self: Any, data: bytes) -> object:
            seen.append(data)
            return b"" if data == b"DEF" else None

        proxy = self.proxy((None, upper), (None, None), (None, drop))
        peer = proxy.talk(b"abc", b"def", b"ghi")
        self.assertEqual(proxy.backend.received, [b"ABCGHI"])
        self.assertEqual(seen, [b"abc", b"ABC", b"def", b"DEF", b"ghi", b"GHI"])
        self.assertIs(self.relay(proxy), BufferedRelay)
        proxy.backend.peers[0].write(b"answer")
        proxy.proxy.settle()
        self.assertEqual(peer.received, b"answer")

    def test_ignores(self) -> None:
        """
        A filter that has seen enough is passed by, and bytes take the short way then; they stay counted.
        """

        def once(self: Any, data: bytes) -> object:
            self.connection.ignoreData(self)
            self.connection.ignoreData(self)
            return data.upper()

        proxy = self.proxy((None, once))
        proxy.talk(b"abc", b"def")
        self.assertEqual(proxy.backend.received, [b"ABCdef"])
        self.assertIs(self.relay(proxy), SocketRelay)
        self.assertEqual(proxy.stat("tcp.t.downstream_cx_rx_bytes_total"), 6)

    def test_upstreamFirst(self) -> None:
        """
        The upstream is connected before a byte came, so that it may speak first.
        """
        proxy = self.proxy((None, lambda self, data: None))
        peer = proxy.talk()
        proxy.backend.peers[0].write(b"welcome")
        proxy.proxy.settle()
        self.assertEqual(peer.received, b"welcome")

    def test_stopped(self) -> None:
        """
        A filter may hold a new connection: later filters, and the upstream, hear of it when it goes on; what came
        meanwhile is not lost.
        """
        seen = []
        proxy = self.proxy((lambda connection: STOP, None), (None, lambda self, data: seen.append(data)))
        peer = proxy.talk(b"abc", b"def")
        self.assertEqual((proxy.backend.peers, seen), ([], []))
        self.assertIsNone(self.made[1][0].connection)
        peer.finish()
        proxy.proxy.settle()
        self.made[0][0].connection.resumeReading()
        proxy.proxy.settle()
        self.assertEqual((proxy.backend.received, seen), ([b"abcdef"], [b"abcdef"]))
        self.assertTrue(proxy.backend.peers[0].ended)
        self.assertFalse(peer.wasReset)

    def test_held(self) -> None:
        """
        A filter may hold bytes: those that come later stay behind them, and have not been seen by anybody.
        """
        seen = []

        def first(self: Any, data: bytes) -> object:
            seen.append((1, data))
            return None

        def second(self: Any, data: bytes) -> object:
            seen.append((2, data))
            return STOP if data == b"b" else None

        proxy = self.proxy((None, first), (None, second))
        peer = proxy.talk(b"a", b"b", b"c")
        self.assertEqual(seen, [(1, b"a"), (2, b"a"), (1, b"b"), (2, b"b")])
        peer.finish()
        proxy.proxy.settle()
        self.assertEqual((proxy.backend.received, proxy.backend.peers[0].ended), ([b"a"], False))
        self.made[1][0].connection.resumeReading()
        proxy.proxy.settle()
        self.assertEqual((proxy.backend.received, proxy.backend.peers[0].ended), ([b"abc"], True))
        self.made[1][0].connection.resumeReading()

    def test_heldBounded(self) -> None:
        """
        A client that sends on while it is held is not read without bound.
        """
        proxy = self.proxy((lambda connection: STOP, None))
        peer = proxy.talk()
        for _ in range(40):
            peer.write(b"x" * 65536)
            proxy.proxy.settle()
        [connection] = proxy.proxy.server.listeners.byName["l"].connections
        gate: Any = connection._gate
        self.assertLess(len(gate._later), 2 << 20)
        gate.resumeReading()
        proxy.proxy.settle()
        self.assertEqual(len(proxy.backend.received[0]), 40 * 65536)

    def test_closes(self) -> None:
        """
        A filter may close a connection when it comes, or when bytes do; each filter that knew of it learns of its end,
        once.
        """

        def refuse(connection: Any) -> object:
            connection.close("no", "nobody")
            connection.close("twice")
            connection.resumeReading()
            return None

        proxy = self.proxy((None, None), (refuse, None), (None, None))
        peer = proxy.talk(b"abc")
        self.assertTrue(peer.closed)
        self.assertEqual((proxy.backend.peers, [each[0].lost for each in self.made]), ([], [1, 1, 0]))

        def deny(self: Any, data: bytes) -> object:
            self.connection.close("no")
            return None

        proxy = self.proxy((None, deny))
        peer = proxy.talk(b"abc", b"def")
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.backend.received, [b""])
        self.assertTrue(proxy.backend.peers[0].closed)

    def test_closesHeldReader(self) -> None:
        """
        A client that does not read what it is owed is not waited for when a filter closes its connection.
        """

        def deny(self: Any, data: bytes) -> object:
            self.connection.close("no")
            return None

        proxy = self.proxy((None, deny))
        peer = proxy.talk()
        peer.pause()
        for _ in range(20):
            proxy.backend.peers[0].write(b"x" * 65536)
            proxy.proxy.settle()
        peer.write(b"abc")
        proxy.proxy.settle()
        peer.resume()
        proxy.proxy.settle()
        self.assertTrue(peer.wasReset)

    def test_raises(self) -> None:
        """
        A filter that raises loses its connection with a reset, and is logged; at the end too.
        """

        def divide(self: Any, data: bytes) -> object:
            raise ZeroDivisionError

        for script in ((raising, None), (None, divide)):
            peer = self.proxy(script).talk(b"abc", b"def")
            self.assertTrue(peer.wasReset)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2 if script[0] else 1)

    def test_none(self) -> None:
        """
        A filter may have nothing to do with a connection.
        """
        nothing = type("Nothing", (PassingFilter,), {"buildFilter": lambda self, info: None})
        proxy = FilterProxy(("nothing", {}), ("tcp_proxy", TCP), custom={"nothing": nothing})
        proxy.talk(b"abc")
        self.assertEqual(proxy.backend.received, [b"abc"])


class HTTPTests(SynchronousTestCase):
    """
    Network filters before the HTTP connection manager.
    """

    def proxy(self, came: Callable[[Any, bytes], object], readSize: int = 0) -> MemoryProxy:
        """
        A proxy whose filter sees the bytes of requests.
        """

        def buildFilter(self: object, info: Any) -> INetworkFilter:
            return Scripted(None, came)

        made = listener("l", 10000, forward("c"))
        made["filter_chains"][0]["filters"].insert(0, filterOf("seeing"))
        filters: Any = {"seeing": type("Seeing", (PassingFilter,), {"buildFilter": buildFilter})}
        network = MemoryNetwork(VirtualReactor(), readSize=readSize)
        return MemoryProxy(bootstrap(made, cluster("c", 9000)), network, filters)

    def test_requests(self) -> None:
        """
        Requests pass, one after the other, with bodies of any size in both directions; a filter that has seen enough is
        gone, one that has not sees it all.
        """
        body = b"x" * 300000
        for once in (True, False):
            seen: list[bytes] = []

            def look(self: Any, data: bytes, seen: list[bytes] = seen, once: bool = once) -> object:
                seen.append(data)
                if once:
                    self.connection.ignoreData(self)
                return None

            proxy = self.proxy(look)
            backend = proxy.backend("127.0.0.1:9000")
            backend.respond(200, body)
            backend.respond(200, b"small")
            client = proxy.client()
            self.assertEqual(client.request(b"POST", body=body).body, body)
            self.assertEqual(client.request().body, b"small")
            self.assertEqual(backend.requests[0].body, body)
            total = sum(map(len, seen))
            self.assertTrue(total < 300000 if once else total > 300000, total)

    def test_byteByByte(self) -> None:
        """
        So they do byte by byte.
        """
        proxy = self.proxy(lambda self, data: None, readSize=1)
        proxy.backend("127.0.0.1:9000").respond(200, b"small")
        self.assertEqual(proxy.client().request(b"POST", body=b"abc").body, b"small")
