# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.cluster.v3} and C{envoy.config.endpoint.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, decline, only

__all__: list[str] = []

_CLUSTER = "envoy.config.cluster.v3."
_ENDPOINT = "envoy.config.endpoint.v3."
_DNS = "envoy.extensions.clusters.dns.v3.DnsCluster"
_BALANCING = "envoy.extensions.load_balancing_policies."
_POLICIES = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV", "LOAD_BALANCING_POLICY_CONFIG")
_SUBSETS = (
    "fallback_policy",
    "default_subset",
    "subset_selectors",
    "locality_weight_aware",
    "scale_locality_weight",
    "panic_mode_any",
    "list_as_any",
    "metadata_fallback_policy",
)
_SELECTOR = ("keys", "fallback_policy", "fallback_keys_subset", "single_host_per_subset")
_SLOW_START = ("slow_start_window", "aggression", "min_weight_percent")
_HASHING = ("use_hostname_for_hashing", "hash_balance_factor")
_ZONES = ("routing_enabled", "min_cluster_size", "fail_traffic_on_panic")

declare(_CLUSTER + "Cluster", "name", "alt_stat_name", "load_assignment", "transport_socket")
declare(_CLUSTER + "Cluster", "transport_socket_matches", "outlier_detection")
declare(_CLUSTER + "Cluster.TransportSocketMatch", "name", "match", "transport_socket")
declare(_CLUSTER + "Cluster", "connect_timeout", "per_connection_buffer_limit_bytes", "circuit_breakers")
declare(_CLUSTER + "Cluster", "dns_refresh_rate", "dns_failure_refresh_rate", "dns_lookup_family")
declare(_CLUSTER + "Cluster", "max_requests_per_connection", "common_http_protocol_options", "http_protocol_options")
declare(_CLUSTER + "Cluster", "http2_protocol_options", "protocol_selection")
declare(_CLUSTER + "Cluster", "typed_extension_protocol_options", "upstream_connection_options", "common_lb_config")
declare(_CLUSTER + "Cluster", "least_request_lb_config", "round_robin_lb_config")
declare(_CLUSTER + "Cluster", "track_cluster_stats", "track_timeout_budgets")
declare(_CLUSTER + "Cluster", "preconnect_policy")
declare(_CLUSTER + "Cluster.PreconnectPolicy", "per_upstream_preconnect_ratio", "predictive_preconnect_ratio")
declare(_CLUSTER + "TrackClusterStats", "timeout_budgets", "request_response_sizes", "per_endpoint_stats")
only(_CLUSTER + "Cluster", "type", "STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST")
declare(_CLUSTER + "Cluster", "original_dst_lb_config", "cleanup_interval")
declare(_CLUSTER + "Cluster.OriginalDstLbConfig", "use_http_header", "http_header_name", "upstream_port_override")
declare(_CLUSTER + "Cluster.OriginalDstLbConfig", "metadata_key")
declare("envoy.type.metadata.v3.MetadataKey", "key", "path")
declare("envoy.type.metadata.v3.MetadataKey.PathSegment", "key")
declare(_CLUSTER + "Cluster", "eds_cluster_config")
declare(_CLUSTER + "Cluster.EdsClusterConfig", "eds_config", "service_name")
declare(_CLUSTER + "Cluster", "cluster_type", "respect_dns_ttl", "dns_jitter")
declare(_CLUSTER + "Cluster.CustomClusterType", "name", "typed_config")
declare(_DNS, "dns_refresh_rate", "dns_failure_refresh_rate", "respect_dns_ttl", "dns_jitter", "dns_lookup_family")
declare(_DNS, "all_addresses_in_single_endpoint", "typed_dns_resolver_config")
declare(_CLUSTER + "Cluster", "typed_dns_resolver_config", "upstream_http_protocol_options")
declare(_DNS + ".RefreshRate", "base_interval", "max_interval")
only(_CLUSTER + "Cluster", "lb_policy", *_POLICIES, "CLUSTER_PROVIDED")
declare(_CLUSTER + "Cluster", "metadata", "upstream_bind_config")
declare("envoy.config.core.v3.BindConfig", "source_address", "freebind", "socket_options")
declare("envoy.config.core.v3.BindConfig", "extra_source_addresses", "additional_source_addresses")
declare("envoy.config.core.v3.ExtraSourceAddress", "address", "socket_options")
declare(_CLUSTER + "Cluster", "connection_pool_per_downstream_connection")
accept(_CLUSTER + "Cluster", "wait_for_warm_on_init", "static clusters are warm before listeners open")
declare(_CLUSTER + "Cluster", "health_checks", "ignore_health_on_host_removal")
declare(_CLUSTER + "Cluster", "close_connections_on_host_health_failure")

