# -*- test-case-name: tests.admin.test_streams -*-
"""
C{/streams}: the HTTP streams under way. It is ours; Envoy has nothing like it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.commands import AdminRequest, AdminResponse, Lazy, jsonResponse
from meshproxy.admin.served import Served
from meshproxy.flags import flagsShort
from meshproxy.listener.listener import Listener

__all__ = ["streamList"]

# How many are told of: whoever asks wants to know what hangs, not all of a busy proxy.
_MOST = 1000


def streamList(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/streams}: the oldest first. Queries and fields are not told: they may hold secrets.
    """
    now = server.context.clock.seconds()
    found = [each for listener in server.listeners.byName.values() for each in _streamsOf(listener)]
    found.sort(key=lambda each: each[1].startTime)
    if not found:
        return jsonResponse({"total": 0, "streams": []})

    def items() -> Iterator[object]:
        for listener, stream in found[:_MOST]:
            yield _told(listener, stream, now)

    return jsonResponse({"total": len(found), "streams": Lazy(items)})


def _streamsOf(listener: Listener) -> Iterator[tuple[Listener, Any]]:
    for chain in listener.chains:
        if chain.terminal is not None:
            for stream in chain.terminal.streams():
                yield listener, stream


def _told(listener: Listener, stream: Any, now: float) -> dict[str, object]:
    headers = stream.requestHeaders
    client = stream.remoteAddress or stream.connection.remoteAddress
    told: dict[str, object] = {
        "age_ms": int((now - stream.startTime) * 1000),
        "idle_ms": int((now - stream.lastActive) * 1000),
        "listener": listener.name,
        "connection_id": stream.connection.id,
        "client": "" if client is None else client.text,
        "protocol": stream.protocol,
        "method": fromBytes(headers.method),
        "authority": fromBytes(headers.authority),
        "path": fromBytes(headers.path.partition(b"?")[0]),
        "request_id": stream.requestId,
        "route": stream.routeName,
        "cluster": stream.upstreamCluster,
        "upstream_host": "" if stream.upstreamHost is None else stream.upstreamHost.address.text,
        "attempts": stream.upstreamAttempts,
        "waits_for": _waitsFor(stream),
        "response_code": stream.responseCode,
        "response_flags": flagsShort(stream.responseFlags),
        "bytes_received": stream.bytesReceived,
        "bytes_sent": stream.bytesSent,
    }
    return told


def _waitsFor(stream: Any) -> str:
    """
    What a stream waits for, as far as one can tell from outside.
    """
    if stream.tunnel:
        return "the end of the tunnel"
    if stream.responseCode:
        return "the rest of the response"
    if not stream.requestEnded:
        return "the rest of the request"
    if stream.upstream is None:
        return "a filter"
    return "an upstream connection" if stream.upstreamConnection is None else "the response"
