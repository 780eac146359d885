# -*- test-case-name: tests.filters.http.test_grpc_http1_bridge -*-
"""
C{envoy.filters.http.grpc_http1_bridge}: lets clients of HTTP/1.1, which see no trailers, call gRPC services.

A response is held until its trailers are there, and its head then says what they say. Clients that speak protobuf, and
nothing of gRPC, have their messages put into frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.config import Section
from meshproxy.config.matchers import parseInteger
from meshproxy.config.supported import declare
from meshproxy.grpc.framing import encodeFrame
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.http.filter import FilterContext, HTTPFilter

__all__ = ["BridgePlan", "GRPCHTTP1Bridge"]

_MESSAGE = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"

declare(_MESSAGE, "upgrade_protobuf_to_grpc", "ignore_query_parameters")

_PROTOBUF = b"application/x-protobuf"
_GRPC = b"application/grpc"
_FRAME_HEAD = 5
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """
    A compiled C{Config}.

    @ivar upgrades: Whether messages of protobuf get their frames here.
    @ivar ignoresQuery: Whether a query does not go on.
    """

    upgrades: bool = False
    ignoresQuery: bool = False


class GRPCHTTP1Bridge(HTTPFilter):
    """
    One instance serves all streams; it remembers those that are calls.
    """

    shared = True
    configType = _MESSAGE

    def __init__(self, config: BridgePlan, context: FilterContext) -> None:
        super().__init__(config, context)
        # The calls, and whether their messages are framed here.
        self._calls: dict[Any, bool] = {}

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> BridgePlan:
        return BridgePlan(section.get("upgrade_protobuf_to_grpc"), section.get("ignore_query_parameters"))

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> Deferred[Any] | None:
        if not stream.protocol.startswith("HTTP/1"):
            return None
        plan: BridgePlan = self.config
        isFramed = plan.upgrades and headers.first.get(b"content-type") == _PROTOBUF
        if isFramed:
            headers.set(b"content-type", _GRPC)
            headers.remove(b"content-length")
        elif not isGRPC(headers):
            return None
        self._calls[stream] = isFramed
        if plan.ignoresQuery:
            # Services take a query for a part of the method's name.
            headers.path = headers.path.partition(b"?")[0]
        if not isFramed:
            return None
        # The client does not speak gRPC: what this proxy says by itself, it says in HTTP.
        stream.answersGRPC = False
        stream.clearRouteCache()
        if endStream:
            return None

        def complete(body: bytes) -> None:
            stream.replaceRequestBody(encodeFrame(body))
            # The frame tells how long it is; the body need not.
            headers.remove(b"content-length")

        waiting: Deferred[Any] = stream.requestBody()
        return waiting.addCallback(complete)

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> Deferred[Any] | None:
        isFramed = self._calls.get(stream)
        if isFramed is None or endStream:
            return None

        def complete(body: bytes) -> None:
            trailers: HeaderMap | None = stream.responseTrailers
            if isFramed and isGRPC(headers):
                body = body[_FRAME_HEAD:]
                stream.replaceResponseBody(body)
                if trailers is None:
                    headers.remove(b"content-length")
            if trailers is not None:
                _tell(headers, trailers, len(body))

        waiting: Deferred[Any] = stream.responseBody()
        return waiting.addCallback(complete)

    def streamEnded(self, stream: Any) -> None:
        self._calls.pop(stream, None)


def _tell(headers: ResponseHeaders, trailers: HeaderMap, length: int) -> None:
    """
    Say in the head what the trailers say, and how long the body is, so that the client knows whether it has all of it.
    """
    status = trailers.first.get(b"grpc-status")
    if status is not None:
        if parseInteger(status) != 0:
            headers.status = _UNAVAILABLE
        headers.set(b"grpc-status", status)
    message = trailers.first.get(b"grpc-message")
    if message is not None:
        headers.set(b"grpc-message", message)
    headers.set(b"content-length", b"%d" % length)
    headers.remove(b"transfer-encoding")
