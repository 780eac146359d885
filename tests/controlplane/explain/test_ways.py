"""
Tests for L{meshproxy.controlplane.explain.ways}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.explain.subject import Asked
from meshproxy.controlplane.explain.ways import authorityOf, listenerFor, nearRoutes, portOf, routeNames, serviceOf
from tests.controlplane.explain.given import meshOf, subjects


class WayTests(SynchronousTestCase):
    """
    Where a request comes in.
    """

    def test_urls(self) -> None:
        """
        The port is that of the URL, else of the host, else the usual one; the host field goes before the URL.
        """
        for url, fields, authority, port in (
            ("http://reviews:9080/x", (), "reviews:9080", 9080),
            ("https://reviews/x", (), "reviews", 443),
            ("reviews", (), "reviews", 80),
            ("http://127.0.0.1:8080/x", ("Host: shop.example",), "shop.example", 8080),
            ("/x", ("host: reviews:9080",), "reviews:9080", 9080),
            ("http://[::1]:81/", (), "[::1]:81", 81),
        ):
            asked = Asked(url=url, fields=fields)
            self.assertEqual((authorityOf(asked), portOf(asked)), (authority, port), url)
        self.assertRaises(ValueError, portOf, Asked(url="http://a:port/"))
        self.assertRaises(ValueError, portOf, Asked(url="http://a:80/", fields=("host: [",)))

    def test_names(self) -> None:
        """
        A service by each of its names, as the workload's namespace sees it.
        """
        mesh = meshOf()
        proxy = subjects(mesh)["page"].proxy
        for name in ("reviews", "reviews.shop", "reviews.shop.svc", "reviews.shop.svc.cluster.local:9080"):
            found = serviceOf(name, proxy, mesh)
            self.assertEqual(None if found is None else found.host, "reviews.shop.svc.cluster.local", name)
        self.assertIsNone(serviceOf("nowhere", proxy, mesh))

    def test_listeners(self) -> None:
        """
        Of those at a port: what comes in, or goes out.
        """
        mesh = meshOf()
        page = subjects(mesh)["page"]
        for inbound, name in ((False, "127.0.2.1_9080"), (True, "10.0.0.1_9080")):
            asked = Asked(url="http://page:9080/", inbound=inbound)
            self.assertEqual(listenerFor(asked, page.proxy, page.translation.listeners, mesh), (name, ""))
        asked = Asked(url="http://page:9081/", inbound=True)
        told = listenerFor(asked, page.proxy, page.translation.listeners, mesh)
        self.assertEqual(told, (None, "nothing listens for port 9081; ports of the proxy: 9080"))

    def test_routes(self) -> None:
        """
        Virtual hosts that may be meant stay: by name, whatever its case and port, and by wildcard.
        """
        hosts = [{"name": str(n), "domains": [name]} for n, name in enumerate(("a", "A:80", "*.b", "b", "*"))]
        kept = nearRoutes({"name": "r", "virtualHosts": hosts}, "a:80")
        self.assertEqual([one["name"] for one in kept["virtualHosts"]], ["0", "1", "2", "4"])
        listeners = subjects(meshOf())["page"].translation.listeners
        self.assertEqual(list(routeNames(listeners["127.0.2.1_9080"])), ["9080"])
