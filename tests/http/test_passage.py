"""
L{meshproxy.http.passage}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.expressions import Expression
from meshproxy.filters.http.fault import Fault
from meshproxy.filters.http.header_mutation import HeaderMutation
from meshproxy.filters.http.local_ratelimit import LocalRateLimit
from meshproxy.filters.http.rbac import RBAC
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.http.chain import ChainLink, FilterChain
from meshproxy.http.filter import HTTPFilter
from meshproxy.http.passage import Step, compilePassage, passEachInRequest, usually
from meshproxy.interfaces import STOP
from tests.filters.http.support import FakeStream, compiled, makeContext, routed
from tests.http.support import ProxyCase, scripted

# What real filters are configured with that tell what they usually do.
FILTERS: dict[type[HTTPFilter], str] = {
    Fault: "{abort: {http_status: 503, percentage: {numerator: 100}}, headers: [{name: f, string_match: {exact: a}}]}",
    RBAC: """
        rules:
          policies:
            a: {permissions: [{any: true}], principals: [{header: {name: u, string_match: {exact: alice}}}]}
            b: {permissions: [{url_path: {path: {prefix: /b}}}], principals: [{any: true}]}
        """,
    LocalRateLimit: """
        stat_prefix: l
        token_bucket: {max_tokens: 3, fill_interval: 60s}
        filter_enabled: {default_value: {numerator: 100}}
        filter_enforced: {default_value: {numerator: 100}}
        """,
    HeaderMutation: """
        mutations:
          request_mutations:
          - append: {header: {key: x, value: v}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
          - remove: gone
        """,
}


def shared(**methods: Any) -> type[HTTPFilter]:
    """
    A filter of which one instance serves all streams, as those have that take part in a passage.
    """
    return type("Shared", (scripted(**methods),), {"shared": True})


class Walked(FakeStream):
    """
    A stream that may go through a passage.
    """

    requestHalted = responseHalted = False
    noted: Any = None

    def __init__(self, chain: FilterChain, pairs: list[tuple[bytes, bytes]], path: bytes, route: Any = None) -> None:
        super().__init__(pairs, path, route=route)
        self.chain = chain
        self.stopped: list[int] = []
        self.requestWalk = self

    def answered(self, verdict: object, place: int, event: Any) -> tuple[object, Any]:
        """
        Note which filter stopped it.
        """
        self.stopped.append(place)
        return STOP, None

    @property
    def outcome(self) -> object:
        """
        All that filters did to it.
        """
        noted = {self.noted[0]: self.noted[1]} if self.noted else self.dynamicMetadata
        return self.requestHeaders, self.replies, self.stopped, noted


class PassageTests(SynchronousTestCase):
    """
    The function is the same as the calls that it stands for.
    """

    def chain(self) -> FilterChain:
        """
        The filters, each with metrics of its own.
        """
        # Routes of these tests say something to "mine".
        self.context = makeContext(name="other")
        links = [ChainLink(each, compiled(each, text, self.context), self.context) for each, text in FILTERS.items()]
        return FilterChain(links)

    def counts(self) -> dict[str, int]:
        """
        What they counted.
        """
        return {name: counter.value for name, counter in self.context.store.counters.items()}

    def test_steps(self) -> None:
        """
        Each of these filters tells what it usually does: a chain of them calls nobody.
        """
        chain = self.chain()
        self.assertTrue(all(getattr(method, "step", None) for method in chain.requestHeaders))
        usual = Walked(chain, [(b"u", b"alice"), (b"gone", b"1")], b"/")
        silent = [usually(lambda *args: self.fail("it was called"), method.step) for method in chain.requestHeaders]  # type: ignore[attr-defined]
        passed = compilePassage(silent, chain.requestHeadersPlaces, True)
        self.assertTrue(passed(usual, usual.requestHeaders, True))  # type: ignore[arg-type]  # a stand-in
        self.assertEqual(usual.requestHeaders.first, {b"u": b"alice", b"x": b"v"})

    def test_same(self) -> None:
        """
        Whatever the requests, the outcome is the same, head by head and in what is counted: those that a filter
        refuses, those with a name twice, those whose route has something to say, and those over a limit among them.
        """
        requests: list[tuple[list[tuple[bytes, bytes]], bytes, Any]] = [
            ([(b"u", b"alice"), (b"gone", b"1")], b"/", None),
            ([(b"u", b"bob"), (b"x", b"0")], b"/", None),
            ([(b"u", b"bob"), (b"u", b"alice")], b"/", None),
            ([(b"gone", b"1"), (b"gone", b"2"), (b"x", b"1"), (b"x", b"2")], b"/b", None),
            ([(b"f", b"a"), (b"u", b"alice")], b"/", None),
            ([(b"u", b"alice")], b"/", "route"),
            ([(b"u", b"alice")], b"/", None),
            ([(b"u", b"alice")], b"/", None),
        ]

        def outcomes(isCompiled: bool) -> list[object]:
            chain = self.chain()
            told = []
            for pairs, path, route in requests:
                stream: Any = Walked(chain, pairs, path, None if route is None else routed("for another"))
                passing = compilePassage(chain.requestHeaders, chain.requestHeadersPlaces, True)
                way = passing if isCompiled else passEachInRequest
                told.append((way(stream, stream.requestHeaders, True), stream.outcome))
            return [told, self.counts()]

        self.assertEqual(outcomes(True), outcomes(False))

    def test_found(self) -> None:
        """
        A filter that is called may change the route and the head; the steps after it see what is there now.
        """
        seen: list[object] = []
        new: Any = routed()

        def change(stream: Any, headers: RequestHeaders, endStream: bool) -> None:
            stream.route = new
            headers.first = {b"n": b"1"}

        def late(stream: Any, headers: RequestHeaders, endStream: bool) -> None:
            self.fail("the step was not taken")

        note = Expression.statement("{seen}.extend([route, dict(first), configured])", seen=seen)
        step = Step(Expression.of("endStream"), (note,))
        passed = compilePassage([usually(lambda *args: None, step), change, usually(late, step)], (0, 1, 2), True)
        old: Any = routed("x")
        stream: Any = Walked(FilterChain(()), [(b"o", b"1")], b"/", old)
        self.assertTrue(passed(stream, stream.requestHeaders, True))
        self.assertEqual(seen, [old, {b"o": b"1"}, True, new, {b"n": b"1"}, False])

    def test_unusual(self) -> None:
        """
        A step that is not for a head leaves it to the method, and what that answers counts.
        """
        step = Step(Expression.of("not endStream"), (Expression.statement("first[b'never'] = b''"),))
        passed = compilePassage([usually(lambda *args: STOP, step)], (7,), True)
        stream: Any = Walked(FilterChain(()), [], b"/")
        self.assertFalse(passed(stream, stream.requestHeaders, True))
        self.assertEqual((stream.stopped, stream.requestHeaders.first), ([7], {}))


class HoldTests(ProxyCase):
    """
    Filters that share an instance, in a whole proxy: a passage that does not go to its end.
    """

    def test_answers(self) -> None:
        """
        A filter in the middle answers: those behind it see nothing of the request, those before it see the response.
        """
        log: list[str] = []
        first = shared(
            requestHeaders=lambda *args: log.append("asked"), responseHeaders=lambda *args: log.append("saw")
        )
        middle = shared(requestHeaders=lambda stream, *args: stream.reply(418))
        self.start(first, middle, shared(requestHeaders=lambda *args: log.append("never")))
        self.assertEqual(self.proxy.request("GET", "/").status, 418)
        self.assertEqual((log, self.backend.requests), (["asked", "saw"], []))

    def test_waits(self) -> None:
        """
        A filter waits, with the request and then with its response; both go on where they were held.
        """
        log: list[str] = []
        asked: Deferred[None] = Deferred()
        answered: Deferred[None] = Deferred()
        waiting = shared(requestHeaders=lambda *args: asked, responseHeaders=lambda *args: answered)
        around = shared(
            requestHeaders=lambda *args: log.append("request"), responseHeaders=lambda *args: log.append("response")
        )
        self.start(around, waiting, around)
        client = self.proxy.client()
        client.send("GET", "/")
        self.proxy.settle()
        self.assertEqual((log, self.backend.requests), (["request"], []))
        asked.callback(None)
        self.proxy.settle()
        self.assertEqual(log, ["request", "request", "response"])
        answered.callback(None)
        self.proxy.settle()
        self.assertEqual((log[3:], client.response().status), (["response"], 200))

    def test_raises(self) -> None:
        """
        A filter that raises ends its stream, and no other.
        """

        def fail(stream: Any, headers: HeaderMap, endStream: bool) -> None:
            if headers.get(b":path") == b"/bad":
                raise ValueError("a fault of a filter")

        self.start(shared(requestHeaders=fail), shared(responseHeaders=lambda *args: None))
        statuses = [self.proxy.request("GET", path).status for path in ("/", "/bad", "/")]
        self.assertEqual((statuses, self.stat("filter_exceptions")), ([200, 500, 200], 1))
        self.flushLoggedErrors(ValueError)
