"""
L{meshproxy.filters.network.tcp_proxy}: what its configuration makes of it.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.registry import FilterRegistry
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
from meshproxy.filters.network.tcp_proxy import _compileHashPolicy
from meshproxy.routing.xxhash64 import xxhash64
from meshproxy.testing import Peer
from tests.house.source import PACKAGE
from tests.upstream.tcpsupport import BytesProxy, Message, endpointsOf, tcpBootstrap


class TCPProxyFilterTests(SynchronousTestCase):
    """
    Fields, accepted and refused.
    """

    def refused(self, config: Message) -> str:
        """
        The faults of a configuration.
        """
        return str(self.assertRaises(ConfigErrors, BytesProxy, config))

    def test_weightedClusters(self) -> None:
        """
        Each connection has its own cluster, by weight and by chance.
        """
        chances = iter([0.0, 0.24, 0.26, 0.99])
        weighted = {"clusters": [{"name": "backend", "weight": 1}, {"name": "other", "weight": 3}]}
        other = {"name": "other", "type": "STATIC", "load_assignment": endpointsOf("other", 9001)}
        config = {"weighted_clusters": weighted}
        proxy = BytesProxy(config, clusters=(other,), chance=lambda: 0.0)
        proxy.listen(9001)
        proxy.proxy.server.context.random = lambda: next(chances)
        # The configuration is compiled anew with these chances.
        changed = tcpBootstrap(config, clusters=(other,), listener={"stat_prefix": "again"})
        self.assertTrue(proxy.proxy.reload(changed))
        for _ in range(4):
            proxy.connect()
        self.assertEqual([address.port for address in proxy.proxy.network.dialled], [9000, 9000, 9001, 9001])

    def test_oneWeightedCluster(self) -> None:
        """
        A single one needs no chance.
        """
        proxy = BytesProxy({"weighted_clusters": {"clusters": [{"name": "backend", "weight": 7}]}})
        downstream, upstream = proxy.pair()
        downstream.write(b"x")
        proxy.settle()
        self.assertEqual(upstream.received, b"x")

    def test_unknownCluster(self) -> None:
        """
        As in Envoy a cluster that does not exist is no fault; here there is a warning with its place.
        """
        proxy = BytesProxy({"cluster": "missing"})
        warnings = [str(warning) for warning in proxy.proxy.server.bootstrap.report.warnings]
        self.assertEqual(len([w for w in warnings if "there is no cluster 'missing'" in w]), 1)

    def test_notImplemented(self) -> None:
        """
        What is not implemented is refused with its path.
        """
        fields: dict[str, Any] = {
            "on_demand": {"resources_locator": "xdstp://a/b"},
        }
        for name, value in fields.items():
            told = self.refused({name: value})
            self.assertIn(f".typed_config.{name}.resources_locator", told)
            self.assertIn("not implemented by meshproxy", told)

    def test_tunnel(self) -> None:
        """
        What contradicts itself in a C{tunneling_config}, and what Envoy does not take either, is refused.
        """
        faults: dict[str, dict[str, Any]] = {
            "hostname": {"hostname": ""},
            "hostname:": {"hostname": "%NOTHING%"},
            "post_path": {"hostname": "a:1", "post_path": "/x"},
            "request_id_header": {"hostname": "a:1", "request_id_header": "x"},
            "request_id_extension.typed_config": {
                "hostname": "a:1",
                "request_id_extension": {
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
                },
            },
            "headers_to_add[0]": {"hostname": "a:1", "headers_to_add": [{"header": {"key": "host", "value": "b"}}]},
        }
        for field, config in faults.items():
            self.assertIn(f".tunneling_config.{field}", self.refused({"tunneling_config": config}))

    def test_backoffOptions(self) -> None:
        """
        The longest interval is not below the shortest.
        """
        told = self.refused({"backoff_options": {"base_interval": "2s", "max_interval": "1s"}})
        self.assertIn("backoff_options.max_interval", told)

    def test_attempts(self) -> None:
        """
        No attempt at all is none of Envoy's values.
        """
        self.assertIn("max_connect_attempts", self.refused({"max_connect_attempts": 0}))

    def test_statPrefix(self) -> None:
        """
        Metrics stand under C{stat_prefix}, with Envoy's signs for what is no part of a name.
        """
        proxy = BytesProxy({"stat_prefix": "a:b"})
        proxy.connect()
        self.assertEqual(proxy.proxy.stat("tcp.a_b.downstream_cx_total"), 1)

    def test_reload(self) -> None:
        """
        After a reload new connections follow the new configuration; those that were there keep theirs.
        """
        proxy = BytesProxy()
        other = {"name": "other", "type": "STATIC", "load_assignment": endpointsOf("other", 9001)}
        downstream, upstream = proxy.pair()
        proxy.listen(9001)
        self.assertTrue(proxy.proxy.reload(tcpBootstrap({"cluster": "other"}, clusters=(other,))))
        proxy.connect()
        self.assertEqual([address.port for address in proxy.proxy.network.dialled], [9000, 9001])
        downstream.write(b"old")
        proxy.settle()
        self.assertEqual(upstream.received, b"old")

    def lands(self, config: Message, cluster: Message, *sources: str) -> list[int | None]:
        """
        At which ports of the backend connections from some addresses arrive.
        """
        proxy = BytesProxy(config, cluster=cluster)
        proxy.listen(9001)
        proxy.listen(9002)
        for source in sources:
            proxy.proxy.connect(Peer(), source=source)
        return [address.port for address in proxy.proxy.network.dialled]

    def test_metadataMatch(self) -> None:
        """
        C{metadata_match} chooses the subset; that of a weighted cluster goes over the common one.
        """
        endpoints = [
            {
                "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}},
                "metadata": {"filter_metadata": {"envoy.lb": {"version": version}}},
            }
            for port, version in ((9000, "a"), (9001, "b"), (9002, "c"))
        ]
        cluster = {
            "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": endpoints}]},
            "lb_subset_config": {"subset_selectors": [{"keys": ["version"]}]},
        }

        def labels(version: str) -> Message:
            return {"filter_metadata": {"envoy.lb": {"version": version}}}

        here = "127.0.0.1"
        self.assertEqual(self.lands({"metadata_match": labels("b")}, cluster, here, here), [9001, 9001])
        self.assertEqual(self.lands({"metadata_match": labels("none")}, cluster, here), [])
        weighted = {"clusters": [{"name": "backend", "weight": 1, "metadata_match": labels("c")}]}
        config = {"weighted_clusters": weighted, "metadata_match": labels("b")}
        self.assertEqual(self.lands(config, cluster, here), [9002])

    def test_hashPolicy(self) -> None:
        """
        With C{source_ip} a client's connections stay at one endpoint, and clients are spread.
        """
        cluster = {"lb_policy": "RING_HASH", "load_assignment": endpointsOf("backend", 9000, 9001, 9002)}
        sources = [f"10.0.0.{number}" for number in range(1, 21)]
        ports = self.lands({"hash_policy": [{"source_ip": {}}]}, cluster, *sources, *sources)
        self.assertEqual(ports[:20], ports[20:])
        self.assertEqual(len(set(ports)), 3)

    def test_hashOfState(self) -> None:
        """
        With C{filter_state} those whose state is the same; without the state it is anybody.
        """
        cluster = {"lb_policy": "RING_HASH", "load_assignment": endpointsOf("backend", 9000, 9001, 9002)}
        policy = _compileHashPolicy([Section.of("envoy.type.v3.HashPolicy", {"filter_state": {"key": "k"}})])
        assert policy is not None
        info = ConnectionInfo()
        self.assertIsNone(policy(info))
        info.setState("k", "user-1")
        self.assertEqual(policy(info), xxhash64(b"user-1"))
        ports = self.lands({"hash_policy": [{"filter_state": {"key": "k"}}]}, cluster, "10.0.0.1")
        self.assertEqual(len(ports), 1)

    def test_durationJitter(self) -> None:
        """
        A jitter makes the longest duration longer, for each connection by chance.
        """
        config = {
            "max_downstream_connection_duration": "10s",
            "max_downstream_connection_duration_jitter_percentage": {"value": 50},
        }
        proxy = BytesProxy(config, chance=lambda: 0.5)
        downstream, _ = proxy.pair()
        proxy.proxy.advance(12.25)
        self.assertFalse(downstream.closed)
        proxy.proxy.advance(0.5)
        self.assertTrue(downstream.closed)
        leaves = proxy.connect()
        leaves.abort()
        proxy.proxy.advance(60)
        self.assertEqual(proxy.stats("tcp.test.")["max_downstream_connection_duration"], 1)

    def test_connectMode(self) -> None:
        """
        With C{ON_DOWNSTREAM_DATA} the upstream is connected for the first bytes; until it is there so many are read as
        C{max_early_data_bytes} says, and all arrive.
        """
        config = {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 10}
        proxy = BytesProxy(config)
        downstream = proxy.connect()
        self.assertEqual(proxy.upstreams, [])
        downstream.write(b"abc")
        proxy.settle()
        downstream.write(b"x" * 100000)
        proxy.settle()
        [upstream] = proxy.upstreams
        self.assertEqual(upstream.received, b"abc" + b"x" * 100000)
        upstream.write(b"answer")
        proxy.settle()
        self.assertEqual(downstream.received, b"answer")
        self.assertEqual(proxy.stats("tcp.test.")["early_data_received_count_total"], 1)
        self.assertEqual(proxy.stats("tcp.test.")["downstream_cx_rx_bytes_total"], 100003)

    def test_connectModeEnds(self) -> None:
        """
        Who says nothing gets no upstream: not when he ends, nor when he was idle for too long.
        """
        config = {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 10, "idle_timeout": "5s"}
        proxy = BytesProxy(config)
        ends, idles, speaks = proxy.connect(), proxy.connect(), proxy.connect()
        ends.finish()
        proxy.settle()
        self.assertTrue(ends.closed)
        proxy.proxy.advance(4)
        speaks.write(b"abc")
        proxy.proxy.advance(1)
        self.assertEqual((idles.closed, speaks.closed, len(proxy.upstreams)), (True, False, 1))
        proxy.proxy.advance(4)
        self.assertTrue(speaks.closed)

    def test_connectModeFails(self) -> None:
        """
        What came for an upstream that never was is counted.
        """
        config = {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 10}
        proxy = BytesProxy(config, listening=False)
        downstream = proxy.connect()
        downstream.write(b"abc")
        proxy.settle()
        self.assertTrue(downstream.closed)
        self.assertEqual(proxy.stats("tcp.test.")["downstream_cx_rx_bytes_total"], 3)
        self.assertIn("early_data_received_count_total", proxy.stats("tcp.test."))

    def test_connectModeLimit(self) -> None:
        """
        The mode needs C{max_early_data_bytes}.
        """
        for mode in ("ON_DOWNSTREAM_DATA", "ON_DOWNSTREAM_TLS_HANDSHAKE"):
            self.assertIn("max_early_data_bytes", self.refused({"upstream_connect_mode": mode}))
        proxy = BytesProxy({"upstream_connect_mode": "ON_DOWNSTREAM_TLS_HANDSHAKE", "max_early_data_bytes": 1})
        proxy.pair()

    def test_tlvType(self) -> None:
        """
        The type of a TLV has one byte.
        """
        told = self.refused({"proxy_protocol_tlvs": [{"type": 256, "value": "eA=="}]})
        self.assertIn("proxy_protocol_tlvs[0].type", told)


class PageTests(SynchronousTestCase):
    """
    The page about it.
    """

    PAGE = PACKAGE.parent / "docs" / "filters" / "tcp_proxy.md"

    if not PAGE.is_file():
        skip = "the pages are not installed with the package"

    def test_example(self) -> None:
        """
        Its example is a filter chain without a fault, and without a field that is not implemented.
        """
        example = re.findall(r"^```yaml\n(.*?)^```", self.PAGE.read_text(), flags=re.M | re.S)[0]
        chain = "filters:\n" + "\n".join(f"  {line}" for line in example.splitlines())
        section = sectionFromYAML("envoy.config.listener.v3.FilterChain", chain)
        supported.addResolver(FilterRegistry().declare)
        supported.check(section)
        section.report.raiseIfAny()
