"""
What clusters say of the requests that go to them, and what routes say beside it.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, get, ok, request
from tests.conformance.comparison import Comparison, compared

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _cluster(options: str, more: str = "") -> str:
    return (
        f'{{typed_extension_protocol_options: {{{_OPTIONS}: {{"@type": type.googleapis.com/{_OPTIONS}, '
        f"explicit_http_config: {{http_protocol_options: {{}}}}, {options}}}}}{more}}}"
    )


_PROMPT = "retry_back_off: {base_interval: 0.001s}"
# The keys of the ring do not depend on addresses, which differ.
_HASHED = (
    ", lb_policy: RING_HASH, load_assignment: {cluster_name: likes, endpoints: [{lb_endpoints: [%s]}]}"
    % ", ".join(
        f"{{metadata: {{filter_metadata: {{envoy.lb: {{hash_key: {key}}}}}}}, "
        f"endpoint: {{address: {{socket_address: {{address: $ADDRESS, port_value: {port}}}}}}}}}"
        for key, port in (("one", "$BACKEND"), ("two", "$CLOSED"))
    )
)

CLUSTERS = {
    "retries": _cluster(f"retry_policy: {{retry_on: 5xx, num_retries: 2, {_PROMPT}}}"),
    "never": _cluster("retry_policy: {}"),
    "mirrors": _cluster("request_mirror_policies: [{cluster: mirror}]"),
    "nowhere": _cluster("request_mirror_policies: [{cluster: nowhere-at-all}]"),
    "copyCopied": _cluster("request_mirror_policies: [{cluster: retries}]"),
    "copyTwice": _cluster("request_mirror_policies: [{cluster: mirrors}]"),
    "mirror": "",
    "other": "",
    "likes": _cluster("hash_policy: [{header: {header_name: x-user}}]", _HASHED),
    "cookies": _cluster("hash_policy: [{cookie: {name: seen, ttl: 100s}}]", ", lb_policy: RING_HASH"),
    "perTry": _cluster(f"retry_policy: {{retry_on: 5xx, per_try_timeout: 0.2s, {_PROMPT}}}"),
    "asked": _cluster(
        f"retry_policy: {{retry_on: 5xx, {_PROMPT}, retriable_request_headers: "
        "[{name: x-again, present_match: true}]}"
    ),
}


def _dropping(percentage: str) -> str:
    return (
        "load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address:"
        " {address: $ADDRESS, port_value: $BACKEND }}}}]}], policy: {drop_overloads: [{category: load%s}]}}"
    ) % percentage


CLUSTERS |= {
    "dropsAll": _dropping(", drop_percentage: {numerator: 100}"),
    "dropsMost": _dropping(", drop_percentage: {numerator: 999999, denominator: MILLION}"),
    "dropsNone": _dropping(", drop_percentage: {numerator: 0}"),
    "dropsUnsaid": _dropping(""),
}


def _to(cluster: str, action: str = "", host: str = "") -> Manager:
    counted = "include_request_attempt_count: true, include_attempt_count_in_response: true"
    route = "[{match: {prefix: /}, route: {cluster: %s%s}}]" % (cluster, action)
    return Manager("", route, "{%s%s}" % (counted, host))


_ROUTES_RETRY = ", retry_policy: {retry_on: retriable-4xx, num_retries: 1, %s}" % _PROMPT

LISTENERS = {
    **{name: _to(name) for name in ("dropsAll", "dropsMost", "dropsNone", "dropsUnsaid")},
    "dropsRetry": _to("dropsAll", ", retry_policy: {retry_on: 5xx, num_retries: 3}, timeout: 3s"),
    "dropsQuiet": Manager(
        "", "[{match: {prefix: /}, route: {cluster: dropsMost}}]", router="suppress_envoy_headers: true"
    ),
    "dropsBody": Manager("", "[{match: {prefix: /}, route: {cluster: dropsAll}}]"),
    "retries": _to("retries"),
    "retriesBoth": _to("retries", _ROUTES_RETRY),
    "retriesHost": _to("retries", "", _ROUTES_RETRY),
    "neverBoth": _to("never", _ROUTES_RETRY),
    "inside": Manager(
        "{use_remote_address: true, internal_address_config: "
        "{cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}",
        "[{match: {prefix: /}, route: {cluster: retries}}]",
    ),
    "mirrors": _to("mirrors"),
    "mirrorsBoth": _to("mirrors", ", request_mirror_policies: [{cluster: other}]"),
    "mirrorsHost": _to("mirrors", "", ", request_mirror_policies: [{cluster: other}]"),
    "copyCopied": _to("copyCopied"),
    "copyTwice": _to("copyTwice"),
    "nowhere": _to("nowhere"),
    "nowhereBoth": _to("nowhere", ", request_mirror_policies: [{cluster: other}]"),
    "likes": _to("likes"),
    "likesBoth": _to("likes", ", hash_policy: [{header: {header_name: x-other}}]"),
    "cookies": _to("cookies"),
    "cookiesBoth": _to("cookies", ", hash_policy: [{cookie: {name: ours, ttl: 50s}}]"),
    "perTry": _to("perTry"),
    "asked": _to("asked"),
    "perTryBoth": _to("perTry", ", retry_policy: {retry_on: reset, per_try_timeout: 0.4s}"),
    "retriesTry": _to("retries", ", retry_policy: {retry_on: reset, per_try_timeout: 0.2s, num_retries: 5}"),
    "idleTry": _to("retries", ", retry_policy: {retry_on: reset, per_try_idle_timeout: 0.2s, num_retries: 5}"),
    "hedges": _to("retries", ", retry_policy: {per_try_timeout: 0.2s}, hedge_policy: {hedge_on_per_try_timeout: true}"),
    "hedgesNot": _to("perTry", ", hedge_policy: {hedge_on_per_try_timeout: true}"),
    "weighted": Manager(
        "",
        "[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: retries, weight: 1}]}}}]",
        "{include_request_attempt_count: true}",
    ),
    "byHeader": Manager(
        "", "[{match: {prefix: /}, route: {cluster_header: x-to}}]", "{include_request_attempt_count: true}"
    ),
}


def _says(status: int) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\nno" % status


_HANGS = [Do.DRAIN]

CASES = [
    *[
        Case(f"{status}_{name}", f"The policy: {name}.", get(), (_says(status), _says(status), OK), name)
        for name in ("retries", "retriesBoth", "retriesHost", "neverBoth", "asked", "weighted")
        for status in (503, 409)
    ],
    *[
        Case(f"drops_{name}", f"Requests that are dropped: {name}.", get(), listener=name)
        for name in ("dropsAll", "dropsMost", "dropsNone", "dropsUnsaid", "dropsRetry", "dropsQuiet", "dropsBody")
    ],
    Case(
        "drops_body",
        "One with a body.",
        request("POST /", "content-length: 3", body="abc") + get(),
        listener="dropsBody",
        responses=2,
    ),
    Case("askedFor", "Only what asks.", get("/", "x-again: 1"), (_says(503), OK), "asked"),
    Case("byHeader", "The request names it.", get("/", "x-to: retries"), (_says(503), OK), "byHeader"),
    Case(
        "orders",
        "The request's own say.",
        get("/", "x-envoy-retry-on: retriable-4xx", "x-envoy-max-retries: 1"),
        (_says(409), OK),
        "inside",
    ),
    Case(
        "post",
        "A body is sent again.",
        request("POST /", "content-length: 3", body="abc"),
        (_says(503), OK),
        "retries",
    ),
    *[
        Case(f"late_{name}", f"The time of a try: {name}.", get(), (_HANGS, OK), name, limit=1.5, unordered=True)
        for name in ("perTry", "perTryBoth", "retriesTry", "idleTry", "hedges", "hedgesNot")
    ],
    *[
        Case(f"copies_{name}", f"Who gets copies: {name}.", get("/a"), listener=name, unordered=True)
        for name in ("mirrors", "mirrorsBoth", "mirrorsHost", "nowhere", "nowhereBoth")
    ],
    Case("copyCopied", "Whether copies are tried again.", get(), (_says(503),), "copyCopied", unordered=True),
    Case("copyTwice", "Whether copies are copied.", get(), (OK,), "copyTwice", unordered=True),
    *[
        Case(
            f"like_{name}_{number}",
            "Which endpoint, by what is alike.",
            get("/", f"x-user: {number}", f"x-other: {number + 100}"),
            listener=name,
        )
        for name in ("likes", "likesBoth")
        for number in range(6)
    ],
    Case("cookie", "A cookie is told.", get(), listener="cookies"),
    Case("cookieBoth", "Which one.", get(), listener="cookiesBoth"),
    Case("cookieSeen", "It is there.", get("/", "cookie: seen=1"), (ok("x-a: b"),), listener="cookies"),
]


# It is made of the ports of the connection.
_COOKIE = (re.compile(r'(?<=seen=")[0-9a-f]{16}(?=")'), "(a fingerprint)")


@compared(Comparison(LISTENERS, CASES, CLUSTERS, [_COOKIE]))
class ClusterOptionsTests(SynchronousTestCase):
    """
    C{retry_policy}, C{hash_policy} and C{request_mirror_policies} of C{HttpProtocolOptions}.
    """
