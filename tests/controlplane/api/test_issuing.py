"""
Tests for L{meshproxy.controlplane.api.issuing}.
"""

from __future__ import annotations

from cryptography import x509

from tests.controlplane.api.client import READER, WRITER, APITestCase
from tests.controlplane.ca.support import makeRequest, uri


class IssuingTests(APITestCase):
    """
    Identities over HTTP.
    """

    def token(self, **asked: object) -> str:
        """
        A bootstrap token.
        """
        answer = self.ask("POST", "/v1/ca/tokens", asked)
        self.assertEqual(answer.code, 201, answer.body)
        token: str = answer.json["token"]
        return token

    def test_roots(self) -> None:
        """
        Who may read gets the roots.
        """
        answer = self.ask("GET", "/v1/ca/roots", authorization=f"Bearer {READER}").json
        (root,) = x509.load_pem_x509_certificates(answer["pem"].encode())
        self.assertEqual(answer["trustDomain"], "cluster.local")
        self.assertEqual(answer["roots"][0]["serial"], f"{root.serial_number:x}")

    def test_byToken(self) -> None:
        """
        A stranger with a token gets a certificate for the identity that the token proves, once.
        """
        token = self.token(namespace="default", serviceAccount="ann")
        asked = {"csr": makeRequest().decode(), "token": token, "ttlSeconds": 60}
        answer = self.ask("POST", "/v1/ca/certificates", asked, peer="10.0.0.1")
        self.assertEqual(answer.code, 201, answer.body)
        leaf, _ = x509.load_pem_x509_certificates(answer.json["certificateChain"].encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(list(names), [uri("spiffe://cluster.local/ns/default/sa/ann")])
        self.assertEqual(leaf.not_valid_after_utc.timestamp(), self.reactor.seconds() + 60)
        again = self.ask("POST", "/v1/ca/certificates", asked, peer="10.0.0.1")
        self.assertEqual((again.code, "used up" in again.json["detail"]), (403, True))

    def test_expired(self) -> None:
        """
        An expired token, and one of elsewhere, get nothing.
        """
        asked = {"csr": makeRequest().decode(), "token": self.token(ttlSeconds=10)}
        self.reactor.advance(10)
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", asked, peer="10.0.0.1").code, 403)
        asked["token"] = "mpboot-" + "x" * 43
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", asked, peer="10.0.0.1").code, 403)

    def test_anothersName(self) -> None:
        """
        A request that asks for another's name gets nothing, and is told why.
        """
        request = makeRequest(names=[uri("spiffe://cluster.local/ns/default/sa/bob")]).decode()
        answer = self.ask("POST", "/v1/ca/certificates", {"csr": request, "token": self.token(serviceAccount="ann")})
        self.assertEqual(answer.code, 422)
        self.assertIn("asks for spiffe://cluster.local/ns/default/sa/bob", answer.json["detail"])

    def test_byRole(self) -> None:
        """
        Without a token one needs the role.
        """
        asked = {"csr": makeRequest().decode(), "serviceAccount": "ann"}
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", asked).code, 201)
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", asked, authorization=f"Bearer {WRITER}").code, 403)
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", asked, peer="10.0.0.1").code, 403)

    def test_badRequests(self) -> None:
        """
        What is not understood is refused, and told.
        """
        for body, code in (
            ([], 400),
            ({"name": "ann"}, 400),
            ({"namespace": "a/b"}, 422),
            ({"serviceAccount": ""}, 422),
            ({"ttlSeconds": -1}, 400),
            ({"ttlSeconds": "1"}, 400),
            ({"ttlSeconds": True}, 400),
            ({"ttlSeconds": 1e9}, 400),
        ):
            self.assertEqual(self.ask("POST", "/v1/ca/tokens", body).code, code, str(body))
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", {}).code, 400)
        self.assertEqual(self.ask("POST", "/v1/ca/certificates", {"csr": "none"}).code, 422)
