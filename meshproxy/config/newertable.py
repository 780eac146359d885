# -*- test-case-name: tests.config.test_newerfields -*-
"""
The fields that Envoy 1.40 has and the descriptors of C{xds-protos} lack, of the messages that are declared here: as a
table, which L{meshproxy.config.newerfields} reads. They were read from the descriptors that Envoy's binary holds.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NEWER"]

#: Below the name of each file are its lines: C{Message.field number kind}, and then C{repeated} or C{map} (of texts to
#: such), C{in:} the oneof and the name of a rule, where the field has such; C{enum Name} and its values, from zero on,
#: or with their numbers (C{Name=14}) where it lacks only them; and C{new} where the descriptors lack the whole file. A
#: kind is a scalar, the name of a message behind a point, or C{enum} before such a name; C{+} stands for the package of
#: the file. A message that is not in the descriptors is new; C{message Name} is one without fields.
NEWER: Final = """
envoy/config/bootstrap/v3/bootstrap.proto
    Bootstrap.enable_worker_cpu_affinity 43 bool
envoy/config/cluster/v3/circuit_breaker.proto
    CircuitBreakers.Thresholds.RetryBudget.budget_interval 3 .google.protobuf.Duration
envoy/config/cluster/v3/cluster.proto
    Cluster.stats_matcher 61 .envoy.config.metrics.v3.StatsMatcher
    Cluster.per_connection_buffer_high_watermark_timeout 60 .google.protobuf.Duration
    Cluster.queuing_policies 62 +Cluster.QueuingPolicies
    Cluster.QueuingPolicies.pending_rq_policy 1 .envoy.config.core.v3.TypedExtensionConfig
envoy/config/core/v3/address.proto
    BindConfig.validate_network_namespaces 7 bool
envoy/config/core/v3/config_source.proto
    PathConfigSource.poll_interval 3 .google.protobuf.Duration
envoy/config/core/v3/protocol.proto
    Http2ProtocolOptions.enable_huffman_encoding 18 .google.protobuf.BoolValue
    Http2ProtocolOptions.max_header_field_size_kb 19 .google.protobuf.UInt32Value
    Http2ProtocolOptions.disallow_obs_text 20 .google.protobuf.BoolValue
    Http2ProtocolOptions.stream_reset_burst 21 .google.protobuf.UInt64Value
    Http2ProtocolOptions.stream_reset_rate 22 .google.protobuf.UInt64Value
    HttpProtocolOptions.max_connection_duration_jitter 8 .envoy.type.v3.Percent
envoy/config/core/v3/socket_option.proto
    enum SocketOption.SocketIpVersion SOCKET_IP_VERSION_UNSPECIFIED SOCKET_IP_VERSION_IPV4 SOCKET_IP_VERSION_IPV6
    SocketOption.ip_version 8 enum+SocketOption.SocketIpVersion
envoy/config/endpoint/v3/endpoint_components.proto
    Endpoint.observability_name 5 string
envoy/config/listener/v3/listener.proto
    AdditionalAddress.tcp_keepalive 3 .envoy.config.core.v3.TcpKeepalive
    Listener.stats_matcher 39 .envoy.config.metrics.v3.StatsMatcher
    Listener.per_connection_buffer_high_watermark_timeout 38 .google.protobuf.Duration
    Listener.tcp_keepalive 37 .envoy.config.core.v3.TcpKeepalive
envoy/config/metrics/v3/stats.proto
    DogStatsdSink.scale_histogram_units_to_milliseconds 5 bool
    StatsConfig.allow_default_tag_overrides 5 .google.protobuf.BoolValue
    StatsdSink.scale_histogram_units_to_milliseconds 4 bool
envoy/config/route/v3/route.proto
    RouteConfiguration.route_specifiers 19 .envoy.config.core.v3.TypedExtensionConfig repeated
envoy/config/route/v3/route_components.proto
    enum RateLimit.XRateLimitOption UNSPECIFIED OFF DRAFT_VERSION_03
    CookieMatcher.name 1 string nameRule
    CookieMatcher.string_match 2 .envoy.type.matcher.v3.StringMatcher required
    CookieMatcher.invert_match 3 bool
    RateLimit.x_ratelimit_option 7 enum+RateLimit.XRateLimitOption
    RateLimit.Action.remote_address_match 13 +RateLimit.Action.RemoteAddressMatch in:action_specifier
    RateLimit.Action.GenericKey.default_value 3 string
    RateLimit.Action.HeaderValueMatch.default_value 5 string
    RateLimit.Action.QueryParameterValueMatch.default_value 5 string
    RateLimit.Action.RemoteAddressMatch.descriptor_value 1 string notEmpty
    RateLimit.Action.RemoteAddressMatch.descriptor_key 2 string
    RateLimit.Action.RemoteAddressMatch.default_value 3 string
    RateLimit.Action.RemoteAddressMatch.address_matcher 4 .envoy.type.matcher.v3.AddressMatcher required
    RateLimit.HitsAddend.is_negative_hits 3 bool
    RedirectAction.path_rewrite 10 string in:path_rewrite_specifier
    RetryPolicy.refresh_cluster_on_retry 14 bool
    Route.route_specifiers 21 .envoy.config.core.v3.TypedExtensionConfig repeated
    RouteMatch.cookies 17 +CookieMatcher repeated
    VirtualHost.route_specifiers 26 .envoy.config.core.v3.TypedExtensionConfig repeated
