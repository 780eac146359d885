# -*- test-case-name: tests.routing.test_conditions -*-
"""
C{envoy.config.route.v3.RouteMatch}: which requests a route is for.

What a path decides goes into the index of its virtual host; what is left becomes at most two functions: one that
needs the headers alone, which is the usual one, and one for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.expressions import Expression, allOf, compileFunction, expressionOf
from meshproxy.config.matchers import (
    HeadersTest,
    compileHeaderMatchers,
    compileQueryMatchers,
    compileRegexMatcher,
    compileStringMatcher,
    withoutQuery,
)
from meshproxy.config.section import Section
from meshproxy.config.valuematchers import compileFilterStateMatcher, compileMetadataMatcher
from meshproxy.headers import RequestHeaders, isGRPCType
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hashing import cookieValue
from meshproxy.routing.uritemplate import TemplateError, UriTemplate
from meshproxy.runtime import always

__all__ = ["Conditions", "RequestTest", "compileConditions"]

# C{grpc}: by far the most of what asks for it says so in one way.
_IS_GRPC = Expression.of(
    "(contentType := first.get(b'content-type')) == b'application/grpc'"
    " or (contentType is not None and {isGRPCType}(contentType))",
    isGRPCType=isGRPCType,
)

#: Whether a request matches: its head, what is known about it, and its path without the query.
RequestTest: TypeAlias = Callable[[RequestHeaders, StreamInfo, bytes], bool]


class Conditions(NamedTuple):
    """
    Which requests a route is for.

    @ivar exact: The path that it is for, if it is for one.
    @ivar prefix: The prefix that its paths have, if there is one. Both may be set, and one is enough; where neither
        is, all paths have to be tried.
    @ivar matched: How many bytes of the path C{prefix_rewrite} replaces; L{None} for all of it.
    @ivar ignoreCase: Whether C{exact} and C{prefix} are in lower case, for paths in lower case.
    @ivar template: The C{path_match_policy}, whose variables a rewrite may name.
    @ivar isPathless: Whether it is for CONNECT, which may have no path.
    @ivar headers: A condition on the headers, if there is one.
    @ivar others: Any other conditions.
    """

    exact: bytes | None
    prefix: bytes | None
    matched: int | None
    ignoreCase: bool
    isPathless: bool
    headers: HeadersTest | None
    others: RequestTest | None
    template: UriTemplate | None = None

    @property
    def isUnconditional(self) -> bool:
        """
        Whether the path alone decides.
        """
        return self.headers is None and self.others is None

    def withCase(self) -> Conditions:
        """
        The same conditions for an index whose paths are all in lower case.
        """
        if self.ignoreCase:
            return self
        exact, prefix = self.exact, self.prefix
        if exact is None and prefix is None:
            return self

        def isSame(headers: RequestHeaders, info: StreamInfo, path: bytes) -> bool:
            return path == exact or (prefix is not None and path.startswith(prefix))

        return self._replace(
            exact=None if exact is None else exact.lower(),
            prefix=None if prefix is None else prefix.lower(),
            others=_both(isSame, self.others),
        )


def _both(one: RequestTest | None, other: RequestTest | None) -> RequestTest | None:
    if one is None or other is None:
        return one or other
    return lambda headers, info, path: one(headers, info, path) and other(headers, info, path)


def _isConnect(headers: RequestHeaders, info: StreamInfo, path: bytes) -> bool:
    return headers.method == b"CONNECT"


def _queryTest(section: Section) -> RequestTest | None:
    test = compileQueryMatchers(section.children("query_parameters"))
    return None if test is None else lambda headers, info, path: test(headers.path)


def _cookieTest(section: Section) -> RequestTest | None:
    """
    C{cookies}: all have to match.
    """
    tests = tuple(
        (each.get("name").encode("utf-8"), compileStringMatcher(each.childOrEmpty("string_match")), invert)
        for each in section.children("cookies")
        for invert in (each.get("invert_match"),)
    )
    if not tests:
        return None

    def matches(headers: RequestHeaders, info: StreamInfo, path: bytes) -> bool:
        for name, test, invert in tests:
            value = cookieValue(headers, name)
            if (value is not None and test(value)) is invert:
                return False
        return True

    return matches


def _fractionTest(section: Section, context: RouteContext) -> RequestTest | None:
    decide = context.runtime.fraction(section.child("runtime_fraction"), always)
    return None if decide is always else lambda headers, info, path: decide()


def _metadataTest(section: Section) -> RequestTest | None:
    tests = tuple(map(compileMetadataMatcher, section.children("dynamic_metadata")))
    if not tests:
        return None
    return lambda headers, info, path: all(test(info.dynamicMetadata) for test in tests)


def _regexTest(section: Section) -> RequestTest | None:
    regex = compileRegexMatcher(section.child("safe_regex"))
    if regex is None:
        return None
    fullMatch = regex.fullMatch
    return lambda headers, info, path: fullMatch(path)


def _stateTest(section: Section) -> RequestTest | None:
    tests = tuple(map(compileFilterStateMatcher, section.children("filter_state")))
    if not tests:
        return None
    return lambda headers, info, path: all(test(info.filterState) for test in tests)


def _tlsTest(section: Section) -> RequestTest | None:
    """
    C{tls_context}: whether the client presented a certificate, and whether it was found good. On cleartext it is
    neither.
    """
    child = section.child("tls_context")
    wanted = [
        (attribute, child.wrapped(field, False))
        for field, attribute in (("presented", "isPresented"), ("validated", "isValidated"))
        if child is not None and child.has(field)
    ]
    if not wanted:
        return None

    def matches(headers: RequestHeaders, info: StreamInfo, path: bytes) -> bool:
        tls = info.connection.tls
        return all(bool(getattr(tls, attribute, False)) is value for attribute, value in wanted)

    return matches


def _compileTemplate(section: Section) -> UriTemplate | None:
    """
    Compile a C{path_match_policy}.
    """
    policy = section.childOrEmpty("path_match_policy").any("typed_config")
    if policy is None:
        section.refuse("a path_match_policy needs a typed_config", "path_match_policy")
        return None
    try:
        return UriTemplate(policy.get("path_template"))
    except TemplateError as fault:
        policy.refuse(str(fault), "path_template")
        return None


def compileConditions(section: Section, context: RouteContext) -> Conditions:
    """
    Compile a C{RouteMatch}.
    """
    others: RequestTest | None = None
    exact: bytes | None = None
    prefix: bytes | None = None
    matched: int | None = None
    template: UriTemplate | None = None
    kind = section.oneof("path_specifier")
    ignoreCase = not section.wrapped("case_sensitive", True)
    if kind in ("prefix", "path", "path_separated_prefix"):
        key: bytes = section.get(kind).encode("utf-8")
        matched = len(key)
        key = key.lower() if ignoreCase else key
        exact = None if kind == "prefix" else key
        prefix = key if kind == "prefix" else key + b"/" if kind == "path_separated_prefix" else None
    elif kind == "safe_regex":
        others = _regexTest(section)
    elif kind == "connect_matcher":
        others = _isConnect
    elif kind == "path_match_policy":
        template = _compileTemplate(section)
        if template is not None:
            fullMatch = template.regex.fullMatch
            # As in Envoy, path parameters are part of what it matches, where other conditions are to ignore them, too.
            others = lambda headers, info, path: fullMatch(withoutQuery(headers.path))  # noqa: E731  # as the others
    elif kind is not None:
        section.refuse(f"{kind} is not implemented", kind)
    for test in (
        _fractionTest(section, context),
        _queryTest(section),
        _cookieTest(section),
        _metadataTest(section),
        _stateTest(section),
        _tlsTest(section),
    ):
        others = _both(others, test)
    return Conditions(
        exact, prefix, matched, ignoreCase, kind == "connect_matcher", _headersTest(section), others, template
    )


def _headersTest(section: Section) -> HeadersTest | None:
    """
    C{headers} and C{grpc}, as one function.
    """
    parts = [_IS_GRPC] if section.has("grpc") else []
    tests = compileHeaderMatchers(section.children("headers"))
    if tests is not None:
        parts.append(expressionOf(tests, "headers"))
    if not parts:
        return None
    expression = allOf(parts, "headers")
    made: HeadersTest = compileFunction("headers", [f"return {expression.source}"], expression.names)
    return made
