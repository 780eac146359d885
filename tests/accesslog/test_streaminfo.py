"""
Tests for L{meshproxy.accesslog.streaminfo}.
"""

from __future__ import annotations

import ipaddress

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import Address, StreamInfo


class AddressTests(SynchronousTestCase):
    """
    L{Address} knows how it is written.
    """

    def test_texts(self) -> None:
        """
        IPv6 in brackets, pipes by their path.
        """
        self.assertEqual(Address("192.0.2.1", 80).text, "192.0.2.1:80")
        self.assertEqual(Address("::1", 80).text, "[::1]:80")
        self.assertEqual(Address("/run/x.sock").text, "/run/x.sock")

    def test_ip(self) -> None:
        """
        An IP address can be compared with networks, a pipe cannot.
        """
        self.assertEqual(Address("::1", 80).ip, ipaddress.ip_address("::1"))
        self.assertIsNone(Address("/run/x.sock").ip)
        self.assertFalse(Address("/run/x.sock").isIP)

    def test_equality(self) -> None:
        """
        Addresses are equal by host and port.
        """
        self.assertEqual(Address("192.0.2.1", 80), Address("192.0.2.1", 80))
        self.assertEqual(len({Address("192.0.2.1", 80), Address("192.0.2.1", 80), Address("192.0.2.1", 81)}), 2)
        self.assertNotEqual(Address("192.0.2.1", 80), "192.0.2.1:80")
        self.assertIn("192.0.2.1:80", repr(Address("192.0.2.1", 80)))


class StreamInfoTests(SynchronousTestCase):
    """
    L{StreamInfo}'s defaults.
    """

    def test_empty(self) -> None:
        """
        A new stream holds nothing of its own, and still answers every question.
        """
        info = StreamInfo()
        self.assertEqual(vars(info), {})
        self.assertEqual((info.responseCode, info.end, info.connection.id), (0, None, 0))