envoy/extensions/clusters/dns/v3/dns_cluster.proto
    DnsCluster.dns_min_refresh_rate 10 .google.protobuf.Duration
envoy/extensions/common/ratelimit/v3/ratelimit.proto
    LocalRateLimitDescriptor.shadow_mode 3 bool
envoy/extensions/filters/http/basic_auth/v3/basic_auth.proto
    BasicAuth.allow_missing 4 bool
    BasicAuth.emit_dynamic_metadata 5 bool
    BasicAuth.realm 6 string printable
    BasicAuthPerRoute.realm 2 string printable
envoy/extensions/filters/http/compressor/v3/compressor.proto
    Compressor.CommonDirectionConfig.content_type_matcher 4 .envoy.type.matcher.v3.StringMatcher repeated
    Compressor.ResponseDirectionConfig.weaken_etag_on_compress 6 bool
envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto
    CheckSettings.emit_client_span 6 .google.protobuf.BoolValue
    ExtAuthz.clear_route_cache_headers 34 string repeated
    ExtAuthz.shadow_mode 32 bool
    ExtAuthz.emit_client_span 33 .google.protobuf.BoolValue
    HttpService.path_override 10 string
envoy/data/accesslog/v3/accesslog.proto
    enum AccessLogType TcpConnectionStart=14
envoy/extensions/filters/http/fault/v3/fault.proto
    FaultAbort.response_body 6 string
envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto
    Mutations.formatters 6 .envoy.config.core.v3.TypedExtensionConfig repeated
envoy/extensions/filters/http/jwt_authn/v3/config.proto
    ExtractOnlyWithoutValidation.verification_status_header 1 string
    JwtClaimToHeader.claim_path 3 +JwtClaimToHeader.PathSegment repeated
    JwtClaimToHeader.PathSegment.key 1 string notEmpty
    JwtRequirement.extract_only_without_validation 7 +ExtractOnlyWithoutValidation in:requires_type
envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto
    LocalRateLimit.enable_retry_after_header 19 bool
envoy/extensions/filters/http/router/v3/router.proto
    Router.reject_connect_request_early_data 10 .google.protobuf.BoolValue
envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto
    enum ProxyProtocol.KeyValuePair.ValueStringEncoding UNSPECIFIED SANITIZED_UTF8 BASE64
    ProxyProtocol.KeyValuePair.value_string_encoding 3 enum+ProxyProtocol.KeyValuePair.ValueStringEncoding
envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
    enum HttpConnectionManager.ForwardClientCertFormat TEXT JSON
    ForwardProtoConfig.https_destination_ports 1 uint32 repeated
    ForwardProtoConfig.http_destination_ports 2 uint32 repeated
    HttpConnectionManager.forward_proto_config 61 +ForwardProtoConfig
    HttpConnectionManager.record_route_resolution_stats 63 bool
    HttpConnectionManager.drain_timeout_jitter 62 .envoy.type.v3.Percent
    HttpConnectionManager.SetCurrentClientCertDetails.issuer 8 bool
    HttpConnectionManager.SetCurrentClientCertDetails.format 7 enum+HttpConnectionManager.ForwardClientCertFormat
envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto
    enum ProxyProtocolTlvMergePolicy ADD_IF_ABSENT OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD APPEND_IF_EXISTS_OR_ADD
    TcpProxy.proxy_protocol_tlv_merge_policy 23 enum+ProxyProtocolTlvMergePolicy
    TcpProxy.check_drain_close 24 .google.protobuf.BoolValue
    TcpProxy.TcpAccessLogOptions.flush_access_log_on_start 3 bool
    TcpProxy.TunnelingConfig.formatters 10 .envoy.config.core.v3.TypedExtensionConfig repeated
envoy/extensions/formatter/cel/v3/cel.proto
    Cel.cel_config 1 .envoy.config.core.v3.CelExpressionConfig
envoy/extensions/formatter/file_content/v3/file_content.proto
    new
    message FileContent
envoy/extensions/formatter/generic_secret/v3/generic_secret.proto
    new
    GenericSecret.secret_configs 1 .envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig map notNone
envoy/extensions/http/custom_response/local_response_policy/v3/local_response_policy.proto
    LocalResponsePolicy.preserve_response_code_details 5 bool in:response_code_details_action
    LocalResponsePolicy.response_code_details 6 string in:response_code_details_action notEmpty
envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto
    CaresDnsResolverConfig.qcache_max_ttl 12 .google.protobuf.UInt32Value
envoy/extensions/transport_sockets/tls/v3/common.proto
    CertificateValidationContext.suppress_client_ca_list 18 bool
    TlsCertificate.tls_params 9 +TlsParameters
envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto
    SPIFFECertValidatorConfig.TrustDomain.workload_trust_domain 3 string
envoy/type/matcher/v3/address.proto
    AddressMatcher.invert_match 2 bool
envoy/type/matcher/v3/http_inputs.proto
    message HttpResponseLocalReplyMatchInput
envoy/type/metadata/v3/metadata.proto
    MetadataKey.PathSegment.index 2 uint32 in:segment
"""
