# -*- test-case-name: tests.grpc.test_deadline -*-
"""
C{grpc-timeout}: at most eight digits and a unit.
"""

from __future__ import annotations

from meshproxy.grpc.status import GRPCError, Status

__all__ = ["formatMilliseconds", "formatTimeout", "parseTimeout"]

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_DIGITS = 8


def parseTimeout(value: bytes) -> float:
    """
    The seconds of a C{grpc-timeout}.

    @raise GRPCError: If it is none. More than eight digits are refused: a number that overflows has been a way to
        crash a proxy.
    """
    digits, unit = value[:-1], value[-1:]
    if not (digits.isdigit() and len(digits) <= _MOST_DIGITS and unit in _UNITS):
        raise GRPCError(Status.INTERNAL, f"grpc-timeout is at most 8 digits and one of HMSmun, not {value[:32]!r}")
    return int(digits) * _UNITS[unit]


def formatTimeout(seconds: float) -> bytes:
    """
    Seconds as C{grpc-timeout} has them, in the finest unit in which they fit.
    """
    for unit, length in ((b"u", 1e-6), (b"m", 1e-3), (b"S", 1.0), (b"M", 60.0)):
        number = int(seconds / length + 0.5)
        if number < 10**_MOST_DIGITS:
            return b"%d%b" % (max(number, 0), unit)
    return b"%dH" % min(int(seconds / 3600), 10**_MOST_DIGITS - 1)


def formatMilliseconds(number: int) -> bytes:
    """
    Milliseconds as Envoy writes them into C{grpc-timeout}: as they are where eight digits are enough for them, or else
    in a unit in which they are.
    """
    for unit, length in ((b"m", 1), (b"S", 1000), (b"M", 60_000)):
        if number // length < 10**_MOST_DIGITS:
            return b"%d%b" % (number // length, unit)
    return b"%dH" % min(number // 3_600_000, 10**_MOST_DIGITS - 1)
