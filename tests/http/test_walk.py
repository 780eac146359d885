"""
L{meshproxy.http.walk}: events that do not go straight through the filters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from meshproxy.headers import HeaderMap
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer
from tests.http.support import recorder, scripted
from tests.http.walksupport import WalkCase


class StopTests(WalkCase):
    """
    C{STOP} holds an event, and what follows it, until C{resume}.
    """

    def test_requestHeaders(self) -> None:
        """
        A request whose head is held goes on whole and in order.
        """
        self.between(scripted(requestHeaders=self.keep(STOP)))
        client = self.proxy.client()
        client.send("POST", "/", body=b"ab", whole=False)
        self.proxy.settle()
        client.sendChunk(b"cd")
        self.proxy.settle()
        client.endChunks({"t": "1"})
        self.proxy.settle()
        self.assertEqual(self.seen("after"), [])
        self.assertEqual(self.seen("before", "requestData"), ["before requestData ab", "before requestData cd"])
        self.streams[0].resumeRequest()
        self.assertEqual(
            self.seen("after", "request"),
            ["after requestHeaders", "after requestData ab", "after requestData cd", "after requestTrailers t"],
        )
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.body, b"abcd")

    def test_responseHeaders(self) -> None:
        """
        Likewise a response, up the chain.
        """
        self.between(scripted(responseHeaders=self.keep(STOP)))
        self.backend.answer(Answer(body=[b"ab", b"cd"], trailers={"t": "1"}))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(client.responses, [])
        self.assertEqual(self.seen("after", "responseTrailers"), ["after responseTrailers t"])
        self.assertEqual(self.seen("before", "response"), [])
        self.streams[0].resumeResponse()
        response = client.response()
        self.assertEqual((response.body, response.trailers), (b"abcd", HeaderMap([(b"t", b"1")])))
        self.assertEqual(self.seen("before", "response")[0], "before responseHeaders")
        self.assertEqual(self.seen("before", "response")[-1], "before responseTrailers t")

    def test_data(self) -> None:
        """
        A piece of a body is held, and what comes behind it.
        """
        verdicts: list[object] = [None, STOP]
        streams = self.streams

        def requestData(stream: Any, data: bytes, end: bool) -> object:
            streams.append(stream)
            return verdicts.pop(0) if verdicts else None

        self.between(scripted(requestData=requestData))
        client = self.proxy.client()
        client.send("POST", headers={"content-length": "6"}, body=b"ab", whole=False)
        for piece in (b"cd", b"ef"):
            self.proxy.settle()
            client.write(piece)
        self.proxy.settle()
        self.assertEqual(self.seen("after", "Data"), ["after requestData ab"])
        streams[0].resumeRequest()
        self.assertEqual(
            self.seen("after", "Data"), ["after requestData ab", "after requestData cd", "after requestData ef."]
        )
        self.assertEqual(client.response().status, 200)

    def test_trailers(self) -> None:
        """
        Trailers are held after all else went on.
        """
        self.between(scripted(requestTrailers=self.keep(STOP)))
        client = self.proxy.client()
        client.send("POST", body=b"ab", trailers={"t": "1"})
        self.proxy.settle()
        self.assertEqual(self.seen("after", "request"), ["after requestHeaders", "after requestData ab"])
        self.streams[0].resumeRequest()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.trailers.get(b"t"), b"1")

    def test_again(self) -> None:
        """
        A filter may stop again, at the next event; what is behind waits again.
        """
        self.between(scripted(requestHeaders=self.keep(STOP), requestData=self.keep(STOP)))
        client = self.proxy.client()
        client.send("POST", body=b"ab", trailers={"t": "1"})
        self.proxy.settle()
        self.streams[0].resumeRequest()
        self.assertEqual(self.seen("after"), ["after requestHeaders"])
        self.streams[0].resumeRequest()
        self.assertEqual(self.seen("after")[1:3], ["after requestData ab", "after requestTrailers t"])
        self.assertEqual(client.response().status, 200)

    def test_severalFilters(self) -> None:
        """
        Filters hold at the same time, at different places; each lets go its own, and order stays.
        """
        first: list[Any] = []
        second: list[Any] = []

        def stopData(stream: Any, data: bytes, end: bool) -> object:
            second.append(stream)
            return STOP if len(second) == 1 else None

        def stopTrailers(stream: Any, trailers: HeaderMap) -> object:
            first.append(stream)
            return STOP

        self.between(
            scripted(requestTrailers=stopTrailers), recorder(self.log, "between"), scripted(requestData=stopData)
        )
        client = self.proxy.client()
        client.send("POST", body=b"ab", trailers={"t": "1"})
        self.proxy.settle()
        # The second filter holds the data, the first one the trailers.
        self.assertEqual(self.seen("between", "request")[1:], ["between requestData ab"])
        self.assertEqual(self.seen("after"), ["after requestHeaders"])
        first[0].resumeRequest()
        self.assertEqual(self.seen("between", "request")[2:], ["between requestTrailers t"])
        self.assertEqual(self.seen("after"), ["after requestHeaders"])
        second[0].resumeRequest()
        self.assertEqual(self.seen("after")[1:3], ["after requestData ab", "after requestTrailers t"])
        self.assertEqual(client.response().status, 200)

    def test_resumeWithoutStop(self) -> None:
        """
        To resume what is not held does nothing.
        """

        def resume(stream: Any, headers: Any, end: bool) -> None:
            stream.resumeRequest()
            stream.resumeResponse()

        self.between(scripted(requestHeaders=resume, responseHeaders=resume))
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(self.backend.requests), 1)

    def test_replyWhileHeld(self) -> None:
        """
        A held request that is answered goes no further, whatever is resumed then.
        """
        self.between(scripted(requestHeaders=self.keep(STOP)))
        client = self.proxy.client()
        client.send("POST", body=b"data")
        self.proxy.settle()
        self.streams[0].reply(403, b"no")
        self.streams[0].resumeRequest()
        self.assertEqual(client.response().status, 403)
        self.assertEqual((self.backend.requests, self.seen("after", "request")), ([], []))
        self.assertQuiet()

    def test_clientLeaves(self) -> None:
        """
        What is held is forgotten when the client leaves; the filters are told that it is over.
        """
        self.between(scripted(requestHeaders=self.keep(STOP)))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        client.abort()
        self.proxy.settle()
        self.assertEqual(len(self.seen("streamEnded")), 2)
        self.streams[0].resumeRequest()
        self.proxy.settle()
        self.assertEqual(self.backend.requests, [])
        self.assertQuiet()


class WaitTests(WalkCase):
    """
    A filter that answers with something to wait for.
    """

    def requestWith(self, method: Callable[..., object]) -> Any:
        """
        A request through a filter whose method for the head this is.
        """
        self.between(scripted(requestHeaders=method))
        client = self.proxy.client()
        client.send("POST", body=b"ab")
        self.proxy.settle()
        return client

    def test_deferred(self) -> None:
        """
        The request goes on when a Deferred fires, be it at once.
        """
        waiting: Deferred[object] = Deferred()
        client = self.requestWith(lambda *args: waiting)
        self.assertEqual(self.backend.requests, [])
        waiting.callback("anything")
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.body, b"ab")
        self.assertEqual(self.requestWith(lambda *args: succeed(None)).response().status, 200)

    def test_coroutine(self) -> None:
        """
        An C{async def} method may wait several times; one that does not wait is none the worse.
        """
        waits: list[Deferred[None]] = [Deferred(), Deferred()]

        async def wait(stream: Any, headers: Any, end: bool) -> None:
            for each in waits:
                await each
            headers.set(b"x-waited", b"twice")

        client = self.requestWith(wait)
        waits[0].callback(None)
        self.assertEqual(self.backend.requests, [])
        waits[1].callback(None)
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.header("x-waited"), "twice")

        async def hurry(stream: Any, headers: Any, end: bool) -> None:
            headers.set(b"x-waited", b"never")

        self.assertEqual(self.requestWith(hurry).response().status, 200)
        self.assertEqual(self.backend.last.header("x-waited"), "never")

    def test_future(self) -> None:
        """
        An asyncio future does as well.
        """
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future: asyncio.Future[None] = loop.create_future()
        client = self.requestWith(lambda *args: future)
        self.assertEqual(self.backend.requests, [])
        future.set_result(None)
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(client.response().status, 200)

    def test_coroutineReplies(self) -> None:
        """
        A coroutine may answer after its wait; nothing goes on then.
        """
        waiting: Deferred[None] = Deferred()

        async def ask(stream: Any, headers: Any, end: bool) -> object:
            await waiting
            return stream.reply(401, b"who?")

        client = self.requestWith(ask)
        waiting.callback(None)
        self.assertEqual((client.response().status, client.responses[0].body), (401, b"who?"))
        self.assertEqual(self.backend.requests, [])
        self.assertQuiet()

    def test_failure(self) -> None:
        """
        What is waited for and fails is as if the filter raised: a 500, logged once.
        """
        waiting: Deferred[None] = Deferred()
        client = self.requestWith(lambda *args: waiting)
        waiting.errback(ValueError("waited in vain"))
        self.assertEqual(client.response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.stat("filter_exceptions"), 1)
        self.assertQuiet()

    def test_leavesWhileWaiting(self) -> None:
        """
        When the client leaves, what a filter waits for is cancelled, and that is no fault of the filter.
        """
        cancelled: list[object] = []
        waiting: Deferred[None] = Deferred(cancelled.append)
        client = self.requestWith(lambda *args: waiting)
        client.abort()
        self.proxy.settle()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.stat("filter_exceptions"), 0)
        self.assertEqual(self.proxy.accessLog[-1], "0 downstream_remote_disconnect DC")

    def test_coroutineIsCancelled(self) -> None:
        """
        A coroutine's own clean-up runs when its stream ends.
        """
        cleaned: list[str] = []

        async def wait(stream: Any, headers: Any, end: bool) -> None:
            try:
                await Deferred()
            finally:
                cleaned.append("up")

        client = self.requestWith(wait)
        client.abort()
        self.proxy.settle()
        self.assertEqual(cleaned, ["up"])

    def test_nonsense(self) -> None:
        """
        Whatever else a filter answers is its fault.
        """
        self.assertEqual(self.requestWith(lambda *args: 42).response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_response(self) -> None:
        """
        Waiting works upwards too: at the head and at a piece of the body, whose bytes may come out of it.
        """
        atHead: Deferred[None] = Deferred()
        atData: list[Deferred[bytes]] = [Deferred()]
        self.between(
            scripted(responseHeaders=lambda *args: atHead, responseData=lambda *args: atData.pop() if atData else None)
        )
        waitsAtData = atData[0]
        self.backend.answer(Answer(body=[b"first", b"second"]))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(client.responses, [])
        atHead.callback(None)
        self.proxy.settle()
        self.assertEqual(client.responses[0].body, b"")
        waitsAtData.callback(b"FIRST")
        self.assertTrue(client.response().body.startswith(b"FIRST"))
