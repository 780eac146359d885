"""
L{meshproxy.http.stream}: local replies, faults of filters, and what filters ask of a stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.errors import LocalProtocolError
from meshproxy.flags import ResponseFlag
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer, Response
from tests.http.support import EVENTS, ProxyCase, recorder, scripted


class ReplyTests(ProxyCase):
    """
    Local replies.
    """

    def replying(self, *args: Any, **kwargs: Any) -> type[HTTPFilter]:
        """
        A filter that replies to each request.
        """
        return scripted(requestHeaders=lambda stream, headers, end: stream.reply(*args, **kwargs))

    def test_reply(self) -> None:
        """
        A reply has its status, its body with length and type, more headers, details and flags; it goes no further down.
        """
        log: list[str] = []
        self.start(
            self.replying(
                429,
                b"slow down",
                [(b"retry-after", b"1"), (b"x-a", b"1"), (b"x-a", b"2")],
                "too_fast",
                ResponseFlag.RATE_LIMITED,
            ),
            recorder(log),
        )
        response = self.proxy.request("POST", body=b"data")
        self.assertEqual((response.status, response.body), (429, b"slow down"))
        self.assertEqual(response.header("content-type"), "text/plain")
        self.assertEqual(response.header("content-length"), "9")
        self.assertEqual(response.header("retry-after"), "1")
        self.assertEqual(response.headers.values(b"x-a"), [b"1", b"2"])
        self.assertEqual(self.proxy.accessLog, ["429 too_fast RL"])
        self.assertEqual(self.backend.requests, [])
        self.assertEqual(log, ["responseHeaders", "responseData slow down.", "streamEnded"])
        self.assertEqual(self.stat("downstream_rq_4xx"), 1)

    def test_filtersBeforeSeeIt(self) -> None:
        """
        Filters before the one that replies see the reply as a response, and may change it.
        """
        log: list[str] = []
        marking = scripted(responseHeaders=lambda stream, headers, end: headers.set(b"x-marked", b"yes"))
        self.start(recorder(log), marking, self.replying(403, b"no"))
        response = self.proxy.request()
        self.assertEqual((response.status, response.header("x-marked")), (403, "yes"))
        self.assertEqual(log, ["requestHeaders.", "responseHeaders", "responseData no.", "streamEnded"])

    def test_empty(self) -> None:
        """
        A reply without a body says so, but for a status that has none.
        """
        self.start(self.replying(404))
        response = self.proxy.request()
        self.assertEqual((response.header("content-length"), response.header("content-type")), ("0", None))
        self.start(self.replying(204))
        self.assertIsNone(self.proxy.request().header("content-length"))

    def test_head(self) -> None:
        """
        The reply to a HEAD has the length of the body that it does not have.
        """
        self.start(self.replying(403, b"no"))
        client = self.proxy.client()
        response = client.request("HEAD")
        self.assertEqual((response.status, response.header("content-length"), response.body), (403, "2", b""))
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        self.assertEqual(client.request("GET").body, b"no")

    def test_grpc(self) -> None:
        """
        A gRPC client gets its own kind of status, and no body.
        """
        self.start(self.replying(403, b"not 100% \xc3\xa9"))
        for contentType in ("application/grpc", "application/grpc+proto"):
            response = self.proxy.request("POST", "/s/m", {"content-type": contentType}, b"x")
            self.assertEqual((response.status, response.body), (200, b""))
            self.assertEqual(response.header("grpc-status"), "7")
            self.assertEqual(response.header("grpc-message"), "not 100%25 %C3%A9")
            self.assertEqual(response.header("content-type"), "application/grpc")
        self.assertEqual(self.proxy.request("POST", "/", {"content-type": "application/grpc-web"}, b"").status, 403)

    def test_atEachEvent(self) -> None:
        """
        A filter may reply at each event of a request.
        """
        for event in ("requestHeaders", "requestData", "requestTrailers"):

            def reply(stream: Any, *args: Any) -> object:
                return stream.reply(403, b"no")

            self.start(scripted(**{event: reply}), manager=self.trailers())
            response = self.proxy.request("POST", body=b"data", trailers={"t": "1"})
            self.assertEqual((response.status, response.body), (403, b"no"), event)
            self.assertQuiet()

    def test_insteadOfResponse(self) -> None:
        """
        A filter may reply instead of the upstream's response, while that has not gone out.
        """
        log: list[str] = []
        for event in ("responseHeaders", "responseData"):
            holding = scripted(responseHeaders=lambda *args: STOP) if event == "responseData" else scripted()
            replying = scripted(**{event: lambda stream, *args: stream.reply(502, b"instead")})
            self.start(recorder(log), holding, replying)
            self.backend.respond(200, b"original")
            response = self.proxy.request()
            self.assertEqual((response.status, response.body), (502, b"instead"), event)
            self.assertQuiet()
        # As in Envoy, filters that stand before see no second response.
        self.assertEqual(log, ["requestHeaders.", "streamEnded"] * 2)

    def test_afterResponseBegan(self) -> None:
        """
        A reply cannot replace a response whose head is out: the connection is cut.
        """
        self.start(scripted(responseData=lambda stream, *args: stream.reply(502, b"instead")))
        self.backend.respond(200, b"original")
        response = self.proxy.request()
        self.assertEqual((response.status, response.complete), (200, False))
        self.assertEqual(self.stat("downstream_rq_tx_reset"), 1)
        self.assertQuiet()

    def test_twice(self) -> None:
        """
        A second reply to a request that was answered changes nothing.
        """

        def twice(stream: Any, headers: Any, end: bool) -> object:
            stream.reply(403, b"first")
            return stream.reply(500, b"second")

        self.start(scripted(requestHeaders=twice))
        self.assertEqual(self.proxy.request().body, b"first")
        self.assertEqual(self.stat("downstream_rq_5xx"), 0)

    def test_beforeRequestEnded(self) -> None:
        """
        A reply that overtakes its request closes the connection, as in Envoy, and says so.
        """
        self.start(self.replying(403, b"no"))
        client = self.proxy.client()
        client.send("POST", body=b"begin", whole=False)
        response = client.response()
        self.assertEqual((response.status, response.header("connection")), (403, "close"))
        self.proxy.settle()
        self.assertTrue(client.ended)
        self.assertEqual(self.stat("downstream_rq_response_before_rq_complete"), 1)

    def test_routeHeaders(self) -> None:
        """
        What the route adds to responses it adds to replies too. As in Envoy, it knows the status of an upstream's
        response there, and not that of a reply.
        """
        added = [{"header": {"key": "x-route", "value": "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"}}]
        self.start(self.replying(403, details="told"), virtualHost={"response_headers_to_add": added})
        self.assertEqual(self.proxy.request().header("x-route"), "0 told")
        self.start(virtualHost={"response_headers_to_add": added})
        self.backend.answer(Answer(201, b"whole"), Answer(201, [b"in", b"pieces"]))
        for _ in range(2):
            self.assertEqual(self.proxy.request().header("x-route"), "201 via_upstream")


class FaultTests(ProxyCase):
    """
    Filters that raise.
    """

    def raising(self, *args: Any) -> object:
        """
        Raise.
        """
        raise ZeroDivisionError("the filter's fault")

    def exchange(self, event: str) -> Response:
        """
        A request and a response with everything, through a filter that raises at one event.
        """
        cluster = {"http_protocol_options": {"enable_trailers": True}}
        self.start(scripted(**{event: self.raising}), manager=self.trailers(), cluster=cluster)
        self.backend.answer(Answer(body=[b"ab"], trailers={"t": "1"}))
        return self.proxy.request("POST", body=b"data", trailers={"t": "1"})

    def test_request(self) -> None:
        """
        At any event of the request, the client gets a 500; the fault is counted, and logged once with its traceback.
        """
        for event in EVENTS[:3]:
            response = self.exchange(event)
            self.assertEqual((response.status, response.body), (500, b"Internal Server Error"), event)
            self.assertEqual(self.stat("filter_exceptions"), 1)
            (logged,) = self.flushLoggedErrors(ZeroDivisionError)
            self.assertIn("the filter's fault", logged.getTraceback())
            self.assertIn("test_stream.py", logged.getTraceback())
            self.assertQuiet()

    def test_responseHead(self) -> None:
        """
        At the head of the response, too.
        """
        response = self.exchange("responseHeaders")
        self.assertEqual(response.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertQuiet()

    def test_responseBody(self) -> None:
        """
        Later there is an answer out already: it is cut off, so that nobody takes it for whole.
        """
        for event in EVENTS[4:6]:
            response = self.exchange(event)
            self.assertEqual((response.status, response.complete), (200, False), event)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.stat("filter_exceptions"), 1)
            self.assertQuiet()

    def test_remembered(self) -> None:
        """
        A filter that remembers streams is told of the end of those that it said so of, however they end.
        """
        ended: list[bytes] = []

        def asked(stream: Any, headers: RequestHeaders, endStream: bool) -> None:
            if headers.path.startswith(b"/kept"):
                stream.remember()

        told = scripted(requestHeaders=asked, streamEnded=lambda stream: ended.append(stream.requestHeaders.path))
        self.start(type("Remembering", (told,), {"shared": True, "remembers": True}))
        for path in ("/kept", "/not", "/kept/again"):
            self.assertEqual(self.proxy.request("GET", path).status, 200)
        self.backend.default = Answer(502)
        self.proxy.request("GET", "/kept/bad")
        self.assertEqual(ended, [b"/kept", b"/kept/again", b"/kept/bad"])

    def test_streamEnded(self) -> None:
        """
        At the end nothing can be told any more; the others are told of the end all the same, and it is logged and
        counted.
        """
        ended: list[object] = []
        self.start(scripted(streamEnded=self.raising), scripted(streamEnded=ended.append))
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(ended), 1)
        self.assertEqual(self.stat("filter_exceptions"), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.proxy.accessLog), 1)

    def test_atReply(self) -> None:
        """
        A filter that raises at a local reply leaves the client without it.
        """
        self.start(
            scripted(responseHeaders=self.raising),
            scripted(requestHeaders=lambda stream, headers, end: stream.reply(403, b"no")),
        )
        self.assertFalse(self.proxy.request().complete)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertQuiet()

    def test_atConstruction(self) -> None:
        """
        A filter whose instance cannot be made is no less contained.
        """
        self.start(type("Broken", (HTTPFilter,), {"__init__": self.failInit, "requestHeaders": lambda *args: None}))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(client.response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertQuiet()

    @staticmethod
    def failInit(instance: object, *args: Any) -> None:
        """
        Raise.
        """
        raise ZeroDivisionError("at construction")

    def test_othersDoNotNotice(self) -> None:
        """
        Streams of other connections go on, and so does this connection, where its answer is whole.
        """

        def sometimes(stream: Any, headers: Any, end: bool) -> None:
            if headers.path == b"/fail":
                raise ZeroDivisionError("now")

        self.start(scripted(requestHeaders=sometimes))
        other = self.proxy.client()
        self.backend.answer(Answer(delay=5.0, body=b"slow"))
        other.send()
        self.proxy.settle()
        client = self.proxy.client()
        self.assertEqual(client.request("GET", "/fail").status, 500)
        self.assertEqual(client.request("GET", "/").status, 200)
        self.assertEqual(other.response().body, b"slow")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unwritable(self) -> None:
        """
        A head that a filter made and that cannot be written is a reset, and never on the wire.
        """
        self.start(scripted(responseHeaders=lambda stream, headers, end: headers.set(b"x-a", b"1\r\nx-evil: 2")))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(client.received, b"")
        self.assertTrue(client.closed)
        self.assertQuiet()

    def test_unwritableRequest(self) -> None:
        """
        Likewise the head of a request: it never reaches the upstream.
        """

        def poison(stream: Any, headers: Any, end: bool) -> None:
            if headers.path == b"/bad":
                headers.set(b"x-a", b"1\r\nx-evil: 2")

        self.start(scripted(requestHeaders=poison))
        # On a new connection, and on one that waits.
        for path, status in (("/bad", 500), ("/", 200), ("/bad", 500), ("/", 200)):
            self.assertEqual(self.proxy.request("GET", path).status, status)
            self.assertQuiet()
        self.assertEqual(len(self.flushLoggedErrors(LocalProtocolError)), 2)
        self.assertEqual([request.path for request in self.backend.requests], [b"/", b"/"])
        self.assertNotIn(b"evil", b"".join(each.received for each in self.backend.connections))

    def test_wrongLength(self) -> None:
        """
        A body that does not fit the length that a filter left in the head is cut off.
        """
        self.start(scripted(responseData=lambda stream, data, end: data + b"more"))
        self.backend.respond(200, b"body")
        response = self.proxy.request()
        self.assertFalse(response.complete)
        self.assertQuiet()


class StreamTests(ProxyCase):
    """
    What filters ask of a stream.
    """

    def ask(self, method: Callable[[Any], object], **config: Any) -> Response:
        """
        A request through a filter that does this with the stream, at the request's head.
        """

        def requestHeaders(stream: Any, headers: Any, end: bool) -> None:
            method(stream)

        self.start(scripted(requestHeaders=requestHeaders), **config)
        return self.proxy.request(headers={"x-to": "none"})

    def test_facts(self) -> None:
        """
        A stream knows its request, its route and its connection.
        """
        facts: list[Any] = []

        def note(stream: Any) -> None:
            facts.append((stream.requestHeaders.path, stream.route.action.cluster, stream.responseHeaders))
            facts.append((stream.connection.remoteAddress.host, stream.connection.localAddress.text))

        self.ask(note)
        self.assertEqual(facts, [(b"/", "backend", None), ("127.0.0.1", "127.0.0.1:10000")])

    def test_metadata(self) -> None:
        """
        What a filter notes is the stream's own, for other filters and for the log.
        """
        values: list[Any] = []

        def note(stream: Any) -> None:
            values.append(dict(stream.dynamicMetadata))
            stream.dynamicMetadata.setdefault("ns", {})["key"] = "value"
            stream.filterState["k"] = "v"

        self.ask(note, accessLog="%DYNAMIC_METADATA(ns:key)% %FILTER_STATE(k:PLAIN)%")
        self.proxy.request()
        self.assertEqual(self.proxy.accessLog, ["value v"] * 2)
        self.assertEqual(values, [{}, {}])

    def test_clearRouteCache(self) -> None:
        """
        A filter that changed the head has the route chosen again.
        """
        routes = [
            {"match": {"prefix": "/new"}, "direct_response": {"status": 418}},
            {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
        ]

        def change(stream: Any) -> None:
            stream.requestHeaders.path = b"/new"
            stream.clearRouteCache()

        self.assertEqual(self.ask(change, routes=routes).status, 418)
        self.assertEqual(self.ask(lambda stream: None, routes=routes).status, 200)

    def test_reset(self) -> None:
        """
        A stream that is reset has no answer; its connection is cut.
        """
        response = self.ask(lambda stream: stream.reset())
        self.assertEqual(response.status, 0)
        self.assertEqual(self.stat("downstream_rq_tx_reset"), 1)
        self.assertEqual(self.backend.requests, [])
        self.assertQuiet()

    def test_endedOnce(self) -> None:
        """
        Each filter is told of the end once, however the stream ends: after an answer, a reply, a reset, or when the
        client left.
        """
        ended: list[Any] = []

        def act(stream: Any, headers: Any, end: bool) -> object:
            if headers.path == b"/reply":
                return stream.reply(403)
            return stream.reset() if headers.path == b"/reset" else None

        self.start(scripted(requestHeaders=act, streamEnded=ended.append))
        for path in ("/", "/reply", "/reset"):
            self.proxy.request("GET", path)
        self.backend.answer(Answer.hang())
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        client.abort()
        self.proxy.settle()
        self.assertEqual(len(ended), 4)
        self.assertEqual(len(set(map(id, ended))), 4)

    def test_own(self) -> None:
        """
        By default each stream has an instance of the filter of its own; a shared one serves all.
        """
        instances: list[object] = []

        def note(filter: object, *args: Any) -> None:
            instances.append(filter)

        self.start(
            type("Own", (HTTPFilter,), {"requestHeaders": note}),
            type("Shared", (HTTPFilter,), {"shared": True, "requestHeaders": note}),
        )
        self.proxy.request()
        self.proxy.request()
        first, shared, second, again = instances
        self.assertIs(shared, again)
        self.assertIsNot(first, second)

    def test_informational(self) -> None:
        """
        Interim responses pass, before the response and not after its beginning.
        """
        self.start()
        self.backend.answer(Answer(interim=[(103, {"link": "</a>"}), (102, {})], body=b"x"))
        response = self.proxy.request()
        self.assertEqual([interim.status for interim in response.interim], [103, 102])
        self.assertEqual(response.interim[0].header("link"), "</a>")

    def test_trailers(self) -> None:
        """
        Trailers pass both ways where they are allowed, and filters may change them.
        """
        self.start(
            scripted(
                requestTrailers=lambda stream, trailers: trailers.set(b"seen", b"q"),
                responseTrailers=lambda stream, trailers: trailers.set(b"seen", b"r"),
            ),
            manager=self.trailers(),
            cluster={"http_protocol_options": {"enable_trailers": True}},
        )
        self.backend.answer(Answer(body=b"x", trailers={"t": "1"}))
        response = self.proxy.request("POST", body=b"y", trailers={"u": "2"})
        self.assertEqual(response.trailers, HeaderMap([(b"t", b"1"), (b"seen", b"r")]))
        self.assertEqual(self.backend.last.trailers, HeaderMap([(b"u", b"2"), (b"seen", b"q")]))


class WriteBackPressureTests(ProxyCase):
    """
    A client that does not read.
    """

    capacity = 1000

    def test_download(self) -> None:
        """
        The upstream is not read while the client does not read; all arrives in the end.
        """
        self.start(listener={"per_connection_buffer_limit_bytes": 2000})
        self.backend.respond(200, b"x" * 200_000)
        client = self.proxy.client()
        client.pause()
        client.send()
        self.proxy.settle()
        self.assertLess(self.clusterStat("upstream_cx_rx_bytes_total"), 80_000)
        self.assertGreater(self.clusterStat("upstream_flow_control_paused_reading_total"), 0)
        client.resume()
        self.assertEqual(client.response().body, b"x" * 200_000)
        self.assertEqual(
            self.clusterStat("upstream_flow_control_paused_reading_total"),
            self.clusterStat("upstream_flow_control_resumed_reading_total"),
        )
        self.assertEqual(client.request().status, 200)

    def test_upload(self) -> None:
        """
        The client is not read while the upstream does not read.
        """
        self.start(cluster={"per_connection_buffer_limit_bytes": 2000})
        self.backend.respond(200, b"ok")
        client = self.proxy.client()
        client.send("POST", headers={"content-length": "200001"}, body=b"x", whole=False)
        self.proxy.settle()
        self.backend.connections[0].pause()
        client.write(b"x" * 200_000)
        self.proxy.settle()
        self.assertLess(self.stat("downstream_cx_rx_bytes_total"), 20_000)
        self.backend.connections[0].resume()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(len(self.backend.last.body), 200_001)

    def test_leavesWhilePaused(self) -> None:
        """
        A client that leaves while it was waited for leaves nothing behind, and the next one is served.
        """
        self.start(listener={"per_connection_buffer_limit_bytes": 2000})
        self.backend.respond(200, b"x" * 200_000)
        client = self.proxy.client()
        client.pause()
        client.send()
        self.proxy.settle()
        client.abort()
        self.proxy.settle()
        self.assertQuiet()
        self.assertEqual(self.proxy.request().status, 200)


class AwaitedTests(ProxyCase):
    """
    A filter that waits at each piece.
    """

    def test_eachPiece(self) -> None:
        """
        Each piece waits for its own; order stays, and nothing of it is kept.
        """
        waits: list[Deferred[bytes]] = []

        def wait(stream: Any, data: bytes, end: bool) -> Deferred[bytes]:
            waits.append(Deferred())
            return waits[-1].addCallback(lambda _: data.upper())

        self.start(scripted(responseData=wait), route={"timeout": "0s"})
        pieces = [b"%c" % (97 + number) for number in range(20)]
        self.backend.answer(Answer(body=pieces, delay=1.0))
        client = self.proxy.client()
        client.send()
        for _ in range(40):
            self.proxy.advance(1.0)
            for waiting in waits:
                if not waiting.called:
                    waiting.callback(b"")
        self.assertEqual(client.response().body, b"".join(pieces).upper())


class HeadersTests(ProxyCase):
    """
    Heads that are like no others.
    """

    def test_noBodyStatuses(self) -> None:
        """
        Responses that have no body end with their head.
        """
        self.start()
        client = self.proxy.client()
        for status in (204, 304):
            self.backend.respond(status)
            self.assertEqual(client.request().status, status)
        self.backend.respond(200, b"0123456789")
        response = client.request("HEAD")
        self.assertEqual((response.header("content-length"), response.body), ("10", b""))
        self.assertEqual(client.request().body, b"ok")
        self.assertEqual(len(self.backend.connections), 1)

    def test_statusByFilter(self) -> None:
        """
        A filter may change the status.
        """

        def change(stream: Any, headers: ResponseHeaders, end: bool) -> None:
            headers.status = 418

        self.start(scripted(responseHeaders=change))
        self.assertEqual(self.proxy.request().status, 418)
        self.assertEqual(self.stat("downstream_rq_4xx"), 1)
        self.assertEqual(self.clusterStat("upstream_rq_2xx"), 1)
