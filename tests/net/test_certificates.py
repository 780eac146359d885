"""
Tests of L{meshproxy.net.certificates}.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.certificates import altNames, commonName, nameText, pemOf, serialOf
from meshproxy.testing.pki import Authority


class CertificateTests(SynchronousTestCase):
    """
    What certificates say.
    """

    def test_names(self) -> None:
        """
        Alternative names come by their type, whatever is in them.
        """
        other = x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01x")
        issued = Authority().issue("a", "spiffe://b/c", "::1", "d@e", others=[other, x509.DNSName("f\0g")])
        found = altNames(issued.certificate)
        self.assertEqual(
            (found.dns, found.uris, found.ips, found.emails, found.others),
            (("a", "f\0g"), ("spiffe://b/c",), ("::1",), ("d@e",), (("1.2.3", b"\x0c\x01x"),)),
        )

    def test_none(self) -> None:
        """
        A certificate without alternative names has none.
        """
        found = altNames(Authority().issue(commonName="a").certificate)
        self.assertEqual((found.dns, found.uris), ((), ()))

    def test_commonName(self) -> None:
        """
        The last common name counts.
        """
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in ("one", "two")])
        self.assertEqual(commonName(Authority().issue(subject=name).certificate), "two")
        self.assertEqual(commonName(Authority().issue("a").certificate), "")

    def test_text(self) -> None:
        """
        Names and numbers as OpenSSL writes them.
        """
        issued = Authority("a+b").issue("a", commonName="#x")
        self.assertEqual(nameText(issued.certificate.issuer), "CN=a\\+b")
        self.assertEqual(nameText(x509.Name([])), "")
        strange = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "caf\u00e9\n")])
        self.assertEqual(nameText(strange), "CN=caf\\C3\\A9\\0A")
        self.assertEqual(int(serialOf(issued.certificate), 16), issued.certificate.serial_number)
        self.assertTrue(pemOf(issued.certificate).endswith("-----END CERTIFICATE-----\n"))
