"""
L{meshproxy.filters.http.grpc_web}.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.filters.http.grpc_web import Base64Decoder, Base64Frames, GRPCWeb, trailersFrame
from meshproxy.grpc.framing import encodeFrame
from meshproxy.headers import HeaderMap
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result
from tests.filters.http.support import TRAILERS, pageExample

WEB = ("content-type", "application/grpc-web")
TEXT = "application/grpc-web-text"
GRPC = ("content-type", "application/grpc")
BODY = encodeFrame(b"ask") + encodeFrame(b"")
ANSWER = encodeFrame(b"hello") + encodeFrame(b"x" * 1000)
END = b"\x80\0\0\0\x1bgrpc-status:0\r\nx-more:a:b\r\n"
OK = Answer(200, [ANSWER], [GRPC], [("grpc-status", "0"), ("x-more", "a:b")])


class Base64DecoderTests(SynchronousTestCase):
    """
    L{Base64Decoder} does not care how text comes.
    """

    def test_everySplit(self) -> None:
        """
        Whole, cut in two at every place, one by one; several texts, each with its own padding.
        """
        text = b64encode(b"a") + b64encode(b"bc") + b64encode(b"def" * 5) + b64encode(b"gh")
        expected = b"abc" + b"def" * 5 + b"gh"
        pieces = [[text[:cut], text[cut:]] for cut in range(len(text) + 1)]
        for split in [*pieces, [text[i : i + 1] for i in range(len(text))]]:
            decoder = Base64Decoder()
            self.assertEqual(b"".join(map(decoder.decode, split)), expected)
            self.assertTrue(decoder.isEmpty)

    def test_short(self) -> None:
        """
        What is not whole is waited for.
        """
        decoder = Base64Decoder()
        self.assertEqual(decoder.decode(b"YWJjZGV"), b"abc")
        self.assertFalse(decoder.isEmpty)

    def test_wrong(self) -> None:
        """
        What is no base64 is told by one kind of error: other characters, the alphabet of URLs, line ends, padding
        where none can be, bits that are left over.
        """
        for text in (
            b"!!!!",
            b"-_-_",
            b"YW\r\n",
            b"====",
            b"A===",
            b"YQ=A",
            b"YR==",
            b"AAF=",
            b"YWJj=AAA",
            b"\xff\xff\xff\xff",
        ):
            for split in ([text], [text[i : i + 1] for i in range(len(text))]):
                decoder = Base64Decoder()
                with self.assertRaises(Base64Error):
                    for piece in split:
                        decoder.decode(piece)


class Base64FramesTests(SynchronousTestCase):
    """
    L{Base64Frames} gives each frame a text of its own.
    """

    frames = [encodeFrame(b""), encodeFrame(b"a"), b"\1\0\0\0\2bc", encodeFrame(b"def" * 50)]

    def test_everySplit(self) -> None:
        """
        Whole, cut in two at every place, byte by byte.
        """
        wire = b"".join(self.frames)
        expected = b"".join(map(b64encode, self.frames))
        pieces = [[wire[:cut], wire[cut:]] for cut in range(len(wire) + 1)]
        for split in [*pieces, [wire[i : i + 1] for i in range(len(wire))]]:
            encoder = Base64Frames()
            self.assertEqual(b"".join(map(encoder.encode, split)), expected)
            self.assertEqual(encoder.finish(), b"")

    def test_cut(self) -> None:
        """
        What comes of a frame that is never whole goes on all the same.
        """
        encoder = Base64Frames()
        wire = encodeFrame(b"hello")[:-1]
        self.assertEqual(encoder.encode(wire) + encoder.finish(), b64encode(wire))


class GRPCWebTests(SynchronousTestCase):
    """
    L{GRPCWeb} in a proxy.
    """

    def harness(self, answer: Answer = OK, **more: Any) -> FilterHarness:
        """
        A proxy with the filter, in front of a gRPC service.
        """
        return FilterHarness(GRPCWeb, {}, upstream=answer, cluster=TRAILERS, **more)

    def call(self, harness: FilterHarness, *fields: tuple[str, str], body: bytes = BODY) -> Result:
        """
        Make a call.
        """
        return harness.request("POST", "/t.T/M", list(fields or (WEB,)), body=body)

    def test_binary(self) -> None:
        """
        The service sees gRPC; the client gets the trailers as the last frame of the body.
        """
        for readSize in (0, 1):
            result = self.call(self.harness(readSize=readSize))
            seen = result.upstreamRequest
            assert seen is not None
            told = [seen.header(name) for name in ("content-type", "te", "grpc-accept-encoding", "content-length")]
            self.assertEqual(told, ["application/grpc", "trailers", "identity", None])
            self.assertEqual(seen.body, BODY)
            self.assertEqual(result.header("content-type"), "application/grpc-web+proto")
            self.assertEqual(result.body, ANSWER + END)
            self.assertEqual(list(result.trailers.fields()), [])

    def test_text(self) -> None:
        """
        A request in text is decoded, and where the client asks for it the response is text, however the bytes come.
        """
        for readSize in (0, 1, 5):
            harness = self.harness(readSize=readSize)
            result = self.call(harness, ("content-type", TEXT), ("accept", TEXT + "+proto"), body=b64encode(BODY))
            assert result.upstreamRequest is not None
            self.assertEqual(result.upstreamRequest.body, BODY)
            self.assertEqual(result.header("content-type"), TEXT + "+proto")
            frames = [ANSWER[:10], ANSWER[10:], END]
            self.assertEqual(result.body, b"".join(map(b64encode, frames)))
            self.assertEqual(b64decode(b64encode(ANSWER[:10])), ANSWER[:10])

    def test_textOnlyOneWay(self) -> None:
        """
        What the client sends and what it takes need not be the same.
        """
        result = self.call(self.harness(), ("content-type", TEXT), body=b64encode(BODY))
        self.assertEqual(result.body, ANSWER + END)
        result = self.call(self.harness(), WEB, ("accept", TEXT))
        self.assertTrue(result.body.endswith(b64encode(END)))

    def test_encodings(self) -> None:
        """
        What the client says of encodings stays.
        """
        result = self.call(self.harness(), WEB, ("grpc-accept-encoding", "gzip"))
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.header("grpc-accept-encoding"), "gzip")

    def test_broken(self) -> None:
        """
        What is no base64, or ends too early, is answered with 400 in the client's own words.
        """
        for body, details in ((b"!!!!", "grpc_base_64_decode_failed"), (b"AAA", "grpc_base_64_decode_failed_bad_size")):
            result = self.call(self.harness(), ("content-type", TEXT), body=body)
            self.assertEqual((result.status, result.log["details"], result.body), (400, details, b""))
            told = [result.header(name) for name in ("content-type", "grpc-status", "grpc-message")]
            self.assertEqual(told, ["application/grpc-web+proto", "13", "Bad gRPC-web request, invalid base64 data."])

    def test_brokenTrailers(self) -> None:
        """
        Trailers do not hide that the text ends too early.
        """
        harness = self.harness(manager={"http_protocol_options": {"enable_trailers": True}})
        result = harness.request("POST", "/t.T/M", [("content-type", TEXT)], body=b"AAA", trailers=[("x-t", "1")])
        self.assertEqual(result.log["details"], "grpc_base_64_decode_failed_bad_size")

    def test_noGRPC(self) -> None:
        """
        A response that is no gRPC, or a local reply, says in its head what its body said.
        """
        answers = (
            Answer(200, b"<p>100%", [("content-type", "text/html")]),
            Answer(200, [b"<p>", b"100%"], [("content-type", "text/html")]),
            Answer(503, b"<p>100%"),
        )
        for answer, status in zip(answers, ("2", "2", "14"), strict=True):
            result = self.call(self.harness(answer))
            told = [result.header(name) for name in ("grpc-status", "grpc-message", "content-length")]
            self.assertEqual((result.status, told, result.body), (answer.status, [status, "<p>100%25", "0"], b""))
        result = self.call(self.harness(Answer.close()))
        self.assertEqual((result.status, result.header("grpc-status"), result.body), (503, "14", b""))
        self.assertIn("upstream connect error", result.header("grpc-message") or "")

    def test_noGRPCEndless(self) -> None:
        """
        Of a long one no more is waited for than is told.
        """
        result = self.call(self.harness(Answer(502, [b"x" * 10_000] * 100)))
        self.assertEqual((result.status, result.header("grpc-message")), (502, "x" * 16384))
        self.assertEqual(result.body, b"")

    def test_trailersOnly(self) -> None:
        """
        A response that is nothing but a head stays one.
        """
        result = self.call(self.harness(Answer(200, b"", [GRPC, ("grpc-status", "5")])))
        told = [result.header(name) for name in ("content-type", "grpc-status")]
        self.assertEqual((told, result.body), (["application/grpc-web+proto", "5"], b""))

    def test_ownWeb(self) -> None:
        """
        A service that speaks gRPC-Web itself is let through.
        """
        body = encodeFrame(b"own") + END
        result = self.call(self.harness(Answer(200, body, [("content-type", "Application/gRPC-Web; a=b")])))
        self.assertEqual(result.body, body)

    def test_others(self) -> None:
        """
        What is no gRPC-Web passes untouched, gRPC itself too.
        """
        for contentType in ("application/grpc", "application/grpc-web+json", "text/plain"):
            result = self.call(self.harness(), ("content-type", contentType))
            assert result.upstreamRequest is not None
            self.assertEqual(result.upstreamRequest.header("content-type"), contentType)
            self.assertEqual(result.body, ANSWER)

    def test_counters(self) -> None:
        """
        Calls are counted by method, the status of each once.
        """
        harness = self.harness()
        self.call(harness)
        harness.upstream.answer(Answer(200, b"", [GRPC, ("grpc-status", "5")]))
        self.call(harness)
        prefix = "cluster.backend.grpc-web."
        counted = {name.removeprefix(prefix): value for name, value in harness.proxy.stats(prefix).items()}
        self.assertEqual(
            counted, {"t.T.M.0": 1, "t.T.M.5": 1, "t.T.M.success": 1, "t.T.M.failure": 1, "t.T.M.total": 2}
        )

    def test_trailersFrame(self) -> None:
        """
        No trailers are an empty frame.
        """
        self.assertEqual(trailersFrame(HeaderMap()), b"\x80\0\0\0\0")

    def test_example(self) -> None:
        """
        The example of the page: a page of another origin may ask, call, and read the status.
        """
        cors, web = pageExample("grpc_web")
        overrides = pageExample("grpc_web", 1)["typed_per_filter_config"]
        self.assertEqual(web["typed_config"], {"@type": typeURL(GRPCWeb.configType)})
        harness = self.harness(before=[cors], virtualHost={"typed_per_filter_config": overrides})
        origin = ("origin", "https://shop.example")
        ask = [origin, ("access-control-request-method", "POST")]
        preflight = harness.request("OPTIONS", "/t.T/M", ask)
        self.assertEqual((preflight.status, preflight.header("access-control-allow-methods")), (200, "POST"))
        result = self.call(harness, WEB, origin)
        self.assertEqual(result.header("access-control-expose-headers"), "grpc-status, grpc-message")
        self.assertEqual(result.body, ANSWER + END)
