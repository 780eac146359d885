# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.config.accesslog.v3} and the loggers that are built in.
"""

from __future__ import annotations

from meshproxy.config.supported import declare

__all__: list[str] = []

_LOG = "envoy.config.accesslog.v3."
_LOGGERS = "envoy.extensions.access_loggers."

declare(_LOG + "AccessLog", "name", "filter", "typed_config")
declare(_LOG + "AccessLogFilter", "status_code_filter", "duration_filter", "runtime_filter", "and_filter", "or_filter")
declare(_LOG + "AccessLogFilter", "header_filter", "response_flag_filter", "grpc_status_filter", "log_type_filter")
declare(_LOG + "AccessLogFilter", "not_health_check_filter", "traceable_filter")
declare(_LOG + "AccessLogFilter", "metadata_filter", "extension_filter")
declare(_LOG + "ExtensionFilter", "name", "typed_config")
declare(_LOG + "MetadataFilter", "matcher", "match_if_key_not_found")
declare(_LOG + "ComparisonFilter", "op", "value")
declare(_LOG + "StatusCodeFilter", "comparison")
declare(_LOG + "DurationFilter", "comparison")
declare(_LOG + "RuntimeFilter", "runtime_key", "percent_sampled", "use_independent_randomness")
declare(_LOG + "AndFilter", "filters")
declare(_LOG + "OrFilter", "filters")
declare(_LOG + "HeaderFilter", "header")
declare(_LOG + "ResponseFlagFilter", "flags")
declare(_LOG + "GrpcStatusFilter", "statuses", "exclude")
declare(_LOG + "LogTypeFilter", "types", "exclude")
declare(_LOG + "NotHealthCheckFilter")
declare(_LOG + "TraceableFilter")

declare("envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery")
declare("envoy.extensions.formatter.metadata.v3.Metadata")
declare("envoy.extensions.formatter.cel.v3.Cel", "cel_config")
declare("envoy.extensions.formatter.file_content.v3.FileContent")
declare("envoy.extensions.formatter.generic_secret.v3.GenericSecret", "secret_configs")

declare(_LOGGERS + "file.v3.FileAccessLog", "path", "format", "json_format", "typed_json_format", "log_format")
declare(_LOGGERS + "stream.v3.StdoutAccessLog", "log_format")
declare(_LOGGERS + "stream.v3.StderrAccessLog", "log_format")
