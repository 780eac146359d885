"""
L{meshproxy.listener.listener}, in a proxy in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.errors import ConfigErrors
from meshproxy.interfaces import IListening
from meshproxy.listener.connection import DownstreamConnection
from meshproxy.listener.port import addressOf
from meshproxy.net.address import Address
from meshproxy.testing import MemoryNetwork, MemoryProxy, Peer, VirtualReactor
from tests.filters.network.support import accessLog
from tests.integration.configs import STDOUT, bootstrap, direct, listener

PORT = 10000
STAT = f"listener.127.0.0.1_{PORT}."


def chained(*chains: tuple[str, dict[str, Any] | None], **fields: Any) -> dict[str, Any]:
    """
    A listener with a chain for each name, which answers with that name.

    @param chains: Name and C{filter_chain_match} of each.
    """
    made = listener("l", PORT, direct("x"))
    found = []
    for name, match in chains:
        [chain] = listener(name, PORT, direct(name))["filter_chains"]
        found.append({**chain, "name": name, **({} if match is None else {"filter_chain_match": match})})
    return {**made, "filter_chains": found, **fields}


def refusals(*resources: dict[str, Any]) -> list[tuple[str, str]]:
    """
    The paths and reasons of what is wrong with listeners.
    """
    try:
        MemoryProxy(bootstrap(*resources))
    except ConfigErrors as errors:
        return [(error.path, error.why) for error in errors.errors]
    raise AssertionError("nothing was refused")


class _BacklogNetwork(MemoryNetwork):
    """
    Remembers how many connections may wait at each port.
    """

    def __init__(self) -> None:
        super().__init__(VirtualReactor())
        self.backlogs: list[int] = []

    def accept(
        self, address: Address, accepted: Callable[[Any], object], backlog: int = 0, mode: int = 0, options: Any = None
    ) -> IListening:
        """
        See L{INetwork.accept}.
        """
        self.backlogs.append(backlog)
        return super().accept(address, accepted, backlog, mode, options)


class BacklogTests(SynchronousTestCase):
    """
    How many connections may wait to be accepted.
    """

    def test_backlog(self) -> None:
        """
        As many as the system lets them, which is far more than any limit of it that is usual, or C{tcp_backlog_size}.
        """
        network = _BacklogNetwork()
        small = {**listener("s", PORT + 1, direct("x")), "tcp_backlog_size": 5}
        MemoryProxy(bootstrap(listener("l", PORT, direct("x")), small), network).stop()
        self.assertEqual(network.backlogs, [65535, 5])


class CompileTests(SynchronousTestCase):
    """
    What a listener may not be.
    """

    def check(self, made: dict[str, Any], path: str, why: str) -> None:
        """
        See that exactly this is told.
        """
        [(actualPath, actualWhy)] = refusals(made)
        self.assertEqual(actualPath, f"static_resources.listeners[0]{path}")
        self.assertIn(why, actualWhy)

    def test_address(self) -> None:
        """
        It needs an IP address, or a path.
        """
        made = listener("l", PORT, direct("x"))
        self.check({**made, "address": {}}, ".address", "socket_address")
        wrong = listener("l", PORT, direct("x"), host="example.com")
        self.check(wrong, ".address.socket_address.address", "is not an IP address")

    def test_ipv4Compat(self) -> None:
        """
        Of IPv6 addresses only the one for all, and those that stand for one of IPv4, may take IPv4 as well.
        """
        for host, isRight in (("::", True), ("::ffff:192.0.2.1", True), ("::1", False), ("0.0.0.0", False)):
            made = listener("l", PORT, direct("x"))
            made["address"]["socket_address"].update(address=host, ipv4_compat=True)
            if isRight:
                MemoryProxy(bootstrap(made))
            else:
                self.check(made, ".address.socket_address.ipv4_compat", f"{host!r} does not")

    def test_chains(self) -> None:
        """
        It needs a filter chain, and a chain a filter, which is a terminal one.
        """
        made = listener("l", PORT, direct("x"))
        self.check({**made, "filter_chains": []}, ".filter_chains", "needs a filter chain")
        self.check({**made, "filter_chains": [{}]}, ".filter_chains[0].filters", "needs a network filter")
        [chain] = made["filter_chains"]
        twice = {"filters": chain["filters"] * 2}
        self.check({**made, "filter_chains": [twice]}, ".filter_chains[0].filters[0]", "must be the last one")

    def test_unknownFilter(self) -> None:
        """
        A filter that does not exist is told.
        """
        struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "no.such", "value": {}}
        chain = {"filters": [{"name": "f", "typed_config": struct}]}
        [(path, why)] = refusals({**listener("l", PORT, direct("x")), "filter_chains": [chain]})
        self.assertIn(".filter_chains[0].filters[0]", path)
        self.assertIn("no.such", why)

    def test_transportSocket(self) -> None:
        """
        Of transport sockets, C{raw_buffer} is one.
        """
        made = chained(("a", None))
        raw = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
        made["filter_chains"][0]["transport_socket"] = {"name": "raw", "typed_config": {"@type": raw}}
        MemoryProxy(bootstrap(made)).stop()
        tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": {"@type": tls}}
        self.assertTrue(refusals(made))

    def test_twins(self) -> None:
        """
        Two chains that match alike.
        """
        made = chained(("a", {"destination_port": 80}), ("b", {"destination_port": 80}))
        self.check(made, ".filter_chains[1].filter_chain_match", "listeners[0].filter_chains[0]")

    def test_addressOf(self) -> None:
        """
        Addresses of configurations.
        """

        def of(**fields: Any) -> Any:
            return addressOf(Section.of("envoy.config.core.v3.Address", fields))

        socketAddress = {"address": "::1", "port_value": 80}
        self.assertEqual(of(socket_address=socketAddress), (Address("::1", 80), 0))
        self.assertEqual(of(pipe={"path": "/run/s", "mode": 0o600}), (Address("/run/s"), 0o600))
        self.assertIsNone(of())


class ServingTests(SynchronousTestCase):
    """
    Connections.
    """

    def test_counts(self) -> None:
        """
        Connections are counted where they came in, under the listener's address.
        """
        proxy = MemoryProxy(bootstrap(listener("l", PORT, direct("x"))))
        client = proxy.client()
        self.assertEqual(client.request().body, b"x")
        self.assertEqual((proxy.stat(f"{STAT}downstream_cx_total"), proxy.stat(f"{STAT}downstream_cx_active")), (1, 1))
        self.assertEqual(proxy.stat(f"{STAT}worker_0.downstream_cx_active"), 1)
        proxy.advance(2)
        client.close()
        proxy.settle()
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_active"), 0)
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_destroy"), 1)

    def test_statPrefix(self) -> None:
        """
        C{stat_prefix} stands in for the address.
        """
        proxy = MemoryProxy(bootstrap({**listener("l", PORT, direct("x")), "stat_prefix": "front"}))
        proxy.request()
        self.assertEqual(proxy.stat("listener.front.downstream_cx_total"), 1)

    def test_unixClient(self) -> None:
        """
        A client of a unix socket has no name, and goes by that of the socket, as in Envoy.
        """
        log = accessLog("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%\n")
        proxy = MemoryProxy(bootstrap(listener("l", "/run/front", direct("x"), access_log=log)))
        proxy.request()
        self.assertEqual(proxy.accessLog, ["/run/front /run/front /run/front"])

    def test_name(self) -> None:
        """
        Without a name it goes by its address.
        """
        made = listener("l", PORT, direct("x"))
        del made["name"]
        proxy = MemoryProxy(bootstrap(made))
        self.assertEqual(list(proxy.server.listeners.byName), [f"127.0.0.1:{PORT}"])

    def test_interfaces(self) -> None:
        """
        Its ports are what listening gives, its connections know of half-closed ones.
        """
        proxy = MemoryProxy(bootstrap(listener("l", PORT, direct("x"))))
        [found] = proxy.server.listeners
        self.assertTrue(verifyObject(IListening, found.ports[0]))
        connection = DownstreamConnection(found, found.chains[0], ConnectionInfo())
        self.assertTrue(verifyObject(IHalfCloseableProtocol, connection))

    def test_additionalAddresses(self) -> None:
        """
        Several addresses are one listener.
        """
        more = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": PORT + 1}}}
        proxy = MemoryProxy(bootstrap({**listener("l", PORT, direct("x")), "additional_addresses": [more]}))
        for port in (PORT, PORT + 1):
            self.assertEqual(proxy.client(f"127.0.0.1:{port}").request().body, b"x")

    def test_chains(self) -> None:
        """
        Each connection has the chain that matches it, else the default one.
        """
        made = chained(("near", {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}))
        [default] = chained(("far", None))["filter_chains"]
        proxy = MemoryProxy(bootstrap({**made, "default_filter_chain": default}))
        self.assertEqual(proxy.client(source="10.1.1.1").request().body, b"near")
        self.assertEqual(proxy.client(source="192.0.2.1").request().body, b"far")

    def test_defaultOnly(self) -> None:
        """
        The default chain may be the only one.
        """
        [default] = chained(("far", None))["filter_chains"]
        made = {**listener("l", PORT, direct("x")), "filter_chains": [], "default_filter_chain": default}
        self.assertEqual(MemoryProxy(bootstrap(made)).request().body, b"far")

    def test_unmatched(self) -> None:
        """
        A connection without a chain is closed, counted, and told in the listener's own access log.
        """
        made = chained(("a", {"destination_port": PORT + 1}), access_log=[STDOUT])
        proxy = MemoryProxy(bootstrap(made))
        peer = Peer()
        proxy.connect(peer)
        proxy.settle()
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.stat(f"{STAT}no_filter_chain_match"), 1)
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_active"), 0)
        [line] = proxy.accessLog
        self.assertIn(" NR ", line)

    def test_halfClosed(self) -> None:
        """
        A downstream that finishes writing before its request is whole loses the connection, without a trace in the log
        of errors.
        """
        proxy = MemoryProxy(bootstrap(listener("l", PORT, direct("x"))))
        peer = Peer()
        proxy.connect(peer)
        peer.write(b"GET / HT")
        peer.finish()
        proxy.advance(2)
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_active"), 0)

    def test_bufferLimit(self) -> None:
        """
        C{per_connection_buffer_limit_bytes} is the transport's.
        """
        made = {**listener("l", PORT, direct("x")), "per_connection_buffer_limit_bytes": 12345}
        proxy = MemoryProxy(bootstrap(made))
        proxy.client()
        proxy.settle()
        [connection] = proxy.server.listeners.byName["l"].connections
        transport: Any = connection.transport
        self.assertEqual(transport.bufferSize, 12345)

    def test_abort(self) -> None:
        """
        All connections can be cut off.
        """
        proxy = MemoryProxy(bootstrap(listener("l", PORT, direct("x"))))
        clients = [proxy.client() for _ in range(3)]
        proxy.settle()
        proxy.server.listeners.abort()
        proxy.settle()
        self.assertTrue(all(client.wasReset for client in clients))
