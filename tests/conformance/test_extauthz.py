"""
The filter ext_authz, with a service that is asked over HTTP.

The service and the upstream are the same backend: its first answer is that of the service.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, get, ok, request
from tests.conformance.comparison import OF_CALLS, Comparison, compared

_TYPES = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3."
_NAME = "envoy.filters.http.ext_authz"

Tree = dict[str, Any]


def _list(*patterns: Tree) -> Tree:
    return {"patterns": list(patterns)}


def _manager(service: Tree | None = None, cluster: str = "auth", **fields: object) -> Manager:
    http = {"server_uri": {"uri": "http://auth.example", "cluster": cluster, "timeout": "0.3s"}, **(service or {})}
    config = {"@type": f"{_TYPES}ExtAuthz", "http_service": http, **fields}

    def said(**override: object) -> Tree:
        return {_NAME: {"@type": f"{_TYPES}ExtAuthzPerRoute", **override}}

    body = {"max_request_bytes": 4, "allow_partial_message": True}
    routes: list[Tree] = [
        {"match": {"prefix": "/off"}, "route": {"cluster": "backend"}, "typed_per_filter_config": said(disabled=True)},
        {
            "match": {"prefix": "/nobody"},
            "route": {"cluster": "backend"},
            "typed_per_filter_config": said(check_settings={"disable_request_body_buffering": True}),
        },
        {
            "match": {"prefix": "/body"},
            "route": {"cluster": "backend"},
            "typed_per_filter_config": said(check_settings={"with_request_body": body}),
        },
        {
            "match": {"prefix": "/", "headers": [{"name": "x-user", "string_match": {"exact": "routed"}}]},
            "route": {"cluster": "backend", "prefix_rewrite": "/for-user"},
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
    ]
    told = [{"header": {"key": "x-noted", "value": f"%DYNAMIC_METADATA({_NAME}:x-note)%"}}]
    return Manager(
        routes=json.dumps(routes),
        table=json.dumps({"request_headers_to_add": told}),
        filters=json.dumps([{"name": _NAME, "typed_config": config}]),
    )


_RICH = {
    "path_prefix": "/check",
    "authorization_request": {
        "allowed_headers": _list({"exact": "x-one"}, {"prefix": "x-many"}),
        "headers_to_add": [{"key": "x-added", "value": "%REQ(x-two)%"}, {"key": "x-one", "value": "fixed"}],
    },
    "authorization_response": {
        "allowed_upstream_headers": _list({"exact": "x-user"}, {"exact": "set-me"}),
        "allowed_upstream_headers_to_append": _list({"exact": "x-more"}),
        "allowed_client_headers": _list({"prefix": "x-deny"}),
        "allowed_client_headers_on_success": _list({"exact": "x-ok"}),
        "dynamic_metadata_from_headers": _list({"exact": "x-note"}),
    },
}
_RULED = {
    "authorization_response": {
        "allowed_upstream_headers": _list(*({"exact": name} for name in ("x-user", "x-two", "x-envoy-max-retries"))),
        "allowed_upstream_headers_to_append": _list({"exact": "x-more"}),
    }
}
_NEVER = {"default_value": {"numerator": 0}}

LISTENERS = {
    "plain": _manager(),
    "rich": _manager(_RICH, clear_route_cache=True),
    "allowed": _manager(
        allowed_headers=_list({"prefix": "x-"}, {"exact": "cookie"}), disallowed_headers=_list({"exact": "x-two"})
    ),
    "body": _manager(with_request_body={"max_request_bytes": 8}, allowed_headers=_list({"prefix": "x-"})),
    "partial": _manager(
        with_request_body={"max_request_bytes": 8, "allow_partial_message": True},
        allowed_headers=_list({"prefix": "x-"}),
    ),
    "lenient": _manager(failure_mode_allow=True, failure_mode_allow_header_add=True),
    "status": _manager(status_on_error={"code": "ServiceUnavailable"}),
    "closed": _manager(cluster="closed"),
    "path": _manager({"path_override": "/always?c=d"}),
    "ruled": _manager(_RULED, decoder_header_mutation_rules={"disallow_expression": {"regex": "x-(user|one)"}}),
    "ruledStrictly": _manager(_RULED, decoder_header_mutation_rules={"disallow_is_error": True}),
    "off": _manager(filter_enabled=_NEVER),
    "offDenies": _manager(filter_enabled=_NEVER, deny_at_disable={"default_value": True, "runtime_key": "k"}),
}


def _answer(status: int, *fields: str, body: str = "no") -> bytes:
    return ok(*fields, body=body).replace(b"200 OK", b"%d Some" % status)


_FIELDS = ("x-one: 1", "x-two: 2", "x-two: 3", "authorization: secret", "cookie: a=b", "x-many-a: a", "x-many-a: b")
_POSTS = {
    "short": request("POST /x", "content-length: 3", body="abc"),
    "exact": request("POST /x", "content-length: 8", body="abcdefgh"),
    "long": request("POST /x", "content-length: 9", body="abcdefghi"),
    "chunked": request("POST /x", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
    "nobody": request("POST /nobody", "content-length: 3", body="abc"),
    "routed": request("POST /body", "content-length: 6", body="abcdef"),
    "none": get("/x"),
}

_ANSWERS: dict[str, Script] = {
    "allowed": ok(),
    "denied": _answer(403, "x-deny-why: r", "x-other: o", "www-authenticate: Basic", "location: /l"),
    "denied401": _answer(401, "content-type: text/html", "set-cookie: a=1", "set-cookie: b=2", body="<p>"),
    "denied302": _answer(302, "location: /login", body=""),
    "created": _answer(201, "x-deny-a: 1"),
    "error": _answer(503),
    "dropped": [Do.CLOSE],
}

CASES = [
    *[
        Case(
            f"{listener}_{name}",
            f"The answer: {name}.",
            get("/a?b", "x-user: me", "x-one: 1", "x-two: 2"),
            (answer, OK),
            listener,
        )
        for listener in ("ruled", "ruledStrictly")
        for name, answer in (
            ("sets", ok("x-user: you", "x-more: 2", "x-two: they")),
            ("removes", ok("x-envoy-auth-headers-to-remove: x-one, x-two")),
            ("ours", ok("x-envoy-max-retries: 3")),
        )
    ],
    *[
        Case(f"{listener}_{name}", f"{name} through {listener}.", get("/a?b", *_FIELDS), (answer, OK), listener)
        for listener in ("plain", "rich", "allowed", "lenient", "status", "path")
        for name, answer in _ANSWERS.items()
    ],
    *[
        Case(f"rich_{name}", f"The answer: {name}.", get("/a?b", *fields), (answer, ok("x-ok: up")), "rich")
        for name, fields, answer in (
            ("sets", ("x-user: me",), ok("x-user: you", "x-user: they", "set-me: s")),
            ("appends", ("x-more: 1",), ok("x-more: 2", "x-more: 3")),
            ("removes", ("x-one: 1", "x-gone: 1"), ok("x-envoy-auth-headers-to-remove: x-gone , host,:path, X-One")),
            ("tells", (), ok("x-ok: yes", "x-no: no")),
            ("notes", (), ok("x-note: noted")),
            ("routes", (), ok("x-user: routed")),
        )
    ],
    *[
        Case(f"{listener}_{name}", f"A body: {name}.", data, (ok(), OK), listener)
        for listener in ("plain", "body", "partial")
        for name, data in _POSTS.items()
    ],
    *[
        Case(f"{listener}_{name}", f"{name} through {listener}.", data, listener=listener)
        for listener in ("closed", "off", "offDenies")
        for name, data in (("get", get("/x")), ("off", get("/off")), ("post", _POSTS["short"]))
    ],
    Case("plain_off", "A route without the filter.", get("/off"), listener="plain"),
    Case("plain_late", "No answer in time.", get("/x"), ([Pause(0.5), OK], OK), "plain"),
    Case("lenient_late", "No answer in time.", get("/x"), ([Pause(0.5), OK], OK), "lenient"),
    Case("plain_head", "HEAD is denied.", request("HEAD /x"), (_answer(403, body=""), OK), "plain"),
    Case(
        "plain_grpc",
        "gRPC is denied.",
        request("POST /x", "content-type: application/grpc", "content-length: 0"),
        (_answer(403), OK),
        "plain",
    ),
]


@compared(Comparison(LISTENERS, CASES, {"auth": ""}, variable=OF_CALLS))
class ExtAuthzTests(SynchronousTestCase):
    """
    Asking somebody else.
    """
