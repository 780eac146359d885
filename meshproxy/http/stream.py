# -*- test-case-name: tests.http.test_stream -*-
"""
The stream: one request and its response, from the first byte of the one to the last of the other.

It takes the codec's events, lets them pass the filter chain (L{meshproxy.http.walk}), and gives what comes back to the
downstream connection. It is the record that access logs read, and what filters know as C{stream}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from meshproxy.flags import Failure, LocalReply, ResponseFlag
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.chain import EMPTY_CHAIN, FilterChain
from meshproxy.http.localreply import expectsGRPC, replyHeaders
from meshproxy.http.metadata import NotedMetadata
from meshproxy.http.passing import PassingStream
from meshproxy.http.streamfacts import StreamFacts
from meshproxy.http.walk import TRAILERS, RequestWalk, ResponseWalk
from meshproxy.interfaces import STOP, IHTTPStream, Stop
from meshproxy.net.instances import withAttributes

if TYPE_CHECKING:
    from meshproxy.http.interfaces import IDownstream
    from meshproxy.http.manager import ConnectionManager
    from meshproxy.http.routedrequest import RoutedRequest
    from meshproxy.net.idle import IdleWatch
    from meshproxy.net.relay import IRelay

__all__ = ["Stream"]


class _MadeWhenRead:
    """
    An attribute that is a dictionary of its own for each stream, made when it is read for the first time: few streams
    have one.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, stream: Stream | None, owner: type) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if stream is not None:
            # Not by __dict__: asking for that takes the instance's attributes out of their inline place, for good.
            setattr(stream, self._name, made)
        return made


