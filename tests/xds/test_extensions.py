"""
Configurations of filters by ECDS: a proxy and a control plane in memory, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any, cast

from meshproxy.admin.commands import AdminRequest
from meshproxy.admin.dump import configDump
from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.question import askedIn
from meshproxy.testing.peers import Peer
from tests.xds.support import ADS, JSON, XDSTestCase, listener

_PREFIX = "type.googleapis.com/"
_HTTP = _PREFIX + "envoy.extensions.filters.http."
FAULT = _HTTP + "fault.v3.HTTPFault"
BUFFER = _HTTP + "buffer.v3.Buffer"
ROUTER = _HTTP + "router.v3.Router"
RBAC = _PREFIX + "envoy.extensions.filters.network.rbac.v3.RBAC"
INSPECTOR = _PREFIX + "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
STRUCT = _PREFIX + "xds.type.v3.TypedStruct"
_ROUTER = {"name": "envoy.filters.http.router", "typedConfig": {"@type": ROUTER}}


def fault(status: int) -> JSON:
    """
    Answers every request.
    """
    return {"@type": FAULT, "abort": {"httpStatus": status, "percentage": {"numerator": 100}}}


def rbac(action: str) -> JSON:
    """
    Lets all connections pass, or none.
    """
    policy = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    return {"@type": RBAC, "statPrefix": "x", "rules": {"action": action, "policies": {"all": policy}}}


def config(name: str, typedConfig: JSON) -> JSON:
    """
    The configuration of a filter.
    """
    return {"name": name, "typedConfig": typedConfig}


def discovered(name: str, *types: str, **more: Any) -> JSON:
    """
    A filter whose configuration comes by ECDS.
    """
    source = {**ADS, "initialFetchTimeout": "3s"}
    return {"name": name, "configDiscovery": {"configSource": source, "typeUrls": list(types), **more}}


def answering(*filters: JSON, before: tuple[JSON, ...] = (), first: tuple[JSON, ...] = (), **more: Any) -> JSON:
    """
    A listener that answers with 200 behind these HTTP filters.

    @param before: Network filters.
    @param first: Listener filters.
    """
    route = {"match": {"prefix": "/"}, "directResponse": {"status": 200}, **more}
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    made = listener(routeConfig={"name": "r", "virtualHosts": [host]}, httpFilters=[*filters, _ROUTER])
    chain = made["filterChains"][0]
    del chain["filters"][0]["typedConfig"]["rds"]
    chain["filters"] = [*before, *chain["filters"]]
    return {**made, "listenerFilters": list(first)}


class ExtensionTests(XDSTestCase):
    """
    Filters whose configuration comes by the state of the world.
    """

    def setUp(self) -> None:
        super().setUp()
        self.parts: dict[str, list[JSON]] = {}

    def put(self, **parts: list[JSON]) -> None:
        """
        Have the control plane say something else of some types.
        """
        self.parts = {**self.parts, **parts}
        self.change(**self.parts)

    def begin(self, *filters: JSON, configs: tuple[JSON, ...] = (), **more: Any) -> None:
        """
        Start with a listener and these configurations.
        """
        self.source.set(listeners=[answering(*filters, **more)], filters=list(configs))
        self.parts = {"listeners": [answering(*filters, **more)], "filters": list(configs)}
        self.start()

    def counted(self, name: str, of: str = "f", kind: str = "http_filter") -> int:
        """
        A figure of a configuration.
        """
        return self.proxy.stat(f"extension_config_discovery.{kind}.{of}.{name}")

    def closes(self) -> bool:
        """
        Whether a connection is closed without an answer.
        """
        peer = Peer()
        self.proxy.connect(peer)
        peer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.proxy.settle()
        return peer.closed and not peer.received

    def test_comes(self) -> None:
        """
        It comes, changes, for connections that stay, and is counted.
        """
        self.begin(discovered("f", FAULT), configs=(config("f", fault(418)),))
        client = self.proxy.client("192.0.2.1:80")
        self.assertEqual(client.request("GET", "/").status, 418)
        self.put(filters=[config("f", fault(419))])
        self.assertEqual((client.request("GET", "/").status, self.get()), (419, 419))
        self.assertEqual((self.counted("config_reload"), self.counted("update_success")), (2, 2))
        self.assertEqual(self.states(), dict.fromkeys(self.states(), ""))

    def test_waits(self) -> None:
        """
        The listener waits for it, as long as its source says, and answers 500 then.
        """
        self.begin(discovered("f", FAULT))
        self.assertNotIn("in", self.proxy.server.listeners.byName)
        self.reactor.advance(3.1)
        self.assertEqual(self.get(), 500)
        self.assertEqual((self.counted("init_fetch_timeout"), self.counted("config_fail")), (1, 1))
        self.put(filters=[config("f", fault(418))])
        self.assertEqual(self.get(), 418)

    def test_default(self) -> None:
        """
        A default stands in until it comes, from the start or when the time is over.
        """
        stands = {"defaultConfig": fault(417)}
        at = discovered("f", FAULT, **stands, applyDefaultConfigWithoutWarming=True)
        self.begin(at)
        self.assertEqual(self.get(), 417)
        self.put(filters=[config("f", fault(418))])
        self.assertEqual(self.get(), 418)
        self.put(listeners=[answering(discovered("g", FAULT, **stands))])
        self.assertEqual(self.get(), 418)
        self.reactor.advance(3.1)
        self.assertEqual(self.get(), 417)

    def test_disabled(self) -> None:
        """
        One that is disabled answers nothing, whether it is there or not.
        """
        self.begin({**discovered("f", FAULT), "disabled": True})
        self.reactor.advance(3.1)
        self.assertEqual(self.get(), 200)
        self.put(filters=[config("f", fault(418))])
        self.assertEqual(self.get(), 200)

    def test_routes(self) -> None:
        """
        What routes say to it is heeded when it is there, and is no fault before.
        """
        self.begin(discovered("f", FAULT), typedPerFilterConfig={"f": fault(419)})
        self.reactor.advance(3.1)
        self.assertEqual(self.get(), 500)
        self.put(filters=[config("f", fault(418))])
        self.assertEqual(self.get(), 419)

    def test_refused(self) -> None:
        """
        Another type, a wrong value, a terminal filter before the end are refused, and change nothing.
        """
        self.begin(discovered("f", FAULT, ROUTER), configs=(config("f", fault(418)),))
        for wrong, why in (
            ({"@type": BUFFER, "maxRequestBytes": 1}, "filter_configs[f].typed_config: is envoy.extensions.filters."),
            (fault(5), "filter_configs[f].typed_config.abort.http_status: 5 is not at least 200"),
            ({"@type": ROUTER}, "'f' is a terminal filter and must be the last one"),
        ):
            self.put(filters=[config("f", wrong)])
            self.assertIn(why, self.states()["TypedExtensionConfig"])
            self.assertEqual(self.get(), 418)
        self.assertEqual((self.counted("update_rejected"), self.counted("config_fail")), (3, 3))
        self.put(filters=[config("f", fault(419))])
        self.assertEqual((self.get(), self.states()["TypedExtensionConfig"]), (419, ""))

    def test_terminal(self) -> None:
        """
        The last filter of a chain may come so, too.
        """
        made = answering()
        made["filterChains"][0]["filters"][0]["typedConfig"]["httpFilters"] = [discovered("f", ROUTER)]
        self.source.set(listeners=[made])
        self.start()
        self.reactor.advance(3.1)
        self.assertEqual(self.get(), 500)
        self.change(listeners=[made], filters=[config("f", {"@type": ROUTER})])
        self.assertEqual(self.get(), 200)

    def test_conflict(self) -> None:
        """
        A listener that takes another type than that which is there does not take it, and that is counted, once.
        """
        self.begin(discovered("f", FAULT), configs=(config("f", fault(418)),))
        other = answering(discovered("f", BUFFER))
        other.update(name="other", address={"socketAddress": {"address": "192.0.2.1", "portValue": 81}})
        self.put(listeners=[*self.parts["listeners"], other])
        self.assertEqual((self.get(), self.get(port=81), self.counted("config_conflict")), (418, 500, 1))
        self.put(clusters=[])
        self.assertEqual(self.counted("config_conflict"), 1)

    def test_wrongDefault(self) -> None:
        """
        A default of another type is refused, and so is a connection manager by ECDS.
        """
        self.begin()
        manager = _PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        for wrong, why in (
            (
                answering(discovered("f", FAULT, defaultConfig={"@type": BUFFER, "maxRequestBytes": 1})),
                "config_discovery.default_config: is envoy.extensions.filters.http.buffer.v3.Buffer; type_urls has ",
            ),
            (answering(before=(discovered("n", manager),)), "type_urls: a connection manager comes with its listener"),
        ):
            self.put(listeners=[wrong])
            self.assertIn(why, self.states()["Listener"])
            self.assertEqual(self.get(), 200)

    def test_struct(self) -> None:
        """
        A C{TypedStruct} is of the type that it stands for.
        """
        value = {key: one for key, one in fault(418).items() if key != "@type"}
        self.begin(discovered("f", FAULT), configs=(config("f", {"@type": STRUCT, "typeUrl": FAULT, "value": value}),))
        self.assertEqual(self.get(), 418)

    def test_network(self) -> None:
        """
        Network filters come so, too; a connection is closed where the configuration is not there.
        """
        self.begin(before=(discovered("n", RBAC),))
        self.reactor.advance(3.1)
        self.assertTrue(self.closes())
        self.assertEqual(self.proxy.stat("listener.192.0.2.1_80.network_extension_config_missing"), 1)
        reloads = self.counted("config_reload", "n", "network_filter")
        self.put(filters=[config("n", rbac("ALLOW"))])
        self.assertEqual(self.get(), 200)
        self.put(filters=[config("n", rbac("DENY"))])
        self.assertTrue(self.closes())
        self.assertEqual(self.counted("config_reload", "n", "network_filter"), reloads + 2)

    def test_lastNetworkFilter(self) -> None:
        """
        That which ends the chain, too.
        """
        made = answering()
        echo = _PREFIX + "envoy.extensions.filters.network.echo.v3.Echo"
        made["filterChains"][0]["filters"] = [discovered("n", echo)]
        self.source.set(listeners=[made])
        self.start()
        self.reactor.advance(3.1)
        self.assertTrue(self.closes())
        self.change(listeners=[made], filters=[config("n", {"@type": echo})])
        self.assertFalse(self.closes())

    def test_listenerFilter(self) -> None:
        """
        Listener filters come so, too.
        """
        self.begin(first=(discovered("l", INSPECTOR),))
        self.reactor.advance(3.1)
        self.assertTrue(self.closes())
        self.assertEqual(self.proxy.stat("listener.192.0.2.1_80.extension_config_missing"), 1)
        reloads = self.counted("config_reload", "l", "tcp_listener_filter")
        self.put(filters=[config("l", {"@type": INSPECTOR})])
        self.assertEqual(self.get(), 200)
        self.assertEqual(self.counted("config_reload", "l", "tcp_listener_filter"), reloads + 1)

    def test_static(self) -> None:
        """
        A listener of the bootstrap waits for it, and takes it, as well.
        """
        self.start(listeners=[answering(discovered("f", FAULT))])
        self.assertEqual(self.proxy.server.listeners.byName, {})
        self.put(filters=[config("f", fault(418))])
        self.assertEqual(self.get(), 418)
        self.put(filters=[config("f", fault(419))])
        self.assertEqual(self.get(), 419)

    def test_forgotten(self) -> None:
        """
        What no listener names any more is forgotten.
        """
        self.begin(discovered("f", FAULT), configs=(config("f", fault(418)),))
        self.put(listeners=[answering()])
        discovery = self.proxy.server.discovery
        assert discovery is not None
        self.assertEqual((self.get(), discovery.resources.filterConfigs), (200, {}))
        self.assertEqual(self.proxy.stats("extension_config_discovery."), {})

    def test_dump(self) -> None:
        """
        The admin shows it with its version.
        """
        self.begin(discovered("f", FAULT), configs=(config("f", fault(418)),))
        server = cast(Any, self.proxy.server)
        asked = AdminRequest("/config_dump", {"resource": "ecds_filters"})
        (one,) = json.loads("".join(configDump(server, asked).body))["configs"]
        self.assertEqual((one["ecds_filter"]["name"], bool(one["version_info"])), ("f", True))
        kinds = [each["@type"].rpartition(".")[2] for each in self.dumps(server)]
        self.assertEqual(kinds[2], "EcdsConfigDump")

    def dumps(self, server: Any) -> list[JSON]:
        """
        All that the admin shows.
        """
        found: list[JSON] = json.loads("".join(configDump(server, AdminRequest("/config_dump")).body))["configs"]
        return found

    def test_explained(self) -> None:
        """
        That it has not come is the end of a request.
        """
        self.begin(discovered("f", FAULT))
        self.reactor.advance(3.1)
        server = self.proxy.server
        question = askedIn("http://192.0.2.1:80/")
        answer = explain(question, list(server.listeners), server.clusters.byName, server.context.runtime)
        self.assertEqual(answer["outcome"], "500 from f")


class DeltaExtensionTests(ExtensionTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"

    def test_removed(self) -> None:
        """
        What is gone is gone: the default stands in again, or nothing.
        """
        self.begin(discovered("f", FAULT), configs=(config("f", fault(418)),))
        self.put(filters=[])
        self.assertEqual(self.get(), 500)
        self.assertEqual(self.counted("config_reload"), 2)
        self.put(filters=[config("f", fault(418))])
        self.assertEqual(self.get(), 418)
