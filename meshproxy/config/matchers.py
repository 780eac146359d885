# -*- test-case-name: tests.config.test_matchers -*-
"""
Envoy's common matchers, compiled to plain functions: strings, paths, headers, query parameters.

Whoever compiles one calls the function per request; there is no matcher object. A matcher that cannot be compiled is
refused at its place in the configuration and matches nothing. Those of headers tell what they do with the head of a
request, so that several become one function (L{meshproxy.config.expressions}).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from meshproxy.config.expressions import Expression, expressionOf, told
from meshproxy.config.expressions import allOf as allExpressions
from meshproxy.config.regex import Regex, RegexError, compileRegex, compileSubstitution
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap, RequestHeaders

__all__ = [
    "BytesTest",
    "HeadersTest",
    "QueryTest",
    "allOf",
    "compileHeaderMatcher",
    "compileHeaderMatchers",
    "compileListStringMatcher",
    "compilePathMatcher",
    "compileQueryMatchers",
    "compileQueryParameterMatcher",
    "compileRegexMatcher",
    "compileStringMatcher",
    "compileSubstitute",
    "parseInteger",
    "parseQuery",
    "withoutQuery",
]

#: Whether some bytes match.
BytesTest = Callable[[bytes], bool]
#: Whether the headers match.
HeadersTest = Callable[[HeaderMap], bool]
#: Whether the parameters of L{parseQuery} match.
QueryTest = Callable[[dict[bytes, bytes]], bool]


def _never(value: object) -> bool:
    return False


# absl::SimpleAtoi, which Envoy reads numbers with: white space around, one sign, decimal digits, 64 bits.
_integer = re.compile(rb"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,19})[ \t\n\v\f\r]*\Z").match
_INT64_MIN = -(1 << 63)
_INT64_MAX = (1 << 63) - 1
_endOfPath = re.compile(rb"[?#]").search


def parseInteger(value: bytes) -> int | None:
    """
    A signed 64-bit integer as Envoy reads it from a header, or L{None} where it is none.
    """
    found = _integer(value)
    if found is None:
        return None
    # The digits are known to be ASCII, so int() has no other spelling to accept.
    number = int(found[1] + found[2])
    return number if _INT64_MIN <= number <= _INT64_MAX else None


def withoutQuery(path: bytes) -> bytes:
    """
    A path up to its query or fragment.
    """
    found = _endOfPath(path)
    return path if found is None else path[: found.start()]


# Strings


def compileRegexMatcher(section: Section | None) -> Regex | None:
    """
    Compile C{envoy.type.matcher.v3.RegexMatcher}.

    @return: L{None} where it is missing or was refused.
    """
    if section is None:
        return None
    try:
        return compileRegex(section.get("regex"))
    except RegexError as fault:
        section.refuse(str(fault), "regex")
        return None


def compileSubstitute(section: Section) -> Callable[[bytes], bytes]:
    """
    Compile C{envoy.type.matcher.v3.RegexMatchAndSubstitute}: every match replaced.
    """
    pattern = section.child("pattern")
    if pattern is not None:
        try:
            return compileSubstitution(pattern.get("regex"), section.get("substitution"))
        except RegexError as fault:
            section.refuse(str(fault))
    return lambda subject: subject


def compileStringMatcher(section: Section) -> BytesTest:
    """
    Compile C{envoy.type.matcher.v3.StringMatcher}.
    """
    kind = section.oneof("match_pattern")
    ignoreCase: bool = section.get("ignore_case")
    if kind == "safe_regex":
        if ignoreCase:
            section.refuse("ignore_case has no effect for safe_regex: write (?i) in the expression", "ignore_case")
        regex = compileRegexMatcher(section.child("safe_regex"))
        return _never if regex is None else regex.fullMatch
    if kind is None or kind == "custom":
        section.refuse("one of exact, prefix, suffix, contains, safe_regex is needed", kind or "")
        return _never
    return _stringTest(kind, section.get(kind).encode("utf-8"), ignoreCase)


def _stringTest(kind: str, wanted: bytes, ignoreCase: bool = False) -> BytesTest:
    if ignoreCase:
        # Envoy folds ASCII letters only, as bytes.lower does.
        sensitive = _stringTest(kind, wanted.lower())
        return lambda value: sensitive(value.lower())
    if kind == "exact":
        return wanted.__eq__
    if kind == "prefix":
        return told(lambda value: value.startswith(wanted), "value.startswith({wanted})", wanted=wanted)
    if kind == "suffix":
        return told(lambda value: value.endswith(wanted), "value.endswith({wanted})", wanted=wanted)
    return told(lambda value: wanted in value, "{wanted} in value", wanted=wanted)


def compileListStringMatcher(section: Section) -> BytesTest:
    """
    Compile C{envoy.type.matcher.v3.ListStringMatcher}: one of them matches.
    """
    exact: set[bytes] = set()
    others: list[BytesTest] = []
    for pattern in section.children("patterns"):
        if pattern.oneof("match_pattern") == "exact" and not pattern.get("ignore_case"):
            exact.add(pattern.get("exact").encode("utf-8"))
        else:
            others.append(compileStringMatcher(pattern))
    if not others:
        return frozenset(exact).__contains__

    def oneOf(value: bytes) -> bool:
        if value in exact:
            return True
        for test in others:
            if test(value):
                return True
        return False

    return oneOf


def compilePathMatcher(section: Section) -> BytesTest:
    """
    Compile C{envoy.type.matcher.v3.PathMatcher}, which looks at a C{:path} up to its query or fragment.
    """
    path = section.child("path")
    if path is None:
        section.refuse("path is needed")
        return _never
    test = compileStringMatcher(path)
    if path.oneof("match_pattern") == "prefix" and not _endOfPath(path.get("prefix").encode("utf-8")):
        # What has neither query nor fragment in it begins the whole target exactly if it begins the path.
        return test
    return lambda target: test(withoutQuery(target))


# Headers

# The deprecated fields that say what string_match.* says.
_OLD_STRING_FIELDS = {"exact_match": "exact", "prefix_match": "prefix", "suffix_match": "suffix"}
_OLD_STRING_FIELDS["contains_match"] = "contains"


def compileHeaderMatcher(section: Section) -> HeadersTest:
    """
    Compile C{envoy.config.route.v3.HeaderMatcher}.

    Each value of the header is looked at alone, and one that matches is enough: Envoy does so since CVE-2026-26308.
    C{invert_match} turns the outcome of all of them around. A missing header matches nothing, inverted or not,
    unless C{treat_missing_header_as_empty} says that it is there and empty.
    """
    name = section.get("name").lower().encode("utf-8")
    invert: bool = section.get("invert_match")
    missingIsEmpty: bool = section.get("treat_missing_header_as_empty")
    kind = section.oneof("header_match_specifier")
    # Envoy: exact_match with no text is the old way to ask for presence.
    if kind is None or kind == "present_match" or (kind == "exact_match" and not section.get(kind)):
        wanted: bool = section.get("present_match") if kind == "present_match" else True
        return _presenceTest(name, wanted != invert, missingIsEmpty)
    if kind == "string_match":
        child = section.childOrEmpty(kind)
        if child.oneof("match_pattern") == "exact" and not child.get("ignore_case"):
            return _equalityTest(name, child.get("exact").encode("utf-8"), invert, missingIsEmpty)
        return _valueTest(name, compileStringMatcher(child), invert, missingIsEmpty)
    if kind == "exact_match":
        return _equalityTest(name, section.get(kind).encode("utf-8"), invert, missingIsEmpty)
    return _valueTest(name, _oldValueTest(section, kind), invert, missingIsEmpty)


def _oldValueTest(section: Section, kind: str) -> BytesTest:
    if kind == "safe_regex_match":
        regex = compileRegexMatcher(section.child(kind))
        return _never if regex is None else regex.fullMatch
    if kind == "range_match":
        within = section.childOrEmpty(kind)
        return _rangeTest(within.get("start"), within.get("end"))
    return _stringTest(_OLD_STRING_FIELDS[kind], section.get(kind).encode("utf-8"))


def _rangeTest(start: int, end: int) -> BytesTest:
    def isWithin(value: bytes) -> bool:
        number = parseInteger(value)
        return number is not None and start <= number < end

    return isWithin


def _isPseudo(name: bytes) -> bool:
    # These are attributes of the map, not entries of its dictionary.
    return name[:1] == b":" or name == b"host"


def _presenceTest(name: bytes, wanted: bool, missingIsEmpty: bool) -> HeadersTest:
    if missingIsEmpty:
        return lambda headers: wanted
    if _isPseudo(name):
        return lambda headers: (headers.get(name) is not None) is wanted
    if wanted:
        return told(lambda headers: name in headers.first, "{name} in first", name=name)
    return told(lambda headers: name not in headers.first, "{name} not in first", name=name)


def _equalityTest(name: bytes, wanted: bytes, invert: bool, missingIsEmpty: bool) -> HeadersTest:
    """
    The commonest matcher of all, in as few steps as Python allows.
    """
    if name == b":method" and wanted and not invert and not missingIsEmpty:
        # Requests have it; anything else (trailers) is asked the general way.
        return told(
            lambda headers: (
                headers.method == wanted if isinstance(headers, RequestHeaders) else headers.get(name) == wanted
            ),
            "headers.method == {wanted}",
            wanted=wanted,
        )
    if missingIsEmpty or _isPseudo(name):
        return _valueTest(name, wanted.__eq__, invert, missingIsEmpty)
    if invert:

        def differs(headers: HeaderMap) -> bool:
            value = headers.first.get(name)
            if value is None or value == wanted:
                return False
            return headers.more is None or wanted not in headers.more.get(name, ())

        return differs

    def equals(headers: HeaderMap) -> bool:
        return headers.first.get(name) == wanted or (headers.more is not None and wanted in headers.more.get(name, ()))

    several = "(headers.more is not None and {wanted} in headers.more.get({name}, ()))"
    return told(equals, f"first.get({{name}}) == {{wanted}} or {several}", name=name, wanted=wanted)


def _valueTest(name: bytes, test: BytesTest, invert: bool, missingIsEmpty: bool) -> HeadersTest:
    whenMissing = test(b"") is not invert if missingIsEmpty else False

    def anyOfPseudo(headers: HeaderMap) -> bool:
        value = headers.get(name)
        return whenMissing if value is None else test(value) is not invert

    def anyOf(headers: HeaderMap) -> bool:
        value = headers.first.get(name)
        if value is None:
            return whenMissing
        if test(value):
            return not invert
        if headers.more is not None:
            for further in headers.more.get(name, ()):
                if test(further):
                    return not invert
        return invert

    if _isPseudo(name):
        return anyOfPseudo
    if invert or whenMissing:
        return anyOf
    asked = expressionOf(test, "value")
    known = Expression.of("(value := first.get({name})) is not None", name=name)
    further = Expression.of("headers.more is not None and {anyOf}(headers)", anyOf=anyOf)
    source = f"({known.source} and ({asked.source} or {further.source}))"
    anyOf.expression = Expression(source, {**known.names, **asked.names, **further.names})  # type: ignore[attr-defined]
    return anyOf


def allOf(tests: Sequence[HeadersTest]) -> HeadersTest | None:
    """
    One function for several that must all hold; L{None} where there are none.
    """
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    each = tuple(tests)

    def every(headers: HeaderMap) -> bool:
        for test in each:
            if not test(headers):
                return False
        return True

    whole = every
    if len(tests) == 2:
        one, other = tests
        whole = lambda headers: one(headers) and other(headers)  # noqa: E731
    expression = allExpressions([expressionOf(test, "headers") for test in tests], "headers")
    whole.expression = expression  # type: ignore[attr-defined]  # functions take any attribute
    return whole


def compileHeaderMatchers(sections: Sequence[Section]) -> HeadersTest | None:
    """
    Compile a list of header matchers that must all hold; L{None} where the list is empty.
    """
    return allOf([compileHeaderMatcher(section) for section in sections])


# Query parameters


def parseQuery(path: bytes) -> dict[bytes, bytes]:
    """
    The parameters of a path's query, the first value of each name, undecoded as in Envoy's route matching.
    """
    parameters: dict[bytes, bytes] = {}
    start = path.find(b"?")
    if start < 0:
        return parameters
    for pair in path[start + 1 :].split(b"&"):
        name, _, value = pair.partition(b"=")
        if name not in parameters:
            parameters[name] = value
    return parameters


def compileQueryParameterMatcher(section: Section) -> QueryTest:
    """
    Compile C{envoy.config.route.v3.QueryParameterMatcher}: the first value counts.
    """
    name = section.get("name").encode("utf-8")
    kind = section.oneof("query_parameter_match_specifier")
    if kind == "string_match":
        test = compileStringMatcher(section.childOrEmpty(kind))

        def matches(parameters: dict[bytes, bytes]) -> bool:
            value = parameters.get(name)
            return value is not None and test(value)

        return matches
    if kind == "present_match" and not section.get(kind):
        return lambda parameters: name not in parameters
    return lambda parameters: name in parameters


def compileQueryMatchers(sections: Sequence[Section]) -> BytesTest | None:
    """
    Compile a list of query parameter matchers that must all hold into a test of a whole path; L{None} where the list
    is empty.
    """
    if not sections:
        return None
    tests = tuple([compileQueryParameterMatcher(section) for section in sections])

    def every(path: bytes) -> bool:
        parameters = parseQuery(path)
        for test in tests:
            if not test(parameters):
                return False
        return True

    return every
