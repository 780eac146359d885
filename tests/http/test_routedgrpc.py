"""
What L{meshproxy.http.routedrequest} makes of gRPC: how well an endpoint did, and which counters move.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer
from tests.filters.http.support import TRAILERS
from tests.http.support import ProxyCase

GRPC = [("content-type", "application/grpc")]


def ended(status: str | None) -> Answer:
    """
    A response with a body that ends with a status, or with no trailers.
    """
    return Answer(200, [b"\0\0\0\0\0"], GRPC, [] if status is None else [("grpc-status", status)])


class EndpointTests(ProxyCase):
    """
    An endpoint does well, or it does not.
    """

    def judged(self, *answers: Answer, grpc: bool = True, **config: Any) -> tuple[int, int]:
        """
        How often it did well, and how often not, after a request.
        """
        self.start(cluster=TRAILERS, **config)
        self.backend.answer(*answers)
        self.proxy.request("POST", "/t.T/M", GRPC if grpc else (), body=b"\0\0\0\0\0")
        (endpoint,) = self.proxy.server.context.clusters.byName["backend"].endpoints
        return endpoint.rqSuccess.value, endpoint.rqError.value

    def test_trailers(self) -> None:
        """
        gRPC's status decides, which comes in the trailers: a fault of the client's is none of the endpoint's.
        """
        for status in ("0", "1", "5", "16"):
            self.assertEqual(self.judged(ended(status)), (1, 0), status)
        for bad in ("2", "4", "12", "13", "14", "15", "17", "abc", "", None):
            self.assertEqual(self.judged(ended(bad)), (0, 1), bad)

    def test_head(self) -> None:
        """
        Or in the head, where that is all; one without a status is a fault.
        """
        for fields, expected in (
            ([*GRPC, ("grpc-status", "5")], (1, 0)),
            ([*GRPC, ("grpc-status", "14")], (0, 1)),
            (GRPC, (0, 1)),
        ):
            self.assertEqual(self.judged(Answer(200, b"", fields)), expected, fields)

    def test_http(self) -> None:
        """
        For others the HTTP status decides, for gRPC too where it is a server's fault; a whole response of another kind
        is no answer to gRPC.
        """
        self.assertEqual(self.judged(Answer(200, b"x"), grpc=False), (1, 0))
        self.assertEqual(self.judged(Answer(404, b"x"), grpc=False), (1, 0))
        self.assertEqual(self.judged(Answer(503, b"x"), grpc=False), (0, 1))
        self.assertEqual(self.judged(Answer(503, b"x")), (0, 1))
        self.assertEqual(self.judged(Answer(200, b"x")), (0, 1))

    def test_plain(self) -> None:
        """
        The short way of requests without a body counts likewise.
        """
        self.start()
        (endpoint,) = self.proxy.server.context.clusters.byName["backend"].endpoints
        client = self.proxy.client()
        for status, expected in ((200, (1, 0)), (404, (2, 0)), (503, (2, 1)), (200, (3, 1))):
            self.backend.answer(Answer(status, b"x"))
            client.request()
            self.assertEqual((endpoint.rqSuccess.value, endpoint.rqError.value), expected)

    def test_retried(self) -> None:
        """
        A response that is left aside is a fault, and nothing else.
        """
        policy = {"retry_policy": {"retry_on": "unavailable"}}
        self.assertEqual(
            self.judged(Answer(200, b"", [*GRPC, ("grpc-status", "14")]), ended("0"), route=policy), (1, 1)
        )

    def test_cut(self) -> None:
        """
        Whoever goes away before the status that is due, or answers too late, is counted once.
        """
        half = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\0\0"
        self.assertEqual(self.judged(Answer.close(half)), (0, 1))
        self.assertEqual(self.judged(Answer.close(half), grpc=False), (1, 0))
        self.assertEqual(self.judged(Answer.close()), (0, 1))
        self.assertEqual(self.judged(Answer.hang(), route={"timeout": "1s"}), (0, 1))
        duration = {"timeout": "0s", "max_stream_duration": {"max_stream_duration": "1s"}}
        self.assertEqual(self.judged(Answer.hang(), route=duration), (0, 0))


class QuietTests(ProxyCase):
    """
    C{suppress_grpc_request_failure_code_stats}.
    """

    def test_counters(self) -> None:
        """
        HTTP's statuses are not counted for gRPC, whoever answers; that there was an answer is.
        """
        router = {
            "name": "router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                "suppress_grpc_request_failure_code_stats": True,
            },
        }
        self.start(manager={"http_filters": [router]}, cluster=TRAILERS)
        for answer in (ended("0"), Answer(503, b"x"), Answer.close()):
            self.backend.answer(answer)
            self.proxy.request("POST", "/t.T/M", GRPC, body=b"\0\0\0\0\0")
        names = ("completed", "200", "2xx", "503", "5xx")
        self.assertEqual([self.clusterStat(f"upstream_rq_{name}") for name in names], [3, 0, 0, 0, 0])
        self.backend.answer(Answer(503, b"x"))
        self.proxy.request()
        self.assertEqual([self.clusterStat(f"upstream_rq_{name}") for name in names], [4, 0, 0, 1, 1])