declare(_CLUSTER + "Cluster.RefreshRate", "base_interval", "max_interval")
declare(_CLUSTER + "Cluster.LeastRequestLbConfig", "choice_count", "active_request_bias")
declare(_CLUSTER + "Cluster.LeastRequestLbConfig", "slow_start_config")
declare(_CLUSTER + "Cluster.RoundRobinLbConfig", "slow_start_config")
declare(_CLUSTER + "Cluster.SlowStartConfig", *_SLOW_START)
declare(_CLUSTER + "Cluster", "ring_hash_lb_config", "maglev_lb_config", "lb_subset_config", "load_balancing_policy")
declare(_CLUSTER + "Cluster.RingHashLbConfig", "minimum_ring_size", "maximum_ring_size", "hash_function")
declare(_CLUSTER + "Cluster.MaglevLbConfig", "table_size")
declare(_CLUSTER + "Cluster.LbSubsetConfig", *_SUBSETS)
declare(_CLUSTER + "Cluster.LbSubsetConfig.LbSubsetSelector", *_SELECTOR)
declare(_CLUSTER + "Cluster.CommonLbConfig", "healthy_panic_threshold", "locality_weighted_lb_config")
declare(_CLUSTER + "Cluster.CommonLbConfig", "consistent_hashing_lb_config", "zone_aware_lb_config")
declare(_CLUSTER + "Cluster.CommonLbConfig.LocalityWeightedLbConfig")
declare(_CLUSTER + "Cluster.CommonLbConfig.ConsistentHashingLbConfig", *_HASHING)
declare(_CLUSTER + "Cluster.CommonLbConfig.ZoneAwareLbConfig", *_ZONES)
declare(_CLUSTER + "Cluster.CommonLbConfig", "ignore_new_hosts_until_first_hc")
declare(_CLUSTER + "Cluster.CommonLbConfig", "close_connections_on_host_set_change")
accept(_CLUSTER + "Cluster.CommonLbConfig", "update_merge_window", "updates are applied at once")

declare(_CLUSTER + "CircuitBreakers", "thresholds", "per_host_thresholds")
declare(_CLUSTER + "CircuitBreakers.Thresholds", "priority", "max_connections", "max_pending_requests", "max_requests")
declare(_CLUSTER + "CircuitBreakers.Thresholds", "max_retries", "retry_budget", "track_remaining")
declare(_CLUSTER + "CircuitBreakers.Thresholds", "max_connection_pools")
_BUDGET = ("budget_percent", "min_retry_concurrency", "budget_interval")
declare(_CLUSTER + "CircuitBreakers.Thresholds.RetryBudget", *_BUDGET)

declare(_CLUSTER + "UpstreamConnectionOptions", "tcp_keepalive")

