# -*- test-case-name: tests.http.test_requestids -*-
"""
The ids that requests get here: C{x-request-id}.
"""

from __future__ import annotations

from random import SystemRandom
from struct import iter_unpack

from meshproxy.config import Section

__all__ = ["checkRequestIds", "newRequestId"]

_UUID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

_systemRandom = SystemRandom()


class _RequestIds:
    """
    Version 4 UUIDs (RFC 9562, 5.4), their random bits taken from the system many at a time.
    """

    _COUNT = 128

    # Of the 128 bits of each, those that are random, and those that say what it is: version 4, variant 10.
    _RANDOM = int.from_bytes(bytes.fromhex("ffffffffffff0fff3fffffffffffffff") * _COUNT, "big")
    _FIXED = int.from_bytes(bytes.fromhex("00000000000040008000000000000000") * _COUNT, "big")

    def __init__(self) -> None:
        self._ready: list[bytes] = []

    def take(self) -> bytes:
        """
        The next one.
        """
        ready = self._ready
        if not ready:
            bits = _systemRandom.getrandbits(128 * self._COUNT) & self._RANDOM | self._FIXED
            digits = b"%0*x" % (32 * self._COUNT, bits)
            ready += map(b"-".join, iter_unpack("8s4s4s4s12s", digits))
        return ready.pop()


newRequestId = _RequestIds().take
"""
Makes an C{x-request-id}.
"""


def checkRequestIds(extension: Section) -> None:
    """
    Refuse a C{RequestIDExtension} that makes others than these.
    """
    config = extension.any("typed_config")
    if config is not None and config.typeName != _UUID:
        extension.refuse(f"{config.typeName} makes no ids of requests here", "typed_config", (_UUID,))
