"""
Tests for L{meshproxy.upstream.statssinks}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.testing import MemoryProxy, Peer, httpBootstrap

STATSD = "envoy.config.metrics.v3.StatsdSink"
DOG = "envoy.config.metrics.v3.DogStatsdSink"
TO = Address("127.0.0.1", 8125)


def sink(name: str = STATSD, **fields: Any) -> dict[str, Any]:
    """
    A sink.
    """
    return {"name": "sink", "typed_config": {"@type": typeURL(name), **fields}}


def address(**fields: Any) -> dict[str, Any]:
    """
    Where datagrams go.
    """
    return {"socket_address": {"address": "127.0.0.1", "port_value": 8125, **fields}}


class SinkTests(SynchronousTestCase):
    """
    Sinks of a proxy.
    """

    def start(self, *sinks: dict[str, Any]) -> MemoryProxy:
        """
        A proxy with sinks, that flushes every second.
        """
        text = httpBootstrap(stats_sinks=list(sinks), stats_flush_interval="1s", clusters={"statsd": "127.0.0.1:8126"})
        return MemoryProxy(text)

    def test_datagrams(self) -> None:
        """
        At each flush a datagram for each metric; gauges that nobody counts are brought up to date.
        """
        proxy = self.start(sink(address=address(protocol="UDP"), prefix="p"))
        proxy.advance(1)
        sent = proxy.network.sent[TO]
        self.assertIn(b"p.server.uptime:1|g", sent)
        self.assertIn(b"p.cluster_manager.cluster_added:2|c", sent)
        sent.clear()
        proxy.advance(1)
        self.assertIn(b"p.server.uptime:2|g", sent)
        self.assertIn(b"p.cluster_manager.cluster_added:0|c", sent)
        proxy.stop()
        sent.clear()
        proxy.advance(5)
        self.assertEqual(sent, [])

    def test_dog(self) -> None:
        """
        DogStatsD has labels, and several metrics in a datagram.
        """
        proxy = self.start(sink(DOG, address=address(), max_bytes_per_datagram=200))
        proxy.advance(1)
        sent = proxy.network.sent[TO]
        self.assertLessEqual(max(map(len, sent)), 200)
        lines = b"\n".join(sent).split(b"\n")
        self.assertIn(b"envoy.cluster.membership_total:1|g|#envoy.cluster_name:backend", lines)

    def test_cluster(self) -> None:
        """
        Lines go over one connection to a cluster, which is made again when it is lost.
        """
        proxy = self.start(sink(tcp_cluster_name="statsd"))
        peers: list[Peer] = []

        def accept(_: Address) -> Peer:
            peers.append(Peer())
            return peers[-1]

        proxy.advance(1)
        self.assertEqual(proxy.stat("cluster.statsd.upstream_cx_connect_fail"), 2)
        proxy.network.listen(Address("127.0.0.1", 8126), accept)
        proxy.advance(2)
        lines = bytes(peers[0].received).decode().split("\n")
        # What the first attempt could not tell is told now.
        self.assertEqual(lines.count("envoy.cluster_manager.cluster_added:2|c"), 1)
        self.assertIn("envoy.server.uptime:2|g", lines)
        self.assertEqual(len(peers), 1)
        peers[0].close()
        proxy.advance(2)
        self.assertEqual(len(peers), 2)
        self.assertIn(b"envoy.server.uptime:5|g", peers[1].received)
        proxy.stop()
        self.assertTrue(peers[1].closed)

    def test_faults(self) -> None:
        """
        What cannot be sent to is refused with its place.
        """
        router = "envoy.extensions.filters.http.router.v3.Router"
        for wrong, path in (
            (sink(tcp_cluster_name="nobody"), "typed_config.tcp_cluster_name"),
            (sink(), "typed_config"),
            (sink(DOG), "typed_config"),
            (sink(address=address(address="localhost")), "typed_config.address.socket_address.address"),
            (sink(address={"pipe": {"path": "/x"}}), "typed_config.address"),
            (sink(router), "typed_config"),
            ({"name": "sink"}, ""),
        ):
            error = self.assertRaises(ConfigErrors, self.start, wrong)
            self.assertIn(f"stats_sinks[0]{'.' * bool(path)}{path}", [each.path for each in error.errors], wrong)

    def test_onlyDatagrams(self) -> None:
        """
        Listeners and endpoints are no place for UDP.
        """
        text = json.loads(httpBootstrap())
        for place in (
            text["static_resources"]["listeners"][0],
            text["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"],
        ):
            place["address"]["socket_address"]["protocol"] = "UDP"
            error = self.assertRaises(ConfigErrors, MemoryProxy, json.dumps(text))
            self.assertTrue(any(each.path.endswith("protocol") for each in error.errors))
            place["address"]["socket_address"]["protocol"] = "TCP"
