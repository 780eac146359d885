# -*- test-case-name: tests.http.test_replymapping -*-
"""
C{local_reply_config}: other words, another status and more fields for the answers that this proxy gives by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from meshproxy.accesslog.filters import LogFilter, RuntimeInteger, compileFilter
from meshproxy.accesslog.formatter import Formatter
from meshproxy.accesslog.logs import compileBodyFormat
from meshproxy.config import Section
from meshproxy.flags import LocalReply, ResponseFlag, grpcStatus
from meshproxy.headers import ResponseHeaders
from meshproxy.http.localreply import expectsGRPC, percentEncoded
from meshproxy.routing.mutations import Mutation, compileHeaderOptions
from meshproxy.routing.redirects import readDataSource

if TYPE_CHECKING:
    from meshproxy.http.stream import Stream

__all__ = ["RewriteReply", "compileReplyRewriter"]

#: From a local reply to its head and body, for a stream.
RewriteReply: TypeAlias = Callable[["Stream", LocalReply], tuple[ResponseHeaders, bytes]]

_JSON = b"application/json"


class _BodyFormat(NamedTuple):
    """
    A body's format, and its content type.
    """

    formatter: Formatter | None
    contentType: bytes


class _Mapper(NamedTuple):
    """
    One C{ResponseMapper}; what it leaves as it is is L{None}, or 0.
    """

    matches: LogFilter
    status: int
    body: str | None
    bodyFormat: _BodyFormat | None
    mutate: Mutation | None


_AS_IT_IS = _BodyFormat(None, b"")


def compileReplyRewriter(section: Section | None, runtime: RuntimeInteger) -> RewriteReply | None:
    """
    Compile C{LocalReplyConfig}.

    @return: L{None} where it changes nothing.
    """
    if section is None:
        return None
    mappers = [mapper for mapper in (_mapper(each, runtime) for each in section.children("mappers")) if mapper]
    otherwise = _bodyFormat(section.child("body_format")) or _AS_IT_IS
    if not mappers and otherwise is _AS_IT_IS:
        return None

    def rewrite(stream: Stream, reply: LocalReply) -> tuple[ResponseHeaders, bytes]:
        headers = ResponseHeaders(reply.status)
        for name, value in reply.headers:
            headers.add(name, value)
        finalize = None if stream.route is None else stream.route.changeOfReply(reply.details)
        if finalize is not None:
            finalize(headers, stream)
        before = headers.first.get(b"content-type")
        # Filters and formats look at the reply as if it were sent already.
        earlier = stream.responseHeaders
        stream.responseHeaders = headers
        stream.responseCode = reply.status
        # As in Envoy, that a request could not be read is known to those that log it, and to nobody before.
        late = reply.flag & ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR
        stream.responseFlags &= ~late
        try:
            body, contentType = _rewritten(stream, headers, mappers, otherwise)
            status = stream.responseCode
        finally:
            stream.responseHeaders = earlier
            stream.responseCode = 0
            stream.responseFlags |= late
        if expectsGRPC(stream):
            _toGRPC(headers, reply, status, body, contentType)
            return headers, b""
        headers.remove(b"content-length")
        if not body:
            headers.remove(b"content-type")
            if status >= 200 and status not in (204, 304) and stream.requestHeaders.method != b"HEAD":
                headers.first[b"content-length"] = b"0"
            return headers, b""
        headers.set(b"content-length", b"%d" % len(body))
        after = headers.first.get(b"content-type")
        if after is None or (after == before and contentType):
            headers.set(b"content-type", contentType or reply.contentType)
        return headers, body

    return rewrite


def _rewritten(
    stream: Stream, headers: ResponseHeaders, mappers: list[_Mapper], otherwise: _BodyFormat
) -> tuple[bytes, bytes]:
    """
    Let the first mapper that matches change what it wants.

    @return: The body and its type.
    """
    bodyFormat = otherwise
    for mapper in mappers:
        if mapper.matches(stream):
            if mapper.body is not None:
                stream.localReplyBody = mapper.body
            if mapper.mutate is not None:
                mapper.mutate(headers, stream)
            if mapper.status:
                headers.status = stream.responseCode = mapper.status
            bodyFormat = mapper.bodyFormat or otherwise
            break
    formatter = bodyFormat.formatter
    text = stream.localReplyBody if formatter is None else formatter.format(stream)
    return text.encode("utf-8", "surrogateescape"), bodyFormat.contentType


def _toGRPC(headers: ResponseHeaders, reply: LocalReply, status: int, body: bytes, contentType: bytes) -> None:
    headers.status = 200
    headers.set(b"content-type", b"application/grpc")
    if b"grpc-status" not in headers.first:
        headers.first[b"grpc-status"] = b"%d" % (reply.grpcStatus or grpcStatus(status))
    if contentType == _JSON:
        body = body.removesuffix(b"\n")
    if body:
        headers.set(b"grpc-message", percentEncoded(body))
    headers.remove(b"content-length")


def _mapper(section: Section, runtime: RuntimeInteger) -> _Mapper | None:
    wanted = section.child("filter")
    matches = None if wanted is None else compileFilter(wanted, runtime)
    body = section.child("body")
    made = (
        section.wrapped("status_code", 0),
        None if body is None else readDataSource(body).decode("utf-8", "surrogateescape"),
        _bodyFormat(section.child("body_format_override")),
        compileHeaderOptions(section, "headers_to_add"),
    )
    return None if matches is None else _Mapper(matches, *made)


def _bodyFormat(section: Section | None) -> _BodyFormat | None:
    if section is None:
        return None
    return _BodyFormat(*compileBodyFormat(section))
