# -*- test-case-name: tests.admin.explain.test_answer,tests.admin.explain.test_verdicts -*-
"""
What becomes of the head of a request: before a route is chosen, and on its way upstream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import Question
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders, isGRPC
from meshproxy.http.requestheaders import compileRequestHeaders
from meshproxy.routing.route import Route

if TYPE_CHECKING:
    from meshproxy.http.manager import ConnectionManager

__all__ = ["changes", "prepareHead", "requestOf", "sentHead"]


def requestOf(question: Question) -> Answer:
    """
    The request, as it was asked about.
    """
    principal = {"principal": question.principal} if question.principal else {}
    return {
        **principal,
        "method": question.method,
        "scheme": question.scheme,
        "authority": question.authority,
        "path": question.path,
        "headers": [f"{name}: {value}" for name, value in question.fields],
        "source": question.source,
    }


def prepareHead(manager: ConnectionManager, headers: RequestHeaders, stream: StreamInfo) -> LocalReply | None:
    """
    Do to the head what the connection manager does before it chooses a route.

    @return: The answer to a request that it does not serve.
    """
    settings = manager.settings
    if settings.normalizePath is not None and headers.path[:1] == b"/":
        result = settings.normalizePath(headers.path)
        if not isinstance(result, bytes):
            if isinstance(result, tuple) and not isGRPC(headers):
                return LocalReply(307, b"", "path_normalization_failed: redirected to the normalized path")
            return LocalReply(400, b"", "path_normalization_failed")
        headers.path = result
    if settings.stripAuthority is not None:
        settings.stripAuthority(headers, stream.connection)
    if settings.mutateEarly is not None:
        settings.mutateEarly(headers, stream)
    prepare = compileRequestHeaders(settings.forwarding, lambda: b"(made for each request)")
    try:
        client = prepare(headers, stream.connection)
    except RemoteProtocolError as error:
        return LocalReply(error.statusHint, b"", error.details)
    if isinstance(client, LocalReply):
        return client
    if client is not None:
        stream.remoteAddress = client
    return None


def sentHead(route: Route, headers: RequestHeaders, stream: StreamInfo) -> Answer:
    """
    The head as it goes upstream, but for what single clusters of several do to it.
    """
    sent = headers.copy()
    if route.finalizeRequestHeaders is not None:
        route.finalizeRequestHeaders(sent, stream)
    return {
        "authority": fromBytes(sent.authority),
        "path": fromBytes(sent.path),
        "changes": list(changes(headers, sent)),
    }


def changes(before: RequestHeaders, after: RequestHeaders) -> Iterator[Answer]:
    """
    What is otherwise in a head.
    """
    old, new = ({name: each.values(name) for name, _ in each.allFields()} for each in (before, after))
    for name in sorted({*old, *new}):
        was, now = (b",".join(values.get(name, [])) for values in (old, new))
        if was != now:
            yield {"field": fromBytes(name), "before": fromBytes(was), "after": fromBytes(now)}
