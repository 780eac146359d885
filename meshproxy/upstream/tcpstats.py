# -*- test-case-name: tests.upstream.test_tcp -*-
"""
The counters of a tcp_proxy, bound once under Envoy's names (C{tcp.PREFIX.}).
"""

from __future__ import annotations

from meshproxy.net.relay import RelayCounters
from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope
from meshproxy.upstream.ondemand import Found
from meshproxy.upstream.stats import ClusterStats

__all__ = ["OnDemandStats", "TCPStats"]

# In no store: what another one counts.
_UNCOUNTED = Counter("")


class OnDemandStats:
    """
    What a tcp_proxy counts that asks for clusters on demand.
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: C{tcp.PREFIX.}.
        """
        self.attempt = scope.counter("on_demand_cluster_attempt")
        self.found = {
            Found.AVAILABLE: scope.counter("on_demand_cluster_success"),
            Found.MISSING: scope.counter("on_demand_cluster_missing"),
            Found.TIMEOUT: scope.counter("on_demand_cluster_timeout"),
        }


class TCPStats:
    """
    What a tcp_proxy counts.
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: C{tcp.PREFIX.}.
        """
        counter, gauge = scope.counter, scope.gauge
        self.scope = scope
        self.cxTotal = counter("downstream_cx_total")
        self.cxNoRoute = counter("downstream_cx_no_route")
        self.cxRxBytesTotal = counter("downstream_cx_rx_bytes_total")
        self.cxTxBytesTotal = counter("downstream_cx_tx_bytes_total")
        self.flowControlPausedReading = counter("downstream_flow_control_paused_reading_total")
        self.flowControlResumedReading = counter("downstream_flow_control_resumed_reading_total")
        self.idleTimeout = counter("idle_timeout")
        self.maxDuration = counter("max_downstream_connection_duration")
        self.upstreamFlushTotal = counter("upstream_flush_total")
        self.upstreamFlushActive = gauge("upstream_flush_active")
        self.cxDrainClose = counter("downstream_cx_drain_close")
        # Nothing waits between reading and writing, and no route is looked for later.
        gauge("downstream_cx_rx_bytes_buffered")
        gauge("downstream_cx_tx_bytes_buffered")
        counter("downstream_cx_overload_close")
        self.earlyData = counter("early_data_received_count_total")
        counter("route_delayed_total")

    def towardsUpstream(self, cluster: ClusterStats | None) -> RelayCounters:
        """
        What moves with the bytes that the downstream sends.

        @param cluster: L{None} for a tunnel, whose connection counts for the cluster.
        """
        return RelayCounters(
            self.cxRxBytesTotal,
            _UNCOUNTED if cluster is None else cluster.cxTxBytesTotal,
            self.flowControlPausedReading,
            self.flowControlResumedReading,
        )

    def towardsDownstream(self, cluster: ClusterStats | None) -> RelayCounters:
        """
        What moves with the bytes that the upstream sends.

        @param cluster: As of L{towardsUpstream}.
        """
        if cluster is None:
            return RelayCounters(_UNCOUNTED, self.cxTxBytesTotal, _UNCOUNTED, _UNCOUNTED)
        return RelayCounters(
            cluster.cxRxBytesTotal,
            self.cxTxBytesTotal,
            cluster.flowControlPausedReading,
            cluster.flowControlResumedReading,
        )
