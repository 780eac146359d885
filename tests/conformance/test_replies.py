"""
What the proxies answer by themselves, and when they lose patience.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TO = "[{match: {prefix: /}, route: {cluster: %s}}]"
_WITH = "[{match: {prefix: /}, route: {cluster: backend, %s}}]"

LISTENERS = {
    "plain": Manager(),
    "empty": Manager("", _TO % "empty"),
    "closed": Manager("", _TO % "closed"),
    "full": Manager("", _TO % "full"),
    "missing": Manager("", _TO % "nobody", table="validate_clusters: false"),
    "missing404": Manager(
        "",
        "[{match: {prefix: /}, route: {cluster: nobody, cluster_not_found_response_code: NOT_FOUND}}]",
        table="validate_clusters: false",
    ),
    "direct": Manager(
        "",
        "[{match: {path: /body}, direct_response: {status: 200, body: {inline_string: hello}}},"
        " {match: {path: /none}, direct_response: {status: 404}},"
        " {match: {path: /204}, direct_response: {status: 204}},"
        " {match: {path: /204body}, direct_response: {status: 204, body: {inline_string: hello}}},"
        " {match: {path: /304}, direct_response: {status: 304, body: {inline_string: hello}}},"
        " {match: {path: /503}, direct_response: {status: 503, body: {inline_string: sorry}},"
        "  response_headers_to_add: [{header: {key: x-why, value: '%RESPONSE_CODE_DETAILS%'}}]},"
        " {match: {path: /type}, direct_response: {status: 200, body: {inline_string: '<p>'}},"
        "  response_headers_to_add: [{header: {key: content-type, value: text/html},"
        " append_action: OVERWRITE_IF_EXISTS_OR_ADD}]},"
        " {match: {path: /forward}, non_forwarding_action: {}}]",
    ),
    "formatted": Manager(
        "",
        "[{match: {path: /text}, direct_response: {status: 207, body: {inline_string: old}, body_format:"
        " {text_format_source: {inline_string: '%RESPONSE_CODE%|%LOCAL_REPLY_BODY%|%REQ(:PATH)%|%RESP(X-R)%|"
        "%ROUTE_NAME%|%RESPONSE_CODE_DETAILS%'}}}, response_headers_to_add: [{header: {key: x-r, value: r}}]},"
        " {match: {path: /json}, direct_response: {status: 404, body: {inline_string: old}, body_format:"
        " {json_format: {a: '%LOCAL_REPLY_BODY%', c: '%RESPONSE_CODE%'}}}},"
        " {match: {path: /typed}, direct_response: {status: 201, body_format:"
        " {text_format_source: {inline_string: hi}, content_type: 'text/html; charset=UTF-8'}}},"
        " {match: {path: /empty}, direct_response: {status: 200, body: {inline_string: old}, body_format:"
        " {text_format_source: {inline_string: ''}}}},"
        " {match: {path: /other}, direct_response: {status: 200, body_format: {text_format_source:"
        " {inline_string: img}}}, response_headers_to_add: [{header: {key: content-type, value: image/png},"
        " append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}]",
    ),
    "redirect": Manager(
        "",
        "[{match: {prefix: /host}, redirect: {host_redirect: other.example}},"
        " {match: {prefix: /path}, redirect: {path_redirect: /new}},"
        " {match: {prefix: /query}, redirect: {path_redirect: '/new?x=y'}},"
        " {match: {prefix: /strip}, redirect: {path_redirect: /new, strip_query: true}},"
        " {match: {prefix: /prefix}, redirect: {prefix_rewrite: /other}},"
        " {match: {prefix: /regex}, redirect: {regex_rewrite: {pattern: {regex: '/regex/(.*)'},"
        " substitution: '/r/\\1'}}},"
        " {match: {prefix: /https}, redirect: {https_redirect: true}},"
        " {match: {prefix: /scheme}, redirect: {scheme_redirect: ftp}},"
        " {match: {prefix: /port}, redirect: {port_redirect: 99}},"
        " {match: {prefix: /302}, redirect: {host_redirect: h, response_code: FOUND}},"
        " {match: {prefix: /303}, redirect: {host_redirect: h, response_code: SEE_OTHER}},"
        " {match: {prefix: /307}, redirect: {host_redirect: h, response_code: TEMPORARY_REDIRECT}},"
        " {match: {prefix: /308}, redirect: {host_redirect: h, response_code: PERMANENT_REDIRECT}}]",
    ),
    "mapped": Manager(
        "{local_reply_config: {mappers: [{filter: {response_flag_filter: {flags: [DPE]}}, status_code: 499}],"
        " body_format: {text_format_source: {inline_string: '%RESPONSE_FLAGS%|%RESPONSE_CODE%|"
        "%RESPONSE_CODE_DETAILS%|%PROTOCOL%|%LOCAL_REPLY_BODY%'}}}}",
        _TO % "empty",
    ),
    "noHost": Manager(hosts="[{name: v, domains: [known.example], routes: %s}]" % (_TO % "backend")),
    "tls": Manager(host="require_tls: ALL"),
    "tlsExternal": Manager(host="require_tls: EXTERNAL_ONLY"),
    "timeout": Manager("", _WITH % "timeout: 0.2s"),
    "noTimeout": Manager("", _WITH % "timeout: 0s"),
    "perTry": Manager("", _WITH % "retry_policy: {per_try_timeout: 0.15s, retry_on: connect-failure}"),
    "perTryIdle": Manager("", _WITH % "retry_policy: {per_try_idle_timeout: 0.15s, retry_on: connect-failure}"),
    "streamIdle": Manager("stream_idle_timeout: 0.25s"),
    "routeIdle": Manager("", _WITH % "idle_timeout: 0.25s"),
    "request": Manager("request_timeout: 0.25s"),
    "head": Manager("request_headers_timeout: 0.25s"),
    "connectionIdle": Manager("{common_http_protocol_options: {idle_timeout: 0.25s}, drain_timeout: 0.05s}"),
    "connectionIdleDrain": Manager("common_http_protocol_options: {idle_timeout: 0.25s}"),
    "duration": Manager("common_http_protocol_options: {max_stream_duration: 0.25s}"),
    "routeDuration": Manager("", _WITH % "max_stream_duration: {max_stream_duration: 0.25s}"),
    "grpcDuration": Manager("", _WITH % "timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 10s}"),
    **{
        name: Manager(
            "{common_http_protocol_options: {max_connection_duration: %s}, drain_timeout: %s}" % (duration, drain)
        )
        for name, duration, drain in (
            ("connectionDuration", "0.2s", "15s"),
            ("connectionDurationBusy", "0.1s", "2.5s"),
            ("connectionDurationLate", "0.1s", "0.1s"),
        )
    },
    "narrow": Manager("", _TO % "narrow"),
    "noPending": Manager("", _TO % "noPending"),
    "oneRequest": Manager("", _TO % "oneRequest"),
    "internal": Manager(
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
    ),
    "suppress": Manager("", _TO % "closed", router="suppress_envoy_headers: true"),
    "drained": Manager("", _TO % "oncePerConnection"),
}

CLUSTERS = {
    "narrow": "circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 1, max_requests: 1}]}",
    "noPending": "circuit_breakers: {thresholds: [{max_pending_requests: 0}]}",
    "oneRequest": "circuit_breakers: {thresholds: [{max_requests: 0}]}",
    "oncePerConnection": "max_requests_per_connection: 1",
}

_HANG: Script = [Do.DRAIN]
_BEGUN: Script = [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Do.DRAIN]

CASES = [
    *[
        Case(f"gives_{listener}_{name}", f"{intent} ({listener}).", message, listener=listener, limit=1.5)
        for listener in ("empty", "closed", "missing", "missing404", "suppress", "noHost")
        for name, intent, message in (
            ("get", "A GET that goes nowhere", get()),
            ("head", "A HEAD that goes nowhere", request("HEAD /")),
            ("post", "A POST that goes nowhere", request("POST /", "content-length: 3", body="abc")),
            (
                "grpc",
                "A gRPC call that goes nowhere",
                request("POST /", "content-type: application/grpc", "content-length: 0"),
            ),
        )
    ],
    Case("full", "An upstream that does not accept.", get(), listener="full", limit=1.5),
    *[
        Case(f"direct{path}", "A direct response.", get(f"/{path}"), listener="direct", limit=1.0)
        for path in ("body", "none", "204", "204body", "304", "503", "type", "forward", "unknown")
    ],
    *(
        Case(f"formatted{path}{number}", "A direct response of a format.", data, listener="formatted")
        for path in ("text", "json", "typed", "empty", "other")
        for number, data in enumerate(
            (get(f"/{path}"), request(f"HEAD /{path}"), get(f"/{path}", "content-type: application/grpc"))
        )
    ),
    Case("directHead", "HEAD of one.", request("HEAD /body"), listener="direct"),
    Case("directPost", "POST to one.", request("POST /body", "content-length: 3", body="abc"), listener="direct"),
    Case(
        "directPostSlow",
        "One whose body comes later.",
        [request("POST /body", "content-length: 3"), Do.AWAIT, b"abc"],
        listener="direct",
        settle=0.2,
    ),
    Case("directClose", "One that closes.", get("/body", "Connection: close"), listener="direct"),
    Case("directPipelined", "Several.", get("/body") + get("/none") + get("/503"), listener="direct", responses=3),
    Case(
        "directGrpc",
        "One for gRPC.",
        request("POST /503", "content-type: application/grpc", "content-length: 0"),
        listener="direct",
    ),
    Case(
        "directGrpcWeb",
        "One for gRPC-Web.",
        request("POST /503", "content-type: application/grpc-web", "content-length: 0"),
        listener="direct",
    ),
    Case(
        "directGrpcPlus",
        "One for gRPC with JSON.",
        request("POST /503", "content-type: application/grpc+json", "content-length: 0"),
        listener="direct",
    ),
    *[
        Case(f"redirect_{name}", "A redirect.", get(path, *fields), listener="redirect")
        for name, path, fields in (
            ("host", "/host/a?b=c", ()),
            ("hostPort", "/host", ("Host: example.com:8080",)),
            ("path", "/path/a?b=c", ()),
            ("query", "/query?b=c", ()),
            ("strip", "/strip?b=c", ()),
            ("prefix", "/prefix/a?b=c", ()),
            ("regex", "/regex/a/b?c=d", ()),
            ("https", "/https/a", ()),
            ("httpsPort80", "/https/a", ("Host: example.com:80",)),
            ("httpsPort", "/https/a", ("Host: example.com:8080",)),
            ("scheme", "/scheme", ()),
            ("port", "/port/x", ("Host: example.com:8080",)),
            ("portSix", "/port/x", ("Host: [::1]:8080",)),
            ("proto", "/host", ("x-forwarded-proto: https",)),
            ("found", "/302", ()),
            ("seeOther", "/303", ()),
            ("temporary", "/307", ()),
            ("permanent", "/308", ()),
        )
    ],
    *[
        Case(f"mapped_{name}", f"A mapped reply: {name}.", data, listener="mapped")
        for name, data in (
            ("garbage", b"GARBAGE\r\n\r\n"),
            ("value", get("/", "x-a: a\0b")),
            ("upstream", get()),
        )
    ],
    Case("known", "A virtual host that is known.", get("/", "Host: known.example"), listener="noHost"),
    Case("knownPort", "With a port it is another one.", get("/", "Host: known.example:80"), listener="noHost"),
    Case("knownUpper", "Capitals do not matter.", get("/", "Host: KNOWN.example"), listener="noHost"),
    Case("tls", "TLS is required.", get("/a?b"), listener="tls"),
    Case("tlsTold", "Another hop had it.", get("/a?b", "x-forwarded-proto: https"), listener="tls"),
    Case("tlsExternal", "TLS is required from outside.", get("/a?b"), listener="tlsExternal"),
    # Time
    Case("timeout", "The route's time-out.", get(), (_HANG,), listener="timeout", limit=1.5),
    Case("timeoutHead", "To a HEAD.", request("HEAD /"), (_HANG,), listener="timeout", limit=1.5),
    Case("timeoutBegun", "Within a response.", get(), (_BEGUN,), listener="timeout", limit=1.5),
    Case(
        "timeoutGrpc",
        "To gRPC.",
        request("POST /", "content-type: application/grpc", "content-length: 0"),
        (_HANG,),
        listener="timeout",
        limit=1.5,
    ),
    Case(
        "timeoutWaitsForRequest",
        "It begins when the request is whole.",
        [request("POST /", "content-length: 4", body="ab"), Pause(0.4), b"cd"],
        listener="timeout",
        limit=1.5,
    ),
    Case("timeoutNone", "A time-out of 0 is none.", get(), ([Pause(0.3), OK],), listener="noTimeout", limit=1.5),
    Case("perTry", "per_try_timeout.", get(), (_HANG,), listener="perTry", limit=1.5),
    Case(
        "perTryBegun",
        "It ends with the head of the response.",
        get(),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", Pause(0.3), b"cd"],),
        listener="perTry",
        limit=1.5,
    ),
    Case("perTryIdle", "per_try_idle_timeout.", get(), (_HANG,), listener="perTryIdle", limit=1.5),
    Case("perTryIdleBegun", "It goes on within the response.", get(), (_BEGUN,), listener="perTryIdle", limit=1.5),
    Case(
        "streamIdle",
        "stream_idle_timeout while the upstream thinks.",
        get(),
        (_HANG,),
        listener="streamIdle",
        limit=1.5,
    ),
    Case("streamIdleBegun", "Within the response.", get(), (_BEGUN,), listener="streamIdle", limit=1.5),
    Case(
        "streamIdleRequest",
        "Within the request.",
        request("POST /", "content-length: 9", body="abc"),
        (OK,),
        listener="streamIdle",
        limit=1.5,
    ),
    Case("routeIdle", "idle_timeout of a route.", get(), (_HANG,), listener="routeIdle", limit=1.5),
    Case(
        "requestTimeout",
        "request_timeout.",
        request("POST /", "content-length: 9", body="abc"),
        (OK,),
        listener="request",
        limit=1.5,
    ),
    Case("requestTimeoutHead", "Within the head.", b"GET / HTTP/1.1\r\nHo", listener="request", limit=1.5),
    Case(
        "requestTimeoutNot",
        "It does not wait for the response.",
        get(),
        ([Pause(0.4), OK],),
        listener="request",
        limit=1.5,
    ),
    Case("headTimeout", "request_headers_timeout.", b"GET / HTTP/1.1\r\nHo", listener="head", limit=1.5),
    Case(
        "headTimeoutNot",
        "It does not wait for the body.",
        [request("POST /", "content-length: 4", body="ab"), Pause(0.4), b"cd"],
        listener="head",
        limit=1.5,
    ),
    Case("headTimeoutIdle", "Nor for the next request.", [get(), Do.AWAIT], listener="head", settle=0.5),
    Case("connectionIdle", "idle_timeout of a connection.", [get(), Do.AWAIT], listener="connectionIdle", settle=0.6),
    Case(
        "connectionIdleDrain",
        "One with the usual drain_timeout.",
        [get(), Do.AWAIT],
        listener="connectionIdleDrain",
        settle=0.6,
    ),
    Case("connectionIdleNothing", "Of one that never sent anything.", [], listener="connectionIdle", limit=0.7),
    Case("duration", "max_stream_duration.", get(), (_HANG,), listener="duration", limit=1.5),
    Case("durationBegun", "Within a response.", get(), (_BEGUN,), listener="duration", limit=1.5),
    Case("routeDuration", "max_stream_duration of a route.", get(), (_HANG,), listener="routeDuration", limit=1.5),
    Case("routeDurationBegun", "Within a response.", get(), (_BEGUN,), listener="routeDuration", limit=1.5),
    Case(
        "grpcDuration",
        "grpc-timeout.",
        request("POST /", "content-type: application/grpc", "grpc-timeout: 200m", "content-length: 0"),
        (_HANG,),
        listener="grpcDuration",
        limit=1.5,
    ),
    Case(
        "grpcDurationPlain",
        "It counts for what is not gRPC, too.",
        get("/", "grpc-timeout: 200m"),
        (_HANG,),
        listener="grpcDuration",
        limit=1.5,
    ),
    Case(
        "connectionDuration",
        "max_connection_duration.",
        [get("/1"), Do.AWAIT, Pause(1.0), get("/2")],
        listener="connectionDuration",
        limit=1.0,
        settle=0.3,
    ),
    Case(
        "connectionDurationBusy",
        "While a response is on its way.",
        get("/1"),
        ([Pause(0.5), OK],),
        listener="connectionDurationBusy",
        limit=1.0,
        settle=0.3,
    ),
    Case(
        "connectionDurationLate",
        "While one takes longer than the drain_timeout.",
        get("/1"),
        ([Pause(1.0), OK],),
        listener="connectionDurationLate",
        limit=2.0,
        settle=0.3,
    ),
    # Limits of a cluster
    Case("noPending", "No request may wait for a connection.", get(), listener="noPending"),
    Case("oneRequest", "No request may be under way.", get(), listener="oneRequest"),
    Case("narrow", "One is enough for one.", [get("/1"), Do.AWAIT, get("/2")], listener="narrow", responses=2),
    Case(
        "drained",
        "max_requests_per_connection of a cluster.",
        [get("/1"), Do.AWAIT, get("/2")],
        listener="drained",
        responses=2,
    ),
    # Orders of an internal client
    Case(
        "orderTimeout",
        "An internal client sets the time-out.",
        get("/", "x-forwarded-for: 10.1.1.1", "x-envoy-upstream-rq-timeout-ms: 200"),
        (_HANG,),
        listener="internal",
        limit=1.5,
    ),
    Case(
        "orderTimeoutOdd",
        "One that is none.",
        get("/", "x-forwarded-for: 10.1.1.1", "x-envoy-upstream-rq-timeout-ms: x"),
        listener="internal",
        limit=1.5,
    ),
    Case(
        "orderPerTry",
        "Or that of a try.",
        get("/", "x-forwarded-for: 10.1.1.1", "x-envoy-upstream-rq-per-try-timeout-ms: 200"),
        (_HANG,),
        listener="internal",
        limit=1.5,
    ),
    Case(
        "orderBoth",
        "Or both.",
        get(
            "/",
            "x-forwarded-for: 10.1.1.1",
            "x-envoy-upstream-rq-timeout-ms: 500",
            "x-envoy-upstream-rq-per-try-timeout-ms: 200",
        ),
        (ok(),),
        listener="internal",
        limit=1.5,
    ),
    Case(
        "orderStranger",
        "A stranger does not.",
        get("/", "x-forwarded-for: 11.1.1.1", "x-envoy-upstream-rq-timeout-ms: 200"),
        ([Pause(0.3), OK],),
        listener="internal",
        limit=1.5,
    ),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ReplyTests(SynchronousTestCase):
    """
    Local replies and time-outs.
    """
