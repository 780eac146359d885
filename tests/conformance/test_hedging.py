"""
Late tries that go on beside the next one.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, Pause, Script, get, ok, request
from tests.conformance.comparison import Comparison, compared


def _retries(more: str = "", hedges: str = "hedge_policy: {hedge_on_per_try_timeout: true}") -> Manager:
    policy = f"{{num_retries: 2, per_try_timeout: 0.4s, retry_back_off: {{base_interval: 0.001s}}{more}}}"
    return Manager(
        routes=f"[{{match: {{prefix: /}}, route: {{cluster: backend, timeout: 1.8s, retry_policy: {policy}, "
        f"{hedges}}}}}]",
        host="{include_request_attempt_count: true, include_is_timeout_retry_header: true}",
    )


LISTENERS = {
    "hedges": _retries(", retry_on: 5xx"),
    "only": _retries(", retry_on: connect-failure"),
    "plain": _retries(", retry_on: 5xx", "priority: DEFAULT"),
    "host": Manager(
        routes="[{match: {prefix: /}, route: {cluster: backend, timeout: 1.8s, retry_policy: {retry_on: 5xx, "
        "num_retries: 1, per_try_timeout: 0.4s, retry_back_off: {base_interval: 0.001s}}}}]",
        host="hedge_policy: {hedge_on_per_try_timeout: true}",
    ),
    "inside": Manager(
        "{use_remote_address: true, internal_address_config: "
        "{cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}",
        routes="[{match: {prefix: /on}, route: {cluster: backend, timeout: 1.8s, hedge_policy: "
        "{hedge_on_per_try_timeout: true}, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.4s, "
        "retry_back_off: {base_interval: 0.001s}}}}, {match: {prefix: /}, route: {cluster: backend, timeout: 1.8s, "
        "retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.4s, "
        "retry_back_off: {base_interval: 0.001s}}}}]",
    ),
    "none": Manager(routes="[{match: {prefix: /}, route: {cluster: backend, hedge_policy: {}}}]"),
}

_OK = ok("x-which: a", body="a")
_OTHER = ok("x-which: b", body="b")
_BAD = b"HTTP/1.1 503 No\r\ncontent-length: 1\r\n\r\nx"

# What each try gets, in the order in which they begin, four tenths of a second apart.
_SCRIPTS: dict[str, tuple[Script, ...]] = {
    "first": ([Pause(0.7), _OK], [Pause(1.5), _OTHER]),
    "second": ([Pause(1.6), _OK], [Pause(0.2), _OTHER]),
    "firstBad": ([Pause(0.6), _BAD], [Pause(0.5), _OK]),
    "secondBad": ([Pause(0.9), _OK], [Pause(0.1), _BAD], [Pause(1.4), _OTHER]),
    "allBad": ([Pause(0.9), _BAD], [Pause(0.2), _BAD], _BAD),
    "lastBadFirst": ([Pause(1.2), _OK], [Pause(0.1), _BAD], [Pause(0.2), _BAD]),
    "firstGone": ([Pause(0.6), Do.RESET], [Pause(0.5), _OK]),
    "secondGone": ([Pause(0.9), _OK], [Pause(0.1), Do.RESET], [Pause(1.4), _OTHER]),
    "none": ([Pause(3)],),
    "soon": (_OK,),
    "soonBad": (_BAD, _OK),
}
_ASKED = {"hedges": tuple(_SCRIPTS), "only": ("first", "firstBad", "lastBadFirst", "none", "soonBad")}

CASES = [
    *[
        Case(f"{listener}_{name}", f"{listener}: {name}.", get("/"), _SCRIPTS[name], listener, limit=3, unordered=True)
        for listener, names in _ASKED.items()
        for name in names
    ],
    Case("plain_none", "Without it.", get("/"), _SCRIPTS["none"], "plain", limit=3, unordered=True),
    Case("host_second", "By the virtual host.", get("/"), _SCRIPTS["second"], "host", limit=3, unordered=True),
    Case(
        "plain_asked",
        "By the request.",
        get("/", "x-envoy-hedge-on-per-try-timeout: true"),
        _SCRIPTS["first"],
        "inside",
        limit=3,
        unordered=True,
    ),
    Case(
        "hedges_declined",
        "Not by the request.",
        get("/on", "x-envoy-hedge-on-per-try-timeout: false"),
        _SCRIPTS["first"],
        "inside",
        limit=3,
        unordered=True,
    ),
    Case(
        "hedges_body",
        "With a body.",
        request("POST /", "content-length: 3", body="abc"),
        _SCRIPTS["second"],
        "hedges",
        limit=3,
        unordered=True,
    ),
    Case("none_soon", "Without retries.", get("/"), (_OK,), "none"),
]

_LEFT = [(re.compile(r"(?<=x-envoy-expected-rq-timeout-ms: )1[0-9]{3}$|(?<=timeout-ms: )[0-9]{3}$"), "(less)")]


@compared(Comparison(LISTENERS, CASES, None, _LEFT))
class HedgingTests(SynchronousTestCase):
    """
    C{hedge_on_per_try_timeout}.
    """
