"""
Requests to routes as those of a mesh, which all try again, count their tries and give no time-out: they take the short
way, and what is seen of them is what is seen of the long one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from meshproxy.http import plainrequest, router
from meshproxy.http.plainrequest import RetriedPlainRequest
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.http.router import Router
from meshproxy.testing import Peer
from meshproxy.testing.bootstraps import BACKEND
from meshproxy.testing.network import parseAddress
from tests.http.support import ProxyCase

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"
UNAVAILABLE = OK.replace(b"200 OK", b"503 No")
GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nabcd"

OTHER = "127.0.0.1:9001"

#: Matches every request, and is asked of each: reason enough for the long way.
LONG: dict[str, Any] = {"retriable_request_headers": [{"name": ":method", "present_match": True}]}
PREVIOUS: dict[str, Any] = {
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 5,
}
#: As a control plane for Istio's resources writes it.
MESH: dict[str, Any] = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "retriable_status_codes": [503],
    "num_retries": 2,
    **PREVIOUS,
}


class _Backend(Peer):
    """
    Answers each request with the next of some answers; L{None} cuts the connection.
    """

    def __init__(self, case: RetriedWayTests) -> None:
        Peer.__init__(self)
        self._case = case
        self._unread = b""

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Peer}.
        """
        Peer.dataReceived(self, data)
        self._unread += data
        head, ended, body = self._unread.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not ended or len(body) < (int(length[1]) if length else 0):
            return
        self._unread = b""
        self._case.tries.append(head + body)
        self._case.asked.append(self)


