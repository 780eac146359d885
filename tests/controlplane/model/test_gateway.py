# -*- test-case-name: tests.controlplane.model.test_gateway -*-
"""
Tests for L{meshproxy.controlplane.model.gateway}.
"""

from __future__ import annotations

from meshproxy.controlplane.model.documents import parseDocuments
from tests.controlplane.model.given import KindTests, document

FULL = """
selector: {istio: ingressgateway}
servers:
- port: {number: 80, name: http, protocol: http}
  hosts: ['*', 'shop/*.example.com', ./a.b]
  tls: {httpsRedirect: true}
- port: {number: 443, name: https, protocol: HTTPS}
  bind: 10.0.0.1
  hosts: [a.b]
  tls:
    mode: MUTUAL
    credentialName: a
    subjectAltNames: [x]
    minProtocolVersion: TLSV1_2
    cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]
- port: {number: 8443, name: tls, protocol: TLS}
  hosts: [a.b]
  tls: {mode: PASSTHROUGH}
- port: {number: 0, name: unix, protocol: TCP}
  bind: unix:///var/run/a
  hosts: ['*']
"""


def server(text: str, port: str = "{number: 443, name: p, protocol: HTTPS}") -> str:
    """
    A Gateway with one server.
    """
    return f"servers: [{{hosts: [a.b], port: {port}, {text}}}]"


class GatewayTests(KindTests):
    """
    What a Gateway may say.
    """

    kind = "Gateway"

    def test_full(self) -> None:
        """
        Every kind of server.
        """
        spec = self.accepted(FULL).spec
        self.assertEqual([one.port.name for one in spec.servers], ["http", "https", "tls", "unix"])
        self.assertEqual(spec.servers[0].tls.mode, "PASSTHROUGH")

    def test_servers(self) -> None:
        """
        A server has hosts and a port; names of ports are there once.
        """
        self.refusals(
            [
                ("selector: {a: b}", "spec.servers", "required"),
                ("servers: [{port: {number: 80, name: a, protocol: HTTP}}]", "spec.servers[0].hosts", "required"),
                ("servers: [{hosts: ['*']}]", "spec.servers[0].port", "required"),
                (server("", "{number: 80, protocol: HTTP}"), "spec.servers[0].port.name", "required"),
                (server("", "{number: 80, name: a}"), "spec.servers[0].port.protocol", "required"),
                (server("", "{number: 80, name: a, protocol: FTP}"), "spec.servers[0].port.protocol", "invalid"),
                (server("", "{number: 0, name: a, protocol: TCP}"), "spec.servers[0].port.number", "invalid"),
                (
                    server("", "{number: 80, name: a, protocol: TCP, targetPort: 1}"),
                    "spec.servers[0].port.targetPort",
                    "invalid",
                ),
                (server("bind: a", "{number: 80, name: a, protocol: TCP}"), "spec.servers[0].bind", "invalid"),
                (
                    server("bind: 'unix:///a'", "{number: 80, name: a, protocol: TCP}"),
                    "spec.servers[0].port.number",
                    "exclusive",
                ),
                (
                    "servers: [{hosts: [a], port: {number: 80, name: a, protocol: HTTP}}]",
                    "spec.servers[0].hosts[0]",
                    "invalid",
                ),
                (
                    "servers:\n- &a {hosts: ['*'], port: {number: 80, name: a, protocol: HTTP}}\n- *a",
                    "spec.servers[1].port.name",
                    "duplicate",
                ),
            ]
        )

    def test_name(self) -> None:
        """
        The name has no dots, since it is part of names with dots.
        """
        resources, problems = parseDocuments(document("Gateway", FULL, "a.b"))
        self.assertEqual((resources, [one.path for one in problems]), ([], ["spec"]))

    def test_tls(self) -> None:
        """
        TLS where the protocol has it, with one source of certificates.
        """
        self.refusals(
            (server(text), f"spec.servers[0].tls{path}", code)
            for text, path, code in (
                ("name: x", "", "required"),
                ("tls: {mode: SIMPLE, serverCertificate: a}", ".privateKey", "required"),
                ("tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}", ".caCertificates", "required"),
                ("tls: {mode: ISTIO_MUTUAL, credentialName: a}", ".credentialName", "exclusive"),
                (
                    "tls: {mode: SIMPLE, credentialName: a, serverCertificate: b, privateKey: c}",
                    ".serverCertificate",
                    "exclusive",
                ),
                ("tls: {mode: SIMPLE, credentialName: a, credentialNames: [b]}", ".credentialNames", "exclusive"),
                ("tls: {mode: SIMPLE, credentialNames: [a, b, c]}", ".credentialNames", "invalid"),
                ("tls: {mode: SIMPEL, credentialName: a}", ".mode", "type"),
            )
        )
        self.refusals(
            [
                (
                    server("tls: {mode: SIMPLE, credentialName: a}", "{number: 80, name: a, protocol: HTTP}"),
                    "spec.servers[0].tls",
                    "invalid",
                ),
                (
                    server("tls: {mode: PASSTHROUGH}", "{number: 80, name: a, protocol: TCP}"),
                    "spec.servers[0].tls",
                    "invalid",
                ),
            ]
        )

    def test_warnings(self) -> None:
        """
        What is left out, and what has no effect.
        """
        self.warnings(
            (server(text), f"spec.servers[0].tls.{path}", "ineffective")
            for text, path in (
                ("tls: {mode: PASSTHROUGH, credentialName: a}", "credentialName"),
                ("tls: {mode: SIMPLE, credentialName: a, cipherSuites: [X]}", "cipherSuites[0]"),
                ("tls: {mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_0}", "minProtocolVersion"),
                ("tls: {mode: SIMPLE, credentialName: a, httpsRedirect: true}", "httpsRedirect"),
            )
        )
