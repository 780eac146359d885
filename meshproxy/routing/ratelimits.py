# -*- test-case-name: tests.routing.test_ratelimits -*-
"""
C{envoy.config.route.v3.RateLimit}: from a request to descriptors, lists of keys and values by which requests are
counted.

Routes and virtual hosts carry a L{RateLimits} each; filters ask it for the descriptors of a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from meshproxy.accesslog.attributes import ofStreams
from meshproxy.accesslog.expressionvalues import valueText
from meshproxy.config.cel.library import isError
from meshproxy.config.cel.program import Program, compileSection, compileText
from meshproxy.config.cel.syntax import ExpressionError
from meshproxy.config.cidr import compileAddressMatcher
from meshproxy.config.matchers import compileHeaderMatchers, compileQueryMatchers, parseInteger, parseQuery
from meshproxy.config.section import Section
from meshproxy.config.supported import declare
from meshproxy.config.valuematchers import lookUp
from meshproxy.headers import RequestHeaders
from meshproxy.net.address import Address
from meshproxy.routing.values import compileValue

__all__ = ["NO_RATE_LIMITS", "Descriptor", "RateLimit", "RateLimits", "compileRateLimits"]

_EXPRESSION: Final = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"

declare(_EXPRESSION, "descriptor_key", "skip_if_error", "text", "parsed")

#: Keys and values, in order.
Descriptor = tuple[tuple[str, str], ...]

Entry = tuple[str, str]

# What an action makes: entries (none, where it is skipped), or None where there is no descriptor at all. C{Any} is the
# stream.
Make = Callable[[Any, RequestHeaders], tuple[Entry, ...] | None]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    One rate limit: at most one descriptor of a request.

    @ivar stage: Which filters it is for: those of the same C{stage}.
    @ivar disableKey: C{disable_key}: C{ratelimit.KEY.http_filter_enabled} of the runtime can switch it off.
    @ivar onStreamDone: Whether it counts the end of a stream instead of its beginning.
    @ivar shows: Whether the client is told of it in C{x-ratelimit-*}; L{None} where the filter decides
        (C{x_ratelimit_option}).
    """

    actions: tuple[Make, ...]
    stage: int = 0
    disableKey: str = ""
    onStreamDone: bool = False
    hitsAddend: Callable[[Any], int | None] | None = None
    shows: bool | None = None

    def descriptor(self, stream: Any) -> Descriptor | None:
        """
        The entries of all actions, or L{None} where one of them has none to give, or all are skipped.
        """
        entries: Descriptor = ()
        headers = stream.requestHeaders
        for action in self.actions:
            more = action(stream, headers)
            if more is None:
                return None
            entries += more
        return entries or None

    def hits(self, stream: Any) -> int:
        """
        For how many requests the stream counts.
        """
        hits = None if self.hitsAddend is None else self.hitsAddend(stream)
        return 1 if hits is None else hits


class RateLimits:
    """
    The rate limits of a route, of a virtual host or of a filter.

    @ivar limits: They, in order.
    """

    __slots__ = ("limits",)

    def __init__(self, limits: Sequence[RateLimit] = ()) -> None:
        self.limits = tuple(limits)

    def __bool__(self) -> bool:
        """
        Whether there are any.
        """
        return bool(self.limits)

    def descriptors(self, stream: Any, stage: int | None = None) -> list[Descriptor]:
        """
        The descriptors of a stream, in the order of the limits.

        @param stage: Of limits of that stage alone.
        """
        made: list[Descriptor] = []
        for limit in self.limits:
            if (stage is None or limit.stage == stage) and not limit.onStreamDone:
                descriptor = limit.descriptor(stream)
                if descriptor is not None:
                    made.append(descriptor)
        return made


_SHOWS: Final = {"UNSPECIFIED": None, "OFF": False, "DRAFT_VERSION_03": True}

