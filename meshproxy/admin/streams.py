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
from meshproxy.http.pending import waitsFor
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.listener import Listener

__all__ = ["streamFacts", "streamList", "streamsOf"]

# How many are told of: whoever asks wants to know what hangs, not all of a busy proxy.
_MOST = 1000


def streamList(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/streams}: the oldest first. Queries and fields are not told: they may hold secrets.
    """
    now = server.context.clock.seconds()
    listeners = server.listeners.byName.values()
    found = [(listener, stream) for listener in listeners for _, stream in streamsOf(listener)]
    found.sort(key=lambda each: each[1].startTime)
    if not found:
        return jsonResponse({"total": 0, "streams": []})

    def items() -> Iterator[object]:
        for listener, stream in found[:_MOST]:
            yield streamFacts(listener, stream, now)

    return jsonResponse({"total": len(found), "streams": Lazy(items)})


def streamsOf(listener: Listener) -> Iterator[tuple[FilterChain, Any]]:
    """
    The streams under way on a listener, each with its filter chain.
    """
    for chain in listener.chains:
        if chain.terminal is not None:
            for stream in chain.terminal.streams():
                yield chain, stream


def streamFacts(listener: Listener, stream: Any, now: float) -> dict[str, object]:
    """
    What is told of a stream: nothing that may be secret.
    """
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
        "waits_for": waitsFor(stream),
        "response_code": stream.responseCode,
        "response_flags": flagsShort(stream.responseFlags),
        "bytes_received": stream.bytesReceived,
        "bytes_sent": stream.bytesSent,
    }
    return told
