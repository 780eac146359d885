# -*- test-case-name: tests.routing.test_xxhash64 -*-
"""
XXH64, the hash that Envoy uses for hash policies and ring hash: with it a request goes to the same endpoint here as
there.

After the description of the algorithm by Yann Collet (C{xxhash_spec.md}).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = ["xxhash64"]

_MASK: Final = (1 << 64) - 1
_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5

_lanes = Struct("<QQQQ").iter_unpack
_long = Struct("<Q").unpack_from
_short = Struct("<L").unpack_from


def _round(accumulator: int, lane: int) -> int:
    mixed = (accumulator + lane * _P2) & _MASK
    return ((mixed << 31 | mixed >> 33) * _P1) & _MASK


def _stripes(data: bytes, seed: int) -> int:
    """
    The whole stripes of 32 bytes, four lanes side by side.
    """
    one, two, three, four = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
    for first, second, third, fourth in _lanes(data):
        one, two = _round(one, first), _round(two, second)
        three, four = _round(three, third), _round(four, fourth)
    merged = 0
    for lane, turn in ((one, 1), (two, 7), (three, 12), (four, 18)):
        merged += (lane << turn | lane >> (64 - turn)) & _MASK
    for lane in (one, two, three, four):
        merged = ((merged & _MASK ^ _round(0, lane)) * _P1 + _P4) & _MASK
    return merged


def xxhash64(data: bytes, seed: int = 0) -> int:
    """
    The hash of some bytes, 64 bits.
    """
    size = len(data)
    position = size & ~31
    value = _stripes(data[:position], seed) if position else seed + _P5
    value = (value + size) & _MASK
    while position + 8 <= size:
        value ^= _round(0, _long(data, position)[0])
        value = ((value << 27 | value >> 37) & _MASK) * _P1 + _P4 & _MASK
        position += 8
    if position + 4 <= size:
        value ^= _short(data, position)[0] * _P1 & _MASK
        value = ((value << 23 | value >> 41) & _MASK) * _P2 + _P3 & _MASK
        position += 4
    for byte in data[position:]:
        value ^= byte * _P5 & _MASK
        value = ((value << 11 | value >> 53) & _MASK) * _P1 & _MASK
    value ^= value >> 33
    value = value * _P2 & _MASK
    value ^= value >> 29
    value = value * _P3 & _MASK
    return value ^ value >> 32
