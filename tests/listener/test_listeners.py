"""
L{meshproxy.listener.listeners}: sets of listeners that follow each other, in a proxy in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.testing import Answer, MemoryProxy, Peer
from tests.integration.configs import bootstrap, cluster, direct, forward, listener

A, B = 10000, 10001


class ListenersCase(SynchronousTestCase):
    """
    A proxy that gets other listeners.
    """

    def start(self, *resources: dict[str, Any]) -> MemoryProxy:
        """
        Begin with these.
        """
        self.proxy = MemoryProxy(bootstrap(*resources))
        return self.proxy

    def change(self, *resources: dict[str, Any]) -> None:
        """
        Go on with these.
        """
        self.assertTrue(self.proxy.reload(bootstrap(*resources)))

    def body(self, port: int = A) -> bytes:
        """
        What a new connection is answered.
        """
        return self.proxy.client(f"127.0.0.1:{port}").request().body

    def listens(self, port: int) -> bool:
        """
        Whether somebody does.
        """
        return Address("127.0.0.1", port) in self.proxy.network.addresses

    def count(self, name: str) -> int:
        """
        A metric of the listener manager.
        """
        return self.proxy.stat(f"listener_manager.{name}")


class PortTests(ListenersCase):
    """
    Addresses.
    """

    def test_kept(self) -> None:
        """
        A listener that stays keeps its port: not for a moment is it closed.
        """
        proxy = self.start(listener("l", A, direct("1")))
        port = proxy.server.listeners.byName["l"].ports[0]
        for number in "234":
            self.change(listener("l", A, direct(number)))
            self.assertIs(proxy.server.listeners.byName["l"].ports[0], port)
            self.assertEqual(self.body(), number.encode())
        self.assertEqual((self.count("listener_added"), self.count("listener_modified")), (1, 3))
        self.assertEqual((self.count("listener_create_success"), self.count("listener_in_place_updated")), (1, 3))

    def test_told(self) -> None:
        """
        The log tells of each port that opens where it is, of one that the system chose too; nothing of those that stay.
        """
        with capturedLogs() as events:
            proxy = self.start(listener("l", 0, direct("1")))
            self.change(listener("l", 0, direct("2")), listener("m", B, direct("3")))
        address = proxy.server.listeners.byName["l"].ports[0].address
        self.assertNotEqual(address.port, 0)
        self.assertEqual(
            [told for told in map(formatEvent, events) if "listens" in told],
            [f"the listener 'l' listens on {address.text}", "the listener 'm' listens on 127.0.0.1:10001"],
        )

    def test_chainsChange(self) -> None:
        """
        New connections get the newest chains, after any number of changes that kept nothing of the old ones.
        """

        def named(name: str) -> dict[str, Any]:
            made = listener("l", A, direct(name))
            made["filter_chains"][0]["name"] = name
            return made

        self.start(named("1"))
        for name in "2345":
            self.change(named(name))
            self.assertEqual(self.body(), name.encode())

    def test_unchanged(self) -> None:
        """
        What did not change is not counted as modified.
        """
        self.start(listener("l", A, direct("1")))
        self.change(listener("l", A, direct("1")))
        self.assertEqual((self.count("listener_modified"), self.count("listener_in_place_updated")), (0, 0))

    def test_moved(self) -> None:
        """
        A listener that moves listens at its new address alone; its connections go on.
        """
        proxy = self.start(listener("l", A, direct("1")))
        client = proxy.client()
        self.assertEqual(client.request().body, b"1")
        self.change(listener("l", B, direct("2")))
        self.assertEqual((self.listens(A), self.listens(B)), (False, True))
        self.assertEqual(self.body(B), b"2")
        self.assertEqual(client.request().body, b"2")

    def test_renamed(self) -> None:
        """
        A listener under another name takes the port of the one that goes.
        """
        proxy = self.start(listener("a", A, direct("1")))
        port = proxy.server.listeners.byName["a"].ports[0]
        self.change(listener("b", A, direct("2")))
        self.assertIs(proxy.server.listeners.byName["b"].ports[0], port)
        self.assertEqual(self.body(), b"2")

    def test_swapped(self) -> None:
        """
        Two listeners may swap addresses.
        """
        self.start(listener("a", A, direct("a1")), listener("b", B, direct("b1")))
        self.change(listener("a", B, direct("a2")), listener("b", A, direct("b2")))
        self.assertEqual((self.body(A), self.body(B)), (b"b2", b"a2"))
        self.assertEqual(self.count("listener_create_success"), 2)

    def test_anyPort(self) -> None:
        """
        A port that the kernel chose is kept, by the listener that has it.
        """
        proxy = self.start(listener("a", 0, direct("a1")), listener("b", 0, direct("b1")))
        before = [proxy.address(name) for name in "ab"]
        self.change(listener("b", 0, direct("b2")), listener("a", 0, direct("a2")), listener("c", 0, direct("c")))
        self.assertEqual([proxy.address(name) for name in "ab"], before)
        self.assertEqual([proxy.client(name).request().body for name in "abc"], [b"a2", b"b2", b"c"])

    def test_occupied(self) -> None:
        """
        An address that cannot be bound changes nothing: no port opens or closes.
        """
        proxy = self.start(listener("a", A, direct("1")), listener("gone", A + 5, direct("1")))
        proxy.network.listen(Address("127.0.0.1", B + 1), lambda peer: None)
        made = [listener("a", A, direct("2")), listener("b", B, direct("2")), listener("c", B + 1, direct("2"))]
        self.assertFalse(proxy.reload(bootstrap(*made)))
        self.assertEqual((self.body(A), self.body(A + 5)), (b"1", b"1"))
        self.assertFalse(self.listens(B))
        self.assertEqual(self.count("listener_create_failure"), 1)

    def test_occupiedAtStart(self) -> None:
        """
        At the start, likewise: the error is the caller's.
        """
        proxy = self.start(listener("a", A, direct("1")))
        two = bootstrap(listener("b", B, direct("2")), listener("a", A, direct("2")))
        self.assertRaises(CannotListenError, MemoryProxy, two, proxy.network)
        self.assertFalse(self.listens(B))

    def test_sameAddress(self) -> None:
        """
        Two listeners at one address are refused, and so are two of one name.
        """
        error = self.assertRaises(
            ConfigErrors, MemoryProxy, bootstrap(listener("a", A, direct("1")), listener("b", A, direct("2")))
        )
        self.assertIn("the listener 'a' has the address 127.0.0.1:10000 already", str(error))
        error = self.assertRaises(
            ConfigErrors, MemoryProxy, bootstrap(listener("a", A, direct("1")), listener("a", B, direct("2")))
        )
        self.assertIn("two listeners of the name 'a'", str(error))

    def test_stopped(self) -> None:
        """
        Listeners that were told to accept no more do not open again with the next configuration.
        """
        proxy = self.start(listener("a", A, direct("1")))
        proxy.server.listeners.stopAccepting()
        self.change(listener("a", A, direct("2")), listener("b", B, direct("2")))
        self.assertEqual((self.listens(A), self.listens(B)), (False, True))
        self.assertEqual(self.count("listener_stopped"), 1)


class ConnectionTests(ListenersCase):
    """
    Connections of former listeners.
    """

    def test_nextStream(self) -> None:
        """
        A live connection takes the new routes with its next stream, over several changes.
        """
        proxy = self.start(listener("l", A, direct("0")))
        client = proxy.client()
        self.assertEqual(client.request().body, b"0")
        for number in "1234":
            self.change(listener("l", A, direct(number)))
            self.assertEqual(client.request().body, number.encode())
        self.assertEqual(proxy.stat("listener.127.0.0.1_10000.downstream_cx_active"), 1)

    def test_streamInFlight(self) -> None:
        """
        A stream ends on what it began with, whose log is open until then.
        """
        proxy = self.start(listener("l", A, forward("c"), logs=True), cluster("c", 80))
        backend = proxy.backend("127.0.0.1:80", Answer(body=b"slow", delay=5))
        client = proxy.client()
        client.send(path="/slow")
        proxy.advance(1)
        self.change(listener("l", A, direct("new")))
        proxy.advance(5)
        response = client.response()
        self.assertEqual(response.body, b"slow")
        self.assertEqual(len(backend.requests), 1)
        self.assertEqual([line.split('"')[1] for line in proxy.accessLog], ["GET /slow HTTP/1.1"])
        self.assertEqual(client.request().body, b"new")

    def test_logsAreClosed(self) -> None:
        """
        Logs of former versions are given up with their last stream; those of the current one are open.
        """
        proxy = self.start(listener("l", A, direct("0"), logs=True))
        holders = 1
        files = proxy.logFiles
        openFile, release = files.open, files.release

        def counted(work: Any, step: int) -> Any:
            def call(argument: Any) -> Any:
                nonlocal holders
                holders += step
                return work(argument)

            return call

        self.patch(files, "open", counted(openFile, 1))
        self.patch(files, "release", counted(release, -1))
        client = proxy.client()
        for number in "12345":
            client.request()
            self.change(listener("l", A, direct(number), logs=True))
            self.assertEqual(holders, 1)
        client.request()
        self.assertEqual(len(proxy.accessLog), 6)
        self.assertFalse(proxy.reload(bootstrap(listener("l", A, direct("x"), forward("nowhere"), logs=True))))
        self.assertEqual(holders, 1)
        proxy.stop()
        self.assertEqual(holders, 0)

    def test_metricsAreGivenUp(self) -> None:
        """
        Changes leave no metrics behind, and those of what stays keep counting.
        """
        proxy = self.start(listener("l", A, direct("0")))
        client = proxy.client()
        client.request()
        before = sorted(proxy.stats())
        for number in "12345":
            self.change(listener("l", A, direct(number), stat_prefix=f"p{number}"))
            client.request()
        self.change(listener("l", A, direct("0")))
        client.request()
        self.assertEqual(sorted(proxy.stats()), before)
        client.close()
        proxy.advance(2)
        self.assertEqual(sorted(proxy.stats()), before)
        self.assertEqual(proxy.stat("listener.127.0.0.1_10000.downstream_cx_active"), 0)

    def test_removed(self) -> None:
        """
        The connections of a removed listener end with their next response, and the listener is forgotten with the last
        of them.
        """
        other = listener("m", B, forward("c"))
        proxy = self.start(listener("l", A, direct("1")), other, cluster("c", 80))
        proxy.backend("127.0.0.1:80", Answer(body=b"slow", delay=5))
        busy = proxy.client("m")
        busy.send()
        proxy.advance(1)
        self.change(listener("l", A, direct("1")))
        self.assertFalse(self.listens(B))
        self.assertEqual(self.count("total_listeners_draining"), 1)
        proxy.advance(5)
        response = busy.response()
        self.assertEqual((response.body, response.header("connection")), (b"slow", "close"))
        busy.close()
        proxy.advance(2)
        self.assertEqual((self.count("total_listeners_draining"), self.count("listener_removed")), (0, 1))
        self.assertEqual(proxy.server.listeners.connections, 0)
        self.assertEqual([name for name in proxy.stats() if name.startswith("listener.127.0.0.1_10001.")], [])

    def test_removedChain(self) -> None:
        """
        Connections of a chain that is gone drain; those of one that stays do not.
        """

        def chains(*names: str) -> dict[str, Any]:
            found = []
            for name in names:
                [chain] = listener(name, A, direct(name))["filter_chains"]
                prefix = {"near": "10.0.0.0", "far": "20.0.0.0"}[name]
                match = {"source_prefix_ranges": [{"address_prefix": prefix, "prefix_len": 8}]}
                found.append({**chain, "name": name, "filter_chain_match": match})
            return {**listener("l", A, direct("x")), "filter_chains": found}

        proxy = self.start(chains("near", "far"))
        near, far = proxy.client(source="10.0.0.1"), proxy.client(source="20.0.0.1")
        self.assertEqual((near.request().body, far.request().body), (b"near", b"far"))
        self.change(chains("near"))
        answers = [(one.body, one.header("connection")) for one in (near.request(), far.request())]
        self.assertEqual(answers, [(b"near", None), (b"far", "close")])
        proxy.settle()
        self.assertEqual((near.closed, far.closed), (False, True))
        self.assertEqual(near.request().body, b"near")

    def test_idleOfTheGone(self) -> None:
        """
        A connection that is idle when its listener goes may have a request on its way: it is served, whether it comes
        in the same turn or late in the time to drain. Only at the end of that idle connections are closed, those that
        have not asked anything after another second.
        """
        proxy = self.start(listener("l", A, direct("1")), listener("m", B, direct("2")))
        clients = [proxy.client("m") for _ in range(4)]
        same, late, idle, _ = clients
        for client in (same, late, idle):
            client.request()
        same.send()
        self.change(listener("l", A, direct("1")))
        answer = same.response()
        self.assertEqual((answer.body, answer.header("connection")), (b"2", "close"))
        proxy.advance(9)
        answer = late.request()
        self.assertEqual((answer.body, answer.header("connection")), (b"2", "close"))
        self.assertEqual([client.closed for client in clients], [True, True, False, False])
        proxy.advance(1.1)
        self.assertEqual([client.closed for client in clients], [True, True, True, False])
        proxy.advance(1)
        self.assertEqual([client.closed for client in clients], [True] * 4)
        for client in clients:
            client.close()
        proxy.advance(2)
        self.assertEqual((self.count("total_listeners_draining"), proxy.server.listeners.connections), (0, 0))

    def test_busyOfTheGone(self) -> None:
        """
        A stream that lasts for longer than the time to drain comes to its end; its connection then closes, though the
        head of the response was sent before anybody knew.
        """
        other = listener("m", B, forward("c", timeout="0s"))
        proxy = self.start(listener("l", A, direct("1")), other, cluster("c", 80))
        proxy.backend("127.0.0.1:80", Answer(body=[b"a", b"b", b"c"], delay=7))
        client = proxy.client("m")
        client.send()
        proxy.advance(8)
        self.change(listener("l", A, direct("1")))
        answer = client.response()
        self.assertEqual((answer.body, answer.header("connection")), (b"abc", None))
        proxy.settle()
        self.assertTrue(client.closed)

    def test_severalLeave(self) -> None:
        """
        Each version that goes has its own time; a proxy that stops waits for none of them.
        """

        def named(name: str) -> dict[str, Any]:
            made = listener("l", A, direct(name))
            made["filter_chains"][0]["name"] = name
            return made

        proxy = self.start(named("0"))
        clients = []
        for name in "123":
            clients.append(proxy.client())
            clients[-1].request()
            self.change(named(name))
            proxy.advance(4)
        self.assertEqual([client.closed for client in clients], [True, False, False])
        self.assertEqual(clients[1].request().body, b"1")
        proxy.server.stopService()
        proxy.advance(1)
        self.assertTrue(all(client.closed for client in clients))

    def test_draining(self) -> None:
        """
        Draining reaches connections of former versions, too.
        """
        proxy = self.start(listener("l", A, direct("0")))
        clients = []
        for number in "123":
            clients.append(proxy.client())
            clients[-1].request()
            self.change(listener("l", A, direct(number)))
        clients.append(proxy.client())
        self.assertEqual(proxy.server.listeners.connections, 4)
        proxy.server.listeners.drain()
        proxy.advance(1)
        self.assertTrue(all(client.closed for client in clients))

    def test_closeGently(self) -> None:
        """
        Whoever is told to close gently says so with each response, under later configurations as well, until that is
        taken back.
        """
        proxy = self.start(listener("l", A, direct("0")))
        proxy.server.listeners.closeGently(True)
        self.assertEqual(proxy.client().request().header("connection"), "close")
        self.change(listener("l", A, direct("1")))
        self.assertEqual(proxy.client().request().header("connection"), "close")
        proxy.server.listeners.closeGently(False)
        self.assertIsNone(proxy.client().request().header("connection"))

    def test_bufferLimit(self) -> None:
        """
        A new buffer limit holds for new connections, on a port that stays.
        """
        made = listener("l", A, direct("0"))
        proxy = self.start(made)
        self.change({**made, "per_connection_buffer_limit_bytes": 4321})
        peer = Peer()
        proxy.connect(peer)
        proxy.settle()
        [connection] = proxy.server.listeners.byName["l"].connections
        transport: Any = connection.transport
        self.assertEqual(transport.bufferSize, 4321)
