"""
Expressions (CEL): conditions of policies, matchers, and what logs show and take.
"""

from __future__ import annotations

import json
import re
from typing import Any

from google.protobuf.json_format import MessageToDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel.library import parse
from tests.conformance.bootstrap import Listener, Manager
from tests.conformance.case import Case, Do, Step, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/"
_ENVOY = _TYPES + "envoy."
_RBAC = _ENVOY + "extensions.filters.http.rbac.v3.RBAC"

Tree = dict[str, Any]


def _tree(text: str) -> Tree:
    made: Tree = MessageToDict(parse(text))
    return made


#: Conditions, each of a policy that allows, and of one that denies.
_CONDITIONS = (
    # what requests are
    "request.path == '/x?a=b'",
    "request.url_path == '/x' && request.query == 'a=b'",
    "request.method in ['GET', 'HEAD']",
    "request.host == 'example.com' && request.scheme == 'http'",
    "request.protocol == 'HTTP/1.1'",
    "request.headers['x-a'] == '1'",
    "request.headers['X-A'] == '1'",
    "request.headers['x-two'] == 'a,b'",
    "request.headers[request.headers['x-key']] == '1'",
    "'x-a' in request.headers && !('x-none' in request.headers)",
    "has(request.headers.host)",
    "request.headers[':path'].startsWith('/x')",
    "size(request.headers['x-odd']) == 2",
    "request.size == 0 || request.size == 3",
    "request.total_size > request.headers_bytes",
    "request.total_size >= 0 + request.headers_bytes",
    "request.time > timestamp('2020-01-01T00:00:00Z') && request.time.getFullYear() > 2020",
    "has(request.id) && has(request.duration)",
    "has(request.id) && !has(request.referer)",
    # what nobody knows yet
    "response.code == 200",
    "!has(response.code) && !has(response.grpc_status)",
    "size(response.headers) == 0 && response.flags == 0 && response.size == 0",
    "has(upstream.address) || has(upstream.locality)",
    "upstream.request_attempt_count == 0u",
    # where they come from, and where they go
    "source.address.startsWith('127.') && source.port > 0 && destination.port > 0",
    "!connection.mtls && connection.requested_server_name == ''",
    "connection.id > 0u",
    "connection.tls_version == 'TLSv1.3'",
    "xds.cluster_name == 'backend' && xds.route_name == 'named' && xds.virtual_host_name == 'all'",
    "xds.listener_direction == 2 && xds.filter_chain_name == ''",
    "xds.route_metadata.filter_metadata.r.n == 1",
    "xds.route_metadata.filter_metadata['r'].n + 1.0 == 2.0",
    "xds.route_metadata.filter_metadata.r.n + 1 == 2",
    "xds.route_metadata.filter_metadata.r.l[1] == 'b'",
    "has(xds.cluster_metadata.filter_metadata) || has(xds.virtual_host_metadata.filter_metadata)",
    "xds.listener_metadata.filter_metadata.l.k == 'v'",
    # what filters noted
    "metadata.filter_metadata.n.text == 'abc' && metadata.filter_metadata.n.flag",
    "'b' in metadata.filter_metadata.n.list && metadata.filter_metadata.n.none == null",
    "has(metadata.filter_metadata.n.text) && !has(metadata.filter_metadata.n.other)",
    "!has(metadata.filter_metadata.m.text)",
    "size(metadata.filter_metadata) == 1",
    # errors
    "request.headers['x-none'] == '1'",
    "!(request.headers['x-none'] == '1')",
    "request.headers['x-none'] == '1' || request.method == 'GET'",
    "!(request.headers['x-none'] == '1' && request.method == 'PUT')",
    "request.headers['x-none'] == '1' ? true : true",
    "1 / 0 == 1 || false",
    "request.path",
    "1",
    "'true'",
    "null",
    # the language
    "request.path + 'x' == '/x?a=bx'",
    "b'a' + b'b' == b'ab'",
    "[1] + [2] == [1, 2]",
    "9223372036854775807 + 1 > 0",
    "request.headers['x-a'] + request.path == '1/x?a=b'",
    "request.size + response.size == request.size && request.size + (request.size + request.size) == 3 * request.size",
    "request.time + duration('1s') > request.time && duration('1s') + request.time > request.time",
    "xds.route_metadata.filter_metadata.r.l + xds.route_metadata.filter_metadata.r.l == []",
    "1 + 2 == 3 && 1.5 + 1.5 == 3.0 && 1u + 1u == 2u",
    "duration('1s') + duration('1s') == duration('2s')",
    "timestamp(1) + duration('1s') == timestamp(2)",
    "request.path.matches('^/x.a=b$')",
    "1 == 1.0 && 1 < 2u && '1' != 1",
    "type(request.path) == string && type(1u) == uint",
    "{'a': 1}['a'] == 1 && {'a': 1}.a == 1 && size({}) == 0",
    "google.protobuf.Duration{seconds: 1} == duration('1s')",
    "int('7') + 1 == 8 && double('1.5') > 1.0 && uint(7) == 7u && bool('true')",
    "timestamp('2020-01-01T00:00:00Z').getHours('America/New_York') == 19",
)

