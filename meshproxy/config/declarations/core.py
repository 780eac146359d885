# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.core.v3} and the small types that every part uses.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, decline, only

__all__: list[str] = []

_CORE = "envoy.config.core.v3."

declare(_CORE + "Address", "socket_address", "pipe")
declare(_CORE + "SocketAddress", "address", "port_value", "ipv4_compat")
# UDP is for what is sent to; listeners and endpoints refuse it.
only(_CORE + "SocketAddress", "protocol", "TCP", "UDP")
declare(_CORE + "Pipe", "path", "mode")
declare(_CORE + "CidrRange", "address_prefix", "prefix_len")
declare(_CORE + "Locality", "region", "zone", "sub_zone")
declare(_CORE + "TcpKeepalive", "keepalive_probes", "keepalive_time", "keepalive_interval")

declare(_CORE + "Node", "id", "cluster", "metadata", "locality")
accept(_CORE + "Node", "user_agent_name", "meshproxy says its own name")
accept(_CORE + "Node", "user_agent_version", "meshproxy says its own version")

declare(_CORE + "TypedExtensionConfig", "name", "typed_config")
declare(_CORE + "HeaderValueOption", "header", "append", "append_action", "keep_empty_value")
declare(_CORE + "HeaderValue", "key", "value")
accept(_CORE + "HeaderValue", "raw_value", "Envoy 1.40 does not look at it either")
declare(_CORE + "TypedExtensionConfig", "name", "typed_config")
declare(_CORE + "DataSource", "filename", "inline_bytes", "inline_string", "environment_variable")

declare(_CORE + "RuntimeFractionalPercent", "default_value", "runtime_key")
declare(_CORE + "RuntimeFeatureFlag", "default_value", "runtime_key")
declare(_CORE + "RuntimeUInt32", "default_value", "runtime_key")
declare(_CORE + "RuntimeDouble", "default_value", "runtime_key")
declare(_CORE + "RuntimePercent", "default_value", "runtime_key")

declare(_CORE + "ExtensionConfigSource", "config_source", "default_config", "type_urls")
declare(_CORE + "ExtensionConfigSource", "apply_default_config_without_warming")
declare(_CORE + "TransportSocket", "name", "typed_config")
declare("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")

declare(_CORE + "SubstitutionFormatString", "text_format", "text_format_source", "json_format", "omit_empty_values")
declare(_CORE + "SubstitutionFormatString", "content_type", "formatters")
accept(_CORE + "SubstitutionFormatString", "json_format_options", "properties are always sorted, as Envoy sorts them")

declare("envoy.type.v3.Percent", "value")
declare("envoy.type.v3.FractionalPercent", "numerator", "denominator")
declare("envoy.type.v3.Int64Range", "start", "end")
declare("envoy.type.v3.DoubleRange", "start", "end")

# A filter in Python takes its configuration from the value, and checks it itself.
declare("xds.type.v3.TypedStruct", "type_url", "value")
declare("udpa.type.v1.TypedStruct", "type_url", "value")
declare(_CORE + "SocketOption", "level", "name", "int_value", "buf_value", "state", "type")
accept(_CORE + "SocketOption", "description", "it is for who reads the file")
declare(_CORE + "SocketOption.SocketType", "stream", "datagram")
declare(_CORE + "SocketOption.SocketType.Stream")
declare(_CORE + "SocketOption.SocketType.Datagram")
declare(_CORE + "SocketOptionsOverride", "socket_options")

_CHECK = _CORE + "HealthCheck"
declare(_CHECK, "timeout", "interval", "initial_jitter", "interval_jitter", "interval_jitter_percent")
declare(_CHECK, "unhealthy_threshold", "healthy_threshold", "reuse_connection", "no_traffic_interval")
declare(_CHECK, "no_traffic_healthy_interval", "unhealthy_interval", "unhealthy_edge_interval", "healthy_edge_interval")
declare(_CHECK, "http_health_check", "tcp_health_check", "grpc_health_check", "event_log_path", "event_logger")
declare(_CHECK, "always_log_health_check_failures", "always_log_health_check_success", "tls_options")
declare(_CHECK, "transport_socket_match_criteria")
decline(_CHECK, "custom_health_check", "checks are over HTTP, TCP and gRPC; there are none of Redis or Thrift")
decline(_CHECK, "event_service", "events are logged to files")
declare(_CHECK + ".Payload", "text", "binary")
declare(_CHECK + ".HttpHealthCheck", "host", "path", "send", "receive", "response_buffer_size", "method")
declare(_CHECK + ".HttpHealthCheck", "request_headers_to_add", "request_headers_to_remove", "expected_statuses")
declare(_CHECK + ".HttpHealthCheck", "retriable_statuses", "service_name_matcher")
only(_CHECK + ".HttpHealthCheck", "codec_client_type", "HTTP1", "HTTP2")
declare(_CHECK + ".TcpHealthCheck", "send", "receive", "proxy_protocol_config")
declare(_CHECK + ".GrpcHealthCheck", "service_name", "authority", "initial_metadata")
declare(_CHECK + ".TlsOptions", "alpn_protocols")

declare(_CORE + "ProxyProtocolConfig", "version", "pass_through_tlvs", "added_tlvs")
declare(_CORE + "ProxyProtocolPassThroughTLVs", "match_type", "tlv_type")
declare(_CORE + "TlvEntry", "type", "value", "format_string")
