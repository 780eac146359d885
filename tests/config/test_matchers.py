# -*- test-case-name: tests.config.test_matchers -*-
"""
Tests for L{meshproxy.config.matchers}. Tables marked as recorded were recorded from Envoy 1.40.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.matchers import (
    compileHeaderMatcher,
    compileHeaderMatchers,
    compileListStringMatcher,
    compilePathMatcher,
    compileQueryMatchers,
    compileQueryParameterMatcher,
    compileStringMatcher,
    parseInteger,
    parseQuery,
    withoutQuery,
)
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders


def string(**fields: Any) -> Section:
    """
    A StringMatcher.
    """
    return Section.of("envoy.type.matcher.v3.StringMatcher", fields)


def header(**fields: Any) -> Section:
    """
    A HeaderMatcher of the header X-h.
    """
    return Section.of("envoy.config.route.v3.HeaderMatcher", {"name": "X-h", **fields})


def query(**fields: Any) -> Section:
    """
    A QueryParameterMatcher of the parameter x.
    """
    return Section.of("envoy.config.route.v3.QueryParameterMatcher", {"name": "x", **fields})


class StringMatcherTests(SynchronousTestCase):
    """
    L{compileStringMatcher}, and the matchers made of it.
    """

    def test_kinds(self) -> None:
        """
        Each kind, with and without case.
        """
        for fields, yes, no in (
            ({"exact": "aB"}, b"aB", b"ab"),
            ({"exact": "aB", "ignore_case": True}, b"Ab", b"Abc"),
            ({"prefix": "aB"}, b"aBc", b"abc"),
            ({"prefix": "aB", "ignore_case": True}, b"ABc", b"xab"),
            ({"suffix": "aB"}, b"xaB", b"xab"),
            ({"suffix": "aB", "ignore_case": True}, b"xAb", b"abx"),
            ({"contains": "aB"}, b"xaBx", b"xabx"),
            ({"contains": "aB", "ignore_case": True}, b"xAbx", b"xa"),
            ({"safe_regex": {"regex": "a+"}}, b"aa", b"aab"),
        ):
            test = compileStringMatcher(string(**fields))
            self.assertTrue(test(yes), fields)
            self.assertFalse(test(no), fields)

    def test_foldsOnlyASCII(self) -> None:
        """
        C{ignore_case} is about ASCII letters, as in Envoy.
        """
        self.assertFalse(compileStringMatcher(string(exact="AÉB", ignore_case=True))("aéb".encode()))

    def test_refused(self) -> None:
        """
        A bad expression, one with C{ignore_case}, and no pattern at all are told and match nothing.
        """
        for section, field, words in (
            (string(safe_regex={"regex": "("}), "safe_regex.regex", "missing"),
            (string(safe_regex={"regex": "a"}, ignore_case=True), "ignore_case", "no effect"),
            (string(), "", "is needed"),
        ):
            test = compileStringMatcher(section)
            [error] = section.report.errors
            self.assertEqual(error.path, field)
            self.assertIn(words, error.why)
            self.assertFalse(test(b"b"))

    def test_list(self) -> None:
        """
        One of a list is enough.
        """
        section = Section.of(
            "envoy.type.matcher.v3.ListStringMatcher", {"patterns": [{"exact": "a"}, {"exact": "b"}, {"prefix": "x"}]}
        )
        test = compileListStringMatcher(section)
        self.assertEqual([test(each) for each in (b"a", b"b", b"xy", b"c")], [True, True, True, False])
        exact = compileListStringMatcher(
            Section.of("envoy.type.matcher.v3.ListStringMatcher", {"patterns": [{"exact": "a"}]})
        )
        self.assertEqual([exact(b"a"), exact(b"b")], [True, False])

    def test_path(self) -> None:
        """
        A path matcher does not see the query, nor a fragment.
        """
        test = compilePathMatcher(Section.of("envoy.type.matcher.v3.PathMatcher", {"path": {"exact": "/a"}}))
        self.assertEqual([test(each) for each in (b"/a", b"/a?x=1", b"/a#f", b"/a/b")], [True, True, True, False])
        self.assertEqual(withoutQuery(b"/a?b#c"), b"/a")


# Recorded: the values of one header on several lines, and which matcher takes them.
LINES: list[list[bytes]] = [
    *([], [b"v"], [b""], [b"v", b"v"], [b"ABc"], [b"a", b"b"], [b"5"], [b"-5"], [b"10"], [b"+5"], [b"05"]),
    *([b"99999999999999999999"], [b"5", b"6"], [b"v", b"w"], [b"w", b"v"], [b"v,w"], [b"5", b"11"], [b"11", b"5"]),
]
RECORDED: list[tuple[dict[str, Any], str]] = [
    ({"string_match": {"exact": "v"}}, "010100000000011000"),
    ({"string_match": {"exact": ""}}, "001000000000000000"),
    ({"string_match": {"exact": "v"}, "invert_match": True}, "001011111111100111"),
    (
        {"string_match": {"exact": "v"}, "invert_match": True, "treat_missing_header_as_empty": True},
        "101011111111100111",
    ),
    ({"string_match": {"exact": ""}, "treat_missing_header_as_empty": True}, "101000000000000000"),
    ({"present_match": True}, "011111111111111111"),
    ({"present_match": False}, "100000000000000000"),
    ({"present_match": True, "invert_match": True}, "100000000000000000"),
    ({"present_match": False, "invert_match": True}, "011111111111111111"),
    ({"present_match": True, "treat_missing_header_as_empty": True}, "111111111111111111"),
    ({"present_match": False, "treat_missing_header_as_empty": True}, "000000000000000000"),
    ({}, "011111111111111111"),
    ({"invert_match": True}, "100000000000000000"),
    ({"string_match": {"prefix": "AB", "ignore_case": True}}, "000010000000000000"),
    ({"string_match": {"contains": "b"}}, "000001000000000000"),
    ({"string_match": {"contains": "v,w"}}, "000000000000000100"),
    ({"string_match": {"safe_regex": {"regex": "v"}}}, "010100000000011000"),
    ({"string_match": {"safe_regex": {"regex": "v,w"}}}, "000000000000000100"),
    ({"string_match": {"safe_regex": {"regex": "v"}}, "invert_match": True}, "001011111111100111"),
    ({"range_match": {"start": -5, "end": 10}}, "000000110110100011"),
    ({"range_match": {"start": -5, "end": 10}, "invert_match": True}, "011111001001011100"),
    ({"exact_match": "v"}, "010100000000011000"),
    ({"exact_match": ""}, "011111111111111111"),
    ({"contains_match": "b"}, "000001000000000000"),
    ({"prefix_match": "v"}, "010100000000011100"),
    ({"suffix_match": "c"}, "000010000000000000"),
    ({"safe_regex_match": {"regex": "v"}}, "010100000000011000"),
]


class HeaderMatcherTests(SynchronousTestCase):
    """
    L{compileHeaderMatcher} decides as Envoy does.
    """

    def test_recorded(self) -> None:
        """
        Every form, on a missing header, on one line and on several, which are looked at one by one.
        """
        for fields, expected in RECORDED:
            test = compileHeaderMatcher(header(**fields))
            outcomes = "".join("01"[test(HeaderMap([(b"x-h", value) for value in lines]))] for lines in LINES)
            self.assertEqual(outcomes, expected, fields)

    def test_secondValueCannotHide(self) -> None:
        """
        A deny rule sees a value that stands behind another one; an allow rule by inversion does not believe the
        first alone.
        """
        both = HeaderMap([(b"x-h", b"guest"), (b"x-h", b"admin")])
        self.assertTrue(compileHeaderMatcher(header(string_match={"exact": "admin"}))(both))
        self.assertFalse(compileHeaderMatcher(header(string_match={"exact": "admin"}, invert_match=True))(both))
        self.assertFalse(
            compileHeaderMatcher(header(string_match={"prefix": "adm"}, invert_match=True))(both), "other path"
        )

    def test_pseudoHeaders(self) -> None:
        """
        The attributes of a head are matched by their names, C{host} as well.
        """
        request = RequestHeaders(b"GET", b"/a?b", b"h:80", [])
        for name, value in ((":method", "GET"), (":path", "/a?b"), (":authority", "h:80"), ("Host", "h:80")):
            for kind in ({"string_match": {"exact": value}}, {"present_match": True}, {"prefix_match": value[:1]}):
                test = compileHeaderMatcher(header(name=name, **kind))
                self.assertTrue(test(request), (name, kind))
        status = compileHeaderMatcher(header(name=":status", range_match={"start": 500, "end": 600}))
        self.assertEqual([status(ResponseHeaders(503)), status(ResponseHeaders(200))], [True, False])

    def test_all(self) -> None:
        """
        Several must all hold, whatever their number; none asks nothing.
        """
        self.assertIsNone(compileHeaderMatchers([]))
        for count in (1, 2, 3):
            sections = [header(name=f"x-{index}", present_match=True) for index in range(count)]
            test = compileHeaderMatchers(sections)
            assert test is not None
            names = [b"x-%d" % index for index in range(count)]
            self.assertTrue(test(HeaderMap([(name, b"") for name in names])))
            for missing in names:
                self.assertFalse(test(HeaderMap([(name, b"") for name in names if name != missing])))

    def test_numbers(self) -> None:
        """
        Numbers are what Envoy takes for such: 64 bits, one sign, no underscore and no other digits.
        """
        for text, number in (
            (b"0", 0),
            (b" 7 ", 7),
            (b"-0", 0),
            (b"9223372036854775807", 9223372036854775807),
            (b"9223372036854775808", None),
            (b"-9223372036854775808", -9223372036854775808),
            (b"000000000000000000000012", 12),
            (b"1_0", None),
            (b"--1", None),
            (b"", None),
            (b"1.0", None),
            ("٣".encode(), None),
            (b"9" * 10_000, None),
        ):
            self.assertEqual(parseInteger(text), number, text)


# Recorded: /, /?x, /?x=, /?x=v, /?x=a&x=v, /?x=v&x=a, /?x=a%20b, /?y&x=v, /?%78=v, /?x=v;x=a, /?&&x=v&, /?x==v
QUERIES = [
    *(b"/", b"/?x", b"/?x=", b"/?x=v", b"/?x=a&x=v", b"/?x=v&x=a", b"/?x=a%20b", b"/?y&x=v", b"/?%78=v"),
    *(b"/?x=v;x=a", b"/?&&x=v&", b"/?x==v"),
]


class QueryParameterMatcherTests(SynchronousTestCase):
    """
    L{compileQueryParameterMatcher} decides as Envoy does.
    """

    def test_recorded(self) -> None:
        """
        The first value counts, nothing is decoded, presence may be asked for either way.
        """
        for fields, expected in (
            ({"present_match": True}, "011111110111"),
            ({"present_match": False}, "100000001000"),
            ({}, "011111110111"),
            ({"string_match": {"exact": "v"}}, "000101010010"),
            ({"string_match": {"exact": "a b"}}, "000000000000"),
            ({"string_match": {"exact": ""}}, "011000000000"),
        ):
            test = compileQueryParameterMatcher(query(**fields))
            self.assertEqual("".join("01"[test(parseQuery(path))] for path in QUERIES), expected, fields)

    def test_all(self) -> None:
        """
        Several must all hold.
        """
        self.assertIsNone(compileQueryMatchers([]))
        test = compileQueryMatchers([query(string_match={"exact": "v"}), query(name="y")])
        assert test is not None
        self.assertEqual([test(b"/?x=v&y"), test(b"/?x=v"), test(b"/?y")], [True, False, False])
