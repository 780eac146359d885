# -*- test-case-name: tests.http.test_localreply -*-
"""
The heads of responses that this proxy makes itself.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.flags import TEXT, LocalReply, grpcStatus
from meshproxy.headers import RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.interfaces import IHTTPStream

__all__ = ["expectsGRPC", "percentEncoded", "replyHeaders"]


def expectsGRPC(stream: IHTTPStream) -> bool:
    """
    Whether the client of a stream expects gRPC, whatever filters made of its request.
    """
    answers = stream.answersGRPC
    return isGRPC(stream.requestHeaders) if answers is None else answers


def replyHeaders(
    request: RequestHeaders,
    reply: LocalReply,
    toGRPC: bool | None = None,
    change: Callable[[ResponseHeaders], object] | None = None,
) -> ResponseHeaders:
    """
    The head of a local reply. A gRPC client gets the status in C{grpc-status}, the text in C{grpc-message}, and no
    body, as in Envoy.

    @param toGRPC: Whether the client is one; by default the request tells.
    @param change: What the route changes of it. As in Envoy, its body has not been told of then.
    """
    isForGRPC = isGRPC(request) if toGRPC is None else toGRPC
    headers = ResponseHeaders(200 if isForGRPC else reply.status)
    for name, value in reply.headers:
        headers.add(name, value)
    if change is not None:
        change(headers)
    first = headers.first
    if isForGRPC:
        headers.set(b"content-type", b"application/grpc")
        if b"grpc-status" not in first:
            first[b"grpc-status"] = b"%d" % (reply.grpcStatus or grpcStatus(reply.status))
        if reply.body and request.method != b"HEAD":
            headers.set(b"grpc-message", percentEncoded(reply.body))
        headers.remove(b"content-length")
    elif reply.body:
        headers.set(b"content-length", b"%d" % len(reply.body))
        if b"content-type" not in first or reply.contentType != TEXT:
            headers.set(b"content-type", reply.contentType)
    else:
        if not reply.isPage:
            headers.remove(b"content-type")
        # That there is no body the codec says, where it has to.
        headers.remove(b"content-length")
    return headers


def percentEncoded(text: bytes) -> bytes:
    """
    C{grpc-message}: what is not printable ASCII, and C{%}, as C{%XX} (gRPC over HTTP/2, "Responses").
    """
    return b"".join(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text)
