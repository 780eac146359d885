# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.bootstrap.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare

__all__: list[str] = []

_BOOTSTRAP = "envoy.config.bootstrap.v3."

declare(_BOOTSTRAP + "Bootstrap", "node", "static_resources", "admin", "layered_runtime", "stats_config")
declare(_BOOTSTRAP + "Bootstrap", "stats_flush_interval", "stats_flush_on_admin", "stats_sinks")
declare(_BOOTSTRAP + "Bootstrap", "stats_server_version_override")
accept(_BOOTSTRAP + "Bootstrap", "deferred_stat_options", "stats cost little until they are used")
accept(_BOOTSTRAP + "Bootstrap", "enable_dispatcher_stats", "there is no dispatcher; the reactor has its own figures")
accept(_BOOTSTRAP + "Bootstrap", "flags_path", "Envoy reads no flags from it any more either")
accept(_BOOTSTRAP + "Bootstrap", "perf_tracing_file_path", "it asks for a build of Envoy with performance tracing")

declare(_BOOTSTRAP + "Bootstrap.StaticResources", "listeners", "clusters", "secrets")

declare(_BOOTSTRAP + "Admin", "address", "access_log", "access_log_path", "allow_paths")
declare(_BOOTSTRAP + "Admin", "profile_path")
accept(_BOOTSTRAP + "Admin", "ignore_global_conn_limit", "no limit counts connections to the admin")

declare(_BOOTSTRAP + "LayeredRuntime", "layers")
declare(_BOOTSTRAP + "RuntimeLayer", "name", "static_layer", "disk_layer", "admin_layer")
declare(_BOOTSTRAP + "RuntimeLayer.DiskLayer", "symlink_root", "subdirectory", "append_service_cluster")
declare(_BOOTSTRAP + "RuntimeLayer.AdminLayer")