#: With C{cel_config}.
_WITH_STRINGS = (
    "string(request.size) == '0'",
    "request.path + 'x' == '/x?a=bx'",
    "b'a' + b'b' == b'ab'",
    "[1] + [2] == [1, 2]",
    "request.headers['x-a'] + request.path == '1/x?a=b'",
    "request.size + response.size == request.size && request.time + duration('1s') > request.time",
    "xds.route_metadata.filter_metadata.r.l + xds.route_metadata.filter_metadata.r.l == ['a', 'b', 'a', 'b']",
    "request.path.upperAscii() == '/X?A=B'",
    "request.path.split('?')[1] == 'a=b'",
    "request.path.replace('x', 'y').substring(1, 2) == 'y'",
    "request.path.indexOf('?') == 2 && request.path.lastIndexOf('b') == 5 && request.path.charAt(1) == 'x'",
    "['a', 'b'].join('-') == 'a-b' && ' a '.trim() == 'a' && 'ab'.reverse() == 'ba'",
    "'%s is %d'.format(['a', 1]) == 'a is 1'",
    "strings.quote('a') == '\"a\"'",
)

_STRINGS = {"enable_string_conversion": True, "enable_string_concat": True, "enable_string_functions": True}
_ANYBODY: Tree = {"permissions": [{"any": True}], "principals": [{"any": True}]}


def _manager(filter: Tree) -> Manager:
    noted = {"text": "abc", "list": ["a", "b"], "flag": True, "none": None}
    config = {"@type": _ENVOY + "extensions.filters.http.set_metadata.v3.Config"}
    config["metadata"] = [{"metadata_namespace": "n", "value": noted}]  # type: ignore[assignment]  # of any kind
    return Manager(
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/"},
                    "name": "named",
                    "route": {"cluster": "backend"},
                    "metadata": {"filter_metadata": {"r": {"n": 1, "l": ["a", "b"]}}},
                }
            ]
        ),
        filters=json.dumps([{"name": "noted", "typed_config": config}, {"name": "rbac", "typed_config": filter}]),
        listener="{traffic_direction: OUTBOUND, metadata: {filter_metadata: {l: {k: v}}}}",
    )


def _rules(action: str, text: str, **more: object) -> Manager:
    policy = {**_ANYBODY, "condition": _tree(text), **more}
    return _manager({"@type": _RBAC, "rules": {"action": action, "policies": {"p": policy}}})


def _matcher(form: str, text: str) -> Manager:
    single = {
        "input": {"name": "i", "typed_config": {"@type": _TYPES + "xds.type.matcher.v3.HttpAttributesCelMatchInput"}},
        "custom_match": {
            "name": "c",
            "typed_config": {
                "@type": _TYPES + "xds.type.matcher.v3.CelMatcher",
                "expr_match": {form: {"expr": _tree(text)}},
            },
        },
    }
    allow = {"@type": _ENVOY + "config.rbac.v3.Action", "name": "a", "action": "ALLOW"}
    action = {"action": {"name": "a", "typed_config": allow}}
    matchers = [{"predicate": {"single_predicate": single}, "on_match": action}]
    return _manager({"@type": _RBAC, "matcher": {"matcher_list": {"matchers": matchers}}})


