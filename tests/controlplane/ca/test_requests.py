"""
Tests for L{meshproxy.controlplane.ca.requests}.
"""

from __future__ import annotations

import base64
import random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.ca.requests import RequestRefused, checkRequest
from tests.controlplane.ca.support import ANN, BOB, makeRequest, uri


class RequestTests(SynchronousTestCase):
    """
    L{checkRequest} takes a key and nothing else.
    """

    def refused(self, request: bytes) -> str:
        """
        Why a request is refused.
        """
        return str(self.assertRaises(RequestRefused, checkRequest, request, ANN))

    def test_keys(self) -> None:
        """
        The usual kinds of keys are taken.
        """
        for key, hashed in (
            (ec.generate_private_key(ec.SECP256R1()), True),
            (ec.generate_private_key(ec.SECP384R1()), True),
            (rsa.generate_private_key(65537, 2048), True),
            (ed25519.Ed25519PrivateKey.generate(), False),
        ):
            request = makeRequest(key) if hashed else makeRequest(key, hash=None)
            self.assertEqual(checkRequest(request, ANN), key.public_key())

    def test_weakKeys(self) -> None:
        """
        Weak, huge and odd ones are not.
        """
        short = rsa.generate_private_key(65537, 1024)
        self.assertIn("2048 to 8192 bits, this one has 1024", self.refused(makeRequest(short)))
        self.assertIn("secp192r1 is not taken", self.refused(makeRequest(ec.generate_private_key(ec.SECP192R1()))))
        self.assertIn("none of EC, RSA", self.refused(makeRequest(dsa.generate_private_key(2048))))

    def test_ownName(self) -> None:
        """
        A request may say who its sender is, or nothing.
        """
        checkRequest(makeRequest(names=[uri(ANN)]), ANN)
        checkRequest(makeRequest(subject="whatever"), ANN)

    def test_anotherName(self) -> None:
        """
        A request that asks for another's name, also beside its own or as another kind of name, is refused and told so.
        """
        self.assertIn(f"asks for {BOB}, but its sender is {ANN}", self.refused(makeRequest(names=[uri(BOB)])))
        self.refused(makeRequest(names=[uri(ANN), uri(BOB)]))
        server = x509.DNSName("istiod.istio-system.svc")
        self.assertIn("DNSName istiod.istio-system.svc", self.refused(makeRequest(names=[server])))
        self.refused(makeRequest(names=[uri(ANN), x509.RFC822Name("a@b.test")]))

    def test_signature(self) -> None:
        """
        A request that was signed with another key is refused: its sender does not have the key that it asks a
        certificate for.
        """
        lines = makeRequest().decode("ascii").splitlines()
        der = bytearray(base64.b64decode("".join(lines[1:-1])))
        der[-2] ^= 1
        changed = f"{lines[0]}\n{base64.b64encode(bytes(der)).decode()}\n{lines[-1]}\n".encode()
        self.assertIn("not signed with the key", self.refused(changed))

    def test_garbage(self) -> None:
        """
        Whatever comes, it is refused and nothing else is raised.
        """
        chance = random.Random(1)
        good = bytearray(makeRequest(names=[uri(ANN)]))
        empty = b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"
        for garbage in (b"", b"x", empty, b"\0" * 40_000):
            self.refused(garbage)
        for _ in range(300):
            text = bytearray(good)
            for _ in range(chance.randint(1, 4)):
                text[chance.randrange(30, len(text) - 30)] = chance.choice(b"ABCDwxyz0189+/=\n\x00\xff")
            try:
                checkRequest(bytes(text), ANN)
            except RequestRefused:
                pass
