"""
L{meshproxy.net.localaddress}.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net import localaddress
from meshproxy.net.localaddress import findLocalAddress, interfaceAddresses


class LocalAddressTests(SynchronousTestCase):
    """
    The address of this machine.
    """

    def setUp(self) -> None:
        findLocalAddress.cache_clear()
        self.addCleanup(findLocalAddress.cache_clear)

    def test_interfaces(self) -> None:
        """
        This machine has some, in any case those that are addresses.
        """
        for host in interfaceAddresses():
            IPv4Address(host)

    def test_chosen(self) -> None:
        """
        The first that others can reach.
        """
        for hosts, expected in ((["127.0.0.1", "192.0.2.1", "192.0.2.2"], "192.0.2.1"), ([], "127.0.0.1")):
            self.patch(localaddress, "interfaceAddresses", lambda hosts=hosts: iter(hosts))
            self.assertEqual(findLocalAddress(), expected)
            findLocalAddress.cache_clear()

    def test_unreadable(self) -> None:
        """
        Where nothing can be asked, the loopback's.
        """

        def broken() -> Iterator[str]:
            raise OSError("no")

        self.patch(localaddress, "interfaceAddresses", broken)
        self.assertEqual(findLocalAddress(), "127.0.0.1")
