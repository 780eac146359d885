"""
The filters that look at requests before the router does: basic_auth, buffer, health_check, header_to_metadata and
set_metadata.
"""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPE = "'@type': type.googleapis.com/envoy.extensions.filters.http"
_NAME = "envoy.filters.http"


def _filter(name: str, message: str, fields: str = "") -> str:
    return f"{{name: {_NAME}.{name}, typed_config: {{{_TYPE}.{name}.v3.{message}{', ' if fields else ''}{fields}}}}}"


def _routes(name: str, message: str, fields: str, path: str = "/route") -> str:
    """
    A route that says something to a filter, and one for all else.
    """
    said = f"{{{_NAME}.{name}: {{{_TYPE}.{name}.v3.{message}, {fields}}}}}"
    return (
        f"[{{match: {{prefix: {path}}}, route: {{cluster: backend}}, typed_per_filter_config: {said}}},"
        " {match: {prefix: /}, route: {cluster: backend}}]"
    )


# user1:test1, user2:test2
_USERS = '"user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\\n# a comment\\n\\nuser2:{SHA}EJ9LPFDXsN9ynSmbxvjp75Bmlx8=\\n"'
_OTHERS = '"user3:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="'

_CHECKS = "headers: [{name: ':path', string_match: {exact: /health}}]"


def _told(*names: str) -> str:
    """
    Fields of a route configuration that tell the upstream and the client what is noted.
    """
    fields = ", ".join(
        f"{{header: {{key: x-{number}, value: '%DYNAMIC_METADATA({name})%'}}}}" for number, name in enumerate(names)
    )
    return f"{{request_headers_to_add: [{fields}], response_headers_to_add: [{fields}]}}"


_RULES = (
    "request_rules: ["
    "{header: x-text, on_header_present: {metadata_namespace: n, key: text}, on_header_missing:"
    " {metadata_namespace: n, key: text, value: nothing}},"
    "{header: x-number, on_header_present: {metadata_namespace: n, key: number, type: NUMBER}},"
    "{header: x-base64, on_header_present: {metadata_namespace: n, key: base64, encode: BASE64}, remove: true},"
    "{header: x-fixed, on_header_present: {key: fixed, value: v}},"
    "{cookie: c, on_header_present: {metadata_namespace: n, key: cookie}, on_header_missing:"
    " {metadata_namespace: n, key: cookie, value: none}},"
    "{header: ':path', on_header_present: {metadata_namespace: n, key: path, regex_value_rewrite:"
    r" {pattern: {google_re2: {}, regex: '^/([a-z]+)/.*$'}, substitution: '\1'}}},"
    "{header: x-proto, on_header_present: {metadata_namespace: n, key: proto, type: PROTOBUF_VALUE, encode: BASE64}}],"
    " response_rules: [{header: x-up, on_header_present: {metadata_namespace: n, key: up}, remove: true}]"
)

_NOTING = "realm: here, allow_missing: true, emit_dynamic_metadata: true, "
_REALM = r"""realm: 'a "quoted" \ realm'"""

