"""
Tests of L{meshproxy.secrets.parameters}.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.secrets.parameters import Parameters, compileParameters
from tests.secrets.support import section


class ParametersTests(SynchronousTestCase):
    """
    L{compileParameters} reads Envoy's names.
    """

    def compile(self, value: dict[str, Any], isServer: bool = True) -> Parameters:
        held = section("TlsParameters", value)
        found = compileParameters(held, isServer)
        held.report.raiseIfAny()
        return found

    def test_defaults(self) -> None:
        """
        Servers speak TLS 1.2 and 1.3, clients 1.2, as Envoy's do.
        """
        server, client = compileParameters(None, True), compileParameters(None, False)
        self.assertEqual((server.minimum, server.maximum), (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION))
        self.assertEqual((client.minimum, client.maximum), (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION))
        self.assertTrue(server.hasGroups)
        self.assertEqual(self.compile({}, True), server)

    def test_versions(self) -> None:
        """
        The least and the newest version are given, and must not cross.
        """
        found = self.compile(
            {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}, False
        )
        self.assertEqual((found.minimum, found.maximum), (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))
        crossed = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_2"}
        self.assertIn("newer than", str(self.assertRaises(ConfigErrors, self.compile, crossed)))

    def test_ciphers(self) -> None:
        """
        Names and groups of equal rank keep their order; RFC names are translated.
        """
        found = self.compile(
            {
                "cipher_suites": [
                    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
                    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                    "AES128-SHA",
                ]
            }
        )
        self.assertEqual(
            found.ciphers,
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES256-GCM-SHA384:"
            "ECDHE-RSA-CHACHA20-POLY1305:AES128-SHA",
        )
        self.assertTrue(found.hasGroups)

    def test_unknown(self) -> None:
        """
        A name that is not known is refused, with those that are.
        """
        for value in (
            {"cipher_suites": ["RC4-MD5"]},
            {"cipher_suites": ["-ALL"]},
            {"cipher_suites": ["TLS_RSA_WITH_AES_128_CBC_SHA1024"]},
            {"ecdh_curves": ["P-224"]},
            {"signature_algorithms": ["md5"]},
        ):
            self.assertIn("known", str(self.assertRaises(ConfigErrors, self.compile, value)))

    def test_everyNameWorks(self) -> None:
        """
        OpenSSL takes each of the names that are let through.
        """
        found = self.compile(
            {
                "tls_minimum_protocol_version": "TLSv1_0",
                "ecdh_curves": ["X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"],
                "signature_algorithms": [
                    "rsa_pkcs1_sha256",
                    "rsa_pss_rsae_sha256",
                    "ecdsa_secp256r1_sha256",
                    "ed25519",
                    "ecdsa_sha1",
                ],
                "cipher_suites": ["AES256-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"],
            }
        )
        context = SSL.Context(SSL.TLS_METHOD)
        found.setUp(context)
        names = SSL.Connection(context, None).get_cipher_list()
        self.assertIn("AES256-SHA256", names)
        self.assertEqual(names[0], "TLS_AES_128_GCM_SHA256")

    def test_compliance(self) -> None:
        """
        FIPS_202205 goes over whatever else is said.
        """
        found = self.compile(
            {
                "tls_minimum_protocol_version": "TLSv1_0",
                "tls_maximum_protocol_version": "TLSv1_2",
                "cipher_suites": ["ECDHE-ECDSA-CHACHA20-POLY1305"],
                "ecdh_curves": ["X25519"],
                "compliance_policies": ["FIPS_202205"],
            }
        )
        self.assertEqual((found.minimum, found.maximum), (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION))
        self.assertEqual(found.groups, ("P-256", "P-384"))
        self.assertNotIn("CHACHA", found.ciphers + found.newCiphers)
        self.assertIn("ECDHE-RSA-AES256-GCM-SHA384", found.ciphers)
        found.setUp(SSL.Context(SSL.TLS_SERVER_METHOD))
