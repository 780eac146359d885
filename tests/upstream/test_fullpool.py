"""
L{meshproxy.upstream.fullpool}, and when a cluster has it.
"""

from __future__ import annotations

from typing import Any

from meshproxy.flags import ResetReason
from meshproxy.testing import Answer
from meshproxy.testing.bootstraps import BACKEND
from meshproxy.upstream.fullpool import FULL_POOL
from tests.http.support import ProxyCase

_OTHER = "192.0.2.99:80"


def _endpoint(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}


class FullPoolTests(ProxyCase):
    """
    C{max_connection_pools}.
    """

    def limited(self, most: int, **more: Any) -> None:
        """
        A cluster of two endpoints that take turns.
        """
        thresholds = [{"max_connection_pools": most, **more}]
        cluster = {
            "load_assignment": {
                "cluster_name": "backend",
                "endpoints": [{"lb_endpoints": [_endpoint(BACKEND), _endpoint(_OTHER)]}],
            },
            "circuit_breakers": {"thresholds": thresholds},
        }
        self.start(cluster=cluster)
        self.other = self.proxy.backend(_OTHER)

    def ask(self) -> tuple[int, str]:
        """
        The status of a request, and what the log says.
        """
        return self.proxy.request("GET", "/").status, self.proxy.accessLog[-1]

    @property
    def isOpen(self) -> int:
        """
        The gauge.
        """
        return self.clusterStat("circuit_breakers.default.cx_pool_open")

    def test_full(self) -> None:
        """
        With one pool the second endpoint is as good as none, as long as the first one has connections.
        """
        self.limited(1)
        self.assertEqual(self.isOpen, 0)
        seen = [self.ask()[0] for _ in range(4)]
        self.assertEqual(sorted(seen), [200, 200, 503, 503])
        self.assertIn("UH", self.proxy.accessLog[seen.index(503)])
        self.assertEqual((self.isOpen, self.clusterStat("upstream_cx_pool_overflow")), (1, 2))
        self.assertQuiet()

    def test_emptied(self) -> None:
        """
        When its connections are gone the other one may have some.
        """
        self.limited(1)
        last = [("connection", "close")]
        for backend in (self.backend, self.other):
            backend.answer(*[Answer(200, headers=last)] * 4)
        self.assertEqual([self.ask()[0] for _ in range(4)], [200] * 4)
        self.assertEqual((self.isOpen, self.clusterStat("upstream_cx_pool_overflow")), (0, 0))

    def test_enough(self) -> None:
        """
        Two are enough for two.
        """
        self.limited(2)
        self.assertEqual([self.ask()[0] for _ in range(4)], [200] * 4)
        self.assertEqual((self.isOpen, self.clusterStat("upstream_cx_pool_overflow")), (1, 0))

    def test_none(self) -> None:
        """
        Without any nobody is served.
        """
        self.limited(0)
        self.assertEqual((self.isOpen, self.ask()[0]), (1, 503))

    def test_request(self) -> None:
        """
        A request hears of it at once, and nobody has to wait.
        """
        heard: list[object] = []

        class Request:
            def connectionFailed(self, *args: object) -> None:
                heard.append(args)

        request: Any = Request()
        FULL_POOL.request(request)
        FULL_POOL.cancel(request)
        self.assertEqual(heard, [(ResetReason.NO_POOL, None, "")])
