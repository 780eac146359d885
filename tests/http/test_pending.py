"""
L{meshproxy.http.pending}: what streams under way wait for, and until when. What is made of it for people to read is in
C{tests.admin.explain.test_live}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.http.pending import deadlinesOf, holdersOf, waitsFor
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer
from tests.http.support import ProxyCase, scripted


class PendingTests(ProxyCase):
    """
    Streams that wait.
    """

    def stream(self) -> Any:
        """
        The one under way.
        """
        (listener,) = self.proxy.server.listeners.byName.values()
        (chain,) = listener.chains
        (stream,) = chain.terminal.streams()  # type: ignore[union-attr]  # it has one
        return stream

    def deadlines(self) -> dict[str, float]:
        """
        How long each of its time-outs still runs.
        """
        now = self.proxy.reactor.seconds()
        return {name: round(when - now, 3) for name, when in deadlinesOf(self.stream())}

    def test_request(self) -> None:
        """
        One that is not complete has the time of the connection manager, and no more.
        """
        manager = {"request_timeout": "20s", "common_http_protocol_options": {"max_stream_duration": "50s"}}
        self.start(manager=manager)
        self.proxy.client().send("POST", "/", {"content-length": "4"}, body=b"ab", whole=False)
        self.proxy.advance(2)
        self.assertEqual(waitsFor(self.stream()), "the rest of the request")
        expected = {"request_timeout": 18, "max_stream_duration": 48, "stream_idle_timeout": 298}
        self.assertEqual(self.deadlines(), expected)

    def test_tries(self) -> None:
        """
        One that is complete has those of its route and of its try.
        """
        policy = {"retry_on": "5xx", "per_try_timeout": "3s", "per_try_idle_timeout": "2s"}
        self.start(route={"timeout": "10s", "idle_timeout": "7s", "retry_policy": policy})
        self.backend.answer(Answer.hang())
        self.proxy.client().send("GET", "/")
        self.proxy.advance(1)
        self.assertEqual(waitsFor(self.stream()), "the response")
        expected = {"timeout": 9, "per_try_timeout": 2, "per_try_idle_timeout": 1, "stream_idle_timeout": 6}
        self.assertEqual(self.deadlines(), expected)

    def test_responseHeld(self) -> None:
        """
        A filter may hold the response, too.
        """
        self.start(scripted(responseHeaders=lambda stream, headers, end: STOP))
        self.backend.answer(Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"))
        self.proxy.client().send("GET", "/")
        self.proxy.settle()
        self.assertEqual(waitsFor(self.stream()), "a filter")
        self.assertEqual(list(holdersOf(self.stream())), [("f0", "response")])
