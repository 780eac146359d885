"""
The filter custom_response.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/envoy."
_NAME = "envoy.filters.http.custom_response"

Tree = dict[str, Any]


def _typed(message: str, **fields: object) -> Tree:
    return {"name": "x", "typed_config": {"@type": _TYPES + message, **fields}}


def _input(message: str, **fields: object) -> Tree:
    return _typed(f"type.matcher.v3.Http{message}MatchInput", **fields)


def _local(**fields: object) -> Tree:
    message = "extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"
    return {"action": _typed(message, **fields)}


def _redirect(**fields: object) -> Tree:
    message = "extensions.http.custom_response.redirect_policy.v3.RedirectPolicy"
    return {"action": _typed(message, **fields)}


def _text(text: str) -> Tree:
    return {"inline_string": text}


def _tree(read: Tree, kind: str, branches: Tree) -> Tree:
    return {"matcher_tree": {"input": read, kind: {"map": branches}}}


def _single(read: Tree, **match: object) -> Tree:
    return {"single_predicate": {"input": read, "value_match": match}}


def _list(*branches: tuple[Tree, Tree], **more: object) -> Tree:
    matchers = [{"predicate": predicate, "on_match": onMatch} for predicate, onMatch in branches]
    return {"matcher_list": {"matchers": matchers}, **more}


def _config(matcher: Tree) -> Tree:
    return {
        "@type": f"{_TYPES}extensions.filters.http.custom_response.v3.CustomResponse",
        "custom_response_matcher": matcher,
    }


_STATUS = _input("ResponseStatusCode")
_UP = _input("ResponseHeader", header_name="x-up")
_FORMAT = "%LOCAL_REPLY_BODY% %RESPONSE_CODE% %REQ(:PATH)% %RESP(x-up)%"
_ADDED = [
    {"header": {"key": "x-added", "value": "%RESPONSE_CODE%"}},
    {"header": {"key": "content-type", "value": "text/html"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
]
_BY_STATUS = _tree(
    _STATUS,
    "exact_match_map",
    {
        "503": _local(body=_text("sorry"), status_code=200),
        "404": _local(status_code=410),
        "500": _local(body=_text("b"), body_format={"text_format_source": _text(_FORMAT)}),
        "501": _local(body_format={"json_format": {"c": "%RESPONSE_CODE%"}}, status_code=599),
        "502": _local(body=_text("added"), response_headers_to_add=_ADDED),
    },
)
_CONDITIONS = _list(
    (
        {
            "and_matcher": {
                "predicate": [
                    _single(_input("ResponseStatusCodeClass"), exact="5xx"),
                    {"not_matcher": _single(_input("ResponseHeader", header_name="x-keep"), exact="yes")},
                ]
            }
        },
        _local(body=_text("five")),
    ),
    (
        {
            "or_matcher": {
                "predicate": [
                    _single(_UP, safe_regex={"google_re2": {}, "regex": "a.*"}),
                    _single(_input("RequestHeader", header_name="x-ask"), prefix="please", ignore_case=True),
                ]
            }
        },
        {"matcher": _tree(_UP, "prefix_match_map", {"ab": _local(body=_text("ab")), "a": _local(body=_text("a"))})},
    ),
    (_single(_input("RequestHeader", header_name="x-late"), exact="1"), _local(body=_text("late"))),
    on_no_match={"matcher": _list((_single(_STATUS, exact="299"), _local(body=_text("last"))))},
)
_ROUTES: list[Tree] = [
    {
        "match": {"prefix": "/route"},
        "route": {"cluster": "backend"},
        "typed_per_filter_config": {
            _NAME: _config(_tree(_STATUS, "exact_match_map", {"503": _local(body=_text("routed"))}))
        },
    },
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 503, "body": _text("direct")}},
    {"match": {"prefix": "/none"}, "route": {"cluster": "missing"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
]


def _manager(matcher: Tree, routes: list[Tree], table: str = "") -> Manager:
    return Manager(
        routes=json.dumps(routes),
        table=table,
        filters=json.dumps([{"name": _NAME, "typed_config": _config(matcher)}]),
    )


_TABLE = "{validate_clusters: false, response_headers_to_add: [{header: {key: x-route, value: r}}]}"

_FETCHED = [
    {"header": {"key": "x-fetched", "value": "%RESPONSE_CODE%"}},
    {"header": {"key": "x-up", "value": "new"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
]
_ASKED = [
    {"header": {"key": "x-reason", "value": "%RESP(x-up)% %RESPONSE_CODE%"}},
    {"header": {"key": "x-asked", "value": "%REQ(:PATH)%"}},
]
_PAGES = {
    "400": _redirect(uri="http://pages.example/400?a=b", status_code=499, response_headers_to_add=_FETCHED),
    "401": _redirect(uri="https://pages.example:8443", request_headers_to_add=_ASKED),
    "402": _redirect(uri="http://pages.example/x#part"),
    "403": _redirect(uri="http://nowhere.example/x", request_headers_to_add=_ASKED),
    "404": _redirect(redirect_action={"path_redirect": "/pages/404"}, status_code=404),
    "405": _redirect(redirect_action={"host_redirect": "pages.example"}, status_code=405),
    "406": _redirect(redirect_action={"path_redirect": "/pages?b=c", "https_redirect": True, "port_redirect": 444}),
    "407": _redirect(redirect_action={"path_redirect": "/pages/407", "strip_query": True}),
    "408": _redirect(uri="http://pages.example/direct", status_code=418, response_headers_to_add=_FETCHED),
    "409": _redirect(uri="http://pages.example/to", status_code=418, response_headers_to_add=_FETCHED),
    "410": _redirect(redirect_action={"host_redirect": "pages.example", "scheme_redirect": "https"}),
    "411": _redirect(uri="http://user:word@pages.example/411"),
    "412": _redirect(uri="http://pages.example/412", status_code=204),
    "413": _redirect(uri="http://pages.example/413", status_code=304),
    "418": _local(body=_text("local")),
    "503": _redirect(uri="http://pages.example/503", status_code=503, response_headers_to_add=_FETCHED),
}
_HOSTS: list[Tree] = [
    {
        "name": "main",
        "domains": ["example.com"],
        "routes": [
            {"match": {"prefix": "/direct503"}, "direct_response": {"status": 503, "body": _text("direct")}},
            {"match": {"prefix": "/none"}, "route": {"cluster": "missing"}},
            {"match": {"prefix": "/rewritten"}, "route": {"cluster": "backend", "prefix_rewrite": "/other"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
        ],
    },
    {
        "name": "pages",
        "domains": ["pages.example", "pages.example:8443"],
        "routes": [
            {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": _text("page")}},
            {"match": {"prefix": "/to"}, "redirect": {"path_redirect": "/else"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
        ],
    },
]
_GUARD = {
    "name": "envoy.filters.http.rbac",
    "typed_config": {
        "@type": f"{_TYPES}extensions.filters.http.rbac.v3.RBAC",
        "rules": {
            "action": "DENY",
            "policies": {
                "p": {
                    "permissions": [{"header": {"name": "x-deny", "string_match": {"exact": "1"}}}],
                    "principals": [{"any": True}],
                }
            },
        },
    },
}


def _fetching(*filters: Tree) -> Manager:
    matcher = _tree(_STATUS, "exact_match_map", _PAGES)
    own = {"name": _NAME, "typed_config": _config(matcher)}
    return Manager(
        hosts=json.dumps(_HOSTS),
        table="{validate_clusters: false}",
        filters=json.dumps([own if chosen is OWN else chosen for chosen in filters]),
    )


OWN: Tree = {}
_BY_ORIGIN = _tree(
    _input("ResponseLocalReply"),
    "exact_match_map",
    {"true": _local(body=_text("of the proxy")), "false": _local(body=_text("of the upstream"))},
)
LISTENERS = {
    "tree": _manager(_BY_STATUS, _ROUTES, _TABLE),
    "origin": _manager(_BY_ORIGIN, [_ROUTES[1], _ROUTES[-1]]),
    "list": _manager(_CONDITIONS, [_ROUTES[1], _ROUTES[-1]]),
    "kept": _manager(
        _tree(_STATUS, "exact_match_map", {"503": _local(body=_text("x"), preserve_response_code_details=True)}),
        [_ROUTES[-1]],
    ),
    "named": _manager(
        _tree(_STATUS, "exact_match_map", {"503": _local(body=_text("x"), response_code_details="why not")}),
        [_ROUTES[-1]],
    ),
    "fetch": _fetching(OWN),
    "guarded": _fetching(_GUARD, OWN),
    "guards": _fetching(OWN, _GUARD),
}


def _ok(*fields: str, body: str = "upstream") -> bytes:
    # Envoy closes the upstream connection whose response it does not send on, this proxy where it was not read to its
    # end.
    return ok("connection: close", *fields, body=body)


def _answer(status: int, *fields: str, body: str = "upstream") -> bytes:
    return _ok("x-up: u", *fields, body=body).replace(b"200 OK", b"%d Some" % status)


CASES = [
    Case("origin_upstream", "A response of the upstream.", get("/x"), (_answer(503),), "origin"),
    Case("origin_proxy", "One of the proxy.", get("/direct"), (), "origin"),
    *[
        Case(f"tree_{status}", f"{status}.", get("/x"), (_answer(status),), "tree")
        for status in (200, 404, 500, 501, 502, 503, 504)
    ],
    *[
        Case(f"tree_route_{status}", f"{status} on a route.", get("/route"), (_answer(status),), "tree")
        for status in (200, 404, 503)
    ],
    Case("list_direct", "A direct response.", get("/direct"), listener="list"),
    Case("tree_none", "A reply of the router.", get("/none"), listener="tree"),
    Case("tree_head", "HEAD.", request("HEAD /x"), (_answer(503),), "tree"),
    Case(
        "tree_grpc",
        "gRPC.",
        request("POST /", "content-type: application/grpc", "content-length: 0"),
        (_answer(503),),
        "tree",
    ),
    Case("tree_long", "A long body is replaced.", get("/x"), (_answer(503, body="x" * 100000),), "tree"),
    *[
        Case(
            f"fetch_{status}{name}",
            f"Another page for {status}.",
            get(f"/x{query}"),
            (_answer(status), _ok("x-up: page", body="page")),
            "fetch",
            limit=1.0,
        )
        for status in (200, *range(400, 414), 418, 503)
        for name, query in (("", ""), ("_query", "?q=1"))
    ],
    *[
        Case(
            f"fetched_{status}",
            f"A page that is {status} itself.",
            get("/x"),
            (_answer(503), _answer(status)),
            "fetch",
            limit=1.0,
        )
        for status in (201, 204, 299, 301, 304, 404, 418, 500, 503)
    ],
    Case("fetch_direct", "Of a direct response.", get("/direct503"), (_ok(),), "fetch", limit=1.0),
    Case("fetch_none", "Of a reply of the router.", get("/none"), (_ok(),), "fetch", limit=1.0),
    Case("fetch_rewritten", "With a rewritten path.", get("/rewritten"), (_answer(405), _ok()), "fetch", limit=1.0),
    Case("fetch_head", "HEAD.", request("HEAD /x"), (_answer(503), _ok()), "fetch", limit=1.0),
    Case("fetch_fails", "The page cannot be had.", get("/x"), (_answer(503), [Do.CLOSE]), "fetch", limit=1.0),
    Case("fetch_long", "A long response.", get("/x"), (_answer(503, body="x" * 100000), _ok()), "fetch", limit=1.0),
    Case(
        "fetch_post",
        "The body is not sent again.",
        request("POST /x", "content-length: 5", body="hello"),
        (_answer(503), _ok()),
        "fetch",
        limit=1.0,
    ),
    Case(
        "fetch_early",
        "A response before the request's end.",
        request("POST /x", "content-length: 10", body="half"),
        ([Do.EARLY, _answer(503)], _ok()),
        "fetch",
        limit=1.0,
    ),
    Case(
        "fetch_chunked",
        "Nor a chunked one.",
        request("POST /x", "transfer-encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"),
        (_answer(503), _ok()),
        "fetch",
        limit=1.0,
    ),
    Case(
        "fetch_grpc",
        "gRPC.",
        request("POST /", "content-type: application/grpc", "content-length: 0"),
        (_answer(503), _ok()),
        "fetch",
        limit=1.0,
    ),
    Case(
        "fetch_pipelined",
        "What follows on the connection goes on.",
        get("/x") + get("/y"),
        (_answer(503), _ok(body="1"), _ok(body="2")),
        "fetch",
        responses=2,
        limit=1.0,
    ),
    *[
        Case(f"{listener}_{denied}_{status}", "A guard.", get("/x", f"x-deny: {denied}"), answers, listener, limit=1.0)
        for listener in ("guarded", "guards")
        for denied in (0, 1)
        for status, answers in ((403, (_answer(403), _ok())), (503, (_answer(503), _ok())))
    ],
    *[
        Case(f"{listener}Details", "What logs tell of why.", get("/x"), (_answer(503),), listener)
        for listener in ("kept", "named")
    ],
    *[
        Case(f"list_{name}", f"Conditions: {name}.", get("/x", *asked), (answer,), "list")
        for name, asked, answer in (
            ("five", (), _answer(503)),
            ("kept", (), _answer(503, "x-keep: yes")),
            ("regex", (), _ok("x-up: abc")),
            ("prefix", (), _ok("x-up: ac")),
            ("none", (), _ok("x-up: b")),
            ("asked", ("x-ask: PLEASE now",), _ok("x-up: ab")),
            ("askedOther", ("x-ask: please",), _ok("x-up: b")),
            ("askedMissing", ("x-ask: please",), _ok()),
            ("late", ("x-late: 1",), _ok("x-up: b")),
            ("askedLate", ("x-ask: please", "x-late: 1"), _ok("x-up: b")),
            ("last", (), _answer(299)),
        )
    ],
]


@compared(Comparison(LISTENERS, CASES))
class CustomResponseTests(SynchronousTestCase):
    """
    Other answers.
    """
