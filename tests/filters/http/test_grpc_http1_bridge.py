"""
L{meshproxy.filters.http.grpc_http1_bridge}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.grpc_http1_bridge import GRPCHTTP1Bridge
from meshproxy.grpc.framing import encodeFrame
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result
from tests.filters.http.support import TRAILERS, pageExample

GRPC = ("content-type", "application/grpc")
PROTOBUF = ("content-type", "application/x-protobuf")
BODY = encodeFrame(b"ask")
ANSWER = encodeFrame(b"hello")
OK = Answer(200, [ANSWER], [GRPC], [("grpc-status", "0")])
BOTH = {"upgrade_protobuf_to_grpc": True, "ignore_query_parameters": True}


class GRPCHTTP1BridgeTests(SynchronousTestCase):
    """
    L{GRPCHTTP1Bridge} in a proxy.
    """

    def call(
        self,
        answer: Answer = OK,
        *fields: tuple[str, str],
        body: bytes = BODY,
        path: str = "/t.T/M",
        config: dict[str, Any] | None = None,
        **more: Any,
    ) -> Result:
        """
        Make a call.
        """
        config = {} if config is None else config
        harness = FilterHarness(GRPCHTTP1Bridge, config, upstream=answer, cluster=TRAILERS, **more)
        return harness.request("POST", path, list(fields or (GRPC,)), body=body)

    def test_trailers(self) -> None:
        """
        The head says what the trailers say, and how long the body is, however it comes; 503 where the call failed.
        """
        for readSize in (0, 1, 7):
            for trailers, status in (
                ([("grpc-status", "0")], 200),
                ([("grpc-status", "5"), ("grpc-message", "not%20here")], 503),
                ([("grpc-status", "what")], 503),
                ([("x-t", "1")], 200),
            ):
                answer = Answer(200, [ANSWER[:3], ANSWER[3:]], [GRPC], trailers)
                result = self.call(answer, readSize=readSize)
                self.assertEqual((result.status, result.body), (status, ANSWER))
                self.assertEqual(result.header("content-length"), str(len(ANSWER)))
                for name in ("grpc-status", "grpc-message"):
                    self.assertEqual(result.header(name), dict(trailers).get(name))
                self.assertIsNone(result.header("x-t"))

    def test_passes(self) -> None:
        """
        What is no gRPC, or has no trailers, stays as it is.
        """
        result = self.call(OK, ("content-type", "text/plain"))
        self.assertIsNone(result.header("grpc-status"))
        result = self.call(Answer(200, b"<p>", [("content-type", "text/html")]))
        self.assertEqual((result.status, result.body, result.header("grpc-status")), (200, b"<p>", None))
        result = self.call(Answer(200, b"", [GRPC, ("grpc-status", "5")]))
        self.assertEqual((result.status, result.header("grpc-status")), (200, "5"))

    def test_upgraded(self) -> None:
        """
        A message of protobuf gets its frame, and the response loses it; the query stays here.
        """
        result = self.call(OK, PROTOBUF, body=b"ask", path="/t.T/M?a=1", config=BOTH)
        seen = result.upstreamRequest
        assert seen is not None
        self.assertEqual((seen.body, seen.path), (BODY, b"/t.T/M"))
        self.assertEqual((seen.header("content-type"), seen.header("content-length")), ("application/grpc", None))
        self.assertEqual((result.status, result.body, result.header("content-length")), (200, b"hello", "5"))
        failed = Answer(200, [ANSWER], [GRPC], [("grpc-status", "13")])
        self.assertEqual(self.call(failed, PROTOBUF, body=b"ask", config=BOTH).status, 503)

    def test_notUpgraded(self) -> None:
        """
        Not unless it is asked for, nor another type; a response that is no gRPC keeps its first bytes.
        """
        for config, field in (({}, PROTOBUF), (BOTH, ("content-type", "application/protobuf"))):
            result = self.call(OK, field, body=b"ask", path="/t.T/M?a=1", config=config)
            assert result.upstreamRequest is not None
            self.assertEqual((result.upstreamRequest.body, result.upstreamRequest.path), (b"ask", b"/t.T/M?a=1"))
        html = Answer(503, [b"<p>", b"busy"], [("content-type", "text/html")])
        self.assertEqual(self.call(html, PROTOBUF, body=b"ask", config=BOTH).body, b"<p>busy")

    def test_localReplies(self) -> None:
        """
        Who speaks gRPC gets local replies of gRPC; who was upgraded does not.
        """
        gone = Answer.reset()
        result = self.call(gone)
        self.assertEqual((result.status, result.header("grpc-status")), (200, "14"))
        result = self.call(gone, PROTOBUF, body=b"ask", config=BOTH)
        self.assertEqual((result.status, result.header("grpc-status")), (503, None))

    def test_tooLarge(self) -> None:
        """
        What is held has the connection's limit.
        """
        answer = Answer(200, [b"x" * 3000], [GRPC], [("grpc-status", "0")])
        result = self.call(answer, listener={"per_connection_buffer_limit_bytes": 1000})
        self.assertEqual((result.log["details"], result.header("grpc-status")), ("response_payload_too_large", "2"))

    def test_page(self) -> None:
        """
        The example of its page does what the page says.
        """
        config = pageExample("grpc_http1_bridge")[0]["typed_config"]
        del config["@type"]
        result = self.call(OK, PROTOBUF, body=b"ask", path="/t.T/M?a=1", config=config)
        self.assertEqual(result.body, b"hello")
