"""
L{meshproxy.filters.http.compressor}.
"""

from __future__ import annotations

import gzip
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.filters.http.compressor import Compressor
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result
from tests.filters.http.support import TRAILERS

BODY = b"0123456789" * 20
HTML = ("content-type", "text/html; charset=utf-8")
GZIP = {
    "name": "mine",
    "typed_config": {"@type": typeURL("envoy.extensions.compression.gzip.compressor.v3.Gzip")},
}
BROTLI = {
    "name": "other",
    "typed_config": {"@type": typeURL("envoy.extensions.compression.brotli.compressor.v3.Brotli")},
}
PREFIX = "http.test.compressor.mine.gzip."


class CompressorTests(SynchronousTestCase):
    """
    L{Compressor} in a proxy.
    """

    def harness(self, route: dict[str, Any] | None = None, **fields: Any) -> FilterHarness:
        """
        A filter before a service that answers C{BODY}.
        """
        return FilterHarness(
            Compressor,
            {"compressor_library": GZIP, **fields},
            route,
            upstream=Answer(200, BODY, headers=[HTML]),
            manager={"http_protocol_options": {"enable_trailers": True}},
            cluster=TRAILERS,
        )

    def ask(self, harness: FilterHarness, accepts: str = "gzip", **fields: Any) -> Result:
        """
        Ask for the body, in a coding.
        """
        return harness.request("GET", "/", [("accept-encoding", accepts)] if accepts else [], **fields)

    def counted(self, harness: FilterHarness, *names: str) -> list[int]:
        """
        Some of the filter's counters.
        """
        stats = harness.proxy.stats(PREFIX)
        return [stats[PREFIX + name] for name in names]

    def test_compresses(self) -> None:
        """
        A client that takes gzip gets it; caches are told that others do not.
        """
        harness = self.harness()
        result = self.ask(harness)
        self.assertEqual(gzip.decompress(result.body), BODY)
        found = [result.header(name) for name in ("content-encoding", "content-length", "vary")]
        self.assertEqual(found, ["gzip", None, "Accept-Encoding"])
        names = ("compressed", "total_uncompressed_bytes", "total_compressed_bytes", "header_compressor_used")
        self.assertEqual(self.counted(harness, *names), [1, 200, len(result.body), 1])

    def test_leaves(self) -> None:
        """
        Others get the body as it is, and are told that it varies.
        """
        harness = self.harness()
        for accepts in ("", "br", "gzip;q=0", "identity"):
            result = self.ask(harness, accepts)
            self.assertEqual((result.body, result.header("vary")), (BODY, "Accept-Encoding"))
        names = ("no_accept_header", "header_not_valid", "header_identity", "not_compressed", "compressed")
        self.assertEqual(self.counted(harness, *names), [1, 2, 1, 4, 0])

    def test_notWorthIt(self) -> None:
        """
        What is short, of another type, or not to be changed is left alone, and does not vary.
        """
        harness = self.harness()
        for answer in (
            Answer(200, b"short", headers=[HTML]),
            Answer(200, BODY, headers=[("content-type", "image/png")]),
            Answer(200, BODY, headers=[HTML, ("cache-control", "private, no-transform")]),
            Answer(200, BODY, headers=[HTML, ("content-encoding", "br")]),
        ):
            harness.upstream.answer(answer)
            result = self.ask(harness)
            self.assertEqual((result.body, result.header("vary")), (answer.body, None))
        self.assertEqual(self.counted(harness, "content_length_too_small", "not_compressed"), [1, 4])

    def test_pieces(self) -> None:
        """
        A body that comes in pieces goes on in pieces, each of which can be read.
        """
        harness = self.harness()
        harness.upstream.answer(Answer(200, [BODY, BODY, b""], headers=[HTML], trailers=[("x-t", "1")]))
        result = self.ask(harness)
        self.assertEqual(gzip.decompress(result.body), BODY * 2)
        self.assertEqual(list(result.trailers.fields()), [(b"x-t", b"1")])

    def test_etags(self) -> None:
        """
        A strong etag is that of other bytes; a weak one stays. C{disable_on_etag_header} leaves both as they are.
        """
        for etag, kept in (('"a"', None), ('W/"a"', 'W/"a"')):
            harness = self.harness()
            harness.upstream.answer(Answer(200, BODY, headers=[HTML, ("etag", etag)]))
            result = self.ask(harness)
            self.assertEqual((result.header("etag"), result.header("content-encoding")), (kept, "gzip"))
        harness = self.harness(response_direction_config={"disable_on_etag_header": True})
        harness.upstream.answer(Answer(200, BODY, headers=[HTML, ("etag", '"a"')]))
        self.assertEqual(self.ask(harness).body, BODY)
        self.assertEqual(self.counted(harness, "not_compressed_etag"), [1])

    def test_statusHeader(self) -> None:
        """
        The response may tell why it was compressed or not.
        """
        direction = {
            "status_header_enabled": True,
            "disable_on_etag_header": True,
            "uncompressible_response_codes": [206],
        }
        harness = self.harness(response_direction_config=direction)
        for answer, expected in (
            (Answer(200, BODY, headers=[HTML]), "gzip;Compressed;OriginalLength=200"),
            (Answer(200, b"a", headers=[HTML]), "gzip;ContentLengthTooSmall"),
            (Answer(200, BODY, headers=[("content-type", "a/b")]), "gzip;ContentTypeNotAllowed"),
            (Answer(200, BODY, headers=[HTML, ("etag", "a")]), "gzip;EtagNotAllowed"),
            (Answer(206, BODY, headers=[HTML]), "gzip;StatusCodeNotAllowed"),
        ):
            harness.upstream.answer(answer)
            self.assertEqual(self.ask(harness).header("x-envoy-compression-status"), expected)

    def test_two(self) -> None:
        """
        Of two compressors, the client's choice compresses, and the other does not.
        """
        other = {"name": "b", "typed_config": {"@type": typeURL(Compressor.configType), "compressor_library": BROTLI}}
        harness = FilterHarness(
            Compressor, {"compressor_library": GZIP}, after=[other], upstream=Answer(200, BODY, headers=[HTML])
        )
        for accepts, expected in (("gzip, br", "gzip"), ("gzip;q=0.5, br", "br"), ("*", "gzip")):
            result = self.ask(harness, accepts)
            self.assertEqual(result.header("content-encoding"), expected)
            self.assertEqual(result.header("vary"), "Accept-Encoding" if expected == "gzip" else result.header("vary"))
        self.assertEqual(self.counted(harness, "header_compressor_overshadowed", "compressed"), [1, 2])

    def test_removesAcceptEncoding(self) -> None:
        """
        The service may be kept from compressing; the client gets its coding all the same.
        """
        harness = self.harness(response_direction_config={"remove_accept_encoding_header": True})
        result = self.ask(harness)
        assert result.upstreamRequest is not None
        self.assertEqual(
            (result.upstreamRequest.headers.get(b"accept-encoding"), result.header("content-encoding")), (None, "gzip")
        )

    def test_requests(self) -> None:
        """
        Requests are compressed where that is configured, with their trailers after them.
        """
        harness = self.harness(request_direction_config={"common_config": {"min_content_length": 100}})
        harness.request("POST", "/", body=BODY)
        harness.request("POST", "/", body=b"short")
        first, second = harness.upstream.requests
        self.assertEqual(
            (first.headers.get(b"content-encoding"), gzip.decompress(first.body), second.body),
            (b"gzip", BODY, b"short"),
        )
        harness.request("POST", "/", body=BODY, trailers=[("x-t", "1")])
        self.assertEqual(gzip.decompress(harness.upstream.requests[2].body), BODY)
        self.assertEqual(self.counted(harness, "request.compressed", "request.not_compressed"), [2, 1])

    def test_routes(self) -> None:
        """
        A route may switch it off, or on, or choose another library.
        """
        self.assertEqual(self.ask(self.harness({"disabled": True})).body, BODY)
        off = {"common_config": {"enabled": {"default_value": False}}}
        self.assertEqual(self.ask(self.harness(response_direction_config=off)).body, BODY)
        on: dict[str, Any] = {"overrides": {"response_direction_config": {}}}
        self.assertEqual(self.ask(self.harness(on, response_direction_config=off)).header("content-encoding"), "gzip")
        brotli = {"overrides": {"compressor_library": BROTLI}}
        self.assertEqual(self.ask(self.harness(brotli), "gzip, br").header("content-encoding"), "br")

    def test_leavesNothing(self) -> None:
        """
        Streams that end early are forgotten.
        """
        made: list[Compressor] = []

        class Watched(Compressor):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                made.append(self)

        harness = FilterHarness(Watched, {"compressor_library": GZIP}, upstream=Answer.hang())
        client = harness.client()
        client.send("GET", "/", [("accept-encoding", "gzip")])
        harness.advance(0.1)
        self.assertEqual(len(made[0]._streams), 1)
        client.abort()
        harness.advance(0.1)
        self.assertEqual(len(made[0]._streams), 0)
