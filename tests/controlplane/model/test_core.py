# -*- test-case-name: tests.controlplane.model.test_core -*-
"""
Tests for L{meshproxy.controlplane.model.service} and L{meshproxy.controlplane.model.secret}.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from meshproxy.controlplane.model.documents import parseDocuments
from tests.controlplane.model.given import KindTests, document


class ServiceTests(KindTests):
    """
    What a Service may say.
    """

    kind = "Service"

    def test_accepted(self) -> None:
        """
        Ports by number and by name, headless ones, names outside.
        """
        spec = self.accepted(
            "selector: {app: a}\nclusterIP: 10.0.0.1\n"
            "ports:\n- {name: http, port: 80, targetPort: web, appProtocol: http}\n"
            "- {name: tcp, port: 81, targetPort: 8081}"
        ).spec
        self.assertEqual([port.targetPort for port in spec.ports], ["web", 8081])
        self.assertTrue(self.accepted("clusterIP: None\nselector: {a: b}").spec.isHeadless)
        self.accepted("type: ExternalName\nexternalName: a.b")

    def test_refused(self) -> None:
        """
        What a Service cannot say.
        """
        self.refusals(
            [
                ("selector: {a: b}", "spec.ports", "required"),
                ("ports: [{port: 80}, {port: 81, name: a}]", "spec.ports[0].name", "required"),
                ("ports: [{port: 80, name: a}, {port: 81, name: a}]", "spec.ports[1].name", "duplicate"),
                ("ports: [{port: 80, name: a}, {port: 80, name: b}]", "spec.ports[1].port", "duplicate"),
                ("ports: [{port: 0}]", "spec.ports[0].port", "invalid"),
                ("ports: [{port: 80, targetPort: 70000}]", "spec.ports[0].targetPort", "invalid"),
                ("ports: [{port: 80, protocol: HTTP}]", "spec.ports[0].protocol", "type"),
                ("ports: [{port: 80}]\nclusterIP: a", "spec.clusterIP", "invalid"),
                ("type: ExternalName", "spec.externalName", "required"),
                ("ports: [{port: 80}]\nselectr: {a: b}", "spec.selectr", "unknown-field"),
            ]
        )

    def test_notProgrammed(self) -> None:
        """
        What the proxies of the mesh do not do.
        """
        self.warnings([("ports: [{port: 80}]\nsessionAffinity: ClientIP", "spec.sessionAffinity", "not-programmed")])


@cache
def pair() -> tuple[str, str]:
    """
    A certificate and its key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    begin = datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return certificate.decode(), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def encoded(text: str) -> str:
    """
    A value of C{data}.
    """
    return base64.b64encode(text.encode()).decode()


class SecretTests(KindTests):
    """
    What a Secret may hold.
    """

    kind = "Secret"

    def test_tls(self) -> None:
        """
        Certificate and key, in base64 or as they are; the older names too.
        """
        certificate, key = map(encoded, pair())
        secret = self.accepted(f"type: kubernetes.io/tls\ndata: {{tls.crt: {certificate}, tls.key: {key}}}")
        self.assertEqual(secret.spec.certificate, pair()[0].encode())
        secret = self.accepted(f"data: {{cert: {certificate}, key: {key}, cacert: {certificate}}}")
        self.assertEqual(secret.spec.privateKey, pair()[1].encode())
        self.assertEqual(secret.spec.roots, pair()[0].encode())
        self.assertEqual(self.accepted("stringData: {a: b}").spec.value("a"), b"b")
        self.assertIsNone(self.accepted("stringData: {a: b}").spec.certificate)

    def test_refused(self) -> None:
        """
        What is no base64, no certificate, no key, or not the key of the certificate.
        """
        certificate, key = map(encoded, pair())
        other = encoded(
            ec.generate_private_key(ec.SECP256R1())
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            .decode()
        )
        self.refusals(
            [
                ("data: {a: '?'}", "data.a", "invalid"),
                (f"type: kubernetes.io/tls\ndata: {{tls.crt: {certificate}}}", 'data["tls.key"]', "required"),
                (f"data: {{tls.crt: {key}, tls.key: {key}}}", 'data["tls.crt"]', "invalid"),
                (f"data: {{tls.crt: {certificate}, tls.key: {certificate}}}", 'data["tls.key"]', "invalid"),
                (f"data: {{tls.crt: {certificate}, tls.key: {other}}}", 'data["tls.key"]', "invalid"),
                ("stringData: {ca.crt: x}", 'stringData["ca.crt"]', "invalid"),
            ]
        )

    def test_silent(self) -> None:
        """
        No problem and no representation tells what is in a secret.
        """
        for text in ("data: hunter2", "data: {a: [hunter2]}", "stringData: {tls.key: hunter2}", "data: {a: hunter2_}"):
            _, problems = parseDocuments(document("Secret", text))
            self.assertNotEqual(problems, [])
            self.assertNotIn("hunter2", " ".join(map(str, problems)), text)
        self.assertNotIn("hunter2", repr(self.accepted("stringData: {a: hunter2}")))
