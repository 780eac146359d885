# -*- test-case-name: tests.http.authorization.test_conditions -*-
"""
The permissions and principals of C{envoy.config.rbac.v3}, compiled to rules that decide and can say why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from meshproxy.config import expressions
from meshproxy.config.cel.functions import compileOptions
from meshproxy.config.cel.program import FindVariable, compileSection
from meshproxy.config.cidr import CidrSet, compileAddressMatcher, compileCidrSet
from meshproxy.config.matchers import compileHeaderMatcher, compilePathMatcher, compileStringMatcher, withoutQuery
from meshproxy.config.section import Section
from meshproxy.config.supported import declare
from meshproxy.config.valuematchers import compileMetadataMatcher, lookUp
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.rule import ALWAYS, Rule, Test, allRules, anyRule, condition, notRule, telling
from meshproxy.http.authorization.words import clipped, isSecret, shown, wantedHeader, wantedString
from meshproxy.net.address import Address
from meshproxy.routing.uritemplate import TemplateError, UriTemplate
from meshproxy.secrets.names import compileAltNameMatchers

__all__ = ["UPSTREAM_ADDRESS", "compileCondition", "compilePermission", "compilePrincipal"]

_RBAC = "envoy.config.rbac.v3."
_MTLS = "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
_UPSTREAM = "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
_TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_PERMISSIONS = ("any", "header", "url_path", "destination_ip", "destination_port", "destination_port_range", "metadata")
_PRINCIPALS = ("any", "authenticated", "source_ip", "direct_remote_ip", "remote_ip", "header", "url_path", "metadata")

declare(_RBAC + "Permission", *_PERMISSIONS, "requested_server_name", "sourced_metadata", "uri_template")
declare(_RBAC + "Permission", "and_rules", "or_rules", "not_rule", "matcher")
declare(_RBAC + "Permission.Set", "rules")
declare(_RBAC + "Principal", *_PRINCIPALS, "filter_state", "sourced_metadata", "custom", "and_ids", "or_ids", "not_id")
declare(_RBAC + "Principal.Set", "ids")
declare(_MTLS, "san_matcher", "any_validated_client_certificate")
declare(_RBAC + "Principal.Authenticated", "principal_name")
declare(_RBAC + "SourcedMetadata", "metadata_matcher", "metadata_source")
declare(_UPSTREAM, "upstream_ip", "upstream_port_range")
declare("envoy.type.v3.Int32Range", "start", "end")
declare("envoy.type.v3.Int64Range", "start", "end")

UPSTREAM_ADDRESS = "envoy.stream.upstream_address"
"""
The key of the filter state that says where a request is about to go: an L{Address}.
"""

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


def compileCondition(policy: Section, find: FindVariable) -> Rule:
    """
    Compile the C{condition} of C{envoy.config.rbac.v3.Policy}: the expression that must hold besides.

    @param find: What there is to ask.
    """
    if policy.has("checked_condition"):
        # To leave it out would let in whom it keeps out.
        policy.refuse("Envoy ignores it; its expr can be the condition", "checked_condition")
    held = policy.child("condition")
    if held is None:
        return ALWAYS
    program = compileSection(held, find, compileOptions(policy.child("cel_config")))
    if program is None:
        return notRule(ALWAYS)
    return Rule(
        lambda stream, headers: program.holds(stream),
        lambda stream, headers: f"condition {program.whyNot(stream)}",
        lambda stream, headers: f"condition {program.text} holds",
        lambda stream, headers: float(program.holds(stream)),
        asks=program.names,
    )


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
    hidden = isSecret(name)

    def actual(stream: Any, headers: RequestHeaders) -> str:
        value = headers.joined(key)
        return f"header {name} is {'hidden' if hidden and value is not None else shown(value)}"

    wanted = "the one that is wanted" if hidden else wantedHeader(matcher)
    test: Test = lambda stream, headers: matches(headers)  # noqa: E731
    return condition(telling(test, expressions.expressionOf(matches, "headers")), actual, wanted)


def _urlPath(section: Section, field: str) -> Rule:
    matcher = section.childOrEmpty(field)
    matches = compilePathMatcher(matcher)

    def test(stream: Any, headers: RequestHeaders) -> bool:
        return headers.path != b"" and matches(headers.path)

    asked = expressions.expressionOf(matches, "value")
    expression = expressions.Expression(f'((value := headers.path) != b"" and {asked.source})', asked.names)
    return condition(
        telling(test, expression),
        lambda stream, headers: f"path is {shown(withoutQuery(headers.path))}",
        wantedString(matcher.childOrEmpty("path")),
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
    return condition(
        lambda stream, headers: headers.path != b"" and matches(withoutQuery(headers.path)),
        lambda stream, headers: f"path is {shown(withoutQuery(headers.path))}",
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
    return condition(test, actual, "in " + ", ".join(map(str, ranges.ranges)))


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

    return condition(test, actual, wanted)


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
    return condition(
        lambda stream, headers: matches(stream.connection.requestedServerName.encode("utf-8")),
        lambda stream, headers: f"requested server name is {shown(stream.connection.requestedServerName.encode())}",
        wantedString(matcher),
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
        return f"{words} {name} {'.'.join(path)} is {clipped(repr(lookUp(source(stream), name, path)))}"

    return condition(lambda stream, headers: matches(source(stream)), actual, "the one that is wanted")


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

    return condition(holds, actual, "the one that is wanted")


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
        return f"principal is {clipped(', '.join(connection.peerNames) or 'unknown')}"

    return condition(test, actual, "any" if name is None else wantedString(name))


def _custom(section: Section, field: str) -> Rule:
    config = section.childOrEmpty(field).any("typed_config")
    if config is None or config.typeName != _MTLS:
        section.refuse(f"a custom principal is a {_MTLS}", field)
        return notRule(ALWAYS)
    wanted = config.child("san_matcher")
    if wanted is None and not config.get("any_validated_client_certificate"):
        config.refuse("at least one of san_matcher and any_validated_client_certificate is needed")
        return notRule(ALWAYS)
    matches = None if wanted is None else compileAltNameMatchers([wanted])

    def test(stream: Any, headers: RequestHeaders) -> bool:
        tls = stream.connection.tls
        if tls is None or not (tls.isPresented and tls.isValidated):
            return False
        return matches is None or matches(tls.peerAltNames)

    def actual(stream: Any, headers: RequestHeaders) -> str:
        connection = stream.connection
        tls = connection.tls
        if tls is None or not (tls.isPresented and tls.isValidated):
            return "the connection has no valid certificate of the client"
        return f"principal is {clipped(', '.join(connection.peerNames) or 'unknown')}"

    named = "any" if wanted is None else f"one whose {wanted.get('san_type')} is the one that is wanted"
    return condition(test, actual, named)


def _upstreamAddress(stream: Any) -> Address | None:
    """
    Where a filter before this one found that the request is about to go.
    """
    for state in (stream.filterState, stream.connection.filterState):
        found = None if state is None else state.get(UPSTREAM_ADDRESS)
        if isinstance(found, Address):
            return found
    return None


def _matcher(section: Section, field: str) -> Rule:
    config = section.childOrEmpty(field).any("typed_config")
    if config is None or config.typeName != _UPSTREAM:
        section.refuse(f"a matcher of a permission is a {_UPSTREAM}", field)
        return notRule(ALWAYS)
    address, ports = config.child("upstream_ip"), config.child("upstream_port_range")
    if address is None and ports is None:
        config.refuse("at least one of upstream_ip and upstream_port_range is needed")
        return notRule(ALWAYS)
    ranges = None if address is None else compileCidrSet([address])
    # As in Envoy, whatever its documentation says, the end is within.
    first, last = (0, 65535) if ports is None else (ports.get("start"), ports.get("end"))

    def test(stream: Any, headers: RequestHeaders) -> bool:
        found = _upstreamAddress(stream)
        if found is None or found.port is None or not first <= found.port <= last:
            return False
        return ranges is None or ranges.containsText(found.host)

    def actual(stream: Any, headers: RequestHeaders) -> str:
        found = _upstreamAddress(stream)
        return f"upstream address is {'unknown' if found is None else found.text}"

    wanted = [] if ranges is None else ["in " + ", ".join(map(str, ranges.ranges))]
    if ports is not None:
        wanted.append(f"with a port from {first} to {last}")
    return condition(test, actual, " ".join(wanted))


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
    "matcher": _matcher,
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
    "custom": _custom,
    "and_ids": _set("and_ids", "ids", allRules, compilePrincipal),
    "or_ids": _set("or_ids", "ids", anyRule, compilePrincipal),
    "not_id": _not(compilePrincipal),
}
