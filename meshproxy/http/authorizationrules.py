# -*- test-case-name: tests.http.test_authorization -*-
"""
The permissions and principals of C{envoy.config.rbac.v3}, compiled to rules that decide and can say why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from meshproxy.config import expressions
from meshproxy.config.cidr import CidrSet, compileAddressMatcher, compileCidrSet
from meshproxy.config.matchers import compileHeaderMatcher, compilePathMatcher, compileStringMatcher, withoutQuery
from meshproxy.config.section import Section
from meshproxy.config.supported import declare
from meshproxy.config.valuematchers import compileMetadataMatcher, lookUp
from meshproxy.headers import RequestHeaders
from meshproxy.net.address import Address
from meshproxy.routing.uritemplate import TemplateError, UriTemplate

__all__ = ["ALWAYS", "Rule", "allRules", "anyRule", "compilePermission", "compilePrincipal", "notRule"]

_RBAC = "envoy.config.rbac.v3."
_MATCHER = "envoy.type.matcher.v3."
_TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_PERMISSIONS = ("any", "header", "url_path", "destination_ip", "destination_port", "destination_port_range", "metadata")
_PRINCIPALS = ("any", "authenticated", "source_ip", "direct_remote_ip", "remote_ip", "header", "url_path", "metadata")

declare(_RBAC + "Permission", *_PERMISSIONS, "requested_server_name", "sourced_metadata", "uri_template")
declare(_RBAC + "Permission", "and_rules", "or_rules", "not_rule")
declare(_RBAC + "Permission.Set", "rules")
declare(_RBAC + "Principal", *_PRINCIPALS, "filter_state", "sourced_metadata", "and_ids", "or_ids", "not_id")
declare(_RBAC + "Principal.Set", "ids")
declare(_RBAC + "Principal.Authenticated", "principal_name")
declare(_RBAC + "SourcedMetadata", "metadata_matcher", "metadata_source")
declare(_MATCHER + "MetadataMatcher", "filter", "path", "value", "invert")
declare(_MATCHER + "MetadataMatcher.PathSegment", "key")
declare(_MATCHER + "ValueMatcher", "null_match", "double_match", "string_match", "bool_match", "present_match")
declare(_MATCHER + "ValueMatcher", "list_match", "or_match")
declare(_MATCHER + "ValueMatcher.NullMatch")
declare(_MATCHER + "DoubleMatcher", "range", "exact")
declare(_MATCHER + "ListMatcher", "one_of")
declare(_MATCHER + "OrMatcher", "value_matchers")
declare(_MATCHER + "FilterStateMatcher", "key", "string_match", "address_match")
declare(_MATCHER + "AddressMatcher", "ranges", "invert_match")
declare(_MATCHER + "PathMatcher", "path")
declare("envoy.type.v3.Int32Range", "start", "end")
declare("xds.core.v3.CidrRange", "address_prefix", "prefix_len")

# C{Any} is the stream: a StreamInfo with the attributes that filters know it by.
Test = Callable[[Any, RequestHeaders], bool]
Tell = Callable[[Any, RequestHeaders], str]
Share = Callable[[Any, RequestHeaders], float]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One condition.

    @ivar test: Whether it holds.
    @ivar why: Why it does not, where it does not: what is there and what is wanted.
    @ivar fact: What is there, where it does.
    @ivar share: How much of it holds, from 0 to 1.
    @ivar always: Whether it holds for everything.
    """

    test: Test
    why: Tell
    fact: Tell
    share: Share
    always: bool = False


ALWAYS: Final = Rule(
    lambda stream, headers: True,
    lambda stream, headers: "nothing fails",
    lambda stream, headers: "anybody may do anything",
    lambda stream, headers: 1.0,
    always=True,
)


