"""
L{meshproxy.filters.http.grpc_stats}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.grpc_stats import STATE, GRPCStatsFilter, MessageCounts
from meshproxy.grpc.framing import encodeFrame
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result
from tests.filters.http.support import TRAILERS, pageExample

GRPC = [("content-type", "application/grpc")]
CONNECT = ("content-type", "application/connect+json")
OK = Answer(200, [encodeFrame(b"one"), encodeFrame(b"two")], GRPC, [("grpc-status", "0")])
PREFIX = "cluster.backend.grpc."
BODY = encodeFrame(b"ask") + encodeFrame(b"more")


def end(message: bytes) -> bytes:
    """
    The last frame of a stream of Connect.
    """
    return b"\2" + encodeFrame(message)[1:]


class GRPCStatsTests(SynchronousTestCase):
    """
    L{GRPCStatsFilter} in a proxy.
    """

    def harness(self, answer: Answer = OK, readSize: int = 0, **fields: Any) -> FilterHarness:
        """
        A proxy with the filter.
        """
        config = {"stats_for_all_methods": True, **fields}
        return FilterHarness(GRPCStatsFilter, config, upstream=answer, cluster=TRAILERS, readSize=readSize)

    def counted(self, harness: FilterHarness) -> dict[str, int]:
        """
        What was counted of calls.
        """
        counters = harness.proxy.stats(PREFIX)
        return {name.removeprefix(PREFIX): int(value) for name, value in counters.items()}

    def call(self, harness: FilterHarness, path: str = "/t.T/M", body: bytes = BODY) -> Result:
        """
        Make a call.
        """
        return harness.request("POST", path, GRPC, body=body)

    def test_all(self) -> None:
        """
        Each method has counters of its own, which do not depend on how the bytes come.
        """
        for readSize in (0, 1, 3):
            harness = self.harness(readSize=readSize)
            self.call(harness)
            self.assertEqual(
                self.counted(harness),
                {
                    "t.T.M.0": 1,
                    "t.T.M.success": 1,
                    "t.T.M.total": 1,
                    "t.T.M.request_message_count": 2,
                    "t.T.M.response_message_count": 2,
                },
            )

    def test_statusInHead(self) -> None:
        """
        A response that is nothing but a head tells its status there; so does a local reply.
        """
        harness = self.harness(Answer(200, b"", [*GRPC, ("grpc-status", "5")]))
        self.call(harness)
        harness.upstream.answer(Answer.hang())
        self.call(harness)
        counted = self.counted(harness)
        self.assertEqual((counted["t.T.M.5"], counted["t.T.M.14"], counted["t.T.M.failure"]), (1, 1, 2))

    def test_listed(self) -> None:
        """
        The example of the page: methods that the list names are told apart, others are counted together.
        """
        (example,) = pageExample("grpc_stats")
        harness = FilterHarness(GRPCStatsFilter, example["typed_config"], upstream=OK, cluster=TRAILERS)
        for path in ("/shop.Cart/Add", "/shop.Cart/List", "/shop.Cart/Remove/x"):
            result = self.call(harness, path)
            assert result.stream is not None
            self.assertEqual(str(result.stream.filterState[STATE]), "2,2")
        counted = self.counted(harness)
        self.assertEqual((counted["shop.Cart.Add.total"], counted["total"]), (1, 1))
        self.assertNotIn("shop.Cart.List.total", counted)

    def test_dots(self) -> None:
        """
        A service's name has no dots where that is asked for.
        """
        harness = self.harness(replace_dots_in_grpc_service_name=True)
        self.call(harness, "/a.b.T/M.x")
        self.assertEqual(self.counted(harness)["a_b_T.M.x.success"], 1)

    def test_time(self) -> None:
        """
        How long the upstream took is recorded, from the end of the request to that of the response.
        """
        answer = Answer(200, OK.body, GRPC, OK.trailers, delay=0.25)
        harness = self.harness(answer, enable_upstream_stats=True)
        self.call(harness)
        histogram = harness.proxy.server.context.store.histograms[PREFIX + "t.T.M.upstream_rq_time"]
        self.assertEqual(sum(histogram.bins.values()), 1)
        self.assertGreaterEqual(min(histogram.bins), 250)

    def test_state(self) -> None:
        """
        The filter state has both numbers, as text and in the names of protobuf's JSON; by default there is none.
        """
        result = self.call(self.harness(emit_filter_state=True), body=encodeFrame(b""))
        assert result.stream is not None
        state = result.stream.filterState[STATE]
        assert isinstance(state, MessageCounts)
        self.assertEqual(dict(state), {"requestMessageCount": "1", "responseMessageCount": "2"})
        self.assertEqual(len(state), 2)
        result = self.call(self.harness())
        assert result.stream is not None
        self.assertNotIn(STATE, result.stream.filterState)

    def test_noCall(self) -> None:
        """
        Other requests, and paths that are no methods, are not counted.
        """
        harness = self.harness()
        harness.request("POST", "/t.T/M", [("content-type", "application/grpc-web")], body=BODY)
        harness.request("POST", "/t.T", GRPC, body=BODY)
        self.assertEqual(self.counted(harness), {})

    def test_connectUnary(self) -> None:
        """
        A call of Connect without frames: one message each way, and the HTTP status tells how it ended.
        """
        harness = self.harness(Answer(200, [b"{", b"}"]))
        fields = [("content-type", "application/json"), ("connect-protocol-version", "1")]
        harness.request("POST", "/t.T/M", fields, body=b"{}")
        harness.upstream.answer(Answer(404, b"{}"))
        harness.request("POST", "/t.T/M", fields, body=b"{}")
        self.assertEqual(
            self.counted(harness),
            {
                "t.T.M.request_message_count": 2,
                "t.T.M.response_message_count": 2,
                "t.T.M.success": 1,
                "t.T.M.failure": 1,
                "t.T.M.total": 2,
            },
        )

    def test_connectStream(self) -> None:
        """
        A stream of Connect says in its last frame how it ended, which is no message; one without it failed.
        """
        harness = self.harness()
        message = encodeFrame(b"{}")
        bodies = [end(b'{"metadata": {}}'), end(b'{"error": {"code": "aborted"}}'), end(b"{"), b"", end(b"{}")[:-1]]
        # CVE-2026-48042: brackets by the thousand.
        bodies.append(end(b"[" * 50000))
        for tail in bodies:
            harness.upstream.answer(Answer(200, message + tail, [CONNECT]))
            harness.request("POST", "/t.T/M", [CONNECT], body=BODY)
        counted = self.counted(harness)
        self.assertEqual((counted["t.T.M.success"], counted["t.T.M.failure"]), (1, 5))
        self.assertEqual(counted["t.T.M.response_message_count"], 6)