LISTENERS = {
    "auth": Manager(
        routes=_routes("basic_auth", "BasicAuthPerRoute", f"users: {{inline_string: {_OTHERS}}}"),
        filters=f"[{_filter('basic_auth', 'BasicAuth', f'users: {{inline_string: {_USERS}}}')}]",
    ),
    "authRealm": Manager(
        routes=_routes("basic_auth", "BasicAuthPerRoute", f"realm: of the route, users: {{inline_string: {_OTHERS}}}"),
        filters=f"[{_filter('basic_auth', 'BasicAuth', _REALM + f', users: {{inline_string: {_USERS}}}')}]",
    ),
    "authRealmHere": Manager(
        routes=_routes("basic_auth", "BasicAuthPerRoute", f"users: {{inline_string: {_OTHERS}}}"),
        filters="[" + _filter("basic_auth", "BasicAuth", _NOTING + f"users: {{inline_string: {_USERS}}}") + "]",
        table=_told("envoy.filters.http.basic_auth"),
    ),
    "authNamed": Manager(
        filters="["
        + _filter(
            "basic_auth",
            "BasicAuth",
            f"users: {{inline_string: {_USERS}}}, forward_username_header: X-User, authentication_header: X-Auth",
        )
        + "]"
    ),
    "buffer": Manager(
        routes=_routes("buffer", "BufferPerRoute", "disabled: true"),
        filters=f"[{_filter('buffer', 'Buffer', 'max_request_bytes: 10')}]",
        settings="{http_protocol_options: {enable_trailers: true}}",
    ),
    "bufferRoute": Manager(
        routes=_routes("buffer", "BufferPerRoute", "buffer: {max_request_bytes: 3}"),
        filters=f"[{_filter('buffer', 'Buffer', 'max_request_bytes: 10')}]",
    ),
    "health": Manager(filters=f"[{_filter('health_check', 'HealthCheck', f'pass_through_mode: false, {_CHECKS}')}]"),
    "healthPass": Manager(filters=f"[{_filter('health_check', 'HealthCheck', f'pass_through_mode: true, {_CHECKS}')}]"),
    "healthCache": Manager(
        filters="["
        + _filter("health_check", "HealthCheck", f"pass_through_mode: true, cache_time: 3600s, {_CHECKS}")
        + "]"
    ),
    **{
        f"health_{cluster}_{percentage}": Manager(
            filters="["
            + _filter(
                "health_check",
                "HealthCheck",
                f"pass_through_mode: false, {_CHECKS}, cluster_min_healthy_percentages:"
                f" {{{cluster}: {{value: {percentage}}}}}",
            )
            + "]"
        )
        for cluster, percentage in (("backend", 100), ("backend", 0), ("empty", 0), ("empty", 1), ("missing", 0))
    },
    "toMetadata": Manager(
        routes=_routes(
            "header_to_metadata",
            "Config",
            "request_rules: [{header: x-text, on_header_present: {metadata_namespace: n, key: text, value: routed}}]",
        ),
        table=_told(
            "n:text",
            "n:number",
            "n:base64",
            f"{_NAME}.header_to_metadata:fixed",
            "n:cookie",
            "n:path",
            "n:proto",
            "n:up",
        ),
        filters=f"[{_filter('header_to_metadata', 'Config', _RULES)}]",
    ),
    "setMetadata": Manager(
        table=_told("a", "b", "c", "a:k"),
        filters="["
        + _filter(
            "set_metadata",
            "Config",
            "metadata_namespace: a, value: {k: old, l: [1], s: {x: 1}},"
            " metadata: [{metadata_namespace: a, value: {k: left}}, {metadata_namespace: b, value: {n: 1.5, t: true}},"
            " {metadata_namespace: b, allow_overwrite: true, value: {n: 2, l: [a]}},"
            " {metadata_namespace: b, allow_overwrite: true, value: {l: [b], s: {y: 1}, t: text}},"
            " {metadata_namespace: b, allow_overwrite: true, value: {s: {z: 2}, l: one}}, {metadata_namespace: c}]",
        )
        + "]",
    ),
}


def _basic(credentials: str, name: str = "authorization") -> str:
    return f"{name}: Basic {b64encode(credentials.encode()).decode()}"


_CREDENTIALS = {
    "right": (_basic("user1:test1"),),
    "rightOther": (_basic("user2:test2"),),
    "wrong": (_basic("user1:test2"),),
    "nobody": (_basic("nobody:test1"),),
    "routed": (_basic("user3:test1"),),
    "none": (),
    "empty": ("authorization: ",),
    "emptyToken": ("authorization: Basic ",),
    "bearer": ("authorization: Bearer abc",),
    "lower": ("authorization: basic dXNlcjE6dGVzdDE=",),
    "noColon": (_basic("user1"),),
    "emptyName": (_basic(":test1"),),
    "colons": (_basic("user1:test1:x"),),
    "unpadded": ("authorization: Basic dXNlcjE6dGVzdDE",),
    "twoBlanks": ("authorization: Basic  dXNlcjE6dGVzdDE=",),
    "garbage": ("authorization: Basic !!!!",),
    "url": ("authorization: Basic dXNlcjE6dGVzd-E=",),
    "trailing": ("authorization: Basic dXNlcjE6dGVzdDE= x",),
    "twice": (_basic("user1:test1"), _basic("user1:no")),
    "twiceOther": (_basic("user1:no"), _basic("user1:test1")),
}

