"""
The filters that look at where a browser's request comes from: cors and csrf.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPE = "'@type': type.googleapis.com/envoy.extensions.filters.http"
_NAME = "envoy.filters.http"
_CORS = f"[{{name: {_NAME}.cors, typed_config: {{{_TYPE}.cors.v3.Cors}}}}]"
_ALWAYS = "default_value: {numerator: 100}"
_NEVER = "default_value: {numerator: 0}"


def _policy(fields: str) -> str:
    return f"typed_per_filter_config: {{{_NAME}.cors: {{{_TYPE}.cors.v3.CorsPolicy, {fields}}}}}"


def _cors(fields: str) -> Manager:
    return Manager("", f"[{{match: {{prefix: /}}, route: {{cluster: backend}}, {_policy(fields)}}}]", filters=_CORS)


def _csrf(fields: str) -> Manager:
    return Manager(filters=f"[{{name: {_NAME}.csrf, typed_config: {{{_TYPE}.csrf.v3.CsrfPolicy, {fields}}}}}]")


_FRIENDS = "allow_origin_string_match: [{exact: 'https://a.example'}, {suffix: .friends.example}]"
_WHOLE = (
    f"{_FRIENDS}, allow_methods: 'GET, PUT', allow_headers: x-one, expose_headers: 'x-two, x-three', max_age: '600',"
    " allow_credentials: true, allow_private_network_access: true"
)

LISTENERS = {
    "cors": _cors(_WHOLE),
    "corsAny": _cors("allow_origin_string_match: [{exact: '*'}], allow_methods: '*', allow_headers: '*'"),
    "corsPrefix": _cors("allow_origin_string_match: [{prefix: '*'}]"),
    "corsOff": _cors(f"{_FRIENDS}, filter_enabled: {{{_NEVER}}}"),
    "corsShadow": _cors(f"{_FRIENDS}, filter_enabled: {{{_NEVER}}}, shadow_enabled: {{{_ALWAYS}}}"),
    "corsKeep": _cors(f"{_WHOLE}, forward_not_matching_preflights: false"),
    "corsNone": Manager(filters=_CORS),
    "corsLevels": Manager(
        "",
        f"[{{match: {{prefix: /open}}, route: {{cluster: backend}}, {_policy('allow_credentials: false')}}},"
        f" {{match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: d}}}}}},"
        f" {{match: {{prefix: /off}}, route: {{cluster: backend}},"
        f" {_policy(f'filter_enabled: {{{_NEVER}}}')}}},"
        " {match: {prefix: /}, route: {cluster: backend}}]",
        host="{" + _policy(_WHOLE) + "}",
        filters=_CORS,
    ),
    "csrf": _csrf(f"filter_enabled: {{{_ALWAYS}}}"),
    "csrfMore": _csrf(
        f"filter_enabled: {{{_ALWAYS}}}, additional_origins: [{{exact: shop.example}}, {{suffix: .friends.example}}]"
    ),
    "csrfOff": _csrf(f"filter_enabled: {{{_NEVER}}}"),
    "csrfShadow": _csrf(f"filter_enabled: {{{_NEVER}}}, shadow_enabled: {{{_ALWAYS}}}"),
    "csrfRoutes": Manager(
        "",
        f"[{{match: {{prefix: /free}}, route: {{cluster: backend}}, typed_per_filter_config:"
        f" {{{_NAME}.csrf: {{{_TYPE}.csrf.v3.CsrfPolicy, filter_enabled: {{{_NEVER}}}}}}}}},"
        " {match: {prefix: /}, route: {cluster: backend}}]",
        filters=f"[{{name: {_NAME}.csrf, typed_config: {{{_TYPE}.csrf.v3.CsrfPolicy,"
        f" filter_enabled: {{{_ALWAYS}}}}}}}]",
    ),
}

_ORIGINS = {
    "known": ("origin: https://a.example",),
    "suffix": ("origin: http://x.friends.example:8080",),
    "unknown": ("origin: https://b.example",),
    "empty": ("origin: ",),
    "none": (),
    "star": ("origin: *",),
    "twice": ("origin: https://a.example", "origin: https://b.example"),
}
_PREFLIGHT = ("access-control-request-method: PUT", "access-control-request-headers: x-one, x-two")
_READS = ok("access-control-allow-origin: https://upstream.example", "access-control-expose-headers: x-up")

_SOURCES = {
    "same": ("origin: https://example.com",),
    "samePort": ("origin: https://example.com:443",),
    "sameUser": ("origin: https://me@example.com",),
    "case": ("origin: https://EXAMPLE.com",),
    "bare": ("origin: example.com",),
    "null": ("origin: null",),
    "other": ("origin: https://evil.example",),
    "none": (),
    "empty": ("origin: ",),
    "shop": ("origin: https://shop.example",),
    "friend": ("origin: https://x.friends.example",),
    "referer": ("referer: https://example.com/a?b#c",),
    "refererQuery": ("referer: https://example.com?b",),
    "refererOther": ("referer: https://evil.example/example.com",),
    "emptyReferer": ("origin: ", "referer: https://example.com/"),
    "nullReferer": ("origin: null", "referer: https://example.com/"),
    "otherReferer": ("origin: https://evil.example", "referer: https://example.com/"),
    "relativeReferer": ("referer: /a",),
    "noHost": ("origin: https://",),
    "odd": ("origin: ht!tp://example.com",),
}

CASES = [
    *[
        Case(f"{listener}_{name}", f"A request, origin {name}.", get("/x", *fields), (_READS,), listener)
        for listener in ("cors", "corsAny", "corsPrefix", "corsOff", "corsShadow", "corsNone")
        for name, fields in _ORIGINS.items()
    ],
    *[
        Case(
            f"{listener}_{name}_preflight",
            f"A preflight request, origin {name}.",
            request("OPTIONS /x", *fields, *_PREFLIGHT),
            listener=listener,
        )
        for listener in ("cors", "corsAny", "corsOff", "corsShadow", "corsKeep")
        for name, fields in _ORIGINS.items()
    ],
    Case(
        "corsPrivate",
        "A preflight request for a private network.",
        request("OPTIONS /", *_ORIGINS["known"], *_PREFLIGHT, "access-control-request-private-network: true"),
        listener="cors",
    ),
    Case(
        "corsPrivateNot",
        "One whose field says something else.",
        request("OPTIONS /", *_ORIGINS["known"], *_PREFLIGHT, "access-control-request-private-network: 1"),
        listener="cors",
    ),
    Case("corsOptions", "OPTIONS that is no preflight.", request("OPTIONS /", *_ORIGINS["known"]), listener="cors"),
    Case(
        "corsAnyNoHeaders",
        "A preflight request that asks for no headers.",
        request("OPTIONS /", *_ORIGINS["known"], _PREFLIGHT[0]),
        listener="corsAny",
    ),
    *[
        Case(
            f"corsLevels_{path[1:]}_{method}",
            "Levels are asked one after the other.",
            request(f"{method} {path}", *_ORIGINS["known"], *_PREFLIGHT),
            listener="corsLevels",
        )
        for path in ("/open", "/direct", "/off", "/other")
        for method in ("OPTIONS", "GET")
    ],
    *[
        Case(
            f"{listener}_{name}",
            f"POST, source {name}.",
            request("POST /x", *fields, "content-length: 0"),
            listener=listener,
        )
        for listener in ("csrf", "csrfMore")
        for name, fields in _SOURCES.items()
    ],
    *[
        Case(f"csrf_{method}", f"{method}.", request(f"{method} /", "content-length: 0"), listener="csrf")
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "TRACE")
    ],
    *[
        Case(f"{listener}_post", "Off, or only tried.", request("POST /", "content-length: 0"), listener=listener)
        for listener in ("csrfOff", "csrfShadow")
    ],
    *[
        Case(
            f"csrfRoutes_{path[1:]}",
            "A route says.",
            request(f"POST {path}", "content-length: 0"),
            listener="csrfRoutes",
        )
        for path in ("/free", "/other")
    ],
    Case(
        "csrf_hostPort",
        "The target's port counts.",
        request("POST /", "Host: example.com:8080", "origin: http://example.com:8080", "content-length: 0"),
        listener="csrf",
    ),
    Case(
        "csrf_hostPortOther",
        "Another port is another origin.",
        request("POST /", "Host: example.com:8080", "origin: http://example.com", "content-length: 0"),
        listener="csrf",
    ),
]


@compared(Comparison(LISTENERS, CASES))
class OriginTests(SynchronousTestCase):
    """
    Where requests come from.
    """
