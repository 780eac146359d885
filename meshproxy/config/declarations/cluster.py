# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.cluster.v3} and C{envoy.config.endpoint.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, only

__all__: list[str] = []

_CLUSTER = "envoy.config.cluster.v3."
_ENDPOINT = "envoy.config.endpoint.v3."

declare(_CLUSTER + "Cluster", "name", "alt_stat_name", "load_assignment", "transport_socket")
declare(_CLUSTER + "Cluster", "connect_timeout", "per_connection_buffer_limit_bytes", "circuit_breakers")
declare(_CLUSTER + "Cluster", "dns_refresh_rate", "dns_failure_refresh_rate", "dns_lookup_family")
declare(_CLUSTER + "Cluster", "max_requests_per_connection", "common_http_protocol_options", "http_protocol_options")
declare(_CLUSTER + "Cluster", "typed_extension_protocol_options", "upstream_connection_options", "common_lb_config")
declare(_CLUSTER + "Cluster", "least_request_lb_config", "round_robin_lb_config")
only(_CLUSTER + "Cluster", "type", "STATIC", "STRICT_DNS")
only(_CLUSTER + "Cluster", "lb_policy", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM")
accept(_CLUSTER + "Cluster", "respect_dns_ttl", "names are looked up again at dns_refresh_rate")
accept(_CLUSTER + "Cluster", "cleanup_interval", "it belongs to ORIGINAL_DST clusters")
accept(_CLUSTER + "Cluster", "metadata", "nothing here reads a cluster's metadata")
accept(_CLUSTER + "Cluster", "wait_for_warm_on_init", "static clusters are warm before listeners open")

declare(_CLUSTER + "Cluster.RefreshRate", "base_interval", "max_interval")
declare(_CLUSTER + "Cluster.LeastRequestLbConfig", "choice_count", "active_request_bias")
declare(_CLUSTER + "Cluster.RoundRobinLbConfig")
declare(_CLUSTER + "Cluster.CommonLbConfig", "healthy_panic_threshold")
accept(_CLUSTER + "Cluster.CommonLbConfig", "update_merge_window", "updates are applied at once")

declare(_CLUSTER + "CircuitBreakers", "thresholds")
declare(_CLUSTER + "CircuitBreakers.Thresholds", "priority", "max_connections", "max_pending_requests", "max_requests")
declare(_CLUSTER + "CircuitBreakers.Thresholds", "max_retries", "retry_budget", "track_remaining")
declare(_CLUSTER + "CircuitBreakers.Thresholds.RetryBudget", "budget_percent", "min_retry_concurrency")

declare(_CLUSTER + "UpstreamConnectionOptions", "tcp_keepalive")

declare(_ENDPOINT + "ClusterLoadAssignment", "cluster_name", "endpoints")
# Priority 0 is the default, and so the only one that passes undeclared.
declare(_ENDPOINT + "LocalityLbEndpoints", "locality", "lb_endpoints")
accept(
    _ENDPOINT + "LocalityLbEndpoints",
    "load_balancing_weight",
    "it counts with locality weighted load balancing only, as in Envoy",
)
accept(_ENDPOINT + "LocalityLbEndpoints", "metadata", "nothing here reads a locality's metadata")
declare(_ENDPOINT + "LbEndpoint", "endpoint", "health_status", "load_balancing_weight")
accept(_ENDPOINT + "LbEndpoint", "metadata", "it matters to subsets and transport_socket_matches, which are refused")
declare(_ENDPOINT + "Endpoint", "address", "hostname")