def _leaf(test: Test, actual: Tell, wanted: str) -> Rule:
    """
    A condition of its own.

    @param actual: What is there: C{'header x-user is "bob"'}.
    @param wanted: What is wanted: C{'exact "alice"'}.
    """
    return Rule(
        test,
        lambda stream, headers: f"{actual(stream, headers)}, not {wanted}",
        actual,
        lambda stream, headers: float(test(stream, headers)),
    )


# How the test of a rule is called.
_ARGUMENTS: Final = "stream, headers"


def _expression(rule: Rule) -> expressions.Expression:
    return expressions.expressionOf(rule.test, _ARGUMENTS)


def _telling(test: Test, expression: expressions.Expression) -> Test:
    test.expression = expression  # type: ignore[attr-defined]  # functions take any attribute
    return test


def notRule(rule: Rule) -> Rule:
    """
    The opposite.
    """
    test = rule.test
    return Rule(
        _telling(lambda stream, headers: not test(stream, headers), _expression(rule).negated()),
        lambda stream, headers: f"{rule.fact(stream, headers)}, which is excluded",
        rule.why,
        lambda stream, headers: float(not test(stream, headers)),
    )


def allRules(rules: Sequence[Rule]) -> Rule:
    """
    All of them.
    """
    rules = [rule for rule in rules if not rule.always]
    if not rules:
        return ALWAYS
    if len(rules) == 1:
        return rules[0]
    tests = tuple(rule.test for rule in rules)

    def every(stream: Any, headers: RequestHeaders) -> bool:
        for test in tests:
            if not test(stream, headers):
                return False
        return True

    if len(tests) == 2:
        # The usual number; unrolled it costs half.
        first, second = tests
        every = lambda stream, headers: first(stream, headers) and second(stream, headers)  # noqa: E731

    return Rule(
        _telling(every, expressions.allOf([_expression(rule) for rule in rules], _ARGUMENTS)),
        lambda stream, headers: next(rule for rule in rules if not rule.test(stream, headers)).why(stream, headers),
        lambda stream, headers: " and ".join(rule.fact(stream, headers) for rule in rules),
        lambda stream, headers: sum(rule.share(stream, headers) for rule in rules) / len(rules),
    )


def anyRule(rules: Sequence[Rule]) -> Rule:
    """
    One of them.
    """
    for rule in rules:
        if rule.always:
            return rule
    if len(rules) == 1:
        return rules[0]
    tests = tuple(rule.test for rule in rules)

    def some(stream: Any, headers: RequestHeaders) -> bool:
        for test in tests:
            if test(stream, headers):
                return True
        return False

    def why(stream: Any, headers: RequestHeaders) -> str:
        nearest = max(rules, key=lambda rule: rule.share(stream, headers))
        return nearest.why(stream, headers)

    if len(tests) == 2:
        first, second = tests
        some = lambda stream, headers: first(stream, headers) or second(stream, headers)  # noqa: E731

    told: Test = some
    if rules:
        told = _telling(some, expressions.anyOf([_expression(rule) for rule in rules], _ARGUMENTS))
    return Rule(
        told,
        why,
        lambda stream, headers: next(rule for rule in rules if rule.test(stream, headers)).fact(stream, headers),
        lambda stream, headers: max((rule.share(stream, headers) for rule in rules), default=0.0),
    )


# Permissions and principals

Compile = Callable[[Section, str], Rule]


def compilePermission(section: Section) -> Rule:
    """
    Compile C{envoy.config.rbac.v3.Permission}.
    """
    return _compile(section, "rule", _PERMISSION)


def compilePrincipal(section: Section) -> Rule:
    """
    Compile C{envoy.config.rbac.v3.Principal}.
    """
    return _compile(section, "identifier", _PRINCIPAL)


def _compile(section: Section, oneof: str, kinds: Mapping[str, Compile]) -> Rule:
    kind = section.oneof(oneof)
    make = kinds.get(kind or "")
    if make is None:
        # A condition that is left out would let in whom it keeps out.
        section.refuse("not implemented by meshproxy" if kind else "a condition is needed", kind or "")
        return notRule(ALWAYS)
    return make(section, kind or "")


