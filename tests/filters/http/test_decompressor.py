"""
L{meshproxy.filters.http.decompressor}.
"""

from __future__ import annotations

import gzip
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.filters.http.decompressor import Decompressor, withCoding
from meshproxy.testing import Answer, FilterHarness
from tests.filters.http.support import TRAILERS

BODY = b"0123456789" * 20
PACKED = gzip.compress(BODY, mtime=0)
BOMB = gzip.compress(bytes(10_000_000), mtime=0)
CODED = ("content-encoding", "gzip")
PREFIX = "http.test.decompressor.mine.gzip."


class DecompressorTests(SynchronousTestCase):
    """
    L{Decompressor} in a proxy.
    """

    def harness(self, **fields: Any) -> FilterHarness:
        """
        A filter for gzip.
        """
        library = {
            "name": "mine",
            "typed_config": {"@type": typeURL("envoy.extensions.compression.gzip.decompressor.v3.Gzip")},
        }
        return FilterHarness(
            Decompressor,
            {"decompressor_library": library, **fields},
            manager={"http_protocol_options": {"enable_trailers": True}},
            cluster=TRAILERS,
        )

    def counted(self, harness: FilterHarness, *names: str) -> list[int]:
        """
        Some of the filter's counters.
        """
        stats = harness.proxy.stats(PREFIX)
        return [stats[PREFIX + name] for name in names]

    def test_request(self) -> None:
        """
        The service sees a request as if it had come plain, and is told that it may compress.
        """
        harness = self.harness()
        result = harness.request("POST", "/", [CODED], body=PACKED)
        assert result.upstreamRequest is not None
        headers = result.upstreamRequest.headers
        self.assertEqual(result.upstreamRequest.body, BODY)
        found = [headers.get(name) for name in (b"content-encoding", b"content-length", b"accept-encoding")]
        self.assertEqual(found, [None, None, b"gzip"])
        names = ("request.decompressed", "request.total_compressed_bytes", "request.total_uncompressed_bytes")
        self.assertEqual(self.counted(harness, *names), [1, len(PACKED), 200])

    def test_response(self) -> None:
        """
        So does the client.
        """
        harness = self.harness()
        harness.upstream.answer(Answer(200, [PACKED[:20], PACKED[20:]], headers=[CODED], trailers=[("x-t", "1")]))
        result = harness.request()
        self.assertEqual((result.body, result.header("content-encoding")), (BODY, None))
        self.assertEqual(list(result.trailers.fields()), [(b"x-t", b"1")])

    def test_others(self) -> None:
        """
        Other codings, and what must not be changed, pass as they are.
        """
        harness = self.harness()
        for fields in ([("content-encoding", "br")], [CODED, ("cache-control", "no-transform")], []):
            harness.upstream.answer(Answer(200, PACKED, headers=fields))
            self.assertEqual(harness.request().body, PACKED)
        self.assertEqual(self.counted(harness, "response.not_decompressed", "response.decompressed"), [3, 0])

    def test_severalCodings(self) -> None:
        """
        The coding that was applied last comes off, and the others stay (RFC 9110, 8.4).
        """
        harness = self.harness()
        harness.upstream.answer(Answer(200, PACKED, headers=[("content-encoding", "br, gzip")]))
        result = harness.request()
        self.assertEqual((result.body, result.header("content-encoding")), (BODY, "br"))
        harness.upstream.answer(Answer(200, PACKED, headers=[("content-encoding", "gzip, br")]))
        self.assertEqual(harness.request().body, PACKED)

    def test_broken(self) -> None:
        """
        A broken request gets 400, a broken response becomes 502 or ends in the middle: half a body is none.
        """
        harness = self.harness()
        for body in (b"garbage", PACKED[:-3]):
            result = harness.request("POST", "/", [CODED], body=body)
            self.assertEqual((result.status, result.log["details"]), (400, "request_decompression_failed"))
        harness.upstream.answer(Answer(200, b"garbage", headers=[CODED]))
        self.assertFalse(harness.request().complete)
        self.assertEqual(self.counted(harness, "decompressor_library.zlib_data_error"), [3])

    def test_brokenTrailers(self) -> None:
        """
        Trailers do not hide that a body ends too early.
        """
        harness = self.harness()
        result = harness.request("POST", "/", [CODED], body=PACKED[:-3], trailers=[("x-t", "1")])
        self.assertEqual(result.status, 400)
        harness.upstream.answer(Answer(200, [PACKED[:-3]], headers=[CODED], trailers=[("x-t", "1")]))
        self.assertFalse(harness.request().complete)

    def test_bombs(self) -> None:
        """
        A request that stands for far more than it looks like gets 413; such a response ends in the middle.
        """
        harness = self.harness()
        result = harness.request("POST", "/", [CODED], body=BOMB)
        self.assertEqual((result.status, result.log["details"]), (413, "request_decompression_failed"))
        harness.upstream.answer(Answer(200, BOMB, headers=[CODED]))
        response = harness.request()
        self.assertFalse(response.complete)
        self.assertLess(len(response.body), 2_000_000)

    def test_directions(self) -> None:
        """
        Each direction can be off; then nothing is advertised.
        """
        off = {"common_config": {"enabled": {"default_value": False}}}
        harness = self.harness(request_direction_config=off, response_direction_config=off)
        result = harness.request("POST", "/", [CODED], body=PACKED)
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.body, PACKED)
        self.assertNotIn(b"accept-encoding", result.upstreamRequest.headers)

    def test_leavesNothing(self) -> None:
        """
        Streams that end early are forgotten.
        """
        made: list[Decompressor] = []

        class Watched(Decompressor):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                made.append(self)

        library = {
            "name": "mine",
            "typed_config": {"@type": typeURL("envoy.extensions.compression.gzip.decompressor.v3.Gzip")},
        }
        harness = FilterHarness(Watched, {"decompressor_library": library}, upstream=Answer.hang())
        client = harness.client()
        client.send("POST", "/", [CODED], body=PACKED)
        harness.advance(0.1)
        self.assertEqual(len(made[0]._requests), 1)
        client.abort()
        harness.advance(0.1)
        self.assertEqual(len(made[0]._requests), 0)


class AcceptEncodingTests(SynchronousTestCase):
    """
    L{withCoding}.
    """

    def test_once(self) -> None:
        """
        The coding is there once, without a weight.
        """
        for told, expected in {
            b"": b"gzip",
            b"br": b"br,gzip",
            b"gzip": b"gzip",
            b"gzip;q=0.3, br;q=0.5": b"br;q=0.5,gzip",
            b", ,": b"gzip",
        }.items():
            self.assertEqual(withCoding(told, b"gzip"), expected)
