"""
Copies of requests, and what becomes of the original.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, get, ok, request
from tests.conformance.comparison import Comparison, compared


def _mirror(policy: str, action: str = "", **levels: str) -> Manager:
    mirrors = f", request_mirror_policies: [{policy}]" if policy else ""
    route = "[{match: {prefix: /}, route: {cluster: backend%s%s}}]" % (mirrors, action)
    return Manager("", route, **levels)


_TO = "{cluster: mirror}"

LISTENERS = {
    "plain": _mirror(_TO),
    "two": _mirror("{cluster: mirror}, {cluster: mirror2}"),
    "keeps": _mirror("{cluster: mirror, disable_shadow_host_suffix_append: true}"),
    "never": _mirror("{cluster: mirror, runtime_fraction: {default_value: {numerator: 0}}}"),
    "header": Manager(
        "",
        "[{match: {prefix: /}, route: {cluster: backend, request_mirror_policies: [{cluster_header: x-mirror}]}}]",
    ),
    "mutates": _mirror(
        "{cluster: mirror, request_headers_mutations: [{remove: x-gone}, {append: {header: {key: x-new, value: a}}}]}"
    ),
    "literal": _mirror("{cluster: mirror, host_rewrite_literal: other.example}"),
    "rewrites": _mirror(_TO, ", prefix_rewrite: /new, host_rewrite_literal: rewritten.example:80"),
    "ofHost": _mirror("", host="request_mirror_policies: [{cluster: mirror}]"),
    "ofTable": _mirror("", table="request_mirror_policies: [{cluster: mirror}]"),
    "nearest": _mirror("{cluster: mirror2}", host="request_mirror_policies: [{cluster: mirror}]"),
    "empty": _mirror("{cluster: empty}"),
    "closed": _mirror("{cluster: closed}"),
    "emptyMain": Manager(
        "", "[{match: {prefix: /}, route: {cluster: empty, request_mirror_policies: [{cluster: mirror}]}}]"
    ),
    "retries": _mirror(_TO, ", retry_policy: {retry_on: 5xx}"),
}

_CHUNKED = ("transfer-encoding: chunked",)

CASES = [
    *[
        Case(f"mirror_{name}", f"A GET, {name}.", get("/a?b=c", "x-gone: 1"), listener=name, unordered=True)
        for name in LISTENERS
        if name not in ("retries", "header")
    ],
    Case("mirrorPort", "A host with a port.", get("/", "Host: example.com:8080"), unordered=True),
    Case("mirrorSix", "An IPv6 address.", get("/", "Host: [::1]:80"), unordered=True),
    Case("mirrorHeader", "A cluster by header.", get("/", "x-mirror: mirror"), listener="header", unordered=True),
    Case("mirrorHeaderNone", "No header.", get("/"), listener="header", unordered=True),
    Case("mirrorHeaderUnknown", "No such cluster.", get("/", "x-mirror: x"), listener="header", unordered=True),
    Case("mirrorPost", "A body.", request("POST /", "content-length: 3", body="abc"), unordered=True),
    Case(
        "mirrorHead", "A HEAD.", request("HEAD /"), (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",), unordered=True
    ),
    Case(
        "mirrorChunked",
        "A body in chunks.",
        request("POST /", *_CHUNKED, body="3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        unordered=True,
    ),
    Case(
        "mirrorPieces",
        "One that comes slowly.",
        [request("POST /", "content-length: 6", body="ab"), Do.REST, b"cd", Do.REST, b"ef"],
        unordered=True,
    ),
    Case(
        "mirrorTwoPost",
        "Two copies of a body.",
        request("POST /", "content-length: 3", body="abc"),
        listener="two",
        unordered=True,
    ),
    Case(
        "mirrorFails",
        "The mirror's answer is nobody's business.",
        get("/"),
        ([Do.CLOSE],),
        "plain",
        unordered=True,
        limit=1.0,
    ),
    Case("mirrorAnswer500", "Both fail.", get("/"), (b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",), unordered=True),
    Case("mirrorBig", "A large answer.", get("/"), (ok(body="x" * 100_000),), unordered=True),
    Case(
        "mirrorTwice",
        "Two requests on one connection.",
        [get("/1"), Do.AWAIT, Do.REST, get("/2")],
        (OK,),
        responses=2,
        unordered=True,
    ),
]

CLUSTERS = {"mirror": "{}", "mirror2": "{}"}


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class MirrorTests(SynchronousTestCase):
    """
    Mirrors.
    """
