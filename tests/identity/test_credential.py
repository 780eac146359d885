"""
L{meshproxy.identity.credential}.
"""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshproxy.config.pool import typeURL
from meshproxy.controlplane.ca.certificates import certify, pemOf, utc
from meshproxy.identity.credential import (
    CredentialError,
    credentialOf,
    load,
    newKey,
    save,
    secretsOf,
    signingRequest,
)
from tests.identity.support import ANN, BOB, ControlPlaneTestCase, certificates, credential


class CredentialTests(ControlPlaneTestCase):
    """
    What an authority answers, and what becomes of it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.key = newKey()

    def answer(self, key: Any = None) -> list[str]:
        """
        An authority's answer for a key.
        """
        request = signingRequest(key or self.key)
        return certificates(self.authority.issue(request, ANN, timedelta(seconds=100)))

    def refused(self, answer: list[str]) -> str:
        """
        Why an answer is not taken.
        """
        return str(self.assertRaises(CredentialError, credentialOf, self.key, answer))

    def test_request(self) -> None:
        """
        A request is signed by its key and asks for no name.
        """
        request = x509.load_pem_x509_csr(signingRequest(self.key))
        self.assertTrue(request.is_signature_valid)
        self.assertEqual((list(request.subject), list(request.extensions)), ([], []))

    def test_good(self) -> None:
        """
        Certificate, intermediate and root come apart where the roots begin, one in each piece or all in one.
        """
        answer = self.answer()
        for told in (answer, ["".join(answer)]):
            made = credentialOf(self.key, told)
            self.assertEqual((len(made.chain), len(made.roots), made.uri), (2, 1, str(ANN)))
            self.assertEqual(made.ends, self.reactor.seconds() + 100)

    def test_severalRoots(self) -> None:
        """
        While roots are exchanged there are two at the end.
        """
        other = pemOf(self.makeAuthority("other").roots)
        for roots in ([other, self.answer()[-1]], [self.answer()[-1], other]):
            self.assertEqual(len(credentialOf(self.key, [*self.answer()[:-1], *roots]).roots), 2)

    def test_bad(self) -> None:
        """
        What is for another key, leads nowhere, names nobody or is no certificate is not taken.
        """
        leaf, intermediate, root = self.answer()
        other = pemOf(self.makeAuthority("other").roots)
        self.assertIn("not for the key", self.refused(self.answer(newKey())))
        self.assertIn("no root signed its end", self.refused([leaf, intermediate, other]))
        self.assertIn("no root signed its end", self.refused([leaf, root]))
        self.assertIn("not signed by the one after it", self.refused([leaf, leaf, root]))
        self.assertIn("no root after the certificate", self.refused([leaf]))
        self.assertIn("no certificate", self.refused([]))
        self.assertIn("no certificate in PEM", self.refused([leaf, "-----BEGIN CERTIFICATE-----\nnone\n"]))
        self.assertIn("more than 32", self.refused([leaf, *[intermediate] * 40, root]))
        self.assertIn("more than 1048576 bytes", self.refused([leaf, " " * (1 << 20)]))

    def test_names(self) -> None:
        """
        A certificate names one workload.
        """
        signer = self.authority._signer()

        def named(*names: str) -> list[str]:
            now = utc(self.reactor.seconds())
            uris: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name) for name in names]
            uris = uris or [x509.DNSName("a.test")]
            public = self.key.public_key()
            leaf = certify(public, uris, now + timedelta(100), now, signer.certificate, signer.key)
            return [pemOf([leaf]), *self.answer()[1:]]

        self.assertEqual(credentialOf(self.key, named(str(BOB))).uri, str(BOB))
        self.assertIn("but nobody", self.refused(named()))
        self.assertIn(f"but {ANN}, {BOB}", self.refused(named(str(ANN), str(BOB))))
        self.assertIn("but https://a.test", self.refused(named("https://a.test")))

    def test_secrets(self) -> None:
        """
        The messages have Istio's names, roots first; key and certificate belong together.
        """
        made = credential(self.authority)
        roots, certificate = secretsOf(made).items()
        self.assertEqual((roots[0], certificate[0]), ("ROOTCA", "default"))
        self.assertEqual([message.name for _, message in (roots, certificate)], ["ROOTCA", "default"])
        held = certificate[1].tls_certificate
        key: Any = load_pem_private_key(held.private_key.inline_bytes, None)
        chain = x509.load_pem_x509_certificates(held.certificate_chain.inline_bytes)
        self.assertEqual(chain[0].public_key(), key.public_key())
        trusted = x509.load_pem_x509_certificates(roots[1].validation_context.trusted_ca.inline_bytes)
        self.assertEqual(trusted, list(made.roots))
        self.assertTrue(typeURL(certificate[1].DESCRIPTOR.full_name).endswith(".tls.v3.Secret"))

    def test_keptSecret(self) -> None:
        """
        No text of it shows the key.
        """
        made = credential(self.authority)
        self.assertNotIn("key", repr(made).lower().replace("ellipticcurvepublickey", ""))

    def test_kept(self) -> None:
        """
        It is kept in a folder of its owner's, replaced as a whole, and the same when it is read again.
        """
        folder = Path(self.mktemp()) / "kept"
        self.assertIsNone(load(folder))
        for _ in range(2):
            made = credential(self.authority)
            save(folder, made)
            again = load(folder)
            assert again is not None
            self.assertEqual((again.chain, again.roots, again.uri), (made.chain, made.roots, made.uri))
            self.assertEqual(again.keyPEM(), made.keyPEM())
        self.assertEqual([path.name for path in folder.iterdir()], ["identity.pem"])
        self.assertEqual(stat.S_IMODE((folder / "identity.pem").stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)

    def test_keptBadly(self) -> None:
        """
        What cannot be read again is told with its file, and nothing of what is in it.
        """
        folder = Path(self.mktemp())
        save(folder, credential(self.authority))
        path = folder / "identity.pem"
        text = path.read_text()
        key = text[: text.index("-----BEGIN CERTIFICATE")]
        for broken in (text.replace(key, ""), key, text.replace("PRIVATE KEY-----\nM", "PRIVATE KEY-----\nX")):
            path.write_text(broken)
            why = str(self.assertRaises(CredentialError, load, folder))
            self.assertTrue(why.startswith(f"{path}: "), why)
            self.assertNotIn(key.splitlines()[1], why)
