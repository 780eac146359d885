"""
L{meshproxy.filters.http.dynamic_forward_proxy}, and the cluster that goes with it, in a proxy.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.errors import ConfigErrors
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.proxy import MemoryProxy
from tests.filters.http.support import pageExample
from tests.xds.support import listener

JSON = dict[str, Any]

_PACKAGE = "envoy.extensions.filters.http.dynamic_forward_proxy.v3."
_ROUTER = {"name": "router", "typedConfig": {"@type": typeURL("envoy.extensions.filters.http.router.v3.Router")}}
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class DynamicForwardProxyTests(SynchronousTestCase):
    """
    C{DynamicForwardProxy}, as its page has it.
    """

    def setUp(self) -> None:
        (self.filter,) = pageExample("dynamic_forward_proxy")
        self.cluster: JSON = pageExample("dynamic_forward_proxy", 1)

    def cache(self, **fields: Any) -> None:
        """
        Say more of the cache, at both places.
        """
        for each in (self.filter, self.cluster["cluster_type"]):
            each["typed_config"]["dns_cache_config"].update(fields)

    def bootstrap(self, perRoute: JSON | None = None, name: str = "forward") -> str:
        """
        With a route to the cluster.
        """
        route: JSON = {"match": {"prefix": "/"}, "route": {"cluster": name}}
        if perRoute is not None:
            route["typedPerFilterConfig"] = {
                self.filter["name"]: {"@type": typeURL(_PACKAGE + "PerRouteConfig"), **perRoute}
            }
        hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
        front = listener(routeConfig={"virtualHosts": hosts}, httpFilters=[self.filter, _ROUTER])
        del front["filterChains"][0]["filters"][0]["typedConfig"]["rds"]
        address = {"socketAddress": {"address": "192.0.2.9", "portValue": 80}}
        endpoints = [{"lbEndpoints": [{"endpoint": {"address": address}}]}]
        plain = {"name": "plain", "type": "STATIC", "loadAssignment": {"clusterName": "p", "endpoints": endpoints}}
        return json.dumps({"staticResources": {"listeners": [front], "clusters": [self.cluster, plain]}})

    def start(self, perRoute: JSON | None = None, name: str = "forward") -> None:
        """
        Start the proxy.
        """
        self.proxy = MemoryProxy(self.bootstrap(perRoute, name))
        self.addCleanup(self.proxy.stop)
        self.proxy.network.hosts["a.example"] = ["192.0.2.20"]
        self.proxy.backend("192.0.2.20:80")

    def ask(self, host: str, *fields: tuple[str, str]) -> tuple[int, str]:
        """
        The status of an answer, and its body where the proxy wrote it.
        """
        found = self.proxy.request("GET", "/", [("host", host), *fields])
        return found.status, found.body.decode("utf-8") if found.status == 503 else ""

    def test_goes(self) -> None:
        """
        A request goes to its host, which is looked up once.
        """
        self.start()
        self.assertEqual([self.ask("a.example"), self.ask("a.example:80")], [(200, "")] * 2)
        self.assertEqual(self.proxy.stat("dns_cache.hosts.dns_query_attempt"), 1)
        self.assertEqual(self.proxy.stat("cluster.forward.upstream_rq_total"), 2)
        self.assertEqual(self.proxy.stat("cluster.forward.membership_total"), 1)

    def test_missing(self) -> None:
        """
        A host that does not exist, and one more that there is no room for.
        """
        self.cache(max_hosts=1)
        self.start()
        self.assertEqual(self.ask("b.example"), (503, "DNS resolution failure"))
        self.assertEqual(self.ask("a.example"), (503, "DNS cache overflow"))

    def test_pending(self) -> None:
        """
        Nobody may wait.
        """
        self.cache(dns_cache_circuit_breaker={"max_pending_requests": 0})
        self.start()
        self.assertEqual(self.ask("a.example"), (503, "Dynamic forward proxy pending request overflow"))

    def test_removed(self) -> None:
        """
        A host that nobody asked for is forgotten.
        """
        self.cache(host_ttl="60s")
        self.start()
        self.ask("a.example")
        self.proxy.advance(400)
        self.assertEqual(self.proxy.stat("cluster.forward.membership_total"), 0)
        self.assertEqual(self.ask("a.example"), (200, ""))

    def test_moved(self) -> None:
        """
        The endpoint follows its host.
        """
        self.start()
        self.ask("a.example")
        self.proxy.network.hosts["a.example"] = ["192.0.2.21"]
        self.proxy.advance(61)
        self.assertEqual(self.proxy.stat("dns_cache.hosts.host_address_changed"), 2)
        (endpoint,) = self.proxy.server.clusters.byName["forward"].endpoints
        self.assertEqual(endpoint.address.text, "192.0.2.21:80")

    def test_rewritten(self) -> None:
        """
        A route asks for another host, by its name or by a field.
        """
        self.start({"host_rewrite_literal": "a.example"})
        self.assertEqual(self.ask("b.example"), (200, ""))

    def test_rewrittenByHeader(self) -> None:
        """
        Without the field the host is that of the request.
        """
        self.start({"host_rewrite_header": "X-To"})
        self.assertEqual(self.ask("b.example", ("x-to", "a.example")), (200, ""))
        self.assertEqual(self.ask("b.example"), (503, "DNS resolution failure"))

    def test_others(self) -> None:
        """
        Clusters of other kinds are none of its business.
        """
        self.start(name="plain")
        self.proxy.backend("192.0.2.9:80")
        self.assertEqual(self.ask("b.example"), (200, ""))
        self.assertEqual(self.proxy.stat("dns_cache.hosts.dns_query_attempt"), 0)

    def refused(self) -> str:
        """
        The faults of the configuration.
        """
        return str(self.assertRaises(ConfigErrors, MemoryProxy, self.bootstrap(), MemoryNetwork(VirtualReactor())))

    def test_differs(self) -> None:
        """
        Both have to describe the cache alike.
        """
        self.filter["typed_config"]["dns_cache_config"]["max_hosts"] = 7
        self.assertIn("config specified DNS cache 'hosts' with different settings", self.refused())

    def test_insecure(self) -> None:
        """
        Who switches off that names are verified has to say so twice.
        """
        options = {"@type": typeURL(_OPTIONS), "explicit_http_config": {"http_protocol_options": {}}}
        self.cluster["typed_extension_protocol_options"] = {_OPTIONS: options}
        self.assertIn("must have auto_sni and auto_san_validation true", self.refused())
        self.cluster["cluster_type"]["typed_config"]["allow_insecure_cluster_options"] = True
        self.start()
        self.assertEqual(self.ask("a.example"), (200, ""))

    def test_faults(self) -> None:
        """
        What such a cluster cannot have is refused.
        """
        good = json.dumps(self.cluster)
        for fields, expected in (
            ({"lb_policy": "ROUND_ROBIN"}, "only CLUSTER_PROVIDED is"),
            ({"load_assignment": {"cluster_name": "c"}}, "must have none"),
            ({"cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy"}}, "such a cluster needs a"),
            ({"health_checks": [{"timeout": "1s", "interval": "1s", "tcp_health_check": {}}]}, "are not checked"),
        ):
            self.cluster = {**json.loads(good), **fields}
            self.assertIn(expected, self.refused())
