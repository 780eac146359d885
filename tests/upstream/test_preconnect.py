"""
L{meshproxy.upstream.preconnect}: connections that are made before anybody needs them.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

from meshproxy.testing import Answer
from meshproxy.upstream.preconnect import isRandom
from tests.http.support import ProxyCase
from tests.upstream.support import clusterSection

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class PreconnectCase(ProxyCase):
    """
    A cluster with a C{preconnect_policy}.
    """

    def begin(self, cluster: dict[str, Any] | None = None, **policy: float) -> None:
        """
        Start the proxy.
        """
        self.start(cluster={"preconnect_policy": policy, **(cluster or {})})

    def ask(self, together: int = 1) -> int:
        """
        Send some requests at the same time.

        @return: How many connections were made until now.
        """
        self.backend.answer(*(Answer(raw=_OK, delay=1.0) for _ in range(together)))
        clients = [self.proxy.client() for _ in range(together)]
        for client in clients:
            client.send("GET", "/")
        self.proxy.settle()
        self.proxy.advance(2.0)
        for client in clients:
            self.assertEqual(client.response().status, 200)
            client.close()
        self.proxy.settle()
        return self.clusterStat("upstream_cx_total")


class PerEndpointTests(PreconnectCase):
    """
    C{per_upstream_preconnect_ratio}.
    """

    def test_ratio(self) -> None:
        """
        So many for each request under way, rounded up; those that are there count.
        """
        for ratio, expected in ((1.0, [1, 1, 3]), (1.5, [2, 2, 5]), (2.0, [2, 2, 6]), (3.0, [3, 3, 9])):
            self.begin(per_upstream_preconnect_ratio=ratio)
            self.assertEqual([self.ask(), self.ask(), self.ask(3)], expected, ratio)
            self.assertQuiet()

    def test_limit(self) -> None:
        """
        Circuit breakers limit them, too.
        """
        self.begin({"circuit_breakers": {"thresholds": [{"max_connections": 2}]}}, per_upstream_preconnect_ratio=3.0)
        self.assertEqual([self.ask(), self.ask()], [2, 2])
        self.assertEqual(self.clusterStat("upstream_cx_overflow"), 2)

    def test_ill(self) -> None:
        """
        An endpoint that is not well gets no more than are needed.
        """
        self.begin(per_upstream_preconnect_ratio=3.0)
        cluster = self.proxy.server.clusters.byName["backend"]
        self.ask()
        (endpoint,) = cluster.endpoints
        endpoint.healthy = False
        self.assertEqual([self.ask(), self.ask(4)], [3, 4])

    def test_gone(self) -> None:
        """
        One that the endpoint closes is not made again until there is a request for it.
        """
        self.begin(per_upstream_preconnect_ratio=2.0)
        self.ask()
        for pool in self.proxy.server.clusters.byName["backend"].pools():
            for connection in list(pool.idle):
                connection.close()
        self.proxy.settle()
        self.assertEqual(self.clusterStat("upstream_cx_active"), 0)
        self.assertEqual(self.clusterStat("upstream_cx_total"), 2)


class PredictedTests(PreconnectCase):
    """
    C{predictive_preconnect_ratio}.
    """

    def make(self, policy: str, ratio: float) -> None:
        """
        A proxy with two endpoints, and a chance that takes one after the other.
        """
        endpoints = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
            for port in (9000, 9001)
        ]
        draws = cycle((0.0, 0.9))
        self.start(
            chance=lambda: next(draws),
            cluster={
                "lb_policy": policy,
                "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": endpoints}]},
                "preconnect_policy": {"predictive_preconnect_ratio": ratio},
            },
        )
        self.proxy.backend("127.0.0.1:9001", Answer(raw=_OK, delay=1.0))

    def dialled(self) -> list[str]:
        """
        Where connections were made to by one request more.
        """
        before = len(self.proxy.network.dialled)
        self.ask()
        return sorted(address.text for address in self.proxy.network.dialled[before:])

    def test_random(self) -> None:
        """
        Where chance alone decides, the endpoint of the next request is chosen before, and connected; then there are
        connections enough.
        """
        self.make("RANDOM", 2.0)
        self.assertEqual(self.dialled(), ["127.0.0.1:9000", "127.0.0.1:9001"])
        self.assertEqual(self.dialled(), [])

    def test_most(self) -> None:
        """
        No more are chosen ahead than there are endpoints.
        """
        self.make("RANDOM", 3.0)
        self.assertLessEqual(len(self.dialled()), 3)

    def test_others(self) -> None:
        """
        Others choose when there is a request.
        """
        self.make("ROUND_ROBIN", 3.0)
        self.assertEqual(len(self.dialled()), 1)

    def test_newerPolicy(self) -> None:
        """
        A C{load_balancing_policy} may say what C{lb_policy} does.
        """
        for name, expected in (("random.v3.Random", True), ("round_robin.v3.RoundRobin", False)):
            config = {"@type": f"type.googleapis.com/envoy.extensions.load_balancing_policies.{name}"}
            policies = [{"typed_extension_config": {"name": "p", "typed_config": config}}]
            section = clusterSection("192.0.2.1", load_balancing_policy={"policies": policies})
            self.assertIs(isRandom(section), expected)
