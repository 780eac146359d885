"""
Tests of L{meshproxy.testing.pki}.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing.pki import Authority


class AuthorityTests(SynchronousTestCase):
    """
    Certificates for tests are ones that a TLS library takes.
    """

    def test_chain(self) -> None:
        """
        What an intermediate authority signs comes with the certificate of that authority, and each is signed by the
        next.
        """
        root = Authority("root")
        between = Authority("between", root)
        issued = between.issue("example.com", "192.0.2.1", "spiffe://a/b", "a@example.com", kind="rsa")
        leaf, issuer = x509.load_pem_x509_certificates(issued.chain.encode())
        leaf.verify_directly_issued_by(issuer)
        issuer.verify_directly_issued_by(root.certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([type(each).__name__ for each in names][1], "IPAddress")

    def test_key(self) -> None:
        """
        The private key is that of the certificate, and can be encrypted.
        """
        issued = Authority().issue(commonName="someone")
        key = serialization.load_pem_private_key(issued.encryptedKey(b"secret").encode(), b"secret")
        self.assertEqual(key.public_key(), issued.certificate.public_key())

    def test_revoke(self) -> None:
        """
        A list of revoked certificates names them.
        """
        authority = Authority()
        issued = authority.issue("example.com")
        crl = x509.load_pem_x509_crl(authority.revoke(issued).encode())
        self.assertIsNotNone(crl.get_revoked_certificate_by_serial_number(issued.certificate.serial_number))
