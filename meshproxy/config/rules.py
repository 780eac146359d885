# -*- test-case-name: tests.config.test_constraints -*-
"""
The rules that Envoy's protos declare on single values (protoc-gen-validate's C{validate.rules}), as closures.

Each takes a value and gives the reason it is wrong, or L{None}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import re2

from meshproxy.errors import MeshProxyError

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

__all__ = ["Rule", "UnknownRule", "definedOnly", "readsRule", "scalarRules"]

# The value is whatever the field holds; each rule stands on fields of one type only.
Rule: TypeAlias = Callable[[Any], "str | None"]

# protoc-gen-validate's own expressions for (well_known_regex, strict).
_HEADER_NAME = r"^:?[0-9a-zA-Z!#$%&'*+-.^_|~\x60]+$"
_HEADER_VALUE = r"^[^\x00-\x08\x0A-\x1F\x7F]*$"
_HEADER_LAX = r"^[^\x00\x0A\x0D]*$"
_WELL_KNOWN: Final = {
    (1, True): (_HEADER_NAME, "a header name"),
    (2, True): (_HEADER_VALUE, "a header value"),
    (1, False): (_HEADER_LAX, "a header name: it holds NUL, CR or LF"),
    (2, False): (_HEADER_LAX, "a header value: it holds NUL, CR or LF"),
}


class UnknownRule(MeshProxyError):
    """
    The protos that the descriptors were generated from declare a rule that this interpreter does not know.
    """


@cache
def _pattern(pattern: str) -> Any:
    return re2.compile(pattern)


def _show(value: object) -> str:
    """
    A value in a sentence.
    """
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and len(value) > 80:
        return repr(value[:77] + "...")
    return repr(value)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(_show, values))


def _range(rules: Message, number: Callable[[Any], float], show: Callable[[float], str]) -> Rule | None:
    """
    The rule for C{gt}, C{gte}, C{lt} and C{lte} together.

    @param rules: What declares them.
    @param number: How to get the number of a field's value, or of a bound.
    @param show: How to write it.
    """
    declared = {descriptor.name: value for descriptor, value in rules.ListFields()}
    bounds = {name: number(value) for name, value in declared.items() if name in _RANGE}
    low = bounds.get("gt", bounds.get("gte"))
    high = bounds.get("lt", bounds.get("lte"))
    if low is None and high is None:
        return None
    openLow, openHigh = "gt" in bounds, "lt" in bounds
    words = []
    if low is not None:
        words.append(f"{'more than' if openLow else 'at least'} {show(low)}")
    if high is not None:
        words.append(f"{'less than' if openHigh else 'at most'} {show(high)}")
    # Bounds the wrong way round mean the outside of the range.
    outside = low is not None and high is not None and high < low
    wanted = (" or " if outside else " and ").join(words)

    def rule(value: Any) -> str | None:
        it = number(value)
        overLow = low is None or (it > low if openLow else it >= low)
        underHigh = high is None or (it < high if openHigh else it <= high)
        held = (overLow or underHigh) if outside else (overLow and underHigh)
        return None if held else f"{show(it)} is not {wanted}"

    return rule


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _itself(value: float) -> float:
    return value


def _numberRules(rules: Any) -> list[Rule]:
    ranged = _range(rules, _itself, lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    return [] if ranged is None else [ranged]


def _durationRules(rules: Any) -> list[Rule]:
    ranged = _range(rules, _seconds, lambda value: f"{value:.9g}s")
    return [] if ranged is None else [ranged]


def _const(wanted: object) -> Rule:
    return lambda value: None if value == wanted else f"{_show(value)} is not {_show(wanted)}"


def _among(allowed: Sequence[object]) -> Rule:
    known = frozenset(allowed)
    return lambda value: None if value in known else f"{_show(value)} is not one of {_listed(allowed)}"


def _notAmong(forbidden: Sequence[object]) -> Rule:
    known = frozenset(forbidden)
    return lambda value: f"{_show(value)} is not allowed" if value in known else None


def _minimum(least: int, measure: Callable[[Any], int], unit: str) -> Rule:
    def rule(value: Any) -> str | None:
        if measure(value) >= least:
            return None
        return "must not be empty" if not value else f"{_show(value)} is shorter than {least} {unit}"

    return rule


def _maximum(most: int, measure: Callable[[Any], int], unit: str) -> Rule:
    return lambda value: f"{_show(value)} is longer than {most} {unit}" if measure(value) > most else None


def _byteLength(value: str) -> int:
    return len(value.encode())


def _matches(pattern: str, wanted: str) -> Rule:
    def rule(value: Any) -> str | None:
        return None if _pattern(pattern).search(value) else f"{_show(value)} is not {wanted}"

    return rule


_STRING: Final[dict[str, Callable[[Any], Rule]]] = {
    "const": _const,
    "in": _among,
    "not_in": _notAmong,
    "min_len": lambda least: _minimum(least, len, "characters"),
    "max_len": lambda most: _maximum(most, len, "characters"),
    "min_bytes": lambda least: _minimum(least, _byteLength, "bytes"),
    "max_bytes": lambda most: _maximum(most, _byteLength, "bytes"),
    "pattern": lambda pattern: _matches(pattern, f"of the form {pattern}"),
    "prefix": lambda start: lambda text: None if text.startswith(start) else f"{text!r} does not begin with {start!r}",
    "suffix": lambda end: lambda text: None if text.endswith(end) else f"{text!r} does not end with {end!r}",
    "contains": lambda part: lambda text: None if part in text else f"{text!r} does not contain {part!r}",
    "not_contains": lambda part: lambda text: f"{text!r} contains {part!r}" if part in text else None,
}

_BYTES: Final[dict[str, Callable[[Any], Rule]]] = {
    "min_len": lambda least: _minimum(least, len, "bytes"),
    "max_len": lambda most: _maximum(most, len, "bytes"),
}

_PLAIN: Final[dict[str, Callable[[Any], Rule]]] = {"const": _const, "in": _among, "not_in": _notAmong}

_RANGE = frozenset(("gt", "gte", "lt", "lte"))

#: Rules that others read, or that are about a field and not about a value.
_ELSEWHERE = frozenset(("ignore_empty", "strict", "well_known_regex", "required"))


def _table(kind: str) -> dict[str, Callable[[Any], Rule]]:
    """
    The rules of one kind that stand alone.
    """
    return {"string": _STRING, "bytes": _BYTES}.get(kind, _PLAIN)


def readsRule(kind: str, name: str) -> bool:
    """
    Whether this interpreter knows a rule of a kind, such as C{min_len} of C{string}.
    """
    return name in _table(kind) or name in _RANGE or name in _ELSEWHERE or (kind == "enum" and name == "defined_only")


def definedOnly(enum: EnumDescriptor) -> Rule:
    """
    The rule that a number is that of a value.
    """
    numbers = frozenset(value.number for value in enum.values)
    listed = ", ".join(value.name for value in enum.values)
    return lambda number: None if number in numbers else f"{number} is not the number of one of {listed}"


def _enumRules(rules: Any, enum: EnumDescriptor) -> list[Rule]:
    """
    The rules of an enumeration, which tell its values by name.
    """
    names = {value.number: value.name for value in enum.values}
    found: list[Rule] = []
    if rules.defined_only:
        found.append(definedOnly(enum))
    refused = frozenset(rules.not_in)
    if refused:
        found.append(lambda number: f"{names.get(number, number)} is not allowed" if number in refused else None)
    allowed = frozenset(getattr(rules, "in"))
    if allowed:
        wanted = ", ".join(names.get(number, str(number)) for number in allowed)
        found.append(
            lambda number: None if number in allowed else f"{names.get(number, number)} is not one of {wanted}"
        )
    if rules.HasField("const"):
        found.append(lambda number: None if number == rules.const else f"{names.get(number, number)} is not allowed")
    return found


def scalarRules(kind: str, rules: Any, enum: EnumDescriptor | None = None) -> list[Rule]:
    """
    The closures for what is declared on one value.

    @param kind: The member of C{FieldRules}: C{string}, C{uint32}, C{duration}, C{enum} ...
    @param rules: That member.
    @param enum: The enumeration of the field, if it has one.

    @raise UnknownRule: If there is a rule that this interpreter does not know.
    """
    declared = {descriptor.name: value for descriptor, value in rules.ListFields()}
    for name in declared:
        if not readsRule(kind, name):
            raise UnknownRule(f"validate.rules.{kind}.{name}")
    if enum is not None:
        return _enumRules(rules, enum)
    found = _durationRules(rules) if kind == "duration" else []
    if kind not in ("duration", "string", "bytes", "bool", "any"):
        found = _numberRules(rules)
    table = _table(kind)
    for name, argument in declared.items():
        if name in table:
            found.append(table[name](list(argument) if name in ("in", "not_in") else argument))
    if "well_known_regex" in declared:
        found.append(_matches(*_WELL_KNOWN[rules.well_known_regex, rules.strict]))
    return found
