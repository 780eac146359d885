"""
Tests for L{meshproxy.admin.dump}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.upstream.healthchecks.target import CheckedBy
from meshproxy.upstream.healthflags import HealthFlag
from tests.admin.support import BOOTSTRAP, ask, makeServer

PREFIX = "type.googleapis.com/envoy.admin.v3."


class ConfigDumpTests(SynchronousTestCase):
    """
    L{configDump}.
    """

    def setUp(self) -> None:
        """
        A proxy.
        """
        self.server = makeServer()

    def dump(self, query: str = "") -> list[dict[str, Any]]:
        """
        The C{configs} of a dump.
        """
        answer = ask(self.server, "/config_dump" + query)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        configs: list[dict[str, Any]] = answer.json.get("configs", [])
        return configs

    def named(self, kind: str, query: str = "") -> dict[str, Any]:
        """
        One of the messages of a dump.
        """
        return next(config for config in self.dump(query) if config["@type"] == PREFIX + kind)

    def test_order(self) -> None:
        """
        The messages come in Envoy's order, endpoints only on demand.
        """
        kinds = [config["@type"].removeprefix(PREFIX) for config in self.dump()]
        self.assertEqual(
            kinds,
            [
                "BootstrapConfigDump",
                "ClustersConfigDump",
                "ListenersConfigDump",
                "ScopedRoutesConfigDump",
                "RoutesConfigDump",
                "SecretsConfigDump",
            ],
        )
        kinds = [config["@type"].removeprefix(PREFIX) for config in self.dump("?include_eds")]
        self.assertEqual(kinds[2], "EndpointsConfigDump")

    def test_bootstrap(self) -> None:
        """
        The bootstrap is shown as it was given, and can be read again.
        """
        bootstrap = self.named("BootstrapConfigDump")["bootstrap"]
        self.assertEqual(bootstrap["node"]["id"], "node-1")
        section = Section.of("envoy.config.bootstrap.v3.Bootstrap", bootstrap)
        self.assertEqual(section.message.static_resources, self.server.bootstrap.message.static_resources)

    def test_clusters(self) -> None:
        """
        Clusters of the bootstrap are static, and say since when they are so.
        """
        found = self.named("ClustersConfigDump")["static_clusters"]
        self.assertEqual([item["cluster"]["name"] for item in found], ["hello", "other"])
        self.assertEqual({item["last_updated"] for item in found}, {"1970-01-12T13:46:40Z"})

    def test_dynamic(self) -> None:
        """
        What a control plane sent is dynamic, with its version.
        """
        cluster = self.server.clusters.byName["other"]
        cluster.addedViaAPI, cluster.versionInfo = True, "v7"
        listener = self.server.listeners.byName["back"]
        listener.addedViaAPI, listener.versionInfo = True, "v8"
        clusters = self.named("ClustersConfigDump")
        self.assertEqual([item["cluster"]["name"] for item in clusters["static_clusters"]], ["hello"])
        self.assertEqual(clusters["dynamic_active_clusters"][0]["version_info"], "v7")
        dynamic = self.named("ListenersConfigDump")["dynamic_listeners"][0]
        self.assertEqual((dynamic["name"], dynamic["active_state"]["version_info"]), ("back", "v8"))
        self.assertEqual(dynamic["active_state"]["listener"]["name"], "back")

    def test_dynamicRoutes(self) -> None:
        """
        So are routes that came by RDS.
        """
        routes = Section.of("envoy.config.route.v3.RouteConfiguration", {"name": "r"})
        self.server.context.routes["", "r"] = routes
        self.server.context.routeVersions["", "r"] = ("v9", 7.0)
        (told,) = self.named("RoutesConfigDump")["dynamic_route_configs"]
        self.assertEqual((told["version_info"], told["route_config"]["name"]), ("v9", "r"))
        self.assertEqual(told["last_updated"], "1970-01-01T00:00:07Z")

    def test_listenersAndRoutes(self) -> None:
        """
        Listeners of the bootstrap are static; the route configurations in them are listed on their own.
        """
        found = self.named("ListenersConfigDump")["static_listeners"]
        self.assertEqual([item["listener"]["name"] for item in found], ["front", "back"])
        routes = self.named("RoutesConfigDump")["static_route_configs"]
        self.assertEqual([item["route_config"]["name"] for item in routes], ["local", "local"])

    def test_endpoints(self) -> None:
        """
        Endpoints are those that were found, with health, weight, place and metadata.
        """
        found = self.named("EndpointsConfigDump", "?include_eds")["static_endpoint_configs"]
        self.assertEqual([item["endpoint_config"]["cluster_name"] for item in found], ["hello", "other"])
        groups = found[0]["endpoint_config"]["endpoints"]
        self.assertEqual(groups[0]["locality"], {"region": "r", "zone": "z", "sub_zone": "s"})
        one, two = groups[0]["lb_endpoints"]
        self.assertEqual(one["endpoint"]["address"]["socket_address"], {"address": "192.0.2.1", "port_value": 80})
        self.assertEqual((one["endpoint"]["hostname"], one["load_balancing_weight"]), ("one", 3))
        self.assertEqual(one["metadata"]["filter_metadata"], {"envoy.lb": {"canary": True}})
        self.assertEqual((one["health_status"], two["health_status"]), ("HEALTHY", "DRAINING"))
        self.assertEqual(two["endpoint"]["address"], {"pipe": {"path": "/run/two"}})
        self.assertEqual(two["endpoint"]["health_check_config"], {})

    def test_statuses(self) -> None:
        """
        What was found out about an endpoint, and what its discovery says, are one status.
        """
        for told, flags, expected in (
            ("UNKNOWN", HealthFlag(0), "HEALTHY"),
            ("HEALTHY", HealthFlag.DEGRADED_ACTIVE_HC, "DEGRADED"),
            ("DRAINING", HealthFlag.DEGRADED_ACTIVE_HC, "DRAINING"),
            ("DRAINING", HealthFlag.FAILED_ACTIVE_HC, "UNHEALTHY"),
            ("DEGRADED", HealthFlag.FAILED_OUTLIER_CHECK, "UNHEALTHY"),
        ):
            [cluster] = [each for each in self.server.clusters if each.name == "hello"]
            endpoint = cluster.endpoints[0]
            endpoint.healthStatus, endpoint.flags = told, int(flags)
            endpoint.checkedBy = CheckedBy(port=81, hostname="h.example")
            found = self.named("EndpointsConfigDump", "?include_eds")["static_endpoint_configs"]
            one = found[0]["endpoint_config"]["endpoints"][0]["lb_endpoints"][0]
            self.assertEqual(one["health_status"], expected)
            self.assertEqual(one["endpoint"]["health_check_config"], {"port_value": 81, "hostname": "h.example"})

    def test_resource(self) -> None:
        """
        C{resource} gives one list, each item with its type; an empty one is an empty object.
        """
        found = self.dump("?resource=static_clusters")
        self.assertEqual({item["@type"] for item in found}, {PREFIX + "ClustersConfigDump.StaticCluster"})
        self.assertEqual(len(found), 2)
        self.assertEqual(ask(self.server, "/config_dump?resource=dynamic_listeners").json, {})
        self.assertEqual(ask(self.server, "/config_dump?resource=static_endpoint_configs").json, {})

    def test_badResource(self) -> None:
        """
        What is no list is 400, what is nothing 404; neither answer repeats what was asked.
        """
        for resource, status in (("bootstrap", 400), ("<b>", 404)):
            answer = ask(self.server, f"/config_dump?resource={resource}")
            self.assertEqual(answer.status, status)
            self.assertNotIn(resource + " ", answer.text.replace("the resource ", ""))

    def test_mask(self) -> None:
        """
        C{mask} cuts each item of a resource, or whatever messages have such fields.
        """
        found = self.dump("?resource=static_clusters&mask=cluster.name")
        self.assertEqual([list(item) for item in found], [["@type", "cluster"]] * 2)
        self.assertEqual([item["cluster"]["name"] for item in found], ["hello", "other"])
        found = self.dump("?mask=bootstrap.node.id")
        self.assertEqual(found, [{"@type": PREFIX + "BootstrapConfigDump", "bootstrap": {"node": {"id": "node-1"}}}])

    def test_badMask(self) -> None:
        """
        A mask that fits nothing is 400.
        """
        for query in ("mask=no.such", "resource=static_clusters&mask=no.such"):
            self.assertEqual(ask(self.server, f"/config_dump?{query}").status, 400)

    def test_nameRegex(self) -> None:
        """
        C{name_regex} is held against whole names.
        """
        self.assertEqual(len(self.dump("?resource=static_clusters&name_regex=hel.*")), 1)
        self.assertEqual(self.dump("?resource=static_clusters&name_regex=hel"), [])
        self.assertEqual(ask(self.server, "/config_dump?name_regex=%5B").status, 400)

    def test_secrets(self) -> None:
        """
        Sensitive fields are redacted in every view of the dump.
        """
        cluster = self.server.clusters.byName["other"].section.message
        context = Section.of(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            {"common_tls_context": {"tls_certificates": [{"private_key": {"inline_string": "KEY"}}]}},
        ).message
        cluster.transport_socket.typed_config.type_url = "type.googleapis.com/" + context.DESCRIPTOR.full_name
        cluster.transport_socket.typed_config.value = context.SerializeToString()
        for query in (
            "",
            "?resource=static_clusters",
            "?mask=static_clusters",
            "?mask=bootstrap",
            "?resource=static_clusters&mask=cluster.transport_socket",
        ):
            text = ask(self.server, "/config_dump" + query).text
            self.assertNotIn("KEY", text)
            self.assertIn("[redacted]", text)

    def test_reload(self) -> None:
        """
        After a reload the new configuration is shown; what did not change keeps its time.
        """
        self.server.reactor.advance(60)
        changed = BOOTSTRAP.replace("max_connections: 7", "max_connections: 8")
        object.__setattr__(self.server.options, "configText", changed)
        self.assertTrue(self.successResultOf(self.server.reload()))
        hello, other = self.named("ClustersConfigDump")["static_clusters"]
        self.assertEqual(hello["cluster"]["circuit_breakers"]["thresholds"][0]["max_connections"], 8)
        self.assertEqual(hello["last_updated"], "1970-01-12T13:47:40Z")
        self.assertEqual(other["last_updated"], "1970-01-12T13:46:40Z")
        front = self.named("ListenersConfigDump")["static_listeners"][0]
        self.assertEqual(front["last_updated"], "1970-01-12T13:46:40Z")
        self.assertEqual(self.named("BootstrapConfigDump")["last_updated"], "1970-01-12T13:47:40Z")
