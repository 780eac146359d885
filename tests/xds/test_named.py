"""
Tests for L{meshproxy.xds.named}.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.xds.named import ScopeFacts, factsOf, namedBy
from tests.xds.support import JSON, listener, scope, scopedListener


def _packed(typeName: str, value: JSON) -> bytes:
    message: Any = ParseDict(value, newMessage(typeName), descriptor_pool=descriptorPool())
    data: bytes = message.SerializeToString()
    return data


def _listener(value: JSON) -> bytes:
    return _packed("envoy.config.listener.v3.Listener", value)


def _scope(*arguments: str, **more: Any) -> bytes:
    return _packed("envoy.config.route.v3.ScopedRouteConfiguration", scope(*arguments, **more))


class NamedTests(SynchronousTestCase):
    """
    L{namedBy} and L{factsOf}.
    """

    def test_routes(self) -> None:
        """
        Route configurations are known by file and name; those of the default chain are among them.
        """
        file = {"resourceApiVersion": "V3", "pathConfigSource": {"path": "/r"}}
        one = listener(rds="a")
        one["defaultFilterChain"] = listener(rds="b", source=file)["filterChains"][0]
        other = {"name": "in", "filterChains": [{"filters": [{"name": "echo"}]}]}
        named = namedBy([_listener(one), _listener(other)], {})
        self.assertEqual((named.routes, named.scopes), ({("", "a"): "in", ("/r", "b"): "in"}, {}))

    def test_scopes(self) -> None:
        """
        What scopes name is named as soon as they are there, from the source that their manager has for routes.
        """
        file = {"resourceApiVersion": "V3", "path": "/r"}
        listeners = [_listener(scopedListener(ofRoutes=file)), _listener(scopedListener("other", 81, statPrefix="o"))]
        named = namedBy(listeners, {})
        self.assertEqual((named.routes, named.scopes), ({}, {"": ("in", "scopes")}))
        named = namedBy(listeners, {"": {"a": _scope("a", "x", "r"), "b": _scope("b", "y", "r")}, "/else": {}})
        self.assertEqual(named.routes, {("/r", "r"): "in", ("", "r"): "o"})

    def test_notAsked(self) -> None:
        """
        Routes in place are not asked for, and those on demand where somebody needs them.
        """
        held = {"routeConfiguration": {"name": "r"}}
        scopes = {"a": _scope("a", "x", "r", **held), "b": _scope("b", "y", "s", onDemand=True)}
        listeners = [_listener(scopedListener())]
        self.assertEqual(namedBy(listeners, {"": scopes}, ()).routes, {})
        self.assertEqual(namedBy(listeners, {"": scopes}, ("s",)).routes, {("", "s"): "in"})

    def test_facts(self) -> None:
        """
        Routes in place count for more than all else.
        """
        held = {"routeConfiguration": {"name": "r"}, "onDemand": True}
        scopes = (_scope("a", "x", "r"), _scope("a", "x", "r", onDemand=True), _scope("a", "x", "r", **held))
        wanted = [ScopeFacts("r", False), ScopeFacts("r", True), ScopeFacts("", False)]
        self.assertEqual(list(map(factsOf, scopes)), wanted)