#: Of who has none.
NO_RATE_LIMITS: Final = RateLimits()


def compileRateLimits(sections: Sequence[Section], serviceCluster: str = "") -> RateLimits:
    """
    Compile a list of C{RateLimit}s.

    @param serviceCluster: What C{source_cluster} is: C{node.cluster}.
    """
    return RateLimits([_compile(section, serviceCluster) for section in sections]) if sections else NO_RATE_LIMITS


def _compile(section: Section, serviceCluster: str) -> RateLimit:
    return RateLimit(
        tuple(_action(action, serviceCluster) for action in section.children("actions")),
        section.wrapped("stage", 0),
        section.get("disable_key"),
        section.get("apply_on_stream_done"),
        _hitsAddend(section.child("hits_addend")),
        _SHOWS[section.get("x_ratelimit_option")],
    )


def _hitsAddend(section: Section | None) -> Callable[[Any], int | None] | None:
    if section is None:
        return None
    text: str = section.get("format")
    # As in Envoy, a negative number gives tokens back, up to what fits in.
    sign = -1 if section.get("is_negative_hits") else 1
    if not text:
        fixed: int = sign * section.wrapped("number", 1)
        return lambda stream: fixed
    if section.has("number"):
        section.refuse("a number or a format, not both", "format")
    value = compileValue(section, "format", omitEmpty=True)

    def formatted(stream: Any) -> int | None:
        number = parseInteger(value if isinstance(value, bytes) else value(stream))
        return None if number is None or number < 0 else sign * number

    return formatted


def _action(section: Section, serviceCluster: str) -> Make:
    kind = section.oneof("action_specifier")
    if kind == "source_cluster":
        entries = (("source_cluster", serviceCluster),)
        return lambda stream, headers: entries
    make = _ACTIONS.get(kind or "")
    if make is None:
        section.refuse("not implemented by meshproxy" if kind else "an action is needed", kind or "")
        return lambda stream, headers: None
    return make(section.childOrEmpty(kind or ""))


def _genericKey(section: Section) -> Make:
    entries = ((section.get("descriptor_key") or "generic_key", section.get("descriptor_value")),)
    return lambda stream, headers: entries


def _requestHeaders(section: Section) -> Make:
    name = section.get("header_name").lower().encode("utf-8")
    key: str = section.get("descriptor_key")
    absent: tuple[Entry, ...] | None = () if section.get("skip_if_absent") else None

    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        value = headers.get(name)
        return absent if value is None else ((key, value.decode("utf-8", "surrogateescape")),)

    return make


def _queryParameters(section: Section) -> Make:
    name = section.get("query_parameter_name").encode("utf-8")
    key: str = section.get("descriptor_key")
    absent: tuple[Entry, ...] | None = () if section.get("skip_if_absent") else None

    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        value = parseQuery(headers.path).get(name)
        return absent if value is None else ((key, unquote_to_bytes(value).decode("utf-8", "surrogateescape")),)

    return make


def _clientAddress(stream: Any) -> Address | None:
    address: Address | None = getattr(stream, "remoteAddress", None) or stream.connection.remoteAddress
    return address if address is not None and address.isIP else None


def _remoteAddress(section: Section) -> Make:
    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        address = _clientAddress(stream)
        return None if address is None else (("remote_address", address.host),)

    return make


def _maskedRemoteAddress(section: Section) -> Make:
    four = section.wrapped("v4_prefix_mask_len", 32)
    six = section.wrapped("v6_prefix_mask_len", 128)

    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        address = _clientAddress(stream)
        if address is None:
            return None
        length = six if ":" in address.host else four
        return (("masked_remote_address", str(ip_network(f"{address.host}/{length}", strict=False))),)

    return make


def _headerValueMatch(section: Section) -> Make:
    entries = ((section.get("descriptor_key") or "header_match", section.get("descriptor_value")),)
    expected = section.wrapped("expect_match", True)
    test = compileHeaderMatchers(section.children("headers"))
    return lambda stream, headers: entries if (test is None or test(headers)) is expected else None


