# -*- test-case-name: tests.http.test_walk,tests.http.test_walkbodies -*-
"""
One direction of a stream through its filters, when it does not go straight.

Usually events pass the filters in order, each event through all of them before the next one comes: a loop over bound
methods, which stands in L{meshproxy.http.stream}. A filter that answers L{STOP}, or something to wait for, makes a
hold, and a L{Walk} takes over: the event stays there, and what follows stays behind it, having passed the filters that
stand before the hold. There may be several holds at a time, at different filters.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as TwistedFailure

from meshproxy.headers import HeaderMap
from meshproxy.interfaces import STOP

if TYPE_CHECKING:
    from meshproxy.http.chain import Method
    from meshproxy.http.passing import PassingStream

__all__ = ["DATA", "HEADERS", "TRAILERS", "Hold", "RequestWalk", "ResponseWalk", "Walk"]

# The kinds of events.
HEADERS, DATA, TRAILERS = range(3)

# An event: its kind, its payload, and whether it ends the message.
Event = tuple[int, Any, bool]


class Hold:
    """
    A filter that lets nothing pass for now.

    @ivar place: Which filter of the chain it is.
    @ivar event: What it holds.
    @ivar behind: What came later, having passed the filters before C{place}.
    @ivar size: The bytes of all that.
    @ivar body: Waits for the whole body, or L{None}.
    @ivar limit: How long that may be.
    @ivar partial: Whether the beginning of a longer one is enough.
    @ivar awaits: Whether the filter waits for something and goes on by itself then.
    """

    __slots__ = ("awaits", "behind", "body", "event", "limit", "partial", "place", "size")

    def __init__(self, place: int, event: Event) -> None:
        self.place = place
        self.event = event
        self.behind: list[Event] = []
        self.size = len(event[1]) if event[0] == DATA else 0
        self.body: Deferred[bytes] | None = None
        self.limit = 0
        self.partial = False
        self.awaits = False

    @property
    def buffers(self) -> bool:
        """
        Whether more than the limit is an error, rather than a reason to read no more.
        """
        return (self.body is not None and not self.partial) or (self.event[0] == DATA and not self.awaits)

    @property
    def ended(self) -> bool:
        """
        Whether the message is here to its end.
        """
        return self.event[2] or bool(self.behind and self.behind[-1][2])

    def joined(self) -> bytes:
        """
        The body as far as it is here.
        """
        return b"".join(payload for kind, payload, _ in self.behind if kind == DATA)


class Walk:
    """
    What both directions have in common. Subclasses say which methods they call, and what stands at the end.

    @ivar holds: The filters that hold, by ascending place.
    """

    __slots__ = ("_awaitedBody", "_last", "holds", "stream")

    def __init__(self, stream: PassingStream) -> None:
        self.stream = stream
        self.holds: list[Hold] = []
        self._last: Hold | None = None
        self._awaitedBody: tuple[Deferred[bytes], int, bool] | None = None

    # What subclasses say

    def _methods(self, kind: int) -> tuple[tuple[Method, ...], tuple[int, ...]]:
        raise NotImplementedError  # pragma: no cover

    def _over(self) -> bool:
        raise NotImplementedError  # pragma: no cover

    def _arrived(self, event: Event) -> None:
        raise NotImplementedError  # pragma: no cover

    def _overflowed(self) -> None:
        raise NotImplementedError  # pragma: no cover

    def _pause(self) -> None:
        raise NotImplementedError  # pragma: no cover

    def _unpause(self) -> None:
        raise NotImplementedError  # pragma: no cover

    # The slow way

    def push(self, kind: int, payload: Any, end: bool) -> None:
        """
        An event enters while there are holds.
        """
        self._advance((kind, payload, end), 0)

    def _advance(self, event: Event, place: int) -> None:
        """
        Let an event pass the filters from C{place} on, up to the first that holds.
        """
        kind, payload, end = event
        holds = self.holds
        barrier = next((hold for hold in holds if hold.place >= place), None)
        methods, places = self._methods(kind)
        first = bisect_left(places, place)
        last = len(places) if barrier is None else bisect_left(places, barrier.place)
        for index in range(first, last):
            verdict, payload = self._call(methods[index], places[index], (kind, payload, end))
            if verdict is not None:
                return
        if self._over():
            return
        if barrier is None:
            self._arrived((kind, payload, end))
        else:
            self._queue(barrier, (kind, payload, end))

    def _call(self, method: Method, place: int, event: Event) -> tuple[object, Any]:
        """
        Let one filter see an event.

        @return: What is not L{None} if it goes no further, and the payload that goes on.
        """
        kind, payload, end = event
        stream = self.stream
        if kind == TRAILERS:
            verdict = method(stream, payload)
        else:
            verdict = method(stream, payload, end)
        if verdict is None and not self._over():
            return None, payload
        return self.answered(verdict, place, event)

    def answered(self, verdict: object, place: int, event: Event) -> tuple[object, Any]:
        """
        A filter answered with something else than "go on".

        @return: As of L{_call}.
        """
        if self._over():
            if hasattr(verdict, "close"):
                verdict.close()  # a coroutine that never ran
            return STOP, None
        if event[0] == DATA and isinstance(verdict, (bytes, bytearray)):
            return None, bytes(verdict)
        if event[0] == TRAILERS and isinstance(verdict, (bytes, bytearray)):
            # A last piece of the body goes before them. Where a filter holds it, they stay behind it.
            if verdict:
                self._advance((DATA, bytes(verdict), False), place + 1)
            if not self._over():
                self._advance(event, place + 1)
            return STOP, None
        hold = Hold(place, event)
        hold.awaits = verdict is not STOP
        self._insert(hold)
        if hold.awaits:
            self._await(hold, verdict)
        return STOP, None

    def _insert(self, hold: Hold) -> None:
        self.holds.insert(bisect_right([other.place for other in self.holds], hold.place), hold)
        self._last = hold
        if self._awaitedBody is not None:
            hold.body, hold.limit, hold.partial = self._awaitedBody
            self._awaitedBody = None
        self._look(hold)

    def _await(self, hold: Hold, verdict: object) -> None:
        def cbDone(result: object) -> None:
            if hold in self.holds:
                if hold.event[0] == DATA and isinstance(result, (bytes, bytearray)):
                    hold.event = (DATA, bytes(result), hold.event[2])
                try:
                    self._release(hold)
                except Exception:
                    # Another filter raised at what goes on now. What stayed behind is lost, so the stream must not go
                    # on.
                    self.stream.filterRaised(TwistedFailure())

        def ebRaised(failure: TwistedFailure) -> None:
            if hold in self.holds:
                self.holds.remove(hold)
                self.stream.filterRaised(failure)

        waiting = _deferredOf(verdict)
        self.stream.awaits(waiting)
        waiting.addCallback(cbDone).addErrback(ebRaised)

    def _queue(self, hold: Hold, event: Event) -> None:
        hold.behind.append(event)
        if event[0] == DATA:
            hold.size += len(event[1])
        self._look(hold)

    def _look(self, hold: Hold) -> None:
        """
        See whether a hold has its whole body, or too much.
        """
        limit = hold.limit or self.stream.bufferLimit
        if hold.size > limit:
            if hold.buffers:
                self._overflowed()
                return
            self._pause()
        if hold.body is not None and (hold.ended or hold.size > limit):
            body, hold.body = hold.body, None
            body.callback(hold.joined())

    # What filters ask for

    def resume(self) -> None:
        """
        Let go what the last L{STOP} holds; nothing happens where nothing is held.
        """
        hold = self._last if self._last in self.holds else None
        if hold is None and self.holds:
            hold = self.holds[0]
        if hold is not None:
            self._release(hold)

    def _release(self, hold: Hold) -> None:
        self.holds.remove(hold)
        if hold.size:
            self._unpause()
        self._advance(hold.event, hold.place + 1)
        behind = hold.behind
        for number, event in enumerate(behind):
            if self._over():
                return
            self._advance(event, hold.place)
            if any(other.place == hold.place for other in self.holds):
                # The same filter holds again: what is left waits behind it.
                again = next(other for other in self.holds if other.place == hold.place)
                for later in behind[number + 1 :]:
                    self._queue(again, later)
                return

    def readBody(self, limit: int, partial: bool = False) -> Deferred[bytes]:
        """
        See L{meshproxy.interfaces.IHTTPStream.requestBody}.
        """
        waiting: Deferred[bytes] = Deferred()
        hold = self._holdOfHead()
        if hold is None:
            # The filter is still in its method: its hold comes when it returns.
            self._awaitedBody = (waiting, limit, partial)
        else:
            hold.body, hold.limit, hold.partial = waiting, limit, partial
            self._look(hold)
        return waiting

    def replaceBody(self, body: bytes) -> None:
        """
        See L{meshproxy.interfaces.IHTTPStream.replaceRequestBody}.
        """
        hold = self._holdOfHead()
        if hold is None or not hold.ended:
            raise RuntimeError("the body is replaced by the filter that read it to its end, before it goes on")
        _, headers, _ = hold.event
        trailers = [event for event in hold.behind if event[0] == TRAILERS]
        hold.size = len(body)
        hold.behind = [(DATA, body, not trailers), *trailers] if body or trailers else []
        hold.event = (HEADERS, headers, not hold.behind)
        assert isinstance(headers, HeaderMap)
        headers.set(b"content-length", b"%d" % len(body))
        headers.remove(b"transfer-encoding")

    def _holdOfHead(self) -> Hold | None:
        """
        The hold that keeps the head. There is one at most: the head is with one filter at a time.
        """
        return next((hold for hold in self.holds if hold.event[0] == HEADERS), None)

    def drop(self) -> None:
        """
        Forget what is held: the direction is over.
        """
        self.holds.clear()


class RequestWalk(Walk):
    """
    Down the chain; its last filter is the end.
    """

    __slots__ = ()

    def _methods(self, kind: int) -> tuple[tuple[Method, ...], tuple[int, ...]]:
        chain = self.stream.chain
        if kind == DATA:
            return chain.requestData, chain.requestDataPlaces
        if kind == HEADERS:
            return chain.requestHeaders, chain.requestHeadersPlaces
        return chain.requestTrailers, chain.requestTrailersPlaces

    def _over(self) -> bool:
        return self.stream.requestHalted or self.stream.over

    def _arrived(self, event: Event) -> None:
        pass  # the terminal filter took it

    def _overflowed(self) -> None:
        self.stream.requestTooLarge()

    def _pause(self) -> None:
        self.stream.pauseDownstream()

    def _unpause(self) -> None:
        self.stream.resumeDownstream()


class ResponseWalk(Walk):
    """
    Up the chain; the downstream is the end. Places are counted from the chain's end here, so that they ascend.
    """

    __slots__ = ()

    def _methods(self, kind: int) -> tuple[tuple[Method, ...], tuple[int, ...]]:
        chain = self.stream.chain
        if kind == DATA:
            return chain.responseData, chain.responseDataPlaces
        if kind == HEADERS:
            return chain.responseHeaders, chain.responseHeadersPlaces
        return chain.responseTrailers, chain.responseTrailersPlaces

    def _over(self) -> bool:
        return self.stream.responseHalted or self.stream.over

    def _arrived(self, event: Event) -> None:
        kind, payload, end = event
        if kind == HEADERS:
            self.stream.sendHeaders(payload, end)
        elif kind == DATA:
            self.stream.sendData(payload, end)
        else:
            self.stream.sendTrailers(payload)

    def _overflowed(self) -> None:
        self.stream.responseTooLarge()

    def _pause(self) -> None:
        self.stream.pauseUpstream()

    def _unpause(self) -> None:
        self.stream.resumeUpstream()


def _deferredOf(verdict: object) -> Deferred[Any]:
    """
    A Deferred of whatever a filter waits for: a Deferred, a coroutine, or an asyncio future.
    """
    if isinstance(verdict, Deferred):
        return verdict
    if hasattr(verdict, "send") and hasattr(verdict, "throw"):
        return Deferred.fromCoroutine(verdict)  # type: ignore[arg-type]  # by its methods
    if hasattr(verdict, "add_done_callback"):
        return Deferred.fromFuture(verdict)  # type: ignore[arg-type]  # by its methods
    raise TypeError(
        f"a filter answers None, STOP, bytes for data or trailers, or something to wait for, not {verdict!r}"
    )
