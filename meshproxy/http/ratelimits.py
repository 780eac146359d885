# -*- test-case-name: tests.http.test_ratelimits -*-
"""
C{envoy.config.route.v3.RateLimit}: from a request to descriptors, lists of keys and values by which requests are
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import unquote_to_bytes

from meshproxy.config.matchers import compileHeaderMatchers, compileQueryMatchers, parseQuery
from meshproxy.config.section import Section
from meshproxy.config.supported import declare, only
from meshproxy.config.valuematchers import lookUp
from meshproxy.headers import RequestHeaders
from meshproxy.net.address import Address

__all__ = ["Descriptor", "compileRateLimits"]

_RATE_LIMIT = "envoy.config.route.v3.RateLimit"
_ACTION = _RATE_LIMIT + ".Action"

declare(_RATE_LIMIT, "actions")
only(_RATE_LIMIT, "stage", 0)
declare(_ACTION, "generic_key", "request_headers", "query_parameters", "header_value_match", "remote_address")
declare(_ACTION, "masked_remote_address", "query_parameter_value_match", "destination_cluster", "metadata")
declare(_ACTION + ".GenericKey", "descriptor_value", "descriptor_key")
declare(_ACTION + ".RequestHeaders", "header_name", "descriptor_key", "skip_if_absent")
declare(_ACTION + ".QueryParameters", "query_parameter_name", "descriptor_key", "skip_if_absent")
declare(_ACTION + ".HeaderValueMatch", "descriptor_key", "descriptor_value", "expect_match", "headers")
declare(_ACTION + ".QueryParameterValueMatch", "descriptor_key", "descriptor_value", "expect_match", "query_parameters")
declare(_ACTION + ".MetaData", "descriptor_key", "metadata_key", "default_value", "source", "skip_if_absent")
declare(_ACTION + ".MaskedRemoteAddress", "v4_prefix_mask_len", "v6_prefix_mask_len")
declare(_ACTION + ".RemoteAddress")
declare(_ACTION + ".DestinationCluster")
declare("envoy.type.metadata.v3.MetadataKey", "key", "path")
declare("envoy.type.metadata.v3.MetadataKey.PathSegment", "key")

#: Keys and values, in order.
Descriptor = tuple[tuple[str, str], ...]

Entry = tuple[str, str]

# What an action makes: entries (none, where it is skipped), or None where there is no descriptor at all. C{Any} is the
# stream.
Make = Callable[[Any, RequestHeaders], tuple[Entry, ...] | None]


def compileRateLimits(sections: Sequence[Section]) -> Callable[[Any, RequestHeaders], list[Descriptor]]:
    """
    Compile a list of C{RateLimit}s.

    @return: What makes the descriptors of a request, with the stream and its headers.
    """
    limits = [tuple(_action(action) for action in section.children("actions")) for section in sections]

    def descriptors(stream: Any, headers: RequestHeaders) -> list[Descriptor]:
        made: list[Descriptor] = []
        for actions in limits:
            entries: Descriptor = ()
            for action in actions:
                more = action(stream, headers)
                if more is None:
                    break
                entries += more
            else:
                if entries:
                    made.append(entries)
        return made

    return descriptors


def _action(section: Section) -> Make:
    kind = section.oneof("action_specifier")
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
    fromRoute = section.get("source") == "ROUTE_ENTRY"
    default: str = section.get("default_value")
    absent: tuple[Entry, ...] | None = () if section.get("skip_if_absent") else None

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


_ACTIONS: dict[str, Callable[[Section], Make]] = {
    "generic_key": _genericKey,
    "request_headers": _requestHeaders,
    "query_parameters": _queryParameters,
    "remote_address": _remoteAddress,
    "masked_remote_address": _maskedRemoteAddress,
    "header_value_match": _headerValueMatch,
    "query_parameter_value_match": _queryParameterValueMatch,
    "destination_cluster": _destinationCluster,
    "metadata": _metadata,
}
