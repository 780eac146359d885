# -*- test-case-name: tests.controlplane.model.test_sidecar -*-
"""
Tests for L{meshproxy.controlplane.model.sidecar}.
"""

from __future__ import annotations

from meshproxy.controlplane.model.sidecar import endpointOf
from tests.controlplane.model.given import KindTests

FULL = """
workloadSelector: {labels: {app: a}}
ingress:
- port: {number: 9080, protocol: HTTP, name: http}
  bind: 127.0.0.1
  captureMode: NONE
  defaultEndpoint: 127.0.0.1:8080
- {port: {number: 9081}, defaultEndpoint: 'unix:///run/a'}
egress:
- {port: {number: 80, protocol: HTTP}, bind: 127.0.0.2, captureMode: NONE, hosts: ['*/*.example.com']}
- {hosts: [./*, shop/a.b, '~/*']}
outboundTrafficPolicy: {mode: ALLOW_ANY}
"""


class SidecarTests(KindTests):
    """
    What a Sidecar may say.
    """

    kind = "Sidecar"

    def test_full(self) -> None:
        """
        Every field that has an effect, as it may be.
        """
        spec = self.accepted(FULL).spec
        self.assertEqual(spec.ingress[0].port.number, 9080)
        self.assertIsNone(spec.egress[1].port)

    def test_endpoints(self) -> None:
        """
        The loopback interface, the own address, a socket; nobody else.
        """
        for text, expected in (
            ("127.0.0.1:80", ("127.0.0.1", 80)),
            (":80", ("", 80)),
            ("0.0.0.0:80", ("0.0.0.0", 80)),
            ("[::1]:80", ("::1", 80)),
            ("unix:///a", ("unix:///a", 0)),
            ("10.0.0.1:80", None),
            ("::1:80", None),
            ("127.0.0.1", None),
            ("127.0.0.1:x", None),
        ):
            self.assertEqual(endpointOf(text), expected, text)

    def test_refused(self) -> None:
        """
        What a Sidecar cannot say.
        """
        self.refusals(
            [
                ("workloadSelector: {labels: {a: b}}", "spec", "required"),
                ("ingress: [{bind: 127.0.0.1}]", "spec.ingress[0].port", "required"),
                ("ingress: [{port: {number: 0}}]", "spec.ingress[0].port.number", "invalid"),
                ("ingress: [{port: {number: 1}}, {port: {number: 1}}]", "spec.ingress[1].port.number", "duplicate"),
                ("ingress: [{port: {number: 1}, bind: a}]", "spec.ingress[0].bind", "invalid"),
                ("ingress: [{port: {number: 1}, tls: {mode: ISTIO_MUTUAL}}]", "spec.ingress[0].tls.mode", "invalid"),
                (
                    "ingress: [{port: {number: 1}, tls: {mode: SIMPLE, httpsRedirect: true, credentialName: a}}]",
                    "spec.ingress[0].tls.httpsRedirect",
                    "invalid",
                ),
                (
                    "ingress: [{port: {number: 1}, tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}}]",
                    "spec.ingress[0].tls.caCertificates",
                    "required",
                ),
                (
                    "ingress: [{port: {number: 1}, defaultEndpoint: '10.0.0.1:1'}]",
                    "spec.ingress[0].defaultEndpoint",
                    "invalid",
                ),
                ("ingress: [{port: {number: 1, protocol: X}}]", "spec.ingress[0].port.protocol", "invalid"),
                ("egress: [{port: {number: 1}}]", "spec.egress[0].hosts", "required"),
                ("egress: [{hosts: ['*']}]", "spec.egress[0].hosts[0]", "invalid"),
                ("egress: [{hosts: [a/b]}]", "spec.egress[0].hosts[0]", "invalid"),
                ("egress: [{hosts: ['a/*b.c']}]", "spec.egress[0].hosts[0]", "invalid"),
                ("egress: [{hosts: ['a.b/*']}]", "spec.egress[0].hosts[0]", "invalid"),
                ("egress: [{hosts: ['*/*']}, {port: {number: 1}, hosts: ['*/*']}]", "spec.egress[0]", "exclusive"),
                (
                    "egress: [{port: {number: 1}, hosts: ['*/*']}, {port: {number: 1}, hosts: ['*/*']}]",
                    "spec.egress[1].port.number",
                    "duplicate",
                ),
                (
                    "inboundConnectionPool: {http: {}, tcp: {maxConnections: -1}}",
                    "spec.inboundConnectionPool.tcp.maxConnections",
                    "invalid",
                ),
                (
                    "outboundTrafficPolicy: {egressProxy: {host: a.b, port: {number: 1}}}",
                    "spec.outboundTrafficPolicy.egressProxy",
                    "exclusive",
                ),
            ]
        )

    def test_warnings(self) -> None:
        """
        A selector that means all, and what has no effect.
        """
        self.warnings(
            [
                ("workloadSelector: {}\negress: [{hosts: ['*/*']}]", "spec.workloadSelector", "ineffective"),
            ]
        )
