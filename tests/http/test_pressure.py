# -*- test-case-name: tests.http.test_pressure -*-
"""
Peers that do not read, or leave at a bad moment: what is kept for them is bounded, and nobody else pays for it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.net.transport import SocketTransport
from meshproxy.testing import Answer, httpBootstrap
from tests.http.support import ProxyCase, scripted

LIMIT = 65536
LISTENER = {"per_connection_buffer_limit_bytes": LIMIT}
CLUSTER = {"per_connection_buffer_limit_bytes": LIMIT}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class PressureTests(ProxyCase):
    """
    A proxy with small buffers, between small sockets.
    """

    capacity = 16384

    def begin(self, **config: Any) -> None:
        """
        Start it.
        """
        self.start(listener=LISTENER, cluster=config.pop("cluster", CLUSTER), **config)

    def unsent(self) -> int:
        """
        How much all of the proxy's transports keep, but not the peers of the test.
        """
        reactor = self.proxy.reactor
        found = {each for each in (*reactor.getReaders(), *reactor.getWriters()) if isinstance(each, SocketTransport)}
        return sum(each.unsent for each in found if "meshproxy.testing" not in type(each.protocol).__module__)

    def test_answeredBeforeTaken(self) -> None:
        """
        An answer that comes while the upstream has not taken all of the request's body leaves the downstream connection
        readable: the next request on it is served.
        """
        self.begin()
        client = self.proxy.client()
        self.backend.answer(Answer.hang())
        client.send("POST", "/", body=b"")
        self.proxy.settle()
        upstream = self.backend.connections[0]
        upstream.write(OK)
        self.proxy.settle()
        upstream.pause()
        # With its head it is longer than what the socket and the buffer hold, and it is the last read that is too many.
        client.send("POST", "/", body=b"x" * (LIMIT + self.capacity - 120))
        self.proxy.settle()
        self.assertGreater(self.unsent(), LIMIT)
        upstream.write(OK)
        self.proxy.settle()
        self.assertEqual([response.body for response in client.responses], [b"ok", b"ok"])
        upstream.abort()
        self.proxy.settle()
        self.assertEqual(client.request("GET", "/next", wait=5.0).status, 200)
        self.assertQuiet()

    def test_unsentRequestOfAConnectionThatCloses(self) -> None:
        """
        An upstream that answers, wants to close and never takes the rest of the request does not keep its connection,
        nor its place under the circuit breaker.
        """
        self.begin()
        client = self.proxy.client()
        self.assertEqual(client.request("GET", "/").status, 200)
        upstream = self.backend.connections[0]
        upstream.pause()
        self.backend.answer(Answer.hang())
        client.send("POST", "/", body=b"x" * LIMIT)
        self.proxy.settle()
        upstream.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        self.proxy.settle()
        self.assertEqual(client.responses[-1].body, b"ok")
        self.assertEqual(self.clusterStat("upstream_cx_active"), 0)

    def test_pausedBeforeThereIsAnUpstream(self) -> None:
        """
        A downstream that stops to read the former answer as a request begins gets no more of its answer kept for it
        than the buffer holds, though it was paused before there was an upstream connection to pause.
        """
        self.start(
            scripted(requestHeaders=lambda stream, headers, end: stream.downstream.pauseProducing()),
            listener=LISTENER,
            cluster=CLUSTER,
        )
        client = self.proxy.client()
        client.pause()
        self.backend.answer(Answer(body=[b"2" * 30000] * 100))
        client.send("GET", "/")
        self.proxy.settle()
        self.assertLess(self.unsent(), 4 * LIMIT)
        client.resume()
        self.proxy.settle()
        self.assertEqual(len(client.responses[0].body), 3000000)
        self.assertTrue(client.responses[0].complete)
        self.assertQuiet()

    def test_finishedAndDoesNotRead(self) -> None:
        """
        A downstream that finishes writing within the answer and does not read makes nothing grow, and is gone when the
        time for closing is over.
        """
        self.begin()
        client = self.proxy.client()
        client.pause()
        self.backend.answer(Answer(body=[b"2" * 30000] * 300, delay=0.01))
        client.send("GET", "/")
        self.proxy.advance(0.02)
        self.assertGreater(self.unsent(), 0)
        self.assertLess(self.unsent(), LIMIT)
        client.finish()
        self.proxy.advance(0.5)
        self.assertLess(self.unsent(), LIMIT)
        self.proxy.advance(4.0)
        self.assertEqual(self.stat("downstream_cx_active"), 0)
        self.assertQuiet()

    def test_finishedWithMoreAhead(self) -> None:
        """
        What it sent ahead is not served any more.
        """
        self.begin()
        client = self.proxy.client()
        client.pause()
        self.backend.answer(Answer(body=b"1" * 60000, delay=0.1), Answer(body=b"2"))
        client.send("GET", "/1")
        client.send("GET", "/2")
        self.proxy.advance(0.05)
        client.finish()
        self.proxy.advance(0.2)
        self.assertEqual([request.path for request in self.backend.requests], [b"/1"])
        self.assertQuiet()

    def test_finishedWithoutTime(self) -> None:
        """
        Where closing may last for ever, one that finished and does not read is cut off.
        """
        self.begin(manager={"delayed_close_timeout": "0s"})
        client = self.proxy.client()
        client.pause()
        self.backend.answer(Answer(body=b"1" * 60000))
        client.send("GET", "/1")
        self.proxy.settle()
        self.assertGreater(self.unsent(), 0)
        client.finish()
        self.proxy.settle()
        self.assertEqual(self.stat("downstream_cx_active"), 0)

    def test_finishedAndReads(self) -> None:
        """
        One that finishes after the answer was written, and reads, gets all of it.
        """
        self.begin()
        client = self.proxy.client()
        client.pause()
        self.backend.answer(Answer(body=b"2" * 50000))
        client.send("GET", "/")
        self.proxy.settle()
        client.finish()
        self.proxy.settle()
        client.resume()
        self.proxy.settle()
        self.assertEqual(len(client.responses[0].body), 50000)
        self.assertEqual(self.stat("downstream_cx_delayed_close_timeout"), 0)
        self.assertEqual(self.stat("downstream_cx_active"), 0)

    def test_manySmallRequests(self) -> None:
        """
        Thousands of pipelined requests in one read, answered here, keep only as many answers as the buffer holds, until
        the downstream reads them.
        """
        self.capacity = 0
        routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "x" * 4000}}}]
        self.begin(routes=routes)
        client = self.proxy.client()
        client.pause()
        count = 1500
        for _ in range(count):
            client.expect()
        client.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * count)
        self.proxy.settle()
        self.assertLess(self.unsent(), LIMIT + 40 * 4300)
        client.resume()
        self.proxy.settle()
        self.assertEqual(len(client.responses), count)
        self.assertTrue(client.responses[-1].complete)

    def test_othersInBetween(self) -> None:
        """
        Pipelined requests that are answered here do not keep others waiting to their end, and what follows them is not
        read into memory meanwhile.
        """
        self.capacity = 0
        served: list[bytes] = []
        kept = 0

        def note(stream: Any, headers: Any, end: bool) -> None:
            nonlocal kept
            kept = max(kept, stream.downstream.codec.bufferedBytes)
            served.append(headers.path)

        routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "x"}}}]
        self.start(scripted(requestHeaders=note), routes=routes)
        greedy, other = self.proxy.client(), self.proxy.client()
        count = 5000
        for _ in range(count):
            greedy.expect()
        greedy.write(b"GET /g HTTP/1.1\r\nhost: a\r\n\r\n" * count)
        other.send("GET", "/other")
        self.proxy.settle()
        self.assertLess(served.index(b"/other"), 100)
        self.assertLess(kept, 2 * 65536)
        self.assertEqual(len(greedy.responses), count)
        self.assertEqual(len(other.responses), 1)

    def test_anotherPrefix(self) -> None:
        """
        A connection that lives on under another C{stat_prefix} is counted there, and its end too.
        """
        self.begin()
        client = self.proxy.client()
        self.assertEqual(client.request("GET", "/").status, 200)
        self.assertTrue(self.proxy.reload(httpBootstrap(manager={"stat_prefix": "new"}, listener=LISTENER)))
        self.assertEqual(client.request("GET", "/").status, 200)
        for name in ("downstream_cx_active", "downstream_cx_http1_active"):
            self.assertEqual(self.proxy.stat(f"http.new.{name}"), 1)
        client.close()
        self.proxy.settle()
        for name in ("downstream_cx_active", "downstream_cx_http1_active"):
            self.assertEqual(self.proxy.stat(f"http.new.{name}"), 0)

    def test_headBegunBehindAnother(self) -> None:
        """
        A head that begins in the same read as the request before it is due in time too.
        """
        self.begin(manager={"request_headers_timeout": "2s"})
        client = self.proxy.client()
        self.backend.answer(Answer(body=b"1", delay=1.0))
        client.send("GET", "/")
        client.write(b"GET /slow HTTP/1.1\r\nho")
        client.expect()
        self.proxy.advance(1.5)
        self.assertEqual(len(client.responses), 1)
        self.proxy.advance(2.0)
        self.assertEqual([response.status for response in client.responses], [200, 408])

    def test_replyThatIsHeld(self) -> None:
        """
        A filter that never lets go of a route's time-out does not keep the stream for ever.
        """
        held = scripted(responseHeaders=lambda stream, headers, end: Deferred())
        self.start(held, route={"idle_timeout": "2s"}, manager={"stream_idle_timeout": "0s"})
        self.backend.answer(Answer.hang())
        client = self.proxy.client()
        client.send("GET", "/")
        self.proxy.advance(3.0)
        self.assertEqual(client.responses, [])
        self.proxy.advance(3.0)
        self.assertEqual(client.responses[0].status, 504)
        self.assertQuiet()

    def test_raisedAtWhatWasHeld(self) -> None:
        """
        A filter that raises at a piece of the body that another one had held ends the response; the pieces behind it
        are not left out in silence.
        """
        waiting: Deferred[None] = Deferred()
        pieces: list[bytes] = []

        def raises(stream: Any, data: bytes, end: bool) -> None:
            pieces.append(data)
            if data == b"2":
                raise ZeroDivisionError

        def waits(stream: Any, data: bytes, end: bool) -> object:
            return waiting if data == b"1" else None

        self.start(scripted(responseData=raises), scripted(responseData=waits))
        self.backend.answer(Answer(body=[b"1", b"2", b"3"], delay=0.01))
        client = self.proxy.client()
        client.send("GET", "/")
        self.proxy.advance(1.0)
        self.assertEqual(pieces, [])
        waiting.callback(None)
        self.proxy.advance(5.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(pieces, [b"1", b"2"])
        self.assertFalse(client.responses[0].complete)
        self.assertTrue(client.closed)
        self.assertQuiet()

    def test_closeDelimitedBeforeTheRequestEnds(self) -> None:
        """
        A response that ends with its connection while the request is still being sent gives its place back once.
        """
        self.begin()
        client = self.proxy.client()
        self.backend.answer(Answer.hang())
        client.send("POST", "/", [(b"content-length", b"100")], b"begin", whole=False)
        self.proxy.settle()
        upstream = self.backend.connections[0]
        upstream.write(b"HTTP/1.1 200 OK\r\n\r\nall")
        self.proxy.settle()
        upstream.close()
        self.proxy.settle()
        self.assertEqual(client.responses[0].body, b"all")
        self.proxy.advance(5.0)
        self.assertEqual(self.clusterStat("upstream_rq_active"), 0)
        self.assertEqual(self.clusterStat("upstream_cx_active"), 0)
        breaker = self.proxy.server.context.clusters.byName["backend"].breaker("DEFAULT")
        self.assertEqual((breaker.requests.used, breaker.connections.used), (0, 0))

    def test_lengthsThatClientsName(self) -> None:
        """
        Time-outs that clients name do not stay behind when their requests are over, neither in memory nor as timers.
        """
        internal = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
        self.begin(manager={"internal_address_config": internal})
        client = self.proxy.client()
        before = len(self.proxy.reactor.getDelayedCalls())
        for number in range(1500):
            named = b"%d" % (100000000 + number)
            client.request("GET", "/", [(b"x-envoy-upstream-rq-timeout-ms", named), (b"x-forwarded-for", b"10.0.0.1")])
        self.assertEqual(self.backend.last.headers.get(b"x-envoy-expected-rq-timeout-ms"), b"100001499")
        self.assertLess(len(self.proxy.reactor.getDelayedCalls()), before + 300)
