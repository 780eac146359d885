"""
L{meshproxy.listener.inspection}, in a proxy in memory.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.interfaces import MORE, STOP
from meshproxy.net.listenerfilter import ListenerFilter
from meshproxy.testing import MemoryNetwork, MemoryProxy, Peer, VirtualReactor
from tests.integration.configs import bootstrap, direct, listener
from tests.listener.test_listener import PORT, STAT, chained

KNOCK = b"KNOCK "


class Knock(ListenerFilter):
    """
    Wants a word first, and takes it off the connection.
    """

    maxBytes = len(KNOCK)
    seen: ClassVar[list[bytes]] = []

    def inspect(self, connection: Any, data: bytes) -> object:
        """
        Decide as early as possible.
        """
        self.seen.append(data)
        if not KNOCK.startswith(data):
            connection.close("no_knock")
        elif len(data) < len(KNOCK):
            return MORE
        else:
            connection.consume(len(KNOCK))
        return None


class Name(ListenerFilter):
    """
    Takes the method of a request for a server name; it only looks.
    """

    maxBytes = 20000

    def inspect(self, connection: Any, data: bytes) -> object:
        """
        Wait for a blank.
        """
        name, blank, _ = data.partition(b" ")
        if not blank:
            return MORE
        connection.facts.serverName = name.decode().lower()
        return None


class Doorman(ListenerFilter):
    """
    Waits until somebody says so.
    """

    waiting: ClassVar[list[Any]] = []

    def inspect(self, connection: Any, data: bytes) -> object:
        """
        Wait.
        """
        self.waiting.append(connection)
        return STOP


class Broken(ListenerFilter):
    """
    Fails.
    """

    def inspect(self, connection: Any, data: bytes) -> object:
        """
        Raise.
        """
        raise ZeroDivisionError


def filtered(*names: str, **fields: Any) -> dict[str, Any]:
    """
    A listener with listener filters.
    """
    url = "type.googleapis.com/xds.type.v3.TypedStruct"
    filters = [{"name": name, "typed_config": {"@type": url, "type_url": name, "value": {}}} for name in names]
    return {**listener("l", PORT, direct("x")), "listener_filters": filters, **fields}


def started(made: dict[str, Any], readSize: int = 0) -> MemoryProxy:
    """
    A proxy with a listener.
    """
    network = MemoryNetwork(VirtualReactor(), readSize=readSize)
    filters: Any = {"knock": Knock, "name": Name, "doorman": Doorman, "broken": Broken}
    return MemoryProxy(bootstrap(made), network, filters)


REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class InspectionTests(SynchronousTestCase):
    """
    Listener filters see the beginning of each connection.
    """

    def setUp(self) -> None:
        self.patch(Knock, "seen", [])
        self.patch(Doorman, "waiting", [])

    def talk(self, proxy: MemoryProxy, *pieces: bytes) -> Peer:
        """
        Send pieces, with time in between.
        """
        peer = Peer()
        proxy.connect(peer)
        for piece in pieces:
            peer.write(piece)
            proxy.advance(0.1)
        return peer

    def pre(self, proxy: MemoryProxy) -> int:
        """
        How many connections are with listener filters.
        """
        return int(proxy.stat(f"{STAT}downstream_pre_cx_active"))

    def test_everySplit(self) -> None:
        """
        However the bytes come, what is consumed is gone and what was seen is not: whole, in two, byte by byte.
        """
        wire = KNOCK + REQUEST
        proxy = started(filtered("knock", "name"))
        for cut in range(len(wire) + 1):
            peer = self.talk(proxy, *(piece for piece in (wire[:cut], wire[cut:]) if piece))
            self.assertTrue(peer.received.endswith(b"x"), cut)
            self.assertEqual(self.pre(proxy), 0)
        peer = self.talk(started(filtered("knock", "name"), readSize=1), wire)
        self.assertTrue(peer.received.endswith(b"x"))

    def test_seen(self) -> None:
        """
        A filter is shown all that came until now and no more than it wants, once for each arrival.
        """
        self.talk(started(filtered("knock")), b"KN", b"O", b"CK GET")
        self.assertEqual(list(Knock.seen), [b"KN", b"KNO", KNOCK])

    def test_chain(self) -> None:
        """
        What filters find out chooses the filter chain.
        """
        made = chained(("posts", {"server_names": ["post"]}), ("gets", {"server_names": ["get"]}))
        proxy = started({**filtered("name"), "filter_chains": made["filter_chains"]})
        self.assertTrue(self.talk(proxy, REQUEST).received.endswith(b"gets"))
        self.assertTrue(self.talk(proxy, b"POST" + REQUEST[3:]).received.endswith(b"posts"))
        self.assertTrue(self.talk(proxy, b"HEAD" + REQUEST[3:]).closed)
        self.assertEqual(proxy.stat(f"{STAT}no_filter_chain_match"), 1)

    def test_long(self) -> None:
        """
        A filter that wants much is shown it in steps, up to what it wants.
        """
        proxy = started(filtered("name"))
        peer = self.talk(proxy, b"A" * 19000)
        self.assertEqual(self.pre(proxy), 1)
        peer.write(b" / HTTP/1.1\r\n\r\n")
        proxy.settle()
        self.assertEqual(self.pre(proxy), 0)

    def test_undecided(self) -> None:
        """
        A filter that does not decide when it has all it wanted, waits until the time is over; it does not spin.
        """
        proxy = started(filtered("name"))
        peer = self.talk(proxy, b"A" * 30000)
        self.assertFalse(peer.closed)
        proxy.advance(15)
        self.assertTrue(peer.closed)

    def test_closed(self) -> None:
        """
        A filter may close the connection; it never counts as one.
        """
        proxy = started(filtered("knock"))
        self.assertTrue(self.talk(proxy, b"KNIFE").closed)
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_total"), 0)
        self.assertEqual(self.pre(proxy), 0)

    def test_ended(self) -> None:
        """
        A peer that finishes or is gone before a filter decides loses the connection; one that finishes with its last
        bytes is still served.
        """
        proxy = started(filtered("knock"))
        for end in (Peer.finish, Peer.abort):
            peer = self.talk(proxy, b"KNO")
            end(peer)
            proxy.settle()
            self.assertTrue(peer.closed)
        peer = Peer()
        proxy.connect(peer)
        peer.finish()
        proxy.settle()
        self.assertTrue(peer.closed)
        self.assertEqual(self.pre(proxy), 0)
        self.assertEqual(proxy.stat(f"{STAT}downstream_listener_filter_remote_close"), 3)
        peer = Peer()
        proxy.connect(peer)
        peer.abort()
        proxy.settle()
        self.assertEqual(proxy.stat(f"{STAT}downstream_listener_filter_error"), 1)
        peer = self.talk(proxy, KNOCK + REQUEST)
        peer.finish()
        proxy.settle()
        self.assertTrue(peer.received.endswith(b"x"))

    def test_timeout(self) -> None:
        """
        All filters together have 15 seconds, or as many as C{listener_filters_timeout} says; 0 is for ever.
        """
        for fields, seconds in (({}, 15), ({"listener_filters_timeout": "2s"}, 2)):
            proxy = started(filtered("knock", **fields))
            peer = self.talk(proxy, b"K")
            proxy.advance(seconds - 0.2)
            self.assertFalse(peer.closed)
            proxy.advance(0.2)
            self.assertTrue(peer.closed)
            self.assertEqual(proxy.stat(f"{STAT}downstream_pre_cx_timeout"), 1)
        proxy = started(filtered("knock", listener_filters_timeout="0s"))
        peer = self.talk(proxy, b"K")
        proxy.advance(10000)
        self.assertFalse(peer.closed)

    def test_goesOn(self) -> None:
        """
        With C{continue_on_listener_filters_timeout} the connection gets its chain when the time is over.
        """
        proxy = started(filtered("name", continue_on_listener_filters_timeout=True))
        peer = self.talk(proxy, b"GET")
        proxy.advance(15)
        self.assertEqual(proxy.stat(f"{STAT}downstream_pre_cx_timeout"), 1)
        peer.write(REQUEST[3:])
        proxy.settle()
        self.assertTrue(peer.received.endswith(b"x"))

    def test_held(self) -> None:
        """
        A filter may wait for something else than bytes, and is then followed by the next one.
        """
        proxy = started(filtered("doorman", "knock"))
        peer = self.talk(proxy, KNOCK + REQUEST)
        self.assertEqual(peer.received, b"")
        [connection] = Doorman.waiting
        connection.resume()
        connection.resume()
        proxy.settle()
        self.assertTrue(peer.received.endswith(b"x"))

    def test_heldTooLong(self) -> None:
        """
        The time counts while a filter waits; what comes too late does nothing.
        """
        proxy = started(filtered("doorman"))
        peer = self.talk(proxy, REQUEST)
        proxy.advance(15)
        self.assertTrue(peer.closed)
        [connection] = Doorman.waiting
        connection.resume()
        connection.close()
        self.assertEqual(self.pre(proxy), 0)

    def test_raises(self) -> None:
        """
        A filter that raises loses its connection with a reset, and is logged.
        """
        proxy = started(filtered("broken"))
        self.assertTrue(self.talk(proxy).wasReset)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cannotBeServed(self) -> None:
        """
        A chain whose transport raises loses the connection, with a log of why, and nothing is left of it.
        """
        proxy = started(filtered("knock"))
        [chain] = proxy.server.listeners.byName["l"].chains

        class Broken:
            """
            A transport that cannot be made.
            """

            trust: object = None

            def begin(self, *arguments: object) -> None:
                """
                Raise.
                """
                raise ZeroDivisionError

            def stop(self) -> None:
                """
                Nothing is held.
                """

        chain.transport = Broken()
        self.assertTrue(self.talk(proxy, KNOCK + REQUEST).wasReset)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.pre(proxy), 0)

    def test_drain(self) -> None:
        """
        To drain, connections of which nothing came are closed, and the others go on.
        """
        proxy = started(filtered("knock"))
        idle, busy = self.talk(proxy), self.talk(proxy, b"KNO")
        proxy.server.listeners.drain()
        proxy.settle()
        self.assertEqual((idle.closed, busy.closed), (True, False))
        busy.write(b"CK " + REQUEST)
        proxy.settle()
        self.assertTrue(busy.received.endswith(b"x"))

    def test_abort(self) -> None:
        """
        All of them can be cut off, and count as connections until then.
        """
        proxy = started(filtered("knock"))
        peer = self.talk(proxy, b"KNO")
        self.assertEqual(proxy.server.listeners.connections, 1)
        proxy.server.listeners.abort()
        proxy.settle()
        self.assertTrue(peer.wasReset)
        self.assertEqual(proxy.server.listeners.connections, 0)

    def test_disabled(self) -> None:
        """
        C{filter_disabled} leaves a filter out for some connections.
        """
        here = {"destination_port_range": {"start": PORT, "end": PORT + 1}}
        there = {"destination_port_range": {"start": PORT + 1, "end": PORT + 2}}
        for predicate, isDisabled in (
            ({"any_match": True}, True),
            (here, True),
            (there, False),
            ({"not_match": here}, False),
            ({"or_match": {"rules": [there, here]}}, True),
            ({"or_match": {"rules": [there, there]}}, False),
            ({"and_match": {"rules": [here, {"any_match": True}]}}, True),
            ({"and_match": {"rules": [here, there]}}, False),
        ):
            made = filtered("knock")
            made["listener_filters"][0]["filter_disabled"] = predicate
            self.assertEqual(self.talk(started(made), REQUEST).received.endswith(b"x"), isDisabled, predicate)