_MATCHED = (
    "request.headers['x-a'] == '1'",
    "request.headers['x-a'] == '2'",
    "request.headers['x-none'] == '1'",
    "has(response.code)",
    "xds.route_name == 'named'",
    "request.path",
)
_FORMS = ("parsed_expr", "checked_expr", "cel_expr_parsed", "cel_expr_checked")

LISTENERS: dict[str, Manager | Listener] = {
    **{f"allow_{number}": _rules("ALLOW", text) for number, text in enumerate(_CONDITIONS)},
    **{f"deny_{number}": _rules("DENY", text) for number, text in enumerate(_CONDITIONS)},
    **{f"strings_{number}": _rules("ALLOW", text, cel_config=_STRINGS) for number, text in enumerate(_WITH_STRINGS)},
    **{f"matcher_{number}": _matcher("cel_expr_parsed", text) for number, text in enumerate(_MATCHED)},
    **{f"form_{form}": _matcher(form, _MATCHED[0]) for form in _FORMS},
    "log": _rules("LOG", "request.headers['x-a'] == '1'"),
}

_ASKED = get(
    "/x?a=b",
    "X-A: 1",
    "X-Two: a",
    "X-Two: b",
    "X-Key: X-A",
    "X-Odd: \xff\xfe",
)


def _texts(name: str) -> str:
    kind, _, number = name.partition("_")
    told = {"allow": _CONDITIONS, "deny": _CONDITIONS, "strings": _WITH_STRINGS, "matcher": _MATCHED}.get(kind, ())
    return f"{kind}: {told[int(number)]}" if told else name


@compared(Comparison(LISTENERS, [Case(name, _texts(name), _ASKED, listener=name) for name in LISTENERS]))
class ConditionTests(SynchronousTestCase):
    """
    Who passes.
    """


#: What logs show of a request and its response.
_SHOWN = (
    *("request.path", "request.headers['x-two']", "request.headers['x-none']", "request.useragent", "request.size"),
    *("request.total_size", "request.headers_bytes", "request.protocol", "request.duration > duration('0s')"),
    *("response.code", "response.code_details", "response.flags", "response.grpc_status", "response.size"),
    *("response.headers['x-r']", "response.headers[':status']", "size(response.trailers)", "response.trailers"),
    *("has(response.backend_latency)", "has(upstream.cx_pool_ready_duration)", "upstream.port > 0"),
    *("upstream.request_attempt_count", "upstream.locality", "upstream.locality.zone", "has(upstream.local_address)"),
    *("upstream.transport_failure_reason == ''", "upstream.tls_version", "xds.cluster_name", "xds.route_name"),
    *("xds.virtual_host_name", "xds.cluster_metadata", "xds.route_metadata.filter_metadata", "xds.listener_metadata"),
    *("xds.upstream_host_metadata", "metadata.filter_metadata.n", "metadata.filter_metadata", "connection.mtls"),
    *("1.0 / 3.0", "100000000.0", "-0.0", "18446744073709551615u", "9007199254740993", "null", "b'a'", "[1, b'a']"),
    *("{'a': [1, {}]}", "{1: 2}", "type(1)", "duration('3661.5s')", "duration('0.0015s')", "duration('-1.000001s')"),
    *("timestamp('2020-01-01T00:00:00.25Z')", "'a\"b'", "size('a)b')", "10 % 4", "1 / 0", "true ? ')' : ':3'"),
)
_CUT = ("%CEL('abcdef'):3%", "%TYPED_CEL('abcdef'):3%", "%TYPED_CEL(123456):3%", "%TYPED_CEL(b'ab'):1%")