def _any(section: Section, field: str) -> Rule:
    return ALWAYS


def _header(section: Section, field: str) -> Rule:
    matcher = section.childOrEmpty(field)
    name: str = matcher.get("name").lower()
    key = name.encode("utf-8")
    matches = compileHeaderMatcher(matcher)
    hidden = _isSecret(name)

    def actual(stream: Any, headers: RequestHeaders) -> str:
        value = headers.joined(key)
        return f"header {name} is {'hidden' if hidden and value is not None else _shown(value)}"

    wanted = "the one that is wanted" if hidden else _wantedHeader(matcher)
    test: Test = lambda stream, headers: matches(headers)  # noqa: E731
    return _leaf(_telling(test, expressions.expressionOf(matches, "headers")), actual, wanted)


def _urlPath(section: Section, field: str) -> Rule:
    matcher = section.childOrEmpty(field)
    matches = compilePathMatcher(matcher)

    def test(stream: Any, headers: RequestHeaders) -> bool:
        return headers.path != b"" and matches(headers.path)

    asked = expressions.expressionOf(matches, "value")
    expression = expressions.Expression(f'((value := headers.path) != b"" and {asked.source})', asked.names)
    return _leaf(
        _telling(test, expression),
        lambda stream, headers: f"path is {_shown(withoutQuery(headers.path))}",
        _wantedString(matcher.childOrEmpty("path")),
    )


def _uriTemplate(section: Section, field: str) -> Rule:
    config = section.childOrEmpty(field).any("typed_config")
    if config is None or config.typeName != _TEMPLATE:
        section.refuse(f"a uri_template is a {_TEMPLATE}", field)
        return notRule(ALWAYS)
    text: str = config.get("path_template")
    try:
        matches = UriTemplate(text).regex.fullMatch
    except TemplateError as fault:
        config.refuse(str(fault), "path_template")
        return notRule(ALWAYS)
    return _leaf(
        lambda stream, headers: headers.path != b"" and matches(withoutQuery(headers.path)),
        lambda stream, headers: f"path is {_shown(withoutQuery(headers.path))}",
        f"of the form {text}",
    )


def _addressRule(ranges: CidrSet, address: Callable[[Any], Address | None], words: str) -> Rule:
    # The addresses of peers repeat: asking a cache is faster than packing them anew.
    contains = lru_cache(1024)(ranges.containsText)

    def test(stream: Any, headers: RequestHeaders) -> bool:
        found = address(stream)
        return found is not None and contains(found.host)

    def actual(stream: Any, headers: RequestHeaders) -> str:
        found = address(stream)
        return f"{words} is {'unknown' if found is None else found.host}"

    source = _SOURCES.get(address)
    if source is not None:
        told = f"(address := {source}) is not None and {{contains}}(address.host)"
        test = expressions.told(test, told, contains=contains)
    return _leaf(test, actual, "in " + ", ".join(map(str, ranges.ranges)))


def _connectionAddress(stream: Any) -> Address | None:
    found: Address | None = stream.connection.remoteAddress
    return found


def _directAddress(stream: Any) -> Address | None:
    found: Address | None = stream.connection.directRemoteAddress or stream.connection.remoteAddress
    return found


def _remoteAddress(stream: Any) -> Address | None:
    """
    The client, as C{x-forwarded-for} tells it where that is believed.
    """
    found: Address | None = getattr(stream, "remoteAddress", None) or stream.connection.remoteAddress
    return found


def _localAddress(stream: Any) -> Address | None:
    found: Address | None = stream.connection.localAddress
    return found


# What these do, as expressions.
_SOURCES: Mapping[Callable[[Any], Address | None], str] = {
    _connectionAddress: "stream.connection.remoteAddress",
    _directAddress: "(stream.connection.directRemoteAddress or stream.connection.remoteAddress)",
    _localAddress: "stream.connection.localAddress",
}


