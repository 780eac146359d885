# -*- test-case-name: tests.filters.http.test_header_to_metadata -*-
"""
C{envoy.filters.http.header_to_metadata}: notes what headers and cookies say in the dynamic metadata.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from meshproxy.config import Section
from meshproxy.config.matchers import compileSubstitute
from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.metadata import noteMetadata
from meshproxy.interfaces import IHTTPStream
from meshproxy.routing.hashing import cookieValue
from meshproxy.stats.metrics import Counter

__all__ = ["DirectionCounters", "HeaderToMetadata", "Pair", "Rule", "RulePlan"]

_MESSAGE = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
# Where a rule names no namespace, as in Envoy whatever the filter is called in its chain.
_NAMESPACE = "envoy.filters.http.header_to_metadata"
# Envoy's own limit: longer values are left out.
_LONGEST = 8 * 1024

declare(_MESSAGE, "request_rules", "response_rules", "stat_prefix")
declare(_MESSAGE + ".Rule", "header", "cookie", "on_header_present", "on_header_missing", "remove")
declare(_MESSAGE + ".KeyValuePair", "metadata_namespace", "key", "value", "regex_value_rewrite", "type", "encode")

_number = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z").match
_base64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}\Z").match


@dataclass(frozen=True, slots=True)
class Pair:
    """
    A compiled C{KeyValuePair}.

    @ivar value: The fixed value, or empty for that of the header.
    @ivar rewrite: What makes another value of the header's, or L{None}.
    @ivar kind: C{"STRING"}, C{"NUMBER"} or C{"PROTOBUF_VALUE"}.
    @ivar isEncoded: Whether the value is base64.
    """

    namespace: str
    key: str
    value: bytes
    rewrite: Callable[[bytes], bytes] | None
    kind: str
    isEncoded: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A compiled C{Rule}.

    @ivar find: Finds the value that it is about.
    @ivar removed: The header that is taken away, or empty.
    @ivar present: What is noted where there is a value; likewise C{missing}.
    """

    find: Callable[[Any], bytes | None]
    removed: bytes
    present: Pair | None
    missing: Pair | None


@dataclass(frozen=True, slots=True)
class DirectionCounters:
    """
    What rules of one direction count.
    """

    processed: Counter
    added: Counter
    notFound: Counter
    notDecoded: Counter
    tooLong: Counter
    emptied: Counter


@dataclass(frozen=True, slots=True)
class RulePlan:
    """
    A compiled C{Config}; its counters are L{None} without a C{stat_prefix}.
    """

    request: tuple[Rule, ...]
    response: tuple[Rule, ...]
    requestCounters: DirectionCounters | None
    responseCounters: DirectionCounters | None


