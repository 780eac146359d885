# -*- test-case-name: tests.routing.test_timeouts -*-
"""
Tests for L{meshproxy.routing.timeouts}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.retries import RetryPolicy
from meshproxy.routing.route import RouteAction
from meshproxy.routing.timeouts import effectiveMaxStreamDuration, effectiveTimeout, parseGRPCTimeout
from tests.routing.support import request

_TOTAL = "x_envoy_upstream_rq_timeout_ms"
_EXPECTED = "x_envoy_expected_rq_timeout_ms"
_PER_TRY = "x_envoy_upstream_rq_per_try_timeout_ms"


class EffectiveTimeoutTests(SynchronousTestCase):
    """
    L{effectiveTimeout} lets the request have its say.
    """

    def test_headers(self) -> None:
        """
        Numbers of milliseconds win over the route; what is none changes nothing; the headers end here.
        """
        policy = RetryPolicy(1, perTryTimeout=1.0)
        action = RouteAction("c", timeout=3.0, retryPolicy=policy)
        for headers, expected in (
            ({}, (3.0, 1.0)),
            ({_TOTAL: "700"}, (0.7, 0.0)),
            ({_TOTAL: "0"}, (0.0, 1.0)),
            ({_TOTAL: "abc"}, (3.0, 1.0)),
            ({_TOTAL: "-5"}, (3.0, 1.0)),
            ({_TOTAL: "1.5"}, (3.0, 1.0)),
            ({_TOTAL: "1_000"}, (3.0, 1.0)),
            ({_TOTAL: "9" * 40}, (3.0, 1.0)),
            ({_PER_TRY: "200"}, (3.0, 0.2)),
            ({_PER_TRY: "3000"}, (3.0, 0.0)),
        ):
            asked = request(**headers)
            self.assertEqual(effectiveTimeout(action, asked, policy), expected, headers)
            self.assertEqual(len(asked), 1)

    def test_expected(self) -> None:
        """
        Where that is wanted, the time that the proxy before has left wins, and stays to be told on.
        """
        action = RouteAction("c", timeout=3.0)
        for asked, expected in (
            ({_EXPECTED: "700"}, 0.7),
            ({_EXPECTED: "700", _TOTAL: "900"}, 0.7),
            ({_EXPECTED: "abc"}, 3.0),
            ({_TOTAL: "900"}, 0.9),
        ):
            headers = request(**asked)
            self.assertEqual(effectiveTimeout(action, headers, None, True).total, expected, asked)
            self.assertEqual(b"x-envoy-expected-rq-timeout-ms" in headers.first, _EXPECTED in asked)
        self.assertEqual(effectiveTimeout(action, request(**{_EXPECTED: "700"})).total, 3.0)

    def test_otherPolicy(self) -> None:
        """
        A policy that the request changed brings its own time for each try.
        """
        action = RouteAction("c", timeout=3.0)
        self.assertEqual(effectiveTimeout(action, request(), RetryPolicy(1, perTryTimeout=2.0)), (3.0, 2.0))

    def test_maxGRPC(self) -> None:
        """
        C{max_grpc_timeout} lets a gRPC client say, up to a limit; the service is told what came of it, of a try where
        that has less.
        """
        for most, offset, asked, expected, told in (
            (2.0, 0.0, "500m", 0.5, b"500m"),
            (2.0, 0.0, "5S", 2.0, b"2000m"),
            (2.0, 0.0, None, 2.0, b"2000m"),
            (2.0, 0.0, "what", 2.0, b"2000m"),
            (0.0, 0.0, "5S", 5.0, b"5000m"),
            (0.0, 0.0, None, 0.0, None),
            (2.0, 0.1, "500m", 0.4, b"400m"),
            (2.0, 0.1, "100m", 0.1, b"100m"),
            (2.0, 0.0, "1500u", 0.002, b"2m"),
        ):
            action = RouteAction("c", timeout=3.0, maxGRPCTimeout=most, grpcTimeoutOffset=offset)
            headers = request(content_type="application/grpc", **({} if asked is None else {"grpc_timeout": asked}))
            found = effectiveTimeout(action, headers)
            self.assertAlmostEqual(found.total, expected)
            self.assertEqual(headers.first.get(b"grpc-timeout"), told, (most, offset, asked))
            self.assertTrue(action.readsOrders)
        policy = RetryPolicy(1, perTryTimeout=0.3)
        action = RouteAction("c", maxGRPCTimeout=2.0, retryPolicy=policy)
        headers = request(content_type="application/grpc", grpc_timeout="1S")
        self.assertEqual(effectiveTimeout(action, headers, policy), (1.0, 0.3))
        self.assertEqual(headers.first[b"grpc-timeout"], b"300m")
        self.assertEqual(effectiveTimeout(action, request(grpc_timeout="1S"), policy), (15.0, 0.3))


class MaxStreamDurationTests(SynchronousTestCase):
    """
    L{effectiveMaxStreamDuration} knows C{grpc-timeout}.
    """

    def test_route(self) -> None:
        """
        Without C{grpc_timeout_header_max} the header does not count.
        """
        asked = request(grpc_timeout="1S")
        self.assertIsNone(effectiveMaxStreamDuration(RouteAction("c"), asked))
        self.assertEqual(effectiveMaxStreamDuration(RouteAction("c", maxStreamDuration=9.0), asked), 9.0)

    def test_header(self) -> None:
        """
        With it the header counts, up to that limit (0 is none), less the offset, in whole milliseconds; who gives no
        time is answered in the next moment.
        """
        for most, offset, value, expected in (
            (0.0, 0.0, "20S", 20.0),
            (5.0, 0.0, "20S", 5.0),
            (5.0, 0.0, "0S", 0.001),
            (5.0, 0.0, "2S", 2.0),
            (0.0, 0.5, "2S", 1.5),
            (0.0, 3.0, "2S", 0.001),
            (0.0, 0.0, "1n", 0.001),
            (0.0, 0.0, "100001u", 0.101),
            (0.0, 0.0, "100000u", 0.1),
            (5.0, 0.0, "nonsense", 9.0),
        ):
            action = RouteAction("c", maxStreamDuration=9.0, grpcTimeoutHeaderMax=most, grpcTimeoutHeaderOffset=offset)
            self.assertEqual(effectiveMaxStreamDuration(action, request(grpc_timeout=value)), expected, value)

    def test_told(self) -> None:
        """
        A gRPC service is told how long it has, whoever said so; nobody else is, nor where there is no limit.
        """
        for action, asked, told in (
            (RouteAction("c", maxStreamDuration=0.7), None, b"700m"),
            (RouteAction("c", maxStreamDuration=0.7), "nonsense", b"700m"),
            (RouteAction("c", maxStreamDuration=0.7, grpcTimeoutHeaderMax=0.0), "5S", b"5000m"),
            (RouteAction("c", grpcTimeoutHeaderMax=3.0, grpcTimeoutHeaderOffset=1.0), "5S", b"2000m"),
            (RouteAction("c", grpcTimeoutHeaderMax=3.0, grpcTimeoutHeaderOffset=1.0), "1S", b"0m"),
            (RouteAction("c", grpcTimeoutHeaderMax=0.0), "99999999H", b"99999999H"),
            (RouteAction("c", grpcTimeoutHeaderMax=0.0), None, None),
            (RouteAction("c", maxStreamDuration=0.0), "5S", b"5S"),
            (RouteAction("c"), "5S", b"5S"),
        ):
            for contentType in (b"application/grpc", b"application/grpc+proto", b"text/plain"):
                headers = request() if asked is None else request(grpc_timeout=asked)
                headers.set(b"content-type", contentType)
                effectiveMaxStreamDuration(action, headers)
                if contentType == b"text/plain":
                    told = None if asked is None else asked.encode()
                self.assertEqual(headers.get(b"grpc-timeout"), told, (action, asked))

    def test_units(self) -> None:
        """
        Each unit; at most eight digits.
        """
        for text, expected in ((b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9)):
            self.assertAlmostEqual(parseGRPCTimeout(text) or 0.0, expected, places=12)
        for text in (b"", b"1", b"S", b"123456789S", b"1s", b"-1S", b"1 S", b"1S\n"):
            self.assertIsNone(parseGRPCTimeout(text), text)
