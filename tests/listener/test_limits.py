"""
What a listener refuses, and how it drains: limits of connections, socket options, drain types.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import MemoryProxy, Peer
from tests.integration.configs import bootstrap, direct, listener
from tests.listener.test_listener import PORT, STAT, chained, refusals

KEEPALIVE = {"level": 1, "name": 9, "int_value": 1}


def started(*listeners: dict[str, Any], **runtime: int) -> MemoryProxy:
    """
    A proxy with some runtime values; two underscores stand for a dot.
    """
    layer = {name.replace("__", "."): value for name, value in runtime.items()}
    layers = {"layers": [{"name": "static", "static_layer": layer}, {"name": "admin", "admin_layer": {}}]}
    return MemoryProxy(bootstrap(*listeners, layered_runtime=layers))


class LimitTests(SynchronousTestCase):
    """
    Connections that are one too many are closed at once (CVE-2020-8663).
    """

    def connect(self, proxy: MemoryProxy, port: int = PORT) -> Peer:
        """
        A client.
        """
        peer = Peer()
        proxy.connect(peer, f"127.0.0.1:{port}")
        return peer

    def test_listener(self) -> None:
        """
        A listener has a limit of its own in the runtime; those that left make room.
        """
        proxy = started(listener("l", PORT, direct("x")), envoy__resource_limits__listener__l__connection_limit=2)
        peers = [self.connect(proxy) for _ in range(3)]
        self.assertEqual([peer.closed for peer in peers], [False, False, True])
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_overflow"), 1)
        self.assertEqual(proxy.stat(f"{STAT}downstream_cx_total"), 2)
        peers[0].abort()
        proxy.settle()
        self.assertFalse(self.connect(proxy).closed)

    def test_changed(self) -> None:
        """
        A change of the runtime holds for the next connection.
        """
        proxy = started(listener("l", PORT, direct("x")))
        self.assertFalse(self.connect(proxy).closed)
        proxy.server.context.runtime.modify({"envoy.resource_limits.listener.l.connection_limit": "1"})
        self.assertTrue(self.connect(proxy).closed)

    def test_global(self) -> None:
        """
        The limit for all listeners together, which one may ignore.
        """
        two = {**listener("m", PORT + 1, direct("x")), "ignore_global_conn_limit": True}
        proxy = started(listener("l", PORT, direct("x")), two, overload__global_downstream_max_connections=2)
        self.assertFalse(self.connect(proxy).closed)
        self.assertFalse(self.connect(proxy, PORT + 1).closed)
        self.assertTrue(self.connect(proxy).closed)
        self.assertFalse(self.connect(proxy, PORT + 1).closed)
        self.assertEqual(proxy.stat(f"{STAT}downstream_global_cx_overflow"), 1)


class AddressTests(SynchronousTestCase):
    """
    Socket options.
    """

    def test_options(self) -> None:
        """
        Each address has the listener's options, or its own.
        """
        more = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": PORT + 1}}}
        other = {**KEEPALIVE, "int_value": 0}
        made = {
            **listener("l", PORT, direct("x")),
            "socket_options": [KEEPALIVE],
            "freebind": True,
            "additional_addresses": [{**more, "socket_options": {"socket_options": [other]}}],
        }
        [found] = MemoryProxy(bootstrap(made)).server.listeners
        first, second = (found.optionsOf[address] for address in found.addresses)
        self.assertEqual((first.prebind, first.freebind), (((1, 9, 1),), True))
        self.assertEqual((second.prebind, second.freebind), (((1, 9, 0),), True))

    def test_wrong(self) -> None:
        """
        A fault in an option has its path.
        """
        made = {**listener("l", PORT, direct("x")), "socket_options": [{**KEEPALIVE, "int_value": 1 << 40}]}
        [(path, _)] = refusals(made)
        self.assertEqual(path, "static_resources.listeners[0].socket_options[0].int_value")

    def test_changed(self) -> None:
        """
        A port that stands open keeps its options, and goes on.
        """
        made = listener("l", PORT, direct("x"))
        proxy = MemoryProxy(bootstrap(made))
        [before] = proxy.server.listeners
        port = before.ports[0]
        self.assertTrue(proxy.reload(bootstrap({**made, "socket_options": [KEEPALIVE]})))
        [after] = proxy.server.listeners
        self.assertIs(after.ports[0], port)
        self.assertNotEqual(port.options, after.optionsOf[port.wanted])
        self.assertEqual(proxy.request().body, b"x")


class DrainTypeTests(SynchronousTestCase):
    """
    C{drain_type}.
    """

    def test_modifyOnly(self) -> None:
        """
        Failing the health check by hand closes no connection of a listener that is C{MODIFY_ONLY}, not after a reload
        either; everything else that drains does.
        """
        made = [listener("l", PORT, direct("x")), listener("m", PORT + 1, direct("x"))]
        made[1]["drain_type"] = "MODIFY_ONLY"
        proxy = MemoryProxy(bootstrap(*made))

        def closing() -> list[bool]:
            answers = [proxy.client(f"127.0.0.1:{port}").request() for port in (PORT, PORT + 1)]
            return [answer.headers.get(b"connection") == b"close" for answer in answers]

        proxy.server.failHealthCheck(True)
        self.assertEqual(closing(), [True, False])
        made[1]["per_connection_buffer_limit_bytes"] = 4096
        self.assertTrue(proxy.reload(bootstrap(*made)))
        self.assertEqual(closing(), [True, False])
        proxy.server.failHealthCheck(False)
        self.assertEqual(closing(), [False, False])
        proxy.server.drainListeners(skipExit=True)
        self.assertEqual(closing(), [True, True])


class ChainTests(SynchronousTestCase):
    """
    Chains that come and go.
    """

    def test_blind(self) -> None:
        """
        Chains that nobody can match, for no filter looks, are told at the start.
        """
        for match in (
            {"server_names": ["a.example"]},
            {"transport_protocol": "tls"},
            {"application_protocols": ["h2"]},
        ):
            proxy = MemoryProxy(bootstrap(chained(("a", match))))
            [warning] = proxy.server.bootstrap.report.warnings
            self.assertIn("filter_chain_match", warning.path)
            self.assertIn("tls_inspector", warning.why)

    def test_draining(self) -> None:
        """
        Of an updated listener only the chains drain that are not there any more, and are counted for as long as there
        are connections; the others' connections live on.
        """
        sources = {
            name: {"source_prefix_ranges": [{"address_prefix": f"10.{n}.0.0", "prefix_len": 16}]}
            for n, name in enumerate("abc")
        }
        proxy = MemoryProxy(bootstrap(chained(("a", sources["a"]), ("b", sources["b"]))))
        stays, goes = proxy.client(source="10.0.0.1"), proxy.client(source="10.1.0.1")
        for client in (stays, goes):
            client.request()
        self.assertTrue(proxy.reload(bootstrap(chained(("a", sources["a"]), ("c", sources["c"])))))
        self.assertEqual([client.request().header("connection") for client in (stays, goes)], [None, "close"])
        proxy.settle()
        self.assertEqual((stays.closed, goes.closed), (False, True))
        self.assertEqual(stays.request().body, b"a")
        self.assertEqual(proxy.stat("listener_manager.total_filter_chains_draining"), 1)
        self.assertEqual(proxy.stat("listener_manager.listener_in_place_updated"), 1)
        stays.close()
        proxy.advance(2)
        self.assertEqual(proxy.stat("listener_manager.total_filter_chains_draining"), 0)
