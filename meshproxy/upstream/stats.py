# -*- test-case-name: tests.upstream.test_stats -*-
"""
The counters of a cluster, bound once under Envoy's names (C{cluster.NAME.}).
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from meshproxy.stats.metrics import Counter, Histogram
from meshproxy.stats.store import Scope
from meshproxy.stats.tally import Tally
from meshproxy.upstream.grpcstats import GRPCStats

__all__ = ["COMPLETED", "NOT_COUNTED", "ClusterStats", "CodeStats", "ICodeStats", "IRequestStats", "responseTally"]

COMPLETED: Final = 0
"""
In place of a status that is not to be counted.
"""


def responseTally(owner: Scope, *scopes: Scope) -> Tally[int]:
    """
    A tally of responses by status, shown as C{upstream_rq_200}, C{upstream_rq_2xx} and C{upstream_rq_completed} of each
    scope; where the status is L{COMPLETED}, as that alone.
    """

    def countersOf(status: int) -> tuple[Counter, ...]:
        names = ["upstream_rq_completed"]
        if status != COMPLETED:
            names += [f"upstream_rq_{status // 100}xx", f"upstream_rq_{status}"]
        return tuple(scope.counter(name) for scope in scopes for name in names)

    return owner.tally(countersOf)


class IRequestStats(Protocol):
    """
    What is counted of requests, of those of a cluster and of some others.
    """

    responses: Tally[int]
    rqTotal: Counter
    rqTimeout: Counter
    rqRetry: Counter
    rqRetryLimitExceeded: Counter
    rqRetryOverflow: Counter
    rqRetrySuccess: Counter
    rqTime: Histogram


class ICodeStats(Protocol):
    """
    What is counted of responses.
    """

    @property
    def responses(self) -> Tally[int]:
        """
        Their statuses.
        """

    @property
    def rqTime(self) -> Histogram:
        """
        How many milliseconds each took.
        """


class CodeStats(NamedTuple):
    """
    What is counted of some responses.
    """

    responses: Tally[int]
    rqTime: Histogram


#: For responses that are not counted: those to health checks, for example.
NOT_COUNTED: Final = CodeStats(Tally[int](lambda status: ()), Histogram("none"))


class ClusterStats:
    """
    What a cluster counts.

    @ivar responses: Responses that went downstream, by status; those to requests from within stand in L{internal}.
    @ivar retried: Those that were not sent on because the request was tried again.
    @ivar grpc: Of gRPC calls, for filters that look at them; C{grpcWeb} likewise.
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: C{cluster.NAME.}.
        """
        counter, gauge, histogram = scope.counter, scope.gauge, scope.histogram
        self.scope = scope
        self.cxTotal = counter("upstream_cx_total")
        self.cxHttp1Total = counter("upstream_cx_http1_total")
        self.cxHttp2Total = counter("upstream_cx_http2_total")
        counter("upstream_cx_http3_total")
        self.cxActive = gauge("upstream_cx_active")
        self.cxConnectFail = counter("upstream_cx_connect_fail")
        self.cxConnectTimeout = counter("upstream_cx_connect_timeout")
        self.cxConnectAttemptsExceeded = counter("upstream_cx_connect_attempts_exceeded")
        self.cxConnectMs = histogram("upstream_cx_connect_ms", unit="ms")
        self.cxLengthMs = histogram("upstream_cx_length_ms", unit="ms")
        self.rqPerCx = histogram("upstream_rq_per_cx")
        self.cxIdleTimeout = counter("upstream_cx_idle_timeout")
        self.cxMaxDurationReached = counter("upstream_cx_max_duration_reached")
        self.cxMaxRequests = counter("upstream_cx_max_requests")
        self.cxOverflow = counter("upstream_cx_overflow")
        self.cxPoolOverflow = counter("upstream_cx_pool_overflow")
        self.cxDestroy = counter("upstream_cx_destroy")
        self.cxDestroyLocal = counter("upstream_cx_destroy_local")
        self.cxDestroyRemote = counter("upstream_cx_destroy_remote")
        self.cxDestroyWithActiveRq = counter("upstream_cx_destroy_with_active_rq")
        self.cxDestroyLocalWithActiveRq = counter("upstream_cx_destroy_local_with_active_rq")
        self.cxDestroyRemoteWithActiveRq = counter("upstream_cx_destroy_remote_with_active_rq")
        self.cxCloseNotify = counter("upstream_cx_close_notify")
        self.cxProtocolError = counter("upstream_cx_protocol_error")
        self.cxNoneHealthy = counter("upstream_cx_none_healthy")
        self.cxRxBytesTotal = counter("upstream_cx_rx_bytes_total")
        self.cxTxBytesTotal = counter("upstream_cx_tx_bytes_total")
        self.cxRxBytesBuffered = gauge("upstream_cx_rx_bytes_buffered")
        self.cxTxBytesBuffered = gauge("upstream_cx_tx_bytes_buffered")
        self.flowControlPausedReading = counter("upstream_flow_control_paused_reading_total")
        self.flowControlResumedReading = counter("upstream_flow_control_resumed_reading_total")
        self.flowControlBackedUp = counter("upstream_flow_control_backed_up_total")
        self.flowControlDrained = counter("upstream_flow_control_drained_total")
        self.rqTotal = counter("upstream_rq_total")
        self.rqActive = gauge("upstream_rq_active")
        self.rqPendingTotal = counter("upstream_rq_pending_total")
        self.rqPendingActive = gauge("upstream_rq_pending_active")
        self.rqPendingOverflow = counter("upstream_rq_pending_overflow")
        self.rqActiveOverflow = counter("upstream_rq_active_overflow")
        self.rqPendingFailureEject = counter("upstream_rq_pending_failure_eject")
        self.rqCancelled = counter("upstream_rq_cancelled")
        self.rqMaintenanceMode = counter("upstream_rq_maintenance_mode")
        self.rqTimeout = counter("upstream_rq_timeout")
        self.rqPerTryTimeout = counter("upstream_rq_per_try_timeout")
        self.rqPerTryIdleTimeout = counter("upstream_rq_per_try_idle_timeout")
        self.rqMaxDurationReached = counter("upstream_rq_max_duration_reached")
        self.rqRxReset = counter("upstream_rq_rx_reset")
        self.rqTxReset = counter("upstream_rq_tx_reset")
        self.rqRetry = counter("upstream_rq_retry")
        self.rqRetryBackoffExponential = counter("upstream_rq_retry_backoff_exponential")
        self.rqRetryBackoffRatelimited = counter("upstream_rq_retry_backoff_ratelimited")
        self.rqRetryLimitExceeded = counter("upstream_rq_retry_limit_exceeded")
        self.rqRetryOverflow = counter("upstream_rq_retry_overflow")
        self.rqRetrySuccess = counter("upstream_rq_retry_success")
        self.redirectSucceeded = counter("upstream_internal_redirect_succeeded_total")
        self.redirectFailed = counter("upstream_internal_redirect_failed_total")
        # Nearly every request is from outside, as no address is internal by default.
        self.rqTime = histogram("external.upstream_rq_time", unit="ms")
        self._allTimes = scope.histogramOf("upstream_rq_time", self.rqTime)
        self._internal: CodeStats | None = None
        self.retryOrShadowAbandoned = counter("retry_or_shadow_abandoned")
        self.membershipChange = counter("membership_change")
        self.membershipTotal = gauge("membership_total")
        self.membershipHealthy = gauge("membership_healthy")
        self.membershipDegraded = gauge("membership_degraded")
        self.membershipExcluded = gauge("membership_excluded")
        self.maxHostWeight = gauge("max_host_weight")
        self.updateAttempt = counter("update_attempt")
        self.updateSuccess = counter("update_success")
        self.updateFailure = counter("update_failure")
        self.updateEmpty = counter("update_empty")
        self.updateNoRebuild = counter("update_no_rebuild")
        self.bindErrors = counter("bind_errors")
        self.lbHealthyPanic = counter("lb_healthy_panic")
        self.assignmentStale = counter("assignment_stale")
        self.responses = responseTally(scope, scope, scope.scope("external."))
        self.retried = responseTally(scope, scope.scope("retry."))
        self.grpc = GRPCStats(scope, "grpc")
        self.grpcWeb = GRPCStats(scope, "grpc-web")

    def countMetadata(self) -> None:
        """
        METADATA was for a connection of HTTP/1.1. That is rare: the counter is made then.
        """
        self.scope.counter("http1.metadata_not_supported_error").value += 1

    @property
    def internal(self) -> CodeStats:
        """
        What is counted of the responses to requests from within (C{x-envoy-internal}), which L{responses} and
        L{rqTime} leave out.
        """
        if self._internal is None:
            within = self.scope.scope("internal.")
            times = within.histogram("upstream_rq_time", unit="ms")
            self._allTimes.include(times)
            self._internal = CodeStats(responseTally(self.scope, self.scope, within), times)
        return self._internal
