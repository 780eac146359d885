"""
What a connection manager may be told besides, field by field.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Until, get, ok, request
from tests.conformance.comparison import Comparison, compared

_T = "'@type': type.googleapis.com/envoy.extensions."


def _xff(fields: str) -> str:
    return (
        "original_ip_detection_extensions: [{name: x, typed_config: "
        f"{{{_T}http.original_ip_detection.xff.v3.XffConfig, {fields}}}}}]"
    )


def _custom(fields: str) -> str:
    return (
        "original_ip_detection_extensions: [{name: x, typed_config: "
        f"{{{_T}http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: X-Client, {fields}}}}}]"
    )


_INTERNAL = (
    "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8},"
    " {address_prefix: 127.0.0.0, prefix_len: 8}]}"
)


def _early(mutations: str) -> str:
    return (
        "early_header_mutation_extensions: [{name: early, typed_config: "
        f"{{{_T}http.early_header_mutation.header_mutation.v3.HeaderMutation, mutations: [{mutations}]}}}}]"
    )


_REPLY_ROUTES = """
- {match: {path: /404}, direct_response: {status: 404, body: {inline_string: gone}}}
- {match: {path: /empty}, direct_response: {status: 503}}
- {match: {path: /direct}, direct_response: {status: 503, body: {inline_string: "direct \\"words\\""}},
   response_headers_to_add: [{header: {key: x-route, value: "%RESPONSE_CODE%"}}]}
- {match: {path: /teapot}, direct_response: {status: 418, body: {inline_string: tea}}}
- {match: {path: /other}, direct_response: {status: 410, body: {inline_string: other}}}
- {match: {path: /redirect}, redirect: {path_redirect: /there}}
- {match: {path: /closed}, route: {cluster: closed}}
- {match: {path: /none}, route: {cluster: empty}}
- {match: {prefix: /up}, route: {cluster: backend, timeout: 0.2s}}
"""

_MAPPERS = """
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: k}}}}
    status_code: 410
    body: {inline_string: "moved %RESPONSE_CODE%"}
    headers_to_add: [{header: {key: x-mapped, value: "%RESPONSE_CODE% %REQ(:PATH)%"}}]
  - filter: {and_filter: {filters: [
      {header_filter: {header: {name: x-json, present_match: true}}},
      {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: k}}}}]}}
    status_code: 500
    body_format_override:
      json_format: {code: "%RESPONSE_CODE%", text: "%LOCAL_REPLY_BODY%", details: "%RESPONSE_CODE_DETAILS%",
                    flags: "%RESPONSE_FLAGS%", path: "%REQ(:PATH)%", nested: {a: [1, "%PROTOCOL%", true]}}
  - filter: {response_flag_filter: {flags: [NR, UF]}}
    body_format_override: {text_format_source: {inline_string: "<p>%RESPONSE_FLAGS% %LOCAL_REPLY_BODY%</p>\\n"},
                           content_type: "text/html; charset=UTF-8"}
    headers_to_add: [{header: {key: content-type, value: text/odd}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 418, runtime_key: k}}}}
    body: {inline_string: ""}
    headers_to_add: [{header: {key: x-tea, value: "yes"}, append_action: ADD_IF_ABSENT}]
  body_format: {text_format_source: {inline_string: "%RESPONSE_CODE%|%LOCAL_REPLY_BODY%|%RESP(x-route)%"}}
