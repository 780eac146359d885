# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.bootstrap.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, only

__all__: list[str] = []

_BOOTSTRAP = "envoy.config.bootstrap.v3."

declare(_BOOTSTRAP + "Bootstrap", "node", "static_resources", "admin", "layered_runtime", "stats_config")
declare(_BOOTSTRAP + "Bootstrap", "stats_flush_interval", "stats_flush_on_admin", "stats_sinks")
declare(_BOOTSTRAP + "Bootstrap", "stats_server_version_override", "bootstrap_extensions")
accept(_BOOTSTRAP + "Bootstrap", "deferred_stat_options", "stats cost little until they are used")
accept(_BOOTSTRAP + "Bootstrap", "enable_dispatcher_stats", "there is no dispatcher; the reactor has its own figures")
accept(_BOOTSTRAP + "Bootstrap", "flags_path", "Envoy reads no flags from it any more either")
accept(_BOOTSTRAP + "Bootstrap", "perf_tracing_file_path", "it asks for a build of Envoy with performance tracing")

declare(_BOOTSTRAP + "Bootstrap", "cluster_manager", "typed_dns_resolver_config")
declare(_BOOTSTRAP + "ClusterManager", "local_cluster_name", "outlier_detection")
declare(_BOOTSTRAP + "ClusterManager.OutlierDetection", "event_log_path")
accept(_BOOTSTRAP + "ClusterManager", "enable_deferred_cluster_creation", "clusters cost little until they are used")
declare(_BOOTSTRAP + "Bootstrap", "dynamic_resources")
declare(_BOOTSTRAP + "Bootstrap.DynamicResources", "lds_config", "cds_config", "ads_config")
_CORE = "envoy.config.core.v3."
declare(_CORE + "ApiConfigSource", "api_type", "transport_api_version", "grpc_services")
only(_CORE + "ApiConfigSource", "api_type", "GRPC", "DELTA_GRPC", "AGGREGATED_GRPC", "AGGREGATED_DELTA_GRPC")
only(_CORE + "ApiConfigSource", "transport_api_version", "V3", "AUTO")
accept(_CORE + "ApiConfigSource", "set_node_on_first_message_only", "the node is sent with the first message alone")
declare(_CORE + "GrpcService", "envoy_grpc", "initial_metadata")
declare(_CORE + "GrpcService.EnvoyGrpc", "cluster_name", "authority")

declare(_BOOTSTRAP + "Bootstrap.StaticResources", "listeners", "clusters", "secrets")

declare(_BOOTSTRAP + "Admin", "address", "access_log", "access_log_path", "allow_paths")
declare(_BOOTSTRAP + "Admin", "profile_path")
accept(_BOOTSTRAP + "Admin", "ignore_global_conn_limit", "no limit counts connections to the admin")

declare(_BOOTSTRAP + "LayeredRuntime", "layers")
declare(_BOOTSTRAP + "RuntimeLayer", "name", "static_layer", "disk_layer", "admin_layer")
declare(_BOOTSTRAP + "RuntimeLayer.DiskLayer", "symlink_root", "subdirectory", "append_service_cluster")
declare(_BOOTSTRAP + "RuntimeLayer.AdminLayer")
