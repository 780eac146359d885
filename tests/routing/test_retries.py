# -*- test-case-name: tests.routing.test_retries -*-
"""
Tests for L{meshproxy.routing.retries}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import ResponseHeaders
from meshproxy.routing.retries import (
    RateLimitReset,
    RetryOn,
    RetryPolicy,
    compileRetryPolicy,
    effectiveRetryPolicy,
    parseRetryOn,
)
from tests.routing.support import request, section


def policy(**fields: Any) -> RetryPolicy:
    """
    A compiled policy without faults.
    """
    made = section("RetryPolicy", **fields)
    compiled = compileRetryPolicy(made)
    made.report.raiseIfAny()
    assert compiled is not None
    return compiled


class CompileRetryPolicyTests(SynchronousTestCase):
    """
    L{compileRetryPolicy} reads a policy.
    """

    def test_defaults(self) -> None:
        """
        One retry, back-off from 25 ms to ten times that, no timeouts of its own.
        """
        made = policy()
        self.assertEqual((made.retryOn, made.numRetries, made.perTryTimeout), (0, 1, 0.0))
        self.assertEqual((made.baseInterval, made.maxInterval), (0.025, 0.25))
        self.assertIsNone(compileRetryPolicy(None))

    def test_fields(self) -> None:
        """
        Each field where it belongs.
        """
        made = policy(
            retry_on="5xx, connect-failure,unavailable",
            num_retries=0,
            per_try_timeout="1.5s",
            per_try_idle_timeout="2s",
            retriable_status_codes=[503, 418],
            retry_back_off={"base_interval": "0.1s"},
            retry_host_predicate=[
                {
                    "name": "p",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
            host_selection_retry_max_attempts=5,
        )
        self.assertEqual(made.retryOn, RetryOn.FIVE_XX | RetryOn.CONNECT_FAILURE | RetryOn.GRPC_UNAVAILABLE)
        self.assertEqual((made.numRetries, made.perTryTimeout, made.perTryIdleTimeout), (0, 1.5, 2.0))
        self.assertEqual(made.retriableStatusCodes, {503, 418})
        self.assertEqual((made.baseInterval, made.maxInterval), (0.1, 1.0))
        self.assertEqual(len(made.hostPredicates), 1)
        self.assertTrue(made.isChoosy)
        self.assertEqual(made.hostSelectionMaxAttempts, 5)

    def test_retriableHeaders(self) -> None:
        """
        A response header can ask for a retry.
        """
        made = policy(retriable_headers=[{"name": "x-retry", "present_match": True}])
        self.assertTrue(made.retriableHeaders[0](ResponseHeaders(200, [(b"x-retry", b"")])))

    def test_unknownConditionIsWarnedOf(self) -> None:
        """
        Envoy ignores a word that it does not know; here it is told as well.
        """
        made = section("RetryPolicy", retry_on="nope,5xx")
        compiled = compileRetryPolicy(made)
        assert compiled is not None
        self.assertEqual((compiled.retryOn, made.report.errors), (RetryOn.FIVE_XX, []))
        self.assertEqual([warning.path for warning in made.report.warnings], ["retry_on"])

    def test_intervalsTheWrongWayRound(self) -> None:
        """
        A longest interval below the shortest is refused.
        """
        made = section("RetryPolicy", retry_back_off={"base_interval": "1s", "max_interval": "0.5s"})
        compileRetryPolicy(made)
        self.assertEqual([error.path for error in made.report.errors], ["retry_back_off.max_interval"])

    def test_everyCondition(self) -> None:
        """
        Every word has a bit of its own.
        """
        words = (
            "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx "
            "refused-stream retriable-status-codes retriable-headers http3-post-connect-failure cancelled "
            "deadline-exceeded internal resource-exhausted unavailable"
        ).split()
        self.assertEqual(len({parseRetryOn(word)[0] for word in words}), len(words))
        self.assertEqual(parseRetryOn(",".join(words)), ((1 << len(words)) - 1, True))


class BackOffTests(SynchronousTestCase):
    """
    How long to wait before the next try.
    """

    def test_jitteredExponential(self) -> None:
        """
        From 0 to (2^N - 1) times the base, and never above the maximum.
        """
        made = policy()
        self.assertEqual([made.backOff(attempt, lambda: 0.0) for attempt in (1, 5)], [0.0, 0.0])
        for attempt, ceiling in ((1, 0.025), (2, 0.075), (3, 0.175), (4, 0.25), (1000, 0.25)):
            self.assertAlmostEqual(made.backOff(attempt, lambda: 0.999999), ceiling, places=4)

    def test_rateLimitReset(self) -> None:
        """
        The upstream may say when; not too far ahead, and as a number.
        """
        made = policy(
            rate_limited_retry_back_off={
                "reset_headers": [{"name": "Retry-After"}, {"name": "x-reset", "format": "UNIX_TIMESTAMP"}],
            }
        ).rateLimitReset
        assert isinstance(made, RateLimitReset)
        for pairs, expected in (
            ([(b"retry-after", b"7")], 7.0),
            ([(b"x-reset", b"1010")], 10.0),
            ([(b"retry-after", b"soon"), (b"x-reset", b"1010")], 10.0),
            ([(b"retry-after", b"301")], None),
            ([(b"x-reset", b"999")], None),
            ([], None),
        ):
            self.assertEqual(made.interval(ResponseHeaders(429, pairs), 1000.0), expected, pairs)


class EffectiveRetryPolicyTests(SynchronousTestCase):
    """
    L{effectiveRetryPolicy} adds what the request asks for.
    """

    def test_withoutHeaders(self) -> None:
        """
        The policy of the route itself, or nothing where it never retries.
        """
        made = policy(retry_on="5xx")
        self.assertIs(effectiveRetryPolicy(made, request()), made)
        self.assertIsNone(effectiveRetryPolicy(policy(), request()))
        self.assertIsNone(effectiveRetryPolicy(None, request()))

    def test_headers(self) -> None:
        """
        Conditions are or-ed, the number of retries replaced, codes and names added; the headers end here.
        """
        asked = request(
            x_envoy_retry_on="reset,cancelled",
            x_envoy_retry_grpc_on="cancelled,5xx",
            x_envoy_max_retries="7",
            x_envoy_retriable_status_codes="418, 419,x",
            x_envoy_retriable_header_names="X-A, x-b,",
        )
        made = effectiveRetryPolicy(policy(retry_on="connect-failure", retriable_status_codes=[503]), asked)
        assert made is not None
        self.assertEqual(made.retryOn, RetryOn.CONNECT_FAILURE | RetryOn.RESET | RetryOn.GRPC_CANCELLED)
        self.assertEqual(made.numRetries, 7)
        self.assertEqual(made.retriableStatusCodes, {503, 418, 419})
        for name in (b"x-a", b"x-b"):
            self.assertTrue(any(test(ResponseHeaders(200, [(name, b"1")])) for test in made.retriableHeaders))
        self.assertEqual(list(asked.fields()), [(b"x-forwarded-proto", b"http")])

    def test_headersAlone(self) -> None:
        """
        A route without a policy retries where the request asks for it.
        """
        made = effectiveRetryPolicy(None, request(x_envoy_retry_on="5xx"))
        assert made is not None
        self.assertEqual((made.retryOn, made.numRetries), (RetryOn.FIVE_XX, 1))

    def test_nonsense(self) -> None:
        """
        What cannot be read changes nothing, and still ends here.
        """
        asked = request(x_envoy_max_retries="-1", x_envoy_retry_on="\xff,??")
        made = policy(retry_on="5xx", num_retries=2)
        self.assertEqual(effectiveRetryPolicy(made, asked), made)
        self.assertNotIn(b"x-envoy-max-retries", asked)

    def test_onlySomeRequests(self) -> None:
        """
        C{retriable_request_headers} keeps other requests from being tried again, whatever they ask for.
        """
        made = policy(
            retry_on="5xx",
            retriable_request_headers=[{"name": ":method", "string_match": {"exact": "GET"}}],
        )
        self.assertIsNotNone(effectiveRetryPolicy(made, request()))
        self.assertIsNone(effectiveRetryPolicy(made, request(method="POST", x_envoy_retry_on="reset")))