_BODIES = {
    "none": get("/x"),
    "short": request("POST /x", "content-length: 5", body="abcde"),
    "full": request("POST /x", "content-length: 10", body="0123456789"),
    "long": request("POST /x", "content-length: 11", body="0123456789a"),
    "empty": request("POST /x", "content-length: 0"),
    "chunked": request("POST /x", "transfer-encoding: chunked", body="3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
    "chunkedLong": request("POST /x", "transfer-encoding: chunked", body="8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n"),
    "chunkedEmpty": request("POST /x", "transfer-encoding: chunked", body="0\r\n\r\n"),
    "trailers": request("POST /x", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"),
    "routed": request("POST /route", "content-length: 4", body="abcd"),
    "routedLong": request("POST /route", "content-length: 11", body="0123456789a"),
    "routedChunked": request("POST /route", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
}

_FIELDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "text": ("x-text: abc",),
    "textEmpty": ("x-text: ",),
    "textTwice": ("x-text: a", "x-text: b"),
    "number": ("x-number: 42",),
    "numberReal": ("x-number: -1.25e2",),
    "numberNot": ("x-number: 4a",),
    "base64": ("x-base64: YWJj",),
    "base64Unpadded": ("x-base64: YWI",),
    "base64Not": ("x-base64: !!",),
    "fixed": ("x-fixed: whatever",),
    "cookie": ("cookie: a=1; c=2; c=3",),
    "cookieQuoted": ('cookie: c="q"',),
    "cookieEmpty": ("cookie: c=",),
    "proto": ("x-proto: GgNhYmM=",),
    "protoNumber": ("x-proto: EQAAAAAAAPg/",),
    "protoNot": ("x-proto: YWJj",),
    "longest": ("x-text: " + "a" * 8191,),
    "tooLong": ("x-text: " + "a" * 8192,),
}

CASES = [
    *[
        Case(f"auth_{name}", f"Credentials: {name}.", get("/a?b", *fields), listener="auth")
        for name, fields in _CREDENTIALS.items()
    ],
    *[
        Case(
            f"auth_{name}_routed",
            f"Credentials of a route: {name}.",
            get("/route", *_CREDENTIALS[name]),
            listener="auth",
        )
        for name in ("right", "routed", "none")
    ],
    *[
        Case(f"{listener}_{path[1:]}_{name}", f"{path} with {name}.", get(path, *_CREDENTIALS[name]), listener=listener)
        for listener in ("authRealm", "authRealmHere")
        for path in ("/a?b", "/route")
        for name in ("none", "wrong", "right", "empty", "bearer")
    ],
    Case(
        "auth_grpc", "gRPC.", request("POST /", "content-type: application/grpc", "content-length: 0"), listener="auth"
    ),
    Case("auth_longPath", "A long path.", get("/" + "a" * 300), listener="auth"),
    Case(
        "authNamed",
        "Another header, and the name told.",
        get("/", _basic("user1:test1", "x-auth"), "x-user: me"),
        listener="authNamed",
    ),
    Case("authNamedUsual", "The usual header is none then.", get("/", _basic("user1:test1")), listener="authNamed"),
    *[
        Case(f"{listener}_{name}", f"A body: {name}.", data, listener=listener)
        for listener in ("buffer", "bufferRoute")
        for name, data in _BODIES.items()
        if listener == "buffer" or name.startswith("routed")
    ],
    Case(
        "buffer_slow",
        "A body in two pieces.",
        [request("POST /x", "content-length: 6", body="abc"), Do.REST, b"def"],
        listener="buffer",
    ),
    *[
        Case(f"{listener}_{name}", f"Health check: {name}.", data, listener=listener)
        for listener in LISTENERS
        if listener.startswith("health")
        for name, data in (("check", get("/health")), ("other", get("/healthy")))
    ],
    Case(
        "health_post",
        "A health check with a body.",
        request("POST /health", "content-length: 3", body="abc"),
        listener="health",
    ),
    Case("health_head", "HEAD.", request("HEAD /health"), listener="health"),
    Case(
        "healthCache_again",
        "The answer of the service counts.",
        [get("/health"), Do.AWAIT, get("/health"), Do.AWAIT, get("/other")],
        (ok("x-envoy-degraded: 1"),),
        "healthCache",
        responses=3,
    ),
    *[
        Case(f"toMetadata_{name}", f"Noted: {name}.", get("/abc/d", *fields), (ok("x-up: u"),), "toMetadata")
        for name, fields in _FIELDS.items()
    ],
    Case(
        "toMetadata_routed",
        "A route has other rules.",
        get("/route/a", "x-text: t", "x-fixed: 1"),
        listener="toMetadata",
    ),
    Case("setMetadata", "Fixed values.", get("/"), listener="setMetadata"),
]


@compared(Comparison(LISTENERS, CASES))
class RequestFilterTests(SynchronousTestCase):
    """
    Before the router.
    """
