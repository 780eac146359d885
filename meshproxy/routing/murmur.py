# -*- test-case-name: tests.routing.test_murmur -*-
"""
MurmurHash2, 64 bits, as C{std::hash} of libstdc++ computes it: Envoy's C{MURMUR_HASH_2}.

After the public domain code of Austin Appleby (C{MurmurHash64A}).
"""

from __future__ import annotations

from typing import Final

__all__ = ["murmur2"]

_MASK: Final = (1 << 64) - 1
_M: Final = 0xC6A4A7935BD1E995


def murmur2(data: bytes, seed: int) -> int:
    """
    The hash of some bytes, 64 bits.
    """
    value = seed ^ len(data) * _M & _MASK
    whole = len(data) & ~7
    for start in range(0, whole, 8):
        part = int.from_bytes(data[start : start + 8], "little") * _M & _MASK
        part = (part ^ part >> 47) * _M & _MASK
        value = (value ^ part) * _M & _MASK
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    value = (value ^ value >> 47) * _M & _MASK
    return value ^ value >> 47
