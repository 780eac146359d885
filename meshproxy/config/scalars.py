# -*- test-case-name: tests.config.test_scalars -*-
"""
Scalars by protobuf's JSON rules, as Envoy applies them: each reader takes a YAML value and gives the field's value,
or raises L{WrongValue} with the end of the sentence C{X is not ...}.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from meshproxy.config.near import didYouMean, near
from meshproxy.config.nodes import Value

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

__all__ = ["ScalarReader", "ScalarValue", "WrongValue", "durationParts", "readDuration", "scalarReader"]

ScalarValue: TypeAlias = bool | int | float | str | bytes
ScalarReader: TypeAlias = Callable[[Value], ScalarValue]

_INTEGER = re.compile(r"[-+]?(?:0[xX](?P<hex>[0-9a-fA-F]{1,16})|[0-9]{1,20})\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL_FLOATS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_DURATION = re.compile(r"(?P<sign>-?)(?P<seconds>[0-9]{1,12})(?:\.(?P<fraction>[0-9]{1,9}))?s\Z")
_OTHER_DURATION = re.compile(r"\s*(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?P<unit>us|ms|s|sec|m|min|h|d)?\s*\Z")
_UNITS: Final = {None: 1, "s": 1, "sec": 1, "us": 1e-6, "ms": 1e-3, "m": 60, "min": 60, "h": 3600, "d": 86400}

#: google.protobuf.Duration: about 10,000 years.
_MAX_DURATION: Final = 315_576_000_000

_MAX_FLOAT: Final = 3.4028234663852886e38

#: In quotes, where Envoy takes these words too.
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


class WrongValue(Exception):
    """
    A value is not of its field's kind.

    @ivar wanted: What it is not: the end of a sentence.
    """

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def _boolean(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        known = _BOOLEANS.get(value.lower())
        if known is not None:
            return known
    raise WrongValue("true or false")


def _integer(low: int, high: int) -> ScalarReader:
    """
    A reader of whole numbers from C{low} to C{high}.
    """

    def read(value: Value) -> int:
        number: int | None = None
        if isinstance(value, bool):
            pass
        elif isinstance(value, int):
            number = value
        elif isinstance(value, float) and value.is_integer():
            number = int(value)
        elif isinstance(value, str):
            number = _integerIn(value)
        if number is None:
            raise WrongValue("a whole number")
        if not low <= number <= high:
            raise WrongValue(f"between {low} and {high}")
        return number

    return read


def _integerIn(text: str) -> int | None:
    """
    The whole number that a quoted text means: C{"5"}, C{"0x10"}, and like protobuf also C{"5.0"} and C{"1e1"}.
    """
    match = _INTEGER.match(text)
    if match is not None:
        sign = -1 if text[0] == "-" else 1
        return sign * int(match["hex"], 16) if match["hex"] is not None else int(text)
    number = float(text) if len(text) <= 40 and _FLOAT.match(text) else 0.5
    return int(number) if number.is_integer() else None


def _real(biggest: float | None) -> ScalarReader:
    """
    A reader of real numbers.

    @param biggest: The largest that the field can hold.
    """

    def read(value: Value) -> float:
        number: float | None = None
        if isinstance(value, bool):
            pass
        elif isinstance(value, (int, float)):
            number = float(value)
        elif isinstance(value, str):
            number = _SPECIAL_FLOATS.get(value)
            if number is None and _FLOAT.match(value):
                number = float(value)
        if number is None:
            raise WrongValue("a number")
        if biggest is not None and biggest < abs(number) < float("inf"):
            raise WrongValue("a number that 32 bits can hold")
        return number

    return read


def _string(value: Value) -> str:
    if not isinstance(value, str):
        quoting = "" if value is None or isinstance(value, (list, dict)) else "; put it in quotes"
        raise WrongValue(f"a string{quoting}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongValue("valid Unicode: it holds half a surrogate pair") from None
    return value


def _bytes(value: Value) -> bytes:
    if isinstance(value, str):
        # Both alphabets, with or without padding: proto3's JSON mapping.
        standard = value.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise WrongValue("base64")


def _enumeration(enum: EnumDescriptor) -> ScalarReader:
    """
    A reader of the values of an enumeration, by name in any case or by number.
    """
    byName: dict[str, int] = {value.name.upper(): value.number for value in enum.values}

    def read(value: Value) -> int:
        if isinstance(value, str):
            number = byName.get(value.upper())
            if number is None and _INTEGER.match(value):
                number = _integerIn(value)
            if number is not None and -(2**31) <= number < 2**31:
                return number
            names = [known.name for known in enum.values]
            raise WrongValue(f"one of {', '.join(names)}{didYouMean(near(value, names, 1))}")
        # Unknown numbers stay: proto3's enumerations are open. The constraints refuse them.
        if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
            return value
        raise WrongValue(f"one of {', '.join(known.name for known in enum.values)}")

    return read


def durationParts(value: Value) -> tuple[int, int]:
    """
    The seconds and nanoseconds of a duration such as C{1.5s}.

    @raise WrongValue: If it is none; with the duration that was probably meant.
    """
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise WrongValue("a duration such as 1.5s" + _meantDuration(value))
    seconds = int(match["seconds"])
    if seconds > _MAX_DURATION:
        raise WrongValue(f"within {_MAX_DURATION}s")
    sign = -1 if match["sign"] else 1
    return sign * seconds, sign * int((match["fraction"] or "").ljust(9, "0"))


def _meantDuration(value: Value) -> str:
    """
    C{10ms} and C{5} are clear enough to be told what they should be.
    """
    match = None if isinstance(value, (bool, list, dict)) else _OTHER_DURATION.match(str(value))
    if match is None:
        return ""
    seconds = f"{float(match['number']) * _UNITS[match['unit']]:.9f}".rstrip("0").rstrip(".")
    return didYouMean([f"{seconds}s"])


def readDuration(value: Value) -> float:
    """
    A duration in seconds.

    @raise WrongValue: If it is none.
    """
    seconds, nanos = durationParts(value)
    return seconds + nanos / 1e9


def scalarReader(field: FieldDescriptor) -> ScalarReader:
    """
    The reader for a scalar field.
    """
    if field.enum_type is not None:
        return _enumeration(field.enum_type)
    return _READERS[field.cpp_type] if field.type != field.TYPE_BYTES else _bytes


# By FieldDescriptor.CPPTYPE_*: int32, int64, uint32, uint64, double, float, bool and string.
_READERS: Final[dict[int, ScalarReader]] = {
    1: _integer(-(2**31), 2**31 - 1),
    2: _integer(-(2**63), 2**63 - 1),
    3: _integer(0, 2**32 - 1),
    4: _integer(0, 2**64 - 1),
    5: _real(None),
    6: _real(_MAX_FLOAT),
    7: _boolean,
    9: _string,
}
