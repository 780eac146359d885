"""
Ports and addresses for programs that tests start.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from itertools import cycle

__all__ = ["bindFree", "freePorts", "ownNetwork"]

# Below the first of the ports that Linux gives to outgoing connections, unless it was told otherwise.
_FIRST, _PARTS, _SIZE = 10_200, 32, 700


@cache
def _ownPart() -> int:
    """
    The number of this process among those of tests: no other one has it as long as this one runs.
    """
    for part in range(_PARTS):
        path = os.path.join(tempfile.gettempdir(), f"meshproxy-tests-{os.getuid()}-ports-{part}")
        # Open, and locked, until the process ends.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return part
    raise AssertionError(f"{_PARTS} processes of tests run already")


def _ports() -> Iterator[int]:
    """
    Ports that no other process of tests takes, each as late as possible for a second time.
    """
    first = _FIRST + _ownPart() * _SIZE
    yield from cycle(range(first, first + _SIZE))


_own = _ports()


def ownNetwork() -> str:
    """
    The first two numbers of loopback addresses that no other process of tests takes.
    """
    return f"127.{100 + _ownPart()}"


def bindFree(host: str = "127.0.0.1") -> socket.socket:
    """
    A socket at a TCP port that nobody has, and none that the system gives to connections that are made meanwhile:
    whoever is to listen there later would find it taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_SIZE):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((host, next(_own)))
        except OSError:
            sock.close()
        else:
            return sock
    raise AssertionError(f"there is no free port at {host}")


def freePorts(count: int, host: str = "127.0.0.1") -> list[int]:
    """
    Such ports, all different.
    """
    with ExitStack() as held:
        return [held.enter_context(bindFree(host)).getsockname()[1] for _ in range(count)]
