"""
L{meshproxy.filters.http.header_mutation}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.header_mutation import HeaderMutation
from meshproxy.headers import HeaderMap, ResponseHeaders
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed

WHO = "mutations: {request_mutations: [{append: {header: {key: x-who, value: %s}}}]}"


class HeaderMutationTests(SynchronousTestCase):
    """
    Each list of a C{Mutations} does its part.
    """

    def test_request(self) -> None:
        """
        Request headers are added to, removed by name and removed by pattern.
        """
        text = """
        mutations:
          request_mutations:
          - append: {header: {key: X-Added, value: "of %REQ(x-from)%"}}
          - append: {header: {key: x-set, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
          - append: {header: {key: x-only, value: new}, append_action: OVERWRITE_IF_EXISTS}
          - append: {header: {key: x-set, value: late}, append_action: ADD_IF_ABSENT}
          - remove: X-Drop
          - remove_on_match: {key_matcher: {prefix: x-pre}}
        """
        stream = FakeStream([(b"x-from", b"me"), (b"x-set", b"old"), (b"x-drop", b"1"), (b"x-pre1", b"1")])
        self.assertIsNone(makeFilter(HeaderMutation, text).requestHeaders(stream, stream.requestHeaders, True))
        self.assertEqual(
            list(stream.requestHeaders.fields()), [(b"x-from", b"me"), (b"x-set", b"new"), (b"x-added", b"of me")]
        )

    def test_query(self) -> None:
        """
        Query parameters are mutated after the headers, and may be made of them.
        """
        text = """
        mutations:
          request_mutations: [{append: {header: {key: x-v, value: made}}}]
          query_parameter_mutations: [{append: {record: {key: q, value: "%REQ(x-v)%"}}}]
        """
        stream = FakeStream(path=b"/p?a=1")
        makeFilter(HeaderMutation, text).requestHeaders(stream, stream.requestHeaders, True)
        self.assertEqual(stream.requestHeaders.path, b"/p?a=1&q=made")

    def test_response(self) -> None:
        """
        Response headers are mutated with what is known by then.
        """
        text = "mutations: {response_mutations: [{append: {header: {key: x-for, value: '%REQ(x-from)%'}}}]}"
        stream = FakeStream([(b"x-from", b"me")])
        headers = ResponseHeaders(200, [(b"a", b"b")])
        makeFilter(HeaderMutation, text).responseHeaders(stream, headers, True)
        self.assertEqual(list(headers.fields()), [(b"a", b"b"), (b"x-for", b"me")])

    def test_trailers(self) -> None:
        """
        Trailers of both directions have lists of their own.
        """
        text = """
        mutations:
          request_trailers_mutations: [{remove: t}]
          response_trailers_mutations: [{append: {header: {key: u, value: x}}}]
        """
        mutation = makeFilter(HeaderMutation, text)
        stream = FakeStream()
        request, response = HeaderMap([(b"t", b"1")]), HeaderMap([(b"t", b"1")])
        mutation.requestTrailers(stream, request)
        mutation.responseTrailers(stream, response)
        self.assertEqual((list(request.fields()), list(response.fields())), ([], [(b"t", b"1"), (b"u", b"x")]))

    def _order(self, top: str) -> list[bytes]:
        context = makeContext()
        levels = [compiled(HeaderMutation, WHO % name, context, True) for name in ("table", "vhost", "route")]
        stream = FakeStream(route=routed(*levels))
        makeFilter(HeaderMutation, WHO % "filter" + top, context).requestHeaders(stream, stream.requestHeaders, True)
        return stream.requestHeaders.values(b"x-who")

    def test_levels(self) -> None:
        """
        All levels of a route count: after the filter, the most specific one first.
        """
        self.assertEqual(self._order(""), [b"filter", b"route", b"vhost", b"table"])

    def test_mostSpecificWins(self) -> None:
        """
        With C{most_specific_header_mutations_wins}, the most specific one last.
        """
        top = "\nmost_specific_header_mutations_wins: true"
        self.assertEqual(self._order(top), [b"filter", b"table", b"vhost", b"route"])

    def test_nothing(self) -> None:
        """
        An empty configuration changes nothing, nor does a request without a route.
        """
        stream = FakeStream([(b"a", b"b")], b"/p?z&a")
        stream.route = None
        mutation = makeFilter(HeaderMutation)
        mutation.requestHeaders(stream, stream.requestHeaders, True)
        self.assertEqual((stream.requestHeaders.path, len(stream.requestHeaders)), (b"/p?z&a", 1))

    def test_refused(self) -> None:
        """
        A pseudo-header field is not removed, and a value that is no string makes no parameter; both are told.
        """
        text = """
        mutations:
          request_mutations: [{remove: ":path"}]
          query_parameter_mutations: [{append: {record: {key: q, value: 7}}}]
        """
        with self.assertRaises(ConfigErrors) as caught:
            makeFilter(HeaderMutation, text)
        self.assertEqual(
            sorted(error.path for error in caught.exception.errors),
            ["mutations.query_parameter_mutations[0].append.record.value", "mutations.request_mutations[0].remove"],
        )
