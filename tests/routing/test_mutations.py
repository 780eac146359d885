# -*- test-case-name: tests.routing.test_mutations -*-
"""
Tests for L{meshproxy.routing.mutations} and L{meshproxy.routing.values}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.routing.mutations import chain, compileHeaderMutations, compileHeaderOptions
from tests.routing.support import request, section, streamOf


def add(key: str, value: str, **fields: Any) -> dict[str, Any]:
    """
    A HeaderValueOption.
    """
    return {"header": {"key": key, "value": value}, **fields}


def level(options: list[dict[str, Any]], remove: tuple[str, ...] = ()) -> Section:
    """
    A level of a configuration with request headers to change.
    """
    return section("Route", request_headers_to_add=options, request_headers_to_remove=list(remove))


def mutated(
    headers: RequestHeaders, options: list[dict[str, Any]], remove: tuple[str, ...] = ()
) -> list[tuple[bytes, bytes]]:
    """
    The headers of a request after a mutation.
    """
    made = level(options, remove)
    mutate = compileHeaderOptions(made, "request_headers_to_add", "request_headers_to_remove")
    made.report.raiseIfAny()
    if mutate is not None:
        mutate(headers, streamOf(headers))
    return list(headers.fields())


# One list that exercises everything, as it was given to Envoy 1.40.
OPTIONS = [
    add("x-a", "A%REQ(x-a)%"),
    add("x-b", "B", append_action="ADD_IF_ABSENT"),
    add("x-c", "C", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
    add("x-d", "D", append_action="OVERWRITE_IF_EXISTS"),
    add("x-e", "%REQ(nope)%"),
    add("x-f", "%REQ(nope)%", keep_empty_value=True),
    add("x-g", ""),
    add("x-h", "", keep_empty_value=True),
    add("x-i", "%REQ(x-c)%"),
    add("x-j", "one", append=False),
    add("x-j", "two", append=False),
    add("x-k", "1"),
    add("x-k", "2"),
    add("X-L", "100%%"),
    add("x-m", "a%REQ(nope)%b"),
    add("x-n", "%REQ(x-multi)%"),
    add("x-c", "C2", append_action="ADD_IF_ABSENT"),
    add("x-b", "B2", append_action="ADD_IF_ABSENT"),
]


class HeaderOptionsTests(SynchronousTestCase):
    """
    L{compileHeaderOptions} does what Envoy does.
    """

    def test_recordedOnPresentHeaders(self) -> None:
        """
        Remove, then evaluate, then overwrite in place, then add; the values see what was there before.
        """
        headers = request(rm="1", x_a="a", x_b="b", x_multi=["m1", "m2"], x_c=["c1", "c2"])
        expected = [
            *((b"x-forwarded-proto", b"http"), (b"x-b", b"b"), (b"x-multi", b"m1"), (b"x-multi", b"m2")),
            *((b"x-c", b"C"), (b"x-j", b"two"), (b"x-a", b"A"), (b"x-f", b""), (b"x-h", b""), (b"x-i", b"c1")),
            *((b"x-k", b"1"), (b"x-k", b"2"), (b"x-l", b"100%"), (b"x-m", b"ab"), (b"x-n", b"m1")),
        ]
        self.assertEqual(mutated(headers, OPTIONS, ("rm", "X-A")), expected)

    def test_recordedOnAbsentHeaders(self) -> None:
        """
        What is added where it is absent was absent before all of them.
        """
        expected = {
            *((b"x-forwarded-proto", b"http"), (b"x-c", b"C"), (b"x-d", b"D"), (b"x-j", b"two"), (b"x-a", b"A")),
            *((b"x-b", b"B"), (b"x-f", b""), (b"x-h", b""), (b"x-k", b"1"), (b"x-k", b"2"), (b"x-l", b"100%")),
            *((b"x-m", b"ab"), (b"x-c", b"C2"), (b"x-b", b"B2")),
        }
        self.assertEqual(set(mutated(request(x_d="d"), OPTIONS, ("rm",))), expected)

    def test_constants(self) -> None:
        """
        Constants take a way of their own, with the same outcome: several values collapse when they are overwritten
        and stay when one is added.
        """
        options = [add("x-c", "C", append=False), add("x-k", "3"), add("x-new", "n"), add("x-new", "m", append=True)]
        fields = mutated(request(x_c=["1", "2"], x_k=["1", "2"]), options)
        self.assertEqual(
            fields[1:],
            [
                *((b"x-c", b"C"), (b"x-k", b"1"), (b"x-k", b"2"), (b"x-k", b"3"), (b"x-new", b"n")),
                (b"x-new", b"m"),
            ],
        )

    def test_removesEveryValue(self) -> None:
        """
        A header goes with all its values.
        """
        self.assertEqual(mutated(request(x_c=["1", "2"]), [], ("x-c",)), [(b"x-forwarded-proto", b"http")])

    def test_nothing(self) -> None:
        """
        Nothing to do compiles to nothing, also where an empty value is all there is.
        """
        self.assertIsNone(compileHeaderOptions(level([]), "request_headers_to_add", "request_headers_to_remove"))
        self.assertIsNone(compileHeaderOptions(level([add("x", "")]), "request_headers_to_add"))

    def test_response(self) -> None:
        """
        Operators about the response see it.
        """
        made = section("Route", response_headers_to_add=[add("x-code", "%RESP(x-up)%-%REQ(x-a)%")])
        mutate = compileHeaderOptions(made, "response_headers_to_add", "response_headers_to_remove")
        assert mutate is not None
        info = streamOf(request(x_a="a"))
        headers = info.responseHeaders = ResponseHeaders(200, [(b"x-up", b"1")])
        mutate(headers, info)
        self.assertEqual(headers.get(b"x-code"), b"1-a")

    def test_refused(self) -> None:
        """
        Pseudo-header fields and the host have other ways to be changed; both forms of C{append} contradict; an
        operator that is not known is told where it stands.
        """
        for made, path in (
            (level([add(":path", "/")]), "request_headers_to_add[0].header.key"),
            (level([add("Host", "h")]), "request_headers_to_add[0].header.key"),
            (level([add("a", "b", append=True, append_action="ADD_IF_ABSENT")]), "request_headers_to_add[0].append"),
            (level([add("a", "%NOPE%")]), "request_headers_to_add[0].header.value"),
            (level([add("a", "100%")]), "request_headers_to_add[0].header.value"),
            (level([], ("x", ":path")), "request_headers_to_remove[1]"),
            (level([], ("HOST",)), "request_headers_to_remove[0]"),
        ):
            compileHeaderOptions(made, "request_headers_to_add", "request_headers_to_remove")
            self.assertEqual([error.path for error in made.report.errors], [path])


class HeaderMutationsTests(SynchronousTestCase):
    """
    L{compileHeaderMutations} works through Envoy's C{HeaderMutation} messages.
    """

    def compiled(self, *mutations: dict[str, Any]) -> list[Section]:
        """
        Sections of HeaderMutation.
        """
        return [Section.of("envoy.config.common.mutation_rules.v3.HeaderMutation", each) for each in mutations]

    def test_inOrder(self) -> None:
        """
        Recorded from Envoy 1.40: each sees what the one before it did.
        """
        mutate = compileHeaderMutations(
            self.compiled(
                {"append": add("x-a", "1")},
                {"remove": "X-A"},
                {"append": add("x-b", "%REQ(x-c)%")},
                {"append": add("x-c", "z", append_action="OVERWRITE_IF_EXISTS_OR_ADD")},
                {"append": add("x-d", "%REQ(x-c)%")},
                {"append": add("x-e", "%REQ(nope)%")},
                {"append": add("x-f", "", keep_empty_value=True)},
                {"remove_on_match": {"key_matcher": {"prefix": "rm-"}}},
            )
        )
        assert mutate is not None
        headers = request(x_c="c0", rm_a="1", rm_b=["2", "3"], x_a="0")
        mutate(headers, streamOf(headers))
        self.assertEqual(
            set(headers.fields()),
            {(b"x-forwarded-proto", b"http"), (b"x-b", b"c0"), (b"x-c", b"z"), (b"x-d", b"z"), (b"x-f", b"")},
        )

    def test_neighbours(self) -> None:
        """
        Constants side by side act one after the other all the same, also on one name, and keep their order.
        """
        mutate = compileHeaderMutations(
            self.compiled(
                {"append": add("x-a", "1")},
                {"append": add("x-a", "2")},
                {"append": add("x-b", "1", append_action="OVERWRITE_IF_EXISTS_OR_ADD")},
                {"append": add("x-a", "3", append_action="OVERWRITE_IF_EXISTS_OR_ADD")},
                {"append": add("x-a", "4")},
                {"append": add("x-empty", "")},
                {"append": add("x-a", "5", append_action="ADD_IF_ABSENT")},
                {"append": add("x-c", "6", append_action="ADD_IF_ABSENT")},
            )
        )
        assert mutate is not None
        headers = request(x_a=["0", "00"])
        mutate(headers, streamOf(headers))
        expected = [(b"x-a", b"3"), (b"x-a", b"4"), (b"x-b", b"1"), (b"x-c", b"6")]
        self.assertEqual(list(headers.fields())[1:], expected)

    def test_refused(self) -> None:
        """
        What makes a head a head stays.
        """
        for mutation in ({"append": add(":path", "/")}, {"remove": ":path"}, {"remove": "Host"}):
            [made] = self.compiled(mutation)
            compileHeaderMutations([made])
            self.assertEqual(len(made.report.errors), 1)


class ChainTests(SynchronousTestCase):
    """
    L{chain} joins mutations.
    """

    def test_lengths(self) -> None:
        """
        None, one, two and more, in order, with gaps left out.
        """

        def step(name: bytes) -> Any:
            return lambda headers, info: headers.add(b"x", name)

        self.assertIsNone(chain([None, None]))
        for names in ([b"1"], [b"1", b"2"], [b"1", b"2", b"3"]):
            joined = chain([None, *map(step, names), None])
            assert joined is not None
            headers = HeaderMap()
            joined(headers, StreamInfo())
            self.assertEqual(headers.values(b"x"), names)