@withAttributes(
    "requestTrailers",
    "responseTrailers",
    "_requestWalk",
    "_responseWalk",
    "_upstreamPaused",
    "relay",
    "replied",
    "_isRemembered",
    "localReplyBody",
    "_awaited",
    "isWatched",
    "isUpgrade",
    "answersGRPC",
    "remoteAddress",
    "dynamicMetadata",
    "filterState",
    "healthCheck",
    "heldMetadata",
    "_heldMetadataSize",
    "counted",
)
@implementer(IHTTPStream)
class Stream(PassingStream, StreamFacts):
    """
    One stream. What every stream has, or is asked for, is in a slot: CPython finds a slot at once, while an attribute
    with a default on the class, or in a dictionary that grew too large to be shared, is looked for. What is seldom set
    has its default on the class.

    @ivar downstream: The connection, as its codec wants it spoken to.
    @ivar upstream: The router's side of it, once it is routed.
    @ivar responseEnded: Whether the response was sent to its end.
    @ivar upstreamConnection: The upstream connection of the last try.
    @ivar idleWatch: What watches it for the C{idle_timeout} of its route.
    @ivar noted: What stands for its C{dynamicMetadata} until that is read; empty afterwards.
    @ivar tunnel: Whether bytes pass both ways, after an upgrade or a CONNECT.
    @ivar isWatched: Whether its route has an C{idle_timeout} of its own, be it "never".
    @ivar heldMetadata: METADATA that came before the head went on.
    @ivar counted: Where a filter counts its messages as long as each of them comes by itself, with whose business
        that is; else L{None}.
    @ivar isUpgrade: Whether it is counted as an upgrade.
    @ivar message: The whole body of the request, while the router may take it with the head; see
        L{meshproxy.http.unary}.
    @ivar relay: What moves the response's body past the filters and codecs, while it does.
    @ivar lastActive: When anything moved last, for idle time-outs.
    @ivar replied: Whether the response is a local reply.
    @ivar answersGRPC: Whether local replies are to be gRPC's, where a filter made something else of the request than
        the client sent; L{None} where the request tells.
    @ivar upgrade: What the request wants the connection to become, C{b"websocket"} or C{b"connect"} for
        example, where the configuration allows it; C{b""} else.
    """

    __slots__ = (
        "bytesReceived",
        "bytesSent",
        "chain",
        "connection",
        "downstream",
        "downstreamPaused",
        "end",
        "idleWatch",
        "isInvolved",
        "lastActive",
        "logType",
        "manager",
        "noted",
        "over",
        "protocol",
        "requestEnd",
        "requestHalted",
        "requestHeaders",
        "responseCode",
        "responseCodeDetails",
        "responseEnded",
        "responseFlags",
        "responseHalted",
        "responseHeaders",
        "responseStart",
        "route",
        "routeName",
        "startMonotonic",
        "startTime",
        "tunnel",
        "upgrade",
        "upstream",
        "upstreamAttempts",
        "upstreamCluster",
        "upstreamConnection",
        "upstreamHost",
        "upstreamResponseEnd",
        "upstreamResponseStart",
    )

    replied = False
    heldMetadata: tuple[list[tuple[bytes, bytes]], ...] = ()
    _heldMetadataSize = 0
    isWatched = isUpgrade = False
    answersGRPC: bool | None = None
    counted: tuple[object, Any] | None = None
    relay: IRelay | None = None
    message: bytes | None = None
    _requestWalk: RequestWalk | None = None
    _responseWalk: ResponseWalk | None = None
    _awaited: list[Deferred[Any]] | None = None
    _upstreamPaused = False
    _isRemembered = False
    dynamicMetadata: NotedMetadata = NotedMetadata()
    filterState = _MadeWhenRead()

    def __init__(
        self,
        manager: ConnectionManager,
        downstream: IDownstream,
        headers: RequestHeaders,
        endStream: bool,
        now: float,
        protocol: str = "HTTP/1.1",
    ) -> None:
        """
        @param now: The clock's seconds.
        """
        self.manager = manager
        self.downstream = downstream
        self.connection = downstream.info
        self.requestHeaders: RequestHeaders = headers
        # The one clock of the process tells the time of day.
        self.startTime = self.startMonotonic = self.lastActive = now
        self.requestEnd = now if endStream else None
        self.protocol = protocol
        self.chain: FilterChain = EMPTY_CHAIN
        self.route = self.responseHeaders = self.upstreamHost = self.upstreamConnection = None
        self.upstream: RoutedRequest | None = None
        self.idleWatch: IdleWatch[Stream] | None = None
        self.noted: tuple[str, Mapping[str, object]] | tuple[()] | None = None
        self.upstreamResponseStart = self.upstreamResponseEnd = self.responseStart = self.end = None
        self.responseCode = self.responseFlags = self.bytesReceived = self.bytesSent = self.upstreamAttempts = 0
        self.responseCodeDetails = self.routeName = self.upstreamCluster = ""
        self.logType = "NotSet"
        self.upgrade = b""
        self.requestHalted = self.responseHalted = self.responseEnded = self.over = self.tunnel = False
        self.downstreamPaused = self.isInvolved = False

    # The request, told by the downstream's codec

    # Facts that follow from others.

    @property
    def requestEnded(self) -> bool:
        """
        Whether the request was received to its end.
        """
        return self.requestEnd is not None

    @property
    def responseEnd(self) -> float | None:  # type: ignore[override]  # the same as the stream's, where it ended
        """
        When the last byte of the response was sent, once the stream is over.
        """
        return self.end if self.responseEnded else None

    @property
    def bufferLimit(self) -> int:
        """
        How many bytes a filter may hold.
        """
        return self.manager.bufferLimit

    def begin(self, chain: FilterChain) -> None:
        """
        Let the request's head pass the chain.
        """
        try:
            if chain.perStream:
                chain = chain.begin()
            self.chain = chain
            chain.passRequestHeaders(self, self.requestHeaders, self.requestEnd is not None)
        except Exception:
            self.filterRaised(TwistedFailure())

    def join(self, chain: FilterChain) -> bool:
        """
        Take a chain for a local reply to pass; the request does not.

        @return: Whether that could be done; else the request was answered.
        """
        try:
            self.chain = chain.begin()
        except Exception:
            self.filterRaised(TwistedFailure())
            return False
        return True

    def requestDataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of the request's body.
        """
        self.bytesReceived += len(data)
        self.lastActive = now = self.manager.clock.seconds()
        if endStream:
            self.requestEnd = now
            self.manager.requestComplete(self)
        if self.requestHalted:
            if endStream:
                self._finishIfDone()
            return
        try:
            self._passRequestData(data, endStream)
        except Exception:
            self.filterRaised(TwistedFailure())
        if endStream:
            self._finishIfDone()

    def requestTrailersReceived(self, trailers: HeaderMap) -> None:
        """
        The request's trailers.
        """
        self.requestEnd = self.lastActive = self.manager.clock.seconds()
        self.requestTrailers = trailers
        self.manager.requestComplete(self)
        if not self.requestHalted:
            try:
                self.requestWalk.push(TRAILERS, trailers, True)
            except Exception:
                self.filterRaised(TwistedFailure())
        self._finishIfDone()

    def requestMetadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        METADATA came with the request. No filter sees it; it goes on when the head has.
        """
        self.lastActive = self.manager.clock.seconds()
        if self.requestHalted:
            return
        upstream = self.upstream
        if upstream is not None and upstream.sendMetadata(fields):
            return
        self._heldMetadataSize += sum(len(name) + len(value) for name, value in fields)
        if self._heldMetadataSize > self.bufferLimit:
            self.reset()
        else:
            self.heldMetadata = (*self.heldMetadata, fields)

    def responseMetadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        METADATA came with the response. No filter sees it.
        """
        if not self.over:
            self.lastActive = self.manager.clock.seconds()
            self.downstream.sendMetadata(self, fields)

    def downstreamLost(
        self,
        flag: int = ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION,
        details: str = "downstream_remote_disconnect",
    ) -> None:
        """
        The downstream connection, or this stream of it, is gone in the middle.

        @param flag: The response flag that says how.
        @param details: The response code details that say how.
        """
        if self.over:
            return
        if not self.responseEnded:
            self.responseFlags |= flag
            if not self.responseCodeDetails or self.responseCodeDetails == "via_upstream":
                self.responseCodeDetails = details
            self.manager.stats.rqRxReset.value += 1
        self._end()

    # The response, told by the router, or made here

    @property
    def passesData(self) -> bool:
        """
        Whether the response's body goes downstream as it comes, and no filter looks at it.
        """
        walk = self._responseWalk
        return (
            self.responseCode != 0
            and self.relay is None
            and not self.tunnel
            and not self._upstreamPaused
            and (walk is None or not walk.holds)
            and not (self.chain.responseData and self._isHeeded)
        )

    @property
    def _isHeeded(self) -> bool:
        """
        Whether a filter looks at the body of the response, whose head all of them let pass.
        """
        asked = self.chain.heedsBody
        return asked is None or any(heeds(self) for heeds in asked)

    def relayBegan(self, relay: IRelay) -> None:
        """
        Something moves the response's body past the filters and codecs.
        """
        self.isInvolved = True
        self.relay = relay

    def relayEnded(self) -> None:
        """
        What was to be relayed of the response's body has gone, or the stream ends before.
        """
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.stop()
            self.bytesSent += relay.moved
            self.lastActive = relay.lastActive

    def responseReceived(self, headers: ResponseHeaders, body: bytes, now: float) -> None:
        """
        A whole response enters the chain at once: the short way for the small answers that most are. It does what
        L{responseHeadersReceived} and L{responseDataReceived} do one after the other.

        @param body: Empty for a response that ends with its head.
        @param now: The clock's seconds.
        """
        chain = self.chain
        self.responseHeaders = headers
        if chain.responseHeaders:
            try:
                passed = chain.passResponseHeaders(self, headers, not body)
            except Exception:
                self.filterRaised(TwistedFailure())
                passed = False
            if not passed:
                if body and not self.over:
                    self.responseDataReceived(body, True)
                return
        if chain.responseData and body and self._isHeeded:
            self.sendHeaders(headers, False)
            if not self.over:
                self.responseDataReceived(body, True)
            return
        finish = self.manager.finishResponse
        finish(self, headers)
        self.responseCode = headers.status
        self.bytesSent = len(body)
        self.lastActive = self.responseStart = now
        self.responseEnded = True
        downstream = self.downstream
        downstream.sendResponse(self, headers, body)
        if self.over or (self.requestEnd is None and self.tunnel):
            return
        upstream = self.upstream
        isLeft = upstream is not None and (not upstream.over or upstream.connection is not None)
        if isLeft or self.isInvolved or chain.streamEnded:
            self._end(now)
            return
        # Nothing is left over: the rest of what _end does.
        self.over = True
        self.end = now
        self.manager.streamEnded(self)
        self.upstream = None
        downstream.streamEnded(self)

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        An interim response, 1xx but not 101, goes downstream as it is.
        """
        if not self.over and self.responseCode == 0:
            self.manager.stats.responses.add(headers.status)
            self.downstream.sendInformational(headers)

    def sendHeaders(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response leaves the chain.
        """
        manager = self.manager
        manager.finishResponse(self, headers)
        self.responseCode = headers.status
        self.lastActive = self.responseStart = now = manager.clock.seconds()
        self.downstream.sendHeaders(self, headers, endStream)
        if endStream:
            self._responseSent(now)

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body leaves the chain.
        """
        self.bytesSent += len(data)
        self.downstream.sendData(data, endStream)
        if endStream:
            self._responseSent(self.manager.clock.seconds())
        else:
            self.lastActive = self.manager.clock.seconds()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Its trailers leave the chain.
        """
        self.downstream.sendTrailers(trailers)
        self._responseSent(self.manager.clock.seconds())

    def _responseSent(self, now: float) -> None:
        self.responseEnded = True
        self.responseHalted = True
        self._finishIfDone()

    def _finishIfDone(self) -> None:
        # An answer that came before its request's end is the end of an HTTP/1 connection; L{IDownstream.streamEnded}
        # sees to that. A tunnel ends with both of its directions.
        if not self.responseEnded or self.over:
            return
        if self.requestEnded or not self.tunnel:
            self._end()
        elif self.protocol != "HTTP/2":
            # HTTP/1 cannot end one direction of a tunnel: as in Envoy, that is the end of both.
            self.requestHalted = True
            self.downstream.resetStream(self)
            self._end()

    # Local replies

    def localReply(self, reply: LocalReply) -> Stop:
        """
        Answer here, with a reply of L{meshproxy.flags}. As in Envoy it passes the filters, whatever they saw of the
        request: it may be what could not be read of it that is answered.
        """
        if self.over:
            return STOP
        self.requestHalted = True
        if self._requestWalk is not None:
            self._requestWalk.drop()
        self.responseFlags |= reply.flag
        if reply.details:
            self.responseCodeDetails = reply.details
        if self.upstream is not None:
            self.upstream.abandon()
        if reply.status == 400 and not self.manager.settings.streamErrorOnInvalid:
            # As in Envoy, whoever the reply comes from: what follows such a request may not be what it looks like.
            self.downstream.closeAfterResponse()
        if self.responseCode:
            # The head of another response is on its way: only a reset tells that it is not to be trusted.
            self.reset()
            return STOP
        began = self.responseHeaders is not None
        self.localReplyBody = reply.body.decode("utf-8", "replace")
        self.replied = True
        rewrite = self.manager.rewriteReply
        if rewrite is not None:
            headers, body = rewrite(self, reply)
        else:
            change = None if self.route is None else self.route.changeOfReply(reply.details)
            toGRPC = expectsGRPC(self)
            headers = replyHeaders(
                self.requestHeaders,
                reply,
                toGRPC,
                None if change is None else lambda headers: change(headers, self),
            )
            body = b"" if toGRPC else reply.body
        if self.requestHeaders.method == b"HEAD":
            body = b""
        # It is for the words of the reply; as in Envoy, the access log is not told.
        self.localReplyBody = ""
        if began:
            # As in Envoy, a reply that replaces a response does not pass the filters that already saw one.
            self.responseWalk.drop()
            self.responseHalted = True
            self.responseHeaders = headers
            self.sendHeaders(headers, not body)
            if body:
                self.sendData(body, True)
            return STOP
        isEarly = self.chain is EMPTY_CHAIN and reply is not Failure.FILTER_EXCEPTION.value
        if isEarly and not self.join(self.manager.chain):
            return STOP
        self.responseHeadersReceived(headers, not body)
        if body and not self.over:
            self.responseDataReceived(body, True)
        return STOP

    def filterRaised(self, failure: TwistedFailure) -> None:
        """
        A filter raised: this stream ends with a 500, the rest do not notice.
        """
        self.manager.stats.filterExceptions.value += 1
        self.manager.log.failure(
            "a filter raised while {method} {path} was with it",
            failure,
            method=self.requestHeaders.method.decode("ascii", "backslashreplace"),
            path=self.requestHeaders.path.decode("ascii", "backslashreplace"),
        )
        if self.replied or self.responseCode:
            self.reset()
        else:
            self.localReply(Failure.FILTER_EXCEPTION.value)

    def requestTooLarge(self) -> None:
        """
        A filter wants the whole body, and it is longer than the limit.
        """
        self.manager.stats.rqTooLarge.value += 1
        if self.protocol.startswith("HTTP/1"):
            # As in Envoy, whose codec has not told the end of the request by then, be it here.
            self.downstream.closeAfterResponse()
        self.localReply(Failure.REQUEST_PAYLOAD_TOO_LARGE.value)

    def responseTooLarge(self) -> None:
        """
        Likewise for the response.
        """
        self.manager.stats.rsTooLarge.value += 1
        self.localReply(Failure.RESPONSE_PAYLOAD_TOO_LARGE.value)

    # What filters ask for

    def clearRouteCache(self) -> None:
        """
        See L{IHTTPStream.clearRouteCache}.
        """
        self.manager.chooseRoute(self)

    def countUpgrade(self) -> None:
        """
        The request may make another protocol's of its connection; as in Envoy, that counts whether it comes to it or
        not.
        """
        self.isUpgrade = self.isInvolved = True
        stats = self.manager.stats
        stats.cxUpgradesTotal.value += 1
        stats.cxUpgradesActive.value += 1

    def markHealthCheck(self) -> None:
        """
        Whoever sent the request asks for the health of something: as in Envoy, it does not show among the figures of
        requests, nor in access logs that leave such out.
        """
        self.healthCheck = self.isInvolved = self.manager.hasHealthChecks = True
        self.manager.stats.healthChecks.value += 1

    # Back pressure

    def pauseDownstream(self) -> None:
        """
        Read no more of the request.
        """
        if not self.downstreamPaused:
            self.downstreamPaused = True
            self.downstream.pauseReading()

    def resumeDownstream(self) -> None:
        """
        Read it again.
        """
        if self.downstreamPaused:
            self.downstreamPaused = False
            self.downstream.resumeReading()

    def pauseUpstream(self) -> None:
        """
        Read no more of the response: the downstream does not read, or a filter holds too much.
        """
        # Told again, it is passed on again: the first time there may have been no upstream connection to pause.
        self._upstreamPaused = True
        if self.upstream is not None:
            self.upstream.pauseResponse()

    def resumeUpstream(self) -> None:
        """
        Read it again.
        """
        if self._upstreamPaused:
            self._upstreamPaused = False
            if self.upstream is not None:
                self.upstream.resumeResponse()

    # The end

    def reset(self) -> None:
        """
        See L{IHTTPStream.reset}.
        """
        if not self.over:
            self.requestHalted = self.responseHalted = True
            stats = self.manager.stats
            stats.rqTxReset.value += 1
            # As in Envoy, whose codec tells of each reset, be it its own.
            stats.rqRxReset.value += 1
            self.downstream.resetStream(self)
            self._end()

    def _end(self, now: float | None = None) -> None:
        manager = self.manager
        self.over = True
        self.end = manager.clock.seconds() if now is None else now
        upstream = self.upstream
        if upstream is not None and (not upstream.over or upstream.connection is not None):
            upstream.abandon()
        if self.requestEnd is None and self.responseCode:
            stats = manager.stats
            stats.rqResponseBeforeRqComplete.value += 1
            # As in Envoy, whose codec tells of each reset, be it its own.
            stats.rqRxReset.value += self.responseEnded
        if self.isInvolved:
            self._dropWaiting()
            if self.isUpgrade:
                manager.stats.cxUpgradesActive.value -= 1
            if self.relay is not None:
                self.relayEnded()
            if self._isRemembered:
                self._tellEnded(self.chain.rememberedEnded)
        if self.chain.streamEnded:
            self._tellEnded(self.chain.streamEnded)
        manager.streamEnded(self)
        # They refer to each other: without this, each would wait for the garbage collector, in memory gone cold.
        self.upstream = None
        self.downstream.streamEnded(self)

    def beginAgain(self, response: ResponseHeaders, body: bytes = b"", trailers: HeaderMap | None = None) -> None:
        """
        See L{IHTTPStream.beginAgain}: a redirect is followed.
        """
        manager, downstream = self.manager, self.downstream
        self.requestHalted = self.responseHalted = True
        # What did not want more of the request is gone; nobody else would read on after the stream to come.
        self.resumeDownstream()
        self.responseHeaders = response
        self.responseCode = response.status
        self.responseCodeDetails = "internal_redirect"
        isEmpty = not body and trailers is None
        # Of its own: the log tells of this stream later.
        again = Stream(manager, downstream, self.requestHeaders.copy(), isEmpty, manager.clock.seconds())
        again.filterState.update(self.filterState)
        again.route, again.routeName = self.route, self.routeName
        again.remoteAddress = self.remoteAddress
        downstream.replaceStream(self, again)
        self._end()
        manager.serveAgain(again)
        if isEmpty or again.over:
            return
        if body or trailers is None:
            again.requestDataReceived(body, trailers is None)
        if trailers is not None and not again.over:
            again.requestTrailersReceived(trailers)
