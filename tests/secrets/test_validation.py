"""
Tests of L{meshproxy.secrets.validation}: how its rules are read. L{tests.secrets.test_handshakes} shows that they hold.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.secrets.sources import Loading
from meshproxy.secrets.validation import Validation, compileValidation, trustDomain
from meshproxy.testing.pki import Authority
from tests.secrets.support import section

SPIFFE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


class ValidationTests(SynchronousTestCase):
    """
    L{compileValidation} loads what peers are verified by.
    """

    def setUp(self) -> None:
        self.authority = Authority()
        self.ca = {"inline_string": self.authority.root}

    def compile(self, value: dict[str, Any]) -> Validation:
        held = section("CertificateValidationContext", value)
        found = compileValidation(held, Loading())
        held.report.raiseIfAny()
        return found

    def refused(self, value: dict[str, Any]) -> str:
        return str(self.assertRaises(ConfigErrors, self.compile, value))

    def test_nothing(self) -> None:
        """
        Without anything to verify by, nothing is verified.
        """
        self.assertFalse(compileValidation(None, Loading()).verifies)
        self.assertFalse(self.compile({}).verifies)

    def test_roots(self) -> None:
        """
        Roots are read with the lists of revoked certificates among them.
        """
        revoked = self.authority.revoke(self.authority.issue("a"))
        found = self.compile({"trusted_ca": {"inline_string": self.authority.root + revoked}})
        self.assertEqual((found.roots, len(found.crls)), ((self.authority.certificate,), 1))
        self.assertTrue(found.verifies)

    def test_systemRoots(self) -> None:
        """
        The system's own bundle, where there is one.
        """
        try:
            self.assertTrue(self.compile({"system_root_certs": {}}).roots)
        except ConfigErrors as error:
            self.assertIn("no bundle of root certificates", str(error))

    def test_digest(self) -> None:
        """
        Each other rule, and each other root, makes another digest: sessions do not outlive it (CVE-2022-21654).
        """
        values: list[dict[str, Any]] = [
            {"trusted_ca": self.ca},
            {"trusted_ca": {"inline_string": Authority().root}},
            {"trusted_ca": self.ca, "allow_expired_certificate": True},
            {"trusted_ca": self.ca, "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]},
        ]
        self.assertEqual(len({self.compile(value).digest for value in values}), len(values))
        self.assertEqual(self.compile(values[0]).digest, self.compile(values[0]).digest)

    def test_refusals(self) -> None:
        """
        What cannot work is refused with its reason.
        """
        names = [{"san_type": "DNS", "matcher": {"exact": "a"}}]
        self.assertIn("nobody verifies", self.refused({"match_typed_subject_alt_names": names}))
        self.assertIn("no certificate in PEM", self.refused({"trusted_ca": {"inline_string": "rubbish"}}))
        self.assertIn("revoked", self.refused({"trusted_ca": self.ca, "crl": {"inline_string": "rubbish"}}))
        self.assertIn("trusted_ca is needed", self.refused({"crl": {"inline_string": self.authority.revoke()}}))
        self.assertIn("hexadecimal", self.refused({"verify_certificate_hash": ["x" * 64]}))
        self.assertIn("base64", self.refused({"verify_certificate_spki": ["x" * 44]}))
        other = {"name": "x", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}}
        self.assertIn("only envoy.tls.cert_validator.spiffe", self.refused({"custom_validator_config": other}))

    def test_spiffe(self) -> None:
        """
        Trust domains with their bundles; what is missing or double is refused.
        """

        def config(*domains: dict[str, Any]) -> dict[str, Any]:
            return {
                "custom_validator_config": {
                    "name": "envoy.tls.cert_validator.spiffe",
                    "typed_config": {"@type": SPIFFE, "trust_domains": list(domains)},
                }
            }

        domain = {"name": "a.example", "trust_bundle": self.ca}
        found = self.compile(config(domain))
        self.assertEqual(list(found.domains or ()), ["a.example"])
        self.assertTrue(found.verifies)
        self.assertIn("two trust domains", self.refused(config(domain, domain)))
        self.assertIn("a trust bundle is needed", self.refused(config({"name": "b"})))
        self.assertIn("a trust domain is needed", self.refused(config()))

    def test_trustDomain(self) -> None:
        """
        The trust domain is the authority of a SPIFFE ID.
        """
        ids = {
            "spiffe://a.example/ns/x": "a.example",
            "spiffe://a.example": "a.example",
            "https://a.example/": "",
            "a.example": "",
            "spiffe://a\0b/": "",
        }
        self.assertEqual({uri: trustDomain(uri) for uri in ids}, ids)
