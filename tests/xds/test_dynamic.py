"""
Tests for L{meshproxy.xds.dynamic}, L{meshproxy.xds.stream} and L{meshproxy.xds.settings}: a proxy and a control plane
in memory, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Report
from meshproxy.config.pool import messageClass
from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.testing import Answer
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.proxy import MemoryProxy
from meshproxy.xds.dynamic import Checked, DynamicResources
from meshproxy.xds.types import CLUSTER
from tests.xds.support import CONTROL, XDSTestCase, cluster, endpoints, listener, routes


class CheckedTests(SynchronousTestCase):
    """
    L{Checked}.
    """

    def sections(self, *clusters: bytes) -> tuple[list[Any], Report]:
        """
        The messages of some clusters, and what is wrong with them.
        """
        report = Report()
        resources = DynamicResources({str(number): value for number, value in enumerate(clusters)})
        return [each.message for each in resources.sections(CLUSTER, report, self.checked).values()], report

    def setUp(self) -> None:
        self.checked = Checked()

    def packed(self, **fields: Any) -> bytes:
        """
        A cluster.
        """
        data: bytes = messageClass(CLUSTER.rpartition("/")[2])(**fields).SerializeToString()
        return data

    def test_once(self) -> None:
        """
        What is as it was is looked at once, and what is not there any more is forgotten.
        """
        one, other = self.packed(name="a"), self.packed(name="b")
        before, _ = self.sections(one, other)
        after, _ = self.sections(other)
        self.assertIs(after[0], before[1])
        again, _ = self.sections(one, other)
        self.assertIsNot(again[0], before[0])
        self.assertIs(again[1], before[1])

    def test_faults(self) -> None:
        """
        Faults are told each time, and so is what is deprecated.
        """
        wrong = self.packed(name="a", connect_timeout={"seconds": -1})
        for _ in range(2):
            _, report = self.sections(wrong)
            (error,) = map(str, report.errors)
            self.assertIn("clusters[0].connect_timeout", error)
        older = self.packed(name="a", http_protocol_options={})
        told = [len(self.sections(older)[1].warnings) for _ in range(2)]
        self.assertEqual((told[0], told[1] > 0), (told[1], True))


class DynamicTests(XDSTestCase):
    """
    A proxy whose configuration comes by xDS.
    """

    def setUp(self) -> None:
        super().setUp()
        self.source.set(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "a")],
        )

    def backends(self) -> list[Any]:
        """
        Two backends.
        """
        return [self.proxy.backend(f"192.0.2.1{number}:80") for number in (1, 2)]

    def test_all(self) -> None:
        """
        Clusters, endpoints, listeners and routes come, and requests pass.
        """
        self.start()
        one, _ = self.backends()
        self.assertEqual((self.get(), len(one.requests)), (200, 1))
        types = ("Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration")
        self.assertEqual(self.states(), dict.fromkeys(types, ""))
        self.assertEqual(self.proxy.server.state, "LIVE")

    def test_node(self) -> None:
        """
        The proxy says who it is, and sends what it was told to send along.
        """
        self.start()
        (node,) = self.source.nodes
        self.assertEqual((node["id"], node["cluster"], node["userAgentName"]), ("p1", "c1", "meshproxy"))
        self.assertEqual(node["metadata"], {"NAMESPACE": "default"})

    def test_endpoints(self) -> None:
        """
        Other endpoints take the requests from then on, and nothing else is made anew.
        """
        self.start()
        one, two = self.backends()
        self.get()
        serving = self.proxy.server.listeners.byName["in"], self.proxy.server.clusters.byName["a"]
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.12")],
            listeners=[listener()],
            routes=[routes("r", "a")],
        )
        self.get()
        self.assertEqual((len(one.requests), len(two.requests)), (1, 1))
        self.assertEqual((self.proxy.server.listeners.byName["in"], self.proxy.server.clusters.byName["a"]), serving)

    def test_routes(self) -> None:
        """
        Other routes hold for the next request of a connection that stays.
        """
        self.start()
        self.backends()
        client = self.proxy.client("192.0.2.1:80")
        self.assertEqual(client.request("GET", "/x").status, 200)
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "a", "/only")],
        )
        self.assertEqual(client.request("GET", "/x").status, 404)
        self.assertEqual(client.request("GET", "/only").status, 200)

    def test_otherCluster(self) -> None:
        """
        From one cluster to another no request is lost, and the old one goes.
        """
        self.start()
        one, two = self.backends()
        self.get()
        self.change(
            clusters=[cluster("b")],
            endpoints=[endpoints("b", "192.0.2.12")],
            listeners=[listener()],
            routes=[routes("r", "b")],
        )
        self.assertEqual(self.get(), 200)
        self.assertEqual((len(one.requests), len(two.requests)), (1, 1))
        self.assertEqual(set(self.proxy.server.clusters.byName), {"xds", "b"})

    def test_unchangedListenersStay(self) -> None:
        """
        A listener that a change does not touch goes on as the object that it is, with all that its filters remember.
        """
        self.source.set(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener(), listener("other", 81, "s")],
            routes=[routes("r", "a"), routes("s", "a")],
        )
        self.start()
        self.backends()
        before = dict(self.proxy.server.listeners.byName)
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener(), listener("other", 81, "s")],
            routes=[routes("r", "a"), routes("s", "a", "/only")],
        )
        after = self.proxy.server.listeners.byName
        self.assertIs(after["in"], before["in"])
        self.assertIsNot(after["other"], before["other"])
        self.assertEqual((self.get(), self.get("/x", 81), self.get("/only", 81)), (200, 404, 200))

    def test_gone(self) -> None:
        """
        A listener that is gone accepts no more.
        """
        self.start()
        self.backends()
        self.change(clusters=[cluster("a")], endpoints=[endpoints("a", "192.0.2.11")])
        self.assertEqual(self.proxy.server.listeners.byName, {})
        self.assertIsNone(self.network.listeningAt(_address(80)))

    def test_waitsForRoutes(self) -> None:
        """
        A listener waits for its routes; its former version serves meanwhile.
        """
        self.start()
        self.backends()
        parts: dict[str, Any] = {"clusters": [cluster("a")], "endpoints": [endpoints("a", "192.0.2.11")]}
        self.change(**parts, listeners=[listener(rds="later")], routes=[])
        self.assertEqual(self.get("/x"), 200)
        self.change(**parts, listeners=[listener(rds="later")], routes=[routes("later", "a", "/only")])
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))

    def test_refused(self) -> None:
        """
        What is wrong is told to the control plane, with its path; what runs goes on, and the next good one is taken.
        """
        self.start()
        self.backends()
        good: dict[str, Any] = {"endpoints": [endpoints("a", "192.0.2.11")], "routes": [routes("r", "a")]}
        self.change(**good, clusters=[cluster("a", lbPolicy="CLUSTER_PROVIDED")], listeners=[listener()])
        self.assertIn("clusters[a].lb_policy", self.states()["Cluster"])
        self.assertEqual(self.get(), 200)
        self.change(**good, clusters=[cluster("a")], listeners=[listener(httpFilters=[])])
        self.assertEqual(self.states()["Cluster"], "")
        self.assertIn("listeners[in]", self.states()["Listener"])
        self.assertEqual(self.get(), 200)
        self.assertEqual(self.proxy.stat("listener_manager.lds.update_rejected"), 1)
        self.change(**good, clusters=[cluster("a")], listeners=[listener()])
        self.assertEqual(self.states()["Listener"], "")

    def test_refusedEndpoints(self) -> None:
        """
        So are endpoints that are none.
        """
        self.start()
        self.backends()
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "not-an-address")],
            listeners=[listener()],
            routes=[routes("r", "a")],
        )
        self.assertIn("'not-an-address' is not an IP address", self.states()["ClusterLoadAssignment"])
        self.assertEqual(self.get(), 200)

    def test_refusedRoutes(self) -> None:
        """
        And routes.
        """
        self.start()
        self.backends()
        broken = routes("r", "a")
        broken["virtualHosts"] *= 2
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[broken],
        )
        self.assertIn("routes[r].virtual_hosts[1]", self.states()["RouteConfiguration"])
        self.assertEqual(self.get(), 200)

    def test_staticNames(self) -> None:
        """
        A cluster of the bootstrap is not replaced from outside.
        """
        self.start()
        self.change(clusters=[cluster("a"), cluster("xds")], endpoints=[], listeners=[listener()], routes=[])
        self.assertIn("there are two clusters of the name 'xds'", self.states()["Cluster"])

    def test_dump(self) -> None:
        """
        C{/config_dump} tells what came so, with the version that it came with; what is sent again as it was keeps its.
        """
        self.start()
        self.backends()
        server = self.proxy.server
        before = server.clusters.byName["a"].versionInfo
        self.assertTrue(before)
        self.assertTrue(server.clusters.byName["a"].addedViaAPI)
        self.assertFalse(server.clusters.byName["xds"].addedViaAPI)
        self.assertTrue(server.listeners.byName["in"].addedViaAPI)
        version, _ = server.context.routeVersions["", "r"]
        self.change(
            clusters=[cluster("a"), cluster("b")],
            endpoints=[endpoints("a", "192.0.2.11"), endpoints("b")],
            listeners=[listener()],
            routes=[routes("r", "a", "/only")],
        )
        self.assertEqual(server.clusters.byName["a"].versionInfo, before)
        self.assertNotIn(server.clusters.byName["b"].versionInfo, ("", before))
        self.assertNotIn(server.context.routeVersions["", "r"][0], ("", version))

    def test_controlPlaneAway(self) -> None:
        """
        While the control plane is away the proxy serves what it has; when it is back it follows, and what it has is not
        sent again.
        """
        self.start()
        self.backends()
        pushes = dict(self.xds.pushes)
        self.listening.stopListening()
        self.server.stop()
        self.reactor.advance(5)
        self.assertEqual((self.get(), self.proxy.stat("control_plane.connected_state")), (200, 0))
        # As in Envoy: an attempt for the beginning, for the response, and for each stream that ended.
        counted = [self.proxy.stat(f"cluster_manager.cds.update_{name}") for name in ("success", "failure", "attempt")]
        self.assertGreater(counted[1], 0)
        self.assertEqual(counted, [1, counted[1], 2 + counted[1]])
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.reactor.advance(30)
        self.assertEqual(self.xds.pushes, pushes)
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "a", "/only")],
        )
        self.assertEqual((self.get("/x"), self.get("/only")), (404, 200))

    def test_controlPlaneAwayAtStart(self) -> None:
        """
        A proxy that finds no control plane says that it is not ready, then begins without; it follows when there is
        one.
        """
        self.listening.stopListening()
        self.start()
        self.assertEqual(self.proxy.server.state, "INITIALIZING")
        self.reactor.advance(15)
        self.assertEqual(self.proxy.server.state, "LIVE")
        self.backends()
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)
        self.reactor.advance(60)
        self.assertEqual(self.get(), 200)

    def test_pauses(self) -> None:
        """
        The pauses between attempts grow, up to half a minute.
        """
        self.listening.stopListening()
        self.start()
        self.reactor.advance(0)
        counts = []
        for _ in range(10):
            before = len(self.network.dialled)
            self.reactor.advance(60)
            counts.append(len(self.network.dialled) - before)
        self.assertTrue(counts[0] > counts[-1] >= 2, counts)

    def test_noEndpoints(self) -> None:
        """
        A cluster whose endpoints do not come begins without any after its time.
        """
        self.source.set(
            clusters=[{**cluster("a"), "edsClusterConfig": {"edsConfig": {"ads": {}}, "serviceName": "elsewhere"}}],
            listeners=[listener()],
            routes=[routes("r", "a")],
        )
        self.start()
        self.assertEqual(self.get(), 503)

    def test_noRoutes(self) -> None:
        """
        A listener whose routes do not come begins without any after its time, and takes them when they come.
        """
        self.source.set(clusters=[cluster("a")], endpoints=[endpoints("a", "192.0.2.11")], listeners=[listener()])
        self.start()
        self.backends()
        self.assertNotIn("in", self.proxy.server.listeners.byName)
        self.reactor.advance(15)
        self.assertEqual((self.get(), self.proxy.stat("http.in.rds.r.init_fetch_timeout")), (404, 1))
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "a")],
        )
        self.assertEqual(self.get(), 200)

    def test_noRoutesForLong(self) -> None:
        """
        With C{initial_fetch_timeout: 0s} it waits for as long as it takes; one of the bootstrap does not, without it.
        """
        patient = {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "0s"}
        self.source.set(
            clusters=[cluster("a")], endpoints=[endpoints("a", "192.0.2.11")], listeners=[listener(source=patient)]
        )
        self.start(listeners=[json.loads(json.dumps(listener("static", 82, "s")))])
        self.backends()
        self.reactor.advance(600)
        self.assertEqual((set(self.proxy.server.listeners.byName), self.get("/", 82)), ({"static"}, 404))
        self.change(
            clusters=[cluster("a")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener(source=patient)],
            routes=[routes("r", "a")],
        )
        self.assertEqual(self.get(), 200)

    def test_staticListener(self) -> None:
        """
        A listener of the bootstrap may take its routes from the control plane.
        """
        static = json.loads(json.dumps(listener("static", 82)))
        self.start(listeners=[static])
        self.backends()
        self.assertEqual(self.get("/", 82), 200)

    def test_awayForLong(self) -> None:
        """
        Without a word of the control plane the listeners of the bootstrap begin all the same when their clusters are
        there, though the proxy as a whole waits no more by then.
        """
        patient = {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "20s"}
        inline = listener("static", 82)
        manager = inline["filterChains"][0]["filters"][0]["typedConfig"]
        del manager["rds"]
        manager["routeConfig"] = routes("r", "late")
        self.listening.stopListening()
        self.start(clusters=[{**cluster("late"), "edsClusterConfig": {"edsConfig": patient}}], listeners=[inline])
        self.reactor.advance(15)
        self.assertEqual((self.proxy.server.state, set(self.proxy.server.listeners.byName)), ("LIVE", set()))
        self.reactor.advance(5)
        self.assertEqual(self.get("/", 82), 503)

    def slow(self, seconds: float) -> None:
        """
        Let names be looked up for so long.
        """

        def resolve(*asked: Any) -> Any:
            found: Deferred[list[str]] = Deferred()
            self.reactor.callLater(seconds, found.callback, ["192.0.2.11"])
            return found

        self.network.resolve = resolve  # type: ignore[method-assign, assignment]  # it takes time

    def named(self, name: str) -> dict[str, Any]:
        """
        A cluster whose host is looked up.
        """
        address = {"socketAddress": {"address": "a.example", "portValue": 80}}
        assignment = {"clusterName": name, "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}]}
        return {"name": name, "type": "STRICT_DNS", "loadAssignment": assignment}

    def test_changesWhileItWarms(self) -> None:
        """
        What comes while a cluster looks for its endpoints does not let it begin anew: who changes something more often
        than that takes is served all the same.
        """
        self.slow(15)
        self.start()
        self.proxy.backend("192.0.2.11:80")
        for number in range(4):
            self.change(
                clusters=[cluster("a"), self.named("slow")],
                endpoints=[endpoints("a", "192.0.2.11")],
                listeners=[listener()],
                routes=[routes("r", "slow", f"/{number}")],
            )
            self.proxy.advance(10)
        self.assertEqual([self.get(f"/{number}") for number in range(4)], [404, 404, 404, 200])
        manager = "cluster_manager."
        figures = [self.proxy.stat(manager + name) for name in ("warming_clusters", "active_clusters", "cluster_added")]
        self.assertEqual(figures, [0, 3, 3])
        self.change(clusters=[cluster("a")], listeners=[listener()], routes=[routes("r", "a")])
        self.assertIsNone(self.proxy.stats("cluster.slow.").get("cluster.slow.membership_total"))

    def test_goesWhileItWarms(self) -> None:
        """
        What nobody wants any more before it was ready is given up.
        """
        self.slow(15)
        self.start()
        for clusters in ([cluster("a"), self.named("slow")], [cluster("a"), self.named("slow"), cluster("b")]):
            self.change(clusters=clusters, listeners=[listener()], routes=[routes("r", "a")])
        self.change(clusters=[cluster("a")], listeners=[listener()], routes=[routes("r", "a")])
        self.proxy.advance(20)
        self.assertEqual((self.proxy.server.clusters.warming, self.proxy.stats("cluster.slow.")), ([], {}))
        self.assertEqual(sorted(self.proxy.server.clusters.byName), ["a", "xds"])

    def test_reloadWhileItWarms(self) -> None:
        """
        A bootstrap that is read again does not lose what came before and was not ready, be it taken or not.
        """
        self.slow(15)
        self.start()
        self.proxy.backend("192.0.2.11:80")
        self.change(
            clusters=[cluster("a"), self.named("slow")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "slow", "/slow")],
        )
        self.assertTrue(self.proxy.reload(self.bootstrap()))
        self.proxy.advance(20)
        self.assertEqual([self.get(path) for path in ("/", "/slow")], [404, 200])
        self.network.listen(Address("192.0.2.1", 99), lambda peer: None)
        self.change(
            clusters=[cluster("a"), self.named("other")],
            endpoints=[endpoints("a", "192.0.2.11")],
            listeners=[listener()],
            routes=[routes("r", "other", "/other")],
        )
        occupied = listener("static", 99)
        self.assertFalse(self.proxy.reload(self.bootstrap(listeners=[occupied])))
        self.proxy.advance(20)
        self.assertEqual([self.get(path) for path in ("/slow", "/other")], [404, 200])

    def test_manyDemands(self) -> None:
        """
        What clients need is asked for at once; where each request has to name all of it, what they need next waits for
        a moment.
        """
        self.start()

        def asked() -> list[str]:
            (connected,) = self.xds.connected()
            names = connected.session.subscriptions[CLUSTER].names or ()
            return sorted(name for name in names if name.startswith("n"))

        seen = []
        for name in ("n1", "n2", "n3"):
            self.proxy.server.clusters.onDemand.ask(name, 5.0)
            self.reactor.settle()
            seen.append(asked())
        self.assertEqual(seen[0], ["n1"])
        self.assertEqual(seen[2], ["n1"] if self.variant == "GRPC" else ["n1", "n2", "n3"])
        self.proxy.advance(0.05)
        self.assertEqual(asked(), ["n1", "n2", "n3"])
        # One that waits when the proxy ends is asked for no more.
        self.proxy.server.clusters.onDemand.ask("n4", 5.0)

    def test_mistake(self) -> None:
        """
        What this proxy itself fails at is refused, and is not there when something else comes.
        """
        self.start()
        discovery = self.proxy.server.discovery
        assert discovery is not None
        before = discovery.resources
        with mock.patch.object(self.proxy.server.configuration, "_compileWith", side_effect=ZeroDivisionError):
            self.change(clusters=[cluster("a")], listeners=[listener(port=81)], routes=[routes("r", "a")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("the proxy failed at it", self.states()["Listener"])
        self.assertEqual(discovery.resources, before)

    def test_stop(self) -> None:
        """
        A proxy that ends leaves its control plane, and nothing behind.
        """
        self.start()
        self.proxy.server.stopService()
        self.reactor.advance(60)
        self.assertEqual((self.xds.connected(), self.server.connections), ([], set()))

    def test_ending(self) -> None:
        """
        A proxy that lets its last streams end has left its control plane: what that would send is no fault of anybody.
        """
        self.start()
        one, _ = self.backends()
        one.answer(Answer(body=b"slow", delay=5))
        client = self.proxy.client("192.0.2.1:80")
        client.send()
        self.reactor.advance(1)
        (connected,) = self.xds.connected()
        self.proxy.server.stopService()
        self.reactor.advance(1)
        self.change(clusters=[cluster("a", connectTimeout="1s")], listeners=[listener("in", 81)])
        self.reactor.advance(1)
        self.assertEqual(self.xds.connected(), [])
        self.assertFalse(any(one.rejection for one in connected.session.subscriptions.values()))
        self.assertEqual(client.response().body, b"slow")
        self.reactor.advance(60)


class DeltaDynamicTests(DynamicTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"


class SettingsTests(XDSTestCase):
    """
    What C{dynamic_resources} may say.
    """

    def refused(self, change: Any) -> str:
        """
        What is said of a changed bootstrap.
        """
        bootstrap = json.loads(self.bootstrap())
        change(bootstrap["dynamic_resources"])
        error = self.assertRaises(ConfigErrors, MemoryProxy, json.dumps(bootstrap), MemoryNetwork(self.reactor))
        return str(error)

    def test_faults(self) -> None:
        """
        What is not implemented, and what names nothing, is refused with its path.
        """
        service = "ads_config", "grpc_services"
        told = self.refused(lambda d: d[service[0]][service[1]][0]["envoy_grpc"].update(cluster_name="xdss"))
        self.assertIn("dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name", told)
        self.assertIn("did you mean xds?", told)
        told = self.refused(lambda d: d.update(cds_config={"path_config_source": {"path": "/x"}}))
        self.assertIn("dynamic_resources.cds_config.path_config_source: '/x' does not exist", told)
        told = self.refused(lambda d: d["ads_config"].update(api_type="REST"))
        self.assertIn("dynamic_resources.ads_config.api_type", told)
        self.assertIn("without dynamic_resources.ads_config", self.refused(lambda d: d.pop("ads_config")))
        self.assertIn("grpc_services", self.refused(lambda d: d["ads_config"].update(grpc_services=[])))

    def test_withoutControlPlane(self) -> None:
        """
        What is to come by a control plane is refused where there is none.
        """
        static = {"clusters": [cluster("a")], "listeners": [listener()]}
        error = self.assertRaises(
            ConfigErrors, MemoryProxy, json.dumps({"static_resources": static}), MemoryNetwork(self.reactor)
        )
        self.assertEqual(str(error).count("nothing comes by ads without dynamic_resources.ads_config"), 2)


def _address(port: int) -> Any:
    from meshproxy.net.address import Address

    return Address("192.0.2.1", port)
