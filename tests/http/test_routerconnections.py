"""
L{meshproxy.http.router}: the connections of endpoints, and clients that leave.
"""

from __future__ import annotations

from meshproxy.testing import Answer
from tests.http.routersupport import ENDPOINT, RouterCase


class ConnectionTests(RouterCase):
    """
    Upstream connections.
    """

    def test_kept(self) -> None:
        """
        A connection is used again, by any client.
        """
        self.start()
        for _ in range(3):
            self.assertEqual(self.proxy.request("POST", body=b"x").status, 200)
        self.assertEqual(len(self.backend.connections), 1)
        self.assertEqual(self.clusterStat("upstream_cx_total"), 1)
        self.assertEqual(self.clusterStat("upstream_rq_total"), 3)

    def test_notKept(self) -> None:
        """
        An upstream that closes is asked on another one; so is one whose response says that it will.
        """
        self.start()
        self.backend.answer(
            Answer(headers={"connection": "close"}, then="close"),
            Answer(raw=b"HTTP/1.0 200 OK\r\n\r\nall", then="close"),
        )
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.proxy.request().body, b"all")
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(self.backend.connections), 3)
        self.backend.connections[-1].close()
        self.proxy.settle()
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(self.backend.connections), 4)
        self.assertQuiet()

    def test_parallel(self) -> None:
        """
        Requests at the same time have connections of their own; idle ones are used before new ones are made.
        """
        self.start()
        self.backend.answer(*[Answer(delay=1.0, body=b"x")] * 3)
        clients = [self.begin() for _ in range(3)]
        self.assertEqual(len(self.backend.connections), 3)
        self.assertEqual([client.response().status for client in clients], [200] * 3)
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(self.backend.connections), 3)

    def test_refused(self) -> None:
        """
        An upstream that cannot be reached is a 503 that says why in the log alone.
        """
        self.start()
        self.backend.stop()
        response = self.proxy.request()
        self.assertEqual(response.status, 503)
        self.assertEqual(
            response.body,
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        )
        self.assertIn("503 upstream_reset_before_response_started{remote_connection_failure", self.logged())
        self.assertTrue(self.logged().endswith(" UF"))
        self.assertEqual(self.clusterStat("upstream_cx_connect_fail"), 1)
        self.assertQuiet()

    def test_connectTimeout(self) -> None:
        """
        One that does not answer is given up after C{connect_timeout}.
        """
        self.start(cluster={"connect_timeout": "2s"})
        self.proxy.network.silent.add(ENDPOINT)
        client = self.begin()
        self.proxy.advance(1.75)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.25)
        self.assertEqual(client.responses[0].status, 503)
        self.assertEqual(self.logged(), "503 upstream_reset_before_response_started{connection_timeout} UF")
        self.assertEqual(self.clusterStat("upstream_cx_connect_timeout"), 1)

    def test_closedWithoutAnswer(self) -> None:
        """
        An upstream that goes without an answer is a 503.
        """
        self.start()
        for answer in (Answer.close(), Answer.reset()):
            self.backend.answer(answer)
            self.assertEqual(self.proxy.request().status, 503)
            self.assertEqual(self.logged(), "503 upstream_reset_before_response_started{connection_termination} UC")
        # As in Envoy, an end within a head is a broken protocol.
        self.backend.answer(Answer.reset(b"HTTP/1.1 200 OK\r\ncontent-"))
        self.assertEqual(self.proxy.request().status, 502)
        self.assertEqual(self.logged(), "502 upstream_reset_before_response_started{protocol_error} UPE")
        self.assertQuiet()

    def test_cutOff(self) -> None:
        """
        One that goes in the middle of its response takes the client's connection along, so that nobody takes the
        response for whole.
        """
        for raw in (b"content-length: 10\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"):
            for end in (Answer.close, Answer.reset):
                self.start()
                self.backend.answer(end(b"HTTP/1.1 200 OK\r\n" + raw))
                response = self.proxy.request()
                self.assertEqual((response.status, response.body, response.complete), (200, b"abc", False))
                self.assertEqual(self.logged(), "200 upstream_reset_after_response_started{protocol_error} UPE")
                # As in Envoy, the one counter is of gRPC alone, and the codec tells of each reset.
                told = [self.stat(f"{name}_reset") for name in ("downstream_rq_rx", "downstream_rq_tx")]
                told.append(self.stat("rq_reset_after_downstream_response_started"))
                self.assertEqual(told, [1, 1, 0])
                self.assertEqual(self.clusterStat("upstream_cx_protocol_error"), 1)
                self.assertQuiet()

    def test_untilClose(self) -> None:
        """
        A response without a length ends with its connection.
        """
        self.start()
        self.backend.answer(Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nto the end", then="close", delay=1.0))
        response = self.proxy.request()
        self.assertEqual((response.body, response.complete), (b"to the end", True))
        self.assertQuiet()

    def test_broken(self) -> None:
        """
        An upstream that breaks the protocol is a 502, and its connection is not used again.
        """
        self.start()
        wrongLength = b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"
        self.backend.answer(Answer(raw=b"NONSENSE\r\n\r\n"), Answer(raw=wrongLength))
        for _ in range(2):
            self.assertEqual(self.proxy.request().status, 502)
            self.assertIn("UPE", self.logged())
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.clusterStat("upstream_cx_protocol_error"), 2)
        self.assertEqual(len(self.backend.connections), 3)
        self.assertQuiet()

    def test_brokenInTheMiddle(self) -> None:
        """
        Once the response is on its way, all that is left is to cut it off.
        """
        self.start()
        self.backend.answer(Answer(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzzz\r\n"))
        response = self.proxy.request()
        self.assertFalse(response.complete)
        self.assertIn("UPE", self.logged())
        self.assertQuiet()

    def test_unasked(self) -> None:
        """
        A connection on which bytes come that nobody asked for is not used again.
        """
        self.start()
        self.proxy.request()
        self.backend.connections[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nevil!")
        self.proxy.settle()
        self.assertEqual(self.proxy.request().body, b"ok")
        self.assertEqual(len(self.backend.connections), 2)

    def test_responseTwice(self) -> None:
        """
        A second response in the same read as the first one is never anybody's.
        """
        self.start()
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
        self.backend.answer(Answer(raw=whole + b"good" + whole + b"evil"))
        self.assertEqual(self.proxy.request().body, b"good")
        self.assertEqual(self.proxy.request().body, b"ok")
        self.assertEqual(len(self.backend.connections), 2)

    def test_limits(self) -> None:
        """
        Circuit breakers answer what is too much at once.
        """
        thresholds = [{"max_connections": 1, "max_pending_requests": 1}]
        self.start(cluster={"circuit_breakers": {"thresholds": thresholds}})
        self.backend.default = Answer(delay=1.0, body=b"x")
        clients = [self.begin() for _ in range(3)]
        self.assertEqual(clients[2].responses[0].status, 503)
        self.assertEqual(clients[2].responses[0].header("x-envoy-overloaded"), "true")
        self.assertEqual(self.logged(), "503 upstream_reset_before_response_started{overflow} UO")
        self.assertEqual([client.response().status for client in clients[:2]], [200, 200])
        self.assertEqual(self.clusterStat("upstream_rq_pending_overflow"), 1)
        self.assertEqual(len(self.backend.connections), 1)
        self.assertQuiet()

    def test_requestLimit(self) -> None:
        """
        The limit of requests holds on connections that are there as well, and is given back.
        """
        self.start(cluster={"circuit_breakers": {"thresholds": [{"max_requests": 1}]}})
        self.backend.answer(Answer(delay=1.0, body=b"x"), Answer(delay=1.0, body=b"y"))
        first = self.begin()
        second = self.begin()
        self.assertEqual(second.response().status, 503)
        self.assertEqual(first.response().status, 200)
        third = self.begin()
        self.assertEqual(self.begin().response().status, 503)
        self.assertEqual(third.response().status, 200)
        self.assertQuiet()


class LeavingTests(RouterCase):
    """
    Clients that do not wait.
    """

    def test_whileConnecting(self) -> None:
        """
        A client that leaves while its upstream is being connected leaves nothing behind.
        """
        self.start()
        self.proxy.network.silent.add(ENDPOINT)
        client = self.begin()
        client.abort()
        self.proxy.settle()
        self.assertEqual(self.clusterStat("upstream_rq_cancelled"), 1)
        self.assertEqual(self.logged(), "0 downstream_remote_disconnect DC")
        self.assertQuiet()
        self.assertEqual(self.clusterStat("upstream_cx_active"), 0)

    def test_whileWaiting(self) -> None:
        """
        One that leaves before the response has its upstream's connection closed.
        """
        self.start()
        self.backend.answer(Answer.hang())
        client = self.begin()
        client.abort()
        self.proxy.settle()
        self.assertTrue(self.backend.connections[0].closed)
        self.assertEqual(self.clusterStat("upstream_cx_destroy_local_with_active_rq"), 1)
        self.assertEqual(self.stat("downstream_rq_rx_reset"), 1)
        self.assertEqual(self.logged(), "0 downstream_remote_disconnect DC")
        self.assertQuiet()
        self.assertEqual(self.proxy.request().status, 200)

    def test_whileAnswered(self) -> None:
        """
        Likewise one that leaves in the middle of its response.
        """
        self.start()
        self.backend.answer(Answer(body=[b"a", b"b"], delay=1.0))
        client = self.begin()
        self.proxy.advance(2)
        self.assertEqual(client.responses[0].body, b"a")
        client.abort()
        self.proxy.settle()
        self.assertTrue(self.backend.connections[0].closed)
        self.assertTrue(self.logged().startswith("200 downstream_remote_disconnect DC"), self.logged())
        self.assertQuiet()

    def test_whileSending(self) -> None:
        """
        One that leaves in the middle of its request: the upstream never gets a whole one.
        """
        self.start()
        client = self.begin("POST", headers={"content-length": "10"}, body=b"abc", whole=False)
        client.abort()
        self.proxy.settle()
        self.assertEqual((self.backend.last.body, self.backend.last.complete), (b"abc", False))
        self.assertTrue(self.backend.connections[0].closed)
        self.assertQuiet()