_CLIENT = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
_ROUTES = json.dumps(
    [
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 201, "body": {"inline_string": "hi"}}},
        {"match": {"prefix": "/closed"}, "route": {"cluster": "closed"}},
        {
            "match": {"prefix": "/"},
            "name": "named",
            "route": {"cluster": "backend", "prefix_rewrite": "/new"},
            "metadata": {"filter_metadata": {"r": {"n": 1, "l": ["a", "b"]}}},
        },
    ]
)
_KIND = _ENVOY + "extensions.access_loggers.filters.cel.v3.ExpressionFilter"


def _logged(format: Tree, filter: str = "", **more: object) -> Manager:
    """
    A connection manager with a log.

    @param filter: For which streams it is.
    """
    stdout = {"@type": _ENVOY + "extensions.access_loggers.stream.v3.StdoutAccessLog", "log_format": format}
    log: Tree = {"name": "log", "typed_config": stdout}
    if filter:
        typed = {"@type": _KIND, "expression": filter, **more}
        log["filter"] = {"extension_filter": {"name": "cel", "typed_config": typed}}
    manager = _manager({"@type": _RBAC})
    return Manager(json.dumps({"access_log": [log]}), _ROUTES, filters=manager.filters, listener=manager.listener)


def _json(name: str) -> Tree:
    operators = [*(f"%{name}({text})%" for text in _SHOWN), *_CUT]
    # The first key is the client's.
    return {"json_format": {"": _CLIENT, **{f"a{number:03}": text for number, text in enumerate(operators)}}}


def _text(text: str) -> Tree:
    return {"text_format_source": {"inline_string": f"{_CLIENT} {text}\n"}}


_WITH_OPTIONS = {
    **_text("%CEL(request.path.upperAscii())% %TYPED_CEL(string(1) + '2')% %CEL(request.path + 'x'):3%"),
    "formatters": [
        {"name": "cel", "typed_config": {"@type": _ENVOY + "extensions.formatter.cel.v3.Cel", "cel_config": _STRINGS}}
    ],
}

#: Which streams are logged.
_FILTERS = (
    "response.code >= 400",
    "response.code",
    "request.headers['x-none'] == '1'",
    "request.path == '/new/a' && response.headers['x-r'] == '1,2'",
    "response.flags != 0",
    "upstream.address != ''",
    "has(response.trailers.x) || response.code == 201",
)

LOGGED: dict[str, Manager | Listener] = {
    "typed": _logged(_json("TYPED_CEL")),
    "untyped": _logged(_json("CEL")),
    "text": _logged(_text(" | ".join(f"%{name}({text})%" for text in _SHOWN for name in ("CEL", "TYPED_CEL")))),
    "cut": _logged(_text(" | ".join(_CUT))),
    "strings": _logged(_WITH_OPTIONS),
    **{f"filter_{number}": _logged(_text("%CEL(request.path)%"), text) for number, text in enumerate(_FILTERS)},
    "filter_strings": _logged(_text("x"), "'A'.lowerAscii() == 'a'", cel_config={"enable_string_functions": True}),
}

_REQUESTS = {
    "proxied": get("/a", "X-Two: a", "X-Two: b"),
    "direct": request("POST /direct", "user-agent: me", "content-length: 3", body="abc"),
    "none": get("/closed"),
}

#: What measures time, and what a certificate or a peer makes different.
_VARIABLE = [(re.compile(r"(?<=\"x-request-id\":\")[^\"]*"), "(an id)")]


@compared(
    Comparison(
        LOGGED,
        [
            Case(f"{listener}_{name}", f"{name}, logged: {listener}.", data, [ok("x-r: 1", "x-r: 2")], listener)
            for listener in LOGGED
            for name, data in _REQUESTS.items()
        ],
        variable=_VARIABLE,
    )
)
class LogTests(SynchronousTestCase):
    """
    What logs show, and what they take.
    """


_CEL_INPUT = {"name": "i", "typed_config": {"@type": _TYPES + "xds.type.matcher.v3.HttpAttributesCelMatchInput"}}


