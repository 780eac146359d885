"""
L{meshproxy.routing.hostmatcher}. Trees themselves are tested with L{meshproxy.config.matchertree}, and with Envoy.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.matchinputs import REQUEST_INPUTS
from meshproxy.routing.context import RouteContext
from tests.routing.support import ask, errorsOf, forward, routeConfiguration, tableOf

CONTEXT = RouteContext(matcherInputs=REQUEST_INPUTS)
TYPE = "type.googleapis.com/envoy."


def host(**leaves: Any) -> dict[str, Any]:
    """
    A virtual host with a tree over C{x-key}.
    """
    kind = TYPE + "type.matcher.v3.HttpRequestHeaderMatchInput"
    reads = {"name": "i", "typed_config": {"@type": kind, "header_name": "x-key"}}
    tree = {"input": reads, "exact_match_map": {"map": {key: {"action": leaf} for key, leaf in leaves.items()}}}
    return {"name": "h", "domains": ["*"], "matcher": {"matcher_tree": tree}}


def leaf(*routes: dict[str, Any]) -> dict[str, Any]:
    """
    A route, or a list of them.
    """
    if len(routes) == 1:
        return {"name": "a", "typed_config": {"@type": TYPE + "config.route.v3.Route", **routes[0]}}
    return {"name": "a", "typed_config": {"@type": TYPE + "config.route.v3.RouteList", "routes": list(routes)}}


class HostMatcherTests(SynchronousTestCase):
    """
    Routes in a tree.
    """

    def test_found(self) -> None:
        """
        The leaf is found by the tree, the route among its routes by their own matches; all have places of their own.
        """
        a, b, c = ({**forward(f"/{name}"), "name": name} for name in "abc")
        table = tableOf(virtual_hosts=[host(one=leaf(a), two=leaf(b, c))], context=CONTEXT)
        self.assertEqual([route.order for route in table.routes], [0, 1, 2])
        names = {route.order: route.name for route in table.routes}
        asked = (("/a", "one"), ("/b", "one"), ("/b", "two"), ("/c", "two"), ("/a", "three"))
        found = [ask(table, path, x_key=key) for path, key in asked]
        self.assertEqual([None if order is None else names[order] for order in found], ["a", None, "b", "c", None])
        self.assertIsNone(ask(table, "/a"))

    def test_refused(self) -> None:
        """
        A tree and a list, an action that is no route, an input that nobody knows.
        """
        both = {**host(one=leaf(forward())), "routes": [forward()]}
        where = "virtual_hosts[0].matcher"
        self.assertEqual([path for path, _ in errorsOf(routeConfiguration(virtual_hosts=[both]), CONTEXT)], [where])
        other = host(one={"name": "a", "typed_config": {"@type": TYPE + "config.route.v3.RouteAction", "cluster": "c"}})
        [(path, why)] = errorsOf(routeConfiguration(virtual_hosts=[other]), CONTEXT)
        self.assertIn("RouteList", why)
        self.assertTrue(path.startswith(where))
        self.assertEqual(len(errorsOf(routeConfiguration(virtual_hosts=[host(one=leaf(forward()))]))), 1)
