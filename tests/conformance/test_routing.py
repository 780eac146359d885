"""
Which route is taken, and what it does to a request and its response.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get, ok, request
from tests.conformance.comparison import Comparison, compared


def _rules(*rules: str, table: str = "", host: str = "", settings: str = "") -> Manager:
    """
    A route for each rule, C{match -> more fields of the action}; a response tells which was taken.
    """
    routes = []
    for number, rule in enumerate(rules):
        match, _, action = rule.partition(" -> ")
        tells = "response_headers_to_add: [{header: {key: x-route, value: '%d'}}]" % number
        routes.append("{name: r%d, match: {%s}, route: {cluster: backend, %s}, %s}" % (number, match, action, tells))
    return Manager(settings, f"[{', '.join(routes)}]", host, table=table)


def _mutated(where: str) -> Manager:
    """
    Header mutations in one place.
    """
    fields = (
        "{request_headers_to_add: ["
        "{header: {key: x-default, value: a}},"
        "{header: {key: x-append, value: b}, append_action: APPEND_IF_EXISTS_OR_ADD},"
        "{header: {key: x-absent, value: c}, append_action: ADD_IF_ABSENT},"
        "{header: {key: x-over, value: d}, append_action: OVERWRITE_IF_EXISTS_OR_ADD},"
        "{header: {key: x-exists, value: e}, append_action: OVERWRITE_IF_EXISTS},"
        "{header: {key: x-empty, value: ''}},"
        "{header: {key: x-kept, value: ''}, keep_empty_value: true},"
        "{header: {key: x-op,"
        " value: 'p=%PROTOCOL% m=%REQ(:METHOD)% r=%REQ(X-NO?X-IN)% none=%REQ(x-nothing)% 100%% %ROUTE_NAME%'}},"
        "{header: {key: x-addr, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%'}}],"
        " request_headers_to_remove: [x-gone, x-gone-too],"
        " response_headers_to_add: ["
        "{header: {key: x-r-default, value: a}},"
        "{header: {key: x-r-absent, value: c}, append_action: ADD_IF_ABSENT},"
        "{header: {key: x-r-over, value: d}, append_action: OVERWRITE_IF_EXISTS_OR_ADD},"
        "{header: {key: x-r-op,"
        " value: '%RESPONSE_CODE% %RESP(x-up)% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'}}],"
        " response_headers_to_remove: [x-r-gone, server]}"
    )
    if where == "route":
        return Manager("", "[{name: r, match: {prefix: /}, route: {cluster: backend}, %s}]" % fields[1:-1])
    if where == "host":
        return Manager(host=fields)
    if where == "table":
        return Manager(table=fields)
    weighted = "{clusters: [{name: backend, weight: 1, %s}]}" % fields[1:-1]
    return Manager("", "[{name: r, match: {prefix: /}, route: {weighted_clusters: %s}}]" % weighted)


def _level(level: str) -> str:
    return "request_headers_to_add: [{header: {key: x-level, value: %s}}, {header: {key: x-%s, value: y}}]" % (
        level,
        level,
    )


_LEVELS = "[{match: {prefix: /}, route: {cluster: backend}, %s}]" % _level("route")

LISTENERS = {
    "paths": _rules(
        "path: /exact",
        "prefix: /prefix",
        "path_separated_prefix: /separated",
        "safe_regex: {regex: '/re/[0-9]+'}",
        "path: /Case, case_sensitive: false",
        "prefix: /lower, case_sensitive: false",
        "path_separated_prefix: /sep2, case_sensitive: false",
    ),
    "fields": _rules(
        "prefix: /, headers: [{name: x-exact, string_match: {exact: a}}]",
        "prefix: /, headers: [{name: x-prefix, string_match: {prefix: a}}]",
        "prefix: /, headers: [{name: x-suffix, string_match: {suffix: a}}]",
        "prefix: /, headers: [{name: x-contains, string_match: {contains: A, ignore_case: true}}]",
        "prefix: /, headers: [{name: x-regex, string_match: {safe_regex: {regex: 'a+'}}}]",
        "prefix: /, headers: [{name: x-range, range_match: {start: 1, end: 10}}]",
        "prefix: /, headers: [{name: x-present, present_match: true}]",
        "prefix: /not, headers: [{name: x-not, string_match: {exact: a}, invert_match: true}]",
        "prefix: /missing, headers: [{name: x-missing, string_match: {exact: a},"
        " invert_match: true, treat_missing_header_as_empty: true}]",
        "prefix: /absent, headers: [{name: x-absent, present_match: false}]",
        "prefix: /method, headers: [{name: ':method', string_match: {exact: POST}}]",
        "prefix: /authority, headers: [{name: ':authority', string_match: {exact: a.example}}]",
        "prefix: /hostfield, headers: [{name: host, string_match: {exact: a.example}}]",
        "prefix: /scheme, headers: [{name: ':scheme', string_match: {exact: https}}]",
        "prefix: /query, query_parameters: [{name: a, string_match: {exact: b}}]",
        "prefix: /query, query_parameters: [{name: c, present_match: true}]",
        "prefix: /grpc, grpc: {}",
        "prefix: /never, runtime_fraction: {default_value: {numerator: 0}}",
        "prefix: /always, runtime_fraction: {default_value: {numerator: 100}}",
    ),
    "rewrites": _rules(
        "prefix: /prefix -> prefix_rewrite: /new",
        "prefix: /slash/ -> prefix_rewrite: /",
        "path: /exact -> prefix_rewrite: /other",
        "safe_regex: {regex: '/re/.*'} -> regex_rewrite: {pattern: {regex:"
        " '^/re/([^/]+)/(.*)$'}, substitution: '/\\2/\\1'}",
        "prefix: /all -> regex_rewrite: {pattern: {regex: 'a'}, substitution: 'b'}",
        "path_separated_prefix: /sep -> prefix_rewrite: /new",
        "prefix: /host -> host_rewrite_literal: other.example",
        "prefix: /hosthead -> host_rewrite_header: x-host",
        "prefix: /HostHead, case_sensitive: false -> host_rewrite_header: x-host",
        "prefix: /forwarded -> host_rewrite_literal: other.example, append_x_forwarded_host: true",
        "prefix: /by -> host_rewrite_path_regex: {pattern: {regex: '^/by/([^/]+)/.*$'}, substitution: '\\1.example'}",
        "prefix: /auto -> auto_host_rewrite: true",
    ),
    "hosts": Manager(
        hosts="[%s]"
        % ", ".join(
            "{name: h%d, domains: [%s], routes: [{name: h%d, match: {prefix: /}, route: {cluster: backend}}]}"
            % (n, d, n)
            for n, d in enumerate(
                ("exact.example", "'*.example'", "'*.long.example'", "'prefix.*'", "'port.example:8080'", "'*'")
            )
        )
    ),
    "ignorePort": Manager(
        hosts="[{name: a, domains: [exact.example], routes: [{match: {prefix: /}, route: {cluster: backend}}]}]",
        table="ignore_port_in_host_matching: true",
    ),
    **{f"mutated_{where}": _mutated(where) for where in ("route", "host", "table", "weight")},
    "levels": Manager("", _LEVELS, "{%s}" % _level("host"), table="{%s}" % _level("table")),
    "levelsSpecific": Manager(
        "", _LEVELS, "{%s}" % _level("host"), table="{most_specific_header_mutations_wins: true, %s}" % _level("table")
    ),
    "weights": Manager(
        "",
        "[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: empty, weight: 0},"
        " {name: backend, weight: 100}]}}}]",
    ),
    "weightsOther": Manager(
        "",
        "[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: empty,"
        " weight: 100}, {name: backend, weight: 0}]}}}]",
    ),
    "weightHost": Manager(
        "",
        "[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: backend,"
        " weight: 100, host_rewrite_literal: w.example}]}}}]",
    ),
    "byHeader": Manager("", "[{match: {prefix: /}, route: {cluster_header: x-cluster}}]"),
    "plain": Manager(),
    "normalize": Manager("normalize_path: true"),
    "merge": Manager("merge_slashes: true"),
    "both": Manager("{normalize_path: true, merge_slashes: true}"),
    "reject": Manager("{normalize_path: true, path_with_escaped_slashes_action: REJECT_REQUEST}"),
    "redirectSlashes": Manager("{normalize_path: true, path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT}"),
    "forwardSlashes": Manager("{normalize_path: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}"),
}

_PATHS = (
    "/exact /exact/ /exact?q /Exact /prefix /prefixed /prefix/x?y /separated /separated/x /separatedx /separated?x"
    " /re/12 /re/12x /re/12?x /case /CASE?x /LOWER/x /Sep2/x /other / /exact%20 //exact"
).split()

_FIELDS: tuple[tuple[str, bytes], ...] = (
    ("exact", get("/", "x-exact: a")),
    ("exactOther", get("/", "x-exact: b")),
    ("exactTwice", get("/", "x-exact: a", "x-exact: b")),
    ("prefix", get("/", "x-prefix: abc")),
    ("suffix", get("/", "x-suffix: cba")),
    ("contains", get("/", "x-contains: bab")),
    ("regex", get("/", "x-regex: aaa")),
    ("regexPart", get("/", "x-regex: aab")),
    ("range", get("/", "x-range: 9")),
    ("rangeEnd", get("/", "x-range: 10")),
    ("rangeWord", get("/", "x-range: five")),
    ("present", get("/", "x-present:")),
    ("not", get("/not", "x-not: b")),
    ("notMissing", get("/not")),
    ("missing", get("/missing")),
    ("absent", get("/absent")),
    ("absentThere", get("/absent", "x-absent: 1")),
    ("method", request("POST /method", "content-length: 0")),
    ("authority", get("/authority", "Host: a.example")),
    ("hostField", get("/hostfield", "Host: a.example")),
    ("scheme", get("/scheme", "x-forwarded-proto: https")),
    ("query", get("/query?a=b")),
    ("queryOther", get("/query?a=c")),
    ("queryTwice", get("/query?a=c&a=b")),
    ("queryPresent", get("/query?x&c")),
    ("queryEncoded", get("/query?a=%62")),
    ("grpc", request("POST /grpc", "content-type: application/grpc", "content-length: 0")),
    ("grpcPlus", request("POST /grpc", "content-type: application/grpc+proto", "content-length: 0")),
    ("grpcNot", request("POST /grpc", "content-type: application/grpcx", "content-length: 0")),
    ("never", get("/never")),
    ("always", get("/always")),
)

_REWRITES = (
    "/prefix /prefix/a?b=c /prefixed /slash/a /slash/ /exact?x /re/a/b/c?d=e /re/a /allan?a /sep /sep/x /sep?x"
    " /host/a /forwarded/x /by/some/x?y /by /auto"
).split()

_HOSTS = (
    "exact.example EXACT.example other.example a.b.long.example long.example prefix.com prefix.a.b"
    " port.example:8080 port.example exact.example:80 nothing 127.0.0.1"
).split()

_IN = (
    "x-in: in",
    "x-append: 0",
    "x-absent: 0",
    "x-over: 0",
    "x-over: 1",
    "x-exists: 0",
    "x-gone: 1",
    "X-Gone-Too: 1",
    "x-default: 0",
)
_OUT = ok("x-up: up", "x-r-default: 0", "x-r-absent: 0", "x-r-over: 0", "x-r-gone: 1")

_NORMALIZED = (
    "/a/../b /a/./b /a/b/.. /.. /../a //a//b /a//../b /a%2fb /a%2F..%2Fb /a%5cb /a\\b /%2e%2e/a /a/%2E/b /a%41 /a%zz"
    " /a?b/../c /a;x/../b /a/..;x/b / /a/b/../../.. /%2f%2fa /a%00b /a%2f%2fb /%7Euser /a%25b /."
).split()

CASES = [
    *[
        Case(f"path_{number}", f"Which route has {path}.", get(path), listener="paths")
        for number, path in enumerate(_PATHS)
    ],
    *[Case(f"field_{name}", "Which route has such a request.", data, listener="fields") for name, data in _FIELDS],
    *[
        Case(f"rewrite_{number}", f"What becomes of {path}.", get(path), listener="rewrites")
        for number, path in enumerate(_REWRITES)
    ],
    Case("rewriteHostHeader", "The host of a field.", get("/HOSTHEAD", "x-host: field.example"), listener="rewrites"),
    Case("rewriteHostMissing", "Of a field that is missing.", get("/HOSTHEAD"), listener="rewrites"),
    Case(
        "rewriteForwardedHost",
        "x-forwarded-host was there.",
        get("/forwarded", "x-forwarded-host: q"),
        listener="rewrites",
    ),
    *[
        Case(f"host_{number}", f"Which virtual host is {host}.", get("/", f"Host: {host}"), listener="hosts")
        for number, host in enumerate(_HOSTS)
    ],
    Case("ignorePort", "A port may not matter.", get("/", "Host: exact.example:99"), listener="ignorePort"),
    *[
        case
        for where in ("route", "host", "table", "weight")
        for case in (
            Case(f"mutated_{where}", "Fields are there.", get("/", *_IN), (_OUT,), listener=f"mutated_{where}"),
            Case(f"mutatedBare_{where}", "Fields are not there.", get("/"), (ok(),), listener=f"mutated_{where}"),
        )
    ],
    Case("levels", "The order of levels.", get("/"), listener="levels"),
    Case("levelsSpecific", "The other order.", get("/"), listener="levelsSpecific"),
    Case("levelsThere", "With a field of the client.", get("/", "x-level: client"), listener="levels"),
    Case("weights", "A weight of 0 is never taken.", get("/"), listener="weights"),
    Case("weightsOther", "The other way round.", get("/"), listener="weightsOther"),
    Case("weightHost", "A host by weight.", get("/"), listener="weightHost"),
    Case("byHeader", "A cluster that a field names.", get("/", "x-cluster: backend"), listener="byHeader"),
    Case("byHeaderUnknown", "One that is not there.", get("/", "x-cluster: nobody"), listener="byHeader"),
    Case("byHeaderMissing", "No field.", get("/"), listener="byHeader"),
    *[
        Case(f"normal_{listener}_{number}", f"{path} ({listener}).", get(path), listener=listener)
        for listener in ("normalize", "merge", "both", "reject", "redirectSlashes", "forwardSlashes")
        for number, path in enumerate(_NORMALIZED)
    ],
]


@compared(Comparison(LISTENERS, CASES))
class RoutingTests(SynchronousTestCase):
    """
    Routes.
    """
