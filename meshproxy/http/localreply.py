# -*- test-case-name: tests.http.test_localreply -*-
"""
The heads of responses that this proxy makes itself.
"""

from __future__ import annotations

from meshproxy.flags import LocalReply, grpcStatus
from meshproxy.headers import RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.interfaces import IHTTPStream

__all__ = ["expectsGRPC", "percentEncoded", "replyHeaders"]


# What a reply has already, and a filter may say otherwise; a gRPC status of its own, for example.
_ONCE = frozenset((b"content-type", b"content-length", b"grpc-status"))


def expectsGRPC(stream: IHTTPStream) -> bool:
    """
    Whether the client of a stream expects gRPC, whatever filters made of its request.
    """
    answers = stream.answersGRPC
    return isGRPC(stream.requestHeaders) if answers is None else answers


def replyHeaders(request: RequestHeaders, reply: LocalReply, toGRPC: bool | None = None) -> ResponseHeaders:
    """
    The head of a local reply. A gRPC client gets the status in C{grpc-status}, the text in C{grpc-message}, and no
    body, as in Envoy.

    @param toGRPC: Whether the client is one; by default the request tells.
    """
    if isGRPC(request) if toGRPC is None else toGRPC:
        headers = ResponseHeaders(
            200,
            (
                (b"content-type", b"application/grpc"),
                (b"grpc-status", b"%d" % (reply.grpcStatus or grpcStatus(reply.status))),
            ),
        )
        if reply.body:
            headers.first[b"grpc-message"] = percentEncoded(reply.body)
    elif reply.body:
        headers = ResponseHeaders(
            reply.status,
            ((b"content-length", b"%d" % len(reply.body)), (b"content-type", b"text/plain")),
        )
    else:
        headers = ResponseHeaders(reply.status)
        if reply.status >= 200 and reply.status not in (204, 304) and request.method != b"HEAD":
            headers.first[b"content-length"] = b"0"
    for name, value in reply.headers:
        if name in _ONCE:
            headers.set(name, value)
        else:
            headers.add(name, value)
    return headers


def percentEncoded(text: bytes) -> bytes:
    """
    C{grpc-message}: what is not printable ASCII, and C{%}, as C{%XX} (gRPC over HTTP/2, "Responses").
    """
    return b"".join(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text)
