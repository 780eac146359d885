"""
Tests for L{meshproxy.admin.explain.answer}.
"""

from __future__ import annotations

import json

from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.text import readable
from tests.admin.explain.support import CONFIG, ExplainCase, lineOf


class AnswerTests(ExplainCase):
    """
    L{meshproxy.admin.explain.answer.explain}.
    """

    def missed(self, answer: Answer) -> dict[str, list[tuple[str, str, str]]]:
        """
        Of each route that lost, what it missed.
        """
        return {
            route["name"]: [(miss["what"], miss["actual"], miss["at"]) for miss in route["missed"]]
            for route in answer["routes_before"]
        }

    def test_way(self) -> None:
        """
        Where a request passes, each with its line.
        """
        answer = self.ask("/x/../cart/later")
        self.assertEqual(answer["outcome"], "forwarded to web or beta")
        for what, name, at in (
            ("listener", "front", "listener front"),
            ("filter_chain", "all", "chain all"),
            ("virtual_host", "shop", "host shop"),
            ("route", "cart", "route cart"),
        ):
            self.assertEqual((answer[what]["name"], answer[what]["at"]), (name, lineOf(at)))
        self.assertEqual(answer["route"]["matched"][0]["at"], lineOf("match of cart"))
        self.assertIn({"field": ":path", "before": "/x/../cart/later", "after": "/cart/later"}, answer["head"])
        json.dumps(answer)

    def test_misses(self) -> None:
        """
        The routes before lost by conditions of their own, each told with what the request has.
        """
        self.assertEqual(
            self.missed(self.ask("/cart/later?v=1", "x-beta: no")),
            {
                "beta": [("header x-beta", "no", lineOf("header of beta"))],
                "exact": [("path", "/cart/later?v=1", self.missed(self.ask("/cart"))["exact"][0][2])],
                "post": [("query parameter v", "1", lineOf("parameter of post"))],
            },
        )

    def test_filters(self) -> None:
        """
        Filters in order: which are disabled, and what the route says to them.
        """
        filters = self.ask("/cart")["filters"]
        self.assertEqual([each["name"] for each in filters][1:], ["quiet", "nobody", "envoy.filters.http.router"])
        self.assertEqual([each["disabled"] for each in filters], [False, True, False, False])
        self.assertEqual([number for number, each in enumerate(filters) if "left_out" in each], [2])
        self.assertEqual((filters[0]["at"], filters[0]["route_config_at"]), (lineOf("fault"), lineOf("fault of cart")))
        self.assertNotIn("route_config_at", self.ask("/now")["filters"][0])

    def test_clusters(self) -> None:
        """
        Those that the route draws from, with their shares and endpoints; a cluster that a header names; one that is
        not there.
        """
        web, beta = self.ask("/cart")["clusters"]
        self.assertEqual((web["name"], web["share"], web["at"], web["chosen_at"]),
                         ("web", "0.9", lineOf("cluster web"), lineOf("mostly web")))  # fmt: skip
        self.assertEqual(web["endpoints"], [{"address": "127.0.0.1:9000", "hostname": "", "healthy": True}])
        self.assertEqual((beta["share"], beta["endpoints"]), ("0.1", []))
        self.assertEqual(self.ask("/gone", "x-cluster: web")["outcome"], "forwarded to web")
        missing = self.ask("/gone", "x-cluster: nobody")
        self.assertEqual(missing["outcome"], "503 from the router (cluster_not_found): 'nobody'")
        self.assertTrue(missing["clusters"][0]["missing"])

    def test_runtimeWeights(self) -> None:
        """
        Shares are those of the moment, where the runtime may change them; and a header may name the cluster.
        """
        runtime = "layered_runtime: {layers: [{name: s, static_layer: {w.web: 30, w.beta: 0}}]}\n"
        text = CONFIG.replace("weighted_clusters:", "weighted_clusters:\n                    runtime_key_prefix: w")
        named = text.replace("{name: web, weight: 90}", "{cluster_header: X-C, weight: 90}")
        for config, cluster in ((text, "web"), (named, "beta")):
            self.config = runtime + config
            found = self.ask("/cart", "x-c: beta")["clusters"]
            self.assertEqual([(each["name"], each["share"]) for each in found], [(cluster, "1")])

    def test_retries(self) -> None:
        """
        The retry policy with its line.
        """
        expected = {"retry_on": "5xx", "num_retries": 2, "at": lineOf("retries")}
        self.assertEqual(self.ask("/cart")["retries"], expected)
        self.assertNotIn("retries", self.ask("/cart", "x-beta: yes"))

    def test_clusterOptions(self) -> None:
        """
        What the cluster says goes before the route: its retry policy, and the filters that each try passes.
        """
        options = (
            "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
            '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
            "explicit_http_config: {http_protocol_options: {}}, retry_policy: {retry_on: reset, num_retries: 7}, "
            'http_filters: [{name: codec, typed_config: {"@type": '
            "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]}}"
        )
        self.config = CONFIG.replace("  - name: web  # cluster web\n", f"  - name: web\n    {options}\n")
        for fields in ((), ("x-beta: yes",)):
            answer = self.ask("/cart", *fields)
            web = next((each for each in answer["clusters"] if each["name"] == "web"), None)
            if web is not None:
                self.assertEqual(web["upstream_filters"], ["codec"])
                self.assertEqual((answer["retries"]["retry_on"], answer["retries"]["num_retries"]), ("reset", 7))
                self.assertIn("  each try passes codec", readable(answer))

    def test_otherEnds(self) -> None:
        """
        What does not go to a cluster.
        """
        for url, fields, outcome in (
            ("/now", (), f"204, a direct response at {lineOf('direct')}"),
            ("/none", (), "404 from the router (route_not_found): no route of the virtual host matches"),
            ("/", ("host: other",), "404 from the router (route_not_found): no virtual host is for this authority"),
            ("/", ("host: safe.example",), "301 to https (require_tls)"),
            (
                "/",
                ("connection: x-forwarded-for",),
                "400 from the connection manager (http1.connection_header_rejected)",
            ),
        ):
            self.assertEqual(self.ask(url, *fields)["outcome"], outcome)
        self.assertTrue(self.ask("/old")["outcome"].startswith("301 to http://shop.example/new, a redirect at"))
        # Before it went to https, none of its routes was asked.
        self.assertNotIn("routes_before", self.ask("/", "host: safe.example"))

    def test_redirectedPath(self) -> None:
        """
        A path that is sent to its normal form: not by who speaks gRPC, and follows no redirects.
        """
        how = "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"
        self.config = CONFIG.replace("normalize_path: true", how)
        self.assertTrue(self.ask("/a%2Fb")["outcome"].startswith("307 "))
        grpc = self.ask("/a%2Fb", "content-type: application/grpc")["outcome"]
        self.assertTrue(grpc.startswith("400 "), grpc)

    def test_port(self) -> None:
        """
        A domain that would match without the port is told.
        """
        answer = self.ask("/cart", "host: shop.example:8080")
        whys = {each["name"]: each["why"] for each in answer["other_virtual_hosts"]}
        self.assertIn("strip_any_host_port", whys["shop"])
        self.assertNotIn("strip_any_host_port", whys["safe"])
        self.config = CONFIG.replace("normalize_path: true", "strip_any_host_port: true")
        self.assertEqual(self.ask("/cart", "host: shop.example:8080")["virtual_host"]["name"], "shop")

    def test_chains(self) -> None:
        """
        Another filter chain by the client's address; what is not HTTP ends there.
        """
        answer = self.ask("/cart", source="10.1.2.3")
        self.assertEqual(answer["filter_chain"]["name"], "inside")
        self.assertEqual(answer["outcome"], "forwarded to web as bytes, not as HTTP")
        (missed,) = self.ask("/cart")["other_filter_chains"]
        self.assertEqual((missed["name"], missed["missed"][0]["at"]), ("inside", lineOf("inside only")))
        self.config = CONFIG.replace(
            "    - name: all  # chain all\n",
            """\
    - name: all
      filter_chain_match: {destination_port: 1}
""",
        )
        self.assertIn("no filter chain matches", self.ask("/cart")["outcome"])

    def test_listeners(self) -> None:
        """
        The port says which listener, or its name; one alone is meant where the URL names no port.
        """
        self.assertEqual(self.ask("/cart", listener="front")["listener"]["name"], "front")
        answer = self.ask("/cart", listener="nobody")
        self.assertEqual(answer["outcome"], "no listener accepts the connection")
        self.assertEqual(answer["other_listeners"][0]["why"], "its name is not 'nobody'")
        self.config = CONFIG.replace("port_value: 8080", "port_value: 8081")
        answer = self.ask("/cart")
        self.assertEqual(answer["other_listeners"][0]["why"], "it listens on 127.0.0.1:8081, not on port 8080")

    def test_scopes(self) -> None:
        """
        Scoped routes: the table of the scope that was found.
        """
        before, _, after = CONFIG.partition("          route_config:\n")
        table, _, clusters = after.rpartition("  clusters:\n")
        indented = "".join(f"      {line}\n" for line in table.splitlines())
        self.config = (
            before
            + """\
          scoped_routes:
            name: scopes
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-scope, index: 0}}]}
            scoped_route_configurations_list:
              scoped_route_configurations:
              - name: one
                key: {fragments: [{string_key: "1"}]}
                route_configuration:
"""
            + indented
            + "  clusters:\n"
            + clusters
        )
        self.assertEqual(self.ask("/cart", "x-scope: 1")["route"]["name"], "cart")
