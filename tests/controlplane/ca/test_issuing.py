"""
Tests for L{meshproxy.controlplane.ca.issuing}.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from twisted.internet.defer import Deferred

from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.ca.issuing import CertificateService
from meshproxy.controlplane.ca.material import Material
from meshproxy.controlplane.ca.tokens import BootstrapTokens
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.grpc.status import GRPCError
from meshproxy.secrets.issuing import CREATE_CERTIFICATE, certificateMessages
from tests.controlplane.ca.support import ANN, BOB, makeRequest, uri
from tests.grpc.support import GRPCTestCase


class CertificateServiceTests(GRPCTestCase):
    """
    L{CertificateService}, over gRPC.
    """

    def setUp(self) -> None:
        super().setUp()
        material = Material(Path(self.mktemp()), "cluster.local", self.reactor.seconds)
        self.authority = Authority(material.signer, "cluster.local", self.reactor.seconds)
        self.tokens = BootstrapTokens(Ledger(self.reactor), self.reactor.seconds)
        self.uris: list[str] = []
        self.service = CertificateService(self.authority, self.tokens, lambda transport: self.uris)
        for path, method in self.service.methods().items():
            self.method(path, method)

    def token(self, identity: Identity = ANN) -> str:
        """
        A bootstrap token.
        """
        made: str = self.successResultOf(Deferred.fromCoroutine(self.tokens.make(identity, 60, "admin")))
        return made

    def ask(self, request: bytes, authorization: str = "", seconds: int = 0) -> Deferred[bytes]:
        """
        Ask for a certificate.
        """
        requestClass, _ = certificateMessages()
        message = requestClass(csr=request.decode("latin-1"), validity_duration=seconds).SerializeToString()
        metadata = [(b"authorization", authorization.encode())] if authorization else []
        answer = self.channel.unary(CREATE_CERTIFICATE, message, metadata)
        self.settle()
        return answer

    def chain(self, answer: Deferred[bytes]) -> list[x509.Certificate]:
        """
        The certificates that were given.
        """
        _, responseClass = certificateMessages()
        response = responseClass.FromString(self.successResultOf(answer))
        return [x509.load_pem_x509_certificate(one.encode()) for one in response.cert_chain]

    def refused(self, answer: Deferred[bytes]) -> str:
        """
        The status of a refusal.
        """
        status: str = self.failureResultOf(answer, GRPCError).value.status.name
        return status

    def names(self, certificate: x509.Certificate) -> list[x509.GeneralName]:
        """
        The names of a certificate.
        """
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)

    def test_byToken(self) -> None:
        """
        With a token one gets a certificate for the identity of the token, the root at the end; once.
        """
        token = self.token()
        leaf, _, root = self.chain(self.ask(makeRequest(), f"Bearer {token}", 60))
        self.assertEqual((self.names(leaf), root), ([uri(ANN)], self.authority.roots[0]))
        self.assertEqual(leaf.not_valid_after_utc.timestamp(), self.reactor.seconds() + 60)
        self.assertEqual(self.refused(self.ask(makeRequest(), f"Bearer {token}")), "UNAUTHENTICATED")
        self.assertEqual((self.service.issued, self.service.refused), (1, 1))

    def test_byCertificate(self) -> None:
        """
        With the certificate from before one gets another one for the same identity.
        """
        self.uris = ["https://other.test/", str(BOB)]
        self.assertEqual(self.names(self.chain(self.ask(makeRequest()))[0]), [uri(BOB)])

    def test_unproven(self) -> None:
        """
        Without either one gets nothing.
        """
        self.assertEqual(self.refused(self.ask(makeRequest())), "UNAUTHENTICATED")
        self.assertEqual(self.refused(self.ask(makeRequest(), "Basic abc")), "UNAUTHENTICATED")
        self.assertEqual(self.refused(self.ask(makeRequest(), "Bearer nonsense")), "UNAUTHENTICATED")

    def test_anothersName(self) -> None:
        """
        A request for another's name gets nothing, whoever proves to be whom.
        """
        self.uris = [str(ANN)]
        self.assertEqual(self.refused(self.ask(makeRequest(names=[uri(BOB)]))), "INVALID_ARGUMENT")

    def test_otherTrustDomain(self) -> None:
        """
        Nor does somebody of another mesh.
        """
        self.uris = ["spiffe://other.test/ns/default/sa/ann"]
        self.assertEqual(self.refused(self.ask(makeRequest())), "FAILED_PRECONDITION")

    def test_garbage(self) -> None:
        """
        What is no request is told so.
        """
        self.uris = [str(ANN)]
        self.assertEqual(self.refused(self.ask(b"none")), "INVALID_ARGUMENT")
        answer = self.channel.unary(CREATE_CERTIFICATE, b"\xff\xff")
        self.settle()
        self.assertEqual(self.refused(answer), "INVALID_ARGUMENT")