class HeaderToMetadata(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    configType = _MESSAGE

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> RulePlan:
        prefix: str = section.get("stat_prefix")
        # Envoy's own name for it, placeholder and all.
        scope = context.store.scope(f"http_filter_name.{prefix}.") if prefix else None

        def counters(direction: str) -> DirectionCounters | None:
            if scope is None:
                return None
            names = (f"{direction}_rules_processed", f"{direction}_metadata_added", f"{direction}_header_not_found")
            shared = ("base64_decode_failed", "header_value_too_long", "regex_substitution_failed")
            return DirectionCounters(*(scope.counter(name) for name in (*names, *shared)))

        return RulePlan(
            tuple(_compileRule(rule) for rule in section.children("request_rules")),
            tuple(_compileRule(rule) for rule in section.children("response_rules")),
            counters("request"),
            counters("response"),
        )

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> RulePlan:
        if not section.has("request_rules") and not section.has("response_rules"):
            section.refuse("a route says request_rules or response_rules, or both")
        return cls.compileConfig(section, context)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> None:
        plan: RulePlan = stream.routeConfig(self.context.name) or self.config
        if plan.request:
            _apply(stream, headers, plan.request, plan.requestCounters)

    def responseHeaders(self, stream: IHTTPStream, headers: ResponseHeaders, endStream: bool) -> None:
        plan: RulePlan = stream.routeConfig(self.context.name) or self.config
        if plan.response:
            _apply(stream, headers, plan.response, plan.responseCounters)


def _apply(
    stream: IHTTPStream, headers: HeaderMap, rules: tuple[Rule, ...], counters: DirectionCounters | None
) -> None:
    # All rules see the headers before anything is noted, but for what an earlier one took away.
    noted: dict[str, dict[str, object]] = {}
    for rule in rules:
        value = rule.find(headers)
        if rule.removed:
            headers.remove(rule.removed)
        if counters is not None:
            counters.processed.value += 1
        pair = rule.missing if value is None else rule.present
        if pair is None:
            continue
        if value is None and counters is not None:
            counters.notFound.value += 1
        made = _value(pair, value or b"", counters)
        if made is not None:
            noted.setdefault(pair.namespace, {})[pair.key] = made[0]
            if counters is not None:
                counters.added.value += 1
    for namespace, values in noted.items():
        noteMetadata(stream, namespace, values)


def _value(pair: Pair, value: bytes, counters: DirectionCounters | None) -> tuple[object] | None:
    """
    The value to note, in a tuple since C{None} is one; or L{None} for nothing.
    """
    if pair.value:
        value = pair.value
    elif pair.rewrite is not None and value:
        value = pair.rewrite(value)
        if not value and counters is not None:
            counters.emptied.value += 1
    if not value:
        return None
    if len(value) >= _LONGEST:
        if counters is not None:
            counters.tooLong.value += 1
        return None
    if pair.isEncoded:
        value = _decoded(value)
        if not value:
            if counters is not None:
                counters.notDecoded.value += 1
            return None
    return _typed(pair.kind, value)


def _decoded(value: bytes) -> bytes:
    """
    What base64 stands for, with its padding or without; empty where it is none.
    """
    found = value.rstrip(b"=")
    if _base64(value) is None or len(found) % 4 == 1:
        return b""
    return b64decode(found + b"=" * (-len(found) % 4))


def _typed(kind: str, value: bytes) -> tuple[object] | None:
    if kind == "PROTOBUF_VALUE":
        message = Value()
        try:
            message.ParseFromString(value)
        except DecodeError:
            return None
        return (MessageToDict(message),) if message.WhichOneof("kind") else (None,)
    text = value.decode("utf-8", "surrogateescape")
    if kind == "NUMBER":
        text = text.strip()
        return (float(text),) if _number(text) is not None else None
    return (text,)


# Compiling


def _compileRule(section: Section) -> Rule:
    header, cookie = section.get("header").lower().encode("utf-8"), section.get("cookie").encode("utf-8")
    if bool(header) is bool(cookie):
        section.refuse("one of header and cookie is needed")
    if cookie and section.get("remove"):
        section.refuse("a cookie cannot be removed", "remove")
    if not section.has("on_header_present") and not section.has("on_header_missing"):
        section.refuse("one of on_header_present and on_header_missing is needed")
    present, missing = section.child("on_header_present"), section.child("on_header_missing")
    if present is not None and present.get("value") and present.has("regex_value_rewrite"):
        present.refuse("value and regex_value_rewrite are not to be set both", "value")
    if missing is not None and not missing.get("value"):
        missing.refuse("what is missing has no value: one is needed here", "value")
    return Rule(
        (lambda headers: cookieValue(headers, cookie) or None) if cookie else (lambda headers: headers.joined(header)),
        header if section.get("remove") else b"",
        None if present is None else _compilePair(present),
        None if missing is None else _compilePair(missing),
    )


def _compilePair(section: Section) -> Pair:
    rewrite = section.child("regex_value_rewrite")
    return Pair(
        section.get("metadata_namespace") or _NAMESPACE,
        section.get("key"),
        section.get("value").encode("utf-8"),
        None if rewrite is None else compileSubstitute(rewrite),
        section.get("type"),
        section.get("encode") == "BASE64",
    )
