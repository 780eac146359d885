"""
Tests for L{meshproxy.flags}. Bodies, details and flags are those that Envoy 1.40 was seen to use.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.flags import (
    Details,
    Failure,
    ResetReason,
    ResponseFlag,
    flagsLong,
    flagsShort,
    grpcStatus,
    maskOf,
    protocolErrorReply,
    reasonPhrase,
    upstreamResetReply,
)

FLAGS = {name: bit for name, bit in vars(ResponseFlag).items() if name.isupper()}


class FlagTests(SynchronousTestCase):
    """
    L{ResponseFlag} and its names.
    """

    def test_bits(self) -> None:
        """
        Each flag is one bit of its own, and has both names.
        """
        self.assertEqual(sorted(FLAGS.values()), [1 << position for position in range(len(FLAGS))])
        for name, bit in FLAGS.items():
            self.assertNotEqual((flagsShort(bit), flagsLong(bit)), ("-", "-"), name)

    def test_none(self) -> None:
        """
        No flag is a dash.
        """
        self.assertEqual((flagsShort(0), flagsLong(0)), ("-", "-"))

    def test_order(self) -> None:
        """
        Several flags stand in the order in which they came to be: retries give up before the failure is told, but
        tcp_proxy counts its attempts after it.
        """
        retried = ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        self.assertEqual(flagsShort(retried), "URX,UF")
        self.assertEqual(flagsLong(retried), "UpstreamRetryLimitExceeded,UpstreamConnectionFailure")
        attempted = ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.CONNECT_ATTEMPTS_EXCEEDED
        self.assertEqual(flagsShort(attempted), "UF,URX")

    def test_envoysNames(self) -> None:
        """
        All of Envoy's names are there.
        """
        names = (
            "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO"
        )
        self.assertEqual({flagsShort(bit) for bit in FLAGS.values()}, set(names.split()))

    def test_maskOf(self) -> None:
        """
        A name may stand for two bits; an unknown one for none.
        """
        self.assertEqual(maskOf("UF"), ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
        self.assertEqual(
            maskOf("URX"), ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED | ResponseFlag.CONNECT_ATTEMPTS_EXCEEDED
        )
        self.assertIsNone(maskOf("XX"))


class FailureTests(SynchronousTestCase):
    """
    L{Failure} has a reply for each reason.
    """

    def test_distinct(self) -> None:
        """
        No member hides another with the same texts, and no two have the same details.
        """
        self.assertEqual(len(list(Failure)), len(Failure.__members__))
        details = [failure.value.details for failure in Failure]
        self.assertEqual(len(details), len(set(details)))

    def test_plausible(self) -> None:
        """
        Each is an error, its flag one that there is, its details one word.
        """
        for failure in Failure:
            reply = failure.value
            self.assertTrue(400 <= reply.status < 600, failure)
            self.assertEqual(reply.flag & ~sum(FLAGS.values()), 0, failure)
            self.assertRegex(reply.details, "^[a-z_]+$")

    def test_observed(self) -> None:
        """
        What Envoy answers.
        """
        for failure, status, body, details, flag in [
            (Failure.NO_ROUTE, 404, b"", "route_not_found", "NR"),
            (Failure.NO_CLUSTER, 503, b"", "cluster_not_found", "NC"),
            (Failure.NO_HEALTHY_UPSTREAM, 503, b"no healthy upstream", "no_healthy_upstream", "UH"),
            (Failure.MAINTENANCE_MODE, 503, b"maintenance mode", "maintenance_mode", "UO"),
            (
                Failure.UNCONDITIONAL_DROP_OVERLOAD,
                503,
                b"unconditional drop overload",
                "unconditional_drop_overload",
                "UDO",
            ),
            (Failure.UPSTREAM_TIMEOUT, 504, b"upstream request timeout", "response_timeout", "UT"),
            (Failure.PER_TRY_TIMEOUT, 504, b"upstream request timeout", "upstream_per_try_timeout", "UT"),
            (Failure.PER_TRY_IDLE_TIMEOUT, 504, b"upstream request timeout", "upstream_per_try_idle_timeout", "UT"),
            (Failure.STREAM_IDLE_TIMEOUT, 504, b"stream timeout", "stream_idle_timeout", "SI"),
            (Failure.MAX_STREAM_DURATION, 504, b"downstream duration timeout", "max_duration_timeout", "-"),
            (Failure.REQUEST_TIMEOUT, 408, b"request timeout", "request_overall_timeout", "-"),
            (Failure.UPGRADE_FAILED, 403, b"", "upgrade_failed", "-"),
            (Failure.MISSING_HOST, 400, b"", "missing_host_header", "-"),
            (Failure.REQUEST_PAYLOAD_TOO_LARGE, 413, b"Payload Too Large", "request_payload_too_large", "-"),
        ]:
            reply = failure.value
            self.assertEqual(
                (reply.status, reply.body, reply.details, flagsShort(reply.flag)), (status, body, details, flag)
            )

    def test_withStatus(self) -> None:
        """
        Another status, the rest the same; the member is not changed.
        """
        reply = Failure.STREAM_IDLE_TIMEOUT.value
        early = reply.withStatus(408)
        self.assertEqual((early.status, early.body, early.flag), (408, reply.body, reply.flag))
        self.assertEqual(reply.status, 504)
        self.assertIs(reply.withStatus(504), reply)


class ResetTests(SynchronousTestCase):
    """
    L{upstreamResetReply} tells of upstreams that failed.
    """

    def test_body(self) -> None:
        """
        The words of the reason, and never those of the transport.
        """
        reply = upstreamResetReply(ResetReason.REMOTE_CONNECTION_FAILURE, "delayed connect error: Connection refused")
        self.assertEqual(
            reply.body,
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        )
        self.assertEqual(
            reply.details,
            "upstream_reset_before_response_started"
            "{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        )
        self.assertEqual((reply.status, reply.flag), (503, ResponseFlag.UPSTREAM_CONNECTION_FAILURE))

    def test_retried(self) -> None:
        """
        After a retry the body says so.
        """
        self.assertEqual(
            upstreamResetReply(ResetReason.CONNECTION_TERMINATION, retried=True).body,
            b"upstream connect error or disconnect/reset before headers. "
            b"retried and the latest reset reason: connection termination",
        )

    def test_protocolError(self) -> None:
        """
        An upstream that speaks no HTTP is a bad gateway.
        """
        reply = upstreamResetReply(ResetReason.PROTOCOL_ERROR)
        self.assertEqual((reply.status, flagsShort(reply.flag)), (502, "UPE"))
        self.assertEqual(reply.details, "upstream_reset_before_response_started{protocol_error}")

    def test_overflow(self) -> None:
        """
        A circuit breaker tells the downstream not to try again.
        """
        reply = upstreamResetReply(ResetReason.OVERFLOW)
        self.assertEqual(reply.headers, ((b"x-envoy-overloaded", b"true"),))
        self.assertEqual(upstreamResetReply(ResetReason.REMOTE_RESET).headers, ())

    def test_late(self) -> None:
        """
        After the response began there are details only.
        """
        self.assertEqual(
            ResetReason.REMOTE_RESET.details(Details.LATE_UPSTREAM_RESET),
            "upstream_reset_after_response_started{remote_reset}",
        )


class ProtocolErrorTests(SynchronousTestCase):
    """
    L{protocolErrorReply}, phrases and gRPC.
    """

    def test_body(self) -> None:
        """
        The reason phrase of the status, Envoy's own.
        """
        reply = protocolErrorReply(431, "http1.headers_too_large")
        self.assertEqual(
            (reply.status, reply.body, reply.details, flagsShort(reply.flag)),
            (431, b"Request Header Fields Too Large", "http1.headers_too_large", "DPE"),
        )
        self.assertEqual(protocolErrorReply(426, "low_version").body, b"Upgrade Required")

    def test_phrases(self) -> None:
        """
        Known ones, and one for the others.
        """
        self.assertEqual([reasonPhrase(status) for status in (200, 413, 598)], ["OK", "Payload Too Large", "Unknown"])

    def test_grpc(self) -> None:
        """
        What an HTTP status means to a gRPC client.
        """
        statuses = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 500: 2, 502: 14, 503: 14, 504: 14}
        self.assertEqual({status: grpcStatus(status) for status in statuses}, statuses)
