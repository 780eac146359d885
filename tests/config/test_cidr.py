# -*- test-case-name: tests.config.test_cidr -*-
"""
Tests for L{meshproxy.config.cidr}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cidr import (
    CidrRange,
    CidrSet,
    cidrSetOf,
    compileAddressMatcher,
    compileCidrRange,
    compileCidrSet,
    packAddress,
)
from meshproxy.config.section import Section


def section(prefix: str, length: int | None = None) -> Section:
    """
    A CidrRange.
    """
    fields = {"address_prefix": prefix} if length is None else {"address_prefix": prefix, "prefix_len": length}
    return Section.of("envoy.config.core.v3.CidrRange", fields)


def ranges(*texts: str) -> CidrSet:
    """
    A set of ranges in the usual notation.
    """
    pairs = [text.split("/") for text in texts]
    return compileCidrSet([section(prefix, int(length)) for prefix, length in pairs])


class PackAddressTests(SynchronousTestCase):
    """
    L{packAddress} reads addresses and nothing else.
    """

    def test_addresses(self) -> None:
        """
        Both families, a mapped address as what it maps, a scope left out.
        """
        self.assertEqual(packAddress("10.0.0.1"), bytes([10, 0, 0, 1]))
        self.assertEqual(packAddress("::1"), bytes(15) + b"\x01")
        self.assertEqual(packAddress("::ffff:10.0.0.1"), bytes([10, 0, 0, 1]))
        self.assertEqual(packAddress("fe80::1%eth0"), packAddress("fe80::1"))

    def test_others(self) -> None:
        """
        Names, paths and half addresses are none.
        """
        for text in ("", "localhost", "10.0.0", "10.0.0.256", "/tmp/x", "1::2::3", "10.0.0.1:80", "010.0.0.1"):
            self.assertIsNone(packAddress(text), text)


class CidrSetTests(SynchronousTestCase):
    """
    L{CidrSet} finds the most specific range.
    """

    def test_membership(self) -> None:
        """
        Edges of a range, and the other family.
        """
        inside = ranges("10.1.0.0/16", "2001:db8::/32")
        for address, expected in (
            ("10.1.0.0", True),
            ("10.1.255.255", True),
            ("10.2.0.0", False),
            ("10.0.255.255", False),
            ("2001:db8:ffff::", True),
            ("2001:db9::", False),
            ("::ffff:10.1.2.3", True),
            ("nonsense", False),
        ):
            self.assertIs(inside.containsText(address), expected, address)

    def test_hostBitsAreMasked(self) -> None:
        """
        Bits behind the prefix do not count, as in Envoy.
        """
        self.assertEqual(str(compileCidrRange(section("10.1.2.3", 8))), "10.0.0.0/8")

    def test_everything(self) -> None:
        """
        No length at all is everything of the family.
        """
        all4 = CidrSet([found] if (found := compileCidrRange(section("0.0.0.0"))) else [])
        self.assertTrue(all4.containsText("203.0.113.9"))
        self.assertFalse(all4.containsText("::1"))

    def test_lengthBeyondAddress(self) -> None:
        """
        A length beyond the address is the whole address, as in Envoy.
        """
        self.assertEqual(str(compileCidrRange(section("10.1.2.3", 128))), "10.1.2.3/32")

    def test_mappedRange(self) -> None:
        """
        A range of mapped addresses is one of IPv4.
        """
        self.assertEqual(str(compileCidrRange(section("::ffff:10.0.0.0", 104))), "10.0.0.0/8")

    def test_mostSpecific(self) -> None:
        """
        The longest prefix wins, whatever the order.
        """
        found = ranges("0.0.0.0/0", "10.1.2.0/24", "10.0.0.0/8").longestMatch(bytes([10, 1, 2, 3]))
        self.assertEqual(str(found), "10.1.2.0/24")

    def test_ofTexts(self) -> None:
        """
        A set of the program's own is like one that was configured.
        """
        texts = ("10.0.0.0/8", "fd00::/8", "::1/128")
        self.assertEqual(cidrSetOf(*texts).ranges, ranges(*texts).ranges)

    def test_empty(self) -> None:
        """
        An empty set holds nothing, and says so.
        """
        self.assertFalse(CidrSet())
        self.assertFalse(CidrSet().containsText("10.0.0.1"))

    def test_refused(self) -> None:
        """
        What is no address is told at its place and left out.
        """
        bad = section("10.0.0", 8)
        self.assertIsNone(compileCidrRange(bad))
        self.assertEqual([error.path for error in bad.report.errors], ["address_prefix"])

    def test_matcher(self) -> None:
        """
        An address matcher may be inverted; what is no address is neither inside nor outside.
        """
        held = {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
        for invert in (False, True):
            test = compileAddressMatcher(
                Section.of("envoy.type.matcher.v3.AddressMatcher", {**held, "invert_match": invert})
            )
            found = [test(host) for host in ("10.1.1.1", "11.0.0.1", "::1", "/run/x", "")]
            self.assertEqual(found, [not invert, invert, invert, False, False])

    def test_sameRangeOnce(self) -> None:
        """
        Equal ranges are one.
        """
        self.assertEqual(len(ranges("10.0.0.0/8", "10.1.0.0/8")), 1)
        self.assertEqual({CidrRange(b"\x0a\0\0\0", 8)}, {CidrRange(b"\x0a\x01\0\0", 8)})