def _ip(address: Callable[[Any], Address | None], words: str) -> Compile:
    return lambda section, field: _addressRule(compileCidrSet([section.childOrEmpty(field)]), address, words)


def _portRule(start: int, end: int, wanted: str) -> Rule:
    def test(stream: Any, headers: RequestHeaders) -> bool:
        address = stream.connection.localAddress
        return address is not None and address.port is not None and start <= address.port < end

    def actual(stream: Any, headers: RequestHeaders) -> str:
        address = stream.connection.localAddress
        return f"destination port is {'unknown' if address is None else address.port}"

    return _leaf(test, actual, wanted)


def _port(section: Section, field: str) -> Rule:
    port: int = section.get(field)
    return _portRule(port, port + 1, str(port))


def _portRange(section: Section, field: str) -> Rule:
    held = section.childOrEmpty(field)
    start: int = held.get("start")
    end: int = held.get("end")
    if not 0 <= start < end <= 65536:
        held.refuse(f"range start: {start} must be below range end: {end}, and both within the ports there are")
    return _portRule(start, end, f"from {start} to {end - 1}")


def _serverName(section: Section, field: str) -> Rule:
    matcher = section.childOrEmpty(field)
    matches = compileStringMatcher(matcher)
    return _leaf(
        lambda stream, headers: matches(stream.connection.requestedServerName.encode("utf-8")),
        lambda stream, headers: f"requested server name is {_shown(stream.connection.requestedServerName.encode())}",
        _wantedString(matcher),
    )


def _dynamicMetadata(stream: Any) -> Any:
    return stream.dynamicMetadata


def _routeMetadata(stream: Any) -> Any:
    return None if stream.route is None else stream.route.metadata


def _metadataRule(matcher: Section, source: Callable[[Any], Any], words: str) -> Rule:
    matches = compileMetadataMatcher(matcher)
    name: str = matcher.get("filter")
    path = tuple(segment.get("key") for segment in matcher.children("path"))

    def actual(stream: Any, headers: RequestHeaders) -> str:
        return f"{words} {name} {'.'.join(path)} is {_clipped(repr(lookUp(source(stream), name, path)))}"

    return _leaf(lambda stream, headers: matches(source(stream)), actual, "the one that is wanted")


def _metadata(section: Section, field: str) -> Rule:
    return _metadataRule(section.childOrEmpty(field), _dynamicMetadata, "metadata")


def _sourcedMetadata(section: Section, field: str) -> Rule:
    held = section.childOrEmpty(field)
    matcher = held.childOrEmpty("metadata_matcher")
    if held.get("metadata_source") == "ROUTE":
        return _metadataRule(matcher, _routeMetadata, "metadata of the route")
    return _metadataRule(matcher, _dynamicMetadata, "metadata")


def _filterState(section: Section, field: str) -> Rule:
    matcher = section.childOrEmpty(field)
    key: str = matcher.get("key")
    if matcher.oneof("matcher") == "address_match":
        isListed = compileAddressMatcher(matcher.childOrEmpty("address_match"))

        def matches(value: object) -> bool:
            return isinstance(value, Address) and isListed(value.host)
    else:
        test = compileStringMatcher(matcher.childOrEmpty("string_match"))

        def matches(value: object) -> bool:
            return test(str(value).encode("utf-8", "surrogateescape"))

    def holds(stream: Any, headers: RequestHeaders) -> bool:
        state = stream.filterState
        return state is not None and key in state and matches(state[key])

    def actual(stream: Any, headers: RequestHeaders) -> str:
        there = stream.filterState is not None and key in stream.filterState
        return f"filter state {key} is {'another one' if there else 'missing'}"

    return _leaf(holds, actual, "the one that is wanted")


