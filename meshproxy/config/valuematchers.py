# -*- test-case-name: tests.config.test_valuematchers -*-
"""
Envoy's matchers of values that are no text to begin with, compiled to plain functions: metadata and filter state.

A value is plain Python data, as a C{google.protobuf.Struct} holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meshproxy.config.cidr import compileAddressMatcher
from meshproxy.config.matchers import compileStringMatcher
from meshproxy.config.section import Section

__all__ = [
    "MISSING",
    "MetadataTest",
    "StateTest",
    "ValueTest",
    "compileFilterStateMatcher",
    "compileMetadataMatcher",
    "compileValueMatcher",
    "lookUp",
]

#: Whether a value matches; L{MISSING} is asked too.
ValueTest = Callable[[object], bool]
#: Whether metadata match: name of the filter to key to value.
MetadataTest = Callable[[Mapping[str, Mapping[str, object]] | None], bool]
#: Whether filter state matches: key to object.
StateTest = Callable[[Mapping[str, object] | None], bool]


class _Missing:
    """
    The type of L{MISSING}.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "missing"


#: What a path leads to where there is nothing; C{None} is a value, null.
MISSING: Final = _Missing()


def lookUp(metadata: Mapping[str, Mapping[str, object]] | None, name: str, path: Sequence[str]) -> object:
    """
    The value at a path in the metadata of one filter, or L{MISSING}.
    """
    held: object = None if metadata is None else metadata.get(name)
    for key in path:
        if not isinstance(held, Mapping) or key not in held:
            return MISSING
        held = held[key]
    return held


def compileMetadataMatcher(section: Section) -> MetadataTest:
    """
    Compile C{envoy.type.matcher.v3.MetadataMatcher}.
    """
    name: str = section.get("filter")
    path = tuple(segment.get("key") for segment in section.children("path"))
    test = compileValueMatcher(section.childOrEmpty("value"))
    inverted: bool = section.get("invert")
    return lambda metadata: test(lookUp(metadata, name, path)) is not inverted


def compileFilterStateMatcher(section: Section) -> StateTest:
    """
    Compile C{envoy.type.matcher.v3.FilterStateMatcher}: an object that is missing matches nothing.
    """
    key: str = section.get("key")
    if section.oneof("matcher") == "address_match":
        isListed = compileAddressMatcher(section.childOrEmpty("address_match"))

        def isWithin(state: Mapping[str, object] | None) -> bool:
            host = getattr(None if state is None else state.get(key), "host", None)
            return isinstance(host, str) and isListed(host)

        return isWithin
    test = compileStringMatcher(section.childOrEmpty("string_match"))

    def matches(state: Mapping[str, object] | None) -> bool:
        held = None if state is None else state.get(key)
        if held is None:
            return False
        return test(held if isinstance(held, bytes) else str(held).encode("utf-8", "surrogateescape"))

    return matches


def compileValueMatcher(section: Section) -> ValueTest:
    """
    Compile C{envoy.type.matcher.v3.ValueMatcher}. What is missing matches nothing.
    """
    match section.oneof("match_pattern"):
        case "null_match":
            return lambda value: value is None
        case "bool_match":
            wanted: bool = section.get("bool_match")
            return lambda value: value is wanted
        case "present_match":
            # As in Envoy, false is not the opposite: it matches nothing.
            present: bool = section.get("present_match")
            return lambda value: present and value is not MISSING
        case "string_match":
            text = compileStringMatcher(section.childOrEmpty("string_match"))
            return lambda value: isinstance(value, str) and text(value.encode("utf-8", "surrogateescape"))
        case "double_match":
            return _numberTest(section.childOrEmpty("double_match"))
        case "list_match":
            one = compileValueMatcher(section.childOrEmpty("list_match").childOrEmpty("one_of"))
            return lambda value: isinstance(value, (list, tuple)) and any(map(one, value))
        case "or_match":
            tests = [compileValueMatcher(held) for held in section.childOrEmpty("or_match").children("value_matchers")]
            return lambda value: any(test(value) for test in tests)
    section.refuse("one of null_match, double_match, string_match, bool_match, present_match, list_match is needed")
    return lambda value: False


def _numberTest(section: Section) -> ValueTest:
    if section.oneof("match_pattern") == "exact":
        exact: float = section.get("exact")
        return lambda value: _isNumber(value) and value == exact
    within = section.childOrEmpty("range")
    start: float = within.get("start")
    end: float = within.get("end")
    return lambda value: isinstance(value, (int, float)) and _isNumber(value) and start <= value < end


def _isNumber(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
