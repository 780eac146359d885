"""
L{meshproxy.testing.proxy}, its peers and its backends.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.testing import Answer, MemoryNetwork, MemoryProxy, NoAnswer, Request, VirtualReactor, httpBootstrap
from meshproxy.testing.bootstraps import BACKEND, FRONT
from meshproxy.testing.clock import EPOCH


class MemoryProxyTests(SynchronousTestCase):
    """
    A whole proxy.
    """

    def setUp(self) -> None:
        self.proxy = MemoryProxy(httpBootstrap(accessLog="%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%"))
        self.backend = self.proxy.backend(BACKEND)

    def test_request(self) -> None:
        """
        A request passes, both ways, with its body and its trailers; the backend saw it, and it was logged and counted.
        """
        self.backend.respond(201, b"made", {"x-made": "yes"})
        response = self.proxy.request("POST", "/things?a=b", {"X-Q": "1"}, b"body")
        self.assertEqual((response.status, response.body, response.complete), (201, b"made", True))
        self.assertEqual(response.header("X-Made"), "yes")
        seen = self.backend.last
        self.assertEqual((seen.method, seen.path, seen.host), (b"POST", b"/things?a=b", b"example.com"))
        self.assertEqual(seen.body, b"body")
        self.assertEqual(seen.header("x-q"), "1")
        self.assertEqual(self.proxy.accessLog, ["POST /things?a=b 201"])
        self.assertEqual(self.proxy.stat("http.test.downstream_rq_2xx"), 1)
        self.assertEqual(self.proxy.stat("http.test.downstream_rq_time"), 1)

    def test_unknownStat(self) -> None:
        """
        A name that does not exist is told, with one that does.
        """
        error = self.assertRaises(KeyError, self.proxy.stat, "http.test.downstream_rq_2x")
        self.assertIn("http.test.downstream_rq_2xx", str(error))

    def test_time(self) -> None:
        """
        Time passes as the answer needs it, and no longer; without an answer, a request says so.
        """
        self.backend.answer(Answer(delay=10.0, body=b"slow"))
        self.assertEqual(self.proxy.request().body, b"slow")
        self.assertEqual(self.proxy.reactor.seconds(), EPOCH + 10)
        self.backend.answer(Answer.hang())
        self.assertRaises(NoAnswer, self.proxy.request, wait=5.0)
        client = self.proxy.client()
        self.backend.answer(Answer.hang())
        client.send()
        self.proxy.advance(15)
        self.assertEqual(client.responses[0].status, 504)

    def test_keepAlive(self) -> None:
        """
        A client has several requests on its connection, one after the other or pipelined.
        """
        client = self.proxy.client()
        self.backend.answer(Answer(body=b"1"), Answer(body=b"2"), lambda request: Answer(body=request.path))
        self.assertEqual(client.request().body, b"1")
        self.assertEqual(client.request().body, b"2")
        client.send("GET", "/3")
        client.send("HEAD", "/4")
        client.send("GET", "/5")
        client.response()
        self.assertEqual([r.body for r in client.responses], [b"1", b"2", b"/3", b"", b"ok"])
        self.assertEqual(len(self.backend.connections), 1)

    def test_pieces(self) -> None:
        """
        Bodies go in pieces, in both directions, with trailers and interim responses.
        """
        proxy = MemoryProxy(
            httpBootstrap(
                manager={"http_protocol_options": {"enable_trailers": True}, "proxy_100_continue": True},
            )
        )
        backend = proxy.backend(BACKEND)
        backend.answer(Answer(body=[b"ab", b"cd"], trailers={"t": "1"}, interim=[(103, {"link": "</a>"})], delay=1.0))
        client = proxy.client()
        client.send("POST", body=b"12", whole=False)
        proxy.settle()
        self.assertEqual((backend.last.body, backend.last.complete), (b"12", False))
        client.sendChunk(b"34")
        client.endChunks()
        proxy.settle()
        self.assertEqual((backend.last.body, backend.last.complete), (b"1234", True))
        proxy.advance(2)
        self.assertEqual(client.responses[0].body, b"ab")
        self.assertFalse(client.responses[0].complete)
        response = client.response()
        self.assertEqual(response.body, b"abcd")
        self.assertEqual([interim.status for interim in response.interim], [103])

    def test_closings(self) -> None:
        """
        Backends close, cut off, and refuse.
        """
        self.backend.answer(Answer.close(), Answer.reset(), Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nraw", then="close"))
        self.assertEqual(self.proxy.request().status, 503)
        self.assertEqual(self.proxy.request().status, 503)
        self.assertEqual(self.proxy.request().body, b"raw")
        self.backend.stop()
        self.assertEqual(self.proxy.request().status, 503)
        self.backend.start()
        self.assertEqual(self.proxy.request().status, 200)

    def test_cutOff(self) -> None:
        """
        A response that is cut off is not complete, and one that never came has no status.
        """
        self.backend.answer(Answer.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"))
        response = self.proxy.request()
        self.assertEqual((response.status, response.body, response.complete), (200, b"abc", False))
        client = self.proxy.client()
        client.send()
        client.finish()
        self.assertEqual(client.response().status, 0)

    def test_script(self) -> None:
        """
        A function of the request answers.
        """

        def echo(request: Request) -> Answer:
            return Answer(body=request.body[::-1])

        self.backend.default = echo
        self.assertEqual(self.proxy.request("POST", body=b"abc").body, b"cba")

    def test_reload(self) -> None:
        """
        Another configuration takes the place of the first; one with a fault does not.
        """
        routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 418}}]
        self.assertFalse(self.proxy.reload(httpBootstrap(routes=[{"match": {"prefix": "/"}}])))
        self.assertEqual(self.proxy.request().status, 200)
        self.assertTrue(self.proxy.reload(httpBootstrap(routes=routes)))
        self.assertEqual(self.proxy.request().status, 418)
        self.flushLoggedErrors()

    def test_faults(self) -> None:
        """
        A configuration with a fault makes no proxy.
        """
        self.assertRaises(ConfigErrors, MemoryProxy, httpBootstrap(cluster={"lb_policy": "NONE_SUCH"}))

    def test_stop(self) -> None:
        """
        A proxy that is stopped waits for what is under way, and listens no more.
        """
        client = self.proxy.client()
        self.backend.answer(Answer(delay=2.0))
        client.send()
        self.proxy.settle()
        began = self.proxy.reactor.seconds()
        self.proxy.stop()
        self.assertEqual(client.responses[0].status, 200)
        self.assertLess(self.proxy.reactor.seconds() - began, 5)
        self.assertNotIn(FRONT, [address.text for address in self.proxy.network.addresses])

    def test_byteByByte(self) -> None:
        """
        The same exchange on a network that reads byte by byte.
        """
        proxy = MemoryProxy(httpBootstrap(), MemoryNetwork(VirtualReactor(), readSize=1))
        backend = proxy.backend(BACKEND)
        backend.respond(200, b"x" * 500)
        self.assertEqual(proxy.request("POST", body=b"y" * 300).body, b"x" * 500)
        self.assertEqual(backend.last.body, b"y" * 300)
