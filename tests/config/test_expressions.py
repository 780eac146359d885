"""
Tests for L{meshproxy.config.expressions}.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.expressions import Expression, allOf, anyOf, compileFunction, expressionOf, told
from meshproxy.config.matchers import compileHeaderMatcher, compileHeaderMatchers
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders


def test(expression: Expression) -> Any:
    """
    An expression as a function.
    """
    return compileFunction("headers", [f"return {expression.source}"], expression.names)


# Fields, and whether they make a deep and a wide condition true.
_OUTCOMES = [([b"a"], True, False), ([b"b"], True, False), ([b"a", b"b"], True, True), ([], False, False)]


class ExpressionTests(SynchronousTestCase):
    """
    Expressions are put together to what their functions would do.
    """

    def having(self, name: bytes) -> Expression:
        """
        Whether a field is there.
        """
        return Expression.of("{name} in first", name=name)

    def test_together(self) -> None:
        """
        All, any and not, within each other; the same name stands for different things in each.
        """
        a, b, c = self.having(b"a"), self.having(b"b"), self.having(b"c")
        whole = test(anyOf([allOf([a, b.negated()], "headers"), c], "headers"))
        for there in product((True, False), repeat=3):
            names = [name for name, has in zip((b"a", b"b", b"c"), there, strict=True) if has]
            headers = RequestHeaders(b"GET", b"/", b"", [(name, b"") for name in names])
            self.assertEqual(whole(headers), (there[0] and not there[1]) or there[2])

    def test_order(self) -> None:
        """
        They are asked in their order, and no further than needed.
        """
        asked: list[int] = []

        def condition(number: int, outcome: bool) -> Expression:
            def ask(headers: object) -> bool:
                asked.append(number)
                return outcome

            return expressionOf(ask, "headers")

        headers = RequestHeaders(b"GET", b"/")
        self.assertFalse(test(allOf([condition(1, True), condition(2, False), condition(3, True)], "headers"))(headers))
        self.assertEqual(asked, [1, 2])
        self.assertTrue(test(anyOf([condition(4, False), condition(5, True), condition(6, True)], "headers"))(headers))
        self.assertEqual(asked, [1, 2, 4, 5])

    def test_deep(self) -> None:
        """
        However deep or long a configuration is, it becomes a function.
        """
        deep = wide = self.having(b"a")
        for _ in range(500):
            deep = anyOf([allOf([deep, self.having(b"a")], "headers"), self.having(b"b")], "headers")
        for _ in range(40):
            wide = allOf([wide.negated(), *[self.having(b"b")] * 500], "headers")
        for names, isDeep, isWide in _OUTCOMES:
            headers = RequestHeaders(b"GET", b"/", b"", [(name, b"") for name in names])
            self.assertEqual((test(deep)(headers), test(wide)(headers)), (isDeep, isWide))

    def test_told(self) -> None:
        """
        A function that tells nothing is called.
        """
        calls: list[object] = []
        expression = expressionOf(calls.append, "headers")
        headers = RequestHeaders(b"GET", b"/")
        test(expression)(headers)
        self.assertEqual(calls, [headers])
        self.assertIs(told(test, "{a}", a=1), test)


class MatcherTests(SynchronousTestCase):
    """
    What header matchers tell is what they do.
    """

    def test_same(self) -> None:
        """
        Every kind, on requests with none, one and several values.
        """
        kinds: list[dict[str, Any]] = [
            {},
            {"present_match": True},
            {"present_match": False},
            {"exact_match": "v"},
            {"prefix_match": "v"},
            {"suffix_match": "v"},
            {"range_match": {"start": 1, "end": 5}},
            *[{"string_match": {kind: "v"}} for kind in ("exact", "prefix", "suffix", "contains")],
            {"string_match": {"exact": "V", "ignore_case": True}},
            {"string_match": {"safe_regex": {"regex": "v+"}}},
        ]
        values = [[], [b"v"], [b"w"], [b"w", b"v"], [b"v", b"w"], [b""], [b"3"], [b"vv"], [b"w", b"x"]]
        for kind, invert, empty, name in product(kinds, (False, True), (False, True), ("x-h", ":method", "host")):
            fields = {"name": name, **kind, "invert_match": invert, "treat_missing_header_as_empty": empty}
            matcher = compileHeaderMatcher(Section.of("envoy.config.route.v3.HeaderMatcher", fields))
            quick = test(expressionOf(matcher, "headers"))
            for value in values:
                method = value[0] if value else b"GET"
                headers = RequestHeaders(method, b"/", value[0] if value else b"", [(b"x-h", each) for each in value])
                self.assertEqual(quick(headers), matcher(headers), (fields, value))

    def test_several(self) -> None:
        """
        A list of them.
        """
        wanted = [("x-a", "1"), ("x-b", "2"), ("x-c", "3")]
        for number in range(1, 4):
            sections = [
                Section.of("envoy.config.route.v3.HeaderMatcher", {"name": name, "string_match": {"exact": value}})
                for name, value in wanted[:number]
            ]
            matcher = compileHeaderMatchers(sections)
            assert matcher is not None
            quick = test(expressionOf(matcher, "headers"))
            for there in product((True, False), repeat=3):
                pairs = [(n.encode(), v.encode()) for (n, v), has in zip(wanted, there, strict=True) if has]
                headers = RequestHeaders(b"GET", b"/", b"", pairs)
                self.assertEqual(quick(headers), all(there[:number]))
                self.assertEqual(matcher(headers), all(there[:number]))
