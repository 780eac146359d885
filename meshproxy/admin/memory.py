# -*- test-case-name: tests.admin.test_state -*-
"""
How much memory the process has.
"""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["ProcessMemory", "parseStatm", "processMemory"]


class ProcessMemory(NamedTuple):
    """
    Bytes.

    @ivar allocated: What is resident and belongs to this process alone.
    @ivar heapSize: Data and stack, resident or not.
    @ivar resident: What is resident, shared libraries included.
    """

    allocated: int = 0
    heapSize: int = 0
    resident: int = 0


def parseStatm(text: str, pageSize: int) -> ProcessMemory:
    """
    Read C{/proc/self/statm}: pages of size, resident, shared, text, lib, data, dt.
    """
    _size, resident, shared, _text, _lib, data, *_ = (int(word) * pageSize for word in text.split())
    return ProcessMemory(resident - shared, data, resident)


def processMemory() -> ProcessMemory:
    """
    That of this process; zeros where the system does not tell.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return parseStatm(file.read(), os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return ProcessMemory()
