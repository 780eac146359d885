# -*- test-case-name: tests.http.test_clusteroptions -*-
"""
L{meshproxy.http.clusteroptions}: what a cluster says of the requests that go to it.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.http.clusteroptions import ClusterOptions
from meshproxy.routing.mirrors import MirrorPolicy
from meshproxy.routing.retries import RetryOn, RetryPolicy
from meshproxy.routing.route import RouteAction
from meshproxy.testing import Answer
from tests.http.support import ProxyCase
from tests.http.test_shadow import MIRROR

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusterFields(**options: Any) -> dict[str, Any]:
    """
    Fields of a cluster with some C{HttpProtocolOptions}.
    """
    held = {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {"http_protocol_options": {}}}
    return {"typed_extension_protocol_options": {_OPTIONS: {**held, **options}}}


class ClusterOptionsTests(SynchronousTestCase):
    """
    L{ClusterOptions} over what routes say.
    """

    def test_over(self) -> None:
        """
        What the cluster says is heeded, what it does not say is left to the route; how long a try may take always is.
        """
        routes = RetryPolicy(RetryOn.RESET, perTryTimeout=3.0, perTryIdleTimeout=2.0)
        action = RouteAction("a", retryPolicy=routes, mirrors=(MirrorPolicy("m"),))
        policy = RetryPolicy(RetryOn.FIVE_XX, numRetries=7, perTryTimeout=9.0, perTryIdleTimeout=8.0)
        heeded = ClusterOptions(policy).heed(action)
        assert heeded.retryPolicy is not None
        self.assertEqual((heeded.retryPolicy.retryOn, heeded.retryPolicy.numRetries), (RetryOn.FIVE_XX, 7))
        self.assertEqual((heeded.retryPolicy.perTryTimeout, heeded.retryPolicy.perTryIdleTimeout), (3.0, 2.0))
        self.assertEqual(heeded.mirrors, action.mirrors)
        self.assertTrue(heeded.readsOrders)
        alone = ClusterOptions(policy).heed(RouteAction("a")).retryPolicy
        assert alone is not None
        self.assertEqual((alone.perTryTimeout, alone.perTryIdleTimeout), (0.0, 0.0))

    def test_once(self) -> None:
        """
        It is found out once for each route, and routes that went are forgotten in the end.
        """
        options = ClusterOptions(RetryPolicy(RetryOn.FIVE_XX))
        action = RouteAction("a")
        self.assertIs(options.heed(action), options.heed(action))
        for _ in range(3000):
            options.heed(RouteAction("a"))
        self.assertLess(len(options._known), 2000)


class EquipTests(ProxyCase):
    """
    Clusters whose configuration says something.
    """

    def test_retried(self) -> None:
        """
        A request to a route that says nothing is tried again, also one without a body, which else goes the short way.
        """
        self.start(cluster=clusterFields(retry_policy={"retry_on": "5xx", "num_retries": 2}))
        for method, body in (("GET", b""), ("POST", b"abc")):
            self.backend.answers.extend([Answer(503), Answer(503)])
            response = self.proxy.request(method, "/", {}, body)
            self.assertEqual(response.status, 200)
        self.assertEqual((self.clusterStat("upstream_rq_retry"), len(self.backend.requests)), (4, 6))
        self.assertQuiet()

    def test_copied(self) -> None:
        """
        The cluster's mirrors get a copy, and those of the route do not.
        """
        mirrored = {"request_mirror_policies": [{"cluster": "backend"}]}
        told = clusterFields(request_mirror_policies=[{"cluster": "mirror"}])
        self.start(cluster=told, clusters={"mirror": MIRROR}, route=mirrored)
        mirror = self.proxy.backend(MIRROR)
        self.assertEqual(self.proxy.request("GET", "/a").status, 200)
        self.proxy.settle()
        self.assertEqual([len(self.backend.requests), len(mirror.requests)], [1, 1])
        self.assertQuiet()

    def test_refused(self) -> None:
        """
        What is wrong is told with its place in the configuration.
        """
        told = {
            "retry_policy": {"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}},
            "request_mirror_policies": [{"cluster": "a", "cluster_header": "b"}],
            "header_validation_config": {"name": "x"},
        }
        for field, value in told.items():
            error = self.assertRaises(ConfigErrors, self.start, cluster=clusterFields(**{field: value}))
            self.assertIn(f".{field}", str(error))
