"""
Tests for L{meshproxy.admin.explain.answer} where the configuration comes by xDS.
"""

from __future__ import annotations

from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import askedIn
from meshproxy.dryrun import explainRequest
from meshproxy.server import ProxyOptions
from tests.xds.support import XDSTestCase, cluster, endpoints, listener, routes


class DiscoveredTests(XDSTestCase):
    """
    Routes, clusters and endpoints that came from a control plane are explained as those of the bootstrap are.
    """

    def ask(self, url: str, host: str = "192.0.2.1") -> Answer:
        """
        Ask for a request to the listener.
        """
        server = self.proxy.server
        listeners = list(server.listeners.byName.values())
        question = askedIn(f"http://{host}:80{url}")
        return explain(question, listeners, server.clusters.byName, server.context.runtime)

    def test_way(self) -> None:
        """
        The route that matches, those before it, and the cluster's endpoints.
        """
        table = routes("r", "web")
        (host,) = table["virtualHosts"]
        first = {"name": "first", "match": {"path": "/first"}, "directResponse": {"status": 204}}
        table["virtualHosts"] = [{**host, "name": "host", "routes": [first, *host["routes"]]}]
        self.start()
        self.change(
            clusters=[cluster("web")],
            endpoints=[endpoints("web", "192.0.2.9")],
            listeners=[listener()],
            routes=[table],
        )
        answer = self.ask("/first")
        self.assertEqual((answer["virtual_host"]["name"], answer["route"]["name"]), ("host", "first"))
        self.assertEqual(answer["outcome"].partition(",")[0], "204")
        answer = self.ask("/else")
        self.assertEqual([each["name"] for each in answer["routes_before"]], ["first"])
        (told,) = answer["clusters"]
        self.assertEqual([each["address"] for each in told["endpoints"]], ["192.0.2.9:80"])
        self.assertEqual(answer["outcome"], f"forwarded to {told['name']}")

    def test_addresses(self) -> None:
        """
        Of listeners on one port the one is asked that has the address of the URL.
        """
        near, far = listener("near"), listener("far")
        near["address"] = {"socketAddress": {"address": "192.0.2.7", "portValue": 80}}
        self.start()
        self.change(
            clusters=[cluster("web")], endpoints=[endpoints("web")], listeners=[far, near], routes=[routes("r", "web")]
        )
        for host, name, other in (("192.0.2.7", "near", "far"), ("192.0.2.1", "far", "near")):
            answer = self.ask("/", host)
            self.assertEqual(answer["listener"]["name"], name)
            self.assertEqual([each["name"] for each in answer["other_listeners"]], [other])

    def test_notCome(self) -> None:
        """
        Offline nobody brings the routes, and that is what the answer says.
        """
        options = ProxyOptions(configText=self.bootstrap(listeners=[listener()]))
        question = askedIn("http://192.0.2.1:80/")
        answer = explainRequest(options, self.reactor, self.network, question)
        self.assertEqual(answer["outcome"], "the routes 'r' come by RDS, and have not come")
