"""
Virtual hosts that come apart (VHDS): a proxy and a control plane in memory, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any, cast

from meshproxy.admin.commands import AdminRequest
from meshproxy.admin.dump import configDump
from meshproxy.config.pool import typeURL
from meshproxy.controlplane.xds import server
from meshproxy.errors import ConfigErrors, ConnectFailed
from meshproxy.grpc.server import GRPCServer
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.proxy import MemoryProxy
from tests.http.http2support import HTTP2Peer
from tests.xds.namespaces import NamespaceSession
from tests.xds.support import ADS, CONTROL, JSON, XDSTestCase, answering, listener

_ROUTER = {"name": "router", "typedConfig": {"@type": typeURL("envoy.extensions.filters.http.router.v3.Router")}}
_DEMAND = {"name": "demand", "typedConfig": {"@type": typeURL("envoy.extensions.filters.http.on_demand.v3.OnDemand")}}
_VHDS: JSON = {"configSource": ADS}


def host(domain: str, says: str = "", prefix: str = "/", **more: Any) -> JSON:
    """
    A virtual host that answers.
    """
    reply = {"status": 200, "body": {"inlineString": says or domain}}
    routes = [{"match": {"prefix": prefix}, "directResponse": reply}]
    return {"name": f"r/{domain}", "domains": [domain], "routes": routes, **more}


class VirtualHostsTests(XDSTestCase):
    """
    A listener with the filter C{on_demand}.
    """

    variant = "DELTA_GRPC"

    def setUp(self) -> None:
        super().setUp()
        self.patch(server, "DeltaSession", NamespaceSession)
        self.parts: dict[str, list[JSON]] = {
            "listeners": [listener(httpFilters=[_DEMAND, _ROUTER])],
            "routes": [{"name": "r", "virtualHosts": [host("own")], "vhds": _VHDS}],
            "hosts": [host("first"), host("a")],
        }
        self.source.set(**self.parts)

    def put(self, **parts: list[JSON]) -> None:
        """
        Have the control plane say something else of some types.
        """
        self.parts = {**self.parts, **parts}
        self.change(**self.parts)

    def ask(self, name: str, path: str = "/") -> str:
        """
        What is answered for a host: the body, or the status.
        """
        answer = self.proxy.request("GET", path, [("host", name)], to="192.0.2.1:80")
        return answer.body.decode() if answer.status == 200 else str(answer.status)

    def counted(self, name: str) -> int:
        """
        A figure of the hosts.
        """
        return self.proxy.stat(f"http.in.rds.vhds.r.{name}")

    def silence(self) -> None:
        """
        Have the control plane go away.
        """
        self.listening.stopListening()
        self.server.stop()
        self.proxy.advance(0.1)

    def test_comes(self) -> None:
        """
        Hosts of the routes, of the first response, and those that are asked for; what there is not gets 404 at once.
        """
        self.start()
        self.assertEqual([self.ask(name) for name in ("own", "first", "A", "b")], ["own", "first", "a", "404"])
        self.assertEqual((self.counted("update_success"), self.counted("update_rejected")), (3, 0))
        self.put(hosts=[host("a"), host("b"), host("first", "other")])
        self.assertEqual([self.ask(name) for name in ("own", "first", "a", "b")], ["own", "other", "a", "b"])
        asked = AdminRequest("/config_dump", {"resource": "dynamic_route_configs"})
        (told,) = json.loads("".join(configDump(cast(Any, self.proxy.server), asked).body))["configs"]
        names = {one["name"] for one in told["route_config"]["virtual_hosts"]}
        self.assertEqual(names, {"r/own", "r/first", "r/a", "r/b"})

    def test_empty(self) -> None:
        """
        What there is not may be an empty resource, too.
        """
        self.patch(NamespaceSession, "saysEmpty", True)
        self.start()
        self.assertEqual([self.ask(name) for name in ("b", "a", "b")], ["404", "a", "404"])
        self.put(hosts=[host("b")])
        self.assertEqual([self.ask(name) for name in ("b", "a")], ["b", "404"])

    def test_goes(self) -> None:
        """
        A host that goes takes its routes along, and is asked for again; routes that change keep the hosts apart.
        """
        self.start()
        self.assertEqual(self.ask("a"), "a")
        self.put(hosts=[host("first")])
        self.assertEqual([self.ask(name) for name in ("a", "first")], ["404", "first"])
        self.put(routes=[{"name": "r", "virtualHosts": [host("own", "2")], "vhds": _VHDS}], hosts=[host("a")])
        self.assertEqual([self.ask(name) for name in ("own", "a", "first")], ["2", "a", "404"])
        self.put(routes=[answering("r", "all")])
        self.assertEqual([self.ask(name) for name in ("own", "a")], ["all", "all"])

    def test_otherRoutes(self) -> None:
        """
        While a listener waits for other routes its former version goes on, and what it would ask for is not there.
        """
        self.start()
        self.put(listeners=[listener(rds="late", httpFilters=[_DEMAND, _ROUTER])])
        self.assertEqual([self.ask(name) for name in ("first", "b")], ["first", "404"])

    def test_answeredOnce(self) -> None:
        """
        A host that is there and has no route is not asked for again.
        """
        self.parts["hosts"] = [host("a", prefix="/a")]
        self.source.set(**self.parts)
        self.start()
        self.assertEqual([self.ask("a", "/b"), self.ask("a", "/b"), self.ask("a", "/a")], ["404", "404", "a"])
        attempts = self.counted("update_attempt")
        self.assertEqual(self.ask("a", "/b"), "404")
        self.assertEqual(self.counted("update_attempt"), attempts)

    def test_refused(self) -> None:
        """
        A domain that is there already refuses the response; all stays as it was.
        """
        self.start()
        self.assertEqual(self.ask("a"), "a")
        self.put(hosts=[host("first"), {**host("a"), "domains": ["own"]}])
        self.assertIn("duplicate entry of domain own", self.states()["VirtualHost"])
        self.assertEqual([self.ask(name) for name in ("own", "a")], ["own", "a"])
        self.assertEqual(self.counted("update_rejected"), 1)
        self.put(hosts=[host("first"), host("a", "again")])
        self.assertEqual([self.ask(name) for name in ("own", "a")], ["own", "again"])

    def test_refusedOnDemand(self) -> None:
        """
        Who asked for a host that is refused waits until its time is over.
        """
        self.parts["hosts"] = [host("first"), {**host("a"), "domains": ["own"]}]
        self.source.set(**self.parts)
        self.start()
        client = self.proxy.client("192.0.2.1:80")
        client.send("GET", "/", [("host", "a")])
        self.proxy.advance(14.9)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.2)
        self.assertEqual([each.status for each in client.responses], [404])

    def test_timeout(self) -> None:
        """
        Where nobody answers the request goes on when the time of its source is over.
        """
        source = {**ADS, "initialFetchTimeout": "3s"}
        self.parts["routes"][0]["vhds"] = {"configSource": source}
        self.source.set(**self.parts)
        self.start()
        self.silence()
        client = self.proxy.client("192.0.2.1:80")
        client.send("GET", "/", [("host", "a")])
        self.proxy.advance(2.8)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.3)
        self.assertEqual([each.status for each in client.responses], [404])

    def test_streamBegins(self) -> None:
        """
        A control plane that comes back tells of hosts that went meanwhile, and sends what stays not again.
        """
        self.start()
        self.assertEqual(self.ask("a"), "a")
        self.silence()
        self.source.set(**{**self.parts, "hosts": [host("a", "2"), host("first")]})
        self.server = GRPCServer(self.xds.methods(), self.reactor)
        self.network.listen(CONTROL, self.server.buildProtocol)
        self.proxy.advance(60)
        self.assertEqual([self.ask(name) for name in ("a", "first")], ["2", "first"])
        self.change(**{**self.parts, "hosts": []})
        self.assertEqual([self.ask(name) for name in ("a", "first", "own")], ["404", "404", "own"])

    def test_listenerWaits(self) -> None:
        """
        A listener that begins waits for the first word of its hosts, and no longer than it is told.
        """
        self.patch(NamespaceSession, "_isDirty", _neverHosts)
        self.start()
        self.proxy.advance(14.9)
        self.assertRaises(ConnectFailed, self.proxy.client, "192.0.2.1:80")
        self.proxy.advance(0.2)
        self.assertEqual([self.ask("own"), self.counted("init_fetch_timeout")], ["own", 1])

    def test_forgotten(self) -> None:
        """
        When no routes take hosts apart any more nothing of them is held or asked for.
        """
        self.start()
        self.assertEqual([self.ask("a"), self.ask("nobody")], ["a", "404"])
        self.put(routes=[answering("r", "all")])
        hosts = self.proxy.server.context.hosts
        assert hosts is not None
        self.assertEqual(hosts.names, set())
        (connected,) = self.xds.connected()
        subscription = connected.session.subscriptions[typeURL("envoy.config.route.v3.VirtualHost")]
        self.assertEqual((subscription.names, subscription.isWildcard), (set(), False))
        self.put(routes=[{"name": "r", "vhds": _VHDS}])
        self.assertEqual([self.ask("a"), self.ask("nobody")], ["a", "404"])

    def test_body(self) -> None:
        """
        Requests with a body wait and go on likewise.
        """
        self.start()
        client = self.proxy.client("192.0.2.1:80")
        client.send("POST", "/", [("host", "a")], body=b"x" * 100)
        self.proxy.advance(0.1)
        self.assertEqual([each.body for each in client.responses], [b"a"])

    def test_http2(self) -> None:
        """
        Streams of HTTP/2 wait and go on likewise.
        """
        self.start()
        peer = HTTP2Peer()
        self.proxy.connect(peer, "192.0.2.1:80")
        streams = [peer.ask(authority=name) for name in (b"a", b"b", b"a")]
        self.proxy.advance(0.1)
        self.assertEqual(
            [(peer.of(one).status, peer.of(one).body) for one in streams], [(200, b"a"), (404, b""), (200, b"a")]
        )

    def refused(self, variant: str = "DELTA_GRPC", **manager: Any) -> str:
        """
        The faults of a listener in place.
        """
        self.variant = variant
        front = listener(httpFilters=[_ROUTER], **manager)
        del front["filterChains"][0]["filters"][0]["typedConfig"]["rds"]
        text = self.bootstrap(listeners=[front])
        return str(self.assertRaises(ConfigErrors, MemoryProxy, text, MemoryNetwork(self.reactor)))

    def test_inPlace(self) -> None:
        """
        For routes in place it is refused.
        """
        told = self.refused(routeConfig={"name": "r", "vhds": _VHDS})
        self.assertIn("route_config.vhds: virtual hosts come apart only for routes that come by rds from ads", told)


def _neverHosts(session: NamespaceSession, kind: str) -> bool:
    return "VirtualHost" not in kind and super(NamespaceSession, session)._isDirty(kind)


class WorldTests(XDSTestCase):
    """
    Where the state of the world is spoken.
    """

    def test_refused(self) -> None:
        """
        The routes are refused.
        """
        self.source.set(listeners=[listener()], routes=[{"name": "r", "vhds": _VHDS}])
        self.start()
        self.assertIn("where ads_config speaks delta (DELTA_GRPC)", self.states()["RouteConfiguration"])
