# -*- test-case-name: tests.http.test_stream -*-
"""
What is the same of every stream that passes a filter chain, wherever its request goes and whoever takes its response:
how events go from filter to filter, and what filters may ask for on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as TwistedFailure

from meshproxy.flags import LocalReply
from meshproxy.headers import HeaderMap, ResponseHeaders
from meshproxy.http.walk import DATA, TRAILERS, RequestWalk, ResponseWalk
from meshproxy.interfaces import Stop

if TYPE_CHECKING:
    from meshproxy.http.chain import FilterChain
    from meshproxy.http.manager import ConnectionManager
    from meshproxy.routing.route import Route

__all__ = ["PassingStream"]


class PassingStream:
    """
    A stream on its way through a chain. Subclasses say where its request goes, as the chain's terminal filter wants it,
    and where its response goes: L{sendHeaders}, L{sendData} and L{sendTrailers}.

    @ivar manager: The connection manager that it runs under.
    @ivar chain: Its filters.
    @ivar route: The chosen route, or L{None}.
    @ivar requestHalted: Whether no event of the request goes on: it is answered already.
    @ivar responseHalted: Whether no event of the response goes on: it is over.
    @ivar over: Whether it ended; nothing can be sent.
    @ivar isInvolved: Whether there is, or was, a walk, a wait or a relay, or a filter wants to be told of its end.
    """

    # What subclasses have, and say.

    if TYPE_CHECKING:
        manager: ConnectionManager
        chain: FilterChain
        route: Route | None
        responseHeaders: ResponseHeaders | None
        responseTrailers: HeaderMap | None
        requestHalted: bool
        responseHalted: bool
        over: bool
        isInvolved: bool
        _isRemembered: bool
        _requestWalk: RequestWalk | None
        _responseWalk: ResponseWalk | None
        _awaited: list[Deferred[Any]] | None

        @property
        def bufferLimit(self) -> int: ...

        def sendHeaders(self, headers: ResponseHeaders, endStream: bool) -> None: ...

        def sendData(self, data: bytes, endStream: bool) -> None: ...

        def sendTrailers(self, trailers: HeaderMap) -> None: ...

        def localReply(self, reply: LocalReply) -> Stop: ...

        def filterRaised(self, failure: TwistedFailure) -> None: ...

        def requestTooLarge(self) -> None: ...

        def responseTooLarge(self) -> None: ...

        def pauseDownstream(self) -> None: ...

        def resumeDownstream(self) -> None: ...

        def pauseUpstream(self) -> None: ...

        def resumeUpstream(self) -> None: ...

    @property
    def requestWalk(self) -> RequestWalk:
        """
        The way of the request, where it does not go straight.
        """
        if self._requestWalk is None:
            self.isInvolved = True
            self._requestWalk = RequestWalk(self)
        return self._requestWalk

    @property
    def responseWalk(self) -> ResponseWalk:
        """
        The way of the response, where it does not go straight.
        """
        if self._responseWalk is None:
            self.isInvolved = True
            self._responseWalk = ResponseWalk(self)
        return self._responseWalk

    # The request

    def _passRequestData(self, data: bytes, endStream: bool) -> None:
        walk = self._requestWalk
        if walk is not None and walk.holds:
            walk.push(DATA, data, endStream)
            return
        chain = self.chain
        for index, method in enumerate(chain.requestData):
            verdict = method(self, data, endStream)
            if verdict is not None or self.requestHalted:
                event = (DATA, data, endStream)
                gone, data = self.requestWalk.answered(verdict, chain.requestDataPlaces[index], event)
                if gone is not None:
                    return

    # The response

    def responseHeadersReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of a response enters the chain.
        """
        self.responseHeaders = headers
        if not self.chain.responseHeaders or self._passResponseHeaders(headers, endStream):
            self.sendHeaders(headers, endStream)

    def _passResponseHeaders(self, headers: ResponseHeaders, endStream: bool = False) -> bool:
        """
        Let the filters see the head of a response.

        @return: Whether it passed them all; else one holds it, or answered in its stead.
        """
        try:
            return self.chain.passResponseHeaders(self, headers, endStream)
        except Exception:
            self.filterRaised(TwistedFailure())
            return False

    def responseDataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body enters the chain.
        """
        walk = self._responseWalk
        chain = self.chain
        try:
            if walk is not None and walk.holds:
                walk.push(DATA, data, endStream)
                return
            for index, method in enumerate(chain.responseData):
                verdict = method(self, data, endStream)
                if verdict is not None or self.responseHalted:
                    event = (DATA, data, endStream)
                    gone, data = self.responseWalk.answered(verdict, chain.responseDataPlaces[index], event)
                    if gone is not None:
                        return
        except Exception:
            self.filterRaised(TwistedFailure())
            return
        if not self.responseHalted:
            self.sendData(data, endStream)

    def responseTrailersReceived(self, trailers: HeaderMap) -> None:
        """
        Its trailers enter the chain.
        """
        self.responseTrailers = trailers
        walk = self._responseWalk
        chain = self.chain
        try:
            if self.responseHalted or (walk is not None and walk.holds):
                self.responseWalk.push(TRAILERS, trailers, True)
                return
            for index, method in enumerate(chain.responseTrailers):
                verdict = method(self, trailers)
                if verdict is not None or self.responseHalted or self.over:
                    event = (TRAILERS, trailers, True)
                    self.responseWalk.answered(verdict, chain.responseTrailersPlaces[index], event)
                    return
            self.sendTrailers(trailers)
        except Exception:
            self.filterRaised(TwistedFailure())

    # What filters ask for

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
        details: str = "",
        flags: int = 0,
    ) -> Stop:
        """
        See L{IHTTPStream.reply}.
        """
        return self.localReply(LocalReply(status, body, details, flags, tuple(headers)))

    def resumeRequest(self) -> None:
        """
        See L{IHTTPStream.resumeRequest}.
        """
        self._guarded(self.requestWalk)

    def resumeResponse(self) -> None:
        """
        See L{IHTTPStream.resumeResponse}.
        """
        self._guarded(self.responseWalk)

    def _guarded(self, walk: RequestWalk | ResponseWalk) -> None:
        try:
            walk.resume()
        except Exception:
            self.filterRaised(TwistedFailure())

    def requestBody(self, limit: int = 0, partial: bool = False) -> Deferred[bytes]:
        """
        See L{IHTTPStream.requestBody}.
        """
        return self.requestWalk.readBody(limit, partial)

    def replaceRequestBody(self, body: bytes) -> None:
        """
        See L{IHTTPStream.replaceRequestBody}.
        """
        self.requestWalk.replaceBody(body)

    def responseBody(self, limit: int = 0, partial: bool = False) -> Deferred[bytes]:
        """
        See L{IHTTPStream.responseBody}.
        """
        return self.responseWalk.readBody(limit, partial)

    def replaceResponseBody(self, body: bytes) -> None:
        """
        See L{IHTTPStream.replaceResponseBody}.
        """
        self.responseWalk.replaceBody(body)

    def remember(self) -> None:
        """
        See L{IHTTPStream.remember}.
        """
        self.isInvolved = self._isRemembered = True

    def routeConfig(self, name: str) -> Any:
        """
        See L{IHTTPStream.routeConfig}.
        """
        route = self.route
        return None if route is None else route.overrides.configs.get(name)

    def awaits(self, waiting: Deferred[Any]) -> None:
        """
        Cancel what a filter waits for when the stream ends before it.
        """
        if waiting.called:
            return
        if self._awaited is None:
            self.isInvolved = True
            self._awaited = []
        elif len(self._awaited) >= 16:
            # A filter may wait at each piece of a long body.
            self._awaited = [held for held in self._awaited if not held.called]
        self._awaited.append(waiting)

    # The end

    def _tellEnded(self, methods: tuple[Callable[..., object], ...]) -> None:
        for ended in methods:
            try:
                ended(self)
            except Exception:
                self.manager.stats.filterExceptions.value += 1
                self.manager.log.failure("a filter raised when its stream ended")

    def _dropWaiting(self) -> None:
        """
        Forget what filters hold, and cancel what they wait for.
        """
        # First the holds: a wait that is cancelled is no filter that raised.
        for walk in (self._requestWalk, self._responseWalk):
            if walk is not None:
                walk.drop()
        for waiting in self._awaited or ():
            waiting.addErrback(_ignore)
            waiting.cancel()
        self._awaited = None


def _ignore(_failure: TwistedFailure) -> None:
    """
    The stream is over; whatever a filter still waited for does not matter.
    """
