"""
L{meshproxy.identity.client}, with the control plane's own certificate service.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.grpc.status import GRPCError
from meshproxy.identity.client import CertificateClient
from meshproxy.identity.credential import Credential
from meshproxy.identity.settings import readRoots
from meshproxy.stats import Store
from tests.identity.support import ANN, BOB, ControlPlaneTestCase, credential


class CertificateClientTests(ControlPlaneTestCase):
    """
    L{CertificateClient}.
    """

    def ask(self, held: Credential | None = None, token: str = "", **told: Any) -> Deferred[Credential]:
        """
        Ask for a certificate.
        """
        settings = self.settings(**told)
        self.store = Store()
        roots = readRoots(settings.roots)
        client = CertificateClient(settings, roots, self.network, self.reactor, self.store.scope("identity."))
        asked = Deferred.fromCoroutine(client.issue(held, token))
        self.reactor.settle()
        return asked

    def why(self, asked: Deferred[Credential]) -> str:
        """
        Why it was not given.
        """
        return str(self.failureResultOf(asked, GRPCError).value)

    def test_byToken(self) -> None:
        """
        A token proves who asks; the certificate is for a key that was made here, and its chain leads to the roots.
        """
        given = self.successResultOf(self.ask(token=self.token()))
        self.assertEqual(given.uri, str(ANN))
        self.assertEqual(given.chain[0].public_key(), given.key.public_key())
        self.assertEqual(list(given.roots), list(self.authority.roots))
        self.assertEqual(given.ends - self.reactor.seconds(), 86400)
        self.assertEqual(self.proofs, [])

    def test_byCertificate(self) -> None:
        """
        After that its certificate proves it; each certificate is for another key.
        """
        first = self.successResultOf(self.ask(token=self.token(BOB)))
        second = self.successResultOf(self.ask(first))
        self.assertEqual(second.uri, str(BOB))
        self.assertEqual(self.proofs, [str(BOB)])
        self.assertNotEqual(second.key.public_key(), first.key.public_key())

    def test_lifetime(self) -> None:
        """
        It lives for as long as is asked for.
        """
        given = self.successResultOf(self.ask(token=self.token(), lifetime="90s"))
        self.assertEqual(given.ends - self.reactor.seconds(), 90)

    def test_byAddress(self) -> None:
        """
        The control plane may be known by its address, and has to have that in its certificate then.
        """
        given = self.successResultOf(self.ask(token=self.token(), address="192.0.2.9:15012"))
        self.assertEqual(given.uri, str(ANN))

    def test_replayed(self) -> None:
        """
        A token that was used is refused, in the words of the control plane.
        """
        token = self.token()
        self.successResultOf(self.ask(token=token))
        self.assertIn("UNAUTHENTICATED: the token is used up", self.why(self.ask(token=token)))

    def test_foreignServer(self) -> None:
        """
        One whose certificate is of another authority is not spoken to: it never sees the token.
        """
        token = self.token()
        self.stopServing()
        genuine, self.authority = self.authority, self.makeAuthority("other")
        self.serve()
        self.assertIn("certificate verify failed", self.why(self.ask(token=token)))
        self.assertEqual(self.store.counters["identity.ssl.fail_verify_error"].value, 1)
        self.assertEqual(self.grpc.connections, set())
        # Nor is it believed after it was trusted by another one's certificate.
        self.assertIn("certificate verify failed", self.why(self.ask(credential(genuine))))

    def test_otherName(self) -> None:
        """
        One whose certificate is for another name is not spoken to either.
        """
        told = self.why(self.ask(token=self.token(), serverName="elsewhere.test"))
        self.assertIn("the certificate is not for elsewhere.test", told)
        self.assertEqual(self.store.counters["identity.ssl.fail_verify_san"].value, 1)

    def test_foreignCertificate(self) -> None:
        """
        A certificate of another authority proves nothing.
        """
        asked = self.ask(credential(self.makeAuthority("other")))
        self.reactor.advance(10)
        self.assertIn("UNAVAILABLE", self.why(asked))
        self.assertEqual(self.proofs, [])

    def test_nobodyThere(self) -> None:
        """
        Where nobody listens, or the host has no address, that is said.
        """
        self.stopServing()
        self.assertIn("UNAVAILABLE: no connection", self.why(self.ask(token="t")))
        self.network.hosts["control.test"] = []
        self.assertIn("control.test: there is no such host", self.why(self.ask(token="t")))

    def test_deadline(self) -> None:
        """
        One that does not answer is not waited for without end.
        """
        self.network.latency = 100.0
        asked = self.ask(token="t")
        self.reactor.advance(5)
        self.assertIn("UNAVAILABLE", self.why(asked))
