# -*- test-case-name: tests.admin.explain.test_timeouts -*-
"""
Which time-outs a request has, and what set each: the answer to "why after 15 seconds?".
"""

from __future__ import annotations

from typing import Any

from meshproxy.admin.explain.place import placeOf
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.retries import effectiveRetryPolicy
from meshproxy.routing.route import Route
from meshproxy.routing.timeouts import effectiveMaxStreamDuration, effectiveTimeout

__all__ = ["timeoutsOf"]

_DEFAULT = "default"


def timeoutsOf(
    manager: Section, route: Route | None, action: Section | None, cluster: Section | None, headers: RequestHeaders
) -> list[dict[str, str]]:
    """
    All of them, in the order in which a request meets them.

    @param manager: The connection manager.
    @param route: The route, and C{action} its C{RouteAction}, where it forwards.
    @param cluster: The cluster, where it is known.
    @param headers: The request after the connection manager prepared it; it is changed.
    """
    common = manager.childOrEmpty("common_http_protocol_options")
    found = [
        _of(manager, "request_headers_timeout", 0.0, "the head of the request is not there: 408"),
        _of(manager, "request_timeout", 0.0, "the request is not received to its end: 408"),
    ]
    if route is not None and route.action is not None and action is not None:
        found += _ofRoute(route, action, headers)
    if action is not None and action.has("idle_timeout"):
        found.append(_of(action, "idle_timeout", 0.0, "nothing moves on the stream: 504", "stream_idle_timeout"))
    else:
        found.append(_of(manager, "stream_idle_timeout", 300.0, "nothing moves on the stream: 504"))
    if route is None or route.action is None or effectiveMaxStreamDuration(route.action, headers) is None:
        found.append(_of(common, "max_stream_duration", 0.0, "the stream lasts that long: 504"))
    if cluster is not None:
        found.append(_of(cluster, "connect_timeout", 5.0, "no connection to the endpoint, TLS included: 503"))
        found.append(_poolIdle(cluster))
    found += [
        _of(common, "idle_timeout", 3600.0, "no stream on the connection: it closes"),
        _of(common, "max_connection_duration", 0.0, "the connection is that old: it ends"),
        _of(manager, "delayed_close_timeout", 1.0, "the client does not close after the last response"),
        _of(manager, "drain_timeout", 5.0, "a draining connection does not end"),
    ]
    return found


def _of(section: Section, field: str, default: float, when: str, name: str = "") -> dict[str, str]:
    isSet = section.has(field)
    seconds = section.seconds(field, default)
    return _row(name or field, seconds, placeOf(section, field) if isSet else _DEFAULT, when)


def _row(name: str, seconds: float | None, source: str, when: str) -> dict[str, str]:
    shown = "never" if not seconds else f"{seconds:g}s"
    return {"name": name, "value": shown, "set_by": source, "when": when}


def _ofRoute(route: Route, action: Section, headers: RequestHeaders) -> list[dict[str, str]]:
    compiled: Any = route.action
    asked = {
        name
        for name in (b"x-envoy-upstream-rq-timeout-ms", b"x-envoy-upstream-rq-per-try-timeout-ms")
        if name in headers.first
    }
    policy = effectiveRetryPolicy(compiled.retryPolicy, headers)
    duration = effectiveMaxStreamDuration(compiled, headers)
    total, perTry = effectiveTimeout(compiled, headers, policy)
    source = placeOf(action, "timeout") if action.has("timeout") else _DEFAULT
    if b"x-envoy-upstream-rq-timeout-ms" in asked:
        source = "the request's x-envoy-upstream-rq-timeout-ms"
    when = "no whole response since the request was received, all tries together: 504"
    found = [_row("timeout", total, source, when)]
    retry = action.childOrEmpty("retry_policy")
    if b"x-envoy-upstream-rq-per-try-timeout-ms" in asked:
        source = "the request's x-envoy-upstream-rq-per-try-timeout-ms"
    else:
        source = placeOf(retry, "per_try_timeout") if retry.has("per_try_timeout") else _DEFAULT
    found.append(_row("per_try_timeout", perTry, source, "no response to a try: it is tried again, or 504"))
    if policy is not None and policy.perTryIdleTimeout:
        source = placeOf(retry, "per_try_idle_timeout") if retry.has("per_try_idle_timeout") else _DEFAULT
        found.append(_row("per_try_idle_timeout", policy.perTryIdleTimeout, source, "nothing moves on a try: 504"))
    if duration is not None:
        limits = action.childOrEmpty("max_stream_duration")
        field = "max_stream_duration" if limits.has("max_stream_duration") else ""
        when = "the stream lasts that long: 504"
        found.append(_row("max_stream_duration", duration, placeOf(limits, field), when))
    return found


_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _poolIdle(cluster: Section) -> dict[str, str]:
    common = cluster.child("common_http_protocol_options")
    options = cluster.entries("typed_extension_protocol_options").get(_OPTIONS)
    unpacked = None if options is None else options.unpack()
    if unpacked is not None:
        common = unpacked.child("common_http_protocol_options") or common
    when = "no request on an upstream connection: it closes"
    if common is None:
        return _row("idle_timeout (upstream)", 3600.0, _DEFAULT, when)
    return _of(common, "idle_timeout", 3600.0, when, "idle_timeout (upstream)")
