"""
Scopes by SRDS: a proxy and a control plane in memory, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any, cast

from meshproxy.admin.commands import AdminRequest
from meshproxy.admin.dump import configDump
from tests.xds.support import ADS, JSON, XDSTestCase, answering, scope, scopedListener


class ScopedTests(XDSTestCase):
    """
    A listener whose scopes come by the state of the world.
    """

    def setUp(self) -> None:
        super().setUp()
        self.parts: dict[str, list[JSON]] = {
            "listeners": [scopedListener()],
            "scopes": [scope("a", "x", "r"), scope("b", "y", "s")],
            "routes": [answering("r", "R"), answering("s", "S")],
        }
        self.source.set(**self.parts)

    def put(self, **parts: list[JSON]) -> None:
        """
        Have the control plane say something else of some types.
        """
        self.parts = {**self.parts, **parts}
        self.change(**self.parts)

    def ask(self, key: str, port: int = 80) -> str:
        """
        What is answered to a key: the body, or the status.
        """
        answer = self.proxy.request("GET", "/", [("x-scope", key)], to=f"192.0.2.1:{port}")
        return answer.body.decode() if answer.status == 200 else str(answer.status)

    def asked(self) -> list[str]:
        """
        What is answered to each key.
        """
        return [self.ask(key) for key in "xyz"]

    def counted(self, name: str) -> int:
        """
        A figure of the scopes.
        """
        return self.proxy.stat(f"http.in.scoped_rds.scopes.{name}")

    def test_comes(self) -> None:
        """
        Scopes come, their routes come, and keys choose; what nobody named finds nothing.
        """
        self.start()
        self.assertEqual(self.asked(), ["R", "S", "404"])
        self.assertEqual(
            [self.counted(name) for name in ("all_scopes", "active_scopes", "on_demand_scopes")], [2, 2, 0]
        )
        self.assertEqual(self.states(), dict.fromkeys(self.states(), ""))
        self.assertIn("ScopedRouteConfiguration", self.states())

    def test_changes(self) -> None:
        """
        Scopes change their keys and routes, come and go, for connections that stay; a change counts as a reload.
        """
        self.start()
        client = self.proxy.client("192.0.2.1:80")
        self.assertEqual(client.request("GET", "/", [("x-scope", "x")]).body, b"R")
        reloads = self.counted("config_reload")
        self.put(scopes=[scope("a", "x", "s"), scope("c", "z", "r")])
        self.assertEqual(self.asked(), ["S", "404", "R"])
        self.assertEqual(client.request("GET", "/", [("x-scope", "x")]).body, b"S")
        self.assertEqual(self.counted("config_reload"), reloads + 1)
        self.put(scopes=[])
        self.assertEqual(self.asked(), ["404"] * 3)
        self.assertEqual(self.counted("all_scopes"), 0)

    def test_otherRoutes(self) -> None:
        """
        Routes that a scope names change by themselves.
        """
        self.start()
        self.put(routes=[answering("r", "R2"), answering("s", "S")])
        self.assertEqual(self.asked(), ["R2", "S", "404"])

    def test_sharedRoutes(self) -> None:
        """
        Several scopes may name the same routes.
        """
        self.put(scopes=[scope("a", "x", "r"), scope("b", "y", "r")])
        self.start()
        self.assertEqual(self.asked(), ["R", "R", "404"])

    def test_inPlace(self) -> None:
        """
        A scope may have its routes in place; they count for more than a name beside them.
        """
        held = answering("own", "own")
        self.put(scopes=[scope("a", "x", routeConfiguration=held), scope("b", "y", "r", routeConfiguration=held)])
        self.start()
        self.assertEqual(self.asked(), ["own", "own", "404"])
        self.assertEqual([self.counted(name) for name in ("all_scopes", "active_scopes")], [2, 0])

    def test_onDemand(self) -> None:
        """
        Nobody asks for the routes of a scope on demand before they are needed.
        """
        self.put(scopes=[scope("a", "x", "r", onDemand=True), scope("b", "y", "s")])
        self.start()
        self.assertEqual(self.asked(), ["404", "S", "404"])
        self.assertEqual([self.counted(name) for name in ("active_scopes", "on_demand_scopes")], [1, 1])

    def needing(self) -> JSON:
        """
        A listener that asks for what a request needs.
        """
        made = scopedListener()
        filters = made["filterChains"][0]["filters"][0]["typedConfig"]["httpFilters"]
        kind = "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand"
        filters.insert(0, {"name": "envoy.filters.http.on_demand", "typedConfig": {"@type": kind}})
        return made

    def test_asked(self) -> None:
        """
        With the filter C{on_demand} a request waits for them; all later ones find them, and they change like any. They
        are forgotten with their scope.
        """
        self.put(listeners=[self.needing()], scopes=[scope("a", "x", "r", onDemand=True), scope("b", "y", "s")])
        self.start()
        self.assertEqual([self.counted(f"{name}_scopes") for name in ("active", "on_demand")], [1, 1])
        client = self.proxy.client("192.0.2.1:80")
        self.assertEqual(client.request("GET", "/", [("x-scope", "x")]).body, b"R")
        self.assertEqual(self.asked(), ["R", "S", "404"])
        self.assertEqual([self.counted(f"{name}_scopes") for name in ("active", "on_demand")], [2, 1])
        self.put(routes=[answering("r", "R2"), answering("s", "S")])
        self.assertEqual(self.asked(), ["R2", "S", "404"])
        self.put(scopes=[scope("b", "y", "s")])
        self.assertEqual(self.asked(), ["404", "S", "404"])
        discovery = self.proxy.server.discovery
        assert discovery is not None
        self.assertEqual(set(discovery.resources.routes), {("", "s")})

    def test_askedInVain(self) -> None:
        """
        Routes that do not come in time are not waited for any longer, and taken when they do come.
        """
        self.put(listeners=[self.needing()], scopes=[scope("a", "x", "t", onDemand=True)])
        self.start()
        began = self.reactor.seconds()
        self.assertEqual(self.ask("x"), "404")
        self.assertTrue(self.reactor.seconds() - began <= 15)
        self.put(routes=[answering("t", "T")])
        self.assertEqual(self.ask("x"), "T")

    def test_refused(self) -> None:
        """
        Two scopes of one key, a scope without routes and routes that do not hold are refused, all of it; what was
        served is served, and what is right is taken afterwards.
        """
        self.start()
        wrong: list[tuple[list[JSON], str]] = [
            ([scope("a", "x", "r"), scope("c", "x", "s")], "scopes[c].key: the scope 'a' has this key already"),
            ([scope("a", "x")], "scopes[a].route_configuration_name: a scope needs a route_configuration"),
            (
                [scope("a", "x", routeConfiguration={"name": "own", "virtualHosts": [{"name": "", "domains": ["*"]}]})],
                "scopes[a].route_configuration.virtual_hosts[0].name",
            ),
        ]
        for scopes, why in wrong:
            self.put(scopes=scopes)
            self.assertIn(why, self.states()["ScopedRouteConfiguration"])
            self.assertEqual(self.asked(), ["R", "S", "404"])
        self.put(scopes=[scope("b", "x", "s")])
        self.assertEqual(self.states()["ScopedRouteConfiguration"], "")
        self.assertEqual(self.asked(), ["S", "404", "404"])
        self.assertEqual(self.counted("update_rejected"), 3)

    def test_waits(self) -> None:
        """
        A listener begins when the scopes and the routes that they name are there.
        """
        self.put(routes=[answering("r", "R")])
        self.start()
        self.assertNotIn("in", self.proxy.server.listeners.byName)
        self.put(routes=[answering("r", "R"), answering("s", "S")])
        self.assertEqual(self.asked(), ["R", "S", "404"])

    def test_late(self) -> None:
        """
        It does not wait for longer than it is told.
        """
        self.put(routes=[answering("r", "R")])
        self.start()
        self.reactor.advance(15)
        self.assertEqual(self.asked(), ["R", "404", "404"])
        self.put(routes=[answering("r", "R"), answering("s", "S")])
        self.assertEqual(self.asked(), ["R", "S", "404"])

    def test_newScope(self) -> None:
        """
        A listener that serves waits for no routes of a new scope: all others change at once.
        """
        self.start()
        self.put(scopes=[scope("a", "x", "s"), scope("c", "z", "t")])
        self.assertEqual(self.asked(), ["S", "404", "404"])
        self.put(routes=[*self.parts["routes"], answering("t", "T")])
        self.assertEqual(self.asked(), ["S", "404", "T"])

    def test_removedRoutes(self) -> None:
        """
        Routes that the control plane has no more are held while a scope names them.
        """
        self.start()
        self.put(routes=[answering("s", "S")])
        self.assertEqual(self.asked(), ["R", "S", "404"])

    def test_forgotten(self) -> None:
        """
        Routes that no scope names any more are forgotten, and asked for again when one does.
        """
        self.start()
        self.put(scopes=[scope("b", "y", "s")])
        discovery = self.proxy.server.discovery
        assert discovery is not None
        self.assertEqual(set(discovery.resources.routes), {("", "s")})
        self.put(scopes=[scope("a", "x", "r")], routes=[answering("r", "R2"), answering("s", "S")])
        self.assertEqual(self.asked(), ["R2", "404", "404"])

    def test_listenerAgain(self) -> None:
        """
        A listener that comes when the scopes are there takes them as they are; they are counted for who was first, and
        for nobody when nobody has any.
        """
        self.start()
        self.put(listeners=[scopedListener(), scopedListener("other", 81, statPrefix="other")])
        self.assertEqual([self.ask(key, 81) for key in "xyz"], ["R", "S", "404"])
        self.put(listeners=[])
        self.assertEqual(self.proxy.stats("http.in.scoped_rds."), {})
        self.put(scopes=[scope("a", "x", "s"), scope("b", "y", "s")])
        self.put(listeners=[scopedListener()])
        self.assertEqual(self.asked(), ["S", "S", "404"])
        self.assertEqual(self.counted("all_scopes"), 2)

    def test_unchangedListenersStay(self) -> None:
        """
        A listener without scopes is not made anew when they change.
        """
        held = {"name": "own", "virtualHosts": []}
        self.parts["listeners"].append(scopedListener("other", 81))
        manager = self.parts["listeners"][1]["filterChains"][0]["filters"][0]["typedConfig"]
        del manager["scopedRoutes"]
        manager["routeConfig"] = held
        self.put()
        self.start()
        before = dict(self.proxy.server.listeners.byName)
        self.put(scopes=[scope("a", "x", "s")])
        after = self.proxy.server.listeners.byName
        self.assertIs(after["other"], before["other"])
        self.assertIsNot(after["in"], before["in"])

    def test_static(self) -> None:
        """
        A listener of the bootstrap takes them as well.
        """
        self.put(listeners=[])
        made = scopedListener()
        self.start(listeners=[made])
        self.assertEqual(self.asked(), ["R", "S", "404"])

    def test_dump(self) -> None:
        """
        The admin shows them with their version.
        """
        self.start()
        asked = AdminRequest("/config_dump", {"resource": "dynamic_scoped_route_configs"})
        (one,) = json.loads("".join(configDump(cast(Any, self.proxy.server), asked).body))["configs"]
        self.assertEqual((one["name"], [each["name"] for each in one["scoped_route_configs"]]), ("scopes", ["a", "b"]))
        self.assertTrue(one["version_info"] and one["last_updated"])

    def test_noSource(self) -> None:
        """
        Without a source for routes the listener is refused.
        """
        wrong = scopedListener("wrong", 81)
        del wrong["filterChains"][0]["filters"][0]["typedConfig"]["scopedRoutes"]["rdsConfigSource"]
        self.start()
        self.put(listeners=[scopedListener(), wrong])
        self.assertIn("scoped_routes.rds_config_source: a source is needed", self.states()["Listener"])
        self.assertEqual(self.asked(), ["R", "S", "404"])

    def test_nothingSaid(self) -> None:
        """
        While the control plane says nothing of scopes the listener waits, as long as it is told, and begins without
        any.
        """
        self.put(listeners=[])
        self.start()
        connected: Any = self.xds.connected()[0].session
        connected.receive = _deaf(connected.receive)
        self.put(listeners=[scopedListener(source={**ADS, "initialFetchTimeout": "3s"})])
        self.reactor.advance(2)
        self.assertNotIn("in", self.proxy.server.listeners.byName)
        self.reactor.advance(2)
        self.assertEqual(self.ask("x"), "404")
        self.assertEqual(self.counted("init_fetch_timeout"), 1)


def _deaf(receive: Any) -> Any:
    """
    What a session does with requests, but for those of scopes.
    """

    def some(request: Any) -> None:
        if not request.type_url.endswith("ScopedRouteConfiguration"):
            receive(request)

    return some


class DeltaScopedTests(ScopedTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"
