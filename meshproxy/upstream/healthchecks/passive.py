# -*- test-case-name: tests.upstream.healthchecks.test_passive -*-
"""
Responses to requests that say that their endpoint wants no more of them (C{x-envoy-immediate-health-check-fail}).

Only connections of clusters with checks look for that, and of those that say themselves which responses are failures,
where heads come out of the codec: no request pays for it that goes elsewhere, and all ways that a request may take here
stay as short as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from meshproxy.upstream.http2pool import HTTP2Pool

if TYPE_CHECKING:
    from meshproxy.headers import HeaderMap, ResponseHeaders
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["unwantedIn", "watchResponsesOf"]

_FIELD: Final = b"x-envoy-immediate-health-check-fail"


def unwantedIn(told: Callable[[], object]) -> Callable[[ResponseHeaders], object]:
    """
    What looks whether an endpoint wants no more requests.

    @param told: Is called when a response says so.
    """

    def seen(headers: ResponseHeaders) -> None:
        if _FIELD in headers.first:
            told()

    return seen


def watchResponsesOf(pool: HTTP1Pool, seen: Callable[[ResponseHeaders], object]) -> None:
    """
    Let the connections look at responses that a pool makes from now on. It is said to once for each class of them.

    @param seen: Is called with the head of each response, before its request gets it.
    """
    pool.seen = seen
    base: Any = pool.connectionClass
    pool.connectionClass = _watching1(base)
    if isinstance(pool, HTTP2Pool):
        base = pool.http2ConnectionClass
        pool.http2ConnectionClass = _watching2(base)


@cache
def _watching1(base: Any) -> Any:
    if getattr(base, "watchesHealth", False):
        return base

    class WatchingConnection(base):  # type: ignore[misc]  # mypy knows no classes that are values
        """
        A connection whose codec looks at heads.
        """

        watchesHealth = True

        def __init__(self, pool: HTTP1Pool) -> None:
            super().__init__(pool)
            codec: Any = self.codec
            known: Any = type(codec)
            codec.__class__ = _watchingCodec(known)
            codec.seen = pool.seen

    return WatchingConnection


@cache
def _watchingCodec(base: Any) -> Any:
    class WatchingCodec(base):  # type: ignore[misc]  # mypy knows no classes that are values
        """
        A codec that looks at heads.
        """

        seen: Callable[[ResponseHeaders], object]

        def takeWhole(self, data: bytes) -> tuple[ResponseHeaders, bytes] | None:
            """
            See L{UpstreamCodec.takeWhole}.
            """
            whole: tuple[ResponseHeaders, bytes] | None = super().takeWhole(data)
            if whole is not None:
                self.seen(whole[0])
            return whole

        def _headReceived(self, headers: ResponseHeaders, isHTTP10: bool, hasMore: bool) -> None:
            self.seen(headers)
            super()._headReceived(headers, isHTTP10, hasMore)

    return WatchingCodec


@cache
def _watching2(base: Any) -> Any:
    if getattr(base, "watchesHealth", False):
        return base

    class WatchingConnection(base):  # type: ignore[misc]  # mypy knows no classes that are values
        """
        A connection whose streams look at heads.
        """

        watchesHealth = True
        streamClass = _watchingStream(base.streamClass)

    return WatchingConnection


@cache
def _watchingStream(base: Any) -> Any:
    class WatchingStream(base):  # type: ignore[misc]  # mypy knows no classes that are values
        """
        A stream that looks at the head of its response.
        """

        __slots__ = ()

        def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
            """
            See L{UpstreamStream.responseReceived}.
            """
            self.connection.pool.seen(headers)
            super().responseReceived(headers, endStream)

        def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
            """
            See L{UpstreamStream.wholeReceived}.
            """
            self.connection.pool.seen(headers)
            super().wholeReceived(headers, body)

        def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
            """
            See L{UpstreamStream.answerReceived}.
            """
            self.connection.pool.seen(headers)
            super().answerReceived(headers, body, trailers)

    return WatchingStream
