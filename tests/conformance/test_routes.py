"""
More of what a route may say: older forms of matchers, choices by the request, redirects, and what it sends along.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, get, ok, request
from tests.conformance.comparison import Comparison, compared


def _rules(*rules: str, host: str = "", table: str = "", settings: str = "") -> Manager:
    """
    A route for each rule, C{match -> the rest of the route}.
    """
    routes = []
    for number, rule in enumerate(rules):
        match, _, rest = rule.partition(" -> ")
        rest = rest or "route: {cluster: backend}"
        tells = "response_headers_to_add: [{header: {key: x-route, value: '%d'}}]" % number
        routes.append("{name: r%d, match: {%s}, %s, %s}" % (number, match, rest, tells))
    return Manager(settings, f"[{', '.join(routes)}]", host, table=table)


LISTENERS = {
    "older": _rules(
        "prefix: /a, headers: [{name: x-a, exact_match: v}]",
        "prefix: /b, headers: [{name: x-a, prefix_match: v}]",
        "prefix: /c, headers: [{name: x-a, suffix_match: v}]",
        "prefix: /d, headers: [{name: x-a, contains_match: v}]",
        "prefix: /e, headers: [{name: x-a, safe_regex_match: {regex: 'v+'}}]",
        "prefix: /f, headers: [{name: x-a}]",
        "prefix: /g, headers: [{name: x-a, present_match: true, invert_match: true}]",
        "prefix: /h, headers: [{name: x-a, present_match: false, invert_match: true}]",
        "prefix: /i, headers: [{name: x-a, exact_match: v, invert_match: true}]",
        "prefix: /j, headers: [{name: x-a, range_match: {start: -5, end: 5}}]",
        "prefix: /k, headers: [{name: x-a, range_match: {start: 1, end: 5}, invert_match: true}]",
        "prefix: /l, headers: [{name: x-a, present_match: true, treat_missing_header_as_empty: true}]",
        "prefix: /m, headers: [{name: x-a, string_match: {exact: ''}, treat_missing_header_as_empty: true}]",
        "prefix: /n, headers: [{name: x-a, string_match: {exact: V, ignore_case: true}}, {name: x-b}]",
        "prefix: /o, headers: [{name: ':path', string_match: {suffix: '?q'}}]",
    ),
    "query": _rules(
        "prefix: /a, query_parameters: [{name: k, string_match: {prefix: v}}]",
        "prefix: /b, query_parameters: [{name: k, string_match: {safe_regex: {regex: '[0-9]+'}}}]",
        "prefix: /c, query_parameters: [{name: k, present_match: false}]",
        "prefix: /d, query_parameters: [{name: k}]",
        "prefix: /e, query_parameters: [{name: k, string_match: {exact: V, ignore_case: true}}, {name: l}]",
        "prefix: /f, query_parameters: [{name: 'k%20', present_match: true}]",
        "prefix: /g, query_parameters: [{name: k, string_match: {exact: ''}}]",
    ),
    "byCookie": _rules(
        "prefix: /a, cookies: [{name: c, string_match: {exact: v}}]",
        "prefix: /b, cookies: [{name: c, string_match: {exact: v}, invert_match: true}]",
        "prefix: /c, cookies: [{name: c, string_match: {prefix: v}}, {name: d, string_match: {exact: ''}}]",
        "prefix: /d, cookies: [{name: c, string_match: {safe_regex: {regex: 'v+'}}}], headers: [{name: x-a}]",
        "prefix: /e, cookies: [{name: C, string_match: {contains: V, ignore_case: true}}]",
        "prefix: /f, cookies: [{name: c, string_match: {suffix: '='}}]",
        "prefix: /g, cookies: [{name: c, string_match: {exact: v}}, {name: c, string_match: {exact: v},"
        " invert_match: true}]",
    ),
    "tls": _rules("prefix: /a, tls_context: {presented: true}", "prefix: /a, tls_context: {presented: false}"),
    "missing": _rules(
        *[
            f"prefix: /{code} -> route: {{cluster_header: x-c, cluster_not_found_response_code: {name}}}"
            for code, name in (("a", "SERVICE_UNAVAILABLE"), ("b", "NOT_FOUND"), ("c", "INTERNAL_SERVER_ERROR"))
        ]
    ),
    "byNumber": _rules(
        "prefix: / -> route: {weighted_clusters: {header_name: x-n, clusters: [{name: backend, weight: 30},"
        " {name: empty, weight: 70}]}}"
    ),
    "weighted": _rules(
        "prefix: / -> route: {weighted_clusters: {clusters: [{cluster_header: x-c, weight: 1,"
        " request_headers_to_add: [{header: {key: x-w, value: w}}]}]}}"
    ),
    "redirects": _rules(
        "prefix: /a -> redirect: {host_redirect: h.example}",
        "prefix: /b -> redirect: {path_redirect: /new}",
        "prefix: /c -> redirect: {prefix_rewrite: /new}",
        "prefix: /d -> redirect: {regex_rewrite: {pattern: {regex: '^/d/(.*)$'}, substitution: '/\\1/d'}}",
        "prefix: /e -> redirect: {https_redirect: true}",
        "prefix: /f -> redirect: {scheme_redirect: https, port_redirect: 8443}",
        "prefix: /g -> redirect: {path_redirect: '/new?x=1'}",
        "prefix: /h -> redirect: {path_redirect: /new, strip_query: true}",
        "prefix: /i -> redirect: {response_code: SEE_OTHER, host_redirect: 'h.example:99'}",
        "prefix: /j -> redirect: {response_code: TEMPORARY_REDIRECT, port_redirect: 80}",
        "prefix: /k -> redirect: {response_code: PERMANENT_REDIRECT, host_redirect: '[::1]'}",
    ),
    "redirectsByFormat": _rules(
        "prefix: /a -> redirect: {path_rewrite: '/new/%REQ(x-p)%/%REQ(:path)%'}",
        "prefix: /b -> redirect: {path_rewrite: '/new?x=%REQ(x-p)%'}",
        "prefix: /c -> redirect: {path_rewrite: '%REQ(x-p)%', strip_query: true}",
        "prefix: /d -> redirect: {path_rewrite: /fixed, host_redirect: h.example}",
        "prefix: /e -> redirect: {path_rewrite: '/fixed?y=1', strip_query: true}",
        "prefix: /f -> redirect: {path_rewrite: '%PATH(NQ)%.html'}",
        "prefix: /g -> redirect: {path_rewrite: ''}",
    ),
    "tlsAll": Manager(host="require_tls: ALL"),
    "tlsExternal": Manager(
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
        host="require_tls: EXTERNAL_ONLY",
    ),
    "formatted": _rules(
        "prefix: /a -> route: {cluster: backend, path_rewrite: '/new/%REQ(x-p)%'}",
        "prefix: /b -> route: {cluster: backend, host_rewrite: '%REQ(x-h)%'}",
    ),
    "cookies": _rules(
        "prefix: /a -> route: {cluster: ring, hash_policy: [{cookie: {name: c, ttl: 60s, path: /p}}]}",
        "prefix: /b -> route: {cluster: ring, hash_policy: [{cookie: {name: c, ttl: 0s}}]}",
        "prefix: /c -> route: {cluster: ring, hash_policy: [{cookie: {name: c}}]}",
        "prefix: /d -> route: {cluster: backend, hash_policy: [{cookie: {name: c, ttl: 60s}}]}",
        "prefix: /e -> route: {cluster: ring, hash_policy: [{cookie: {name: c, ttl: 60s,"
        " attributes: [{name: SameSite, value: Strict}, {name: Secure, value: ''}]}}]}",
    ),
    "folded": _rules("prefix: /Abc, case_sensitive: false", "path: /aBd", "prefix: /aBd"),
    "parameters": _rules("path: /a", "prefix: /b/", table="ignore_path_parameters_in_path_matching: true"),
}

CLUSTERS = {"ring": "lb_policy: RING_HASH"}

_OLDER = {
    "v": "x-a: v",
    "vv": "x-a: vv",
    "other": "x-a: other",
    "number": "x-a: 3",
    "minus": "x-a: -3",
    "empty": "x-a:",
    "none": "x-z: v",
    "twice": "x-a: v\r\nx-a: other",
}

# Lines of cookies, between bars.
_COOKIES = (
    "",
    "c=v",
    "c=w",
    "b=1; c=v; d=2",
    "b=1;c=v",
    "b=1 ;  c=v ",
    "b=1,c=v",
    'c="v"',
    "c='v'",
    'c="v',
    'c=v"',
    "c= v",
    "c =v",
    "c=v ; d=1",
    'c="v" ; d=1',
    "b=1;\tc=v",
    "b=1;   c=v;d",
    "c",
    "c=",
    "C=v",
    "cc=v",
    "c=w; c=v",
    "c=v; c=w",
    "c=w|c=v",
    "c=v|c=w",
    "b=1|c=v",
    "c; c=v",
    "=v; c=v",
    ";;c=v;",
    "c=; c=v",
    'c="; c=v"',
)

CASES = [
    *[
        Case(f"older_{letter}_{name}", f"/{letter} with {field!r}.", get(f"/{letter}", field), listener="older")
        for letter, names in (
            ("a", "v other none twice"),
            ("b", "vv none"),
            ("c", "vv other"),
            ("d", "vv other"),
            ("e", "vv other twice"),
            ("f", "v empty none"),
            ("g", "v empty none"),
            ("h", "v none"),
            ("i", "v other none twice"),
            ("j", "number minus v"),
            ("k", "number minus v none"),
            ("l", "v none"),
            ("m", "v empty none"),
            ("n", "v vv"),
        )
        for name, field in _OLDER.items()
        if name in names.split()
    ],
    Case("older_n_both", "Both fields.", get("/n", "x-a: v", "x-b: 1"), listener="older"),
    Case("older_o", "The path with its query.", get("/o?q"), listener="older"),
    Case("older_oNot", "Another query.", get("/o?r"), listener="older"),
    *[
        Case(f"query_{number}", f"{path}.", get(path), listener="query")
        for number, path in enumerate(
            "/a?k=vx /a?k=x /a?j=1&k=v /a /b?k=12 /b?k=1x /b?k= /c /c?k /c?k= /d?k /d?k=&x /d?j=k /e?k=v&l /e?k=v"
            " /f?k%20=1 /g?k /g?k= /g?k=x /a?k=v#x /a?K=v /d?&&k /d?=k".split()
        )
    ],
    *[
        Case(
            f"byCookie_{letter}{len(extra)}_{number}",
            f"/{letter} with {line!r}.",
            get(f"/{letter}", *(f"cookie: {each}" for each in line.split("|") if line), *extra),
            listener="byCookie",
        )
        for letter, lines, extra in (
            ("a", _COOKIES, ()),
            ("b", _COOKIES, ()),
            ("c", ("c=vv; d=", "c=vv; d", "c=v", "d=; c=v", "c=v|d=", 'c=v; d=""'), ()),
            ("d", ("c=vv", "c=vx"), ("x-a: 1",)),
            ("d", ("c=v",), ()),
            ("e", ("C=av", "c=av", "C=AV"), ()),
            ("f", ("c=v=", "c=v", 'c="v="', 'c="v"='), ()),
            ("g", ("c=v", ""), ()),
        )
        for number, line in enumerate(lines)
    ],
    Case("tlsContext", "There is no TLS.", get("/a"), listener="tls"),
    *[
        Case(f"missing_{path[1:]}_{bool(field)}", f"{path}, {field}.", get(path, *field), listener="missing")
        for path in ("/a", "/b", "/c")
        for field in ((), ("x-c: nobody",))
    ],
    *[
        Case(f"byNumber_{number}", f"{value!r}.", get("/", f"x-n: {value}"), listener="byNumber", limit=1.0)
        for number, value in enumerate(("0", "29", "30", "99", "100", "129", "130", "007"))
    ],
    Case("weightedHeader", "A weighted cluster by header.", get("/", "x-c: backend"), listener="weighted"),
    Case("weightedHeaderNone", "One that is not there.", get("/", "x-c: nobody"), listener="weighted"),
    *[
        Case(f"redirect_{number}", f"{path}.", get(path, *fields), listener="redirects")
        for number, (path, *fields) in enumerate(
            (
                ("/a?q",),
                ("/a", "Host: was:8080"),
                ("/b?q",),
                ("/c/x?q",),
                ("/d/x?q",),
                ("/e?q",),
                ("/e", "Host: h:80"),
                ("/e", "Host: h:8080"),
                ("/f", "Host: h:80"),
                ("/g?q",),
                ("/h?q",),
                ("/i?q",),
                ("/j", "Host: h:1"),
                ("/k/x", "Host: h:1"),
                ("/e", "Host: [::1]:80"),
            )
        )
    ],
    *[
        Case(f"redirectByFormat_{number}", f"{path}.", get(path, *fields), listener="redirectsByFormat")
        for number, (path, *fields) in enumerate(
            (
                ("/a/b", "x-p: it"),
                ("/a/b?q=1", "x-p: it"),
                ("/a?q",),
                ("/b", "x-p: it"),
                ("/b?q=1", "x-p: it"),
                ("/b?q=1", "x-p: a?b#c"),
                ("/c?q", "x-p: /it?z"),
                ("/c?q", "x-p: it"),
                ("/c?q",),
                ("/d?q",),
                ("/d",),
                ("/e?q",),
                ("/f/x?q=1",),
                ("/g?q",),
            )
        )
    ],
    Case("redirectPost", "A POST.", request("POST /a", "content-length: 2", body="ab"), listener="redirects"),
    Case("requireAll", "TLS is required.", get("/x?q"), listener="tlsAll"),
    Case("requireAllSaid", "Who says that it is.", get("/x?q", "x-forwarded-proto: https"), listener="tlsAll"),
    Case("requireExternal", "Of strangers.", get("/x"), listener="tlsExternal"),
    Case("requireInternal", "Not of friends.", get("/x", "x-forwarded-for: 10.1.1.1"), listener="tlsExternal"),
    Case("formattedPath", "A path of operators.", get("/a/b?q", "x-p: it"), listener="formatted"),
    Case("formattedPathNone", "An operator without a value.", get("/a/b?q"), listener="formatted"),
    Case("formattedHostNone", "One without a value.", get("/b"), listener="formatted"),
    Case("formattedHost", "A host of operators.", get("/b", "x-h: it.example"), listener="formatted"),
    *[
        Case(f"folded_{number}", f"{path}.", get(path), listener="folded")
        for number, path in enumerate(("/abc", "/ABCx", "/abd", "/aBd", "/aBdx", "/ABD"))
    ],
    *[
        Case(f"parameters_{number}", f"{path}.", get(path), listener="parameters")
        for number, path in enumerate(("/a;x=y", "/a;x?q", "/b/c;x", "/b;x/c", "/a", "/a;"))
    ],
    *[
        Case(f"cookie_{letter}_there", f"/{letter} with a cookie.", get(f"/{letter}", "cookie: c=1"), (OK,), "cookies")
        for letter in "abcde"
    ],
    *[
        Case(
            f"cookie_{letter}",
            f"/{letter} without.",
            get(f"/{letter}"),
            (ok("set-cookie: own=1"),),
            "cookies",
            source="127.1.200.1",
        )
        for letter in "cd"
    ],
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class RouteTests(SynchronousTestCase):
    """
    Routes.
    """
