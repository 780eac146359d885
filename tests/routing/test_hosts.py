# -*- test-case-name: tests.routing.test_hosts -*-
"""
Tests for L{meshproxy.routing.hosts}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.hosts import DomainTable, withoutPort

DOMAINS = [
    *("a.com", "*.a.com", "*.b.a.com", "a.*", "a.b.*", "*", "*-x.a.com", "a*b", "port.com:80", "[::1]", "*a*"),
    *("*.port.org", "port.org"),
]

# Recorded from Envoy 1.40: the authority, its domain, and its domain with ignore_port_in_host_matching.
RECORDED = [
    ("a.com", "a.com", "a.com"),
    ("A.COM", "a.com", "a.com"),
    ("x.a.com", "*.a.com", "*.a.com"),
    (".a.com", "*", "*"),
    ("y.b.a.com", "*.b.a.com", "*.b.a.com"),
    ("b.a.com", "*.a.com", "*.a.com"),
    ("a.org", "a.*", "a.*"),
    ("a.b.org", "a.b.*", "a.b.*"),
    ("a.", "*", "*"),
    ("a.b.", "a.*", "a.*"),
    ("q-x.a.com", "*-x.a.com", "*-x.a.com"),
    ("-x.a.com", "*.a.com", "*.a.com"),
    ("a*b", "a*b", "a*b"),
    ("axb", "*", "*"),
    ("port.com", "*", "*"),
    ("port.com:80", "port.com:80", "*"),
    ("port.com:81", "*", "*"),
    ("[::1]", "[::1]", "[::1]"),
    ("[::1]:80", "*", "[::1]"),
    ("xa*", "*a*", "*a*"),
    ("a.com:80", "a.*", "a.com"),
    ("x.a.com:80", "*", "*.a.com"),
    ("x.port.org:99", "*", "*.port.org"),
    ("port.org:1", "*", "port.org"),
    ("a.com:", "a.*", "a.com"),
    ("foo", "*", "*"),
]


class DomainTableTests(SynchronousTestCase):
    """
    L{DomainTable} chooses the domain that Envoy chooses.
    """

    def test_recorded(self) -> None:
        """
        Exact, suffix, prefix, default; longest first; any case; with and without the port.
        """
        table: DomainTable[str] = DomainTable()
        for domain in reversed(DOMAINS):
            self.assertTrue(table.add(domain, domain))
        lookup, portless = table.compileLookup(), table.compileLookup(ignorePort=True)
        for authority, expected, withoutItsPort in RECORDED:
            self.assertEqual(lookup(authority.encode()), expected, authority)
            self.assertEqual(portless(authority.encode()), withoutItsPort, authority)

    def test_noMatch(self) -> None:
        """
        Without a default there may be no virtual host.
        """
        table: DomainTable[str] = DomainTable()
        table.add("a.com", "a")
        self.assertIsNone(table.compileLookup()(b"b.com"))

    def test_duplicates(self) -> None:
        """
        The same domain twice is told, in any case of its letters.
        """
        for domain in ("a.com", "*.a.com", "a.*", "*"):
            table: DomainTable[int] = DomainTable()
            self.assertTrue(table.add(domain, 1))
            self.assertFalse(table.add(domain.upper(), 2))

    def test_onlyDefault(self) -> None:
        """
        Where C{*} is alone, nothing has to be looked up.
        """
        table: DomainTable[str] = DomainTable()
        table.add("*", "all")
        self.assertEqual(table.onlyDefault(), "all")
        table.add("*.a", "a")
        self.assertIsNone(table.onlyDefault())


class WithoutPortTests(SynchronousTestCase):
    """
    L{withoutPort} knows a port from the colons of an address.
    """

    def test_forms(self) -> None:
        """
        Names and bracketed addresses, with and without a port.
        """
        for authority, host in (
            (b"a.com:80", b"a.com"),
            (b"a.com", b"a.com"),
            (b"[::1]:80", b"[::1]"),
            (b"[::1]", b"[::1]"),
            (b"a:", b"a"),
            (b"", b""),
        ):
            self.assertEqual(withoutPort(authority), host)
