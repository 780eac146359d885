"""
Ports for programs that tests start.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

__all__ = ["bindFree", "freePorts"]

# The first of the ports that Linux gives to outgoing connections, unless it was told otherwise.
_FIRST_EPHEMERAL = 32_768

# Tests that run beside each other are not to choose the same.
_random = random.SystemRandom()


def bindFree(host: str = "127.0.0.1") -> socket.socket:
    """
    A socket at a TCP port that nobody has, and none that the system gives to connections that are made meanwhile:
    whoever is to listen there later would find it taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(1000):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((host, _random.randrange(10_000, _FIRST_EPHEMERAL)))
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
