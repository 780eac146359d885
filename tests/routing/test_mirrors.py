# -*- test-case-name: tests.routing.test_mirrors -*-
"""
Tests for L{meshproxy.routing.mirrors}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.context import RouteContext
from meshproxy.routing.mirrors import MirrorPolicy
from tests.routing.support import errorsOf, forward, request, routeConfiguration, streamOf, tableOf


def mirrors(*policies: dict[str, Any], **fields: Any) -> tuple[MirrorPolicy, ...]:
    """
    The mirrors of a route.
    """
    route = tableOf(forward(request_mirror_policies=list(policies)), **fields).match(request(), streamOf(request()))
    assert route is not None and route.action is not None
    return route.action.mirrors


class MirrorPolicyTests(SynchronousTestCase):
    """
    Copies differ from their originals as in Envoy.
    """

    def test_host(self) -> None:
        """
        C{-shadow} stands before the port, unless it is not wanted or another host is.
        """
        for policy, host, expected in (
            ({}, "h", b"h-shadow"),
            ({}, "localhost:10000", b"localhost-shadow:10000"),
            ({"disable_shadow_host_suffix_append": True}, "h:1", b"h:1"),
            ({"host_rewrite_literal": "other"}, "h", b"other"),
        ):
            [mirror] = mirrors({"cluster": "m", **policy})
            asked = request("/p?q", host, x_a="1")
            copied = mirror.copyHead(asked, streamOf(asked))
            self.assertEqual((copied.authority, copied.path, copied.get(b"x-a")), (expected, b"/p?q", b"1"))
            self.assertEqual(asked.authority, host.encode())

    def test_mutations(self) -> None:
        """
        Headers of the copy alone can change.
        """
        [mirror] = mirrors({"cluster": "m", "request_headers_mutations": [{"remove": "x-a"}]})
        asked = request(x_a="1")
        self.assertNotIn(b"x-a", mirror.copyHead(asked, streamOf(asked)))
        self.assertIn(b"x-a", asked)

    def test_cluster(self) -> None:
        """
        By name, or by a header of the request.
        """
        [named, asked] = mirrors({"cluster": "m"}, {"cluster_header": "X-M"})
        self.assertEqual(named.selectCluster(request()), "m")
        self.assertEqual([asked.selectCluster(request(x_m="n")), asked.selectCluster(request())], ["n", ""])

    def test_fraction(self) -> None:
        """
        All requests, unless a fraction says otherwise.
        """
        [every, none] = mirrors({"cluster": "m"}, {"cluster": "m", "runtime_fraction": {"default_value": {}}})
        self.assertEqual([every.decide(), none.decide()], [True, False])

    def test_levels(self) -> None:
        """
        The nearest level that has mirrors decides alone.
        """
        everywhere = {"request_mirror_policies": [{"cluster": "everywhere"}]}
        self.assertEqual([each.cluster for each in mirrors(**everywhere)], ["everywhere"])
        self.assertEqual([each.cluster for each in mirrors({"cluster": "own"}, **everywhere)], ["own"])

    def test_refused(self) -> None:
        """
        No cluster, two ways to name one, and one that does not exist.
        """
        context = RouteContext(clusterNames=["c"])
        for policy, field in (({}, ""), ({"cluster": "c", "cluster_header": "x"}, ""), ({"cluster": "no"}, ".cluster")):
            made = routeConfiguration(forward(request_mirror_policies=[policy]))
            at = "virtual_hosts[0].routes[0].route.request_mirror_policies[0]" + field
            self.assertEqual([path for path, _ in errorsOf(made, context)], [at])
