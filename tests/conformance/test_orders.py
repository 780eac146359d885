"""
What an internal client asks of the router by headers, and what the router tells an upstream.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, Until, get, request
from tests.conformance.comparison import Comparison, compared

_INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"


def _route(action: str, host: str = "", settings: str = _INTERNAL) -> Manager:
    return Manager(settings, "[{match: {prefix: /}, route: {cluster: backend%s}}]" % action, host)


LISTENERS = {
    "plain": _route(""),
    "stranger": _route("", settings="use_remote_address: true"),
    "short": _route(", timeout: 0.15s"),
    "none": _route(", timeout: 0s"),
    "perTry": _route(", timeout: 0.5s, retry_policy: {retry_on: 5xx, per_try_timeout: 0.1s, num_retries: 2}"),
    "perTryLong": _route(", timeout: 0.2s, retry_policy: {retry_on: 5xx, per_try_timeout: 5s}"),
    "isTimeout": _route(
        ", timeout: 1s, retry_policy: {retry_on: 5xx, per_try_timeout: 0.1s, num_retries: 2}",
        "{include_is_timeout_retry_header: true, include_request_attempt_count: true}",
    ),
    "counts": _route(
        ", retry_policy: {retry_on: 5xx}",
        "{include_request_attempt_count: true, include_attempt_count_in_response: true}",
    ),
    "limited": _route(
        ", retry_policy: {retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: ["
        "{name: retry-after, format: SECONDS}, {name: x-reset, format: UNIX_TIMESTAMP}], max_interval: 2s}}"
    ),
    "budget": Manager(
        _INTERNAL, "[{match: {prefix: /}, route: {cluster: budget, retry_policy: {retry_on: 5xx, num_retries: 4}}}]"
    ),
    "window": Manager(
        _INTERNAL, "[{match: {prefix: /}, route: {cluster: window, retry_policy: {retry_on: 5xx, num_retries: 4}}}]"
    ),
    "idle": _route(
        ", retry_policy: {retry_on: 5xx, per_try_idle_timeout: 0.12s, num_retries: 1}",
    ),
    "grpcTime": _route(", max_stream_duration: {grpc_timeout_header_max: 0s}"),
    "grpcMost": _route(", max_stream_duration: {grpc_timeout_header_max: 0.08s}"),
    "grpcOffset": _route(", max_stream_duration: {grpc_timeout_header_max: 5s, grpc_timeout_header_offset: 0.1s}"),
    "duration": _route(", max_stream_duration: {max_stream_duration: 0.08s}"),
}

CLUSTERS = {
    "budget": "circuit_breakers: {thresholds: "
    "[{retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 1}}]}",
    "window": "circuit_breakers: {thresholds: "
    "[{retry_budget: {budget_percent: {value: 50}, min_retry_concurrency: 0, budget_interval: 600s}}]}",
}

# By this a client is an internal one.
_INSIDE = b"\r\nx-forwarded-for: 10.1.1.1\r\n\r\n"

_HANGS: Script = [Do.DRAIN]


def _says(status: int, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "content-length: 0", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _timeout(value: str) -> str:
    return f"x-envoy-upstream-rq-timeout-ms: {value}"


_ALT = "x-envoy-upstream-rq-timeout-alt-response: 1"

_CASES = [
    *[
        Case(f"order_timeout_{number}", f"A time-out of {value!r}.", get("/", _timeout(value)), listener="plain")
        for number, value in enumerate(("1000", "0", "-1", "abc", "", "1.5", "1e3", " 7000 ", "99999999999", "00500"))
    ],
    Case("order_strikes", "One that strikes.", get("/", _timeout("120")), (_HANGS,), limit=0.6),
    Case("order_longer", "A longer one than the route's.", get("/", _timeout("400")), (_HANGS,), "short", limit=1.2),
    Case("order_never", "None.", get("/", _timeout("120")), (_HANGS,), "none"),
    Case("order_stranger", "A stranger has none.", get("/", _timeout("100"), _ALT), listener="stranger"),
    Case("order_alt", "Another answer to a time-out.", get("/", _timeout("120"), _ALT), (_HANGS,), limit=0.6),
    Case("order_altShort", "The route's time-out.", get("/", _ALT), (_HANGS,), "short"),
    Case("order_altUnused", "None strikes.", get("/", _ALT)),
    Case("order_altHead", "HEAD.", request("HEAD /", _ALT), (_HANGS,), "short"),
    Case("order_altPerTry", "A try's time-out.", get("/", _ALT, "x-envoy-max-retries: 0"), (_HANGS,), "perTry"),
    Case("order_altStat", "Another name in statistics.", get("/", "x-envoy-upstream-alt-stat-name: other")),
    Case("order_hedge", "Hedging.", get("/", "x-envoy-hedge-on-per-try-timeout: true")),
    Case(
        "order_perTry",
        "A try's time-out by header.",
        get("/", "x-envoy-upstream-rq-per-try-timeout-ms: 100", "x-envoy-retry-on: 5xx"),
        (_HANGS, OK),
    ),
    Case(
        "order_perTryAlone",
        "Without retries.",
        get("/", "x-envoy-upstream-rq-per-try-timeout-ms: 100"),
        (_HANGS,),
        limit=0.6,
    ),
    Case("order_perTryBad", "No number.", get("/", "x-envoy-upstream-rq-per-try-timeout-ms: x")),
    Case("order_perTryLong", "One longer than the request's.", get("/"), (_HANGS,), "perTryLong"),
    Case(
        "order_perTryOff",
        "None, where the route has one.",
        get("/", "x-envoy-upstream-rq-per-try-timeout-ms: 0"),
        (_HANGS,),
        "perTry",
        limit=1.2,
    ),
    Case("perTry_all", "All tries hang.", get("/"), (_HANGS,), "perTry", limit=1.2),
    Case("isTimeout_once", "The first try hangs.", get("/"), (_HANGS, OK), "isTimeout", limit=1.2),
    Case("isTimeout_other", "The first try fails.", get("/"), (_says(500), OK), "isTimeout"),
    Case("isTimeout_mixed", "Fails, then hangs.", get("/"), (_says(500), _HANGS, OK), "isTimeout", limit=1.2),
    Case(
        "isTimeout_outside", "It comes from outside.", get("/", "x-envoy-is-timeout-retry: true"), listener="isTimeout"
    ),
    Case("counts_local", "The count in a local reply.", get("/"), ([Do.CLOSE],), "counts"),
    *[
        Case(f"limited_{name}", f"{field}.", get("/"), (_says(500, field), OK), "limited", limit=1.5)
        for name, field in (
            ("seconds", "retry-after: 0"),
            ("tooLong", "retry-after: 100"),
            ("text", "retry-after: soon"),
            ("past", "x-reset: 1000"),
            ("minus", "retry-after: -1"),
        )
    ],
    Case("budget_one", "A budget.", get("/"), (_says(500), OK), "budget"),
    Case(
        "budget_window",
        "A budget of those that were: the first request has none, the third has one.",
        [get("/"), Until(b"content-length: 0"), get("/"), Until(b"ok"), get("/")],
        (_says(500), OK, _says(500), OK),
        "window",
        responses=3,
    ),
    Case("idle_tries", "Nothing comes for a while.", get("/"), (_HANGS, OK), "idle"),
    Case(
        "idle_body",
        "It stops in the middle.",
        get("/"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", Do.DRAIN],),
        "idle",
        limit=1.0,
    ),
    *[
        Case(
            f"grpc_{name}_{number}",
            f"grpc-timeout {value!r}.",
            get("/", f"grpc-timeout: {value}"),
            (script,),
            name,
            limit=1.2,
        )
        for name, number, value, script in (
            ("grpcTime", 0, "150m", _HANGS),
            ("grpcTime", 1, "nonsense", OK),
            ("grpcTime", 2, "5S", OK),
            ("grpcMost", 0, "5S", _HANGS),
            ("grpcMost", 1, "0S", _HANGS),
            ("grpcOffset", 0, "250m", _HANGS),
            ("grpcOffset", 1, "50m", _HANGS),
            ("duration", 0, "5S", _HANGS),
        )
    ],
    *[
        Case(
            f"call_{name}_{number}",
            f"A call of gRPC with {field!r}.",
            request("POST /", "content-type: application/grpc", field, "content-length: 0"),
            ([Pause(0.4), OK],),
            name,
        )
        # Each time is far from the one that the answer takes.
        # A time that is over before anything can reach the upstream is left to tests of this proxy alone.
        for name in ("grpcTime", "grpcMost", "grpcOffset", "duration", "plain")
        for number, field in enumerate(
            ("x-a: b", *(f"grpc-timeout: {each}" for each in ("5S", "2001m", "99999999H", "80001u", "nonsense")))
        )
    ],
]

# Those that hang are not to be waited for.
CASES = [
    replace(
        case,
        limit=min(case.limit, 0.7),
        send=[step.replace(b"\r\n\r\n", _INSIDE, 1) if isinstance(step, bytes) else step for step in case.steps],
    )
    for case in _CASES
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class OrderTests(SynchronousTestCase):
    """
    Orders to the router.
    """
