# -*- test-case-name: tests.http.test_filteredtry -*-
"""
L{meshproxy.http.filteredtry}: filters that each try of a request passes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.errors import ConfigErrors
from meshproxy.http.filter import HTTPFilter
from meshproxy.http.filteredtry import FilteredTry, TryStream
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer, MemoryNetwork, MemoryProxy, VirtualReactor, httpBootstrap, typedStruct
from meshproxy.testing.bootstraps import BACKEND, httpFilter
from tests.http.support import LOG, ProxyCase, recorder, scripted
from tests.http.test_clusteroptions import clusterFields
from tests.http.test_shadow import MIRROR
from tests.http.test_upstreamlog import logging

_CODEC = httpFilter("codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
_RETRIES = {"retry_on": "5xx", "num_retries": 2}


class UpstreamCase(ProxyCase):
    """
    A proxy whose cluster has filters.
    """

    def startUpstream(
        self,
        *filters: type[HTTPFilter],
        options: dict[str, Any] | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        **config: Any,
    ) -> MemoryProxy:
        """
        Make them.

        @param filters: The filters of the cluster's chain, before the codec; their names are C{f0}, C{f1} and so on.
        @param options: More C{HttpProtocolOptions}.
        @param config: For L{httpBootstrap}.
        """
        given = {f"f{number}": each for number, each in enumerate(filters)}
        chain = [{"name": name, "typed_config": typedStruct(name)} for name in given]
        fields = clusterFields(http_filters=[*chain, _CODEC], **(options or {}))
        config.setdefault("accessLog", LOG)
        network = MemoryNetwork(VirtualReactor(), readSize=self.readSize, capacity=self.capacity)
        self.proxy = MemoryProxy(httpBootstrap(cluster=fields, **config), network, given, chance)
        self.backend = self.proxy.backend(BACKEND)
        return self.proxy


class PassTests(UpstreamCase):
    """
    What passes.
    """

    def test_events(self) -> None:
        """
        Filters see all of a request, in order, and all of its response, the other way around; then its end.
        """
        log: list[Any] = []
        self.startUpstream(
            recorder(log, "a"),
            recorder(log, "b"),
            manager=self.trailers(),
            options={"explicit_http_config": {"http_protocol_options": {"enable_trailers": True}}},
        )
        self.backend.answer(Answer(200, b"yes", trailers=[(b"x-t", b"1")]))
        self.assertEqual(self.proxy.request("POST", "/", {}, b"abc").status, 200)
        self.assertEqual(
            log,
            [
                "a requestHeaders",
                "b requestHeaders",
                "a requestData abc.",
                "b requestData abc.",
                "b responseHeaders",
                "a responseHeaders",
                "b responseData yes",
                "a responseData yes",
                "b responseTrailers x-t",
                "a responseTrailers x-t",
                "a streamEnded",
                "b streamEnded",
            ],
        )
        self.assertQuiet()

    def test_replaced(self) -> None:
        """
        What they answer for data goes on in its place.
        """
        self.startUpstream(
            scripted(
                requestData=lambda stream, data, end: data.upper(),
                responseHeaders=lambda stream, headers, end: headers.set(b"content-length", b"4"),
                responseData=lambda stream, data, end: data + b"!",
            )
        )
        self.backend.respond(200, b"yes")
        response = self.proxy.request("POST", "/", {}, b"abc")
        self.assertEqual((self.backend.last.body, response.body), (b"ABC", b"yes!"))

    def test_triesApart(self) -> None:
        """
        Each try has instances of its own, whose end is told; what they changed of the head stays changed.
        """
        made: list[HTTPFilter] = []

        class Counting(HTTPFilter):
            def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                made.append(self)
                headers.add(b"x-try", b"%d" % len(made))

            def streamEnded(self, stream: Any) -> None:
                made.remove(self)
                made.append(self)
                ended.append(self)

        ended: list[HTTPFilter] = []
        self.startUpstream(Counting, options={"retry_policy": _RETRIES})
        self.backend.answer(Answer(503), Answer(503))
        self.assertEqual(self.proxy.request("GET", "/").status, 200)
        self.assertEqual(len(set(map(id, made))), 3)
        self.assertEqual(len(set(map(id, ended))), 3)
        self.assertEqual(self.backend.last.headers.values(b"x-try"), [b"1", b"2", b"3"])
        self.assertQuiet()

    def test_facts(self) -> None:
        """
        What is known of the request is that of the downstream stream: metadata that a filter notes is in its log.
        """

        def note(stream: Any, headers: Any, endStream: bool) -> None:
            stream.dynamicMetadata["ours"] = {"path": stream.requestHeaders.path.decode()}

        self.startUpstream(scripted(requestHeaders=note), accessLog="%DYNAMIC_METADATA(ours:path)% %UPSTREAM_HOST%")
        self.proxy.request("GET", "/a")
        self.assertEqual(self.proxy.accessLog, ["/a 127.0.0.1:9000"])

    def test_decides(self) -> None:
        """
        Whether a response is tried again is decided by what the filters made of it.
        """

        def fail(stream: Any, headers: Any, endStream: bool) -> None:
            headers.status = 503

        self.startUpstream(scripted(responseHeaders=fail), options={"retry_policy": _RETRIES})
        self.assertEqual(self.proxy.request("GET", "/").status, 503)
        self.assertEqual(len(self.backend.requests), 3)
        self.assertEqual(self.clusterStat("upstream_rq_503"), 1)
        self.assertQuiet()

    def test_shortWayBarred(self) -> None:
        """
        Requests that else go the short way pass the filters as well, again and again on one connection.
        """
        log: list[Any] = []
        self.startUpstream(recorder(log))
        for _ in range(3):
            self.backend.respond(200, b"yes")
            self.assertEqual(self.proxy.request("GET", "/").body, b"yes")
        self.assertEqual(log.count("requestHeaders."), 3)
        self.assertEqual(self.clusterStat("upstream_cx_total"), 1)

    def test_routers(self) -> None:
        """
        The router's filters are for clusters without any.
        """
        router = httpFilter(
            "router",
            "envoy.extensions.filters.http.router.v3.Router",
            upstream_http_filters=[{"name": "f0", "typed_config": typedStruct("f0")}, _CODEC],
        )
        log: list[Any] = []
        given = {"f0": recorder(log, "router")}
        network = MemoryNetwork(VirtualReactor())
        self.proxy = MemoryProxy(httpBootstrap(manager={"http_filters": [router]}), network, given)
        self.proxy.backend(BACKEND)
        self.proxy.request("GET", "/")
        self.assertEqual(
            log, ["router requestHeaders.", "router responseHeaders", "router responseData ok.", "router streamEnded"]
        )


class HoldTests(UpstreamCase):
    """
    Filters that let nothing pass for now.
    """

    def test_heldRequest(self) -> None:
        """
        As long as a filter holds a request, no connection is asked for; what comes behind it waits.
        """
        streams: list[Any] = []

        def hold(stream: Any, headers: Any, endStream: bool) -> object:
            streams.append(stream)
            return STOP

        self.startUpstream(scripted(requestHeaders=hold))
        client = self.proxy.client()
        client.send("POST", "/", {}, b"abc")
        self.proxy.settle()
        self.assertEqual((self.clusterStat("upstream_cx_total"), self.backend.requests), (0, []))
        streams[0].resumeRequest()
        self.proxy.settle()
        self.assertEqual(self.backend.last.body, b"abc")
        self.assertIn(b"200 OK", client.received)
        self.assertQuiet()

    def test_heldResponse(self) -> None:
        """
        A response that is held leaves its connection for others, and arrives when it is let go.
        """
        waits: list[Deferred[Any]] = []

        def wait(stream: Any, headers: Any, endStream: bool) -> object:
            if headers.status != 201:
                return None
            waits.append(Deferred())
            return waits[-1]

        self.startUpstream(scripted(responseHeaders=wait))
        self.backend.answer(Answer(201, b"late"))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(self.proxy.request("GET", "/").status, 200)
        self.assertEqual((self.clusterStat("upstream_cx_total"), client.received), (1, b""))
        waits[0].callback(None)
        self.proxy.settle()
        self.assertTrue(client.received.endswith(b"late"))
        self.assertQuiet()

    def test_bodies(self) -> None:
        """
        Filters can read whole bodies, and put others in their place.
        """

        class Reading(HTTPFilter):
            async def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                stream.replaceRequestBody((await stream.requestBody())[::-1])

            async def responseHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                stream.replaceResponseBody((await stream.responseBody())[::-1])

        self.startUpstream(Reading)
        self.backend.answer(Answer(200, [b"ab", b"cd"], delay=0.1))
        response = self.proxy.request("POST", "/", {}, b"123")
        self.assertEqual((self.backend.last.body, response.body), (b"321", b"dcba"))

    def test_tooLarge(self) -> None:
        """
        A request's body that is too large for one is answered with 413, a response's with 500.
        """

        class Reading(HTTPFilter):
            async def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                await stream.requestBody(2)

        self.startUpstream(Reading)
        self.assertEqual(self.proxy.request("POST", "/", {}, b"123").status, 413)
        self.assertEqual(self.backend.requests, [])

        class ReadingResponse(HTTPFilter):
            async def responseHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                await stream.responseBody(2)

        self.startUpstream(ReadingResponse)
        self.backend.respond(200, b"long")
        response = self.proxy.request("GET", "/")
        self.assertEqual(response.status, 500)
        self.assertEqual(self.proxy.accessLog[-1], "500 response_payload_too_large -")
        self.assertQuiet()

    def test_timeout(self) -> None:
        """
        What a filter waits for ends with its stream.
        """
        waits: list[Deferred[Any]] = []
        cancelled: list[object] = []

        def wait(stream: Any, headers: Any, endStream: bool) -> object:
            waits.append(Deferred(cancelled.append))
            return waits[-1]

        self.startUpstream(scripted(requestHeaders=wait), route={"timeout": "1s"})
        self.assertEqual(self.proxy.request("GET", "/").status, 504)
        self.assertEqual(cancelled, waits)
        self.assertQuiet()

    def test_early(self) -> None:
        """
        What comes while there is no connection yet is sent when there is one.
        """
        self.startUpstream(recorder([]))
        self.proxy.network.latency = 1.0
        self.backend.respond(200, b"yes")
        self.assertEqual(self.proxy.request("POST", "/", {}, b"x" * 100000).body, b"yes")
        self.assertEqual(self.backend.last.body, b"x" * 100000)
        self.assertQuiet()


class EndTests(UpstreamCase):
    """
    How tries end.
    """

    def test_replied(self) -> None:
        """
        A filter's reply is the answer: it passes the filters of the downstream chain, not those of the try, costs no
        connection and is not tried again.
        """
        log: list[Any] = []
        refusing = scripted(requestHeaders=lambda stream, headers, end: stream.reply(503, b"no", details="ours"))
        self.startUpstream(recorder(log, "a"), refusing, options={"retry_policy": _RETRIES})
        response = self.proxy.request("GET", "/")
        self.assertEqual((response.status, response.body), (503, b"no"))
        self.assertEqual(log, ["a requestHeaders.", "a streamEnded"])
        self.assertEqual((self.clusterStat("upstream_cx_total"), self.clusterStat("upstream_rq_retry")), (0, 0))
        self.assertEqual(self.proxy.accessLog, ["503 ours -"])
        self.assertQuiet()

    def test_repliedLate(self) -> None:
        """
        One that answers in the place of the upstream's response gives up the connection in the middle of it.
        """
        refusing = scripted(responseHeaders=lambda stream, headers, end: stream.reply(418, b"no"))
        self.startUpstream(refusing)
        self.backend.answer(Answer(200, [b"a", b"b"], delay=1.0))
        self.assertEqual(self.proxy.request("GET", "/").status, 418)
        self.assertEqual(self.clusterStat("upstream_cx_destroy_local_with_active_rq"), 1)
        self.assertQuiet()

    def test_raised(self) -> None:
        """
        A filter that raises ends its stream with a 500; so does one that cannot be made.
        """

        def fail(*args: object) -> None:
            raise ZeroDivisionError

        class Unmade(HTTPFilter):
            def __init__(self, *args: Any) -> None:
                raise ZeroDivisionError

            def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                """
                Never called.
                """

        for number, event in enumerate(("requestHeaders", "requestData", "responseHeaders", "responseData")):
            self.startUpstream(scripted(**{event: fail}))
            self.backend.respond(200, b"yes")
            response = self.proxy.request("POST", "/", {}, b"abc")
            # Where the head of the response is on its way, only a cut tells.
            self.assertEqual((response.status, response.complete), (200, False) if number == 3 else (500, True))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertQuiet()
        self.startUpstream(Unmade)
        self.assertEqual(self.proxy.request("GET", "/").status, 500)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertQuiet()

    def test_reset(self) -> None:
        """
        A filter can end the stream without an answer.
        """
        self.startUpstream(scripted(requestHeaders=lambda stream, headers, end: stream.reset()))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(client.received, b"")
        self.assertQuiet()

    def test_unreachable(self) -> None:
        """
        A connection that fails is a failure of the try, which can be tried again; its filters are told the end.
        """
        log: list[Any] = []
        self.startUpstream(recorder(log), options={"retry_policy": _RETRIES})
        self.backend.stop()
        self.assertEqual(self.proxy.request("GET", "/").status, 503)
        self.assertEqual(log, ["requestHeaders.", "streamEnded"] * 3)
        self.assertQuiet()

    def test_cut(self) -> None:
        """
        An upstream that goes away ends the try, whatever filters hold of its response.
        """
        self.startUpstream(scripted(responseHeaders=lambda stream, headers, end: STOP))
        self.backend.answer(Answer.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", delay=0.1))
        self.assertEqual(self.proxy.request("GET", "/").status, 502)
        self.assertQuiet()

    def test_clientGone(self) -> None:
        """
        A client that leaves ends the wait for a connection, and the try.
        """
        log: list[Any] = []
        self.startUpstream(recorder(log))
        self.backend.answer(Answer.hang())
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        client.abort()
        self.proxy.settle()
        self.assertEqual(log, ["requestHeaders.", "streamEnded"])
        self.assertQuiet()

    def test_hedged(self) -> None:
        """
        A try that is late keeps its filters, and may answer still.
        """
        log: list[Any] = []
        retries = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "1s"}
        self.startUpstream(
            recorder(log), route={"retry_policy": retries, "hedge_policy": {"hedge_on_per_try_timeout": True}}
        )
        self.backend.answer(Answer(200, b"first", delay=1.5), Answer(200, b"second", delay=3.0))
        self.assertEqual(self.proxy.request("GET", "/").body, b"first")
        self.assertEqual(log.count("streamEnded"), 2)
        self.assertQuiet()

    def test_copies(self) -> None:
        """
        Copies pass the filters of their cluster, too; what they answer there goes nowhere.
        """

        def judge(stream: Any, headers: Any, endStream: bool) -> object:
            headers.set(b"x-seen", b"1")
            return stream.reply(403) if b"shadow" in headers.authority and refuses else None

        refuses = False
        policies = [{"cluster": "mirror"}]
        self.startUpstream(
            scripted(requestHeaders=judge), clusters={"mirror": MIRROR}, route={"request_mirror_policies": policies}
        )
        mirror = self.proxy.backend(MIRROR)
        self.assertEqual(self.proxy.request("POST", "/", {}, b"abc").status, 200)
        self.proxy.settle()
        self.assertEqual((mirror.last.headers.get(b"x-seen"), mirror.last.body), (b"1", b"abc"))
        refuses = True
        self.assertEqual(self.proxy.request("POST", "/", {}, b"abc").status, 200)
        self.assertEqual(len(mirror.requests), 1)
        self.assertQuiet()


class LogTests(UpstreamCase):
    """
    Logs of tries that pass filters.
    """

    def test_logged(self) -> None:
        """
        Each try has its line, with what was sent of it; one that a filter answered has none of a response, and what was
        sent late counts as what was sent at once.
        """
        line = "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %BYTES_SENT%/%BYTES_RECEIVED% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"
        options = {"flush_upstream_log_on_upstream_stream": True}
        refuses = False

        def judge(stream: Any, headers: Any, endStream: bool) -> object:
            return stream.reply(403) if refuses else None

        self.startUpstream(
            scripted(requestHeaders=judge),
            options={"retry_policy": {**_RETRIES, "retry_back_off": {"base_interval": "0.001s"}}},
            router=logging(line, **options),
            accessLog=None,
        )
        self.backend.answer(Answer(503, b"bad"), Answer(200, b"ok"))
        for _ in range(2):
            self.assertEqual(self.proxy.request("POST", "/", {}, b"abc").status, 403 if refuses else 200)
            refuses = True
        self.assertEqual(
            self.proxy.accessLog,
            [
                "UpstreamPoolReady 0 0/0 127.0.0.1",
                "UpstreamEnd 503 3/0 127.0.0.1",
                "UpstreamPoolReady 0 0/0 127.0.0.1",
                "UpstreamEnd 200 3/2 127.0.0.1",
                "UpstreamEnd 0 0/0 -",
            ],
        )
        self.assertQuiet()

    def test_lateTries(self) -> None:
        """
        So has a try that is late, whatever it waits for.
        """
        retries = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "1s"}
        self.startUpstream(
            recorder([]),
            route={"retry_policy": retries, "hedge_policy": {"hedge_on_per_try_timeout": True}},
            router=logging("%RESPONSE_CODE%"),
            accessLog=None,
        )
        self.proxy.network.latency = 1.5
        self.backend.answer(Answer(200, b"first"), Answer(200, b"second", delay=9.0))
        self.assertEqual(self.proxy.request("GET", "/").body, b"first")
        self.proxy.advance(20.0)
        self.assertEqual(sorted(self.proxy.accessLog), ["0", "200"])
        self.assertQuiet()


class GarbageTests(UpstreamCase):
    """
    What is left of tries.
    """

    def test_noCycles(self) -> None:
        """
        A try that is over is freed at once, not by the garbage collector.
        """
        log: list[Any] = []
        self.startUpstream(recorder(log), options={"retry_policy": _RETRIES})
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for script in (Answer(200, b"yes"), Answer(503), Answer.hang()):
            self.backend.answer(script)
            client = self.proxy.client()
            client.send("POST", "/", {}, b"abc")
            self.proxy.settle()
            client.close()
            self.proxy.advance(1.0)
            left = [each for each in gc.get_objects() if isinstance(each, (FilteredTry, TryStream))]
            self.assertEqual(left, [])
        self.assertEqual(log.count("streamEnded"), log.count("requestHeaders"))


class PressureTests(UpstreamCase):
    """
    Bodies that nobody takes.
    """

    capacity = 1000

    def test_bounded(self) -> None:
        """
        What filters hold of a response is bounded: no more of it is read, until they let it go.
        """
        streams: list[Any] = []

        def hold(stream: Any, headers: Any, endStream: bool) -> object:
            streams.append(stream)
            return STOP

        self.startUpstream(scripted(responseHeaders=hold), listener={"per_connection_buffer_limit_bytes": 5000})
        self.backend.answer(Answer(200, b"x" * 100000))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertLess(self.clusterStat("upstream_cx_rx_bytes_total"), 20000)
        streams[0].resumeResponse()
        self.proxy.settle()
        self.assertTrue(client.received.endswith(b"x" * 100000))
        self.assertQuiet()


class ReloadTests(UpstreamCase):
    """
    Filters whose code changes.
    """

    def test_reloaded(self) -> None:
        """
        New requests run on the new code of a cluster's filters, and on the old one where the new one refuses the
        configuration.
        """

        class Old(HTTPFilter):
            word = b"old"
            refuses = False

            @classmethod
            def compileConfig(cls, section: Any, context: Any) -> bytes:
                if cls.refuses:
                    section.refuse("not any more")
                return cls.word

            def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                headers.set(b"x-code", self.config)

        self.startUpstream(Old)
        self.proxy.request("GET", "/")
        seen = [self.backend.last.headers.get(b"x-code")]
        configuration = self.proxy.server.configuration
        for word, refuses in ((b"new", False), (b"newest", True)):
            Old.word, Old.refuses = word, refuses
            if refuses:
                self.assertRaises(ConfigErrors, configuration.reloadFilters, [])
            else:
                configuration.reloadFilters([])
            self.proxy.request("GET", "/")
            seen.append(self.backend.last.headers.get(b"x-code"))
        self.assertEqual(seen, [b"old", b"new", b"new"])


class ConfigurationTests(UpstreamCase):
    """
    What may stand in such a chain.
    """

    def refused(self, *filters: dict[str, Any], **config: Any) -> str:
        """
        Why a cluster with some filters is refused.
        """
        fields = clusterFields(http_filters=list(filters))
        error = self.assertRaises(ConfigErrors, self.start, cluster=fields, **config)
        return str(error)

    def test_refused(self) -> None:
        """
        The codec, and nothing else, ends it; filters that Envoy has for connection managers alone have no place in it,
        and the codec none in theirs.
        """
        fault = httpFilter("fault", "envoy.extensions.filters.http.fault.v3.HTTPFault")
        buffering = httpFilter("b", "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=5)
        router = httpFilter("router", "envoy.extensions.filters.http.router.v3.Router")
        self.assertIn("ends with envoy.filters.http.upstream_codec", self.refused(buffering))
        self.assertIn("must be the last one", self.refused(_CODEC, buffering))
        self.assertIn("is no filter for an upstream HTTP filter chain", self.refused(fault, _CODEC))
        self.assertIn("is no filter for an upstream HTTP filter chain", self.refused(router))
        self.assertIn("cannot be disabled", self.refused({**_CODEC, "disabled": True}))
        error = self.assertRaises(ConfigErrors, self.start, manager={"http_filters": [_CODEC]})
        self.assertIn("is no filter for an HTTP filter chain", str(error))

    def test_routesSpeak(self) -> None:
        """
        Routes speak to filters of clusters as to those of the connection manager: they configure them and switch them
        off.
        """
        log: list[Any] = []
        off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
        self.startUpstream(recorder(log), virtualHost={"typed_per_filter_config": {"f0": off}})
        self.assertEqual(self.proxy.request("GET", "/").status, 200)
        self.assertEqual(log, [])

        class Saying(HTTPFilter):
            RouteConfig = dict
            shared = True

            @classmethod
            def compileRouteConfig(cls, section: Any, context: Any) -> object:
                return b"routes"

            def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
                headers.set(b"x-says", self.routeConfig(stream) or b"nothing")

        self.startUpstream(Saying, virtualHost={"typed_per_filter_config": {"f0": typedStruct("f0")}})
        self.proxy.request("GET", "/")
        self.assertEqual(self.backend.last.headers.get(b"x-says"), b"routes")
        told = {"typed_per_filter_config": {"other": typedStruct("f0")}}
        error = self.assertRaises(ConfigErrors, self.startUpstream, Saying, virtualHost=told)
        self.assertIn("no HTTP filter of the name 'other'", str(error))
