"""
L{meshproxy.http.retry}: trying again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.net.address import Address
from meshproxy.testing import Answer
from tests.http.support import ProxyCase

ENDPOINT = Address("127.0.0.1", 9000)


class RetryCase(ProxyCase):
    """
    A route with a retry policy.
    """

    def retrying(self, on: str, chance: Callable[[], float] = lambda: 0.0, **more: Any) -> None:
        """
        Start; without jitter, retries come at once.

        @param more: More of the policy; C{cluster}, C{listener} and C{virtualHost} as for L{start}.
        """
        places = {name: more.pop(name) for name in ("cluster", "listener", "virtualHost", "manager") if name in more}
        timeout = more.pop("timeout", "15s")
        self.start(route={"retry_policy": {"retry_on": on, **more}, "timeout": timeout}, chance=chance, **places)

    def tries(self) -> int:
        """
        How many requests the backend saw.
        """
        return len(self.backend.requests)


class ConditionTests(RetryCase):
    """
    What is tried again.
    """

    def assertRetried(self, on: str, answer: Answer, wanted: bool = True, **policy: Any) -> None:
        """
        Whether an answer is left aside, for a policy.
        """
        self.retrying(on, **policy)
        self.backend.answer(answer, Answer(200, b"second"))
        response = self.proxy.request()
        self.assertEqual(self.tries(), 2 if wanted else 1, (on, answer))
        self.assertEqual(self.clusterStat("upstream_rq_retry"), int(wanted))
        if wanted:
            self.assertEqual((response.status, response.body), (200, b"second"))
            self.assertEqual(self.clusterStat("upstream_rq_retry_success"), 1)
            self.assertEqual(self.proxy.accessLog, ["200 via_upstream -"])
        self.assertQuiet()

    def test_statuses(self) -> None:
        """
        Conditions that look at the status.
        """
        for on, statuses in {
            "5xx": {500: True, 503: True, 599: True, 404: False, 200: False},
            "gateway-error": {502: True, 503: True, 504: True, 500: False, 429: False},
            "retriable-4xx": {409: True, 400: False, 429: False, 503: False},
            "retriable-status-codes": {418: True, 503: False},
            "reset,connect-failure,refused-stream": {503: False},
            "5xx,retriable-4xx": {409: True, 500: True},
        }.items():
            for status, wanted in statuses.items():
                for body in (b"", b"whole", [b"in", b"pieces"]):
                    self.assertRetried(on, Answer(status, body), wanted, retriable_status_codes=[418])

    def test_headers(self) -> None:
        """
        C{retriable-headers} looks at the response's.
        """
        headers = [{"name": "x-again", "string_match": {"exact": "yes"}}]
        again = Answer(200, b"x", {"x-again": "yes"})
        self.assertRetried("retriable-headers", again, retriable_headers=headers)
        self.assertRetried("retriable-headers", Answer(500), False, retriable_headers=headers)
        self.assertRetried("5xx", again, False, retriable_headers=headers)

    def test_rateLimited(self) -> None:
        """
        A response that a rate limit made is tried again only if that is asked for.
        """
        limited = Answer(503, headers={"x-envoy-ratelimited": "true"})
        self.assertRetried("5xx", limited, False)
        self.assertRetried("envoy-ratelimited", limited)
        self.assertRetried("envoy-ratelimited", Answer(503), False)

    def test_grpc(self) -> None:
        """
        gRPC's statuses in the head.
        """
        for on, code in {
            "cancelled": "1",
            "deadline-exceeded": "4",
            "resource-exhausted": "8",
            "internal": "13",
            "unavailable": "14",
        }.items():
            self.assertRetried(on, Answer(200, headers={"grpc-status": code}))
            self.assertRetried(on, Answer(200, headers={"grpc-status": "0"}), False)
            self.assertRetried("5xx", Answer(200, headers={"grpc-status": code}), False)

    def test_resets(self) -> None:
        """
        Conditions that look at how a connection ends without a response.
        """
        for on in ("reset", "5xx", "gateway-error"):
            self.assertRetried(on, Answer.close())
            self.assertRetried(on, Answer.reset())
        self.assertRetried("connect-failure", Answer.reset(), False)
        self.assertRetried("retriable-4xx", Answer.reset(), False)
        self.assertRetried("refused-stream", Answer.reset(), False)

    def test_connectFailure(self) -> None:
        """
        And those that look at whether there was a connection.
        """
        for on, wanted in {
            "connect-failure": True,
            "5xx": True,
            "gateway-error": True,
            "reset": True,
            "reset-before-request": True,
            "retriable-4xx": False,
        }.items():
            self.retrying(on, num_retries=2)
            self.backend.stop()
            self.assertEqual(self.proxy.request().status, 503)
            self.assertEqual(len(self.proxy.network.dialled), 3 if wanted else 1, on)
            self.assertQuiet()

    def test_connectTimeout(self) -> None:
        """
        A connection that does not come in time is a failure to connect.
        """
        self.retrying("connect-failure", num_retries=2, cluster={"connect_timeout": "1s"})
        self.proxy.network.silent.add(ENDPOINT)
        client = self.proxy.client()
        client.send()
        self.proxy.advance(1.5)
        self.proxy.network.silent.clear()
        self.assertEqual(client.response().status, 200)
        self.assertQuiet()

    def test_notOnceBegun(self) -> None:
        """
        A response that began is never tried again.
        """
        self.retrying("reset,5xx")
        self.backend.answer(Answer.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"))
        self.assertFalse(self.proxy.request().complete)
        self.assertEqual(self.tries(), 1)

    def test_interim(self) -> None:
        """
        An interim response is no response yet.
        """
        self.retrying("5xx")
        self.backend.answer(Answer(503, b"x", interim=[(103, {})]))
        response = self.proxy.request()
        self.assertEqual((response.status, self.tries()), (200, 2))

    def test_overflow(self) -> None:
        """
        What a circuit breaker refused is not tried again.
        """
        thresholds = [{"max_connections": 1, "max_pending_requests": 1}]
        self.retrying("5xx,reset", cluster={"circuit_breakers": {"thresholds": thresholds}})
        self.backend.default = Answer(delay=1.0, body=b"x")
        for _ in range(2):
            self.proxy.client().send()
        self.proxy.settle()
        self.assertEqual(self.proxy.request().status, 503)
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 0)

    def test_requestHeaders(self) -> None:
        """
        Where C{retriable_request_headers} are given, only such requests are tried again.
        """
        only = [{"name": "x-idempotent", "present_match": True}]
        for headers, tries in (({"x-idempotent": "1"}, 2), ({"x-other": "1"}, 1)):
            self.retrying("5xx", retriable_request_headers=only)
            self.backend.answer(Answer(503))
            self.proxy.request(headers=headers)
            self.assertEqual(self.tries(), tries)


class NumberTests(RetryCase):
    """
    How often, and how soon.
    """

    def test_limit(self) -> None:
        """
        After C{num_retries} the last answer is the answer.
        """
        for number in (0, 1, 3):
            self.retrying("5xx", num_retries=number)
            self.backend.default = Answer(503, b"busy")
            response = self.proxy.request()
            self.assertEqual((response.status, response.body, self.tries()), (503, b"busy", number + 1))
            self.assertEqual(self.proxy.accessLog, ["503 via_upstream URX"])
            self.assertEqual(self.clusterStat("upstream_rq_retry_limit_exceeded"), 1)
            self.assertEqual(self.clusterStat("upstream_rq_retry"), number)
            self.assertEqual(self.clusterStat("retry.upstream_rq_503"), number)
            self.assertEqual(self.clusterStat("upstream_rq_503"), 1)
            self.assertQuiet()

    def test_limitOfResets(self) -> None:
        """
        The same where there is no answer: the local reply says that it was tried before.
        """
        self.retrying("reset", num_retries=1)
        self.backend.default = Answer.reset()
        response = self.proxy.request()
        self.assertEqual(response.status, 503)
        self.assertIn(b"retried and the latest reset reason: connection termination", response.body)
        self.assertTrue(self.proxy.accessLog[0].endswith(" URX,UC"), self.proxy.accessLog)
        self.assertQuiet()

    def test_backOff(self) -> None:
        """
        Waits double, up to the maximum, and are a random part of that.
        """
        back = {"base_interval": "1s", "max_interval": "2s"}
        self.retrying("5xx", num_retries=3, retry_back_off=back, chance=lambda: 0.5)
        self.backend.default = Answer(503)
        client = self.proxy.client()
        began = self.proxy.reactor.seconds()
        client.send()
        times: list[float] = []
        self.proxy.settle()
        for _ in range(80):
            while len(times) < self.tries():
                times.append(self.proxy.reactor.seconds() - began)
            self.proxy.advance(0.125)
        self.assertEqual(times, [0.0, 0.5, 2.0, 4.0])
        self.assertEqual(client.responses[0].status, 503)
        self.assertEqual(self.clusterStat("upstream_rq_retry_backoff_exponential"), 3)

    def test_upstreamSays(self) -> None:
        """
        Where the upstream says how long to wait, that counts.
        """
        reset = {"reset_headers": [{"name": "retry-after", "format": "SECONDS"}], "max_interval": "10s"}
        self.retrying("5xx", rate_limited_retry_back_off=reset)
        self.backend.answer(Answer(503, headers={"retry-after": "4"}))
        began = self.proxy.reactor.seconds()
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.proxy.reactor.seconds() - began, 4.0)
        self.assertEqual(self.clusterStat("upstream_rq_retry_backoff_ratelimited"), 1)

    def test_breaker(self) -> None:
        """
        No more retries than C{max_retries} at a time.
        """
        self.retrying(
            "5xx",
            num_retries=5,
            retry_back_off={"base_interval": "1s"},
            chance=lambda: 1.0,
            cluster={"circuit_breakers": {"thresholds": [{"max_retries": 1}]}},
        )
        self.backend.default = Answer(503, b"busy")
        waiting = self.proxy.client()
        waiting.send()
        self.proxy.settle()
        self.assertEqual(self.proxy.request().status, 503)
        self.assertEqual(self.clusterStat("upstream_rq_retry_overflow"), 1)
        self.assertEqual(waiting.responses, [])
        waiting.abort()
        self.proxy.settle()
        self.assertQuiet()
        self.backend.answer(Answer(503), Answer(200))
        self.assertEqual(self.proxy.request().status, 200)

    def test_budget(self) -> None:
        """
        A budget allows a share of what is active.
        """
        budget = {"budget_percent": {"value": 50.0}, "min_retry_concurrency": 1}
        self.retrying(
            "5xx",
            retry_back_off={"base_interval": "1s"},
            chance=lambda: 1.0,
            cluster={"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}},
        )
        self.backend.answer(*[Answer.hang()] * 4)
        for _ in range(4):
            self.proxy.client().send()
        self.proxy.settle()
        self.backend.default = Answer(503)
        for _ in range(4):
            self.proxy.client().send()
        self.proxy.settle()
        # Four hang; of those that were refused two may wait for another try, the other two got their 503.
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 0)
        self.proxy.advance(1)
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 2)
        self.assertEqual(self.clusterStat("upstream_rq_retry_overflow"), 2)

    def test_budgetInterval(self) -> None:
        """
        With an interval a budget is a share of what was asked within it, even of what is over, and however it went.
        """
        budget = {"budget_percent": {"value": 50.0}, "min_retry_concurrency": 0, "budget_interval": "10s"}
        self.retrying(
            "5xx",
            retry_back_off={"base_interval": "1s"},
            chance=lambda: 1.0,
            cluster={"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}},
        )
        for _ in range(5):
            self.assertEqual(self.proxy.request().status, 200)
        self.backend.default = Answer(503)
        for _ in range(6):
            self.proxy.client().send()
        self.proxy.settle()
        # With the last there were eleven, of which half are five.
        self.proxy.advance(1)
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 5)
        self.assertEqual(self.clusterStat("upstream_rq_retry_overflow"), 1)

    def test_attempts(self) -> None:
        """
        Both sides may be told which try it is.
        """
        host = {"include_request_attempt_count": True, "include_attempt_count_in_response": True}
        self.retrying("5xx", num_retries=2, virtualHost=host)
        self.backend.answer(Answer(503), Answer(503, b"x"))
        response = self.proxy.request()
        counts = [request.header("x-envoy-attempt-count") for request in self.backend.requests]
        self.assertEqual((counts, response.header("x-envoy-attempt-count")), (["1", "2", "3"], "3"))

    def test_otherEndpoint(self) -> None:
        """
        Another try asks the balancer again.
        """
        second = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9001}}}}
        first = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9000}}}}
        assignment = {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [first, second]}]}
        self.retrying("5xx", cluster={"load_assignment": assignment})
        other = self.proxy.backend("127.0.0.1:9001")
        self.backend.default = Answer(503)
        for _ in range(2):
            self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(other.requests), 2)


class TimeTests(RetryCase):
    """
    Time-outs and retries.
    """

    def test_perTry(self) -> None:
        """
        Each try has its time, and all of them the global one.
        """
        self.retrying("5xx", num_retries=5, per_try_timeout="2s", timeout="5s")
        self.backend.default = Answer.hang()
        began = self.proxy.reactor.seconds()
        response = self.proxy.request()
        self.assertEqual((response.status, self.tries()), (504, 3))
        self.assertEqual(self.proxy.reactor.seconds() - began, 5.0)
        self.assertEqual(self.proxy.accessLog, ["504 response_timeout UT"])
        self.assertEqual(self.clusterStat("upstream_rq_per_try_timeout"), 2)
        self.assertEqual(self.clusterStat("upstream_rq_timeout"), 1)
        self.assertEqual([connection.closed for connection in self.backend.connections], [True] * 3)
        self.assertQuiet()

    def test_lastTry(self) -> None:
        """
        The time-out of the last try is the answer.
        """
        self.retrying("gateway-error", num_retries=1, per_try_timeout="2s")
        self.backend.default = Answer.hang()
        response = self.proxy.request()
        self.assertEqual((response.status, response.body, self.tries()), (504, b"upstream request timeout", 2))
        self.assertEqual(self.proxy.accessLog, ["504 upstream_per_try_timeout URX,UT"])
        self.assertQuiet()

    def test_notAsked(self) -> None:
        """
        A try that is late is not tried again where nobody asked for that.
        """
        self.retrying("retriable-4xx", per_try_timeout="2s")
        self.backend.default = Answer.hang()
        self.assertEqual((self.proxy.request().status, self.tries()), (504, 1))

    def test_lateTry(self) -> None:
        """
        The answer of a try that was given up is nobody's.
        """
        self.retrying("5xx", per_try_timeout="2s")
        self.backend.answer(Answer(200, b"late", delay=3.0), Answer(200, b"in time", delay=1.5))
        self.assertEqual(self.proxy.request().body, b"in time")
        self.assertQuiet()

    def test_perTryIdle(self) -> None:
        """
        C{per_try_idle_timeout} counts from the last byte that came.
        """
        self.retrying("5xx", per_try_idle_timeout="2s", timeout="0s")
        self.backend.answer(Answer.hang(), Answer(body=[b"a", b"b", b"c"], delay=1.5))
        response = self.proxy.request()
        self.assertEqual((response.body, response.complete, self.tries()), (b"abc", True, 2))
        self.assertEqual(self.clusterStat("upstream_rq_per_try_idle_timeout"), 1)
        self.backend.answer(Answer(body=[b"a", b"b"], delay=2.5), Answer(body=[b"a", b"b"], delay=2.5))
        self.assertEqual(self.proxy.request().status, 504)
        self.assertQuiet()

    def test_globalWhileWaiting(self) -> None:
        """
        The global time-out strikes during a wait, too.
        """
        self.retrying("5xx", num_retries=5, retry_back_off={"base_interval": "4s"}, chance=lambda: 1.0, timeout="2s")
        self.backend.default = Answer(503)
        response = self.proxy.request()
        self.assertEqual((response.status, self.tries()), (504, 1))
        self.proxy.advance(60)
        self.assertEqual(self.tries(), 1)
        self.assertQuiet()

    def test_leavesWhileWaiting(self) -> None:
        """
        So does a client that leaves.
        """
        self.retrying("5xx", retry_back_off={"base_interval": "4s"}, chance=lambda: 1.0)
        self.backend.default = Answer(503)
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        client.abort()
        self.proxy.advance(60)
        self.assertEqual(self.tries(), 1)
        self.assertQuiet()


class BodyTests(RetryCase):
    """
    Requests with bodies.
    """

    def test_sentAgain(self) -> None:
        """
        A body is sent again, whole, with its trailers.
        """
        trailing = {"http_protocol_options": {"enable_trailers": True}}
        self.retrying("5xx,reset", num_retries=3, manager=self.trailers(), cluster=trailing)
        self.backend.answer(Answer(503, b"x"), Answer.reset(), Answer(503))
        response = self.proxy.request("POST", body=b"0123456789", trailers={"t": "1"})
        self.assertEqual((response.status, self.tries()), (200, 4))
        for request in self.backend.requests:
            self.assertEqual((request.body, request.trailers.get(b"t")), (b"0123456789", b"1"))

    def test_refusedEarly(self) -> None:
        """
        A try may end while its request is still coming: the next one gets what came and what comes, and the first
        connection is closed.
        """
        for answer in (Answer(503, early=True), Answer(503, b"busy", early=True), Answer.reset(early=True)):
            self.retrying("5xx,reset")
            self.backend.answer(answer)
            client = self.proxy.client()
            client.send("POST", headers={"content-length": "6"}, body=b"ab", whole=False)
            self.proxy.settle()
            self.assertEqual(self.tries(), 2)
            client.write(b"cd")
            self.proxy.settle()
            client.write(b"ef")
            self.assertEqual(client.response().status, 200)
            self.assertEqual((self.backend.last.body, self.backend.last.complete), (b"abcdef", True))
            self.proxy.settle()
            self.assertTrue(self.backend.connections[0].closed)
            self.assertFalse(self.backend.connections[1].closed)
            self.assertEqual(client.request().status, 200)
            self.assertQuiet()

    def test_tooLong(self) -> None:
        """
        A request that is too long to be kept is tried once.
        """
        self.retrying("5xx", listener={"per_connection_buffer_limit_bytes": 1000})
        self.backend.default = Answer(503, b"busy")
        self.assertEqual(self.proxy.request("POST", body=b"x" * 1000).status, 503)
        self.assertEqual(self.tries(), 2)
        client = self.proxy.client()
        client.send("POST", headers={"content-length": "2000"}, body=b"x" * 1000, whole=False)
        self.proxy.settle()
        client.write(b"x" * 1000)
        self.assertEqual(client.response().body, b"busy")
        self.assertEqual(self.tries(), 3)
        self.assertEqual(self.clusterStat("retry_or_shadow_abandoned"), 1)
        self.assertEqual(self.backend.last.body, b"x" * 2000)
        self.assertQuiet()

    def test_whilePaused(self) -> None:
        """
        What comes of a request while it waits for another try is kept, and sent by it.
        """
        self.retrying("5xx", retry_back_off={"base_interval": "2s"}, chance=lambda: 1.0)
        self.backend.answer(Answer(503, early=True))
        client = self.proxy.client()
        client.send("POST", headers={"content-length": "4"}, body=b"ab", whole=False)
        self.proxy.settle()
        client.write(b"cd")
        self.proxy.advance(1)
        self.assertEqual(self.tries(), 1)
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.body, b"abcd")
        self.assertQuiet()

    def test_tooLongWhilePaused(self) -> None:
        """
        Where that is more than may be kept, the client waits as well; nothing is lost.
        """
        self.retrying(
            "5xx",
            retry_back_off={"base_interval": "2s"},
            chance=lambda: 1.0,
            listener={"per_connection_buffer_limit_bytes": 1000},
        )
        self.backend.answer(Answer(503, early=True))
        client = self.proxy.client()
        client.send("POST", headers={"content-length": "300002"}, body=b"ab", whole=False)
        self.proxy.settle()
        client.write(b"x" * 300_000)
        self.proxy.advance(1)
        self.assertEqual(self.tries(), 1)
        self.assertLess(self.stat("downstream_cx_rx_bytes_total"), 100_000)
        self.assertEqual(client.response().status, 200)
        self.assertEqual(len(self.backend.last.body), 300_002)
        self.assertQuiet()
        cluster = self.proxy.server.clusters.byName["backend"]
        self.assertEqual(cluster.breakers.default.retries.used, 0)


class HeaderTests(RetryCase):
    """
    What a request asks for itself.
    """

    def test_internal(self) -> None:
        """
        An internal client's headers ask for retries, and end here; an external one's are not believed.
        """
        internal = {"internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}}
        orders = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "3", "x-forwarded-for": "127.0.0.1"}
        self.start(manager=internal, chance=lambda: 0.0)
        self.backend.answer(Answer(503), Answer(503))
        self.assertEqual((self.proxy.request(headers=orders).status, self.tries()), (200, 3))
        self.assertIsNone(self.backend.last.header("x-envoy-retry-on"))
        self.start(chance=lambda: 0.0)
        self.backend.answer(Answer(503))
        self.assertEqual((self.proxy.request(headers=orders).status, self.tries()), (503, 1))


class ToldTests(RetryCase):
    """
    What the upstream is told of a try.
    """

    def test_isTimeoutRetry(self) -> None:
        """
        Whether it is made because the one before took too long.
        """
        host = {"include_is_timeout_retry_header": True}
        self.retrying("5xx", num_retries=2, per_try_timeout="1s", virtualHost=host)
        self.backend.answer(Answer(500), Answer.hang(), Answer(200))
        self.assertEqual(self.proxy.request().status, 200)
        told = [request.headers.get(b"x-envoy-is-timeout-retry") for request in self.backend.requests]
        self.assertEqual(told, [None, b"false", b"true"])

    def test_alternativeResponse(self) -> None:
        """
        A client may ask for 204 in place of 504.
        """
        ranges = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
        self.start(route={"timeout": "1s"}, manager={"internal_address_config": {"cidr_ranges": ranges}})
        self.backend.answer(Answer.hang(), Answer.hang())
        asks = {"x-forwarded-for": "10.1.1.1", "x-envoy-upstream-rq-timeout-alt-response": "1"}
        self.assertEqual([self.proxy.request(headers=each).status for each in (asks, {})], [204, 504])
        self.assertEqual(self.clusterStat("upstream_rq_timeout"), 2)

    def test_streamDuration(self) -> None:
        """
        The C{max_stream_duration} of the cluster is for each try.
        """
        options = {"common_http_protocol_options": {"max_stream_duration": "1s"}}
        self.retrying("reset", cluster=options)
        self.backend.answer(Answer.hang(), Answer(200))
        self.assertEqual(self.proxy.request().status, 200)
        self.backend.answer(Answer.hang(), Answer.hang())
        self.assertEqual(self.proxy.request().status, 504)
        self.assertEqual(self.clusterStat("upstream_rq_max_duration_reached"), 3)
        self.assertEqual(self.proxy.accessLog[-1], "504 upstream_max_stream_duration_reached URX,UMSDR")
        self.assertQuiet()
