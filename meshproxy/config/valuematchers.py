# -*- test-case-name: tests.config.test_valuematchers -*-
"""
Envoy's matchers of metadata, compiled to plain functions: C{ValueMatcher}, C{ListMatcher}, C{DoubleMatcher} and
C{MetadataMatcher}.

A value is plain data, as JSON has it; L{MISSING} stands for one that is not there, which is not C{null}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from meshproxy.config.matchers import compileStringMatcher
from meshproxy.config.section import Section

__all__ = [
    "MISSING",
    "MetadataTest",
    "ValueTest",
    "compileDoubleMatcher",
    "compileMetadataMatcher",
    "compileValueMatcher",
    "metadataValue",
]

#: Whether a value matches.
ValueTest: TypeAlias = Callable[[object], bool]
#: Whether metadata, by namespace, match. There may be none.
MetadataTest: TypeAlias = Callable[[Mapping[str, Mapping[str, object]] | None], bool]


class _Missing:
    """
    No value at all.
    """

    def __repr__(self) -> str:
        return "MISSING"


#: What L{metadataValue} gives where there is nothing.
MISSING: Final = _Missing()


def _never(value: object) -> bool:
    return False


def compileDoubleMatcher(section: Section) -> ValueTest:
    """
    Compile C{envoy.type.matcher.v3.DoubleMatcher}: an exact number, or a half-open range.
    """
    if section.oneof("match_pattern") == "range":
        within = section.childOrEmpty("range")
        start: float = within.get("start")
        end: float = within.get("end")
        return lambda value: _isNumber(value) and start <= value < end  # type: ignore[operator]  # a number
    exact: float = section.get("exact")
    return lambda value: _isNumber(value) and value == exact


def _isNumber(value: object) -> bool:
    # bool is an int to Python, and another kind of value to protobuf.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compileValueMatcher(section: Section) -> ValueTest:
    """
    Compile C{envoy.type.matcher.v3.ValueMatcher}.
    """
    kind = section.oneof("match_pattern")
    if kind == "null_match":
        return lambda value: value is None
    if kind == "bool_match":
        wanted: bool = section.get(kind)
        return lambda value: value is wanted
    if kind == "present_match":
        # As in Envoy, asking for absence matches nothing: that is what "invert" is for.
        return (lambda value: value is not MISSING) if section.get(kind) else _never
    if kind == "double_match":
        return compileDoubleMatcher(section.childOrEmpty(kind))
    if kind == "string_match":
        test = compileStringMatcher(section.childOrEmpty(kind))
        return lambda value: isinstance(value, str) and test(value.encode("utf-8"))
    if kind == "list_match":
        element = compileValueMatcher(section.childOrEmpty(kind).childOrEmpty("one_of"))
        return lambda value: isinstance(value, (list, tuple)) and any(map(element, value))
    if kind == "or_match":
        tests = [compileValueMatcher(child) for child in section.childOrEmpty(kind).children("value_matchers")]
        return lambda value: any(test(value) for test in tests)
    section.refuse("one kind of match is needed")
    return _never


def metadataValue(metadata: Mapping[str, object] | None, path: tuple[str, ...]) -> object:
    """
    The value at a path, the namespace first; L{MISSING} where there is none.
    """
    found: object = metadata
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return MISSING
        found = found[key]
    return found


def compileMetadataMatcher(section: Section) -> MetadataTest:
    """
    Compile C{envoy.type.matcher.v3.MetadataMatcher}.
    """
    path: tuple[str, ...] = (section.get("filter"), *[segment.get("key") for segment in section.children("path")])
    test = compileValueMatcher(section.childOrEmpty("value"))
    invert: bool = section.get("invert")
    return lambda metadata: test(metadataValue(metadata, path)) is not invert