class RetriedWayTests(ProxyCase):
    """
    The same exchanges on the short and the long way.
    """

    maxDiff = None
    log = (
        "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
        "%RESPONSE_DURATION% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME%"
    )

    def setUp(self) -> None:
        """
        Count who takes the short way.
        """
        self.tries: list[bytes] = []
        self.sent = b""
        self.asked: list[_Backend] = []
        self.answers: list[Sequence[bytes | None]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.short = self.long = 0

        def short(request: Any, *args: Any) -> None:
            self.short += 1
            RetriedPlainRequest.__init__(request, *args)

        def start(request: Any, *args: Any) -> None:
            self.long += 1
            routed(request, *args)

        routed = RoutedRequest.start
        counting = type("Counting", (RetriedPlainRequest,), {"__slots__": (), "__init__": short})
        for module in (router, plainrequest):
            self.patch(module, "RetriedPlainRequest", counting)
        self.patch(RoutedRequest, "start", start)

    def answer(self, backend: _Backend) -> None:
        """
        Answer a request, in pieces.
        """
        isBad = bool(self.answers)
        pieces: Sequence[bytes | None] = self.answers.pop(0) if isBad else [OK]
        for piece in pieces:
            if piece is None:
                backend.abort()
            else:
                backend.write(piece)
            self.proxy.settle()
        if isBad:
            self.meanwhile()

    def make(self, policy: dict[str, Any], isWarm: bool = True, **config: Any) -> None:
        """
        A proxy with such a route.

        @param isWarm: Whether a connection waits.
        """
        duration = {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}
        route = {"timeout": "0s", "max_stream_duration": duration, "retry_policy": policy, **config.pop("route", {})}
        thresholds = [{"max_retries": 100, "track_remaining": True}]
        self.start(
            accessLog=self.log,
            manager={"generate_request_id": False, **config.pop("manager", {})},
            route=route,
            virtualHost={"include_request_attempt_count": True, **config.pop("virtualHost", {})},
            cluster={"circuit_breakers": {"thresholds": thresholds}, **config.pop("cluster", {})},
            **config,
        )
        self.backend.stop()
        for address in (BACKEND, OTHER):
            self.proxy.network.listen(parseAddress(address), lambda peer: _Backend(self))
        if isWarm:
            self.exchange(GET)

    def exchange(self, request: bytes, *answers: Sequence[bytes | None]) -> tuple[Any, ...]:
        """
        All that is seen of an exchange whose tries are answered so, and any further one well.
        """
        proxy = self.proxy
        before, logged = proxy.stats(), len(proxy.accessLog)
        self.tries.clear()
        self.answers = list(answers)
        client = Peer()
        proxy.connect(client)
        client.write(request)
        proxy.settle()
        # For three answers and the pauses before them.
        for _ in range(20):
            proxy.advance(0.1)
            if self.asked:
                self.answer(self.asked.pop())
            proxy.settle()
        client.close()
        proxy.settle()
        self.assertQuiet()
        stats = {
            name: value - before.get(name, 0)
            for name, value in proxy.stats().items()
            if value != before.get(name, 0) and not name.startswith("server.")
        }
        received = re.sub(rb"date: [^\r]+", b"date: now", client.received)
        return received, list(self.tries), proxy.accessLog[logged:], stats

    def assertSameAsLong(
        self, policy: dict[str, Any], request: bytes, *answers: Sequence[bytes | None], **config: Any
    ) -> tuple[Any, ...]:
        """
        Both ways, and what is seen of either.
        """
        self.make({**policy, **LONG}, **dict(config))
        self.short = 0
        expected = self.exchange(request, *answers)
        self.assertEqual(self.short, 0)
        self.make(policy, **dict(config))
        self.short = 0
        seen = self.exchange(request, *answers)
        self.assertEqual(self.short, 1, "the short way")
        for one, other in zip(seen, expected, strict=True):
            self.assertEqual(one, other, (policy, answers))
        return seen

    def test_answered(self) -> None:
        """
        Nothing goes wrong: head or head and body, in whole answers and in pieces.
        """
        for request in (GET, POST):
            seen = self.assertSameAsLong(MESH, request)
            self.assertTrue(seen[0].endswith(b"\r\n\r\nbody"))
            self.assertIn(b"x-envoy-attempt-count: 1", seen[1][0])
            for cut in range(1, len(OK)):
                self.assertEqual(self.exchange(request, [OK[:cut], OK[cut:]]), self.exchange(request, [OK]))
        forged = GET.replace(b"host", b"x-envoy-attempt-count: 7\r\nx-envoy-attempt-count: 8\r\nhost")
        seen = self.assertSameAsLong(MESH, forged)
        self.assertEqual(seen[1][0].count(b"x-envoy-attempt-count"), 1)

    def test_triedAgain(self) -> None:
        """
        Each reason to try again, once, twice, and more often than may be.
        """
        for policy, bad in (
            (MESH, UNAVAILABLE),
            ({"retry_on": "5xx", "num_retries": 2}, UNAVAILABLE),
            ({"retry_on": "5xx", "num_retries": 2}, OK.replace(b"200", b"599")),
            ({"retry_on": "gateway-error", "num_retries": 2}, UNAVAILABLE),
            ({"retry_on": "retriable-4xx", "num_retries": 2}, OK.replace(b"200", b"409")),
            ({"retry_on": "unavailable", "num_retries": 2}, OK.replace(b"content", b"grpc-status: 14\r\ncontent")),
            (
                {"retry_on": "envoy-ratelimited", "num_retries": 2},
                OK.replace(b"content", b"x-envoy-ratelimited: true\r\ncontent"),
            ),
            (
                {"retry_on": "retriable-headers", "num_retries": 2, "retriable_headers": [{"name": "x-again"}]},
                OK.replace(b"content", b"x-again: 1\r\ncontent"),
            ),
            ({"retry_on": "reset", "num_retries": 2}, None),
            ({**MESH, "retry_on": "5xx"}, None),
        ):
            for request in (GET, POST):
                for times in (1, 2, 3):
                    seen = self.assertSameAsLong(policy, request, *[[bad]] * times)
                    self.assertEqual(len(seen[1]), min(times, 2) + 1, policy)
                    if request is POST:
                        self.assertEqual({each[-4:] for each in seen[1]}, {b"abcd"})
                    if times < 3:
                        self.assertIn(b"HTTP/1.1 200 OK", seen[0])
                    if bad is not None and times == 1:
                        for cut in range(1, len(bad), 7):
                            # What is left of such an answer is not waited for; that shows in the figures.
                            self.assertEqual(self.exchange(request, [bad[:cut], bad[cut:]])[:3], seen[:3], policy)

    def test_notTriedAgain(self) -> None:
        """
        Answers that look like a reason, and are none for this policy.
        """
        for policy, answer in (
            ({"retry_on": "gateway-error"}, OK.replace(b"200", b"500")),
            ({"retry_on": "connect-failure"}, UNAVAILABLE),
            ({"retry_on": "5xx"}, OK.replace(b"200", b"409")),
            ({"retry_on": "5xx"}, OK.replace(b"content", b"x-envoy-ratelimited: true\r\ncontent")),
            ({"retry_on": "cancelled"}, OK.replace(b"content", b"grpc-status: 14\r\ncontent")),
            ({"retry_on": "5xx", "num_retries": 0}, UNAVAILABLE),
            ({"retry_on": "connect-failure"}, None),
        ):
            seen = self.assertSameAsLong(policy, GET, [answer])
            self.assertEqual(len(seen[1]), 1, policy)

    def test_otherCluster(self) -> None:
        """
        A further try may go to another one of weighted clusters; its answer counts there.
        """
        weighted = {"clusters": [{"name": "backend", "weight": 1}, {"name": "other", "weight": 1}]}
        route = {"cluster": None, "weighted_clusters": weighted}
        policy = {"retry_on": "5xx", "num_retries": 2, "refresh_cluster_on_retry": True}
        seen = self.assertSameAsLong(policy, GET, [UNAVAILABLE], route=route, clusters={"other": BACKEND})
        self.assertEqual(len(seen[1]), 2)
        self.assertEqual(seen[3]["cluster.backend.upstream_rq_total"], 1)
        self.assertEqual(seen[3]["cluster.other.upstream_rq_total"], 1)

    def test_clusterChanges(self) -> None:
        """
        A cluster may be removed, or replaced, between two tries: the next one is for what is there then.
        """
        policy = {"retry_on": "5xx", "retry_back_off": {"base_interval": "0.3s"}}
        for request, there in product((GET, POST), ("", "other")):

            def change(there: str = there) -> None:
                byName = self.proxy.server.clusters.byName
                byName.pop("backend")
                if there:
                    byName["backend"] = byName[there]

            self.meanwhile = change
            seen = self.assertSameAsLong(policy, request, [UNAVAILABLE], clusters={"other": OTHER}, chance=lambda: 0.9)
            if there:
                self.assertIn(f" {OTHER} other 2 ", seen[2][0])
            else:
                self.assertIn(b"503 Service Unavailable", seen[0])
                self.assertTrue(seen[2][0].startswith("503 no_healthy_upstream UH "))

    def test_otherEndpoint(self) -> None:
        """
        A further try goes to who was not tried, whether or not a connection waited for the first one.
        """
        leaving = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3."
                "PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        }
        addresses = [{"address": "127.0.0.1", "port_value": port} for port in (9000, 9001)]
        endpoints = [
            {"priority": priority, "lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}
            for priority, address in enumerate(addresses)
        ]
        cluster = {"load_assignment": {"cluster_name": "backend", "endpoints": endpoints}}
        policy = {"retry_on": "5xx", "num_retries": 1, "retry_priority": leaving}
        for isWarm, more in product((True, False), ({}, LONG)):
            self.make({**policy, **more}, isWarm, cluster=cluster)
            seen = self.exchange(GET, [UNAVAILABLE])
            self.assertIn(f" {OTHER} backend 2 ", seen[2][0], (isWarm, more))

    def test_timeout(self) -> None:
        """
        The time for the whole request holds for all tries of it.
        """
        route = {"timeout": "0.25s", "max_stream_duration": None}
        policy = {"retry_on": "5xx", "num_retries": 5}
        seen = self.assertSameAsLong(policy, GET, *[[UNAVAILABLE]] * 5, route=route)
        self.assertIn(b"HTTP/1.1 504", seen[0])
        self.assertIn(b"x-envoy-expected-rq-timeout-ms: 250", seen[1][0])

    def test_timeoutBetweenTries(self) -> None:
        """
        Where it strikes before the next try, the endpoint of the last one is not late: it has answered.
        """
        policy = {"retry_on": "5xx", "retry_back_off": {"base_interval": "9s", "max_interval": "9s"}}
        for more in (LONG, {}):
            self.make({**policy, **more}, route={"timeout": "0.25s", "max_stream_duration": None})
            (endpoint,) = self.proxy.server.clusters.byName["backend"].endpoints
            before = endpoint.rqError.value
            seen = self.exchange(GET, [UNAVAILABLE])
            self.assertIn(b"HTTP/1.1 504", seen[0])
            self.assertEqual((endpoint.rqError.value - before, endpoint.rqTimeout.value), (1, 0))
            # As in Envoy, nothing of the cluster's counts it either.
            counted = [name for name in seen[3] if name.endswith(("upstream_rq_504", "upstream_rq_timeout"))]
            self.assertEqual(counted, [])

    def test_perTry(self) -> None:
        """
        The time for each try: a late one is given up, and tried again where the policy says so.
        """
        for timeout in ("0s", "5s"):
            route = {"timeout": timeout, "max_stream_duration": None}
            for on, late, tries in (("5xx", 1, 2), ("5xx", 3, 3), ("retriable-4xx", 1, 1)):
                policy = {"retry_on": on, "num_retries": 2, "per_try_timeout": "0.15s"}
                seen = self.assertSameAsLong(policy, GET, *[[]] * late, route=route)
                self.assertEqual(len(seen[1]), tries)
                self.assertIn(b"x-envoy-expected-rq-timeout-ms: 150", seen[1][0])
            seen = self.assertSameAsLong(policy, GET, route=route)
            self.assertIn(b"HTTP/1.1 200", seen[0])
        # One that is not shorter than the whole request is none.
        route["timeout"] = "0.15s"
        seen = self.assertSameAsLong({**policy, "retry_on": "5xx"}, GET, [], route=route)
        self.assertEqual(len(seen[1]), 1)
        self.assertIn(b"HTTP/1.1 504", seen[0])

    def test_hashed(self) -> None:
        """
        Where requests that are alike go to one endpoint, they take the short way, too, unless the answer has to tell
        them by which cookie they are known.
        """
        hashing = {"lb_policy": "RING_HASH"}
        header = {"hash_policy": [{"header": {"header_name": "x-user"}}]}
        known = GET.replace(b"host", b"x-user: me\r\nhost")
        for request in (GET, known):
            self.assertSameAsLong(MESH, request, route=header, cluster=hashing)
            seen = self.assertSameAsLong(MESH, request, [UNAVAILABLE], route=header, cluster=hashing)
            self.assertEqual(len(seen[1]), 2)
        cookie = {"hash_policy": [{"cookie": {"name": "c", "ttl": "60s"}}]}
        known = GET.replace(b"host", b"cookie: c=1\r\nhost")
        seen = self.assertSameAsLong(MESH, known, route=cookie, cluster=hashing)
        self.assertNotIn(b"set-cookie", seen[0])
        self.short = self.long = 0
        seen = self.exchange(GET)
        self.assertIn(b"set-cookie: c=", seen[0])
        self.assertEqual((self.short, self.long), (0, 1))
        self.short = self.long = 0
        self.exchange(POST.replace(b"host", b"cookie: c=1\r\nhost"))
        self.assertEqual((self.short, self.long), (0, 1))

    def test_inside(self) -> None:
        """
        Requests from within are counted by themselves, and go the long way for it; those from outside do not.
        """
        manager = {
            "use_remote_address": True,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        }
        for request in (GET, POST):
            outside = request.replace(b"host", b"x-forwarded-for: 192.0.2.1\r\nhost")
            seen = self.assertSameAsLong(MESH, outside, manager=manager)
            self.assertNotIn("cluster.backend.internal.upstream_rq_200", seen[3])
            self.short = self.long = 0
            seen = self.exchange(request)
            self.assertEqual((self.short, self.long), (0, 1))
            self.assertEqual(seen[3]["cluster.backend.internal.upstream_rq_200"], 1)

    def test_tooLong(self) -> None:
        """
        A body too long to be kept goes the long way, once.
        """
        self.make(MESH, virtualHost={"per_request_buffer_limit_bytes": 3})
        self.short = self.long = 0
        seen = self.exchange(POST, [UNAVAILABLE])
        self.assertEqual((len(seen[1]), self.short, self.long), (1, 0, 1))

    def test_asksForMore(self) -> None:
        """
        What a request orders, and routes that look at requests or at single tries, are for the long way.
        """
        inside = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
        self.make(MESH, manager={"internal_address_config": inside})
        for request in (GET, POST):
            for field in (b"x-envoy-max-retries: 1", b"x-envoy-retry-on: 5xx", b"x-envoy-upstream-rq-timeout-ms: 9"):
                self.short = self.long = 0
                self.exchange(request.replace(b"host", b"x-forwarded-for: 10.0.0.1\r\n" + field + b"\r\nhost"))
                self.assertEqual((self.short, self.long), (0, 1), field)
        self.make(MESH)
        for request in (GET, POST):
            self.short = self.long = 0
            self.exchange(request.replace(b"host", b"grpc-timeout: 1S\r\nhost"))
            self.assertEqual((self.short, self.long), (0, 1))
        for policy in ({**MESH, "per_try_idle_timeout": "1s"}, {**MESH, **LONG}):
            self.make(policy)
            self.short = self.long = 0
            self.exchange(GET)
            self.assertEqual((self.short, self.long), (0, 1), policy)

    def test_timesOfCalls(self) -> None:
        """
        C{max_grpc_timeout} holds for calls of gRPC alone: other requests take the short way.
        """
        call = POST.replace(b"host", b"content-type: application/grpc\r\nhost")
        for most, timeout, expected in (("0s", "0s", b""), ("5s", "5s", b"5000m"), ("5s", "0s", b"5000m")):
            self.make(MESH, route={"max_grpc_timeout": most, "timeout": timeout, "max_stream_duration": None})
            for request in (GET, POST):
                self.short = self.long = 0
                self.exchange(request)
                # The body of a request whose calls have another time-out waits for its connection.
                self.assertEqual(self.short, int(request is GET or most == "0s"), (most, request))
            self.short = self.long = 0
            seen = self.exchange(
                call.replace(b"POST", b"GET").replace(b"content-length: 4\r\n", b"").removesuffix(b"abcd")
            )
            self.assertEqual((self.short, self.long), (0, 1))
            seen = self.exchange(call)
            self.assertEqual((self.short, self.long), (0, 2))
            found = re.search(rb"grpc-timeout: (\w+)", seen[1][0])
            self.assertEqual(b"" if found is None else found[1], expected, most)

    def play(self, plan: random.Random) -> tuple[Any, ...]:
        """
        An exchange by chance: answers of all kinds, cut anywhere or late, and clients that go.

        @return: All that is seen of it, and who waits still for a time-out or holds a place in the end.
        """
        proxy = self.proxy
        before, logged = proxy.stats(), len(proxy.accessLog)
        self.tries.clear()
        client = Peer()
        proxy.connect(client)
        self.sent = plan.choice((GET, POST, GET.replace(b"GET", b"HEAD")))
        client.write(self.sent)
        proxy.settle()
        gone, isHard, step = plan.choice((99, 99, plan.randrange(12))), plan.random() < 0.5, plan.choice((0.01, 0.03))
        answers = [_piecesOf(plan) for _ in range(4)]
        answering: list[tuple[_Backend, list[bytes | None]]] = []
        for moment in range(50):
            proxy.advance(step)
            if moment == gone:
                client.abort() if isHard else client.close()
            while self.asked:
                answering.append((self.asked.pop(), answers.pop(0) if answers else [OK]))
            for backend, pieces in answering:
                piece = pieces.pop(0) if pieces else b""
                if piece is None:
                    backend.abort()
                elif piece and not backend.closed:
                    backend.write(piece)
                proxy.settle()
        client.close()
        proxy.settle()
        stats = {
            name: value - before.get(name, 0)
            for name, value in proxy.stats().items()
            if value != before.get(name, 0) and not name.startswith("server.")
        }
        kept = {
            name: value
            for name, value in proxy.stats().items()
            if value and name.endswith(("_rq_active", "_rq_pending_active", "rq_open", "rq_retry_open"))
        }
        router = self.routers[-1]
        queues = (router.timeouts, router.perTryTimeouts, router.durations)
        waiting = [owner for lengths in queues for queue in lengths.values() for owner in queue.waiting]
        self.assertEqual((kept, waiting), ({}, []))
        return (
            re.sub(rb"date: [^\r]+", b"date: now", client.received),
            list(self.tries),
            proxy.accessLog[logged:],
            stats,
        )

    def test_random(self) -> None:
        """
        What is seen of exchanges by chance is the same, and nothing is kept of them.
        """
        self.routers: list[Router] = []
        made = Router.__init__

        def make(router: Router, *args: Any, **more: Any) -> None:
            self.routers.append(router)
            made(router, *args, **more)

        self.patch(Router, "__init__", make)
        for seed in range(60):
            plan = random.Random(seed)
            policy: dict[str, Any] = plan.choice((MESH, {"retry_on": "5xx,reset", "num_retries": 3}))
            if plan.random() < 0.5:
                policy = {**policy, "per_try_timeout": "0.12s"}
            route = {"timeout": plan.choice(("0s", "0.25s", "5s")), "max_stream_duration": None}
            limits = {"max_requests": 2, "max_retries": plan.randrange(3), "track_remaining": True}
            cluster = {"circuit_breakers": {"thresholds": [limits]}}
            state, seen = plan.getstate(), []
            for more in (LONG, {}):
                self.make({**policy, **more}, route=dict(route), cluster=cluster)
                self.short = 0
                plan.setstate(state)
                seen.append(self.play(plan))
            self.assertEqual(seen[0], seen[1], seed)
            # Each time-out of a try leads a body off the short way.
            self.assertEqual(self.short, int(self.sent is not POST or "per_try_timeout" not in policy), seed)


def _piecesOf(plan: random.Random) -> list[bytes | None]:
    """
    An answer by chance: pieces of it, C{b""} for a while without any, and L{None} for the end of its connection.
    """
    chunked = OK.replace(b"content-length: 4", b"transfer-encoding: chunked").replace(
        b"body", b"4\r\nbody\r\n0\r\n\r\n"
    )
    empty = OK.replace(b"length: 4", b"length: 0").removesuffix(b"body")
    bodiless = (empty, empty.replace(b"200", b"503"), b"HTTP/1.1 204 No Content\r\n\r\n")
    answer = plan.choice((OK, UNAVAILABLE, UNAVAILABLE, chunked, chunked.replace(b"200", b"503"), *bodiless))
    more = (b"", b"", b"", b"connection: close\r\n", b"grpc-status: 14\r\n", b"x-envoy-ratelimited: true\r\n")
    answer = answer.replace(b"\r\n", b"\r\n" + plan.choice(more), 1)
    answer = (
        plan.choice((b"", b"", b"", b"HTTP/1.1 103 Early\r\n\r\n")) + answer + plan.choice((b"", b"", b"", b"more"))
    )
    pieces: list[bytes | None] = [b""] * plan.choice((0, 0, 1, 5, 50))
    if plan.random() < 0.5:
        return [*pieces, answer]
    cut = plan.randrange(len(answer))
    return [*pieces, answer[:cut], b"", plan.choice((answer[cut:], answer[cut:], None))]
