# -*- test-case-name: tests.config.test_declarations -*-
"""
The HTTP connection manager and the protocol options of HTTP.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, decline, only

__all__: list[str] = []

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
_CORE = "envoy.config.core.v3."

only(_HCM, "codec_type", "AUTO", "HTTP1", "HTTP2")
declare(_HCM, "http2_protocol_options")
declare(_HCM, "stat_prefix", "route_config", "http_filters", "upgrade_configs")
declare(_HCM, "common_http_protocol_options", "http_protocol_options", "max_request_headers_kb")
declare(_HCM, "server_name", "server_header_transformation", "add_user_agent", "via", "proxy_100_continue")
declare(_HCM, "stream_idle_timeout", "stream_flush_timeout", "request_timeout", "request_headers_timeout")
declare(_HCM, "drain_timeout", "drain_timeout_jitter")
declare(_HCM, "delayed_close_timeout", "stream_error_on_invalid_http_message")
declare(_HCM, "access_log", "access_log_options", "access_log_flush_interval", "flush_access_log_on_new_request")
declare(_HCM, "use_remote_address", "xff_num_trusted_hops", "skip_xff_append", "internal_address_config")
declare(_HCM, "append_x_forwarded_port", "forward_proto_config")
declare(_HCM.rpartition(".")[0] + ".ForwardProtoConfig", "https_destination_ports", "http_destination_ports")
accept(
    _HCM, "represent_ipv4_remote_address_as_ipv4_mapped_ipv6", "Envoy 1.40 tells the same addresses, whatever it says"
)
declare(_HCM, "record_route_resolution_stats")
accept(_HCM, "append_local_overload", "there is no overload manager whose state it would tell")
declare(_HCM, "generate_request_id", "preserve_external_request_id", "always_set_request_id_in_response")
declare(_HCM, "normalize_path", "merge_slashes", "path_with_escaped_slashes_action")
declare(_HCM, "strip_matching_host_port", "strip_any_host_port", "strip_trailing_host_dot")
declare(_HCM, "forward_client_cert_details", "set_current_client_cert_details", "forward_client_cert_matcher")
declare(_HCM + ".ForwardClientCertConfig", "forward_client_cert_details", "set_current_client_cert_details")
declare(_HCM + ".SetCurrentClientCertDetails", "subject", "cert", "chain", "dns", "uri", "issuer", "format")

declare(_HCM + ".InternalAddressConfig", "unix_sockets", "cidr_ranges")
declare(_HCM, "http1_safe_max_connection_duration")
declare(_HCM + ".UpgradeConfig", "upgrade_type", "enabled", "filters")
declare(_HCM + ".HcmAccessLogOptions", "access_log_flush_interval", "flush_access_log_on_new_request")
declare(_HCM + ".HcmAccessLogOptions", "flush_log_on_tunnel_successfully_established")

declare(_FILTER, "name", "typed_config", "config_discovery", "is_optional", "disabled")

declare(_CORE + "HttpProtocolOptions", "idle_timeout", "max_connection_duration", "max_headers_count")
declare(_CORE + "HttpProtocolOptions", "max_stream_duration", "headers_with_underscores_action")
declare(_CORE + "HttpProtocolOptions", "max_connection_duration_jitter")
declare(_CORE + "HttpProtocolOptions", "max_requests_per_connection", "max_response_headers_kb")

declare(_CORE + "Http1ProtocolOptions", "allow_absolute_url", "accept_http_10", "default_host_for_http_10")
declare(_CORE + "Http1ProtocolOptions", "enable_trailers", "override_stream_error_on_invalid_http_message")
declare(_CORE + "Http1ProtocolOptions", "allow_chunked_length", "header_key_format", "send_fully_qualified_url")
declare(_CORE + "Http1ProtocolOptions.HeaderKeyFormat", "proper_case_words", "stateful_formatter")
declare(_CORE + "Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords")
accept(_CORE + "Http1ProtocolOptions", "use_balsa_parser", "there is one parser, and it is our own")

declare(_CORE + "Http1ProtocolOptions", "allow_custom_methods", "ignore_http_11_upgrade")

_HTTP2 = _CORE + "Http2ProtocolOptions"
declare(_HTTP2, "hpack_table_size", "max_concurrent_streams", "allow_connect", "connection_keepalive")
declare(_HTTP2, "initial_stream_window_size", "initial_connection_window_size", "custom_settings_parameters")
declare(_HTTP2, "max_outbound_frames", "max_outbound_control_frames")
declare(_HTTP2, "max_consecutive_inbound_frames_with_empty_payload", "max_inbound_priority_frames_per_stream")
declare(_HTTP2, "max_inbound_window_update_frames_per_data_frame_sent")
declare(_HTTP2, "stream_error_on_invalid_http_messaging", "override_stream_error_on_invalid_http_message")
declare(_HTTP2, "enable_huffman_encoding", "stream_reset_burst", "stream_reset_rate")
declare(_HTTP2 + ".SettingsParameter", "identifier", "value")
accept(_HTTP2, "disallow_obs_text", "as in Envoy 1.40, such values pass whatever it says (RFC 9110, 5.5)")
accept(_HTTP2, "use_oghttp2_codec", "there is one codec, and it is our own")
accept(_HTTP2, "max_header_field_size_kb", "a field may be as long as a whole head, up to max_request_headers_kb")
declare(_HTTP2, "allow_metadata", "max_metadata_size")
declare(_CORE + "KeepaliveSettings", "interval", "timeout", "interval_jitter", "connection_idle_interval")

_CASE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
declare(_CASE, "forward_reason_phrase", "formatter_type_on_envoy_headers")
declare(_HCM, "original_ip_detection_extensions", "early_header_mutation_extensions", "scheme_header_transformation")
declare(_HCM, "local_reply_config", "proxy_status_config", "request_id_extension")
declare("envoy.extensions.http.original_ip_detection.xff.v3.XffConfig", "xff_num_trusted_hops", "xff_trusted_cidrs")
declare("envoy.extensions.http.original_ip_detection.xff.v3.XffConfig", "skip_xff_append")
declare("envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs", "cidrs")
declare("envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig", "header_name")
declare(
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
    "allow_extension_to_set_address_as_trusted",
    "reject_with_status",
)
declare("envoy.type.v3.HttpStatus", "code")
declare("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", "mutations")
_RULES = "envoy.config.common.mutation_rules.v3.HeaderMutation"
declare(_RULES, "append", "remove", "remove_on_match")
declare(_RULES + ".RemoveOnMatch", "key_matcher")
declare(_CORE + "SchemeHeaderTransformation", "scheme_to_overwrite", "match_upstream")
_V3 = "envoy.extensions.filters.network.http_connection_manager.v3."
declare(_V3 + "LocalReplyConfig", "mappers", "body_format")
declare(_V3 + "ResponseMapper", "filter", "status_code", "body", "body_format_override", "headers_to_add")
declare(_HCM + ".ProxyStatusConfig", "remove_details", "remove_connection_termination_details")
declare(_HCM + ".ProxyStatusConfig", "remove_response_flags", "set_recommended_response_code")
declare(_HCM + ".ProxyStatusConfig", "use_node_id", "literal_proxy_name")
declare(_V3 + "RequestIDExtension", "typed_config")
declare(_HCM, "scoped_routes", "rds")
declare(_V3 + "Rds", "config_source", "route_config_name")
declare(_V3 + "ScopedRoutes", "name", "scope_key_builder", "scoped_route_configurations_list")
declare(_V3 + "ScopedRoutes", "rds_config_source", "scoped_rds")
declare(_V3 + "ScopedRds", "scoped_rds_config_source")
declare(_V3 + "ScopedRoutes.ScopeKeyBuilder", "fragments")
declare(_V3 + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder", "header_value_extractor")
_EXTRACTOR = _V3 + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor"
declare(_EXTRACTOR, "name", "element_separator", "index", "element")
declare(_EXTRACTOR + ".KvElement", "separator", "key")
declare(_V3 + "ScopedRouteConfigurationsList", "scoped_route_configurations")
_SCOPED = "envoy.config.route.v3.ScopedRouteConfiguration"
declare(_SCOPED, "name", "on_demand", "route_configuration", "route_configuration_name", "key")
declare(_SCOPED + ".Key", "fragments")
declare(_SCOPED + ".Key.Fragment", "string_key")
_UUID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
accept(_UUID, "pack_trace_reason", "nothing is traced, so there is no reason to pack")
accept(_UUID, "use_request_id_for_trace_sampling", "nothing is traced")

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

declare(_CORE + "UpstreamHttpProtocolOptions", "auto_sni", "auto_san_validation", "override_auto_sni_header")
declare(_OPTIONS, "upstream_http_protocol_options")
declare(_OPTIONS, "explicit_http_config", "common_http_protocol_options", "use_downstream_protocol_config")
declare(_OPTIONS, "auto_config", "retry_policy", "hash_policy", "request_mirror_policies", "http_filters")
decline(_OPTIONS, "header_validation_config", "Envoy as it comes refuses header validators, too")
declare(_OPTIONS, "outlier_detection")
declare(_OPTIONS + ".OutlierDetection", "error_matcher")
_PREDICATE = "envoy.config.common.matcher.v3.MatchPredicate"
declare(_PREDICATE, "or_match", "and_match", "not_match", "any_match", "http_response_headers_match")
declare(_PREDICATE + ".MatchSet", "rules")
declare("envoy.config.common.matcher.v3.HttpHeadersMatch", "headers")
declare(_OPTIONS + ".ExplicitHttpConfig", "http_protocol_options", "http2_protocol_options")
declare(_OPTIONS + ".UseDownstreamHttpConfig", "http_protocol_options", "http2_protocol_options")
declare(_OPTIONS + ".AutoHttpConfig", "http_protocol_options", "http2_protocol_options")
