# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.listener.v3}.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, only

__all__: list[str] = []

_LISTENER = "envoy.config.listener.v3."

declare(_LISTENER + "Listener", "name", "address", "additional_addresses", "stat_prefix", "access_log")
declare(_LISTENER + "Listener", "filter_chains", "default_filter_chain", "per_connection_buffer_limit_bytes")
declare(_LISTENER + "Listener", "listener_filters", "listener_filters_timeout", "continue_on_listener_filters_timeout")
declare(_LISTENER + "Listener", "traffic_direction", "filter_chain_matcher")
accept(_LISTENER + "Listener", "enable_reuse_port", "one process listens, and shares its port with nobody")
declare(_LISTENER + "Listener", "use_original_dst", "bind_to_port", "deprecated_v1")
declare(_LISTENER + "Listener.DeprecatedV1", "bind_to_port")
declare(_LISTENER + "Listener", "drain_type", "freebind", "socket_options", "ignore_global_conn_limit")
declare(_LISTENER + "Listener", "tcp_backlog_size")
only(_LISTENER + "Listener", "transparent", False)
accept(_LISTENER + "Listener", "connection_balance_config", "the kernel balances between workers")
accept(_LISTENER + "Listener", "bypass_overload_manager", "there is no overload manager yet to bypass")
declare(_LISTENER + "Listener", "metadata", "tcp_keepalive", "tcp_fast_open_queue_length")
accept(_LISTENER + "Listener", "reuse_port", "it is `enable_reuse_port` by its older name")
accept(
    _LISTENER + "Listener",
    "max_connections_to_accept_per_socket_event",
    "a pace of accepting, which changes no connection",
)

declare(_LISTENER + "AdditionalAddress", "address", "socket_options", "tcp_keepalive")

declare(_LISTENER + "FilterChain", "name", "filter_chain_match", "filters", "transport_socket")
declare(_LISTENER + "FilterChain", "transport_socket_connect_timeout", "metadata")
declare(_LISTENER + "FilterChain", "use_proxy_proto")

declare(_LISTENER + "FilterChainMatch", "destination_port", "prefix_ranges", "server_names", "transport_protocol")
declare(_LISTENER + "FilterChainMatch", "application_protocols", "direct_source_prefix_ranges", "source_type")
declare(_LISTENER + "FilterChainMatch", "source_prefix_ranges", "source_ports")

declare(_LISTENER + "Filter", "name", "typed_config", "config_discovery")
declare(_LISTENER + "ListenerFilter", "name", "typed_config", "config_discovery", "filter_disabled")
declare(_LISTENER + "ListenerFilterChainMatchPredicate", "or_match", "and_match", "not_match", "any_match")
declare(_LISTENER + "ListenerFilterChainMatchPredicate", "destination_port_range")
declare(_LISTENER + "ListenerFilterChainMatchPredicate.MatchSet", "rules")
declare("envoy.type.v3.Int32Range", "start", "end")
