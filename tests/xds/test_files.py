"""
Tests for L{meshproxy.xds.files}: a proxy in memory whose configuration comes from files.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.errors import ConfigErrors
from meshproxy.secrets.watch import INTERVAL
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.proxy import MemoryProxy
from tests.xds.support import JSON, answering, cluster, endpoints, listener, routes, scope, scopedListener

_TYPES = {
    "lds": "envoy.config.listener.v3.Listener",
    "cds": "envoy.config.cluster.v3.Cluster",
    "rds": "envoy.config.route.v3.RouteConfiguration",
    "eds": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "ecd": "envoy.config.core.v3.TypedExtensionConfig",
    "srd": "envoy.config.route.v3.ScopedRouteConfiguration",
}


class FilesCase(SynchronousTestCase):
    """
    Files of each type, and a proxy that is configured by them.
    """

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.network = MemoryNetwork(VirtualReactor())
        self.events: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def path(self, name: str) -> str:
        """
        Where the file of a type is.
        """
        return f"{self.folder}/{name}.json"

    def source(self, name: str) -> JSON:
        """
        A C{ConfigSource} that is that file.
        """
        return {"resourceApiVersion": "V3", "pathConfigSource": {"path": self.path(name)}}

    def text(self, name: str, text: str) -> None:
        """
        Move a text into the place of a file.
        """
        with open(self.path("new"), "w") as file:
            file.write(text)
        os.rename(self.path("new"), self.path(name))

    def put(self, name: str, *resources: JSON, version: str = "1") -> None:
        """
        Move a response into the place of a file.
        """
        typed = [{"@type": f"type.googleapis.com/{_TYPES[name[:3]]}", **one} for one in resources]
        self.text(name, json.dumps({"version_info": version, "resources": typed}, indent=1))

    def later(self) -> None:
        """
        Let the files be looked at, until there is nothing to wait for.
        """
        for _ in range(4):
            self.proxy.reactor.advance(INTERVAL)

    def cluster(self, name: str, **more: Any) -> JSON:
        """
        A cluster whose endpoints come from a file.
        """
        return {**cluster(name), "edsClusterConfig": {"edsConfig": self.source("eds"), "serviceName": "a"}, **more}

    def listener(self, name: str = "in", port: int = 80, rds: str = "rds", **more: Any) -> JSON:
        """
        A listener whose routes come from a file.
        """
        return listener(name, port, "r", self.source(rds), **more)

    def putAll(self) -> None:
        """
        Have a listener that leads to one backend, all in files.
        """
        self.put("eds", endpoints("a", "192.0.2.11"))
        self.put("cds", self.cluster("a"))
        self.put("rds", routes("r", "a"))
        self.put("lds", self.listener())

    def start(self, **static: Any) -> None:
        """
        Start the proxy.
        """
        dynamic = {"lds_config": self.source("lds"), "cds_config": self.source("cds")}
        bootstrap = {"dynamic_resources": dynamic, "static_resources": static}
        self.proxy = MemoryProxy(json.dumps(bootstrap), self.network)
        self.addCleanup(self._stop)
        self.one, self.two = (self.proxy.backend(f"192.0.2.1{number}:80") for number in (1, 2))

    def _stop(self) -> None:
        self.proxy.server.stopService()
        self.proxy.reactor.advance(60)

    def get(self, path: str = "/", port: int = 80) -> int:
        """
        How a request is answered.
        """
        return self.proxy.request("GET", path, to=f"192.0.2.1:{port}").status

    def counted(self, prefix: str) -> tuple[int, int, int, int]:
        """
        Attempts, successes, failures and rejections.
        """
        one, two, three, four = (
            self.proxy.stat(f"{prefix}update_{name}") for name in ("attempt", "success", "failure", "rejected")
        )
        return one, two, three, four


class FileSourceTests(FilesCase):
    """
    LDS, CDS, RDS and EDS from files.
    """

    def test_all(self) -> None:
        """
        What the files say is served from the start, and the proxy is ready at once.
        """
        self.putAll()
        self.start()
        self.assertEqual((self.get(), len(self.one.requests), self.proxy.server.state), (200, 1, "LIVE"))
        for prefix in ("cluster_manager.cds.", "listener_manager.lds.", "cluster.a.", "http.in.rds.r."):
            self.assertEqual(self.counted(prefix), (1, 1, 0, 0), prefix)
        # XXH64 of the version, as in Envoy.
        self.assertEqual(self.proxy.stat("cluster_manager.cds.version"), 13237225503670494420)

    def test_renamed(self) -> None:
        """
        A file that is moved into the place of each is taken; connections stay.
        """
        self.putAll()
        self.start()
        client = self.proxy.client("192.0.2.1:80")
        self.assertEqual(client.request("GET", "/x").status, 200)
        self.put("eds", endpoints("a", "192.0.2.12"))
        self.later()
        client.request("GET", "/x")
        self.assertEqual((len(self.one.requests), len(self.two.requests)), (1, 1))
        self.put("rds", routes("r", "a", "/only"), version="2")
        self.later()
        self.assertEqual([client.request("GET", path).status for path in ("/x", "/only")], [404, 200])
        self.put("cds", self.cluster("a"), self.cluster("b"))
        self.put("lds", self.listener(), self.listener("other", 81))
        self.later()
        self.assertEqual((self.get("/only", 81), set(self.proxy.server.clusters.byName)), (200, {"a", "b"}))
        self.put("lds", self.listener("other", 81))
        self.later()
        self.assertEqual(set(self.proxy.server.listeners.byName), {"other"})
        self.assertEqual(self.counted("http.in.rds.r."), (2, 2, 0, 0))

    def test_symbolicLink(self) -> None:
        """
        So is a folder that a symbolic link leads to instead, as Kubernetes mounts files.
        """
        self.putAll()
        for name, prefix in (("one", "/"), ("two", "/only")):
            os.mkdir(f"{self.folder}/{name}")
            self.put("rds", routes("r", "a", prefix))
            os.rename(self.path("rds"), f"{self.folder}/{name}/rds.json")
        os.symlink("one", f"{self.folder}/data")
        source = {"path": f"{self.folder}/data/rds.json", "watched_directory": {"path": f"{self.folder}/data"}}
        self.put("lds", listener(source={"resourceApiVersion": "V3", "pathConfigSource": source}))
        self.start()
        self.assertEqual(self.get("/x"), 200)
        os.symlink("two", f"{self.folder}/new")
        os.rename(f"{self.folder}/new", f"{self.folder}/data")
        self.later()
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))

    def test_deprecatedPath(self) -> None:
        """
        C{path}, which path_config_source came for, still works.
        """
        self.putAll()
        self.put("lds", listener(source={"path": self.path("rds")}))
        self.start()
        self.assertEqual(self.get(), 200)

    def test_wrapped(self) -> None:
        """
        A resource may stand in the message that delta responses wrap theirs into.
        """
        self.putAll()
        wrapped = {
            "@type": "type.googleapis.com/envoy.service.discovery.v3.Resource",
            "name": "in",
            "resource": {"@type": f"type.googleapis.com/{_TYPES['lds']}", **self.listener()},
        }
        self.text("lds", json.dumps({"resources": [wrapped]}))
        self.start()
        self.assertEqual(self.get(), 200)

    def test_rejected(self) -> None:
        """
        What is wrong is told with file, line and column, and counted; what runs goes on.
        """
        self.putAll()
        self.start()
        self.put("cds", self.cluster("a", lbPolicy="CLUSTER_PROVIDED"))
        self.later()
        self.assertRegex(self.events[-1], r"cds.json:\d+:\d+  resources\[0\].lb_policy: ")
        self.put("rds", {**routes("r", "a"), "virtualHosts": routes("r", "a")["virtualHosts"] * 2})
        self.later()
        self.assertRegex(self.events[-1], r"rds.json:\d+:\d+  resources\[0\].virtual_hosts\[1\]")
        self.put("lds", self.listener(), self.listener())
        self.later()
        self.assertIn("there are two resources of the name 'in'", self.events[-1])
        self.put("eds", endpoints("a", "nowhere"))
        self.later()
        self.assertRegex(self.events[-1], r"eds.json:\d+:\d+  resources\[0\].endpoints\[0\].*is not an IP address")
        for prefix in ("cluster_manager.cds.", "listener_manager.lds.", "cluster.a.", "http.in.rds.r."):
            self.assertEqual(self.counted(prefix), (2, 1, 0, 1), prefix)
        self.assertEqual(self.get(), 200)

    def test_unreadable(self) -> None:
        """
        A file that is no JSON, or is empty, is a failure; one that is gone is looked for again.
        """
        self.putAll()
        self.start()
        self.text("cds", "{")
        self.later()
        self.assertIn("cds.json:1:", self.events[-1])
        self.text("lds", "")
        self.later()
        self.assertEqual(self.counted("cluster_manager.cds."), (2, 1, 1, 0))
        self.assertEqual(self.counted("listener_manager.lds."), (2, 1, 1, 0))
        os.remove(self.path("rds"))
        self.later()
        self.put("rds", routes("r", "a", "/only"))
        self.later()
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))

    def test_others(self) -> None:
        """
        Resources of another type, name or number are refused; none at all changes nothing, but for listeners and
        clusters, of which a file holds all there are.
        """
        self.putAll()
        self.start()
        for name, wrong, why in (
            ("rds", [routes("s", "a")], "is to hold the routes 'r' alone; it holds 's'"),
            ("rds", [routes("r", "a"), routes("s", "a")], "it holds 'r', 's'"),
            ("eds", [endpoints("b")], "is to hold the endpoints of 'a' alone; it holds 'b'"),
            ("eds", [endpoints("a"), endpoints("b")], "it holds 'a', 'b'"),
        ):
            self.put(name, *wrong)
            self.later()
            self.assertIn(why, self.events[-1])
        self.text("cds", json.dumps({"resources": [{"@type": f"type.googleapis.com/{_TYPES['rds']}", "name": "r"}]}))
        self.later()
        self.assertIn("resources[0].@type: is a envoy.config.route.v3.RouteConfiguration", self.events[-1])
        self.put("rds")
        self.put("eds")
        self.later()
        self.assertEqual(self.get(), 200)
        empty = [self.proxy.stat(f"{prefix}.update_empty") for prefix in ("cluster.a", "http.in.rds.r")]
        self.assertEqual(empty, [1, 1])
        self.put("lds")
        self.later()
        self.assertEqual(self.proxy.server.listeners.byName, {})

    def test_wrongAtStart(self) -> None:
        """
        A wrong file does not keep the proxy from beginning; what is right comes when it is there.
        """
        self.putAll()
        self.text("lds", "{}}")
        self.put("eds", endpoints("b"))
        self.start()
        self.assertEqual((self.proxy.server.state, self.proxy.server.listeners.byName), ("LIVE", {}))
        self.put("lds", self.listener())
        self.later()
        self.assertEqual(self.get(), 503)
        self.put("eds", endpoints("a", "192.0.2.11"))
        self.later()
        self.assertEqual(self.get(), 200)

    def test_absentAtStart(self) -> None:
        """
        A file that is not there is refused with the place where it is named.
        """
        self.putAll()
        os.remove(self.path("lds"))
        error = self.assertRaises(ConfigErrors, self.start)
        self.assertIn("dynamic_resources.lds_config.path_config_source: ", str(error))
        self.assertIn("does not exist", str(error))

    def test_routesOfTwoFiles(self) -> None:
        """
        Two listeners take routes of the same name from different files.
        """
        self.putAll()
        self.put("rds2", routes("r", "a", "/only"))
        self.put("lds", self.listener(), self.listener("other", 81, "rds2"))
        self.start()
        self.assertEqual((self.get("/x", 80), self.get("/x", 81), self.get("/only", 81)), (200, 404, 200))

    def test_scopes(self) -> None:
        """
        Scopes and the routes that they name come from files; what is wrong is told with its place, and changes
        nothing; a file that nobody names any more is forgotten.
        """
        self.put("cds", self.cluster("a"))
        self.put("eds", endpoints("a", "192.0.2.11"))
        self.put("rds", answering("r", "R"))
        self.put("srds", scope("a", "x", "r"))
        self.put("lds", scopedListener(source=self.source("srds"), ofRoutes=self.source("rds")))
        self.start()

        def ask(key: str) -> int:
            return self.proxy.request("GET", "/", [("x-scope", key)], to="192.0.2.1:80").status

        self.assertEqual((ask("x"), ask("y")), (200, 404))
        counted = "http.in.scoped_rds.scopes."
        self.assertEqual(self.counted(counted), (1, 1, 0, 0))
        self.put("srds", scope("a", "y", "r"), version="2")
        self.later()
        self.assertEqual((ask("x"), ask("y")), (404, 200))
        self.assertEqual((self.counted(counted), self.proxy.stat(counted + "all_scopes")), ((2, 2, 0, 0), 1))
        self.put("srds", scope("a", "y", "r"), scope("b", "y", "r"))
        self.later()
        self.assertEqual((ask("x"), ask("y"), self.counted(counted)), (404, 200, (3, 2, 0, 1)))
        self.assertTrue([event for event in self.events if "srds.json" in event and "resources[1].key" in event])
        self.put("lds", self.listener())
        self.put("rds", routes("r", "a"))
        self.later()
        discovery = self.proxy.server.discovery
        assert discovery is not None
        self.assertEqual((self.get(), discovery.resources.scopes), (200, {}))

    def test_filterConfigs(self) -> None:
        """
        Configurations of filters come from files of their own, which hold one each.
        """

        def fault(name: str, status: int) -> JSON:
            kind = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
            abort = {"httpStatus": status, "percentage": {"numerator": 100}}
            return {"name": name, "typedConfig": {"@type": kind, "abort": abort}}

        self.putAll()
        self.put("ecds", fault("f", 418))
        made = self.listener()
        filters = made["filterChains"][0]["filters"][0]["typedConfig"]["httpFilters"]
        types = [fault("f", 418)["typedConfig"]["@type"]]
        filters.insert(0, {"name": "f", "configDiscovery": {"configSource": self.source("ecds"), "typeUrls": types}})
        self.put("lds", made)
        self.start()
        self.assertEqual(self.get(), 418)
        self.put("ecds", fault("f", 419))
        self.later()
        self.assertEqual(self.get(), 419)
        counted = "extension_config_discovery.http_filter.f."
        self.assertEqual((self.counted(counted), self.proxy.stat(counted + "config_reload")), ((2, 2, 0, 0), 2))
        for wrong in ([fault("g", 418)], [], [fault("f", 5)]):
            self.put("ecds", *wrong)
            self.later()
        self.assertEqual((self.get(), self.counted(counted)), (419, (5, 2, 0, 3)))
        self.assertTrue([event for event in self.events if "to hold the configuration 'f' alone" in event])
        self.put("lds", self.listener())
        self.later()
        self.assertEqual(self.get(), 200)

    def test_static(self) -> None:
        """
        Listeners and clusters of the bootstrap may take routes and endpoints from files, without dynamic_resources.
        """
        self.putAll()
        static = {"clusters": [self.cluster("a")], "listeners": [self.listener()]}
        self.proxy = MemoryProxy(json.dumps({"static_resources": static}), self.network)
        self.addCleanup(self._stop)
        self.proxy.backend("192.0.2.11:80")
        self.assertEqual((self.get(), self.proxy.server.state), (200, "LIVE"))
        self.put("rds", routes("r", "a", "/only"))
        self.later()
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))

    def test_stopped(self) -> None:
        """
        A proxy that ended looks at no file.
        """
        self.putAll()
        self.start()
        self.proxy.server.stopService()
        self.proxy.reactor.advance(60)
        self.assertEqual([call for call in self.proxy.reactor.getDelayedCalls() if call.active()], [])
