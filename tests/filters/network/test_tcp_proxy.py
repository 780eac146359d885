"""
L{meshproxy.filters.network.tcp_proxy}: what its configuration makes of it.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.config.registry import FilterRegistry
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
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
            "tunneling_config": {"hostname": "a:1"},
            "hash_policy": [{"source_ip": {}}],
            "metadata_match": {"filter_metadata": {"envoy.lb": {"a": "b"}}},
            "upstream_connect_mode": "ON_DOWNSTREAM_DATA",
            "max_early_data_bytes": 100,
            "downstream_idle_timeout": "1s",
        }
        for name, value in fields.items():
            told = self.refused({name: value})
            self.assertIn(f".typed_config.{name}", told)
            self.assertIn("not implemented by meshproxy", told)

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
