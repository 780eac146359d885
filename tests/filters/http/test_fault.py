"""
L{meshproxy.filters.http.fault}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.fault import Fault, Pace
from meshproxy.flags import flagsShort
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import STOP
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed

ABORT = "abort: {http_status: 503, percentage: {numerator: 100}}"
DELAY = "delay: {fixed_delay: 2s, percentage: {numerator: 100}}"
BY_HEADER = """
delay: {header_delay: {}, percentage: {numerator: 100}}
abort: {header_abort: {}, percentage: {numerator: 100}}
response_rate_limit: {header_limit: {}, percentage: {numerator: 100}}
"""


class FaultTestCase(SynchronousTestCase):
    """
    A filter and its context.
    """

    def make(self, text: str, layers: str = "", drawn: float = 0.5) -> None:
        """
        Make the filter under test.
        """
        self.context = makeContext(lambda: drawn, layers)
        self.clock = self.context.clock
        self.fault: Any = makeFilter(Fault, text, self.context)

    def send(self, *headers: tuple[bytes, bytes], stream: FakeStream | None = None) -> FakeStream:
        """
        Let a request pass; what the filter answered is C{self.answer}.
        """
        stream = stream or FakeStream(headers)
        self.answer = self.fault.requestHeaders(stream, stream.requestHeaders, True)
        return stream

    def count(self, name: str) -> int:
        """
        A counter or gauge of the filter.
        """
        store = self.context.store
        return int((store.counters.get(f"http.test.fault.{name}") or store.gauges[f"http.test.fault.{name}"]).value)


class AbortTests(FaultTestCase):
    """
    Aborts.
    """

    def test_status(self) -> None:
        """
        A status, Envoy's body, details and flag; counted, and active until the stream ends.
        """
        self.make(ABORT)
        stream = self.send()
        self.assertIs(self.answer, STOP)
        self.assertEqual(stream.replies, [(503, b"fault filter abort", {}, "fault_filter_abort")])
        self.assertEqual(flagsShort(stream.responseFlags), "FI")
        self.assertEqual((self.count("aborts_injected"), self.count("active_faults")), (1, 1))
        self.fault.streamEnded(stream)
        self.assertEqual(self.count("active_faults"), 0)

    def test_body(self) -> None:
        """
        An abort may say something else, as it stands.
        """
        for kind, status in (("http_status: 418", 418), ("grpc_status: 5", 200), ("header_abort: {}", 504)):
            self.make(f"abort: {{{kind}, percentage: {{numerator: 100}}, response_body: '%REQ(a)%'}}")
            fields = [(b"x-envoy-fault-abort-request", b"504")] if status == 504 else []
            self.assertEqual(self.send(*fields).replies[0][:2], (status, b"%REQ(a)%"))

    def test_grpcStatus(self) -> None:
        """
        A gRPC status goes to who speaks gRPC; others get a 200 with the body, as from Envoy.
        """
        self.make("abort: {grpc_status: 5, percentage: {numerator: 100}}")
        self.assertEqual(self.send((b"content-type", b"application/grpc")).replies[0][2], {b"grpc-status": b"5"})
        self.assertEqual(self.send().replies[0][:3], (200, b"fault filter abort", {}))

    def test_percentage(self) -> None:
        """
        The number that is drawn decides, at the precision of the denominator.
        """
        for drawn, hit in ((0.0, True), (0.00024, True), (0.00025, False), (0.9, False)):
            self.make("abort: {http_status: 500, percentage: {numerator: 250, denominator: MILLION}}", drawn=drawn)
            self.assertEqual(bool(self.send().replies), hit, drawn)
        self.make("abort: {http_status: 500}", drawn=0.0)
        self.assertEqual(self.send().replies, [], "a missing percentage is none")

    def test_byHeader(self) -> None:
        """
        The request may name the status; one out of range, or none, aborts nothing.
        """
        self.make(BY_HEADER)
        self.assertEqual(self.send((b"x-envoy-fault-abort-request", b"418")).replies[0][0], 418)
        for bad in (b"199", b"600", b"abc", b"-1", b""):
            self.assertEqual(self.send((b"x-envoy-fault-abort-request", bad)).replies, [], bad)
        grpc = self.send((b"x-envoy-fault-abort-grpc-request", b"5"), (b"content-type", b"application/grpc"))
        self.assertEqual(grpc.replies[0][2], {b"grpc-status": b"5"})
        self.assertEqual(self.send().replies, [])

    def test_percentageByHeader(self) -> None:
        """
        The request may make the percentage smaller, never greater; nonsense leaves it.
        """
        self.make("abort: {header_abort: {}, percentage: {numerator: 60}}", drawn=0.5)
        for asked, hit in ((b"0", False), (b"50", False), (b"51", True), (b"100", True), (b"x", True), (b"-5", True)):
            sent = self.send(
                (b"x-envoy-fault-abort-request", b"500"), (b"x-envoy-fault-abort-request-percentage", asked)
            )
            self.assertEqual(bool(sent.replies), hit, asked)
        self.make("abort: {header_abort: {}, percentage: {numerator: 40}}", drawn=0.5)
        sent = self.send((b"x-envoy-fault-abort-request", b"500"), (b"x-envoy-fault-abort-request-percentage", b"100"))
        self.assertEqual(sent.replies, [])


class DelayTests(FaultTestCase):
    """
    Delays, in virtual time.
    """

    def wait(self) -> Deferred[None]:
        """
        What the filter waits for.
        """
        assert isinstance(self.answer, Deferred)
        return self.answer

    def test_fixed(self) -> None:
        """
        The request goes on when the time is over, and not before.
        """
        self.make(DELAY)
        stream = self.send()
        self.clock.advance(1.99)  # type: ignore[attr-defined]  # a Clock
        self.assertNoResult(self.wait())
        self.assertEqual((self.count("delays_injected"), self.count("active_faults")), (1, 1))
        self.clock.advance(0.01)  # type: ignore[attr-defined]  # a Clock
        self.assertIsNone(self.successResultOf(self.wait()))
        self.assertEqual((stream.replies, flagsShort(stream.responseFlags)), ([], "DI"))

    def test_thenAbort(self) -> None:
        """
        An abort comes after the delay, and the request counts as one active fault.
        """
        self.make(DELAY + "\n" + ABORT)
        stream = self.send()
        self.assertEqual(stream.replies, [])
        self.clock.advance(2)  # type: ignore[attr-defined]  # a Clock
        self.assertEqual(stream.replies[0][0], 503)
        self.assertEqual((self.count("active_faults"), flagsShort(stream.responseFlags)), (1, "DI,FI"))

    def test_cancelled(self) -> None:
        """
        A stream that ends while it waits leaves no timer, and aborts nothing.
        """
        self.make(DELAY + "\n" + ABORT)
        stream = self.send()
        self.wait().addErrback(lambda _: None)
        self.wait().cancel()
        self.fault.streamEnded(stream)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((stream.replies, self.count("active_faults")), ([], 0))

    def test_byHeader(self) -> None:
        """
        The request may name the milliseconds; nonsense and 0 delay nothing.
        """
        self.make(BY_HEADER)
        self.send((b"x-envoy-fault-delay-request", b"250"))
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime(), 0.25)
        self.wait().addErrback(lambda _: None)
        self.wait().cancel()
        for none in (b"0", b"1x", b"-1"):
            self.send((b"x-envoy-fault-delay-request", none))
            self.assertIsNone(self.answer, none)
        self.send((b"x-envoy-fault-delay-request", b"250"), (b"x-envoy-fault-delay-request-percentage", b"0"))
        self.assertIsNone(self.answer)


class WhomTests(FaultTestCase):
    """
    Which requests are meant.
    """

    def test_headers(self) -> None:
        """
        All header matchers must hold.
        """
        self.make(ABORT + "\nheaders: [{name: x-a, string_match: {exact: '1'}}, {name: x-b, present_match: true}]")
        self.assertEqual(self.send((b"x-a", b"1")).replies, [])
        self.assertEqual(len(self.send((b"x-a", b"1"), (b"x-b", b"")).replies), 1)

    def test_upstreamCluster(self) -> None:
        """
        Only requests on their way to the cluster; none that has no route.
        """
        self.make(ABORT + "\nupstream_cluster: payments")
        self.assertEqual(self.send().replies, [])
        self.assertEqual(len(self.send(stream=FakeStream(route=routed(cluster="payments"))).replies), 1)
        lost = FakeStream()
        lost.route = None
        self.assertEqual(self.send(stream=lost).replies, [])

    def test_downstreamNodes(self) -> None:
        """
        Only callers that say one of the names.
        """
        self.make(ABORT + "\ndownstream_nodes: [a, b]")
        self.assertEqual(self.send().replies, [])
        self.assertEqual(self.send((b"x-envoy-downstream-service-node", b"c")).replies, [])
        self.assertEqual(len(self.send((b"x-envoy-downstream-service-node", b"b")).replies), 1)

    def test_route(self) -> None:
        """
        A route's configuration takes the place of the filter's.
        """
        self.make(ABORT)
        config = compiled(Fault, "abort: {http_status: 418, percentage: {numerator: 100}}", self.context, True)
        self.assertEqual(self.send(stream=FakeStream(route=routed(config))).replies[0][0], 418)
        nothing = compiled(Fault, "{}", self.context, True)
        self.assertEqual(self.send(stream=FakeStream(route=routed(nothing))).replies, [])

    def test_idle(self) -> None:
        """
        Without a fault the filter answers nothing and remembers nothing.
        """
        self.make("{}")
        stream = self.send()
        self.fault.streamEnded(stream)
        self.assertIsNone(self.answer)
        self.assertEqual(type(self.fault).responseData, HTTPFilter.responseData, "it does not even look")
        self.assertEqual(self.count("active_faults"), 0)


class LimitTests(FaultTestCase):
    """
    How many requests have a fault at a time.
    """

    def test_maxActive(self) -> None:
        """
        Beyond C{max_active_faults} requests pass, and are counted; one that has a fault already is not counted twice.
        """
        self.make(DELAY + "\n" + ABORT + "\nmax_active_faults: 1")
        first = self.send()
        second = self.send()
        self.assertIsNone(self.answer)
        self.assertEqual((second.replies, self.count("faults_overflow")), ([], 2), "neither delayed nor aborted")
        self.clock.advance(2)  # type: ignore[attr-defined]  # a Clock
        self.assertEqual(len(first.replies), 1)
        self.fault.streamEnded(first)
        self.fault.streamEnded(second)
        self.assertEqual(self.count("active_faults"), 0)

    def test_none(self) -> None:
        """
        A limit of 0 is a way to switch it off.
        """
        self.make(ABORT + "\nmax_active_faults: 0")
        self.assertEqual(self.send().replies, [])


class RuntimeTests(FaultTestCase):
    """
    Runtime keys override what is configured.
    """

    def test_defaultKeys(self) -> None:
        """
        Envoy's own keys count where none is configured.
        """
        self.make(
            DELAY + "\nabort: {http_status: 503, percentage: {numerator: 0}}",
            "{fault.http.delay.fixed_delay_percent: 0, fault.http.abort.abort_percent: 100,"
            " fault.http.abort.http_status: 404}",
        )
        self.assertEqual(self.send().replies[0][0], 404)

    def test_ownKeys(self) -> None:
        """
        A configured key takes the place of Envoy's.
        """
        self.make(
            ABORT + "\nabort_percent_runtime: mine\nabort_http_status_runtime: status",
            "{fault.http.abort.abort_percent: 0, status: 410}",
        )
        self.assertEqual(self.send().replies[0][0], 410)
        self.context.runtime.modify({"mine": "0"})
        self.assertEqual(self.send().replies, [])

    def test_keysOfTheCaller(self) -> None:
        """
        Keys with the caller's name come before those without.
        """
        self.make(
            "delay: {fixed_delay: 2s, percentage: {numerator: 0}}\n" + ABORT,
            "{fault.http.web.delay.fixed_delay_percent: 100, fault.http.web.delay.fixed_duration_ms: 70,"
            " fault.http.web.abort.http_status: 417, fault.http.abort.http_status: 411}",
        )
        stream = self.send((b"x-envoy-downstream-service-cluster", b"web"))
        self.clock.advance(0.07)  # type: ignore[attr-defined]  # a Clock
        self.assertEqual(stream.replies[0][0], 417)
        self.assertEqual(self.send((b"x-envoy-downstream-service-cluster", b"other")).replies[0][0], 411)

    def test_maxActive(self) -> None:
        """
        The limit too.
        """
        self.make(ABORT, "{fault.http.max_active_faults: 0}")
        self.assertEqual(self.send().replies, [])


class CallerStatsTests(FaultTestCase):
    """
    Counters by caller.
    """

    def test_counted(self) -> None:
        """
        A caller that tells its name has counters of its own, unless they are switched off.
        """
        self.make(ABORT)
        self.send((b"x-envoy-downstream-service-cluster", b"web"))
        self.assertEqual(self.count("web.aborts_injected"), 1)
        self.make(ABORT + "\ndisable_downstream_cluster_stats: true")
        self.send((b"x-envoy-downstream-service-cluster", b"web"))
        self.assertNotIn("http.test.fault.web.aborts_injected", self.context.store.counters)

    def test_bounded(self) -> None:
        """
        Made-up names fill no memory.
        """
        self.make(ABORT)
        for number in range(300):
            self.send((b"x-envoy-downstream-service-cluster", b"c%d" % number))
        self.assertEqual(self.count("aborts_injected"), 300)
        self.assertLess(len(self.context.store.counters), 270)

    def test_metadata(self) -> None:
        """
        C{filter_metadata} is noted on requests with a fault.
        """
        self.make(ABORT + "\nfilter_metadata: {why: drill}")
        self.assertEqual(self.send().dynamicMetadata, {"mine": {"why": "drill"}})


class RateTests(FaultTestCase):
    """
    Slow responses.
    """

    def test_pace(self) -> None:
        """
        A twentieth of a second's worth at once, then at the rate; a pause earns one second at most.
        """
        pace = Pace(1000, 10.0)
        self.assertEqual(pace.wait(50, 10.0), 0.0)
        self.assertAlmostEqual(pace.wait(100, 10.0), 0.1)
        self.assertAlmostEqual(pace.wait(100, 10.05), 0.15)
        self.assertEqual(pace.wait(1000, 99.0), 0.0)
        self.assertAlmostEqual(pace.wait(500, 99.0), 0.5)

    def test_fixed(self) -> None:
        """
        The response's data wait as long as the limit asks.
        """
        self.make("response_rate_limit: {fixed_limit: {limit_kbps: 10}, percentage: {numerator: 100}}")
        stream = self.send()
        self.assertIsNone(self.fault.responseData(stream, b"x" * 512, False))
        held = self.fault.responseData(stream, b"x" * 10240, True)
        assert isinstance(held, Deferred)
        self.clock.advance(0.999)  # type: ignore[attr-defined]  # a Clock
        self.assertNoResult(held)
        self.clock.advance(0.002)  # type: ignore[attr-defined]  # a Clock
        self.assertIsNone(self.successResultOf(held))
        self.assertEqual(self.count("response_rl_injected"), 1)

    def test_byRoute(self) -> None:
        """
        Once a route limits its rate, filters look at responses.
        """
        self.patch(Fault, "routesPace", False)
        self.make("{}")
        text = "response_rate_limit: {fixed_limit: {limit_kbps: 1}, percentage: {numerator: 100}}"
        route = routed(compiled(Fault, text, self.context, True))
        self.fault = Fault(self.fault.config, self.context)
        held = self.fault.responseData(self.send(stream=FakeStream(route=route)), b"x" * 2048, True)
        self.clock.advance(2)  # type: ignore[attr-defined]  # a Clock
        self.assertIsNone(self.successResultOf(held))

    def test_onlyThoseAsked(self) -> None:
        """
        By header, only requests that ask are slowed down, and what is remembered of them ends with them.
        """
        self.make(BY_HEADER)
        for none in (b"0", b"x"):
            stream = self.send((b"x-envoy-fault-throughput-response", none))
            self.assertIsNone(self.fault.responseData(stream, b"x" * 100000, True))
        slow = self.send((b"x-envoy-fault-throughput-response", b"1"))
        other = self.send()
        self.assertIsNone(self.fault.responseData(other, b"x" * 100000, True))
        held = self.fault.responseData(slow, b"x" * 100000, True)
        assert isinstance(held, Deferred)
        held.addErrback(lambda _: None)
        held.cancel()
        self.fault.streamEnded(slow)
        self.assertIsNone(self.fault.responseData(slow, b"x" * 100000, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])
