"""
L{meshproxy.filters.http.buffer}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.buffer import Buffer
from meshproxy.testing import FilterHarness


class BufferTests(SynchronousTestCase):
    """
    L{Buffer} in a proxy.
    """

    def test_waits(self) -> None:
        """
        A request goes on when all of it is here, and then with its length.
        """
        harness = FilterHarness(Buffer, {"max_request_bytes": 100})
        client = harness.client()
        client.send("POST", "/", whole=False)
        client.sendChunk(b"abc")
        harness.advance(1)
        self.assertEqual(harness.upstream.requests, [])
        client.sendChunk(b"def")
        client.endChunks()
        harness.advance(1)
        [request] = harness.upstream.requests
        self.assertEqual(
            (request.body, request.headers.get(b"content-length"), request.headers.get(b"transfer-encoding")),
            (b"abcdef", b"6", None),
        )

    def test_tooLong(self) -> None:
        """
        A longer one is answered with 413, as soon as it is too long.
        """
        harness = FilterHarness(Buffer, {"max_request_bytes": 5})
        result = harness.request("POST", "/", body=b"abcdef")
        self.assertEqual((result.status, result.upstreamRequest), (413, None))
        self.assertEqual(harness.request("POST", "/", body=b"abcde").status, 200)

    def test_routes(self) -> None:
        """
        A route has another limit, or none at all.
        """
        config = {"max_request_bytes": 5}
        wider = FilterHarness(Buffer, config, {"buffer": {"max_request_bytes": 8}})
        self.assertEqual([wider.request("POST", "/", body=b"a" * size).status for size in (8, 9)], [200, 413])
        off = FilterHarness(Buffer, config, {"disabled": True})
        self.assertEqual(off.request("POST", "/", body=b"a" * 100).status, 200)

    def test_noBody(self) -> None:
        """
        A request without a body passes as it came.
        """
        result = FilterHarness(Buffer, {"max_request_bytes": 5}).request()
        assert result.upstreamRequest is not None
        self.assertNotIn(b"content-length", result.upstreamRequest.headers)
