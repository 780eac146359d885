"""
L{meshproxy.http.downstream}: a client's connection.
"""

from __future__ import annotations

from meshproxy.testing import Answer, Peer
from tests.http.support import ProxyCase, scripted


class KeepAliveTests(ProxyCase):
    """
    Connections that go on, and those that do not.
    """

    def test_goesOn(self) -> None:
        """
        One request after the other, of all kinds.
        """
        self.start()
        client = self.proxy.client()
        for method, body in (("GET", None), ("POST", b"x"), ("HEAD", None), ("PUT", b""), ("GET", None)):
            self.assertEqual(client.request(method, body=body).status, 200)
        self.assertEqual(self.stat("downstream_cx_total"), 1)
        self.assertEqual(self.stat("downstream_rq_total"), 5)

    def test_closes(self) -> None:
        """
        A client that wants to close gets its answer, and then the end.
        """
        self.start()
        client = self.proxy.client()
        response = client.request(headers={"connection": "close"})
        self.proxy.settle()
        self.assertEqual((response.status, response.header("connection")), (200, "close"))
        self.assertTrue(client.ended)
        client.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.proxy.settle()
        self.assertEqual(len(self.backend.requests), 1)

    def test_halfClosed(self) -> None:
        """
        As in Envoy, a client that finishes writing is taken for one that left.
        """
        self.start()
        self.backend.answer(Answer(delay=1.0))
        client = self.proxy.client()
        client.send()
        client.finish()
        self.proxy.advance(2)
        self.assertEqual(client.responses, [])
        self.assertTrue(client.closed)
        self.assertEqual(self.proxy.accessLog, ["0 downstream_remote_disconnect DC"])
        self.assertQuiet()

    def test_withinHead(self) -> None:
        """
        One that leaves within a head has its line in the log.
        """
        self.start()
        client = self.proxy.client()
        client.write(b"GET / HTT")
        self.proxy.settle()
        client.close()
        self.proxy.settle()
        self.assertEqual(self.proxy.accessLog, ["0 downstream_remote_disconnect DC"])
        silent = self.proxy.client()
        silent.close()
        self.proxy.settle()
        self.assertEqual(len(self.proxy.accessLog), 1)
        self.assertEqual(self.stat("downstream_cx_active"), 0)


class PipeliningTests(ProxyCase):
    """
    Requests that are sent ahead.
    """

    def test_order(self) -> None:
        """
        Requests that come at once are served one by one, and answered in order, in whatever pieces they come.
        """
        self.start()
        self.backend.default = lambda request: Answer(body=request.path, delay=0.25)
        wire = b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(10))
        for step in (len(wire), 1, 50):
            client = self.proxy.client()
            for _ in range(10):
                client.expect()
            for start in range(0, len(wire), step):
                client.write(wire[start : start + step])
                self.proxy.settle()
            client.response()
            self.assertEqual([response.body for response in client.responses], [b"/%d" % n for n in range(10)])
        self.assertEqual(len(self.backend.connections), 1)

    def test_notBeforeAnswer(self) -> None:
        """
        The second request does not reach an upstream before the first one is answered.
        """
        self.start()
        self.backend.answer(Answer(delay=5.0))
        client = self.proxy.client()
        client.send("GET", "/1")
        client.send("GET", "/2")
        self.proxy.advance(4)
        self.assertEqual([request.path for request in self.backend.requests], [b"/1"])
        client.response()
        self.assertEqual([request.path for request in self.backend.requests], [b"/1", b"/2"])

    def test_bodies(self) -> None:
        """
        Requests with bodies, local replies among them.
        """
        self.start(
            scripted(requestHeaders=lambda stream, headers, end: stream.reply(403) if headers.path == b"/no" else None)
        )
        client = self.proxy.client()
        client.send("POST", "/1", body=b"a" * 100)
        client.send("GET", "/no")
        client.send("POST", "/2", body=b"b" * 100, trailers={"t": "1"})
        client.response()
        self.assertEqual([response.status for response in client.responses], [200, 403, 200])
        self.assertEqual([request.body[:1] for request in self.backend.requests], [b"a", b"b"])

    def test_backlog(self) -> None:
        """
        What is sent ahead waits in the socket, not in memory.
        """
        self.start(listener={"per_connection_buffer_limit_bytes": 1000})
        self.proxy.network.capacity = 1000
        self.backend.answer(Answer(delay=5.0))
        client = self.proxy.client()
        for _ in range(2000):
            client.send("GET", "/" + "x" * 50)
        self.proxy.settle()
        self.assertLess(self.stat("downstream_cx_rx_bytes_total"), 70_000)
        client.response()
        self.assertEqual(len(client.responses), 2000)
        self.assertEqual({response.status for response in client.responses}, {200})

    def test_afterClose(self) -> None:
        """
        What comes behind a request that closes is not served.
        """
        self.start()
        client = self.proxy.client()
        client.send("GET", "/1", {"connection": "close"})
        client.send("GET", "/2")
        client.response(0)
        self.proxy.settle()
        self.assertEqual([request.path for request in self.backend.requests], [b"/1"])

    def test_brokenBehind(self) -> None:
        """
        A broken request behind a good one is answered in its turn.
        """
        self.start()
        self.backend.answer(Answer(delay=1.0, body=b"good"))
        client = self.proxy.client()
        client.send()
        client.expect()
        client.write(b"NONSENSE\r\n\r\n")
        client.response()
        self.assertEqual([response.status for response in client.responses], [200, 400])
        self.proxy.settle()
        self.assertTrue(client.ended)


