"""
L{meshproxy.net.address}.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address


class AddressTests(SynchronousTestCase):
    """
    Addresses of three families.
    """

    def test_texts(self) -> None:
        """
        They are written as Envoy writes them, IPv6 in brackets, and know their family.
        """
        for address, text, family in (
            (Address("192.0.2.1", 80), "192.0.2.1:80", socket.AF_INET),
            (Address("2001:db8::1", 80), "[2001:db8::1]:80", socket.AF_INET6),
            (Address("/run/a"), "/run/a", socket.AF_UNIX),
            (Address("@abstract"), "@abstract", socket.AF_UNIX),
        ):
            self.assertEqual((address.text, address.family), (text, family))
            self.assertEqual(repr(address), f"<Address {text}>")

    def test_socketNames(self) -> None:
        """
        What bind() takes and getsockname() returns is the same address, there and back.
        """
        for address in (Address("192.0.2.1", 80), Address("/run/a"), Address("@abstract")):
            name = address.socketName
            if address.host.startswith("@"):
                self.assertEqual(name, "\0abstract")
                name = name.encode()
            self.assertEqual(Address.ofSocketName(address.family, name), address)

    def test_ipv6Names(self) -> None:
        """
        Of what the kernel tells of an IPv6 socket, the scope and the flow are left out.
        """
        name = ("fe80::1%eth0", 80, 0, 2)
        self.assertEqual(Address.ofSocketName(socket.AF_INET6, name), Address("fe80::1", 80))

    def test_unnamed(self) -> None:
        """
        A unix client is seldom bound: its name is empty, in both forms that Python has for it.
        """
        self.assertEqual(Address.ofSocketName(socket.AF_UNIX, ""), Address(""))
        self.assertEqual(Address.ofSocketName(socket.AF_UNIX, b""), Address(""))

    def test_ip(self) -> None:
        """
        An IP address can be compared with networks; a pipe has none.
        """
        address = Address("127.0.0.1", 80)
        self.assertTrue(address.isIP)
        self.assertTrue(address.ip is not None and address.ip.is_loopback)
        self.assertFalse(Address("/run/a").isIP)
        self.assertIsNone(Address("/run/a").ip)
        self.assertRaises(ValueError, lambda: Address("example.com", 80).ip)

    def test_equality(self) -> None:
        """
        Equal by host and port, and as keys; a pipe is no port, and other things are no addresses.
        """
        self.assertEqual({Address("192.0.2.1", 80), Address("192.0.2.1", 80)}, {Address("192.0.2.1", 80)})
        self.assertNotEqual(Address("192.0.2.1", 80), Address("192.0.2.1", 81))
        self.assertNotEqual(Address("192.0.2.1"), Address("192.0.2.1", 0))
        self.assertNotEqual(Address("/run/a"), "/run/a")