"""

_STATUS = "proxy_status_config: {%s}"


def _cased(fields: str = "") -> str:
    config = f"{{{_T}http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, {fields}}}"
    return f"header_key_format: {{stateful_formatter: {{name: case, typed_config: {config}}}}}"


_OPTIONS = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
    "explicit_http_config: {http_protocol_options: {%s}}}}"
)

CLUSTERS = {
    "cased": _OPTIONS % _cased(),
    "casedProper": _OPTIONS % _cased("forward_reason_phrase: true, formatter_type_on_envoy_headers: PROPER_CASE"),
    "proper": _OPTIONS % "header_key_format: {proper_case_words: {}}",
    "absolute": _OPTIONS % "send_fully_qualified_url: true",
    # Nobody listens there: the requests fail, and what is answered tells their scheme.
    "secure": f"transport_socket: {{name: tls, typed_config: {{{_T}transport_sockets.tls.v3.UpstreamTlsContext}}}}\n"
    "load_assignment: {cluster_name: secure, endpoints: [{lb_endpoints: [{endpoint: {address: "
    "{socket_address: {address: 127.0.0.1, port_value: $CLOSED}}}}]}]}",
}

_TO = "[{match: {prefix: /}, route: {cluster: %s}}]"

_SECURE = (
    "[{match: {prefix: /}, route: {cluster: secure}, response_headers_to_add: [{header: "
    "{key: x-scheme, value: '%REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)%'}}]}]"
)

_LOGGED = """
access_log:
- name: log
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
    log_format: {text_format_source: {inline_string: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% \
      %ACCESS_LOG_TYPE% %REQ(:PATH)% %RESPONSE_CODE% %ROUTE_NAME% %UPSTREAM_CLUSTER% %RESPONSE_CODE_DETAILS% \
      %RESPONSE_FLAGS% %BYTES_SENT% %UPSTREAM_HOST%\\n"}}
"""

_NAMED = "[{name: here, match: {prefix: /}, route: {cluster: backend}}]"


def _scoped(key: str, *scopes: str) -> str:
    listed = ", ".join(
        f"{{name: s{number}, key: {{fragments: [{fragments}]}}, route_configuration: {{name: r{number}, "
        "virtual_hosts: [{name: all, domains: ['*'], routes: "
        f"[{{name: scope{number}, match: {{prefix: /}}, route: {{cluster: backend}}}}]}}]}}}}"
        for number, fragments in enumerate(scopes)
    )
    return (
        f"scoped_routes: {{name: scopes, scope_key_builder: {{fragments: [{key}]}}, "
        f"scoped_route_configurations_list: {{scoped_route_configurations: [{listed}]}}}}\nroute_config: null"
    )


_UPGRADE_FILTERS = (
    "upgrade_configs: [{upgrade_type: WebSocket, filters: ["
    f"{{name: m, typed_config: {{{_T}filters.http.header_mutation.v3.HeaderMutation, mutations: {{request_mutations: "
    "[{append: {header: {key: x-upgrade, value: '1'}}}]}}}, "
    f"{{name: router, typed_config: {{{_T}filters.http.router.v3.Router}}}}]}}, {{upgrade_type: other}}]"
)

LISTENERS = {
    "plain": Manager(),
    "cased": Manager(f"http_protocol_options: {{{_cased()}}}"),
    "casedProper": Manager(f"{{http_protocol_options: {{{_cased('formatter_type_on_envoy_headers: PROPER_CASE')}}}}}"),
    "casedUp": Manager("", _TO % "cased"),
    "casedUpProper": Manager("", _TO % "casedProper"),
    "casedBoth": Manager(f"http_protocol_options: {{{_cased()}}}", _TO % "cased"),
    "casedToProper": Manager(f"http_protocol_options: {{{_cased()}}}", _TO % "proper"),
    "properFromCased": Manager("http_protocol_options: {header_key_format: {proper_case_words: {}}}", _TO % "cased"),
    "logStart": Manager("access_log_options: {flush_access_log_on_new_request: true}\n" + _LOGGED, _NAMED),
    "logStartOld": Manager("flush_access_log_on_new_request: true\n" + _LOGGED, _NAMED),
    "logPeriodic": Manager("access_log_options: {access_log_flush_interval: 0.15s}\n" + _LOGGED, _NAMED),
    "logTunnel": Manager(
        "access_log_options: {flush_log_on_tunnel_successfully_established: true}\n"
        "upgrade_configs: [{upgrade_type: websocket}]\n" + _LOGGED,
        _NAMED,
    ),
    "upgradeFilters": Manager(_UPGRADE_FILTERS),
    "safeDuration": Manager(
        "http1_safe_max_connection_duration: true\ncommon_http_protocol_options: {max_connection_duration: 0.15s}"
    ),
    "scopedIndex": Manager(
        _scoped(
            "{header_value_extractor: {name: X-Scope, element_separator: ',', index: 1}}",
            "{string_key: a}",
            "{string_key: ' b'}",
        )
    ),
    "scopedKey": Manager(
        _scoped(
            "{header_value_extractor: {name: X-Scope, element_separator: ';', element: {separator: '=', key: vip}}},"
            "{header_value_extractor: {name: ':authority', index: 0}}",
            "{string_key: '1'}, {string_key: example.com}",
            "{string_key: '2=3'}, {string_key: other.com}",
        )
    ),
    # Neither makes a difference where the scopes stand in place.
    "scopedDemand": Manager(
        _scoped("{header_value_extractor: {name: X-Scope, index: 0}}", "{string_key: a}")
        .replace("route_configuration: {", "on_demand: true, route_configuration: {")
        .replace(
            "scoped_routes: {",
            "scoped_routes: {rds_config_source: {resource_api_version: V3, "
            "path_config_source: {path: /nowhere/routes.yaml}}, ",
        )
    ),
    "xff0": Manager(_xff("xff_num_trusted_hops: 0")),
    "xff1": Manager(_xff("xff_num_trusted_hops: 1")),
    "xffAppend": Manager(_xff("xff_num_trusted_hops: 1, skip_xff_append: false")),
    "xffAppendOff": Manager("skip_xff_append: true\n" + _xff("skip_xff_append: false")),
    "xffCidr": Manager(
        _INTERNAL
        + "\n"
        + _xff(
            "skip_xff_append: false, xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8},"
            " {address_prefix: 5.0.0.0, prefix_len: 8}]}"
        )
    ),
    "xffCidrOther": Manager(_xff("xff_trusted_cidrs: {cidrs: [{address_prefix: 1.0.0.0, prefix_len: 8}]}")),
    "custom": Manager(_custom("") + "\n" + _INTERNAL),
    "customTrusted": Manager(_custom("allow_extension_to_set_address_as_trusted: true") + "\n" + _INTERNAL),
    "customReject": Manager(_custom("reject_with_status: {code: Unauthorized}")),
    "customReject400": Manager(_custom("reject_with_status: {code: BadRequest}")),
    "customRejectOdd": Manager(_custom("reject_with_status: {code: OK}")),
    "early": Manager(
        _early(
            "{append: {header: {key: x-early, value: '%REQ(:PATH)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}},"
            "{remove: x-gone}, {append: {header: {key: x-forwarded-for, value: 9.8.7.6}}},"
            "{append: {header: {key: x-request-id, value: given}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}"
        )
    ),
    "earlyConnection": Manager(_early("{append: {header: {key: connection, value: x-nominated}}}")),
    "schemeHTTPS": Manager("scheme_header_transformation: {scheme_to_overwrite: https}", _TO % "absolute"),
    "schemeHTTP": Manager("scheme_header_transformation: {scheme_to_overwrite: http}", _TO % "absolute"),
    "absolute": Manager("", _TO % "absolute"),
    "schemeUp": Manager("scheme_header_transformation: {match_upstream: true}", _TO % "absolute"),
    "schemeUpOver": Manager(
        "scheme_header_transformation: {match_upstream: true, scheme_to_overwrite: https}", _TO % "absolute"
    ),
    "schemeUpTLS": Manager("scheme_header_transformation: {match_upstream: true}", _SECURE),
    "schemeUpTLSOver": Manager(
        "scheme_header_transformation: {match_upstream: true, scheme_to_overwrite: http}", _SECURE
    ),
    "schemeTLS": Manager("", _SECURE),
    "mapped": Manager("{use_remote_address: true, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true}"),
    "mappedInside": Manager("represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true"),
    "custom methods": Manager("http_protocol_options: {allow_custom_methods: true}"),
    "ignored": Manager(
        "{upgrade_configs: [{upgrade_type: websocket}],"
        " http_protocol_options: {ignore_http_11_upgrade: [{prefix: TLS/}, {exact: other}]}}"
    ),
    "streamError": Manager(
        "{stream_error_on_invalid_http_message: true, normalize_path: true,"
        " path_with_escaped_slashes_action: REJECT_REQUEST}"
    ),
    "streamErrorHTTP1": Manager("http_protocol_options: {override_stream_error_on_invalid_http_message: true}"),
    "requestId": Manager(
        "request_id_extension: {typed_config: "
        f"{{{_T}request_id.uuid.v3.UuidRequestIdConfig, pack_trace_reason: false}}}}"
    ),
    "mapper": Manager(_MAPPERS, _REPLY_ROUTES),
    "format": Manager(
        "local_reply_config: {body_format: {json_format: {status: '%RESPONSE_CODE%', message: '%LOCAL_REPLY_BODY%',"
        " none: '%REQ(x-none)%'}, omit_empty_values: true, content_type: application/problem+json}}",
        _REPLY_ROUTES,
    ),
    "formatText": Manager("local_reply_config: {body_format: {text_format: 'only %RESPONSE_CODE%'}}", _REPLY_ROUTES),
    "unmapped": Manager("local_reply_config: {}", _REPLY_ROUTES),
    "status": Manager(_STATUS % "", _REPLY_ROUTES),
    "statusNode": Manager(_STATUS % "use_node_id: true, remove_response_flags: true", _REPLY_ROUTES),
    "statusLiteral": Manager(
        "server_name: mesh\n" + _STATUS % "literal_proxy_name: edge-1, remove_details: true", _REPLY_ROUTES
    ),
    "statusCode": Manager("server_name: mesh\n" + _STATUS % "set_recommended_response_code: true", _REPLY_ROUTES),
}


def _everywhere(name: str, intent: str, message: bytes, listeners: str) -> list[Case]:
    return [
        Case(f"{name}_{listener}", f"{intent} (listener {listener}).", message, listener=listener)
        for listener in listeners.split()
    ]


_REPLY_PATHS = ("404", "empty", "direct", "teapot", "other", "redirect", "closed", "none", "nowhere")

CASES = [
    *_everywhere("xffNone", "No x-forwarded-for", get(), "xff0 xff1 xffAppend xffAppendOff xffCidr xffCidrOther"),
    *_everywhere(
        "xffOne",
        "One address",
        get("/", "x-forwarded-for: 1.2.3.4"),
        "xff0 xff1 xffAppend xffAppendOff xffCidr xffCidrOther",
    ),
    *_everywhere(
        "xffTwo",
        "Two addresses",
        get("/", "x-forwarded-for: 1.2.3.4,5.6.7.8"),
        "xff0 xff1 xffAppend xffAppendOff xffCidr",
    ),
    *_everywhere("xffTrusted", "All are trusted", get("/", "x-forwarded-for: 5.1.1.1,5.6.7.8"), "xffCidr"),
    *_everywhere("xffOneTrusted", "One, trusted", get("/", "x-forwarded-for: 5.1.1.1"), "xffCidr"),
    *_everywhere("xffOdd", "One is none", get("/", "x-forwarded-for: 1.1.1.1,foo,5.6.7.8"), "xff0 xff1 xffCidr"),
    *_everywhere("xffInternal", "An internal one", get("/", "x-forwarded-for: 10.1.1.1"), "xff0 xffCidr"),
    *_everywhere(
        "customNone",
        "No such field",
        get("/", "x-envoy-max-retries: 1"),
        "custom customTrusted customReject customReject400 customRejectOdd",
    ),
    *_everywhere(
        "customOne",
        "The field has an address",
        get("/", "x-client: 10.2.3.4", "x-envoy-max-retries: 1", "x-forwarded-for: 1.1.1.1"),
        "custom customTrusted customReject",
    ),
    *_everywhere("customOdd", "It has none", get("/", "x-client: nobody"), "custom customReject customReject400"),
    *_everywhere("customIPv6", "It has one of IPv6", get("/", "x-client: 2001:db8::1"), "custom customTrusted"),
    *_everywhere("early", "Mutations before all else", get("/a?b", "x-gone: 1", "x-request-id: mine"), "early"),
    *_everywhere("earlyConnection", "A Connection field made there", get("/", "x-nominated: 1"), "earlyConnection"),
    *_everywhere("scheme", "The scheme", get("/x", "x-forwarded-proto: ftp"), "schemeHTTPS schemeHTTP absolute"),
    *_everywhere("schemeBare", "The scheme where nothing is said", get("/x"), "schemeHTTPS schemeHTTP absolute"),
    *_everywhere(
        "schemeProto", "One that another proxy says", get("/x", "x-forwarded-proto: https"), "schemeHTTP absolute"
    ),
    *[
        case
        for proto in ("http", "https", "ftp")
        for case in _everywhere(
            f"schemeUp_{proto}",
            "The scheme of the transport to the backend",
            get("/x", f"x-forwarded-proto: {proto}"),
            "schemeUp schemeUpOver schemeUpTLS schemeUpTLSOver schemeTLS",
        )
    ],
    *_everywhere("mapped", "IPv4 as IPv6", get("/"), "mapped mappedInside"),
    Case("mappedLoop", "IPv4 as IPv6, from this machine", get("/"), listener="mapped", source="127.0.0.1"),
    *_everywhere("mappedXFF", "The same behind a proxy", get("/", "x-forwarded-for: 1.2.3.4"), "mapped mappedInside"),
    *[
        Case(f"method_{name}", f"The method {method!r}.", request(f"{method} /"), listener="custom methods")
        for name, method in (
            ("custom", "FOO"),
            ("lower", "get"),
            ("odd", "!#$%"),
            ("digit", "1x"),
            ("bad", "F(O"),
            ("get", "GET"),
            ("long", "A" * 100),
        )
    ],
    *[
        Case(
            f"ignored_{name}",
            f"An offer of {offer}.",
            get("/", f"Upgrade: {offer}", f"Connection: {connection}", *more),
            listener="ignored",
        )
        for name, offer, connection, more in (
            ("tls", "TLS/1.2", "Upgrade", ()),
            ("tlsMore", "TLS/1.2", "Upgrade, x-a", ("x-a: 1",)),
            ("other", "other", "keep-alive, upgrade", ()),
            ("case", "Other", "upgrade", ()),
            ("h2c", "h2c", "Upgrade, HTTP2-Settings", ("HTTP2-Settings: AAA",)),
            ("unknown", "foo", "upgrade", ()),
            ("notAsked", "other", "keep-alive", ()),
            ("several", "other, TLS/1.0", "upgrade", ()),
        )
    ],
    *[
        Case(
            f"invalid_{name}_{listener}",
            f"{name}: is the connection kept ({listener})?",
            [message, Do.AWAIT, get("/2")],
            listener=listener,
            responses=2,
            limit=0.5,
        )
        for listener in ("plain", "streamError", "streamErrorHTTP1")
        for name, message in (
            ("noHost", b"GET / HTTP/1.1\r\n\r\n"),
            ("slash", get("/a%2fb")),
            ("fragment", get("/a#b")),
            ("codec", b"GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n"),
            ("absolute", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        )
    ],
    *[
        Case(
            f"cased_{listener}_{name}",
            f"Names as they came ({name}, {listener}).",
            message,
            (b"HTTP/1.1 200 Fine by me\r\nConTent-Length: 2\r\nX-Up: 1\r\nx-UP: 2\r\nsErver: up\r\nETag: x\r\n\r\nok",),
            listener=listener,
        )
        for listener in (
            "cased",
            "casedProper",
            "casedUp",
            "casedUpProper",
            "casedBoth",
            "casedToProper",
            "properFromCased",
        )
        for name, message in (
            ("get", b"GET /x HTTP/1.1\r\nHOST: example.com\r\nX-aB: 1\r\nx-Ab: 2\r\nx-Request-ID: q\r\n\r\n"),
            ("post", b"POST / HTTP/1.1\r\nhosT: example.com\r\nCONTENT-length: 2\r\nCookie: a\r\n\r\nab"),
            ("chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-ENCODING: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        )
    ],
    *[
        Case(
            f"cased_{listener}_error",
            f"A reply of the proxy's own ({listener}).",
            request("GET /"),
            ([Do.RESET],),
            listener=listener,
        )
        for listener in ("casedBoth", "casedProper")
    ],
    *_everywhere("log", "When lines are written", get("/p"), "logStart logStartOld logPeriodic logTunnel"),
    Case("logPeriods", "Lines between.", get("/p"), ([Pause(0.4), OK],), listener="logPeriodic"),
    Case("logStartNoRoute", "A line at the start of what has no host.", b"GET / HTTP/1.1\r\n\r\n", listener="logStart"),
    Case(
        "logTunnels",
        "A line when a tunnel begins.",
        [get("/w", "Upgrade: websocket", "Connection: Upgrade"), Until(b"switched"), b"ping", Until(b"ping"), Do.CLOSE],
        (
            [
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nswitched",
                Do.ECHO,
            ],
        ),
        listener="logTunnel",
    ),
    *[
        Case(
            f"upgradeFilters_{offer}",
            f"An upgrade to {offer} has its own filters, or not.",
            get("/w", f"Upgrade: {offer}", "Connection: Upgrade"),
            listener="upgradeFilters",
        )
        for offer in ("websocket", "other", "third")
    ],
    Case("upgradeFilters_none", "A usual request has the usual ones.", get("/w"), listener="upgradeFilters"),
    Case(
        "safeDuration",
        "An old connection ends with its next response.",
        [get("/1"), Do.AWAIT, Pause(0.3), get("/2"), Do.AWAIT],
        listener="safeDuration",
        responses=2,
    ),
    *[
        Case(
            f"scoped{listener}_{name}",
            f"The scope {fields} ({listener}).",
            get("/", *fields),
            listener=f"scoped{listener}",
        )
        for listener, name, fields in (
            ("Demand", "none", ()),
            ("Demand", "first", ("x-scope: a",)),
            ("Demand", "another", ("x-scope: b",)),
            ("Index", "none", ()),
            ("Index", "first", ("x-scope: x,a",)),
            ("Index", "blank", ("x-scope: x, a",)),
            ("Index", "second", ("x-scope: x, b,c",)),
            ("Index", "short", ("x-scope: a",)),
            ("Index", "twice", ("x-scope: x", "x-scope: a")),
            ("Key", "none", ()),
            ("Key", "first", ("x-scope: a=b;vip=1",)),
            ("Key", "more", ("x-scope: vip=2=3", "host: other.com")),
            ("Key", "other", ("x-scope: vip=2=3",)),
            ("Key", "bare", ("x-scope: vip",)),
        )
    ],
    Case("requestId", "An id that has no trace reason in it.", get(), listener="requestId"),
    *[
        Case(f"reply_{path}_{listener}", f"A local reply to /{path} ({listener}).", get(f"/{path}"), listener=listener)
        for listener in ("mapper", "format", "formatText", "unmapped")
        for path in _REPLY_PATHS
    ],
    *[
        Case(
            f"replyJSON_{path}", f"A mapper that makes JSON (/{path}).", get(f"/{path}", "x-json: 1"), listener="mapper"
        )
        for path in _REPLY_PATHS
    ],
    *[
        Case(
            f"replyGRPC_{path}_{listener}",
            f"A reply to gRPC (/{path}, {listener}).",
            request(f"POST /{path}", "content-type: application/grpc", "x-json: 1", "content-length: 0"),
            listener=listener,
        )
        for listener in ("mapper", "format")
        for path in ("404", "direct", "nowhere", "none", "teapot")
    ],
    *[
        Case(f"replyHead_{listener}", f"A reply to HEAD ({listener}).", request("HEAD /404"), listener=listener)
        for listener in ("mapper", "format")
    ],
    *[
        Case(
            f"replyBad_{listener}", f"A reply to no request ({listener}).", b"GET / HTTP/1.1\r\n\r\n", listener=listener
        )
        for listener in ("mapper", "format")
    ],
    Case("replyTimeout", "A time-out is mapped too.", get("/up"), ([Do.DRAIN],), listener="mapper", limit=2.0),
    *[
        Case(f"status_{path}_{listener}", f"Proxy-Status of /{path} ({listener}).", get(f"/{path}"), listener=listener)
        for listener in ("status", "statusNode", "statusLiteral", "statusCode")
        for path in ("404", "closed", "none", "nowhere")
    ],
    *[
        Case(
            f"statusUp_{name}_{listener}",
            f"Proxy-Status: {name} ({listener}).",
            get("/up"),
            (script,),
            listener=listener,
        )
        for listener in ("status", "statusCode")
        for name, script in (
            ("fine", ok("proxy-status: other")),
            ("reset", [Do.RESET]),
            ("closed", [Do.CLOSE]),
            ("garbage", b"\0\0\0\r\n\r\n"),
            ("late", [Do.DRAIN]),
        )
    ],
    Case("statusBad", "Proxy-Status of what is no request.", request("GET foo"), listener="status", limit=0.5),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ManagerTests(SynchronousTestCase):
    """
    Fields of the connection manager.
    """
