"""
L{meshproxy.filters.http.local_ratelimit}.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.local_ratelimit import LocalRateLimit
from meshproxy.flags import flagsShort
from meshproxy.headers import ResponseHeaders
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import STOP
from meshproxy.net.address import Address
from meshproxy.testing import FilterHarness
from meshproxy.upstream.balancers.zones import LocalZone
from meshproxy.upstream.endpoint import Endpoint, Locality
from tests.filters.http.support import FakeStream, compiled, connection, makeContext, makeFilter, routed

ON = "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}"
TWO = "token_bucket: {max_tokens: 2, tokens_per_fill: 1, fill_interval: 4s}"
SLOW = "{max_tokens: %d, tokens_per_fill: 1, fill_interval: 100s}"


class LimitTestCase(SynchronousTestCase):
    """
    A filter in virtual time.
    """

    def make(self, more: str = "", on: str = ON, bucket: str = TWO) -> None:
        """
        Make the filter under test.
        """
        self.context = makeContext()
        self.clock: Any = self.context.clock
        fields = [field for field in (on, bucket, more) if field]
        self.limit: Any = makeFilter(LocalRateLimit, f"{{stat_prefix: lim, {', '.join(fields)}}}", self.context)

    def send(self, *headers: tuple[bytes, bytes], stream: FakeStream | None = None, path: bytes = b"/") -> FakeStream:
        """
        Let a request pass; what the filter answered is C{self.answer}.
        """
        stream = stream or FakeStream(headers, path)
        self.answer = self.limit.requestHeaders(stream, stream.requestHeaders, True)
        return stream

    def passes(self, *headers: tuple[bytes, bytes], **others: Any) -> bool:
        """
        Whether a request passes.
        """
        return not self.send(*headers, **others).replies

    def shown(self, *headers: tuple[bytes, bytes], path: bytes = b"/") -> tuple[int, int, int]:
        """
        The limit, what remains, and the seconds, that the response to a request shows.
        """
        stream = self.send(*headers, path=path)
        response = ResponseHeaders(200)
        self.limit.responseHeaders(stream, response, True)
        names = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")
        limit, remaining, reset = (int(response.first[name]) for name in names)
        return limit, remaining, reset

    def counts(self) -> dict[str, int]:
        """
        All counters.
        """
        return {
            name.removeprefix("lim.http_local_rate_limit."): int(counter.value)
            for name, counter in self.context.store.counters.items()
        }


class LocalRateLimitTests(LimitTestCase):
    """
    One bucket for all.
    """

    def test_limit(self) -> None:
        """
        Who finds no token is refused in Envoy's words; a token comes back with time.
        """
        self.make()
        self.assertEqual([self.passes() for _ in range(2)], [True, True])
        stream = self.send()
        self.assertIs(self.answer, STOP)
        self.assertEqual(stream.replies, [(429, b"local_rate_limited", {}, "local_rate_limited")])
        self.assertEqual(flagsShort(stream.responseFlags), "RL")
        self.clock.advance(3.9)
        self.assertFalse(self.passes())
        self.clock.advance(0.1)
        self.assertEqual([self.passes() for _ in range(2)], [True, False])
        self.assertEqual(self.counts(), {"enabled": 6, "ok": 3, "rate_limited": 3, "enforced": 3, "shadow_mode": 0})

    def test_offByDefault(self) -> None:
        """
        As in Envoy, nothing happens unless it is enabled, and nothing is refused unless it is enforced.
        """
        self.make(on="")
        self.assertTrue(all(self.passes() for _ in range(5)))
        self.assertEqual(set(self.counts().values()), {0})
        self.make(
            "request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: '1'}}]",
            ON.partition("},")[0] + "}",
        )
        self.assertTrue(all(self.passes() for _ in range(2)))
        self.assertEqual(self.send().requestHeaders.get(b"x-over"), b"1")
        self.assertEqual(self.counts(), {"enabled": 3, "ok": 2, "rate_limited": 1, "enforced": 0, "shadow_mode": 0})

    def test_runtime(self) -> None:
        """
        Both percentages may be changed while it runs.
        """
        self.make(
            on="filter_enabled: {default_value: {}, runtime_key: e},"
            " filter_enforced: {default_value: {}, runtime_key: f}"
        )
        self.context.runtime.modify({"e": "100", "f": "100"})
        self.assertEqual([self.passes() for _ in range(3)], [True, True, False])
        self.context.runtime.modify({"f": "0"})
        self.assertTrue(self.passes())

    def test_status(self) -> None:
        """
        The status may be another error; what is no error is 429, as in Envoy.
        """
        for status, expected in (("ServiceUnavailable", 503), ("OK", 429)):
            self.make(f"status: {{code: {status}}}", bucket="token_bucket: " + SLOW % 1)
            self.send()
            self.assertEqual(self.send().replies[0][0], expected)

    def test_responseHeaders(self) -> None:
        """
        A refusal carries more headers, others do not.
        """
        self.make("response_headers_to_add: [{header: {key: x-lr, value: 'at %REQ(:path)%'}}]")
        self.assertEqual([self.send().replies for _ in range(2)], [[], []])
        self.assertEqual(self.send().replies[0][2], {b"x-lr": b"at /"})

    def test_resourceExhausted(self) -> None:
        """
        A gRPC client is told RESOURCE_EXHAUSTED where that is wanted.
        """
        grpc = (b"content-type", b"application/grpc")
        for more, expected in (("", {}), ("rate_limited_as_resource_exhausted: true", {b"grpc-status": b"8"})):
            self.make(more, bucket="token_bucket: " + SLOW % 1)
            self.send(grpc)
            self.assertEqual(self.send(grpc).replies[0][2], expected)
            self.assertEqual(self.send().replies[0][2], {})

    def test_withoutBucket(self) -> None:
        """
        Without a bucket the filter is on and limits nothing.
        """
        self.make(bucket="")
        self.assertTrue(all(self.passes() for _ in range(5)))

    def test_route(self) -> None:
        """
        A route has a bucket of its own, and must have one.
        """
        self.make()
        config = compiled(LocalRateLimit, f"{{stat_prefix: own, {ON}, token_bucket: {SLOW % 1}}}", self.context, True)
        route = routed(config)
        self.assertEqual([self.passes(stream=FakeStream(route=route)) for _ in range(2)], [True, False])
        self.assertEqual([self.passes() for _ in range(3)], [True, True, False])
        self.assertEqual(self.context.store.counters["own.http_local_rate_limit.enforced"].value, 1)
        with self.assertRaises(ConfigErrors):
            compiled(LocalRateLimit, f"{{stat_prefix: own, {ON}}}", self.context, True)

    def test_perConnection(self) -> None:
        """
        Each connection has its own bucket, which goes with it.
        """
        self.make("local_rate_limit_per_downstream_connection: true")
        one, other = connection(), connection()
        self.assertEqual([self.passes(stream=FakeStream(connectedBy=one)) for _ in range(3)], [True, True, False])
        self.assertTrue(self.passes(stream=FakeStream(connectedBy=other)))
        kept = weakref.ref(self.limit.config[1].ofConnection(one))
        self.assertIsNotNone(kept())
        del one, other
        gc.collect()
        self.assertIsNone(kept())

    def test_shownLimits(self) -> None:
        """
        Limit, remaining tokens and seconds to the next one, on every response where they are wanted.
        """
        self.make("enable_x_ratelimit_headers: DRAFT_VERSION_03")
        self.assertEqual([self.shown() for _ in range(3)], [(2, 1, 0), (2, 0, 4), (2, 0, 4)])
        self.clock.advance(2)
        self.assertEqual(self.shown(), (2, 0, 2))

    def test_notShown(self) -> None:
        """
        By default they are not, and nothing is remembered of streams; of those that end early neither.
        """
        self.make()
        self.assertEqual(type(self.limit).responseHeaders, HTTPFilter.responseHeaders)
        self.make("enable_x_ratelimit_headers: DRAFT_VERSION_03")
        self.limit.streamEnded(self.send())
        self.assertEqual(self.limit._shown, {})

    def test_shownByRoute(self) -> None:
        """
        Once a route wants them shown, filters look at responses.
        """
        self.patch(LocalRateLimit, "routesShow", False)
        self.make()
        text = f"{{stat_prefix: own, {ON}, {TWO}, enable_x_ratelimit_headers: DRAFT_VERSION_03}}"
        route = routed(compiled(LocalRateLimit, text, self.context, True))
        self.limit = LocalRateLimit(self.limit.config, self.context)
        response = ResponseHeaders(200)
        self.limit.responseHeaders(self.send(stream=FakeStream(route=route)), response, True)
        self.assertEqual(response.get(b"x-ratelimit-remaining"), b"1")

    def test_shownByLimit(self) -> None:
        """
        A rate limit says for itself whether it is shown; what routes say is heeded, too.
        """
        held = f"descriptors: [{{entries: [{{key: generic_key, value: v}}], token_bucket: {SLOW % 3}}}]"
        limit = "rate_limits: [{actions: [{generic_key: {descriptor_value: v}}]%s}]"
        for of, option, isShown in (
            ("OFF", "", False),
            ("OFF", ", x_ratelimit_option: DRAFT_VERSION_03", True),
            ("DRAFT_VERSION_03", "", True),
            ("DRAFT_VERSION_03", ", x_ratelimit_option: 'OFF'", False),
        ):
            self.make(f"enable_x_ratelimit_headers: '{of}', {held}, {limit % option}")
            response = ResponseHeaders(200)
            self.limit.responseHeaders(self.send(), response, True)
            self.assertEqual(response.get(b"x-ratelimit-limit"), b"3" if isShown else None, (of, option))
        self.make(held)
        self.assertTrue(self.limit.config[0].mayShow)

    def test_refused(self) -> None:
        """
        Two descriptors of the same entries are refused.
        """
        held = f"{{entries: [{{key: a, value: b}}], token_bucket: {SLOW % 1}}}"
        with self.assertRaises(ConfigErrors) as caught:
            self.make(f"descriptors: [{held}, {held}]")
        self.assertEqual([error.path for error in caught.exception.errors], ["descriptors[1]"])


class DescriptorTests(LimitTestCase):
    """
    Buckets for requests that share some property.
    """

    def describe(self, *descriptors: str, more: str = "") -> None:
        """
        A filter whose requests are described by two headers each, with 100 tokens for all.
        """
        limits = ", ".join(
            f"{{actions: [{{generic_key: {{descriptor_value: {name}}}}},"
            f" {{request_headers: {{header_name: {name}, descriptor_key: k}}}}]}}"
            for name in ("a", "b")
        )
        self.make(
            f"rate_limits: [{limits}], descriptors: [{', '.join(descriptors)}]{more},"
            " enable_x_ratelimit_headers: DRAFT_VERSION_03",
            bucket="token_bucket: {max_tokens: 100, tokens_per_fill: 100, fill_interval: 100s}",
        )

    def limitOf(self, name: str, value: str, size: int, seconds: int = 100) -> str:
        """
        A descriptor with its bucket.
        """
        return (
            f"{{entries: [{{key: generic_key, value: {name}}}, {{key: k, value: '{value}'}}],"
            f" token_bucket: {{max_tokens: {size}, tokens_per_fill: 1, fill_interval: {seconds}s}}}}"
        )

    def test_matched(self) -> None:
        """
        A descriptor that matches has its own limit; all others have the default one.
        """
        self.describe(self.limitOf("a", "1", 2))
        self.assertEqual([self.shown((b"a", b"1"))[:2] for _ in range(2)], [(2, 1), (2, 0)])
        self.assertFalse(self.passes((b"a", b"1")))
        self.assertEqual(
            self.shown((b"a", b"2"))[:2], (100, 97), "the default bucket was taken of, but not by the refused"
        )
        self.assertTrue(self.passes((b"b", b"1")))

    def test_shadow(self) -> None:
        """
        Who is over a limit in shadow mode passes and is counted; the limits after it hold all the same.
        """
        self.make(
            "rate_limits: [{actions: [{request_headers: {header_name: a, descriptor_key: a}}]},"
            " {actions: [{request_headers: {header_name: b, descriptor_key: b}}]}],"
            " descriptors: [{entries: [{key: a}], shadow_mode: true, token_bucket: "
            "{max_tokens: 1, tokens_per_fill: 1, fill_interval: 1000s}}, {entries: [{key: b, value: '1'}],"
            " shadow_mode: true, token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 2000s}}]",
            bucket="token_bucket: " + SLOW % 3,
        )
        self.assertEqual([self.passes((b"a", b"1")) for _ in range(4)], [True, True, True, False])
        counted = self.counts()
        self.assertEqual([counted[name] for name in ("ok", "rate_limited", "shadow_mode", "enforced")], [1, 3, 2, 1])
        self.assertFalse(self.passes((b"a", b"2"), (b"b", b"1")))
        self.assertEqual(self.counts()["shadow_mode"], 2)

    def test_retryAfter(self) -> None:
        """
        A refusal tells in how many seconds there is a token; what passes does not.
        """
        self.make("enable_retry_after_header: true", bucket="token_bucket: " + SLOW % 1)
        self.assertTrue(self.passes())
        self.clock.advance(30)
        (reply,) = self.send().replies
        self.assertEqual(reply[2][b"retry-after"], b"70")

    def test_defaultLeftAlone(self) -> None:
        """
        The default bucket may be left to those that match no descriptor.
        """
        self.describe(self.limitOf("a", "1", 2), more=", always_consume_default_token_bucket: false")
        self.shown((b"a", b"1"))
        self.assertEqual(self.shown()[:2], (100, 99))

    def test_slowestFirst(self) -> None:
        """
        Of several that match, the one that fills slowest is asked first and shown; where it is empty, the others keep
        their tokens.
        """
        self.describe(self.limitOf("a", "1", 9, 10), self.limitOf("b", "1", 1, 50))
        both = ((b"a", b"1"), (b"b", b"1"))
        self.assertEqual(self.shown(*both)[:2], (1, 0))
        self.assertFalse(self.passes(*both))
        self.assertEqual(self.shown((b"a", b"1"))[:2], (9, 7))

    def test_anyValue(self) -> None:
        """
        A descriptor without a value gives each value a bucket of its own, of which only so many are kept.
        """
        self.describe(self.limitOf("a", "", 5), more=", max_dynamic_descriptors: 2")
        seen = [self.shown((b"a", value))[1] for value in (b"x", b"y", b"x", b"z", b"x", b"y")]
        self.assertEqual(seen, [4, 4, 3, 4, 2, 4])

    def test_fixedBeforeAny(self) -> None:
        """
        A value that is named has its own limit, even beside one for all values.
        """
        self.describe(self.limitOf("a", "", 5), self.limitOf("a", "vip", 50))
        self.assertEqual((self.shown((b"a", b"vip"))[0], self.shown((b"a", b"other"))[0]), (50, 5))

    def test_lengthMatters(self) -> None:
        """
        A descriptor is matched as a whole.
        """
        self.describe("{entries: [{key: generic_key, value: a}], token_bucket: %s}" % (SLOW % 1))
        self.assertEqual(self.shown((b"a", b"1"))[0], 100)


class RouteTests(SynchronousTestCase):
    """
    Descriptors that routes and virtual hosts make, in a proxy.
    """

    def statuses(self, path: str, **more: object) -> list[int]:
        """
        What three requests get where one of each kind is allowed.
        """

        def limits(value: str, **fields: object) -> list[dict[str, object]]:
            return [{"actions": [{"generic_key": {"descriptor_value": value}}], **fields}]

        tokens = {"max_tokens": 1, "fill_interval": "3600s"}
        always = {"default_value": {"numerator": 100}}
        config = {
            "stat_prefix": "p",
            "filter_enabled": always,
            "filter_enforced": always,
            "token_bucket": {"max_tokens": 100, "fill_interval": "1s"},
            "descriptors": [
                {"entries": [{"key": "generic_key", "value": value}], "token_bucket": tokens}
                for value in ("host", "staged", "keyed")
            ],
            **more,
        }
        action = {"cluster": "backend"}
        routes = [
            {"match": {"path": "/own"}, "route": {**action, "rate_limits": limits("other")}},
            {
                "match": {"path": "/include"},
                "route": {**action, "rate_limits": limits("other"), "include_vh_rate_limits": True},
            },
            {"match": {"path": "/stage"}, "route": {**action, "rate_limits": limits("staged", stage=3)}},
            {"match": {"path": "/keyed"}, "route": {**action, "rate_limits": limits("keyed", disable_key="k")}},
            {"match": {"path": "/direct"}, "direct_response": {"status": 200}},
            {"match": {"prefix": "/"}, "route": action},
        ]
        harness = FilterHarness(LocalRateLimit, config, routes=routes, virtualHost={"rate_limits": limits("host")})
        return [harness.request("GET", path).status for _ in range(3)]

    def test_virtualHost(self) -> None:
        """
        Those of the virtual host count where the route has none, or says so, or the filter does.
        """
        limited, free = [200, 429, 429], [200] * 3
        self.assertEqual(self.statuses("/"), limited)
        self.assertEqual(self.statuses("/own"), free)
        self.assertEqual(self.statuses("/include"), limited)
        self.assertEqual(self.statuses("/own", vh_rate_limits="INCLUDE"), limited)
        self.assertEqual(self.statuses("/", vh_rate_limits="IGNORE"), free)

    def test_stage(self) -> None:
        """
        Only those of the filter's stage count.
        """
        self.assertEqual(self.statuses("/stage"), [200] * 3)
        self.assertEqual(self.statuses("/stage", stage=3), [200, 429, 429])

    def test_disableKey(self) -> None:
        """
        One with a C{disable_key} is for other filters.
        """
        self.assertEqual(self.statuses("/keyed"), [200] * 3)

    def test_noAction(self) -> None:
        """
        A route that forwards nothing has no limits.
        """
        self.assertEqual(self.statuses("/direct"), [200] * 3)

    def test_ownLimits(self) -> None:
        """
        The filter's own C{rate_limits} take the place of all of them, and may count a request for several.
        """
        own = [{"actions": [{"generic_key": {"descriptor_value": "keyed"}}]}]
        self.assertEqual(self.statuses("/own", rate_limits=own), [200, 429, 429])
        self.assertEqual(self.statuses("/own", rate_limits=[{**own[0], "hits_addend": {"number": 2}}]), [429] * 3)


class SharedTests(LimitTestCase):
    """
    C{local_cluster_rate_limit}.
    """

    def share(self, members: int, more: str = "") -> list[bool]:
        """
        Which of four requests pass, where there are so many proxies.
        """
        self.context = makeContext()
        zone = LocalZone("proxies", Locality(), lambda key, default: default)
        zone.membersChanged([Endpoint(Address("192.0.2.1", number)) for number in range(members)])
        context = replace(self.context, clusters=cast(Any, SimpleNamespace(zone=zone)))
        text = f"{{stat_prefix: lim, {ON}, {TWO}, local_cluster_rate_limit: {{}}{more}}}"
        self.limit = makeFilter(LocalRateLimit, text, context)
        return [self.passes() for _ in range(4)]

    def test_share(self) -> None:
        """
        A request takes as many tokens as there are proxies, of a descriptor's bucket too.
        """
        self.assertEqual(self.share(0), [True, True, False, False])
        self.assertEqual(self.share(1), [True, True, False, False])
        self.assertEqual(self.share(2), [True, False, False, False])
        self.assertEqual(self.share(3), [False] * 4)
        descriptors = (
            ", always_consume_default_token_bucket: false, descriptors: [{entries: [{key: k, value: v}],"
            f" token_bucket: {SLOW % 5}}}], rate_limits: [{{actions: [{{generic_key:"
            " {descriptor_key: k, descriptor_value: v}}]}]"
        )
        self.assertEqual(self.share(2, descriptors), [True, True, False, False])

    def test_refused(self) -> None:
        """
        Somebody has to tell of the other proxies, and connections share nothing.
        """
        for zone, more in ((None, ""), (object(), ", local_rate_limit_per_downstream_connection: true")):
            context = replace(makeContext(), clusters=cast(Any, SimpleNamespace(zone=zone)))
            text = f"{{stat_prefix: lim, {ON}, {TWO}, local_cluster_rate_limit: {{}}{more}}}"
            with self.assertRaises(ConfigErrors) as caught:
                makeFilter(LocalRateLimit, text, context)
            self.assertIn("local_cluster_rate_limit", str(caught.exception))
