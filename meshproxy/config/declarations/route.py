# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.route.v3}.
"""

from __future__ import annotations

import meshproxy.config.matchertree  # noqa: F401  # it declares its messages
from meshproxy.config.supported import accept, declare

__all__: list[str] = []

_ROUTE = "envoy.config.route.v3."
_RETRY = "envoy.extensions.retry."
_HEADERS = (
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
)

declare(_ROUTE + "RouteConfiguration", "name", "virtual_hosts", "typed_per_filter_config", *_HEADERS)
declare(_ROUTE + "RouteConfiguration", "most_specific_header_mutations_wins", "validate_clusters")
declare(_ROUTE + "RouteConfiguration", "max_direct_response_body_size_bytes", "ignore_port_in_host_matching")
declare(_ROUTE + "RouteConfiguration", "ignore_path_parameters_in_path_matching", "internal_only_headers")
accept(_ROUTE + "RouteConfiguration", "metadata", "nothing here reads a route configuration's metadata")

declare(_ROUTE + "RouteConfiguration", "vhds")
declare(_ROUTE + "Vhds", "config_source")

declare(_ROUTE + "VirtualHost", "name", "domains", "routes", "require_tls", "typed_per_filter_config", *_HEADERS)
declare(_ROUTE + "VirtualHost", "retry_policy", "include_request_attempt_count", "include_attempt_count_in_response")
declare(_ROUTE + "VirtualHost", "request_body_buffer_limit", "per_request_buffer_limit_bytes", "rate_limits")
declare(_ROUTE + "VirtualHost", "metadata")

declare(_ROUTE + "Route", "name", "match", "route", "redirect", "direct_response", "non_forwarding_action")
declare(_ROUTE + "Route", "metadata", "typed_per_filter_config", *_HEADERS)
declare(_ROUTE + "Route", "request_body_buffer_limit", "per_request_buffer_limit_bytes")
accept(_ROUTE + "Route", "decorator", "it names spans, and nothing traces yet")
declare(_ROUTE + "Route", "stat_prefix")
declare(_ROUTE + "NonForwardingAction")

# The names of filters in it are free, and the values are theirs.
declare("envoy.config.core.v3.Metadata", "filter_metadata")
declare(_ROUTE + "FilterConfig", "config", "is_optional", "disabled")

declare(_ROUTE + "RouteMatch", "prefix", "path", "safe_regex", "path_separated_prefix", "connect_matcher")
declare(_ROUTE + "RouteMatch", "case_sensitive", "runtime_fraction", "headers", "query_parameters")
declare(_ROUTE + "RouteMatch", "grpc", "dynamic_metadata", "filter_state", "tls_context", "path_match_policy")
declare(_ROUTE + "RouteMatch", "cookies")
declare(_ROUTE + "CookieMatcher", "name", "string_match", "invert_match")
declare(_ROUTE + "RouteMatch.TlsContextMatchOptions", "presented", "validated")
declare("envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template")
declare("envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "path_template_rewrite")
declare(_ROUTE + "RouteMatch.ConnectMatcher")
declare(_ROUTE + "RouteMatch.GrpcRouteMatchOptions")
declare(_ROUTE + "HeaderMatcher", "name", "invert_match", "treat_missing_header_as_empty", "string_match")
declare(_ROUTE + "HeaderMatcher", "exact_match", "safe_regex_match", "range_match", "present_match")
declare(_ROUTE + "HeaderMatcher", "prefix_match", "suffix_match", "contains_match")
declare(_ROUTE + "QueryParameterMatcher", "name", "string_match", "present_match")

declare(_ROUTE + "RouteAction", "cluster", "cluster_header", "weighted_clusters", "cluster_not_found_response_code")
declare(_ROUTE + "RouteAction", "cluster_specifier_plugin", "inline_cluster_specifier_plugin")
declare(_ROUTE + "RouteConfiguration", "cluster_specifier_plugins")
declare(_ROUTE + "ClusterSpecifierPlugin", "extension", "is_optional")
declare(_ROUTE + "Route", "filter_action")
accept(_ROUTE + "FilterAction", "action", "Envoy reads no such action either")
declare(_ROUTE + "RouteAction", "prefix_rewrite", "regex_rewrite", "append_x_forwarded_host", "priority")
declare(_ROUTE + "RouteAction", "host_rewrite_literal", "auto_host_rewrite", "host_rewrite_header")
declare(_ROUTE + "RouteAction", "host_rewrite_path_regex", "timeout", "idle_timeout", "flush_timeout")
declare(_ROUTE + "RouteAction", "max_stream_duration", "retry_policy", "upgrade_configs", "host_rewrite")
declare(_ROUTE + "RouteAction", "path_rewrite", "hash_policy")
declare(_ROUTE + "RouteAction", "rate_limits", "include_vh_rate_limits", "metadata_match", "path_rewrite_policy")
for _level in ("RouteConfiguration", "VirtualHost", "RouteAction"):
    declare(_ROUTE + _level, "request_mirror_policies")
for _level in ("VirtualHost", "RouteAction"):
    declare(_ROUTE + _level, "hedge_policy")
declare(_ROUTE + "HedgePolicy", "hedge_on_per_try_timeout")
accept(_ROUTE + "HedgePolicy", "initial_requests", "Envoy has no more than the field either")
accept(_ROUTE + "HedgePolicy", "additional_request_chance", "Envoy has no more than the field either")
declare(_ROUTE + "RouteAction", "internal_redirect_policy", "max_grpc_timeout", "grpc_timeout_offset")
declare(_ROUTE + "RouteAction", "internal_redirect_action", "max_internal_redirects")
declare(_ROUTE + "VirtualHost", "virtual_clusters", "include_is_timeout_retry_header")
declare(_ROUTE + "VirtualCluster", "headers", "name")
declare(_ROUTE + "VirtualHost", "matcher")
declare(_ROUTE + "RouteList", "routes")
for _level in ("VirtualHost", "RouteAction"):
    declare(_ROUTE + _level, "cors")
declare(_ROUTE + "CorsPolicy", "allow_origin_string_match", "allow_methods", "allow_headers", "expose_headers")
declare(_ROUTE + "CorsPolicy", "max_age", "allow_credentials", "filter_enabled", "shadow_enabled")
declare(_ROUTE + "CorsPolicy", "allow_private_network_access", "forward_not_matching_preflights")
declare(_ROUTE + "InternalRedirectPolicy", "max_internal_redirects", "redirect_response_codes", "predicates")
declare(_ROUTE + "InternalRedirectPolicy", "allow_cross_scheme_redirect", "response_headers_to_copy")
declare("envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig")
declare("envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig")
declare("envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig", "allowed_route_names")
declare(_ROUTE + "RouteAction.RequestMirrorPolicy", "cluster", "cluster_header", "runtime_fraction")
declare(_ROUTE + "RouteAction.RequestMirrorPolicy", "disable_shadow_host_suffix_append", "host_rewrite_literal")
declare(_ROUTE + "RouteAction.RequestMirrorPolicy", "request_headers_mutations")
accept(_ROUTE + "RouteAction.RequestMirrorPolicy", "trace_sampled", "nothing traces yet")
declare(_ROUTE + "RouteAction.HashPolicy", "header", "cookie", "connection_properties", "query_parameter", "terminal")
declare(_ROUTE + "RouteAction.HashPolicy", "filter_state")
declare(_ROUTE + "RouteAction.HashPolicy.FilterState", "key")
declare(_ROUTE + "RouteAction.HashPolicy.Header", "header_name", "regex_rewrite")
declare(_ROUTE + "RouteAction.HashPolicy.Cookie", "name", "ttl", "path", "attributes")
declare(_ROUTE + "RouteAction.HashPolicy.CookieAttribute", "name", "value")
declare(_ROUTE + "RouteAction.HashPolicy.ConnectionProperties", "source_ip")
declare(_ROUTE + "RouteAction.HashPolicy.QueryParameter", "name")
declare(_ROUTE + "RouteAction.MaxStreamDuration", "max_stream_duration", "grpc_timeout_header_max")
declare(_ROUTE + "RouteAction.MaxStreamDuration", "grpc_timeout_header_offset")
declare(_ROUTE + "RouteAction.UpgradeConfig", "upgrade_type", "enabled", "connect_config")
declare(_ROUTE + "RouteAction.UpgradeConfig.ConnectConfig", "proxy_protocol_config", "allow_post")

declare(_ROUTE + "WeightedCluster", "clusters", "header_name", "use_hash_policy")
accept(_ROUTE + "WeightedCluster", "total_weight", "it is the sum of the weights, whatever is said here, as in Envoy")
declare(_ROUTE + "WeightedCluster", "runtime_key_prefix")
declare(_ROUTE + "WeightedCluster.ClusterWeight", "name", "weight", "typed_per_filter_config", *_HEADERS)
declare(_ROUTE + "WeightedCluster.ClusterWeight", "host_rewrite_literal", "cluster_header", "metadata_match")

declare(_ROUTE + "RetryPolicy", "retry_on", "num_retries", "per_try_timeout", "per_try_idle_timeout")
declare(_ROUTE + "RetryPolicy", "retriable_status_codes", "retry_back_off", "retriable_headers")
declare(_ROUTE + "RetryPolicy", "retriable_request_headers")
declare(_ROUTE + "RetryPolicy", "rate_limited_retry_back_off", "retry_host_predicate", "retry_priority")
declare(_ROUTE + "RetryPolicy", "host_selection_retry_max_attempts", "refresh_cluster_on_retry")
declare(_ROUTE + "RetryPolicy.RetryHostPredicate", "name", "typed_config")
declare(_ROUTE + "RetryPolicy.RetryPriority", "name", "typed_config")
declare(_RETRY + "host.previous_hosts.v3.PreviousHostsPredicate")
declare(_RETRY + "host.omit_canary_hosts.v3.OmitCanaryHostsPredicate")
declare(_RETRY + "host.omit_host_metadata.v3.OmitHostMetadataConfig", "metadata_match")
declare(_RETRY + "priority.previous_priorities.v3.PreviousPrioritiesConfig", "update_frequency")
declare(_ROUTE + "RetryPolicy.RateLimitedRetryBackOff", "reset_headers", "max_interval")
declare(_ROUTE + "RetryPolicy.ResetHeader", "name", "format")
declare(_ROUTE + "RetryPolicy.RetryBackOff", "base_interval", "max_interval")

declare(_ROUTE + "RedirectAction", "https_redirect", "scheme_redirect", "host_redirect", "port_redirect")
declare(_ROUTE + "RedirectAction", "path_redirect", "prefix_rewrite", "regex_rewrite", "response_code", "strip_query")
declare(_ROUTE + "RedirectAction", "path_rewrite")
declare(_ROUTE + "DirectResponseAction", "status", "body", "body_format")

# Filters read them.
_RATE_LIMIT = _ROUTE + "RateLimit"
_ACTION = _RATE_LIMIT + ".Action"

declare(_RATE_LIMIT, "actions", "stage", "disable_key", "hits_addend", "apply_on_stream_done", "x_ratelimit_option")
accept(_RATE_LIMIT, "limit", "it is for limits of a rate limit service, and none is asked")
declare(_RATE_LIMIT + ".HitsAddend", "number", "format", "is_negative_hits")
declare(_ACTION, "extension")
declare(_ACTION, "generic_key", "request_headers", "query_parameters", "header_value_match", "remote_address")
declare(_ACTION, "masked_remote_address", "query_parameter_value_match", "destination_cluster", "metadata")
declare(_ACTION, "source_cluster", "dynamic_metadata")
declare(_ACTION + ".SourceCluster")
declare(_ACTION + ".DynamicMetaData", "descriptor_key", "metadata_key", "default_value")
declare(_ACTION + ".GenericKey", "descriptor_value", "descriptor_key")
declare(_ACTION, "remote_address_match")
declare(_ACTION + ".RemoteAddressMatch", "descriptor_value", "descriptor_key", "default_value", "address_matcher")
declare(_ACTION + ".RequestHeaders", "header_name", "descriptor_key", "skip_if_absent")
declare(_ACTION + ".QueryParameters", "query_parameter_name", "descriptor_key", "skip_if_absent")
declare(_ACTION + ".HeaderValueMatch", "descriptor_key", "descriptor_value", "expect_match", "headers")
for _action in ("GenericKey", "HeaderValueMatch", "QueryParameterValueMatch"):
    accept(f"{_ACTION}.{_action}", "default_value", "as in Envoy, `descriptor_value` is a text, never empty")
declare(_ACTION + ".QueryParameterValueMatch", "descriptor_key", "descriptor_value", "expect_match", "query_parameters")
declare(_ACTION + ".MetaData", "descriptor_key", "metadata_key", "default_value", "source", "skip_if_absent")
declare(_ACTION + ".MaskedRemoteAddress", "v4_prefix_mask_len", "v6_prefix_mask_len")
declare(_ACTION + ".RemoteAddress")
declare(_ACTION + ".DestinationCluster")
declare("envoy.type.metadata.v3.MetadataKey", "key", "path")
declare("envoy.type.metadata.v3.MetadataKey.PathSegment", "key")
