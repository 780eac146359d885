# -*- test-case-name: tests.xds.test_remembered -*-
"""
What was read from serialized messages, so that those which are as they were are not read again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from hashlib import blake2b
from typing import TypeAlias, TypeVar

__all__ = ["remembered"]

T = TypeVar("T")

_SHORT = 256
"""
Bytes of a message that is kept itself. Of others a digest is: routes may have megabytes, and come anew all the time.
"""

_Key: TypeAlias = "bytes | tuple[bytes]"


def remembered(most: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """
    Let a function that reads a message remember what it found.

    @param most: Of how many messages; the oldest are forgotten.
    """

    def decorate(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
        known: dict[_Key, T] = {}

        @wraps(read)
        def find(message: bytes) -> T:
            key: _Key = message if len(message) <= _SHORT else (blake2b(message, digest_size=16).digest(),)
            try:
                return known[key]
            except KeyError:
                pass
            found = read(message)
            if len(known) >= most:
                del known[next(iter(known))]
            known[key] = found
            return found

        return find

    return decorate
