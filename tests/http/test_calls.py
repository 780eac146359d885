"""
L{meshproxy.http.calls}: requests of a filter's own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.errors import (
    ConnectTimeout,
    LimitExceeded,
    LocalProtocolError,
    NoHealthyEndpoint,
    UpstreamOverflow,
    UpstreamReset,
)
from meshproxy.headers import RequestHeaders
from meshproxy.http.calls import CallResponse
from meshproxy.net.address import Address
from meshproxy.testing import Answer
from tests.http.support import ProxyCase


class CallTests(ProxyCase):
    """
    A call, without a stream around it.
    """

    def call(self, body: bytes = b"", cluster: str = "backend", **more: Any) -> Deferred[CallResponse]:
        """
        Call.
        """
        headers = RequestHeaders(b"POST" if body else b"GET", b"/ask", b"svc", [(b"x-a", b"1")])
        calling: Deferred[CallResponse] = self.proxy.server.context.calls.call(cluster, headers, body, **more)
        self.proxy.settle()
        return calling

    def test_answer(self) -> None:
        """
        The answer is whole: head, body and trailers, in one piece or in several; the connection is kept.
        """
        self.start(cluster={"http_protocol_options": {"enable_trailers": True}})
        self.backend.answer(
            Answer(201, b"told", {"x-b": "2"}), Answer(200, [b"in", b"pieces"], trailers={"t": "1"}), Answer(204)
        )
        first = self.successResultOf(self.call(b"question"))
        self.assertEqual((first.headers.status, first.body, first.headers.get(b"x-b")), (201, b"told", b"2"))
        seen = self.backend.last
        self.assertEqual((seen.method, seen.path, seen.host, seen.body), (b"POST", b"/ask", b"svc", b"question"))
        second = self.successResultOf(self.call())
        assert second.trailers is not None
        self.assertEqual((second.body, second.trailers.get(b"t")), (b"inpieces", b"1"))
        third = self.successResultOf(self.call())
        self.assertEqual((third.headers.status, third.body, third.trailers), (204, b"", None))
        self.assertEqual(len(self.backend.connections), 1)
        self.assertQuiet()

    def test_timeout(self) -> None:
        """
        The time is for all of it; then the connection is given up.
        """
        self.start()
        self.backend.answer(Answer(body=[b"a", b"b"], delay=1.0))
        calling = self.call(timeout=1.5)
        self.proxy.advance(1.25)
        self.assertNoResult(calling)
        self.proxy.advance(0.25)
        self.failureResultOf(calling, ConnectTimeout)
        self.proxy.settle()
        self.assertTrue(self.backend.connections[0].closed)
        self.assertQuiet()

    def test_timeoutWhileConnecting(self) -> None:
        """
        One that waits for its connection leaves the queue.
        """
        self.start()
        self.proxy.network.silent.add(Address("127.0.0.1", 9000))
        calling = self.call(timeout=1.0)
        self.proxy.advance(1)
        self.failureResultOf(calling, ConnectTimeout)
        self.assertQuiet()

    def test_limit(self) -> None:
        """
        A longer body than the limit is none.
        """
        self.start(cluster={"per_connection_buffer_limit_bytes": 10})
        for body in (b"x" * 11, [b"x" * 6] * 2):
            self.backend.answer(Answer(body=body), Answer(body=body), Answer(body=b"x" * 10))
            self.failureResultOf(self.call(), LimitExceeded)
            self.assertGreater(len(self.successResultOf(self.call(limit=20)).body), 10)
            self.assertEqual(len(self.successResultOf(self.call()).body), 10)
        self.assertQuiet()

    def test_failures(self) -> None:
        """
        What cannot be asked fails, and says how.
        """
        self.start(cluster={"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}})
        self.failureResultOf(self.call(cluster="nowhere"), NoHealthyEndpoint)
        self.failureResultOf(self.call(), UpstreamOverflow)
        self.start(cluster={"load_assignment": {"cluster_name": "backend"}})
        self.failureResultOf(self.call(), NoHealthyEndpoint)
        self.start()
        self.backend.answer(Answer.reset(), Answer.close(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"))
        self.failureResultOf(self.call(), UpstreamReset)
        self.failureResultOf(self.call(), UpstreamReset)
        self.backend.answer(Answer(raw=b"NONSENSE\r\n\r\n"))
        self.failureResultOf(self.call(), UpstreamReset)
        self.backend.stop()
        self.failureResultOf(self.call(), UpstreamReset)
        self.assertQuiet()

    def test_cancel(self) -> None:
        """
        A call that is cancelled gives its connection up.
        """
        self.start()
        self.backend.answer(Answer.hang())
        calling = self.call()
        calling.addErrback(lambda failure: None)
        calling.cancel()
        self.proxy.settle()
        self.assertTrue(self.backend.connections[0].closed)
        self.proxy.advance(60)
        self.assertQuiet()

    def test_unwritable(self) -> None:
        """
        A head that cannot be written fails at once, on a connection that waits as on a new one.
        """
        self.start()
        calls = self.proxy.server.context.calls
        for _ in range(2):
            headers = RequestHeaders(b"GET", b"/", b"svc", [(b"x-a", b"1\r\nx-evil: 2")])
            calling = calls.call("backend", headers)
            self.proxy.settle()
            self.failureResultOf(calling, LocalProtocolError)
            self.successResultOf(self.call())
        self.assertQuiet()

    def test_interim(self) -> None:
        """
        Interim responses are of no interest.
        """
        self.start()
        self.backend.answer(Answer(body=b"x", interim=[(103, {})]))
        self.assertEqual(self.successResultOf(self.call()).body, b"x")
