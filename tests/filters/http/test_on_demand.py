"""
L{meshproxy.filters.http.on_demand}: a proxy and a control plane in memory, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.config.pool import typeURL
from meshproxy.errors import ConfigErrors
from meshproxy.grpc.server import GRPCServer
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.proxy import MemoryProxy
from tests.filters.http.support import pageExample
from tests.xds.support import ADS, CONTROL, JSON, XDSTestCase, listener

_PACKAGE = "envoy.extensions.filters.http.on_demand.v3."
_ROUTER = {"name": "router", "typedConfig": {"@type": typeURL("envoy.extensions.filters.http.router.v3.Router")}}


def static(name: str) -> JSON:
    """
    A cluster with an endpoint in place.
    """
    address = {"socketAddress": {"address": "192.0.2.20", "portValue": 80}}
    endpoints = [{"lbEndpoints": [{"endpoint": {"address": address}}]}]
    return {"name": name, "type": "STATIC", "loadAssignment": {"clusterName": name, "endpoints": endpoints}}


class OnDemandTests(XDSTestCase):
    """
    Requests name clusters in C{x-cluster}.
    """

    variant = "DELTA_GRPC"

    def setUp(self) -> None:
        super().setUp()
        (self.example,) = pageExample("on_demand")

    def bootstrap(self, **static: Any) -> str:
        """
        No cluster is asked for before it is needed.
        """
        made = json.loads(super().bootstrap(**static))
        del made["dynamic_resources"]["cds_config"]
        return json.dumps(made)

    def begin(self, *clusters: str, config: JSON | None = None, perRoute: JSON | None = None) -> None:
        """
        Start the proxy.

        @param clusters: What the control plane has.
        """
        example = self.example if config is None else {**self.example, "typed_config": config}
        route: JSON = {"match": {"prefix": "/"}, "route": {"clusterHeader": "x-cluster"}}
        if perRoute is not None:
            route["typedPerFilterConfig"] = {
                example["name"]: {"@type": typeURL(_PACKAGE + "PerRouteConfig"), **perRoute}
            }
        hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
        front = listener(routeConfig={"virtualHosts": hosts}, httpFilters=[example, _ROUTER])
        del front["filterChains"][0]["filters"][0]["typedConfig"]["rds"]
        self.front = front
        self.source.set(listeners=[front], clusters=[static(name) for name in clusters])
        self.start()
        self.proxy.backend("192.0.2.20:80")

    def ask(self, cluster: str) -> int:
        """
        The status of the answer from a cluster.
        """
        headers = [("x-cluster", cluster)] if cluster else []
        return self.proxy.request("GET", "/", headers, to="192.0.2.1:80").status

    def silence(self) -> None:
        """
        Have the control plane go away.
        """
        self.listening.stopListening()
        self.server.stop()
        self.proxy.advance(0.1)

    def names(self) -> set[str]:
        """
        The clusters that serve.
        """
        return {cluster.name for cluster in self.proxy.server.clusters}

    def test_comes(self) -> None:
        """
        The cluster of a request is asked for, and the request goes there.
        """
        self.begin("a", "b")
        self.assertEqual(self.names(), {"xds"})
        self.assertEqual(self.ask("a"), 200)
        self.assertEqual(self.names(), {"xds", "a"})
        self.assertTrue(self.proxy.server.clusters.byName["a"].addedViaAPI)

    def test_missing(self) -> None:
        """
        One that does not exist is answered at once; it is asked for again by the next request.
        """
        self.begin()
        before = self.reactor.seconds()
        self.assertEqual(self.ask("a"), 503)
        self.assertLess(self.reactor.seconds() - before, 1)
        self.assertEqual(self.ask(""), 503)
        self.assertEqual(self.ask("a"), 503)
        self.assertEqual(self.proxy.stat("cluster_manager.odcds.update_success"), 2)
        self.change(listeners=[self.front], clusters=[static("a")])
        self.assertEqual(self.names(), {"xds", "a"})
        self.assertEqual(self.ask("a"), 200)

    def test_timeout(self) -> None:
        """
        Where nobody answers, the request goes on when its time is over, and finds no cluster.
        """
        self.begin()
        self.silence()
        client = self.proxy.client("192.0.2.1:80")
        client.send("GET", "/", [("x-cluster", "a")])
        self.proxy.advance(1.9)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.2)
        self.assertEqual([each.status for each in client.responses], [503])

    def test_gone(self) -> None:
        """
        A client that leaves waits no more.
        """
        self.begin()
        self.silence()
        client = self.proxy.client("192.0.2.1:80")
        client.send("GET", "/", [("x-cluster", "a")])
        self.proxy.advance(0.1)
        client.close()
        self.proxy.advance(10)
        self.assertEqual(self.proxy.stat("http.in.downstream_rq_active"), 0)

    def test_streamBegins(self) -> None:
        """
        A control plane that comes back is asked for the same again, and for nothing else.
        """
        self.begin("a", "b")
        self.assertEqual(self.ask("a"), 200)
        self.silence()
        self.server = GRPCServer(self.xds.methods(), self.reactor)
        self.network.listen(CONTROL, self.server.buildProtocol)
        self.proxy.advance(60)
        self.assertEqual(self.names(), {"xds", "a"})
        connected = self.xds.connected()[-1]
        subscription = connected.session.subscriptions[typeURL("envoy.config.cluster.v3.Cluster")]
        self.assertEqual((subscription.names, subscription.isWildcard), ({"a"}, False))

    def test_routes(self) -> None:
        """
        A route says otherwise: not to ask, or to.
        """
        self.begin("a", perRoute={})
        self.assertEqual(self.ask("a"), 503)

    def test_onlyByRoute(self) -> None:
        """
        Without C{odcds} only routes that say so ask.
        """
        plain = {"@type": self.example["typed_config"]["@type"]}
        self.begin("a", config=plain, perRoute={"odcds": {"source": ADS}})
        self.assertEqual(self.ask("a"), 200)

    def test_withoutAny(self) -> None:
        """
        Without C{odcds} nothing is asked for.
        """
        self.begin("a", config={"@type": self.example["typed_config"]["@type"]})
        self.assertEqual(self.ask("a"), 503)

    def refused(self, config: JSON) -> str:
        """
        The faults of a configuration.
        """
        example = {"name": "demand", "typedConfig": {"@type": typeURL(_PACKAGE + "OnDemand"), **config}}
        front = listener(routeConfig={"name": "r"}, httpFilters=[example, _ROUTER])
        del front["filterChains"][0]["filters"][0]["typedConfig"]["rds"]
        text = self.bootstrap(listeners=[front])
        return str(self.assertRaises(ConfigErrors, MemoryProxy, text, MemoryNetwork(self.reactor)))

    def test_faults(self) -> None:
        """
        What cannot be asked is refused, with its place.
        """
        self.assertIn("odcds.source: a source is needed", self.refused({"odcds": {}}))
        source = {"pathConfigSource": {"path": __file__}}
        self.assertIn("odcds.source: clusters on demand come by ads", self.refused({"odcds": {"source": source}}))
        told = self.refused({"odcds": {"source": ADS, "resourcesLocator": "xdstp://a/b"}})
        self.assertIn("odcds.resources_locator", told)


class WorldTests(OnDemandTests):
    """
    The same where the state of the world is spoken, which has no word for what does not exist.
    """

    variant = "GRPC"

    def test_missing(self) -> None:
        """
        The request waits until its time is over; the cluster comes when it is there.
        """
        self.begin()
        client = self.proxy.client("192.0.2.1:80")
        client.send("GET", "/", [("x-cluster", "a")])
        self.proxy.advance(1.9)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.2)
        self.assertEqual([each.status for each in client.responses], [503])
        self.change(listeners=[self.front], clusters=[static("a"), static("b")])
        self.assertEqual(self.names(), {"xds", "a"})
        self.assertEqual((self.ask("a"), self.ask("b")), (200, 200))
        self.change(listeners=[self.front], clusters=[static("b")])
        self.assertEqual(self.names(), {"xds", "b"})
