"""
L{meshproxy.upstream.balancers.hashing}. That requests go where Envoy sends them is a matter of C{tests.conformance}.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.upstream.balancers.base import IHashTable
from meshproxy.upstream.balancers.hashing import Maglev, Ring, hashName
from meshproxy.upstream.endpoint import Endpoint
from tests.upstream.support import endpoints

KEYS = [number * 0x9E3779B97F4A7C15 % (1 << 64) for number in range(2000)]


def weighted(*weights: int) -> list[tuple[Endpoint, float]]:
    """
    Endpoints with their shares.
    """
    return [(endpoint, endpoint.weight / sum(weights)) for endpoint in endpoints(*weights)]


def shares(table: IHashTable) -> dict[str, int]:
    """
    How many of some keys each endpoint has.
    """
    return Counter(table.choose(key, 0).address.host for key in KEYS)


class NameTests(SynchronousTestCase):
    """
    What is hashed.
    """

    def test_names(self) -> None:
        """
        The key in the metadata, else the host name where that is asked for, else the address.
        """
        address = Address("192.0.2.1", 80)
        self.assertEqual(hashName(Endpoint(address, "a.example")), b"192.0.2.1:80")
        self.assertEqual(hashName(Endpoint(address, "a.example"), True), b"a.example")
        self.assertEqual(hashName(Endpoint(address), True), b"192.0.2.1:80")
        self.assertEqual(hashName(Endpoint(address, metadata={"envoy.lb": {"hash_key": "k"}}), True), b"k")
        self.assertEqual(hashName(Endpoint(address, metadata={"envoy.lb": {"hash_key": 7}})), b"192.0.2.1:80")


class TableTests(SynchronousTestCase):
    """
    Both tables.
    """

    def test_weights(self) -> None:
        """
        Shares follow weights.
        """
        for table in (Ring(weighted(1, 3)), Maglev(weighted(1, 3), size=1009)):
            self.assertLess(abs(shares(table)["192.0.2.2"] / len(KEYS) - 0.75), 0.05)

    def test_stable(self) -> None:
        """
        One endpoint less moves its own keys, and few others.
        """
        for make in (Ring, lambda those: Maglev(those, size=1009)):
            before, after = make(weighted(1, 1, 1, 1)), make(weighted(1, 1, 1))
            moved = [
                key
                for key in KEYS
                if before.choose(key, 0).address != after.choose(key, 0).address
                and before.choose(key, 0).address.host != "192.0.2.4"
            ]
            self.assertLess(len(moved), len(KEYS) * 0.15)

    def test_order(self) -> None:
        """
        The order of discovery does not matter.
        """
        for make in (Ring, lambda those: Maglev(those, size=1009)):
            one, other = make(weighted(1, 1, 1)), make(weighted(1, 1, 1)[::-1])
            for key in KEYS[:100]:
                self.assertEqual(one.choose(key, 0).address, other.choose(key, 0).address)

    def test_attempts(self) -> None:
        """
        A further attempt soon leads elsewhere.
        """
        for table in (Ring(weighted(1, 1, 1)), Maglev(weighted(1, 1, 1), size=1009)):
            for key in KEYS[:50]:
                self.assertGreater(len({table.choose(key, attempt) for attempt in range(12)}), 1)

    def test_sizes(self) -> None:
        """
        A ring has the size that was asked for, and each endpoint a fair part of it.
        """
        ring = Ring(weighted(1, 1, 1, 1), least=64)
        self.assertEqual((ring.size, ring.least, ring.most), (64, 16, 16))
        self.assertEqual(Ring(weighted(1, 1, 1, 1), most=8).size, 8)
        table = Maglev(weighted(1, 1), size=11)
        self.assertEqual((table.least, table.most), (5, 6))

    def test_murmur(self) -> None:
        """
        The other hash makes another ring.
        """
        one, other = Ring(weighted(1, 1)), Ring(weighted(1, 1), isMurmur=True)
        self.assertNotEqual([one.choose(k, 0).address for k in KEYS], [other.choose(k, 0).address for k in KEYS])