def _cel(text: str) -> Tree:
    """
    A predicate.
    """
    kind = _TYPES + "xds.type.matcher.v3.CelMatcher"
    typed = {"@type": kind, "expr_match": {"cel_expr_parsed": {"expr": _tree(text)}}}
    return {"single_predicate": {"input": _CEL_INPUT, "custom_match": {"name": "c", "typed_config": typed}}}


def _responding(text: str) -> Manager:
    """
    A filter that answers otherwise where an expression holds.
    """
    policy = {
        "@type": _ENVOY + "extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy",
        "status_code": 299,
        "body": {"inline_string": "custom"},
    }
    matched = {"predicate": _cel(text), "on_match": {"action": {"name": "a", "typed_config": policy}}}
    config = {
        "@type": _ENVOY + "extensions.filters.http.custom_response.v3.CustomResponse",
        "custom_response_matcher": {"matcher_list": {"matchers": [matched]}},
    }
    return Manager(routes=_ROUTES, filters=json.dumps([{"name": "custom", "typed_config": config}]))


#: What a response has when a filter sees it.
_RESPONSES = (
    "response.code == 200",
    "response.code >= 500",
    "response.headers['x-r'] == '1,2'",
    "response.headers[':status'] == '200'",
    "has(response.code_details)",
    "has(upstream.address)",
    "response.flags == 0",
    "request.path == '/a'",
    "has(response.grpc_status)",
    "size(response.trailers) == 0",
)


def _limited(entries: list[Tree], **fields: object) -> Manager:
    """
    A limit of one request for a descriptor with an expression.
    """
    kind = _ENVOY + "extensions.rate_limit_descriptors.expr.v3.Descriptor"
    typed = {"@type": kind, "descriptor_key": "k", **fields}
    actions = [
        {"generic_key": {"descriptor_value": "g"}},
        {"extension": {"name": "envoy.rate_limit_descriptors.expr", "typed_config": typed}},
    ]
    percent = {"default_value": {"numerator": 100}}
    config = {
        "@type": _ENVOY + "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limited",
        "token_bucket": {"max_tokens": 1000, "fill_interval": "100s"},
        "filter_enabled": percent,
        "filter_enforced": percent,
        "descriptors": [
            {
                "entries": [{"key": "generic_key", "value": "g"}, *entries],
                "token_bucket": {"max_tokens": 1, "fill_interval": "100s"},
            }
        ],
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend", "rate_limits": [{"actions": actions}]}}
    return Manager(routes=json.dumps([route]), filters=json.dumps([{"name": "limit", "typed_config": config}]))


def _entry(value: str) -> list[Tree]:
    return [{"key": "k", "value": value}]


_VALUES = [
    {"header": {"key": f"x-{number}", "value": f"%CEL({text})%"}}
    for number, text in enumerate(
        ("request.path", "request.headers['x-a']", "request.headers['x-none']", "1 + 1", "response.code", "[1]", "''")
    )
]

OTHERS: dict[str, Manager | Listener] = {
    **{f"response_{number}": _responding(text) for number, text in enumerate(_RESPONSES)},
    "limit_path": _limited(_entry("/a"), text="request.path"),
    "limit_number": _limited(_entry("2"), text="1 + 1"),
    "limit_list": _limited(_entry("CelList value"), text="[1]"),
    "limit_empty": _limited(_entry(""), text="''"),
    "limit_tree": _limited(_entry("/a"), parsed=_tree("request.path")),
    "limit_fails": _limited([], text="request.headers['x-none']"),
    "limit_skips": _limited([], text="request.headers['x-none']", skip_if_error=True),
    "fields": Manager(
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/"},
                    "route": {"cluster": "backend"},
                    "request_headers_to_add": _VALUES,
                    "response_headers_to_add": _VALUES,
                }
            ]
        )
    ),
}

_TWICE: list[Step] = [get("/a", "X-A: 1"), Do.AWAIT, get("/a", "X-A: 1"), Do.AWAIT]


