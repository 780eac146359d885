# -*- test-case-name: tests.http.test_pending -*-
"""
What a stream under way waits for, and until when: asked by those who look at a proxy from outside, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshproxy.http.filter import HTTPFilter

if TYPE_CHECKING:
    from meshproxy.http.stream import Stream
    from meshproxy.http.walk import Walk

__all__ = ["deadlinesOf", "holdersOf", "waitsFor"]


def waitsFor(stream: Stream) -> str:
    """
    What a stream waits for, as far as one can tell from outside.
    """
    if stream.tunnel:
        return "the end of the tunnel"
    if stream.responseCode:
        return "the rest of the response"
    if not stream.requestEnded:
        return "the rest of the request"
    request = stream.upstream
    if request is None:
        return "a filter"
    if request._backOff is not None:
        return "the next try"
    if request.connection is not None:
        return "a filter" if request.responseStarted else "the response"
    return "an upstream connection" if stream.upstreamConnection is None or not request.over else "a filter"


def holdersOf(stream: Stream) -> Iterator[tuple[str, str]]:
    """
    The filters that let nothing pass for now: their names, and whether they hold the request or the response.
    """
    walks: list[tuple[Walk | None, str]] = [(stream._requestWalk, "request"), (stream._responseWalk, "response")]
    for walk, what in walks:
        if walk is None:
            continue
        for hold in walk.holds:
            methods, places = walk._methods(hold.event[0])
            owner = getattr(methods[places.index(hold.place)], "__self__", None) if hold.place in places else None
            if isinstance(owner, HTTPFilter):
                yield owner.context.name, what


def deadlinesOf(stream: Stream) -> Iterator[tuple[str, float]]:
    """
    The time-outs that run for a stream: their names, and when each strikes by the clock.
    """
    manager = stream.manager
    yield from _waiting("request_timeout", manager.requestDeadlines, stream)
    yield from _waiting("max_stream_duration", manager.streamDurationDeadlines, stream)
    watch: Any = stream.idleWatch if stream.isWatched else manager.streamIdleWatch
    if watch is not None:
        active = stream.lastActive if stream.relay is None else stream.relay.lastActive
        yield "stream_idle_timeout", active + watch.seconds
    request = stream.upstream
    if request is None or request.over:
        return
    yield from _waiting("timeout", request._timeouts, request)
    yield from _waiting("per_try_timeout", request._perTry, request)
    yield from _waiting("per_try_idle_timeout", request._perTryIdle, request)
    yield from _waiting("max_stream_duration", request._durations, request)
    yield from _waiting("max_stream_duration (upstream)", request._tryDuration, request)
    if request._backOff is not None:
        yield "back-off", request._backOff.getTime()
    elif request.connection is None and request._pool is not None:
        began = [dial.began for dial in request._pool._dials]
        if began:
            yield "connect_timeout", min(began) + request._pool.settings.connectTimeout


def _waiting(name: str, deadlines: Any, owner: object) -> Iterator[tuple[str, float]]:
    when = None if deadlines is None else deadlines.waiting.get(owner)
    if when is not None:
        yield name, when