def _queryParameterValueMatch(section: Section) -> Make:
    entries = ((section.get("descriptor_key") or "query_match", section.get("descriptor_value")),)
    expected = section.wrapped("expect_match", True)
    test = compileQueryMatchers(section.children("query_parameters"))
    return lambda stream, headers: entries if (test is None or test(headers.path)) is expected else None


def _remoteAddressMatch(section: Section) -> Make:
    """
    C{descriptor_value} is a format here, as in Envoy, for which C{default_value} stands in where nothing comes of it.
    Without that, there is no descriptor then.
    """
    key: str = section.get("descriptor_key") or "remote_address_match"
    value = compileValue(section, "descriptor_value", omitEmpty=True)
    default: str = section.get("default_value")
    test = compileAddressMatcher(section.childOrEmpty("address_matcher"))

    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        address = _clientAddress(stream)
        if address is None or not test(address.host):
            return None
        made = value if isinstance(value, bytes) else value(stream)
        text = made.decode("utf-8", "surrogateescape") or default
        return ((key, text),) if text else None

    return make


def _destinationCluster(section: Section) -> Make:
    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        action = None if stream.route is None else stream.route.action
        return None if action is None else (("destination_cluster", action.selectCluster(headers, stream)),)

    return make


def _metadata(section: Section) -> Make:
    key: str = section.get("descriptor_key")
    where = section.childOrEmpty("metadata_key")
    name: str = where.get("key")
    path = tuple(segment.get("key") for segment in where.children("path"))
    isOld = section.typeName.endswith("DynamicMetaData")
    fromRoute = not isOld and section.get("source") == "ROUTE_ENTRY"
    default: str = section.get("default_value")
    absent: tuple[Entry, ...] | None = () if not isOld and section.get("skip_if_absent") else None

    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        if fromRoute:
            metadata = None if stream.route is None else stream.route.metadata
        else:
            metadata = stream.dynamicMetadata
        value = lookUp(metadata, name, path)
        # As in Envoy, only text counts, and it must not be empty.
        text = value if isinstance(value, str) and value else default
        return ((key, text),) if text else absent

    return make


def _extension(section: Section) -> Make:
    """
    What an expression gives, as text. One that fails gives no entry, or no descriptor.
    """
    held = section.any("typed_config")
    if held is None or held.typeName != _EXPRESSION:
        section.refuse(f"not a descriptor that this program has: there is {_EXPRESSION}", "typed_config")
        return lambda stream, headers: None
    program = _expression(held)
    if program is None:
        return lambda stream, headers: None
    key: str = held.get("descriptor_key")
    failed: tuple[Entry, ...] | None = () if held.get("skip_if_error") else None

    def make(stream: Any, headers: RequestHeaders) -> tuple[Entry, ...] | None:
        value = program.value(stream)
        return failed if isError(value) else ((key, valueText(value)),)

    return make


def _expression(section: Section) -> Program | None:
    tree = section.child("parsed")
    if tree is not None:
        return compileSection(tree, ofStreams)
    try:
        return compileText(section.get("text"), ofStreams)
    except ExpressionError as error:
        section.refuse(str(error), "text")
        return None


_ACTIONS: dict[str, Callable[[Section], Make]] = {
    "generic_key": _genericKey,
    "request_headers": _requestHeaders,
    "query_parameters": _queryParameters,
    "remote_address": _remoteAddress,
    "masked_remote_address": _maskedRemoteAddress,
    "header_value_match": _headerValueMatch,
    "remote_address_match": _remoteAddressMatch,
    "query_parameter_value_match": _queryParameterValueMatch,
    "destination_cluster": _destinationCluster,
    "metadata": _metadata,
    "dynamic_metadata": _metadata,
    "extension": _extension,
}