@compared(
    Comparison(
        OTHERS,
        [
            *[
                Case(f"{listener}_{name}", f"{name}: {listener}.", data, [ok("x-r: 1", "x-r: 2")], listener)
                for listener in OTHERS
                if not listener.startswith("limit")
                for name, data in _REQUESTS.items()
            ],
            *[
                Case(listener, "Two requests.", _TWICE, listener=listener, responses=2)
                for listener in OTHERS
                if listener.startswith("limit")
            ],
        ],
    )
)
class OtherTests(SynchronousTestCase):
    """
    Responses, limits and header fields.
    """


_NETWORK = (
    "destination.port > 0 && source.address.startsWith('127.')",
    "destination.port == 1",
    "connection.id > 0u && !connection.mtls",
    "connection.requested_server_name == ''",
    "connection.tls_version == 'TLSv1.3'",
    "!has(metadata.filter_metadata.n)",
    "xds.listener_direction == 0 && xds.filter_chain_name == ''",
    "metadata.filter_metadata.n.x == 1",
    "has(xds.route_name)",
)


def _connecting(action: str, text: str) -> Listener:
    rules = {"action": action, "policies": {"p": {**_ANYBODY, "condition": _tree(text)}}}
    kind = _ENVOY + "extensions.filters.network."
    filters = [
        {"name": "rbac", "typed_config": {"@type": kind + "rbac.v3.RBAC", "stat_prefix": "x", "rules": rules}},
        {
            "name": "tcp",
            "typed_config": {"@type": kind + "tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "backend"},
        },
    ]
    return Listener(json.dumps([{"filters": filters}]))


CONNECTIONS: dict[str, Manager | Listener] = {
    f"{action.lower()}_{number}": _connecting(action, text)
    for number, text in enumerate(_NETWORK)
    for action in ("ALLOW", "DENY")
}


@compared(
    Comparison(
        CONNECTIONS,
        [Case(name, _NETWORK[int(name.partition("_")[2])], get(), listener=name) for name in CONNECTIONS],
    )
)
class ConnectionTests(SynchronousTestCase):
    """
    Who connects.
    """


#: What logs show of connections.
_OF_CONNECTIONS = (
    *("source.port > 0", "destination.port > 0", "connection.mtls", "connection.requested_server_name"),
    *("connection.id > 0u", "connection.termination_details", "upstream.port > 0", "has(upstream.local_address)"),
    *("upstream.request_attempt_count", "upstream.transport_failure_reason", "upstream.locality", "xds.cluster_name"),
    *("xds.cluster_metadata", "xds.route_name", "xds.virtual_host_name", "xds.listener_direction"),
    *("request.path", "request.headers", "size(request.headers)", "request.protocol", "request.size"),
    *(
        "request.total_size",
        "request.duration > duration('0s')",
        "has(request.time)",
        "response.code",
        "response.flags",
    ),
    *("response.size", "response.code_details", "response.grpc_status", "metadata", "xds.upstream_host_metadata"),
)


def _proxying(cluster: str, filter: str = "") -> Listener:
    kind = _ENVOY + "extensions."
    shown = " | ".join(f"%CEL({text})%" for text in _OF_CONNECTIONS)
    stdout = {"@type": kind + "access_loggers.stream.v3.StdoutAccessLog", "log_format": _text(shown)}
    log: Tree = {"name": "log", "typed_config": stdout}
    if filter:
        log["filter"] = {"extension_filter": {"name": "cel", "typed_config": {"@type": _KIND, "expression": filter}}}
    proxy = {"@type": kind + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": cluster}
    return Listener(json.dumps([{"filters": [{"name": "tcp", "typed_config": {**proxy, "access_log": [log]}}]}]))


PROXYING: dict[str, Manager | Listener] = {
    "answered": _proxying("backend"),
    "refused": _proxying("closed"),
    "kept": _proxying("backend", "response.flags == 0"),
    "left": _proxying("closed", "response.flags == 0"),
}


@compared(
    Comparison(
        PROXYING,
        [
            Case(name, name, get(), [(ok(), Do.CLOSE)], listener=name, responses=int(name in ("answered", "kept")))
            for name in PROXYING
        ],
    )
)
class ProxiedConnectionTests(SynchronousTestCase):
    """
    What logs of C{tcp_proxy} show.
    """