class BrokenTests(ProxyCase):
    """
    Clients that break the protocol.
    """

    def test_answers(self) -> None:
        """
        Each gets its status, if it can still be told, and the end of the connection; nothing reaches an upstream.
        """
        self.start()
        for wire, status in {
            b"NONSENSE\r\n\r\n": 400,
            b"GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n": 400,
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n": 400,
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1,2\r\n\r\n": 400,
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n": 501,
            b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n": 431,
            b"GET / HTTP/1.0\r\nhost: a\r\n\r\n": 426,
        }.items():
            client = self.proxy.client()
            client.expect()
            client.write(wire)
            self.assertEqual(client.response().status, status, wire[:60])
            self.assertEqual(client.responses[0].header("connection"), "close")
            self.proxy.settle()
            self.assertTrue(client.ended)
            self.assertIn("DPE", self.proxy.accessLog[-1])
        self.assertEqual(self.stat("downstream_cx_protocol_error"), 7)
        self.assertEqual(self.backend.requests, [])
        self.assertQuiet()

    def test_withinBody(self) -> None:
        """
        A body that breaks is a 400 as long as there is no answer; the upstream never gets a whole request.
        """
        self.start()
        client = self.proxy.client()
        client.send("POST", headers={"transfer-encoding": "chunked"}, body=b"abc", whole=False)
        self.proxy.settle()
        client.write(b"zz\r\n")
        self.assertEqual(client.response().status, 400)
        self.assertEqual((self.backend.last.body, self.backend.last.complete), (b"abc", False))
        self.assertTrue(self.backend.connections[0].closed)
        self.assertQuiet()

    def test_withinBodyAnswered(self) -> None:
        """
        Once an answer is on its way it can only be cut off.
        """
        self.start()
        self.backend.answer(Answer(body=[b"a", b"b"], delay=1.0, early=True))
        client = self.proxy.client()
        client.send("POST", headers={"transfer-encoding": "chunked"}, body=b"abc", whole=False)
        self.proxy.advance(2)
        client.write(b"zz\r\n")
        self.proxy.settle()
        self.assertEqual((client.responses[0].status, client.responses[0].complete), (200, False))
        self.assertTrue(client.closed)
        self.assertQuiet()

    def test_tls(self) -> None:
        """
        Something else altogether, a TLS handshake for one, does no harm.
        """
        self.start()
        peer = Peer()
        self.proxy.connect(peer)
        peer.write(bytes.fromhex("160301020001000001fc0303") + b"\0" * 500)
        self.proxy.settle()
        self.assertTrue(peer.closed)
        self.assertQuiet()


class SlowReaderTests(ProxyCase):
    """
    Clients that do not read their answers.
    """

    capacity = 1000

    def test_noFurtherRequests(self) -> None:
        """
        A client that does not read gets no further request served, until it reads (CVE-2020-8661).
        """
        self.start(listener={"per_connection_buffer_limit_bytes": 1000})
        self.backend.default = Answer(body=b"x" * 5000)
        client = self.proxy.client()
        client.pause()
        for _ in range(50):
            client.send()
        self.proxy.settle()
        self.assertLess(len(self.backend.requests), 5)
        client.resume()
        client.response()
        self.assertEqual(len(client.responses), 50)
        self.assertQuiet()
