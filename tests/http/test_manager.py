"""
L{meshproxy.http.manager}: time-outs, drain, and what is judged of a head before any filter sees it.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.pool import typeURL
from meshproxy.testing import Answer, Peer, httpBootstrap
from tests.http.support import LOG, ProxyCase, scripted


class ManagerCase(ProxyCase):
    """
    A proxy whose connection manager is configured.
    """

    def managed(self, **manager: Any) -> None:
        """
        Start, with these fields of the connection manager.
        """
        route = manager.pop("route", {"timeout": "0s"})
        self.start(manager=manager, route=route)

    def begin(self, *args: Any, **kwargs: Any) -> Any:
        """
        A client with a request under way.
        """
        client = self.proxy.client()
        client.send(*args, **kwargs)
        self.proxy.settle()
        return client


class StreamTimeoutTests(ManagerCase):
    """
    Streams that take too long.
    """

    def test_idle(self) -> None:
        """
        A stream on which nothing moves for C{stream_idle_timeout} is answered with 504, or cut off where its answer
        began.
        """
        self.managed(stream_idle_timeout="2s")
        self.backend.answer(Answer.hang())
        client = self.begin()
        self.proxy.advance(1.75)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.25)
        self.assertEqual((client.responses[0].status, client.responses[0].body), (504, b"stream timeout"))
        self.assertEqual(self.proxy.accessLog[-1], "504 stream_idle_timeout SI")
        self.backend.answer(Answer(body=[b"a", b"b"], delay=1.5), Answer(body=[b"a", b"b"], delay=3.0))
        self.assertTrue(self.proxy.request().complete)
        self.backend.answers.clear()
        self.backend.answer(Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"))
        response = self.proxy.request()
        self.assertEqual((response.status, response.complete), (200, False))
        self.assertEqual(self.stat("downstream_rq_idle_timeout"), 2)
        self.assertQuiet()

    def test_idleRequest(self) -> None:
        """
        A client that stops in the middle of its request gets a 408.
        """
        self.managed(stream_idle_timeout="2s")
        client = self.begin("POST", headers={"content-length": "9"}, body=b"abc", whole=False)
        self.proxy.advance(1)
        client.write(b"d")
        self.proxy.advance(1.75)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.25)
        self.assertEqual(client.responses[0].status, 408)
        self.assertTrue(self.backend.connections[0].closed)
        self.assertQuiet()

    def test_idleByRoute(self) -> None:
        """
        A route's C{idle_timeout} stands in for the connection manager's, be it longer, shorter, or none.
        """
        for timeout, seconds in (("5s", 5.0), ("1s", 1.0), ("0s", None)):
            self.managed(stream_idle_timeout="2s", route={"timeout": "0s", "idle_timeout": timeout})
            self.backend.answer(Answer.hang())
            client = self.begin()
            self.proxy.advance((seconds or 1000.0) - 0.25)
            self.assertEqual(client.responses, [])
            if seconds is not None:
                self.proxy.advance(0.25)
                self.assertEqual(client.responses[0].status, 504)
            client.abort()
            self.proxy.settle()
            self.assertQuiet()

    def test_request(self) -> None:
        """
        C{request_timeout} is for all of the request, and for nothing after it.
        """
        self.managed(request_timeout="2s")
        client = self.begin("POST", headers={"content-length": "9"}, body=b"abc", whole=False)
        self.proxy.advance(1)
        client.write(b"d")
        self.proxy.advance(1)
        self.assertEqual((client.responses[0].status, client.responses[0].body), (408, b"request timeout"))
        self.assertEqual(self.proxy.accessLog[-1], "408 request_overall_timeout -")
        self.assertEqual(self.stat("downstream_rq_timeout"), 1)
        self.backend.answer(Answer(delay=10.0, body=b"slow"))
        self.assertEqual(self.proxy.request().body, b"slow")
        self.assertQuiet()

    def test_head(self) -> None:
        """
        C{request_headers_timeout} is for the head, from its first byte on.
        """
        self.managed(request_headers_timeout="2s")
        client = self.proxy.client()
        self.proxy.advance(10)
        client.expect()
        client.write(b"GET / HT")
        self.proxy.advance(1)
        client.write(b"TP/1.1\r\n")
        self.proxy.advance(0.75)
        self.assertEqual(client.responses, [])
        self.proxy.advance(0.25)
        self.assertEqual(client.responses[0].status, 408)
        self.assertTrue(client.ended)
        self.assertEqual(self.stat("downstream_rq_header_timeout"), 1)
        self.assertQuiet()

    def test_headRefused(self) -> None:
        """
        A head that is refused before its end is one request: the rest of it is late no more while the connection
        closes.
        """
        self.managed(request_timeout="0.5s", delayed_close_timeout="2s")
        for gone in (False, True):
            client = Peer()
            self.proxy.connect(client)
            client.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
            self.proxy.settle()
            if gone:
                client.close()
            else:
                client.write(b"a b: c\r\n\r\n")
            self.proxy.advance(1.75)
        first, second = self.proxy.accessLog
        self.assertEqual((first, second.split()[0]), ("400 http1.codec_error DPE", "0"))
        self.assertEqual((self.stat("downstream_rq_timeout"), self.stat("downstream_rq_total")), (0, 2))
        self.assertQuiet()

    def test_answeredInPlace(self) -> None:
        """
        A route that answers by itself changes its own answer, and not that of a filter in its place, as in Envoy.
        """

        def reply(stream: Any, headers: Any, end: bool) -> object:
            return stream.reply(403, b"denied") if b"x-deny" in headers.first else None

        added = {"response_headers_to_add": [{"header": {"key": "x-r", "value": "1"}}]}
        for action, changed in (
            ({"direct_response": {"status": 204}}, (True, False)),
            ({"redirect": {"path_redirect": "/b"}}, (True, False)),
            ({"route": {"cluster": "backend"}}, (True, True)),
        ):
            self.start(scripted(requestHeaders=reply), routes=[{"match": {"prefix": "/"}, **action, **added}])
            answers = self.proxy.request(), self.proxy.request(headers={"x-deny": "1"})
            self.assertEqual(answers[1].status, 403)
            self.assertEqual(tuple(each.header("x-r") == "1" for each in answers), changed, action)

    def test_headAnswered(self) -> None:
        """
        Whatever is answered before a filter saw the request, the reply passes the filters; one that raises then ends
        its stream alone.
        """

        def seen(stream: Any, headers: Any, end: bool) -> None:
            headers.set(b"x-seen", b"%d" % headers.status)
            if stream.requestHeaders.path == b"/raise#":
                raise ValueError("an error of a filter")

        for shared in (False, True):
            chosen = scripted(responseHeaders=seen)
            chosen.shared = shared
            self.start(chosen, manager={"request_headers_timeout": "2s"})
            for sent, status in (
                (b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\n\r\n", 400),
                (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 404),
                (b"GET / HTTP/1.1\r\nhost: a\r\na b: c\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\nhost: a\r\n", 408),
                (b"GET /raise# HTTP/1.1\r\nhost: a\r\n\r\n", 0),
            ):
                client = Peer()
                self.proxy.connect(client)
                client.write(sent)
                self.proxy.advance(3)
                self.assertEqual(client.received.startswith(b"HTTP/1.1 %d " % status), status > 0, sent)
                self.assertEqual(b"\r\nx-seen: %d\r\n" % status in client.received, status > 0, sent)
                client.close()
                self.proxy.settle()
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            self.assertEqual(self.proxy.request().status, 200)
            self.assertQuiet()

    def test_headInTime(self) -> None:
        """
        A head in time ends the wait; so does the client's leaving.
        """
        self.managed(request_headers_timeout="2s")
        client = self.proxy.client()
        client.expect()
        client.write(b"GET / HTTP/1.1\r\n")
        self.proxy.advance(1.5)
        self.backend.answer(Answer(delay=5.0))
        client.write(b"host: a\r\n\r\n")
        self.assertEqual(client.response().status, 200)
        client.write(b"GET")
        self.proxy.settle()
        client.abort()
        self.proxy.advance(5)
        self.assertEqual(self.stat("downstream_rq_header_timeout"), 0)

    def test_duration(self) -> None:
        """
        C{max_stream_duration} ends a stream whatever moves.
        """
        self.managed(common_http_protocol_options={"max_stream_duration": "3s"})
        self.backend.answer(Answer.hang(), Answer(body=[b"a", b"b", b"c", b"d"], delay=1.25))
        response = self.proxy.request()
        self.assertEqual(response.status, 504)
        response = self.proxy.request()
        self.assertEqual((response.status, response.complete), (200, False))
        self.assertEqual(self.stat("downstream_rq_max_duration_reached"), 2)
        self.assertQuiet()


class ConnectionTimeoutTests(ManagerCase):
    """
    Connections that take too long.
    """

    def test_idle(self) -> None:
        """
        A connection without a request for C{idle_timeout}, and for the C{drain_timeout} after it, is closed; one with a
        request is not idle.
        """
        self.managed(common_http_protocol_options={"idle_timeout": "5s"}, drain_timeout="2s")
        fresh, used, busy = (self.proxy.client() for _ in range(3))
        self.backend.answer(Answer(delay=20.0), Answer(body=b"x"))
        busy.send()
        self.proxy.advance(3)
        self.assertEqual(used.request().status, 200)
        self.proxy.advance(2)
        self.assertEqual([fresh.ended, used.ended, busy.ended], [True, False, False])
        self.proxy.advance(4.9)
        self.assertEqual([used.ended, busy.ended], [False, False])
        self.proxy.advance(0.2)
        self.assertEqual([used.ended, busy.ended], [True, False])
        self.assertEqual(busy.response().status, 200)
        self.proxy.advance(7.1)
        self.assertTrue(busy.ended)
        self.assertEqual(self.stat("downstream_cx_idle_timeout"), 3)

    def test_idleAsks(self) -> None:
        """
        A request that was on its way when its connection had been idle for too long is served: the response tells that
        it was the last.
        """
        self.managed(common_http_protocol_options={"idle_timeout": "5s"}, drain_timeout="2s")
        client = self.proxy.client()
        self.assertIsNone(client.request().header("connection"))
        self.proxy.advance(6)
        self.assertEqual(client.request().header("connection"), "close")
        self.proxy.settle()
        self.assertTrue(client.ended)
        self.assertEqual(self.stat("downstream_cx_drain_close"), 1)
        self.proxy.advance(3)
        self.assertQuiet()

    def test_duration(self) -> None:
        """
        C{max_connection_duration} drains: a connection closes with its next response, or when it is idle and the
        C{drain_timeout} is over; one that never asked, at once.
        """
        self.managed(common_http_protocol_options={"max_connection_duration": "5s"}, drain_timeout="3s")
        silent, idle, soon, late = (self.proxy.client() for _ in range(4))
        self.backend.answer(Answer(), Answer(delay=6.0, body=b"x"), Answer(delay=20.0))
        idle.request()
        soon.send()
        late.send()
        self.proxy.advance(5.5)
        self.assertEqual([each.closed for each in (silent, idle, soon, late)], [True, False, False, False])
        self.proxy.advance(1)
        self.assertEqual((soon.responses[0].status, soon.responses[0].header("connection")), (200, "close"))
        self.assertEqual([idle.closed, soon.closed, late.closed], [False, True, False])
        self.proxy.advance(2)
        self.assertEqual([idle.closed, late.closed], [True, False])
        answer = late.response()
        self.assertEqual((answer.status, answer.header("connection")), (200, "close"))
        self.assertTrue(late.closed)
        self.assertEqual(self.stat("downstream_cx_max_duration_reached"), 4)
        self.assertQuiet()

    def test_durationJitter(self) -> None:
        """
        C{max_connection_duration_jitter} and C{drain_timeout_jitter} lengthen the times by a random part of themselves.
        """
        self.managed(
            common_http_protocol_options={
                "max_connection_duration": "100s",
                "max_connection_duration_jitter": {"value": 50},
            },
            drain_timeout="100s",
            drain_timeout_jitter={"value": 100},
        )
        # The proxy of tests has a random number of one half.
        client = self.proxy.client()
        client.request()
        old = "downstream_cx_max_duration_reached"
        self.proxy.advance(125)
        self.assertEqual(self.stat(old), 0)
        self.proxy.advance(1)
        self.assertEqual(self.stat(old), 1)
        self.proxy.advance(150)
        self.assertFalse(client.closed)
        self.proxy.advance(2)
        self.assertTrue(client.closed)

    def test_safeDuration(self) -> None:
        """
        C{http1_safe_max_connection_duration}: an old connection waits for its next response, and that is its last.
        """
        common = {"max_connection_duration": "5s"}
        self.managed(common_http_protocol_options=common, http1_safe_max_connection_duration=True)
        client = self.proxy.client()
        self.assertIsNone(client.request().headers.get(b"connection"))
        self.proxy.advance(6)
        self.assertEqual(self.stat("downstream_cx_max_duration_reached"), 1)
        self.assertEqual(client.request().headers.get(b"connection"), b"close")

    def test_requests(self) -> None:
        """
        After C{max_requests_per_connection} the response says that the connection closes.
        """
        self.managed(common_http_protocol_options={"max_requests_per_connection": 2})
        client = self.proxy.client()
        self.assertIsNone(client.request().header("connection"))
        self.assertEqual(client.request().header("connection"), "close")
        self.proxy.settle()
        self.assertTrue(client.ended)
        self.assertEqual(self.stat("downstream_cx_max_requests_reached"), 1)

    def test_delayedClose(self) -> None:
        """
        A connection that is closed waits for the client to close as well, but not for ever.
        """
        self.managed(delayed_close_timeout="2s")
        client = self.proxy.client()
        self.assertEqual(client.request(headers={"connection": "close"}).status, 200)
        self.proxy.settle()
        self.assertEqual((client.ended, client.lost), (True, None))
        self.assertEqual(self.stat("downstream_cx_active"), 1)
        self.proxy.advance(2)
        self.assertEqual(self.stat("downstream_cx_active"), 0)
        self.assertEqual(self.stat("downstream_cx_delayed_close_timeout"), 1)
        prompt = self.proxy.client()
        prompt.request(headers={"connection": "close"})
        prompt.close()
        self.proxy.advance(5)
        self.assertEqual(self.stat("downstream_cx_delayed_close_timeout"), 1)

    def test_noDelayedClose(self) -> None:
        """
        Without a time for that it closes at once.
        """
        self.managed(delayed_close_timeout="0s")
        client = self.proxy.client()
        client.request(headers={"connection": "close"})
        self.proxy.settle()
        self.assertEqual(self.stat("downstream_cx_active"), 0)


class LogTests(ManagerCase):
    """
    C{access_log_options}.
    """

    def logged(self, **options: Any) -> None:
        """
        Start.
        """
        self.start(
            manager={"access_log_options": options, "upgrade_configs": [{"upgrade_type": "websocket"}]},
            accessLog="%ACCESS_LOG_TYPE% %RESPONSE_CODE% %UPSTREAM_CLUSTER%",
        )

    def test_periods(self) -> None:
        """
        A line each time, until the stream ends.
        """
        self.logged(access_log_flush_interval="1s")
        self.backend.answer(Answer.hang())
        client = self.begin()
        self.proxy.advance(2.5)
        self.assertEqual(self.proxy.accessLog, ["DownstreamPeriodic 0 backend"] * 2)
        client.abort()
        self.proxy.advance(3)
        self.assertEqual(self.proxy.accessLog[2:], ["DownstreamEnd 0 backend"])

    def test_duration(self) -> None:
        """
        What has passed until then is its duration, and the stream goes on.
        """
        self.start(manager={"access_log_options": {"access_log_flush_interval": "1s"}}, accessLog="%DURATION%")
        self.backend.answer(Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", delay=2.5))
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.proxy.accessLog, ["1000", "2000", "2500"])

    def test_start(self) -> None:
        """
        A line at the start; choosing the route again gives no other.
        """
        self.start(
            scripted(requestHeaders=lambda stream, headers, end: stream.clearRouteCache()),
            manager={"access_log_options": {"flush_access_log_on_new_request": True}},
            accessLog="%ACCESS_LOG_TYPE% %RESPONSE_CODE% %UPSTREAM_CLUSTER%",
        )
        self.proxy.request()
        self.assertEqual(self.proxy.accessLog, ["DownstreamStart 0 backend", "DownstreamEnd 200 backend"])

    def test_plannedCluster(self) -> None:
        """
        Where nobody was asked the log names the cluster that the route says, by the name of its stats, if it is there.
        """
        reply = scripted(requestHeaders=lambda stream, headers, end: stream.reply(404, b"", [], "test_reply"))
        route = {"match": {"prefix": "/"}, "route": {"cluster_header": "x-to"}}
        self.start(reply, routes=[route], accessLog="%UPSTREAM_CLUSTER%", cluster={"alt_stat_name": "other"})
        client = self.proxy.client()
        for name in (b"backend", b"nobody"):
            client.request(headers=[(b"x-to", name)])
        self.assertEqual(self.proxy.accessLog, ["other", "-"])


class DrainTests(ManagerCase):
    """
    Connections that are to end.
    """

    def test_drain(self) -> None:
        """
        Idle connections close, busy ones with their response; new ones are served, and say that they close.
        """
        self.managed()
        idle = self.proxy.client()
        idle.request()
        self.backend.answer(Answer(delay=2.0, body=b"x"))
        busy = self.begin()
        self.proxy.server.listeners.drain()
        self.proxy.settle()
        self.assertEqual([idle.ended, busy.ended], [True, False])
        response = busy.response()
        self.assertEqual((response.status, response.header("connection")), (200, "close"))
        self.assertEqual(self.proxy.request().header("connection"), "close")
        self.assertGreater(self.stat("downstream_cx_drain_close"), 0)
        self.assertQuiet()

    def test_drainUnread(self) -> None:
        """
        A request that came, and was not read yet when the time of its connection was over, is served.
        """
        self.managed()
        client = self.proxy.client()
        client.request()
        client.expect()
        client.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.proxy.server.listeners.drain()
        response = client.response()
        self.assertEqual((response.status, response.header("connection")), (200, "close"))
        self.proxy.settle()
        self.assertTrue(client.ended)
        self.assertQuiet()

    def test_drainFresh(self) -> None:
        """
        A connection that has not asked anything yet gets a moment to do so, then it closes as well.
        """
        self.managed()
        asking, silent = self.proxy.client(), self.proxy.client()
        self.proxy.settle()
        self.proxy.server.listeners.drain()
        self.proxy.advance(0.5)
        self.assertEqual([asking.ended, silent.ended], [False, False])
        self.assertEqual(asking.request().header("connection"), "close")
        self.proxy.advance(0.6)
        self.assertEqual([asking.ended, silent.ended], [True, True])
        self.assertQuiet()

    def test_reload(self) -> None:
        """
        A reload lets streams end on what they began with; the next stream of a live connection uses the new routes,
        filters and settings.
        """
        self.managed()
        client = self.proxy.client()
        self.backend.answer(Answer(delay=2.0, body=b"old"))
        client.send()
        self.proxy.settle()
        routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 418, "body": {"inline_string": "new"}}}]
        idle = {"idle_timeout": "5s"}
        manager = {"common_http_protocol_options": idle, "drain_timeout": "1s", "server_name": "new"}
        self.assertTrue(self.proxy.reload(httpBootstrap(routes=routes, accessLog=LOG, manager=manager)))
        first = client.response()
        self.assertEqual((first.body, first.header("server")), (b"old", "envoy"))
        second = client.request()
        self.assertEqual((second.body, second.header("server")), (b"new", "new"))
        self.proxy.advance(6.1)
        self.assertTrue(client.ended)
        self.assertQuiet()


class JudgementTests(ManagerCase):
    """
    Heads that are answered before any filter sees them.
    """

    def test_authority(self) -> None:
        """
        A request of HTTP/1.1 names its authority.
        """
        self.managed()
        client = self.proxy.client()
        client.expect()
        client.write(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(client.response().status, 400)
        self.assertEqual(self.backend.requests, [])

    def test_normalizedPath(self) -> None:
        """
        Paths are normalized, refused, or redirected, as configured, before the route is chosen.
        """
        self.managed(normalize_path=True, merge_slashes=True)
        self.proxy.request("GET", "/a/../b//c")
        self.assertEqual(self.backend.last.path, b"/b/c")
        self.managed(path_with_escaped_slashes_action="REJECT_REQUEST")
        self.assertEqual(self.proxy.request("GET", "/a%2Fb").status, 400)
        self.assertEqual(self.stat("downstream_rq_failed_path_normalization"), 1)
        self.managed(path_with_escaped_slashes_action="UNESCAPE_AND_REDIRECT")
        response = self.proxy.request("GET", "/a%2Fb")
        self.assertEqual((response.status, response.header("location")), (307, "/a/b"))
        self.assertEqual(self.stat("downstream_rq_redirected_with_normalized_path"), 1)
        response = self.proxy.request("GET", "/a%2Fb", {"content-type": "application/grpc"})
        self.assertEqual((response.status, response.header("location")), (200, None))
        self.assertEqual(response.header("grpc-status"), "13")
        self.assertEqual(self.stat("downstream_rq_failed_path_normalization"), 1)

    def test_strippedAuthority(self) -> None:
        """
        Ports and the trailing dot are taken off the authority where that is configured.
        """
        cases: list[tuple[dict[str, Any], bytes, bytes]] = [
            ({"strip_any_host_port": True}, b"a.example:99", b"a.example"),
            ({"strip_matching_host_port": True}, b"a.example:10000", b"a.example"),
            ({"strip_matching_host_port": True}, b"a.example:99", b"a.example:99"),
            ({"strip_trailing_host_dot": True}, b"a.example.:99", b"a.example:99"),
        ]
        for manager, sent, seen in cases:
            self.managed(**manager)
            self.proxy.request(headers={"host": sent.decode()})
            self.assertEqual(self.backend.last.host, seen)

    def test_invalidMessage(self) -> None:
        """
        After a 400 the connection ends, or goes on with C{stream_error_on_invalid_http_message}; not after bytes that
        are no HTTP.
        """
        for keeps, wire in ((False, b"GET /a#b"), (True, b"GET /a#b"), (False, b"GET\t/")):
            proxy = self.start(manager={"stream_error_on_invalid_http_message": keeps or wire == b"GET\t/"})
            client = proxy.client()
            end = b" HTTP/1.1\r\nHost: a\r\n\r\n"
            for line in (wire, b"GET /"):
                client.expect()
                client.write(line + end)
            proxy.settle()
            self.assertEqual([response.status for response in client.responses], [400, 200] if keeps else [400], wire)

    def test_earlyMutation(self) -> None:
        """
        Heads are mutated before anything else is done to them, but for what they say of the connection.
        """
        mutations = [
            {"append": {"header": {"key": "x-request-id", "value": "mine"}}},
            {"append": {"header": {"key": "connection", "value": "x-kept"}}},
        ]
        config = {
            "@type": typeURL("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"),
            "mutations": mutations,
        }
        extensions = [{"name": "early", "typed_config": config}]
        proxy = self.start(manager={"early_header_mutation_extensions": extensions})
        proxy.request(headers=[(b"host", b"a"), (b"x-kept", b"1")])
        headers = self.backend.requests[0].headers
        self.assertEqual((headers.get(b"x-request-id"), headers.get(b"x-kept")), (b"mine", b"1"))

    def test_clientRefused(self) -> None:
        """
        Who does not tell where it comes from is answered at once, and the connection goes on.
        """
        config = {
            "@type": typeURL("envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"),
            "header_name": "x-client",
            "reject_with_status": {"code": "Unauthorized"},
        }
        extensions = [{"name": "custom", "typed_config": config}]
        client = self.start(manager={"original_ip_detection_extensions": extensions}).client()
        self.assertEqual(client.request().status, 401)
        self.assertEqual(client.request(headers=[(b"x-client", b"192.0.2.9")]).status, 200)

    def test_expect(self) -> None:
        """
        C{Expect: 100-continue} is answered here, or passed on where that is configured.
        """
        self.managed()
        client = self.begin("POST", headers={"expect": "100-continue", "content-length": "1"}, body=b"", whole=False)
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.write(b"x")
        self.assertEqual([interim.status for interim in client.response().interim], [100])
        self.assertIsNone(self.backend.last.header("expect"))
        self.managed(proxy_100_continue=True)
        self.backend.answer(Answer(interim=[(100, {})], body=b"x"))
        response = self.proxy.request("POST", headers={"expect": "100-continue"}, body=b"x")
        self.assertEqual([interim.status for interim in response.interim], [100])
        self.assertEqual(self.backend.last.header("expect"), "100-continue")

    def test_filtersSeeRoute(self) -> None:
        """
        The route is known before the first filter.
        """
        names: list[str] = []

        def note(stream: Any, headers: Any, end: bool) -> None:
            names.append(stream.routeName)

        self.start(
            scripted(requestHeaders=note),
            routes=[{"name": "mine", "match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
        )
        self.proxy.request()
        self.assertEqual(names, ["mine"])
