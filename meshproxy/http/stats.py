# -*- test-case-name: tests.http.test_manager -*-
"""
The counters of a connection manager, bound once under Envoy's names (C{http.STAT_PREFIX.}).
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope

__all__ = ["ConnectionManagerStats", "VersionStats"]


class VersionStats:
    """
    What is counted for each version of HTTP.
    """

    __slots__ = ("cxActive", "cxTotal", "rqTotal")

    def __init__(self, scope: Scope, version: str) -> None:
        self.cxTotal = scope.counter(f"downstream_cx_{version}_total")
        self.cxActive = scope.gauge(f"downstream_cx_{version}_active")
        self.rqTotal = scope.counter(f"downstream_rq_{version}_total")


class ConnectionManagerStats:
    """
    What a connection manager counts.

    @ivar responses: Completed streams by status, 0 where there was no response.
    """

    def __init__(self, scope: Scope, listenerScope: Scope) -> None:
        """
        @param scope: C{http.STAT_PREFIX.}.
        @param listenerScope: C{listener.ADDRESS.http.STAT_PREFIX.}.
        """
        counter, gauge, histogram = scope.counter, scope.gauge, scope.histogram
        self.cxTotal = counter("downstream_cx_total")
        self.cxActive = gauge("downstream_cx_active")
        self.cxSslTotal = counter("downstream_cx_ssl_total")
        self.cxSslActive = gauge("downstream_cx_ssl_active")
        self.http1 = VersionStats(scope, "http1")
        self.http2 = VersionStats(scope, "http2")
        self.cxUpgradesTotal = counter("downstream_cx_upgrades_total")
        self.cxUpgradesActive = gauge("downstream_cx_upgrades_active")
        self.cxDestroy = counter("downstream_cx_destroy")
        self.cxDestroyActiveRq = counter("downstream_cx_destroy_active_rq")
        self.cxDestroyLocal = counter("downstream_cx_destroy_local")
        self.cxDestroyLocalActiveRq = counter("downstream_cx_destroy_local_active_rq")
        self.cxDestroyRemote = counter("downstream_cx_destroy_remote")
        self.cxDestroyRemoteActiveRq = counter("downstream_cx_destroy_remote_active_rq")
        self.cxDelayedCloseTimeout = counter("downstream_cx_delayed_close_timeout")
        self.cxDrainClose = counter("downstream_cx_drain_close")
        self.cxIdleTimeout = counter("downstream_cx_idle_timeout")
        self.cxMaxDurationReached = counter("downstream_cx_max_duration_reached")
        self.cxMaxRequestsReached = counter("downstream_cx_max_requests_reached")
        self.cxProtocolError = counter("downstream_cx_protocol_error")
        self.cxLengthMs = histogram("downstream_cx_length_ms", unit="ms")
        self.cxRxBytesTotal = counter("downstream_cx_rx_bytes_total")
        self.cxTxBytesTotal = counter("downstream_cx_tx_bytes_total")
        self.cxRxBytesBuffered = gauge("downstream_cx_rx_bytes_buffered")
        self.cxTxBytesBuffered = gauge("downstream_cx_tx_bytes_buffered")
        self.flowControlPausedReading = counter("downstream_flow_control_paused_reading_total")
        self.flowControlResumedReading = counter("downstream_flow_control_resumed_reading_total")
        self.rqTotal = counter("downstream_rq_total")
        self.rqActive = gauge("downstream_rq_active")
        self.rqRxReset = counter("downstream_rq_rx_reset")
        self.rqTxReset = counter("downstream_rq_tx_reset")
        self.rqNonRelativePath = counter("downstream_rq_non_relative_path")
        self.rqFailedPathNormalization = counter("downstream_rq_failed_path_normalization")
        self.rqRedirectedWithNormalizedPath = counter("downstream_rq_redirected_with_normalized_path")
        self.rqRejectedViaIPDetection = counter("downstream_rq_rejected_via_ip_detection")
        self.cxHttp1SoftDrain = counter("downstream_cx_http1_soft_drain")
        self.rqTooLarge = counter("downstream_rq_too_large")
        self.rqTooManyPrematureResets = counter("downstream_rq_too_many_premature_resets")
        self.rqIdleTimeout = counter("downstream_rq_idle_timeout")
        self.rqTimeout = counter("downstream_rq_timeout")
        self.rqHeaderTimeout = counter("downstream_rq_header_timeout")
        self.rqMaxDurationReached = counter("downstream_rq_max_duration_reached")
        self.rqResponseBeforeRqComplete = counter("downstream_rq_response_before_rq_complete")
        self.rqWsOnNonWsRoute = counter("downstream_rq_ws_on_non_ws_route")
        self.rqTime = histogram("downstream_rq_time", unit="ms")
        self.rsTooLarge = counter("rs_too_large")
        self.noRoute = counter("no_route")
        self.noCluster = counter("no_cluster")
        self.rqRedirect = counter("rq_redirect")
        self.rqDirectResponse = counter("rq_direct_response")
        self.redirectBadLocation = counter("passthrough_internal_redirect_bad_location")
        self.redirectUnsafeScheme = counter("passthrough_internal_redirect_unsafe_scheme")
        self.redirectTooMany = counter("passthrough_internal_redirect_too_many_redirects")
        self.redirectNoRoute = counter("passthrough_internal_redirect_no_route")
        self.redirectPredicate = counter("passthrough_internal_redirect_predicate")
        self.rqUpstreamTotal = counter("rq_total")
        self.rqResetAfterResponseStarted = counter("rq_reset_after_downstream_response_started")
        # As in Envoy, they are there without tracing, and health checks are counted.
        for name in ("client_enabled", "not_traceable", "random_sampling", "service_forced"):
            counter(f"tracing.{name}")
        self.healthChecks = counter("tracing.health_check")
        # Ours: Envoy has no filters that raise.
        self.filterExceptions = counter("filter_exceptions")
        for owner in (scope, listenerScope):
            for name in ("completed", "1xx", "2xx", "3xx", "4xx", "5xx"):
                owner.counter(f"downstream_rq_{name}")
        self.responses = scope.tally(_countersOf(scope, listenerScope))


def _countersOf(*scopes: Scope) -> Callable[[int], tuple[Counter, ...]]:
    """
    What a response of a status moves, of a connection manager and of its listener; 0 is no response at all, and as in
    Envoy nothing was completed.
    """

    def countersOf(status: int) -> tuple[Counter, ...]:
        names = ["downstream_rq_completed", f"downstream_rq_{status // 100}xx"] if status else []
        return tuple(scope.counter(name) for scope in scopes for name in names)

    return countersOf
