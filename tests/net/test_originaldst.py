"""
L{meshproxy.net.originaldst}.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.originaldst import originalDestination


class FakeSocket:
    """
    A socket whose kernel knows something, or does not.
    """

    def __init__(self, family: int, answer: bytes | None) -> None:
        self.family = family
        self.asked: list[tuple[int, ...]] = []
        self._answer = answer

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        self.asked.append((level, name, size))
        if self._answer is None:
            raise OSError(errno.ENOENT, "none")
        return self._answer


class OriginalDestinationTests(SynchronousTestCase):
    """
    What the kernel says.
    """

    def told(self, family: int, answer: bytes | None) -> Any:
        """
        The address as text.
        """
        self.sock = FakeSocket(family, answer)
        found = originalDestination(self.sock)
        return None if found is None else found.text

    def test_addresses(self) -> None:
        """
        Both kinds of addresses, with their ports.
        """
        four = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 8080) + bytes((192, 0, 2, 1)) + bytes(8)
        self.assertEqual(self.told(socket.AF_INET, four), "192.0.2.1:8080")
        self.assertEqual(self.sock.asked, [(0, 80, 16)])
        packed = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        six = struct.pack("=H", socket.AF_INET6) + struct.pack("!HL", 443, 7) + packed + bytes(4)
        self.assertEqual(self.told(socket.AF_INET6, six), "[2001:db8::1]:443")
        self.assertEqual(self.sock.asked, [(41, 80, 28)])
        mapped = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1")
        six = struct.pack("=H", socket.AF_INET6) + struct.pack("!HL", 443, 0) + mapped + bytes(4)
        self.assertEqual(self.told(socket.AF_INET6, six), "192.0.2.1:443")

    def test_none(self) -> None:
        """
        Nobody knows of another address, or there can be none.
        """
        self.assertIsNone(self.told(socket.AF_INET, None))
        self.assertIsNone(self.told(socket.AF_UNIX, b""))
        self.assertEqual(self.sock.asked, [])
