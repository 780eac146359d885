"""
L{meshproxy.controlplane.demo.web}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyRequest

from meshproxy.controlplane.demo.web import BODY_LIMIT, FORWARDED, Answer, App, Caller, forwarded, jsonAnswer, numberIn
from tests.controlplane.demo.given import Peers, asked, begun


async def _echo(request: Request) -> Answer:
    return jsonAnswer(forwarded(request))


class AppTests(SynchronousTestCase):
    """
    What every service does.
    """

    def test_forwarded(self) -> None:
        """
        What belongs to a trace, and the user, goes on; nothing else does.
        """
        sent = {name: f"value of {name}" for name in FORWARDED}
        self.assertEqual(asked(_echo, "/x", {**sent, "cookie": "secret", "x-other": "o"}).json, sent)

    def test_health(self) -> None:
        """
        Each says that it is well.
        """
        self.assertEqual(asked(_echo, "/health").json, {"status": "it is healthy"})

    def test_failure(self) -> None:
        """
        A mistake of ours is logged, and the caller is not told what it was.
        """

        async def broken(request: Request) -> Answer:
            raise ValueError("inside")

        told = asked(broken, "/x")
        self.assertEqual((told.status, told.json), (500, {"error": "internal error"}))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_numberIn(self) -> None:
        """
        A short number after the prefix, and nothing else.
        """
        self.assertEqual(numberIn(b"/reviews/12", b"/reviews/"), 12)
        for path in (b"/reviews/", b"/reviews/x", b"/reviews/1/2", b"/other/1", b"/reviews/1234567890", b"/reviews/-1"):
            self.assertIsNone(numberIn(path, b"/reviews/"), path)

    def test_waits(self) -> None:
        """
        An answer comes when it is there.
        """
        ready: Deferred[Answer] = Deferred()

        async def later(request: Request) -> Answer:
            return await ready

        request = begun(later, "/x")
        self.assertIsNone(request.told)
        ready.callback(jsonAnswer({}))
        told = request.flush()
        assert told is not None
        self.assertEqual(told.status, 200)

    def test_left(self) -> None:
        """
        A caller that leaves takes its calls along: they end, are not tried again, and nothing is written or logged.
        """
        peers = Peers(a=[(0, b""), (0, b"")])

        async def calling(request: Request) -> Answer:
            return jsonAnswer(await peers.caller.get("a", "/x", {}, 3.0, 2))

        request: Any = DummyRequest([b""])
        request.path = b"/x"
        App("it", calling).render(request)
        self.assertEqual(len(peers.seen), 1)
        request.processingFailed(Failure(ConnectionLost()))
        peers.clock.advance(10)
        self.assertEqual((len(peers.seen), request.written, peers.clock.getDelayedCalls()), (1, [], []))

    def test_leftEarly(self) -> None:
        """
        It is the same while a call has no connection yet.
        """

        class Agent:
            calls = 0

            def request(self, *words: Any) -> Deferred[Any]:
                self.calls += 1
                return Deferred(lambda one: one.errback(ConnectingCancelledError(None)))

        agent: Any = Agent()
        caller = Caller(agent, Clock(), "127.0.2.1:9080")
        work = Deferred.fromCoroutine(caller.get("a", "/x", {}, 3.0, 2))
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertEqual(agent.calls, 1)


class CallerTests(SynchronousTestCase):
    """
    Calls of others.
    """

    def get(self, peers: Peers, tries: int = 1) -> object:
        """
        What a call finds.
        """
        return self.successResultOf(Deferred.fromCoroutine(peers.caller.get("a", "/x", {"b3": "0"}, 3.0, tries)))

    def test_get(self) -> None:
        """
        The sidecar is asked for a host by its name, with the headers that are given.
        """
        peers = Peers(a=[(200, b'{"k": 1}')])
        self.assertEqual(self.get(peers), {"k": 1})
        ((host, path, headers),) = peers.seen
        self.assertEqual((host, path, headers["b3"]), ("a", "/x", "0"))

    def test_bad(self) -> None:
        """
        What is no JSON object, or no 200, or too long, is as none.
        """
        for answer in ((503, b"{}"), (200, b"[]"), (200, b"{"), (200, b" " * (BODY_LIMIT + 1))):
            self.assertIsNone(self.get(Peers(a=[answer])))

    def test_tries(self) -> None:
        """
        A try that fails is followed by the next, and there are no more than were asked for.
        """
        self.assertEqual(self.get(Peers(a=[(503, b""), (200, b"{}")]), 2), {})
        peers = Peers(a=[(503, b""), (503, b""), (200, b"{}")])
        self.assertIsNone(self.get(peers, 2))
        self.assertEqual(len(peers.seen), 2)

    def test_timeout(self) -> None:
        """
        Each try has its time.
        """
        peers = Peers(a=[(0, b""), (0, b"")])
        work = Deferred.fromCoroutine(peers.caller.get("a", "/x", {}, 3.0, 2))
        peers.clock.advance(2.9)
        self.assertEqual(len(peers.seen), 1)
        peers.clock.advance(0.2)
        self.assertEqual(len(peers.seen), 2)
        self.assertNoResult(work)
        peers.clock.advance(3)
        self.assertIsNone(self.successResultOf(work))

    def test_patience(self) -> None:
        """
        Each try has as many times of it as it was told.
        """
        peers = Peers(5.0, a=[(0, b"")])
        work = Deferred.fromCoroutine(peers.caller.get("a", "/x", {}, 3.0))
        peers.clock.advance(14.9)
        self.assertNoResult(work)
        peers.clock.advance(0.2)
        self.assertIsNone(self.successResultOf(work))
