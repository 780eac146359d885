# -*- test-case-name: tests.accesslog.test_timeformat -*-
"""
Times as logs show them: C{strftime}, with Envoy's C{%3f} and C{%E3S} for parts of a second.

All lines of one second share all but the fraction, so the rest is formatted once a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

__all__ = ["DEFAULT_LOCAL_TIME", "DEFAULT_TIME", "compileTime"]

#: What C{%START_TIME%} means: ISO 8601 with milliseconds.
DEFAULT_TIME = "%Y-%m-%dT%H:%M:%E3SZ"
DEFAULT_LOCAL_TIME = "%Y-%m-%dT%H:%M:%E3S%z"

# What strftime does not know, or, like %s, reads as local time.
_SPECIAL = re.compile(r"%(?:%|s|([1-9]?)f|E([0-9*])S|Ez|E4Y|z)")

# Python's floats hold the time of this century to a quarter of a microsecond, so nanoseconds end in zeros.
_MICROSECONDS = 6


def compileTime(pattern: str, local: bool = False) -> Callable[[float], str]:
    """
    Compile a pattern.

    @param local: Whether to show local time instead of UTC.

    @return: A function of seconds since the epoch.
    """
    fractions: list[int] = []
    pieces: list[str] = []
    position = 0
    for match in _SPECIAL.finditer(pattern):
        pieces.append(pattern[position : match.start()])
        pieces.append(_special(match, fractions))
        position = match.end()
    pieces.append(pattern[position:])
    split = time.localtime if local else time.gmtime
    if not fractions:
        whole = _bySecond(pieces, split)
        return lambda moment: whole(int(moment))
    if fractions == [3]:
        return _withMilliseconds(_bySecond(pieces, split))
    return _withFractions(_bySecond(pieces, split), fractions)


def _special(match: re.Match[str], fractions: list[int]) -> str:
    """
    What stands for an extension of Envoy's until the time is known: a name between two NULs.
    """
    found = match[0]
    if found in ("%%", "%s", "%z", "%Ez"):
        return f"\0{found}\0"
    if found == "%E4Y":
        return "%Y"
    seconds = "%S." if found.endswith("S") else ""
    digits = match[2] if seconds else match[1]
    # "%f" are nanoseconds; "%E*S" as many digits as there are.
    fractions.append(_MICROSECONDS if digits == "*" else int(digits or 9))
    return f"{seconds}\0fraction\0"


def _bySecond(pieces: list[str], split: Callable[[float], time.struct_time]) -> Callable[[int], str]:
    """
    A function of whole seconds, that remembers the last one.
    """
    joined = "".join(pieces).split("\0")
    last = -1
    text = ""

    def render(second: int) -> str:
        nonlocal last, text
        if second != last:
            moment = split(second)
            text = "".join(
                _rendered(piece, second, moment) if position % 2 else time.strftime(piece, moment) if piece else ""
                for position, piece in enumerate(joined)
            )
            last = second
        return text

    return render


def _rendered(name: str, second: int, moment: time.struct_time) -> str:
    if name == "fraction":
        return "\0"
    if name == "%s":
        return str(second)
    if name == "%%":
        return "%"
    hours, minutes = divmod(abs(moment.tm_gmtoff) // 60, 60)
    sign = "-" if moment.tm_gmtoff < 0 else "+"
    return f"{sign}{hours:02d}{':' if name == '%Ez' else ''}{minutes:02d}"


def _withMilliseconds(render: Callable[[int], str]) -> Callable[[float], str]:
    last = lastMilli = -1
    before = after = text = ""

    def format(moment: float) -> str:
        nonlocal last, lastMilli, before, after, text
        # Rounded to microseconds first: 1.845 is a bit less than itself.
        milli = round(moment * 1e6) // 1000
        if milli != lastMilli:
            second, rest = divmod(milli, 1000)
            if second != last:
                before, _, after = render(second).partition("\0")
                last = second
            lastMilli = milli
            text = f"{before}{rest:03d}{after}"
        return text

    return format


def _withFractions(render: Callable[[int], str], digits: list[int]) -> Callable[[float], str]:
    def format(moment: float) -> str:
        second, micros = divmod(round(moment * 1e6), 1000000)
        fraction = f"{micros:06d}000"
        parts = render(second).split("\0")
        for position, count in enumerate(digits):
            parts[position] += fraction[:count]
        return "".join(parts)

    return format
