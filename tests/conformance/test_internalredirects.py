"""
Redirects of an upstream that the proxy follows itself.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, get, ok, request
from tests.conformance.comparison import Comparison, compared

_PREDICATE = "{name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.internal_redirect.%s}}"
_PREVIOUS = _PREDICATE % "previous_routes.v3.PreviousRoutesConfig"
_LISTED = _PREDICATE % "allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [b]"
_SAFE = _PREDICATE % "safe_cross_scheme.v3.SafeCrossSchemeConfig"


def _follows(policy: str = "", action: str = "", **more: str) -> Manager:
    follow = "internal_redirect_policy: {%s}%s" % (policy, action)
    hosts = (
        "[{name: main, domains: ['example.com', 'example.com:*'], routes: ["
        "{name: a, match: {prefix: /a}, route: {cluster: backend, %s}},"
        " {name: b, match: {prefix: /b}, route: {cluster: backend, %s}, "
        "request_headers_to_add: [{header: {key: x-b, value: b}}]},"
        " {name: direct, match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string: here}}},"
        " {name: to, match: {prefix: /to}, redirect: {path_redirect: /else}}]},"
        " {name: other, domains: ['other.example'], routes: [{name: o, match: {prefix: /}, route: {cluster: backend}}]}"
        "]" % (follow, follow)
    )
    return Manager(hosts=hosts, **more)


LISTENERS = {
    "plain": _follows(),
    "never": Manager("", "[{match: {prefix: /}, route: {cluster: backend}}]"),
    "three": _follows("max_internal_redirects: 3"),
    "none": _follows("max_internal_redirects: 0"),
    "codes": _follows("redirect_response_codes: [301, 303, 307, 308]"),
    "strange": _follows("redirect_response_codes: [200, 302]"),
    "cross": _follows("allow_cross_scheme_redirect: true"),
    "crossSafe": _follows("allow_cross_scheme_redirect: true, predicates: [%s]" % _SAFE),
    "previous": _follows("max_internal_redirects: 5, predicates: [%s]" % _PREVIOUS),
    "listed": _follows("max_internal_redirects: 5, predicates: [%s]" % _LISTED),
    "copies": _follows("response_headers_to_copy: [x-copy, x-none]"),
    "retries": _follows("", ", retry_policy: {retry_on: 5xx}"),
    "small": _follows("", "", listener="per_connection_buffer_limit_bytes: 64"),
    "rewrites": _follows("", ", prefix_rewrite: /rewritten"),
    "normal": _follows("", "", settings="{normalize_path: true, merge_slashes: true}"),
}


def _to(where: str, status: int = 302, *fields: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status} Found", f"location: {where}", f"content-length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


_B = "http://example.com/b"

CASES = [
    *[
        Case(f"follow_{name}", f"A redirect, {name}.", get("/a?x=1"), (_to(_B), OK), name, limit=1.0)
        for name in LISTENERS
        if name not in ("small",)
    ],
    *[
        Case(f"follow_{status}_{name}", f"{status}.", get("/a"), (_to(_B, status), OK), name, limit=1.0)
        for status in (300, 301, 302, 303, 304, 305, 307, 308)
        for name in ("plain", "codes")
    ],
    *[
        Case(f"location{number}", f"To {where!r}.", get("/a"), (_to(where), OK), "cross", limit=1.0)
        for number, where in enumerate(
            (
                "/b",
                "b",
                "//example.com/b",
                "",
                "http://",
                "http:///b",
                "http://example.com",
                "http://example.com/",
                "http://example.com?q=1",
                "http://example.com/b?q=1#part",
                "http://example.com/b#part",
                "http://example.com:8080/b",
                "http://EXAMPLE.com/b",
                "HTTP://example.com/b",
                "https://example.com/b",
                "https://other.example/b",
                "ftp://example.com/b",
                "http://user@example.com/b",
                "http://user:word@example.com/b",
                "http://nowhere.example/b",
                "http://other.example/o",
                "http://example.com/nothing",
                "http://example.com/b c",
                "http://example.com/b%20c",
                "http://example.com/direct",
                "http://example.com/to",
                "http://[::1]/b",
                "http://example.com/a/../b",
                "http://example.com//b",
                "mailto:x",
            )
        )
    ],
    Case("schemeCross", "To https, which is not allowed.", get("/a"), (_to("https://example.com/b"), OK)),
    Case("schemeSafe", "To https, which is not safe.", get("/a"), (_to("https://example.com/b"), OK), "crossSafe"),
    Case("redirectedDots", "A path to be normalized.", get("/a"), (_to("http://example.com/x/..//b"), OK), "normal"),
    Case("dotsBad", "One that cannot be.", get("/a"), (_to("http://example.com/b%00"), OK), "normal"),
    Case("chain", "Three in a row.", get("/a"), (_to(_B), _to("http://example.com/a2"), _to(_B), OK), "three"),
    Case("chainLong", "One too many.", get("/a"), (_to(_B), _to("http://example.com/a2"), OK), "plain"),
    Case("loop", "A loop.", get("/a"), (_to("http://example.com/a"),), "three"),
    Case(
        "loopPrevious",
        "Routes that were there.",
        get("/a"),
        (_to(_B), _to("http://example.com/a2"), _to(_B), OK),
        "previous",
    ),
    Case(
        "loopItself",
        "The same route.",
        get("/a"),
        (_to("http://example.com/a2"), _to("http://example.com/a3"), OK),
        "previous",
    ),
    Case("listedOut", "A route that is not listed.", get("/a"), (_to("http://other.example/"), OK), "listed"),
    Case(
        "copied",
        "Headers that are copied.",
        get("/a", "x-copy: old", "x-none: gone"),
        (_to(_B, 302, "x-copy: new", "x-copy: two", "set-cookie: no"), OK),
        "copies",
    ),
    Case(
        "credentials",
        "Credentials for another host.",
        get("/a", "authorization: secret", "cookie: c=1"),
        (_to("http://other.example/o"), OK),
    ),
    Case(
        "credentialsSame", "Credentials for the same.", get("/a", "authorization: secret", "cookie: c=1"), (_to(_B), OK)
    ),
    Case(
        "proxyCredentials",
        "Those for a proxy.",
        get("/a", "proxy-authorization: secret"),
        (_to("http://other.example/o"), OK),
    ),
    Case("redirectedWithBody", "The redirect has a body.", get("/a"), (_to(_B, body="moved"), OK)),
    Case(
        "withBodySlow",
        "One that is slow.",
        get("/a"),
        ([b"HTTP/1.1 302 F\r\nlocation: %b\r\ncontent-length: 4\r\n\r\nab" % _B.encode(), Pause(0.1), b"cd"], OK),
    ),
    Case("redirectedPost", "A body is sent again.", request("POST /a", "content-length: 3", body="abc"), (_to(_B), OK)),
    Case(
        "redirectedPostChunked",
        "A chunked one.",
        request("POST /a", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
        (_to(_B), OK),
    ),
    Case(
        "post303", "Another resource.", request("POST /a", "content-length: 3", body="abc"), (_to(_B, 303), OK), "codes"
    ),
    Case(
        "put303",
        "Likewise.",
        request("PUT /a", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
        (_to(_B, 303), OK),
        "codes",
    ),
    Case("head303", "A HEAD stays one.", request("HEAD /a"), (_to(_B, 303), b"HTTP/1.1 200 OK\r\n\r\n"), "codes"),
    Case(
        "redirectedPostLarge",
        "A body that is too long.",
        request("POST /a", "content-length: 200", body="x" * 200),
        (_to(_B), OK),
        "small",
    ),
    Case(
        "redirectedPostEarly",
        "A redirect before the request's end.",
        [request("POST /a", "content-length: 4", body="ab"), Pause(0.15), b"cd"],
        ([Do.EARLY, _to(_B), Pause(0.3)], OK),
        limit=1.5,
    ),
    Case("thenFails", "What it leads to fails.", get("/a"), (_to(_B), [Do.CLOSE])),
    Case(
        "then500",
        "It fails and is tried again.",
        get("/a"),
        (_to(_B), b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", OK),
        "retries",
    ),
    Case(
        "retriedThen",
        "A redirect after a retry.",
        get("/a"),
        (b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", _to(_B), OK),
        "retries",
    ),
    Case(
        "keepsAlive",
        "The connection goes on.",
        [get("/a"), Do.AWAIT, get("/b")],
        (_to(_B), ok(body="1"), ok(body="2")),
        responses=2,
    ),
    Case(
        "pipelined",
        "So do pipelined requests.",
        get("/a") + get("/b"),
        (_to(_B), ok(body="1"), ok(body="2")),
        responses=2,
    ),
    Case(
        "redirectedExternal",
        "Who it came from stays.",
        get("/a", "x-forwarded-for: 1.2.3.4", "x-request-id: 7"),
        (_to(_B), OK),
    ),
]


@compared(Comparison(LISTENERS, CASES))
class InternalRedirectTests(SynchronousTestCase):
    """
    Internal redirects.
    """
