"""
Tests of L{meshproxy.secrets.keys} and L{meshproxy.secrets.sources}.
"""

from __future__ import annotations

import base64
import os
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.secrets.keys import CertifiedKey, loadCertifiedKey
from meshproxy.secrets.sources import Loading
from meshproxy.testing.pki import Authority, Credential
from tests.secrets.support import section


class CertifiedKeyTests(SynchronousTestCase):
    """
    L{loadCertifiedKey} takes pairs that fit, and tells what is wrong without telling secrets.
    """

    def setUp(self) -> None:
        self.authority = Authority()
        self.issued = self.authority.issue("example.com", "*.example.com")

    def load(self, value: dict[str, Any], loading: Loading | None = None) -> CertifiedKey:
        held = section("TlsCertificate", value)
        found = loadCertifiedKey(held, loading or Loading())
        held.report.raiseIfAny()
        assert found is not None
        return found

    def refused(self, value: dict[str, Any]) -> str:
        error = self.assertRaises(ConfigErrors, self.load, value)
        self.assertNotIn("PRIVATE KEY", str(error))
        return str(error)

    def file(self, content: str | bytes) -> str:
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return path

    def test_inline(self) -> None:
        """
        Certificate and key stand in the configuration.
        """
        found = self.load(self.issued.inline)
        self.assertEqual((found.kind, found.names, found.path), ("ecdsa", ("example.com", "*.example.com"), "<inline>"))
        self.assertEqual(found.leaf, self.issued.certificate)

    def test_secretsStayOut(self) -> None:
        """
        Neither the key nor anything of it shows in the text of an object.
        """
        self.assertNotIn("key=", repr(self.load(self.issued.inline)))

    def test_files(self) -> None:
        """
        They are in files, which are remembered to be watched.
        """
        chain, key = self.file(self.issued.chain), self.file(self.issued.keyText)
        loading = Loading()
        value = {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
        self.assertEqual(self.load(value, loading).path, chain)
        self.assertEqual(loading.files, {chain, key})

    def test_environment(self) -> None:
        """
        They are in environment variables.
        """
        self.patch(os, "environ", {"CHAIN": self.issued.chain, "KEY": self.issued.keyText})
        value = {
            "certificate_chain": {"environment_variable": "CHAIN"},
            "private_key": {"environment_variable": "KEY"},
        }
        self.assertEqual(self.load(value).leaf, self.issued.certificate)
        missing = {**value, "private_key": {"environment_variable": "X"}}
        self.assertIn("there is no environment variable 'X'", self.refused(missing))

    def test_bytes(self) -> None:
        """
        They stand in the configuration in base64.
        """
        value = {
            "certificate_chain": {"inline_bytes": base64.b64encode(self.issued.chain.encode()).decode()},
            "private_key": {"inline_bytes": base64.b64encode(self.issued.keyText.encode()).decode()},
        }
        self.assertEqual(self.load(value).leaf, self.issued.certificate)

    def test_password(self) -> None:
        """
        The key is encrypted: with its password it is read, without one or with another it is refused.
        """
        value = {**self.issued.inline, "private_key": {"inline_string": self.issued.encryptedKey(b"open sesame")}}
        self.load({**value, "password": {"inline_string": "open sesame"}})
        self.load({**value, "password": {"filename": self.file("open sesame\n")}})
        self.assertIn("a password is needed", self.refused(value))
        wrong = self.refused({**value, "password": {"inline_string": "mellon"}})
        self.assertIn("with this password", wrong)
        self.assertNotIn("mellon", wrong)

    def test_pkcs12(self) -> None:
        """
        Certificate, key and chain are in one PKCS#12.
        """
        between = Authority("between", self.authority)
        issued = between.issue("example.com")
        data = pkcs12.serialize_key_and_certificates(
            b"name",
            issued.key,
            issued.certificate,
            list(issued.issuers),
            serialization.BestAvailableEncryption(b"secret"),
        )
        value = {"pkcs12": {"filename": self.file(data)}, "password": {"inline_string": "secret"}}
        self.assertEqual(len(self.load(value).chain), 2)
        self.assertIn("no PKCS#12", self.refused({**value, "password": {"inline_string": "other"}}))
        self.assertIn("cannot stand beside", self.refused({**value, "certificate_chain": {"inline_string": "x"}}))

    def test_mismatch(self) -> None:
        """
        The key is another certificate's.
        """
        other = self.authority.issue("example.com")
        self.assertIn(
            "does not belong", self.refused({**self.issued.inline, "private_key": {"inline_string": other.keyText}})
        )

    def test_garbage(self) -> None:
        """
        What is no PEM is refused at its place, and so is what is missing.
        """
        for field in ("certificate_chain", "private_key"):
            self.assertIn(f"{field}: ", self.refused({**self.issued.inline, field: {"inline_string": "rubbish"}}))
            self.assertIn("is empty", self.refused({**self.issued.inline, field: {"inline_string": " "}}))
            self.assertIn(f"{field} is needed", self.refused({**self.issued.inline, field: None}))
            self.assertIn("cannot be read", self.refused({**self.issued.inline, field: {"filename": "/nowhere"}}))

    def test_names(self) -> None:
        """
        A certificate without alternative names is for its common name; one with others than DNS names is for none.
        """
        self.assertEqual(self.load(self.authority.issue(commonName="old.example").inline).names, ("old.example",))
        self.assertEqual(self.load(self.authority.issue("spiffe://a/b", commonName="x").inline).names, ())

    def test_kinds(self) -> None:
        """
        Keys that are too weak, or of curves that TLS clients do not know, are refused as by Envoy.
        """
        self.assertEqual(self.load(self.authority.issue("a", kind="rsa").inline).kind, "rsa")
        for key, why in (
            (rsa.generate_private_key(65537, 1024), "1024 bits"),
            (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        ):
            self.assertIn(why, self.refused(self._signed(key).inline))

    def _signed(self, key: Any) -> Credential:
        from cryptography.hazmat.primitives import hashes

        from meshproxy.testing.pki import _builder

        name = self.authority.certificate.subject
        return Credential(_builder(name, name, key).sign(self.authority.key, hashes.SHA256()), key)
