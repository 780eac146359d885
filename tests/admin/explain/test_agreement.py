"""
What L{meshproxy.admin.explain} says is what happens: random route tables, each asked and then sent to.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import askedIn
from meshproxy.testing import MemoryProxy

_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

_PATHS = ["/", "/cart", "/cart/", "/cart/items", "/Cart", "/carts", "/a//b", "/a/../cart", "/cart%2Fx", "/cart;v=1"]
_DOMAINS = ["shop.example", "shop.example:8080", "*.example", "shop.*", "*"]
_HOSTS = ["shop.example", "SHOP.example", "shop.example:8080", "other.example", "shop.test", "elsewhere", "10.0.0.1"]
_FIELDS = ["x-user: anna", "x-user: Anna", "x-user: bob", "x-number: 7", "x-number: 12", "x-number: many", "x-user: "]
_QUERIES = ["", "", "?v=1", "?v=2&w", "?w=anna", "?v=1&v=2"]
_METHODS = ["GET", "POST", "HEAD", "DELETE"]


class _Tables:
    """
    Makes configurations and requests.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.some = self._random.choice

    def often(self, chance: float) -> bool:
        return self._random.random() < chance

    def bootstrap(self) -> str:
        """
        A bootstrap with random virtual hosts and routes; each route answers with its own name.
        """
        domains = self._random.sample(_DOMAINS, self._random.randint(1, len(_DOMAINS)))
        hosts = [self._host(number, domain) for number, domain in enumerate(domains)]
        table: dict[str, Any] = {"virtual_hosts": hosts}
        for field in ("ignore_port_in_host_matching", "ignore_path_parameters_in_path_matching"):
            if self.often(0.3):
                table[field] = True
        manager: dict[str, Any] = {
            "@type": _MANAGER,
            "stat_prefix": "test",
            "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
            "route_config": table,
        }
        for field in ("normalize_path", "merge_slashes", "strip_matching_host_port"):
            if self.often(0.3):
                manager[field] = True
        if self.often(0.3):
            actions = ["REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"]
            manager["path_with_escaped_slashes_action"] = self.some(actions)
        listener = {
            "name": "front",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        return json.dumps({"static_resources": {"listeners": [listener]}})

    def _host(self, number: int, domain: str) -> dict[str, Any]:
        host: dict[str, Any] = {"name": f"host{number}", "domains": [domain], "routes": []}
        if self.often(0.1):
            host["require_tls"] = "ALL"
        for index in range(self._random.randint(0, 6)):
            name = f"{number}.{index}"
            route: dict[str, Any] = {"name": name, "match": self._match()}
            if self.often(0.15):
                route["redirect"] = {"path_redirect": f"/{name}"}
            else:
                route["direct_response"] = {"status": 200, "body": {"inline_string": name}}
            host["routes"].append(route)
        return host

    def _match(self) -> dict[str, Any]:
        path = self.some(_PATHS)
        kinds: list[dict[str, Any]] = [
            {"prefix": path},
            {"path": path},
            {"path_separated_prefix": path.partition(";")[0].rstrip("/") or "/cart"},
            {"safe_regex": {"regex": f".*{path[1:4]}.?"}},
            {"prefix": "/"},
        ]
        match = self.some(kinds)
        if "safe_regex" not in match and self.often(0.3):
            match["case_sensitive"] = False
        if self.often(0.4):
            match["headers"] = [self._header() for _ in range(self._random.randint(1, 2))]
        if self.often(0.2):
            wants: list[dict[str, Any]] = [
                {"present_match": True},
                {"string_match": {"exact": "1"}},
                {"string_match": {"prefix": "a"}},
            ]
            match["query_parameters"] = [{"name": self.some(["v", "w"]), **self.some(wants)}]
        if self.often(0.1):
            # Always or never: what is drawn in between is drawn for each request.
            share = {"numerator": self.some([0, 100])}
            match["runtime_fraction"] = {"default_value": share, "runtime_key": "share"}
        return match

    def _header(self) -> dict[str, Any]:
        wants: list[dict[str, Any]] = [
            {"present_match": True},
            {"present_match": False},
            {"string_match": {"exact": "anna", "ignore_case": self.often(0.5)}},
            {"string_match": {"contains": "nn"}},
            {"string_match": {"safe_regex": {"regex": "[a-z]+"}}},
            {"range_match": {"start": 5, "end": 10}},
        ]
        header = {"name": self.some(["x-user", "x-number", ":method"]), **self.some(wants)}
        for field in ("invert_match", "treat_missing_header_as_empty"):
            if self.often(0.2):
                header[field] = True
        return header

    def request(self) -> tuple[str, str, list[str]]:
        """
        A method, a path, and fields.
        """
        fields = [field for field in _FIELDS if self.often(0.25)]
        return self.some(_METHODS), self.some(_PATHS) + self.some(_QUERIES), [f"host: {self.some(_HOSTS)}", *fields]


class AgreementTests(SynchronousTestCase):
    """
    The explanation, and the proxy that it is about.
    """

    def test_routes(self) -> None:
        """
        The route that is told answers. Each condition of it holds, and each route before it misses one.
        """
        kinds: dict[str, int] = {}
        for seed in range(60):
            tables = _Tables(seed)
            proxy = MemoryProxy(tables.bootstrap())
            for _ in range(12):
                request = tables.request()
                kind = self.compare(proxy, f"table {seed}, {request}", *request)
                kinds[kind] = kinds.get(kind, 0) + 1
        # Otherwise this would have compared nothing.
        self.assertLessEqual({"200", "301", "404", "400", "307"}, set(kinds))

    def compare(self, proxy: MemoryProxy, told: str, method: str, path: str, fields: list[str]) -> str:
        """
        Ask, and try.

        @param told: Which request it is, for those who look why it fails.

        @return: The status.
        """
        server = proxy.server
        question = askedIn(f"http://127.0.0.1:8080{path}", method, fields)
        answer: Answer = explain(
            question, list(server.listeners.byName.values()), server.clusters.byName, server.context.runtime
        )
        pairs = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
        response = proxy.request(method, path, pairs)
        status = str(response.status)
        self.assertEqual(answer["outcome"][:3], status, (told, answer["outcome"]))
        route = answer.get("route")
        if status == "200":
            assert route is not None
            body = b"" if method == "HEAD" else route["name"].encode()
            self.assertEqual((response.header("content-length"), response.body), (str(len(route["name"])), body), told)
        elif status == "301" and route is not None:
            self.assertTrue(answer["outcome"].startswith(f"301 to {response.header('location')}, a redirect"), told)
        for condition in [] if route is None else route["matched"]:
            self.assertTrue(condition["holds"], (told, condition))
        for before in answer.get("routes_before", []):
            self.assertTrue(before["missed"], (told, before))
        return status
