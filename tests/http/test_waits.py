"""
What L{meshproxy.http.walk} does while a filter waits at a piece of the body.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.chain import ChainLink, FilterChain
from meshproxy.http.filter import HTTPFilter
from meshproxy.http.walk import DATA, ResponseWalk
from meshproxy.interfaces import STOP
from tests.filters.http.support import makeContext


class Waiter(HTTPFilter):
    """
    Answers each piece of the response with what the test put there.
    """

    shared = True
    answers: list[object]

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> object:
        return self.answers.pop(0) if self.answers else None


class FakeStream:
    """
    What the walk needs of a stream.
    """

    bufferLimit = 10
    responseHalted = False
    over = False

    def __init__(self, chain: FilterChain) -> None:
        self.chain = chain
        self.told: list[object] = []

    def awaits(self, waiting: Deferred[Any]) -> None:
        """
        The walk waits.
        """

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Data arrived.
        """
        self.told.append(data)

    def pauseUpstream(self) -> None:
        """
        Read no more.
        """
        self.told.append("pause")

    def resumeUpstream(self) -> None:
        """
        Read on.
        """
        self.told.append("resume")

    def responseTooLarge(self) -> None:
        """
        A buffer is over its limit.
        """
        self.told.append("too large")


class WaitTests(SynchronousTestCase):
    """
    More comes than may be held.
    """

    def make(self, answer: object) -> None:
        """
        A walk whose filter answers the first piece so.
        """
        chain = FilterChain([ChainLink(Waiter, None, makeContext())])
        chain.responseData[0].__self__.answers = [answer]  # type: ignore[attr-defined]  # a bound method
        self.stream = FakeStream(chain)
        self.walk = ResponseWalk(self.stream)  # type: ignore[arg-type]  # a stand-in

    def test_waiting(self) -> None:
        """
        While a filter waits the upstream is not read, and everything goes on in order when it is done.
        """
        waiting: Deferred[None] = Deferred()
        self.make(waiting)
        self.walk.push(DATA, b"12345678", False)
        self.walk.push(DATA, b"abcd", False)
        self.assertEqual(self.stream.told, ["pause"])
        waiting.callback(None)
        self.assertEqual([told for told in self.stream.told if told != "resume"], ["pause", b"12345678", b"abcd"])
        self.assertIn("resume", self.stream.told)

    def test_stopped(self) -> None:
        """
        A filter that stops at a piece gathers the body, and may not gather more than the limit.
        """
        self.make(STOP)
        self.walk.push(DATA, b"12345678", False)
        self.walk.push(DATA, b"abcd", False)
        self.assertEqual(self.stream.told, ["too large"])