def _authenticated(section: Section, field: str) -> Rule:
    held = section.childOrEmpty(field)
    name = held.child("principal_name")
    matches = None if name is None else compileStringMatcher(name)

    def test(stream: Any, headers: RequestHeaders) -> bool:
        connection = stream.connection
        if connection.tls is None:
            return False
        if matches is None:
            return True
        # Envoy: URI names, then DNS names, then the subject, and any of them may match. A TLS transport that forgets to
        # set them fails here, rather than pass by a policy that denies.
        return any(matches(peer.encode("utf-8")) for peer in connection.peerNames)

    def actual(stream: Any, headers: RequestHeaders) -> str:
        connection = stream.connection
        if connection.tls is None:
            return "the connection is not authenticated"
        return f"principal is {_clipped(', '.join(connection.peerNames) or 'unknown')}"

    return _leaf(test, actual, "any" if name is None else _wantedString(name))


def _set(
    field: str, members: str, combine: Callable[[Sequence[Rule]], Rule], one: Callable[[Section], Rule]
) -> Compile:
    return lambda section, _: combine([one(member) for member in section.childOrEmpty(field).children(members)])


def _not(one: Callable[[Section], Rule]) -> Compile:
    return lambda section, field: notRule(one(section.childOrEmpty(field)))


_SHARED: Mapping[str, Compile] = {
    "any": _any,
    "header": _header,
    "url_path": _urlPath,
    "metadata": _metadata,
    "sourced_metadata": _sourcedMetadata,
}

_PERMISSION: Mapping[str, Compile] = {
    **_SHARED,
    "destination_ip": _ip(_localAddress, "destination address"),
    "destination_port": _port,
    "destination_port_range": _portRange,
    "requested_server_name": _serverName,
    "uri_template": _uriTemplate,
    "and_rules": _set("and_rules", "rules", allRules, compilePermission),
    "or_rules": _set("or_rules", "rules", anyRule, compilePermission),
    "not_rule": _not(compilePermission),
}

_PRINCIPAL: Mapping[str, Compile] = {
    **_SHARED,
    "authenticated": _authenticated,
    "source_ip": _ip(_connectionAddress, "source address"),
    "direct_remote_ip": _ip(_directAddress, "direct remote address"),
    "remote_ip": _ip(_remoteAddress, "remote address"),
    "filter_state": _filterState,
    "and_ids": _set("and_ids", "ids", allRules, compilePrincipal),
    "or_ids": _set("or_ids", "ids", anyRule, compilePrincipal),
    "not_id": _not(compilePrincipal),
}


# Words

_LONGEST = 80
_SECRET = ("authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential", "signature")


def _isSecret(name: str) -> bool:
    """
    Whether a header's value must reach no log.
    """
    return any(word in name for word in _SECRET)


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _shown(value: bytes | None) -> str:
    return "missing" if value is None else _clipped(json.dumps(value.decode("utf-8", "backslashreplace")))


def _wantedString(matcher: Section) -> str:
    kind = matcher.oneof("match_pattern") or ""
    if kind == "safe_regex":
        return f"matched by {matcher.childOrEmpty(kind).get('regex')}"
    wanted = f"{kind} {json.dumps(matcher.get(kind))}" if kind in ("exact", "prefix", "suffix", "contains") else kind
    return wanted + (", whatever the case" if matcher.get("ignore_case") else "")


def _wantedHeader(matcher: Section) -> str:
    kind = matcher.oneof("header_match_specifier") or "present_match"
    if kind == "string_match":
        wanted = _wantedString(matcher.childOrEmpty(kind))
    elif kind == "present_match":
        wanted = "present" if matcher.get(kind) or not matcher.oneof("header_match_specifier") else "absent"
    elif kind == "safe_regex_match":
        wanted = f"matched by {matcher.childOrEmpty(kind).get('regex')}"
    elif kind == "range_match":
        within = matcher.childOrEmpty(kind)
        wanted = f"from {within.get('start')} to below {within.get('end')}"
    else:
        wanted = f"{kind.removesuffix('_match')} {json.dumps(matcher.get(kind))}"
    return f"other than {wanted}" if matcher.get("invert_match") else wanted
