"""
Tests of L{meshproxy.net.tlsinfo}.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.certificates import serialOf
from meshproxy.net.tls import TLSTransport
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.testing.pki import Authority
from tests.secrets.support import Heard, Room


class TLSInfoTests(SynchronousTestCase):
    """
    L{TLSInfo} knows what access logs show.
    """

    def setUp(self) -> None:
        self.room = Room()
        self.authority = authority = Authority("the authority")
        self.server = authority.issue("example.com", commonName="server")
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Some, Inc"),
                x509.NameAttribute(NameOID.COMMON_NAME, "client"),
                x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b"),
            ]
        )
        self.client = authority.issue(
            "spiffe://a/b", "a.example", "b.example", "192.0.2.7", "me@example.com", subject=name
        )
        self.downstream = self.room.downstream(
            {
                "common_tls_context": {
                    "tls_certificates": [self.server.inline],
                    "validation_context": {"trusted_ca": {"inline_string": authority.root}},
                }
            }
        )

    def info(self, *, mutual: bool = True) -> TLSInfo:
        """
        The facts that the server has.
        """
        keys = [self.client.inline] if mutual else []
        upstream = self.room.upstream({"sni": "example.com", "common_tls_context": {"tls_certificates": keys}})
        server, _ = self.room.shake(self.downstream, upstream)
        return self.of(server)

    def of(self, end: Heard) -> TLSInfo:
        assert isinstance(end.transport, TLSTransport) and end.transport.tls is not None
        return end.transport.tls

    def test_mutual(self) -> None:
        """
        Names, issuer, digests and times of the peer's certificate, and this side's own names.
        """
        info = self.info()
        leaf = self.client.certificate
        wanted = {
            "PEER_URI_SAN": "spiffe://a/b",
            "PEER_DNS_SAN": "a.example,b.example",
            "PEER_IP_SAN": "192.0.2.7",
            "PEER_EMAIL_SAN": "me@example.com",
            "LOCAL_DNS_SAN": "example.com",
            "LOCAL_URI_SAN": "",
            "LOCAL_IP_SAN": "",
            "LOCAL_EMAIL_SAN": "",
            "PEER_SUBJECT": "emailAddress=a@b,CN=client,O=Some\\, Inc,C=DE",
            "LOCAL_SUBJECT": "CN=server",
            "PEER_ISSUER": "CN=the authority",
            "PEER_SERIAL": serialOf(leaf),
            "PEER_FINGERPRINT_256": leaf.fingerprint(hashes.SHA256()).hex(),
            "PEER_FINGERPRINT_1": leaf.fingerprint(hashes.SHA1()).hex(),
            "PEER_CERT_V_START": leaf.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "PEER_CERT_V_END": leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "TLS_VERSION": "TLSv1.3",
            "TLS_CIPHER": "TLS_AES_128_GCM_SHA256",
            "PEER_CHAIN_FINGERPRINTS_256": leaf.fingerprint(hashes.SHA256()).hex(),
            "PEER_CHAIN_FINGERPRINTS_1": leaf.fingerprint(hashes.SHA1()).hex(),
            "PEER_CHAIN_SERIALS": serialOf(leaf),
            "PEER_ISSUER_FINGERPRINT_256": self.authority.certificate.fingerprint(hashes.SHA256()).hex(),
            "PEER_ISSUER_SERIAL": serialOf(self.authority.certificate),
            "PEER_OTHERNAME_SAN": "",
            "LOCAL_OTHERNAME_SAN": "",
            "NOTHING": "",
        }
        self.assertEqual({name: info.get(name) for name in wanted}, wanted)
        self.assertRegex(info.get("TLS_SESSION_ID"), "^[0-9a-f]{64}$")
        self.assertTrue(info.get("PEER_CERT").startswith("-----BEGIN%20CERTIFICATE-----%0A"))
        self.assertEqual(info.moment("PEER_CERT_V_END"), leaf.not_valid_after_utc.timestamp())
        self.assertEqual(info.peerNames, ("spiffe://a/b", "a.example", "b.example", info.get("PEER_SUBJECT")))
        self.assertEqual((info.serverName, info.isPresented, info.isValidated), ("example.com", True, True))

    def test_anonymous(self) -> None:
        """
        Without a client's certificate there is nothing of it to tell.
        """
        info = self.info(mutual=False)
        self.assertEqual({info.get(f"PEER_{name}") for name in ("SUBJECT", "SERIAL", "CERT", "URI_SAN")}, {""})
        self.assertEqual({info.get(f"PEER_{name}") for name in ("CHAIN_SERIALS", "ISSUER_SERIAL")}, {""})
        self.assertIn(info.get("TLS_GROUP"), ("X25519", "X25519MLKEM768"))
        self.assertEqual((info.isPresented, info.isValidated), (False, False))
        self.assertEqual((info.peerChain, info.peerNames), ((), ("",)))
        self.assertIsNone(info.moment("PEER_CERT_V_START"))
