"""
L{meshproxy.secrets.spiffe}.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.net.certificates import fingerprint
from meshproxy.secrets.sources import Loading
from meshproxy.secrets.validation import Validation, compileValidation
from meshproxy.testing.pki import Authority
from tests.secrets.support import section
from tests.secrets.test_validation import SPIFFE


def _key(authority: Authority, use: str = "x509-svid") -> dict[str, Any]:
    der = authority.certificate.public_bytes(serialization.Encoding.DER)
    return {"kty": "EC", "use": use, "x5c": [base64.b64encode(der).decode()]}


class BundlesTests(SynchronousTestCase):
    """
    C{trust_bundles}: all trust domains in one document.
    """

    def setUp(self) -> None:
        self.one, self.other = Authority(), Authority()

    def compile(self, text: str, **fields: Any) -> Validation:
        config = {"@type": SPIFFE, "trust_bundles": {"inline_string": text}, **fields}
        held = section(
            "CertificateValidationContext", {"custom_validator_config": {"name": "spiffe", "typed_config": config}}
        )
        found = compileValidation(held, Loading())
        held.report.raiseIfAny()
        return found

    def test_domains(self) -> None:
        """
        Each has the roots of its own keys; those for other things than X.509 are not looked at.
        """
        told = {
            "trust_domains": {
                "a": {"keys": [_key(self.one), {"kty": "EC", "use": "jwt-svid", "kid": "x"}]},
                "b": {"keys": [_key(self.one), _key(self.other)], "spiffe_sequence": 1},
            }
        }
        found = self.compile(json.dumps(told))
        one, other = fingerprint(self.one.certificate), fingerprint(self.other.certificate)
        self.assertEqual(found.domains, {"a": frozenset({one}), "b": frozenset({one, other})})
        self.assertEqual(found.roots, (self.one.certificate, self.other.certificate))
        self.assertTrue(found.verifies)

    def test_overList(self) -> None:
        """
        It goes over C{trust_domains}, as in Envoy.
        """
        listed = [{"name": "c", "trust_bundle": {"inline_string": self.other.root}}]
        told = json.dumps({"trust_domains": {"a": {"keys": [_key(self.one)]}}})
        self.assertEqual(list(self.compile(told, trust_domains=listed).domains or ()), ["a"])

    def test_faults(self) -> None:
        """
        What is no such document, or lets nobody in, is refused.
        """
        for told, words in (
            ("no JSON", "no JSON object"),
            ("[]", "no JSON object"),
            ("[" * 100000, "no JSON object"),
            ('{"trust_domains": []}', "no JSON object"),
            ('{"trust_domains": {}}', "no trust domain"),
            ('{"trust_domains": {"a": {}}}', "the bundle of 'a'"),
            ('{"trust_domains": {"a": 1}}', "the bundle of 'a'"),
            ('{"trust_domains": {"a": {"keys": []}}}', "no key for x509-svid"),
            ('{"trust_domains": {"a": {"keys": [{"use": "jwt-svid"}]}}}', "no key for x509-svid"),
            ('{"trust_domains": {"a": {"keys": [{"kty": "EC"}]}}}', "the bundle of 'a'"),
            ('{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "x5c": []}]}}}', "the bundle of 'a'"),
            ('{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "x5c": ["????"]}]}}}', "the bundle of 'a'"),
            ('{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "x5c": ["YQ=="]}]}}}', "the bundle of 'a'"),
        ):
            self.assertIn(words, str(self.assertRaises(ConfigErrors, self.compile, told)), told[:80])
