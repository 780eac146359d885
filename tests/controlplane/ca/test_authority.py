"""
Tests for L{meshproxy.controlplane.ca.authority} and L{meshproxy.controlplane.ca.certificates}.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.ca.authority import Authority, AuthorityError, Issued
from meshproxy.controlplane.ca.certificates import newKey, utc
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.ca.material import INTERMEDIATE_LIFE, ROOT_LIFE, Material
from meshproxy.controlplane.ca.requests import RequestRefused
from tests.controlplane.ca.support import ANN, BOB, NOW, makeRequest, uri


class AuthorityTests(SynchronousTestCase):
    """
    L{Authority} certifies who was proven, and nobody else.
    """

    def setUp(self) -> None:
        self.now = NOW
        self.material = Material(Path(self.mktemp()), "cluster.local", lambda: self.now)
        self.authority = Authority(self.material.signer, "cluster.local", lambda: self.now)

    def verify(self, issued: Issued) -> list[x509.GeneralName]:
        """
        The names of a certificate, after somebody else's code followed its chain to the roots.
        """
        builder = PolicyBuilder().store(Store(list(issued.roots))).time(utc(self.now))
        verified = builder.build_client_verifier().verify(issued.chain[0], list(issued.chain[1:]))
        assert verified.subjects is not None
        return verified.subjects

    def test_issue(self) -> None:
        """
        A workload's certificate has its identity as its only name, critical since there is no subject, and is for both
        sides of a connection.
        """
        key = newKey()
        issued = self.authority.issue(makeRequest(key, subject="ignored"), ANN)
        self.assertEqual(self.verify(issued), [uri(ANN)])
        certificate = issued.certificate
        self.assertEqual(certificate.public_key(), key.public_key())
        self.assertEqual(list(certificate.subject), [])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual((list(names.value), names.critical), ([uri(ANN)], True))
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(set(uses), {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
        self.assertFalse(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        self.assertEqual(len(issued.chain), 2)
        self.assertEqual(issued.chainPEM().count("BEGIN CERTIFICATE"), 2)
        self.assertEqual(int(issued.serial, 16), certificate.serial_number)

    def test_rsa(self) -> None:
        """
        A key of RSA may encipher keys too, as older peers want it.
        """
        usages = []
        for key in (rsa.generate_private_key(65537, 2048), newKey()):
            certificate = self.authority.issue(makeRequest(key), ANN).certificate
            usages.append(certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment)
        self.assertEqual(usages, [True, False])

    def test_nameIsTheSenders(self) -> None:
        """
        A request for another's name gets nothing.
        """
        self.assertRaises(RequestRefused, self.authority.issue, makeRequest(names=[uri(BOB)]), ANN)

    def test_trustDomain(self) -> None:
        """
        An identity of another trust domain is none of this authority's.
        """
        foreign = Identity("other.test", "default", "ann")
        self.assertRaises(AuthorityError, self.authority.issue, makeRequest(), foreign)

    def test_life(self) -> None:
        """
        A day, or what is asked for, within limits; and it begins a little earlier, for clocks that are behind.
        """

        def life(asked: timedelta | None) -> timedelta:
            issued = self.authority.issue(makeRequest(), ANN, asked)
            self.assertEqual(utc(NOW) - issued.certificate.not_valid_before_utc, timedelta(minutes=2))
            return issued.notAfter - utc(NOW)

        self.now = NOW + 3600
        self.material.signer()
        self.assertEqual(self.authority.issue(makeRequest(), ANN).notAfter, utc(self.now) + timedelta(days=1))
        self.now = NOW
        day = timedelta(days=1)
        self.assertEqual(life(None), day)
        self.assertEqual(life(timedelta(seconds=5)), timedelta(seconds=5))
        self.assertEqual(life(timedelta(milliseconds=5)), timedelta(seconds=1))
        self.assertEqual(life(-day), day)
        self.assertEqual(life(day * 4000), day * 90)

    def test_notLongerThanTheIssuer(self) -> None:
        """
        No certificate outlives its issuer's, and an authority that expired issues none.
        """
        signer = self.material.signer()
        authority = Authority(lambda: signer, "cluster.local", lambda: self.now)
        ends = signer.certificate.not_valid_after_utc
        self.now = ends.timestamp() - 60
        self.assertEqual(authority.issue(makeRequest(), ANN).notAfter, ends)
        self.now = ends.timestamp()
        error = self.assertRaises(AuthorityError, authority.issue, makeRequest(), ANN)
        self.assertIn("ended at", str(error))

    def test_intermediateIsRenewed(self) -> None:
        """
        At half of its life the intermediate is made anew; what the old one signed stays good under the same root.
        """
        old = self.authority.issue(makeRequest(), ANN, timedelta(days=90))
        self.now = NOW + INTERMEDIATE_LIFE.total_seconds() / 2 - 3600
        self.assertEqual(self.authority.issue(makeRequest(), ANN).chain[1], old.chain[1])
        self.now = NOW + INTERMEDIATE_LIFE.total_seconds() / 2
        new = self.authority.issue(makeRequest(), ANN)
        self.assertNotEqual(new.chain[1], old.chain[1])
        self.assertEqual(new.roots, old.roots)
        self.verify(new)

    def test_rootOutlives(self) -> None:
        """
        Near the end of the root an intermediate ends with it.
        """
        self.now = NOW + ROOT_LIFE.total_seconds() - 3600
        issued = self.authority.issue(makeRequest(), ANN)
        self.assertEqual(issued.notAfter, issued.roots[0].not_valid_after_utc)

    def test_intermediateIsTheLast(self) -> None:
        """
        A workload cannot play authority: what its key signs leads nowhere.
        """
        key = newKey()
        issued = self.authority.issue(makeRequest(key), ANN)
        builder = x509.CertificateBuilder(
            issued.certificate.subject,
            x509.Name([]),
            newKey().public_key(),
            1,
            utc(NOW),
            utc(NOW + 60),
            [x509.Extension(x509.SubjectAlternativeName.oid, True, x509.SubjectAlternativeName([uri(BOB)]))],
        )
        forged = builder.sign(key, SHA256())
        verifier = PolicyBuilder().store(Store(list(issued.roots))).time(utc(NOW)).build_client_verifier()
        self.assertRaises(VerificationError, verifier.verify, forged, list(issued.chain))

    def test_server(self) -> None:
        """
        The control plane's own certificate has host names and addresses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        issued = self.authority.issueServer(key.public_key(), names)
        builder = PolicyBuilder().store(Store(list(issued.roots))).time(utc(NOW))
        verifier = builder.build_server_verifier(x509.DNSName("localhost"))
        self.assertEqual(verifier.verify(issued.chain[0], list(issued.chain[1:]))[-1], issued.roots[0])
