"""
L{meshproxy.filters.cluster_specifier.matcher}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.errors import ConfigErrors
from meshproxy.testing import MemoryProxy, httpBootstrap
from tests.http.support import ProxyCase

_TYPES = "type.googleapis.com/envoy."
_PACKAGE = f"{_TYPES}extensions.router.cluster_specifiers.matcher.v3."


def action(cluster: str) -> dict[str, Any]:
    """
    A leaf of the tree.
    """
    return {"action": {"name": "a", "typed_config": {"@type": f"{_PACKAGE}ClusterAction", "cluster": cluster}}}


def specifier(others: str = "", **clusters: str) -> dict[str, Any]:
    """
    A C{ClusterSpecifierPlugin} that looks at C{x-env}.

    @param others: Where to without a match.
    @param clusters: By the value of the header.
    """
    header = {"@type": f"{_TYPES}type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": "x-env"}
    branches = {value: action(name) for value, name in clusters.items()}
    tree: dict[str, Any] = {
        "matcher_tree": {"input": {"name": "i", "typed_config": header}, "exact_match_map": {"map": branches}}
    }
    if others:
        tree["on_no_match"] = action(others)
    config = {"@type": f"{_PACKAGE}MatcherClusterSpecifier", "cluster_matcher": tree}
    return {"extension": {"name": "matcher", "typed_config": config}}


class MatcherClusterSpecifierTests(ProxyCase):
    """
    L{meshproxy.filters.cluster_specifier.matcher.MatcherClusterSpecifier}.
    """

    def begin(self, plugin: dict[str, Any]) -> None:
        """
        A proxy whose route chooses by a plugin.
        """
        route = {"match": {"prefix": "/"}, "route": {"inline_cluster_specifier_plugin": plugin}}
        log = "%RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%"
        self.start(routes=[route], clusters={"one": "127.0.0.1:9001"}, accessLog=log)
        self.one = self.proxy.backend("127.0.0.1:9001")

    def ask(self, *headers: tuple[str, str]) -> int:
        """
        The status of a request.
        """
        return self.proxy.request(headers=headers).status

    def test_match(self) -> None:
        """
        The leaf that is found names the cluster.
        """
        self.begin(specifier("backend", one="one"))
        self.assertEqual([self.ask(("x-env", "one")), self.ask(("x-env", "two")), self.ask()], [200, 200, 200])
        self.assertEqual((len(self.one.requests), len(self.backend.requests)), (1, 2))
        self.assertEqual(self.proxy.accessLog, ["via_upstream one", "via_upstream backend", "via_upstream backend"])

    def test_noMatch(self) -> None:
        """
        Without a leaf there is no cluster; nor where it names one that there is not.
        """
        self.begin(specifier(one="one", gone="nobody"))
        self.assertEqual([self.ask(), self.ask(("x-env", "gone"))], [503, 503])
        self.assertEqual(self.proxy.accessLog, ["cluster_not_found -"] * 2)

    def test_otherAction(self) -> None:
        """
        Another action than the name of a cluster is refused, with its place.
        """
        plugin = specifier("backend", one="one")
        wrong = plugin["extension"]["typed_config"]["cluster_matcher"]["on_no_match"]["action"]
        wrong["typed_config"] = {"@type": f"{_TYPES}config.route.v3.RouteMatch", "prefix": "/"}
        route = {"match": {"prefix": "/"}, "route": {"inline_cluster_specifier_plugin": plugin}}
        error = self.assertRaises(ConfigErrors, MemoryProxy, httpBootstrap(routes=[route]))
        self.assertIn("the action of this matcher is a", str(error))
