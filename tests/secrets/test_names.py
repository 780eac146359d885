"""
Tests of L{meshproxy.secrets.names}.
"""

from __future__ import annotations

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.net.certificates import AltNames
from meshproxy.secrets.names import compileAltNameMatchers, dnsNameMatches, isNamed
from meshproxy.testing.pki import Authority
from tests.secrets.support import section


class DNSNameTests(SynchronousTestCase):
    """
    L{dnsNameMatches} lets a wildcard stand for one label.
    """

    def test_table(self) -> None:
        """
        Names as RFC 9525 compares them.
        """
        table = {
            ("example.com", "example.com"): True,
            ("Example.COM", "example.com"): True,
            ("*.example.com", "a.example.com"): True,
            ("*.example.com", "a.b.example.com"): False,
            ("*.example.com", "example.com"): False,
            ("*.example.com", ".example.com"): False,
            ("*a.example.com", "ba.example.com"): False,
            ("a.*.com", "a.example.com"): False,
            ("*.*.com", "a.example.com"): False,
            ("*", "example"): False,
            ("victim\0.evil", "victim"): False,
            ("victim\0.evil", "victim\0.evil"): False,
        }
        self.assertEqual({pair: dnsNameMatches(*pair) for pair in table}, table)


class MatcherTests(SynchronousTestCase):
    """
    L{compileAltNameMatchers} holds each matcher against names of its own type.
    """

    names = AltNames(
        ("a.example.com", "*.wild.com", "bad\0.example.com"),
        ("spiffe://a/b",),
        ("192.0.2.1",),
        ("me@example.com",),
        (("1.2.3", b"\x0c\x03abc"),),
    )

    def matches(self, kind: str, matcher: dict[str, str], oid: str = "") -> bool:
        value = {"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher, "oid": oid}]}
        held = section("CertificateValidationContext", value)
        test = compileAltNameMatchers(held.children("match_typed_subject_alt_names"))
        held.report.raiseIfAny()
        assert test is not None
        return test(self.names)

    def test_types(self) -> None:
        """
        Each type of name is found by its own matcher, and by no other one (CVE-2022-21656).
        """
        exact = {
            "DNS": "a.example.com",
            "URI": "spiffe://a/b",
            "IP_ADDRESS": "192.0.2.1",
            "EMAIL": "me@example.com",
        }
        for kind in exact:
            for other, name in exact.items():
                self.assertIs(self.matches(kind, {"exact": name}), kind == other, (kind, name))

    def test_wildcards(self) -> None:
        """
        A wildcard of the certificate counts where a whole DNS name is asked for, and only there.
        """
        self.assertTrue(self.matches("DNS", {"exact": "x.wild.com"}))
        self.assertFalse(self.matches("DNS", {"exact": "x.y.wild.com"}))
        self.assertFalse(self.matches("DNS", {"prefix": "x.wild"}))
        self.assertTrue(self.matches("DNS", {"suffix": ".wild.com"}))

    def test_nul(self) -> None:
        """
        A name with a NUL in it matches nothing (CVE-2025-66220).
        """
        self.assertFalse(self.matches("DNS", {"prefix": "bad"}))

    def test_otherNames(self) -> None:
        """
        Other names are found by their object identifier and their text.
        """
        self.assertTrue(self.matches("OTHER_NAME", {"exact": "abc"}, "1.2.3"))
        self.assertFalse(self.matches("OTHER_NAME", {"exact": "abc"}, "1.2.4"))
        error = self.assertRaises(ConfigErrors, self.matches, "OTHER_NAME", {"exact": "abc"})
        self.assertIn("object identifier", str(error))

    def test_none(self) -> None:
        """
        Without matchers there is nothing to ask.
        """
        self.assertIsNone(compileAltNameMatchers([]))

    def test_unspecified(self) -> None:
        """
        A matcher says what it is for.
        """
        error = self.assertRaises(ConfigErrors, self.matches, "SAN_TYPE_UNSPECIFIED", {"exact": "a"})
        self.assertIn("EMAIL, DNS", str(error))


class HostTests(SynchronousTestCase):
    """
    L{isNamed} asks whether a certificate is for a host.
    """

    def test_hosts(self) -> None:
        """
        DNS names for names, IP addresses for addresses; the common name counts for nothing.
        """
        certificate = Authority().issue("*.example.com", "2001:db8::1", commonName="other.com").certificate
        hosts = ("a.example.com", "2001:db8:0::1", "other.com", "2001:db8::2")
        self.assertEqual([isNamed(certificate, host) for host in hosts], [True, True, False, False])

    def test_nul(self) -> None:
        """
        What stands before a NUL is no name.
        """
        certificate = Authority().issue(others=[x509.DNSName("victim\0.evil")], commonName="x").certificate
        self.assertFalse(isNamed(certificate, "victim"))
