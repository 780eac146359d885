"""
Tests for L{meshproxy.net.datagrams}.
"""

from __future__ import annotations

import socket
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.net.datagrams import DatagramSender


class _Socket:
    """
    A socket that notes what it is told, and fails when it is to.
    """

    def __init__(self) -> None:
        self.told: list[object] = []
        self.fails = False

    def setblocking(self, blocking: bool) -> None:
        """
        Note it.
        """
        self.told.append(blocking)

    def connect(self, name: object) -> None:
        """
        Note it.
        """
        if self.fails:
            raise OSError(101, "Network is unreachable")
        self.told.append(name)

    def send(self, data: bytes) -> None:
        """
        Note it.
        """
        if self.fails:
            raise ConnectionRefusedError(111, "Connection refused")
        self.told.append(data)

    def close(self) -> None:
        """
        Note it.
        """
        self.told.append("closed")


class DatagramSenderTests(SynchronousTestCase):
    """
    L{DatagramSender}.
    """

    def setUp(self) -> None:
        """
        A sender on a socket in memory.
        """
        self.socket = _Socket()
        self.made: list[Any] = []

        def make(*arguments: Any) -> _Socket:
            self.made.append(arguments)
            return self.socket

        patched = patch("meshproxy.net.datagrams.socket.socket", make)
        patched.start()
        self.addCleanup(patched.stop)
        self.sender = DatagramSender(Address("192.0.2.1", 8125))

    def test_send(self) -> None:
        """
        One socket, which never blocks, for all; it is made when there is something to send.
        """
        self.assertEqual(self.made, [])
        self.sender.send(b"a")
        self.sender.send(b"b")
        self.assertEqual(self.made, [(socket.AF_INET, socket.SOCK_DGRAM)])
        self.assertEqual(self.socket.told, [False, ("192.0.2.1", 8125), b"a", b"b"])
        self.sender.close()
        self.sender.close()
        self.assertEqual(self.socket.told[-1], "closed")

    def test_lost(self) -> None:
        """
        What cannot be sent is lost, and told once; the next is tried.
        """
        self.sender.send(b"a")
        self.socket.fails = True
        self.sender.send(b"b")
        self.sender.send(b"c")
        self.assertEqual(self.sender.lost, 2)
        self.socket.fails = False
        self.sender.send(b"d")
        self.assertEqual(self.socket.told[-1], b"d")

    def test_unreachable(self) -> None:
        """
        A socket that cannot be made is closed, and made again for the next.
        """
        self.socket.fails = True
        self.sender.send(b"a")
        self.assertEqual(self.socket.told, [False, "closed"])
        self.socket.fails = False
        self.sender.send(b"b")
        self.assertEqual(self.socket.told[-1], b"b")
