"""
L{meshproxy.http.router}: from a route to an upstream and back, and what goes wrong on the way.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer, Response
from tests.http.routersupport import ENDPOINT, RouterCase, taking


class RouteTests(RouterCase):
    """
    Routes that lead to no upstream.
    """

    def test_none(self) -> None:
        """
        Without a route a request is answered with 404.
        """
        self.start(routes=[{"match": {"prefix": "/only"}, "route": {"cluster": "backend"}}])
        response = self.proxy.request("GET", "/other")
        self.assertEqual((response.status, response.body), (404, b""))
        self.assertEqual(self.logged(), "404 route_not_found NR")
        self.assertEqual(self.stat("no_route"), 1)

    def test_redirect(self) -> None:
        """
        A redirect says where to.
        """
        redirect = {"host_redirect": "new.example", "https_redirect": True}
        self.start(routes=[{"match": {"prefix": "/"}, "redirect": redirect}])
        response = self.proxy.request("GET", "/a?b")
        self.assertEqual((response.status, response.header("location")), (301, "https://new.example/a?b"))
        self.assertEqual((self.stat("rq_direct_response"), self.stat("rq_total")), (1, 1))
        self.assertEqual(self.logged(), "301 direct_response -")

    def test_directLocation(self) -> None:
        """
        One that says "created", or a redirect, tells where: here. A fault does not, and closes.
        """
        statuses = (201, 302, 400)
        self.start(routes=[{"match": {"path": f"/{each}"}, "direct_response": {"status": each}} for each in statuses])
        for status, location in ((201, "http://example.com/201?a=b"), (302, "http://example.com/302?a=b"), (400, None)):
            response = self.proxy.request("GET", f"/{status}?a=b")
            closes = "close" if status == 400 else None
            self.assertEqual((response.header("location"), response.header("connection")), (location, closes))

    def test_directResponse(self) -> None:
        """
        A direct response is its body.
        """
        direct = {"status": 418, "body": {"inline_string": "teapot"}}
        self.start(routes=[{"match": {"prefix": "/"}, "direct_response": direct}])
        client = self.proxy.client()
        self.assertEqual(client.request().body, b"teapot")
        # As in Envoy, it overtakes a request that has a body, and ends the connection.
        response = client.request("POST", body=b"tea?")
        self.assertEqual((response.status, response.body, response.header("connection")), (418, b"teapot", "close"))
        self.assertEqual(self.stat("rq_direct_response"), 2)

    def test_noCluster(self) -> None:
        """
        A cluster that a request names and that is not there is the route's C{cluster_not_found_response_code}.
        """
        for code, status in ((None, 503), ("NOT_FOUND", 404), ("INTERNAL_SERVER_ERROR", 500)):
            action: dict[str, Any] = {"cluster_header": "x-to"}
            if code is not None:
                action["cluster_not_found_response_code"] = code
            self.start(routes=[{"match": {"prefix": "/"}, "route": action}])
            self.assertEqual(self.proxy.request(headers={"x-to": "nowhere"}).status, status)
            self.assertEqual(self.logged(), f"{status} cluster_not_found NC")
            self.assertEqual(self.proxy.request(headers={"x-to": "backend"}).status, 200)

    def test_noEndpoint(self) -> None:
        """
        A cluster without endpoints answers 503.
        """
        self.start(cluster={"load_assignment": {"cluster_name": "backend"}})
        response = self.proxy.request()
        self.assertEqual((response.status, response.body), (503, b"no healthy upstream"))
        self.assertEqual(self.logged(), "503 no_healthy_upstream UH")
        self.assertEqual(self.clusterStat("upstream_cx_none_healthy"), 1)

    def test_hostRewrite(self) -> None:
        """
        C{auto_host_rewrite} sends the name that the endpoint was found by.
        """
        self.start(route={"auto_host_rewrite": True}, cluster={"type": "STRICT_DNS", **_named("svc.example")})
        self.proxy.network.hosts["svc.example"] = ["127.0.0.1"]
        self.proxy.advance(10)
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.backend.last.host, b"svc.example")

    def test_matchingScheme(self) -> None:
        """
        C{match_upstream}: a request gets the scheme of its cluster's transport, on a new connection as on an idle one.
        """
        tls = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        socket = {"name": "tls", "typed_config": {"@type": f"type.googleapis.com/{tls}"}}
        usual: dict[str, Any] = {"accessLog": "%REQ(:SCHEME)%"}
        for matches, cluster, expected in (
            (False, {}, "https"),
            (True, {}, "http"),
            (True, {"transport_socket": socket}, "https"),
        ):
            self.start(manager={"scheme_header_transformation": {"match_upstream": matches}}, cluster=cluster, **usual)
            forwarded = "http" if cluster else "https"
            for _ in range(2):
                self.proxy.request(headers={"x-forwarded-proto": forwarded})
                self.assertEqual(self.logged(), expected)


def _named(host: str) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": 9000}}
    endpoint = {"endpoint": {"address": address}}
    return {"load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]}}


class BodyTests(RouterCase):
    """
    Requests that take their time.
    """

    def test_beforeConnection(self) -> None:
        """
        What comes of a request before there is a connection waits for it, up to the limit, and is sent in order.
        """
        self.start(listener={"per_connection_buffer_limit_bytes": 1000})
        self.proxy.network.latency = 1.0
        client = self.proxy.client()
        client.send("POST", body=b"x" * 300_000)
        self.proxy.advance(1.5)
        self.assertEqual(self.backend.requests, [])
        # One read may go beyond the limit; then reading stops.
        self.assertLess(self.stat("downstream_cx_rx_bytes_total"), 80_000)
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.body, b"x" * 300_000)

    def test_emptyBeforeConnection(self) -> None:
        """
        A body that turns out to be empty keeps its framing, whether there is a connection by then or not.
        """
        for latency in (0.0, 1.0):
            self.start()
            self.proxy.network.latency = latency
            client = self.proxy.client()
            client.write(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
            self.assertEqual(client.response(0).status, 200)
            seen = self.backend.last
            self.assertEqual((seen.header("transfer-encoding"), seen.header("content-length")), ("chunked", None))
            self.assertQuiet()

    def test_trailersBeforeConnection(self) -> None:
        """
        So do its trailers.
        """
        self.start(manager=self.trailers(), cluster={"http_protocol_options": {"enable_trailers": True}})
        self.proxy.network.latency = 1.0
        client = self.proxy.client()
        client.send("POST", body=b"x", trailers={"t": "1"})
        self.assertEqual(client.response().status, 200)
        self.assertEqual((self.backend.last.body, self.backend.last.trailers.get(b"t")), (b"x", b"1"))

    def test_earlyAnswer(self) -> None:
        """
        An upstream that answers before it has the whole request: the client has its answer, both connections close.
        """
        self.start()
        for answer in (Answer(403, b"no", early=True), Answer(403, early=True), Answer(403, [b"n", b"o"], early=True)):
            self.backend.answer(answer)
            client = self.begin("POST", headers={"content-length": "10"}, body=b"abc", whole=False)
            response = client.response()
            self.assertEqual((response.status, response.complete), (403, True))
            self.proxy.settle()
            self.assertTrue(client.ended)
            self.assertTrue(self.backend.connections[-1].closed)
            self.assertQuiet()
            client.close()

    def test_duplex(self) -> None:
        """
        A response may begin before its request ended, where it ends later.
        """
        self.start()
        self.backend.answer(Answer(body=[b"a", b"b"], delay=1.0, early=True))
        client = self.begin("POST", headers={"content-length": "4"}, body=b"12", whole=False)
        self.proxy.advance(1.5)
        self.assertEqual(client.responses[0].status, 200)
        client.write(b"34")
        self.proxy.settle()
        self.assertEqual(self.backend.last.body, b"1234")
        self.assertEqual(client.response().body, b"ab")
        self.assertTrue(client.responses[0].complete)
        self.assertQuiet()


class TimeoutTests(RouterCase):
    """
    Time-outs of a route.
    """

    def test_default(self) -> None:
        """
        A response that does not begin within 15 seconds is a 504.
        """
        self.start()
        self.backend.answer(Answer.hang())
        client = self.begin()
        self.proxy.advance(14.75)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.25)
        response = client.responses[0]
        self.assertEqual((response.status, response.body), (504, b"upstream request timeout"))
        self.assertEqual(self.logged(), "504 response_timeout UT")
        self.assertEqual(self.clusterStat("upstream_rq_timeout"), 1)
        self.assertTrue(self.backend.connections[0].closed)
        self.assertQuiet()

    def test_configured(self) -> None:
        """
        A route says how long; 0 is for ever. The upstream is told.
        """
        self.start(route={"timeout": "2s"})
        self.backend.answer(Answer.hang())
        self.assertEqual(self.proxy.request(wait=2.5).status, 504)
        self.assertEqual(self.backend.last.header("x-envoy-expected-rq-timeout-ms"), "2000")
        self.start(route={"timeout": "0s"}, manager={"stream_idle_timeout": "0s"})
        self.backend.answer(Answer(delay=10_000.0))
        self.assertEqual(self.proxy.request(wait=20_000).status, 200)
        self.assertIsNone(self.backend.last.header("x-envoy-expected-rq-timeout-ms"))

    def test_fromRequestsEnd(self) -> None:
        """
        The time counts from the end of the request, with the time that filters hold it.
        """
        self.start(route={"timeout": "2s"})
        self.backend.answer(Answer.hang())
        client = self.begin("POST", headers={"content-length": "4"}, body=b"ab", whole=False)
        self.proxy.advance(10)
        self.assertEqual(client.responses, [])
        client.write(b"cd")
        self.proxy.advance(1.75)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.25)
        self.assertEqual(client.responses[0].status, 504)

    def test_connecting(self) -> None:
        """
        The time that connecting takes counts.
        """
        self.start(route={"timeout": "2s"}, cluster={"connect_timeout": "10s"})
        self.proxy.network.silent.add(ENDPOINT)
        client = self.begin()
        self.proxy.advance(2)
        self.assertEqual(client.responses[0].status, 504)
        self.assertQuiet()

    def test_inTheMiddle(self) -> None:
        """
        A response that does not end in time is cut off.
        """
        self.start(route={"timeout": "2.5s"})
        self.backend.answer(Answer(body=[b"a", b"b", b"c"], delay=1.0))
        response = self.proxy.request()
        self.assertEqual((response.status, response.body, response.complete), (200, b"a", False))
        self.assertEqual(self.logged(), "200 response_timeout UT")
        self.assertQuiet()

    def test_maxStreamDuration(self) -> None:
        """
        C{max_stream_duration} counts from the beginning of the stream, and stands in for the time-out. As in Envoy,
        it speaks as that of the connection manager does.
        """
        self.start(route={"timeout": "1s", "max_stream_duration": {"max_stream_duration": "2s"}})
        self.backend.answer(Answer.hang())
        response = self.proxy.request()
        self.assertEqual((response.status, response.body), (504, b"downstream duration timeout"))
        self.assertEqual(self.stat("downstream_rq_max_duration_reached"), 1)
        self.assertQuiet()

    def test_heldByFilter(self) -> None:
        """
        What a filter before the router takes is not the upstream's: its time begins when the router has the request.
        """
        self.start(taking(10.0), route={"timeout": "2s"})
        self.backend.answer(Answer(delay=1.0, body=b"x"))
        self.assertEqual(self.proxy.request().body, b"x")


class HeadTests(RouterCase):
    """
    What the router adds to heads.
    """

    def test_serviceTime(self) -> None:
        """
        How long the upstream took, counted from the end of the request; the same for answers in one piece and in
        several.
        """
        self.start()
        for body in (b"whole", [b"in", b"pieces"]):
            self.backend.answer(Answer(body=body, delay=0.25, headers={"x-more": "yes"}))
            client = self.begin("POST", headers={"content-length": "4"}, body=b"ab", whole=False)
            self.proxy.advance(1)
            client.write(b"cd")
            self.assertEqual(client.response().header("x-envoy-upstream-service-time"), "250")

    def test_suppressed(self) -> None:
        """
        C{suppress_envoy_headers} leaves all of them out.
        """
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        filters = [{"name": "r", "typed_config": {"@type": router, "suppress_envoy_headers": True}}]
        for route in ({}, {"prefix_rewrite": "/a/"}, {"prefix_rewrite": "/b/", "retry_policy": {"retry_on": "5xx"}}):
            self.start(manager={"http_filters": filters}, route=route)
            response = self.proxy.request()
            self.assertEqual([name for name in response.headers.first if name.startswith(b"x-envoy")], [])
            self.assertEqual([name for name in self.backend.last.headers.first if name.startswith(b"x-envoy")], [])

    def test_redirectedPath(self) -> None:
        """
        A redirect that rewrites the path does so in the head as well, as Envoy's; which one it was is kept only where
        the router adds such fields.
        """
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        routes = [{"match": {"prefix": "/a"}, "redirect": {"prefix_rewrite": "/b"}}]
        for suppressed, logged in ((False, "/b /a/x"), (True, "/b -")):
            filters = [{"name": "r", "typed_config": {"@type": router, "suppress_envoy_headers": suppressed}}]
            log = "%REQ(:PATH):2% %REQ(X-ENVOY-ORIGINAL-PATH)%"
            self.start(routes=routes, manager={"http_filters": filters}, accessLog=log)
            self.assertTrue((self.proxy.request("GET", "/a/x").header("location") or "").endswith("/b/x"))
            self.assertEqual(self.proxy.accessLog, [logged])

    def test_attempts(self) -> None:
        """
        How many tries it took is told to both sides that want it.
        """
        host = {"include_request_attempt_count": True, "include_attempt_count_in_response": True}
        self.start(virtualHost=host)
        for answer in (Answer(body=b"x"), Answer(body=[b"x", b"y"])):
            self.backend.answer(answer)
            self.assertEqual(self.proxy.request().header("x-envoy-attempt-count"), "1")
            self.assertEqual(self.backend.last.header("x-envoy-attempt-count"), "1")


class UpgradeTests(RouterCase):
    """
    Connections that become something else.
    """

    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    config: dict[str, Any] = {"manager": {"upgrade_configs": [{"upgrade_type": "websocket"}]}}

    def test_tunnel(self) -> None:
        """
        After 101 bytes go both ways, as they are, until both have ended.
        """
        self.start(**self.config)
        self.backend.answer(Answer(101, headers=self.upgrade))
        client = self.proxy.client()
        response = client.request(headers=self.upgrade)
        self.assertEqual((response.status, response.header("upgrade")), (101, "websocket"))
        client.write(b"\x81ping")
        self.proxy.settle()
        upstream = self.backend.connections[0]
        self.assertEqual(upstream.tunnel, b"\x81ping")
        upstream.write(b"\x82pong")
        self.proxy.settle()
        self.assertEqual(client.tunnel, b"\x82pong")
        self.proxy.advance(100)
        self.assertFalse(client.closed)
        upstream.close()
        self.proxy.settle()
        self.assertTrue(client.closed)
        client.close()
        self.proxy.settle()
        self.assertEqual(len(self.proxy.accessLog), 1)
        self.assertTrue(self.logged().startswith("101 "))
        self.assertQuiet()

    def test_refused(self) -> None:
        """
        An upstream that refuses is an ordinary response.
        """
        self.start(**self.config)
        self.backend.answer(Answer(403, b"no"))
        client = self.proxy.client()
        response = client.request(headers=self.upgrade)
        self.assertEqual((response.status, response.body), (403, b"no"))
        self.assertIsNone(client.tunnel)
        self.assertQuiet()

    def test_notAllowed(self) -> None:
        """
        Without being allowed there is no upgrade.
        """
        self.start()
        response = self.proxy.request(headers=self.upgrade)
        self.assertEqual(response.status, 403)
        self.assertEqual(self.backend.requests, [])
        self.assertEqual(self.stat("downstream_rq_ws_on_non_ws_route"), 1)


class ManyTests(RouterCase):
    """
    Many at once.
    """

    def test_mixed(self) -> None:
        """
        Fifty streams with all kinds of ends, in parallel and in turns, leave nothing behind.
        """
        self.start(route={"timeout": "5s"})
        kinds = [
            Answer(body=b"x"),
            Answer(body=[b"a", b"b"], delay=0.5),
            Answer.hang(),
            Answer.reset(),
            Answer.close(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"),
            Answer(204),
            Answer(503, b"busy", delay=1.0),
        ]
        clients = []
        for number in range(50):
            self.backend.answers.append(kinds[number % len(kinds)])
            clients.append(self.begin("POST" if number % 2 else "GET", body=b"q" if number % 2 else None))
            if number % 9 == 0:
                clients[-1].abort()
            self.proxy.advance(0.125)
        self.proxy.advance(30)
        self.assertQuiet()
        self.assertEqual(self.stat("downstream_rq_total"), 50)
        self.assertEqual(len(self.proxy.accessLog), 50)
        for client in clients:
            client.close()
        self.proxy.settle()
        self.assertEqual(self.stat("downstream_cx_active"), 0)
        response: Response = self.proxy.request()
        self.assertEqual(response.status, 200)
