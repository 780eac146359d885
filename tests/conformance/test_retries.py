"""
Trying again.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, get, ok, request
from tests.conformance.comparison import Comparison, compared

_COUNTS = "{include_request_attempt_count: true, include_attempt_count_in_response: true}"


def _policy(policy: str, more: str = "") -> Manager:
    route = "[{match: {prefix: /}, route: {cluster: backend, retry_policy: {%s}%s}}]" % (policy, more)
    return Manager("", route, _COUNTS)


LISTENERS = {
    "never": Manager(host=_COUNTS),
    "fiveXX": _policy("retry_on: 5xx"),
    "gateway": _policy("retry_on: gateway-error"),
    "reset": _policy("retry_on: reset"),
    "resetBefore": _policy("retry_on: reset-before-request"),
    "connect": _policy("retry_on: connect-failure"),
    "fourXX": _policy("retry_on: retriable-4xx"),
    "limited": _policy("retry_on: envoy-ratelimited"),
    "codes": _policy("retry_on: retriable-status-codes, retriable_status_codes: [404, 418]"),
    "headers": _policy("retry_on: retriable-headers, retriable_headers: [{name: x-again, present_match: true}]"),
    "requests": _policy("retry_on: 5xx, retriable_request_headers: [{name: ':method', string_match: {exact: GET}}]"),
    "three": _policy("retry_on: '5xx,reset', num_retries: 3"),
    "none": _policy("retry_on: 5xx, num_retries: 0"),
    "perTry": _policy("retry_on: 5xx, per_try_timeout: 0.15s"),
    "perTryReset": _policy("retry_on: reset, per_try_timeout: 0.15s"),
    "perTryConnect": _policy("retry_on: connect-failure, per_try_timeout: 0.15s"),
    "short": _policy("retry_on: 5xx, per_try_timeout: 0.15s, num_retries: 5", ", timeout: 0.4s"),
    "grpc": _policy("retry_on: 'unavailable,cancelled'"),
    "noRetries": Manager(
        "", "[{match: {prefix: /}, route: {cluster: noRetries, retry_policy: {retry_on: 5xx}}}]", _COUNTS
    ),
    "ofHost": Manager(host="{retry_policy: {retry_on: 5xx, num_retries: 2}, include_request_attempt_count: true}"),
    "closed": Manager(
        "", "[{match: {prefix: /}, route: {cluster: closed, retry_policy: {retry_on: connect-failure}}}]", _COUNTS
    ),
    "internal": Manager(
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}", host=_COUNTS
    ),
    "smallBody": Manager(
        "",
        "[{match: {prefix: /}, route: {cluster: backend, retry_policy: {retry_on: 5xx}}}]",
        "{include_request_attempt_count: true, per_request_buffer_limit_bytes: 100}",
    ),
    "added": Manager(
        "",
        "[{match: {prefix: /}, route: {cluster: backend, retry_policy: {retry_on: 5xx}},"
        " request_headers_to_add: [{header: {key: x-added, value: again}}]}]",
        _COUNTS,
    ),
}

CLUSTERS = {"noRetries": "circuit_breakers: {thresholds: [{max_retries: 0}]}"}


def _says(status: int, *fields: str, body: str = "no") -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii")


_LATER: Script = [Do.DRAIN]
_GONE: Script = [Do.CLOSE]
_CUT: Script = [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Do.REST, Do.CLOSE]
_PARTIAL: Script = [b"HTTP/1.1 200 O", Do.CLOSE]

_SCRIPTS: tuple[tuple[str, tuple[Script, ...], str], ...] = (
    ("500", (_says(500), OK), "never fiveXX gateway none requests noRetries ofHost added connect"),
    ("502", (_says(502), OK), "fiveXX gateway"),
    ("503", (_says(503), OK), "gateway reset"),
    ("504", (_says(504), OK), "gateway"),
    ("500twice", (_says(500), _says(501)), "fiveXX three ofHost"),
    ("500empty", (_says(500, body=""), OK), "fiveXX"),
    ("500chunked", (b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", OK), "fiveXX"),
    ("500slow", ([b"HTTP/1.1 500 X\r\ncontent-length: 4\r\n\r\nab", Pause(0.2), b"cd"], OK), "fiveXX"),
    ("500forever", (_says(500), _says(502), _says(503), _says(504)), "three"),
    ("409", (_says(409), OK), "fourXX fiveXX"),
    ("404", (_says(404), OK), "codes fourXX"),
    ("418", (_says(418), OK), "codes"),
    ("again", (ok("x-again: 1"), OK), "headers fiveXX"),
    ("limited", (_says(429, "x-envoy-ratelimited: true"), OK), "limited fourXX fiveXX"),
    ("503limited", (_says(503, "x-envoy-ratelimited: true"), OK), "fiveXX"),
    ("gone", (_GONE, OK), "never fiveXX gateway reset resetBefore connect noRetries"),
    ("goneTwice", (_GONE, _GONE), "reset"),
    ("partial", (_PARTIAL, OK), "reset fiveXX connect"),
    ("garbage", (b"garbage\r\n\r\n", OK), "reset fiveXX"),
    ("cut", (_CUT, OK), "reset fiveXX"),
    ("hangs", (_LATER, OK), "perTry perTryReset perTryConnect"),
    ("hangsTwice", (_LATER, _LATER), "perTry"),
    ("hangsAlways", (_LATER,), "short"),
    ("unavailable", (ok("content-type: application/grpc", "grpc-status: 14"), OK), "grpc fiveXX"),
    ("aborted", (ok("content-type: application/grpc", "grpc-status: 10"), OK), "grpc"),
)

_INSIDE = "x-forwarded-for: 10.1.1.1"

CASES = [
    *[
        Case(
            f"{name}_{listener}", f"The upstream: {name}; the policy: {listener}.", get(), scripts, listener, limit=2.5
        )
        for name, scripts, listeners in _SCRIPTS
        for listener in listeners.split()
    ],
    Case("closed", "Nobody listens.", get(), listener="closed"),
    Case(
        "post", "A body is sent again.", request("POST /", "content-length: 3", body="abc"), (_says(500), OK), "fiveXX"
    ),
    Case(
        "postChunked",
        "A chunked one too.",
        request("POST /", "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
        (_says(500), OK),
        "fiveXX",
    ),
    Case(
        "postNotMatched",
        "A request that is not to be tried again.",
        request("POST /", "content-length: 0"),
        (_says(500), OK),
        "requests",
    ),
    Case(
        "postLarge",
        "One above the limit is not.",
        request("POST /", "content-length: 200", body="x" * 200),
        (_says(500), OK),
        "smallBody",
    ),
    Case(
        "postSmall",
        "One below it is.",
        request("POST /", "content-length: 90", body="x" * 90),
        (_says(500), OK),
        "smallBody",
    ),
    Case(
        "postEarly",
        "An answer before the request's end.",
        [request("POST /", "content-length: 4", body="ab"), Pause(0.15), b"cd"],
        ([Do.EARLY, _says(500), Pause(0.3)], OK),
        "fiveXX",
        limit=1.5,
    ),
    *[
        Case(
            f"order_{name}",
            "An internal client's own policy.",
            get("/", _INSIDE, *fields),
            scripts,
            "internal",
            limit=2.0,
        )
        for name, fields, scripts in (
            ("on", ("x-envoy-retry-on: 5xx",), (_says(500), OK)),
            ("onUnknown", ("x-envoy-retry-on: nonsense",), (_says(500), OK)),
            ("max", ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 2"), (_says(500), _says(500), OK)),
            ("maxZero", ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 0"), (_says(500), OK)),
            ("maxAlone", ("x-envoy-max-retries: 2",), (_says(500), OK)),
            (
                "codes",
                ("x-envoy-retry-on: retriable-status-codes", "x-envoy-retriable-status-codes: 404, 410"),
                (_says(410), OK),
            ),
            (
                "names",
                ("x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: X-Again"),
                (ok("x-again: 1"), OK),
            ),
            ("grpc", ("x-envoy-retry-grpc-on: unavailable",), (ok("grpc-status: 14"), OK)),
            ("perTry", ("x-envoy-retry-on: 5xx", "x-envoy-upstream-rq-per-try-timeout-ms: 150"), (_LATER, OK)),
        )
    ],
    Case("orderStranger", "A stranger has none.", get("/", "x-envoy-retry-on: 5xx"), (_says(500), OK), "internal"),
    Case("countIgnored", "A count that comes from outside.", get("/", "x-envoy-attempt-count: 7"), listener="never"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class RetryTests(SynchronousTestCase):
    """
    Retries.
    """
