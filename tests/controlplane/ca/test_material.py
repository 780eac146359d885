"""
Tests for L{meshproxy.controlplane.ca.material}.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.ca.authority import Authority, AuthorityError
from meshproxy.controlplane.ca.certificates import makeIntermediate, makeRoot, newKey, pemOf, pemOfKey, utc
from meshproxy.controlplane.ca.material import INTERMEDIATE_LIFE, Material
from tests.controlplane.ca.support import ANN, NOW, makeRequest

YEAR = timedelta(days=365)


class MaterialTests(SynchronousTestCase):
    """
    L{Material} keeps what an authority signs with.
    """

    def setUp(self) -> None:
        self.now = NOW
        self.folder = Path(self.mktemp())

    def load(self) -> Material:
        """
        What is in the folder.
        """
        return Material(self.folder, "cluster.local", lambda: self.now)

    def refused(self) -> str:
        """
        Why what is in the folder is not taken.
        """
        return str(self.assertRaises(AuthorityError, self.load))

    def write(self, **files: str | bytes) -> None:
        """
        Write files, by their names without the end.
        """
        self.folder.mkdir(exist_ok=True)
        for name, text in files.items():
            path = self.folder / (name.replace("_", "-") + ".pem")
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def test_firstStart(self) -> None:
        """
        The first start makes a root and an intermediate, for the owner alone whatever the umask; the next one finds
        them.
        """
        self.addCleanup(os.umask, os.umask(0))
        first = self.load().signer()
        second = self.load().signer()
        self.assertEqual((first.certificate, first.roots), (second.certificate, second.roots))
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        files = {path.name: path.stat().st_mode & 0o777 for path in self.folder.iterdir()}
        self.assertEqual(files, {"root.pem": 0o600, "intermediate.pem": 0o600})

    def test_renewalIsKept(self) -> None:
        """
        An intermediate that was renewed is the one after a restart; one that grew old while nothing ran is renewed at
        once.
        """
        material = self.load()
        self.now += INTERMEDIATE_LIFE.total_seconds() / 2 + 1
        renewed = material.signer()
        self.assertEqual(self.load().signer().certificate, renewed.certificate)
        self.now += INTERMEDIATE_LIFE.total_seconds() * 2
        again = self.load().signer()
        self.assertNotEqual(again.certificate, renewed.certificate)
        self.assertTrue(again.certificate.not_valid_after_utc > utc(self.now))

    def test_lostRoot(self) -> None:
        """
        A root that is gone is not replaced by a new one, which nobody trusts.
        """
        self.load()
        (self.folder / "root.pem").unlink()
        self.assertIn("root.pem is missing, but intermediate.pem is there", self.refused())

    def test_lostIntermediate(self) -> None:
        """
        An intermediate that is gone is.
        """
        root = self.load().signer().roots
        (self.folder / "intermediate.pem").unlink()
        self.assertEqual(self.load().signer().roots, root)

    def test_leftover(self) -> None:
        """
        What a crash left half written stands in no way.
        """
        self.folder.mkdir()
        (self.folder / "root.pem.new").write_text("half of i")
        self.load()

    def test_foreignIntermediate(self) -> None:
        """
        Files of two authorities are not mixed.
        """
        self.load()
        kept = (self.folder / "intermediate.pem").read_bytes()
        for path in self.folder.iterdir():
            path.unlink()
        self.load()
        self.write(intermediate=kept)
        self.assertIn("intermediate.pem: ", self.refused())
        self.assertIn("is not signed by", self.refused())

    def test_garbage(self) -> None:
        """
        What is no PEM is named, and nothing of it is quoted.
        """
        for text in ("", "secret", "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"):
            self.write(root=text)
            self.assertIn("root.pem: no private key in PEM", self.refused())
            self.assertNotIn("secret", self.refused())

    def test_pluggedRoot(self) -> None:
        """
        An authority that is a root itself signs, and only the leaf is sent; its own files are not made.
        """
        key = rsa.generate_private_key(65537, 2048)
        root = makeRoot(key, "plugged", utc(NOW), YEAR)
        self.write(ca_cert=pemOf([root]), ca_key=pemOfKey(key), root_cert=pemOf([root]))
        issued = Authority(self.load().signer, "cluster.local", lambda: NOW).issue(makeRequest(), ANN)
        self.assertEqual((len(issued.chain), list(issued.roots)), (1, [root]))
        self.assertFalse((self.folder / "root.pem").exists())

    def test_pluggedChain(self) -> None:
        """
        Certificates between it and the root are sent too, whether the file of the chain repeats its ends or not.
        """
        rootKey, middleKey, key = newKey(), newKey(), newKey()
        root = makeRoot(rootKey, "plugged", utc(NOW), YEAR)
        # Roots are what may have authorities below them.
        middle = makeRoot(middleKey, "middle", utc(NOW), YEAR)
        lower = makeIntermediate(key, "plugged", utc(NOW), YEAR, middle, middleKey)
        self.write(ca_cert=pemOf([lower]), ca_key=pemOfKey(key), root_cert=pemOf([root]), cert_chain=pemOf([middle]))
        self.assertIn("no root in it signed", self.refused())
        self.write(root_cert=pemOf([root, middle]), cert_chain=pemOf([lower, middle]))
        signer = self.load().signer()
        self.assertEqual((signer.below, list(signer.roots)), ([lower], [root, middle]))

    def test_pluggedFaults(self) -> None:
        """
        Each way in which files do not fit together is told by the file's name.
        """
        key, other = newKey(), newKey()
        root = makeRoot(key, "plugged", utc(NOW), YEAR)
        self.write(ca_cert=pemOf([root]))
        self.assertIn("ca-key.pem is missing", self.refused())
        self.write(ca_key=pemOfKey(other), root_cert=pemOf([root]))
        self.assertIn("ca-cert.pem: the certificate is not of the key beside it", self.refused())
        self.write(ca_key=pemOfKey(key), root_cert=pemOf([makeRoot(other, "other", utc(NOW), YEAR)]))
        self.assertIn("root-cert.pem: no root in it signed", self.refused())
        self.write(root_cert="none")
        self.assertIn("root-cert.pem: no certificate in PEM", self.refused())
        leaf = Authority(
            Material(Path(self.mktemp()), "cluster.local", lambda: NOW).signer, "cluster.local", lambda: NOW
        ).issue(makeRequest(key), ANN)
        self.write(ca_cert=pemOf([leaf.certificate]), root_cert=pemOf(leaf.roots))
        self.assertIn("no authority's certificate", self.refused())

    def test_unreadable(self) -> None:
        """
        A file that cannot be read or written is told with the system's reason.
        """
        self.folder.mkdir()
        (self.folder / "root.pem").mkdir()
        self.assertIn("root.pem: Is a directory", self.refused())
