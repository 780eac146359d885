"""
Fields that are newer than most, or older: what comes of them, beside Envoy.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Pause, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/envoy.extensions."
_PROXY = f"""
listener_filters:
- name: proxy_protocol
  typed_config:
    '@type': {_TYPES}filters.listener.proxy_protocol.v3.ProxyProtocol
    allow_requests_without_proxy_protocol: true
"""
_PORTS = "forward_proto_config: {https_destination_ports: [443, 8443], http_destination_ports: [80, 443]}"


def _limit(option: str, own: str = "", tokens: int = 5) -> str:
    """
    A local rate limit with a descriptor.
    """
    bucket = f"{{max_tokens: {tokens}, tokens_per_fill: {tokens}, fill_interval: 60s}}"
    return (
        f"{{'@type': {_TYPES}filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: l, "
        f"token_bucket: {{max_tokens: 1000, tokens_per_fill: 1000, fill_interval: 60s}}, "
        "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}, "
        f"descriptors: [{{entries: [{{key: k, value: v}}], token_bucket: {bucket}}}], "
        f"enable_x_ratelimit_headers: {option}{', ' if own else ''}{own}}}"
    )


def _limited(option: str, own: str = "", routes: str = "", tokens: int = 5) -> Manager:
    """
    A connection manager with that filter.
    """
    action = f"{{cluster: backend{', ' if routes else ''}{routes}}}"
    return Manager(
        routes=f"[{{match: {{prefix: /}}, route: {action}}}]",
        filters=f"[{{name: limit, typed_config: {_limit(option, own, tokens)}}}]",
    )


def _limits(more: str) -> str:
    return f"rate_limits: [{{actions: [{{generic_key: {{descriptor_key: k, descriptor_value: v}}}}]{more}}}]"


_TIMED = (
    "[{match: {prefix: /capped}, route: {cluster: backend, max_grpc_timeout: 0.3s}}, "
    "{match: {prefix: /any}, route: {cluster: backend, max_grpc_timeout: 0s}}, "
    "{match: {prefix: /offset}, route: {cluster: backend, max_grpc_timeout: 2s, grpc_timeout_offset: 0.05s}}, "
    "{match: {prefix: /tries}, route: {cluster: backend, max_grpc_timeout: 2s, "
    "retry_policy: {retry_on: 5xx, per_try_timeout: 0.4s}}}, "
    "{match: {prefix: /both}, route: {cluster: backend, max_grpc_timeout: 2s, "
    "max_stream_duration: {grpc_timeout_header_max: 3s}}}]"
)

LISTENERS = {
    "ports": Manager(_PORTS, listener=_PROXY),
    "edge": Manager("{use_remote_address: true, %s}" % _PORTS, listener=_PROXY),
    "hops": Manager("{use_remote_address: true, xff_num_trusted_hops: 1, %s}" % _PORTS, listener=_PROXY),
    "timed": Manager("", _TIMED),
    "shownByRoute": Manager(
        routes="[{match: {prefix: /}, route: {cluster: backend}, typed_per_filter_config: {limit: %s}}]"
        % _limit("DRAFT_VERSION_03"),
        filters="[{name: limit, typed_config: {'@type': %sfilters.http.local_ratelimit.v3.LocalRateLimit, "
        "stat_prefix: l}}]" % _TYPES,
    ),
    "never": _limited("DRAFT_VERSION_03", _limits(", x_ratelimit_option: 'OFF'")),
    "always": _limited("'OFF'", _limits(", x_ratelimit_option: DRAFT_VERSION_03")),
    "asFilter": _limited("DRAFT_VERSION_03", _limits("")),
    "byRoute": _limited("'OFF'", "", _limits(", x_ratelimit_option: DRAFT_VERSION_03")),
    "notByRoute": _limited("DRAFT_VERSION_03", "", _limits(", x_ratelimit_option: 'OFF'")),
    "over": _limited("'OFF'", _limits(", x_ratelimit_option: DRAFT_VERSION_03"), tokens=1),
    "negative": _limited("DRAFT_VERSION_03", _limits(", hits_addend: {number: 2, is_negative_hits: true}"), tokens=5),
}


def _told(port: int, path: str = "/", *fields: str) -> bytes:
    return f"PROXY TCP4 192.0.2.7 198.51.100.9 40000 {port}\r\n".encode("ascii") + get(path, *fields)


def _call(path: str, timeout: str = "", *fields: str) -> bytes:
    told = [f"grpc-timeout: {timeout}"] if timeout else []
    return request(f"POST {path}", "content-type: application/grpc", "content-length: 0", *told, *fields)


CASES = [
    *[
        Case(f"{listener}_port{port}", f"A load balancer told port {port}.", _told(port), (ok(),), listener)
        for listener in ("ports", "edge", "hops")
        for port in (443, 8443, 80, 8080)
    ],
    *[
        Case(
            f"{listener}_{name}",
            f"What is told of the scheme: {name}.",
            send,
            (ok(),),
            listener,
        )
        for listener in ("ports", "edge", "hops")
        for name, send in (
            ("direct", get("/")),
            ("said", _told(443, "/", "x-forwarded-proto: http")),
            ("saidOdd", _told(443, "/", "x-forwarded-proto: ftp")),
        )
    ],
    *[
        Case(f"timed_{name}", f"A deadline of gRPC: {name}.", send, ([Pause(0.8), ok()],), "timed", limit=1.5)
        for name, send in (
            ("capped", _call("/capped", "5S")),
            ("shorter", _call("/capped", "100m")),
            ("none", _call("/capped")),
            ("odd", _call("/capped", "abc")),
            ("zero", _call("/capped", "0S")),
            ("micro", _call("/capped", "99500u")),
            ("notGRPC", get("/capped", "grpc-timeout: 100m")),
            ("any", _call("/any", "150m")),
            ("anyNone", _call("/any")),
            ("offset", _call("/offset", "150m")),
            ("offsetSmall", _call("/offset", "40m")),
            ("tries", _call("/tries", "1S")),
            ("header", _call("/capped", "5S", "x-envoy-upstream-rq-timeout-ms: 200")),
            ("both", _call("/both", "150m")),
        )
    ],
    *[
        Case(f"limit_{name}", f"A limit is shown, or not: {name}.", get("/"), (ok(),), name)
        for name in ("never", "always", "asFilter", "byRoute", "notByRoute", "negative", "shownByRoute")
    ],
    Case("limit_over", "Over the limit.", get("/") + get("/"), (ok(),), "over", responses=2),
]

#: The tries have what was left of the time.
_LEFT = [
    (re.compile(r"(?<=grpc-timeout: )(3\d\d|[1-9]\d)m$"), "(little)m"),
    (re.compile(r"reset: [56]\d$"), "reset: 60"),
]


@compared(Comparison(LISTENERS, CASES, None, _LEFT))
class NewerFieldTests(SynchronousTestCase):
    """
    Fields of Envoy 1.40, and such as it keeps.
    """