declare(_CLUSTER + "LoadBalancingPolicy", "policies")
declare(_CLUSTER + "LoadBalancingPolicy.Policy", "typed_extension_config")
declare(_BALANCING + "round_robin.v3.RoundRobin", "locality_lb_config", "slow_start_config")
declare(_BALANCING + "random.v3.Random", "locality_lb_config")
declare(_BALANCING + "least_request.v3.LeastRequest", "choice_count", "active_request_bias", "locality_lb_config")
declare(_BALANCING + "least_request.v3.LeastRequest", "slow_start_config", "selection_method")
accept(_BALANCING + "least_request.v3.LeastRequest", "enable_full_scan", "`selection_method` says it, as in Envoy")
declare(_BALANCING + "ring_hash.v3.RingHash", "hash_function", "minimum_ring_size", "maximum_ring_size")
declare(_BALANCING + "ring_hash.v3.RingHash", "use_hostname_for_hashing", "consistent_hashing_lb_config")
declare(_BALANCING + "ring_hash.v3.RingHash", "locality_weighted_lb_config")
declare(_BALANCING + "maglev.v3.Maglev", "table_size", "consistent_hashing_lb_config", "locality_weighted_lb_config")
declare(_BALANCING + "subset.v3.Subset", *_SUBSETS, "subset_lb_policy", "allow_redundant_keys")
declare(_BALANCING + "subset.v3.Subset.LbSubsetSelector", *_SELECTOR)
declare(_BALANCING + "wrr_locality.v3.WrrLocality", "endpoint_picking_policy")
declare(_BALANCING + "common.v3.LocalityLbConfig", "zone_aware_lb_config", "locality_weighted_lb_config")
declare(_BALANCING + "common.v3.LocalityLbConfig.LocalityWeightedLbConfig")
declare(_BALANCING + "common.v3.LocalityLbConfig.ZoneAwareLbConfig", *_ZONES, "force_locality_direct_routing")
declare(_BALANCING + "common.v3.LocalityLbConfig.ZoneAwareLbConfig", "force_local_zone", "locality_basis")
declare(_BALANCING + "common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone", "min_size")
declare(_BALANCING + "common.v3.ConsistentHashingLbConfig", *_HASHING)
declare(_BALANCING + "common.v3.SlowStartConfig", *_SLOW_START)

declare(_ENDPOINT + "ClusterLoadAssignment", "cluster_name", "endpoints", "policy")
declare(_ENDPOINT + "ClusterLoadAssignment.Policy", "overprovisioning_factor", "weighted_priority_health")
declare(_ENDPOINT + "ClusterLoadAssignment.Policy", "drop_overloads")
declare(_ENDPOINT + "ClusterLoadAssignment.Policy.DropOverload", "drop_percentage")
accept(_ENDPOINT + "ClusterLoadAssignment.Policy.DropOverload", "category", "loads are reported to nobody")
declare(_ENDPOINT + "LocalityLbEndpoints", "locality", "lb_endpoints", "priority", "load_balancing_weight")
accept(_ENDPOINT + "LocalityLbEndpoints", "metadata", "nothing here reads a locality's metadata")
declare(_ENDPOINT + "LbEndpoint", "endpoint", "health_status", "load_balancing_weight")
declare(_ENDPOINT + "LbEndpoint", "metadata")
declare(_ENDPOINT + "Endpoint", "address", "hostname", "health_check_config")
declare(_ENDPOINT + "Endpoint.HealthCheckConfig", "port_value", "hostname", "address", "disable_active_health_check")

_OUTLIERS = _CLUSTER + "OutlierDetection"
declare(_OUTLIERS, "interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")
declare(_OUTLIERS, "max_ejection_percent", "always_eject_one_host", "split_external_local_origin_errors")
declare(_OUTLIERS, "consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure")
declare(_OUTLIERS, "success_rate_minimum_hosts", "success_rate_request_volume", "success_rate_stdev_factor")
declare(_OUTLIERS, "failure_percentage_threshold", "failure_percentage_minimum_hosts")
declare(_OUTLIERS, "failure_percentage_request_volume", "successful_active_health_check_uneject_host")
declare(_OUTLIERS, "enforcing_consecutive_5xx", "enforcing_consecutive_gateway_failure", "enforcing_success_rate")
declare(_OUTLIERS, "enforcing_consecutive_local_origin_failure", "enforcing_local_origin_success_rate")
declare(_OUTLIERS, "enforcing_failure_percentage", "enforcing_failure_percentage_local_origin")
decline(_OUTLIERS, "monitors", "there are no monitors by extensions")
