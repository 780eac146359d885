"""
Some filters put a quicker method in the place of their general one, for what most requests of a mesh are. Whatever
comes, it does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.fault import Fault
from meshproxy.filters.http.header_mutation import HeaderMutation
from meshproxy.filters.http.local_ratelimit import LocalRateLimit
from meshproxy.filters.http.rbac import RBAC
from meshproxy.headers import ResponseHeaders
from meshproxy.http.filter import HTTPFilter
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed

READERS = """
rules:
  policies:
    readers:
      permissions: [{header: {name: ":method", string_match: {exact: GET}}}]
      principals: [{not_id: {header: {name: x-banned, present_match: true}}}]
"""


class QuickTests(SynchronousTestCase):
    """
    The quick method and the general one, side by side.
    """

    def seen(self, kind: type[HTTPFilter], text: str, isQuick: bool, levels: Sequence[str]) -> list[object]:
        """
        What a filter does with requests and responses of several kinds: without a route, on routes that say nothing to
        it, and on others.

        @param levels: What those say.
        """
        context = makeContext()
        made = makeFilter(kind, text, context)
        if isQuick:
            self.assertTrue({"requestHeaders", "responseHeaders"} & set(vars(made)), "there is no quick method")
        request = made.requestHeaders if isQuick else lambda *given: kind.requestHeaders(made, *given)
        response = made.responseHeaders if isQuick else lambda *given: kind.responseHeaders(made, *given)
        told: list[object] = []
        routes = [None, routed(), *(routed(compiled(kind, each, context, True)) for each in levels), routed()]
        for route in routes:
            for pairs in ([], [(b"x-banned", b"1")], [(b"x-fault", b"abort")], [(b"x-internal", b"1"), (b"x-a", b"1")]):
                for method in (b"GET", b"POST"):
                    stream = FakeStream([*pairs, (b"x-a", b"2")], method=method)
                    stream.route = route
                    verdict = request(stream, stream.requestHeaders, True)
                    answer = ResponseHeaders(200, [(b"x-b", b"1"), (b"x-b", b"2")])
                    response(stream, answer, False)
                    told += [verdict, stream.replies, list(stream.requestHeaders.fields()), list(answer.fields())]
                    told += [dict(stream.dynamicMetadata or {}), stream.responseFlags]
        told.append({name: int(counter.value) for name, counter in context.store.counters.items()})
        return told

    def assertSame(self, kind: type[HTTPFilter], text: str, *levels: str) -> None:
        """
        Both do the same.
        """
        self.assertEqual(self.seen(kind, text, True, levels), self.seen(kind, text, False, levels))

    def test_rbac(self) -> None:
        """
        Those who may, those who may not, and routes with rules of their own.
        """
        text = READERS.replace("GET", "POST").replace("\n", "\n  ")
        others = f"rbac:{text}"
        self.assertSame(RBAC, READERS, others, "{}")
        self.assertSame(RBAC, READERS.replace("rules:", "rules:\n  action: DENY", 1), others)
        self.assertSame(RBAC, READERS + "rules_stat_prefix: mine\n", others)

    def test_fault(self) -> None:
        """
        Requests that are meant, and those that are not.
        """
        text = (
            "{abort: {http_status: 503, percentage: {numerator: 100}}, headers: [{name: x-fault, string_match: "
            "{exact: abort}}]}"
        )
        self.assertSame(Fault, text, "{abort: {http_status: 500, percentage: {numerator: 100}}}")

    def test_rateLimit(self) -> None:
        """
        A few tokens, and then none.
        """
        text = (
            "{{stat_prefix: p, token_bucket: {{max_tokens: {}, fill_interval: 100s}}, filter_enabled: {{default_value: "
            "{{numerator: 100}}}}, filter_enforced: {{default_value: {{numerator: {}}}}}}}"
        )
        for enforced in (100, 0):
            self.assertSame(LocalRateLimit, text.format(3, enforced), text.format(1, enforced))

    def test_headerMutation(self) -> None:
        """
        Mutations of the filter, with those of a route and without.
        """
        text = (
            "mutations: {request_mutations: [{append: {header: {key: x-a, value: new}, append_action: "
            "OVERWRITE_IF_EXISTS_OR_ADD}}, {remove: x-internal}], response_mutations: [{append: {header: {key: x-b, "
            "value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}"
        )
        self.assertSame(HeaderMutation, text, text.replace("new", "newer"))
