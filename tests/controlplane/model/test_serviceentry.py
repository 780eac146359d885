# -*- test-case-name: tests.controlplane.model.test_serviceentry -*-
"""
Tests for L{meshproxy.controlplane.model.serviceentry} and L{meshproxy.controlplane.model.workloadentry}.
"""

from __future__ import annotations

from tests.controlplane.model.given import KindTests

FULL = """
hosts: [a.example.com, '*.b.example.com']
addresses: [10.0.0.1, 10.1.0.0/16, '2001::/64']
ports: [{number: 443, name: https, protocol: TLS}, {number: 80, name: http, protocol: http, targetPort: 8080}]
location: MESH_INTERNAL
resolution: STATIC
endpoints:
- {address: 10.0.0.2, ports: {http: 8081}, labels: {app: a}, locality: r/z, weight: 5, serviceAccount: s, network: net}
- {address: '::1'}
exportTo: ['~']
subjectAltNames: [spiffe://x]
"""


class ServiceEntryTests(KindTests):
    """
    What a ServiceEntry may say.
    """

    kind = "ServiceEntry"

    def test_full(self) -> None:
        """
        Every field, as it may be.
        """
        spec = self.accepted(FULL).spec
        self.assertEqual(spec.endpoints[0].ports, {"http": 8081})
        self.assertEqual((spec.location, spec.resolution), ("MESH_INTERNAL", "STATIC"))

    def test_resolutions(self) -> None:
        """
        Each way to find endpoints, as it may be.
        """
        port = "ports: [{number: 80, name: http, protocol: HTTP}]"
        self.accepted(f"hosts: [a.b]\n{port}\nresolution: DNS")
        self.accepted(f"hosts: [a.b]\n{port}\nresolution: DNS\nendpoints: [{{address: c.d}}]")
        self.accepted(f"hosts: ['*.b']\n{port}\nresolution: DNS_ROUND_ROBIN\nendpoints: [{{address: c.d}}]")
        self.accepted(f"hosts: ['*.b']\n{port}\nresolution: NONE")
        self.accepted(f"hosts: [a.b]\n{port}\nresolution: STATIC\nworkloadSelector: {{labels: {{app: x}}}}")
        self.accepted(f"hosts: [a.b]\n{port}\nresolution: STATIC\nendpoints: [{{address: 'unix:///a'}}]")
        self.accepted(f"hosts: ['*.b']\n{port}\nresolution: DYNAMIC_DNS")

    def test_refused(self) -> None:
        """
        What a ServiceEntry cannot say.
        """
        http = "{number: 80, name: http, protocol: HTTP}"
        self.refusals(
            [
                ("ports: []", "spec.hosts", "required"),
                ("hosts: ['*']", "spec.hosts[0]", "invalid"),
                ("hosts: [a..b]", "spec.hosts[0]", "invalid"),
                ("hosts: [a]\naddresses: [a]", "spec.addresses[0]", "invalid"),
                (
                    f"hosts: [a]\nports: [{http}]\nresolution: DNS\naddresses: [10.0.0.0/8]",
                    "spec.addresses[0]",
                    "exclusive",
                ),
                ("hosts: [a]\nports: [{number: 80, protocol: HTTP}]", "spec.ports[0].name", "required"),
                ("hosts: [a]\nports: [{number: 0, name: a}]", "spec.ports[0].number", "invalid"),
                ("hosts: [a]\nports: [{number: 1, name: a, protocol: FTP}]", "spec.ports[0].protocol", "invalid"),
                ("hosts: [a]\nports: [{number: 1, name: a, targetPort: 70000}]", "spec.ports[0].targetPort", "invalid"),
                ("hosts: [a]\nports: [{number: 1, name: a}, {number: 2, name: a}]", "spec.ports[1].name", "duplicate"),
                (
                    "hosts: [a]\nports: [{number: 1, name: a}, {number: 1, name: b}]",
                    "spec.ports[1].number",
                    "duplicate",
                ),
                ("hosts: [a]\nendpoints: [{address: 10.0.0.1}]", "spec.endpoints", "exclusive"),
                (
                    f"hosts: [a]\nports: [{http}]\nresolution: STATIC\nendpoints: [{{address: b.c}}]",
                    "spec.endpoints[0].address",
                    "invalid",
                ),
                (
                    f"hosts: [a]\nports: [{http}]\nresolution: STATIC\nendpoints: [{{ports: {{http: 1}}}}]",
                    "spec.endpoints[0].address",
                    "required",
                ),
                (
                    f"hosts: [a]\nports: [{http}]\nresolution: STATIC\n"
                    "endpoints: [{address: 10.0.0.1, ports: {htp: 1}}]",
                    "spec.endpoints[0].ports.htp",
                    "invalid",
                ),
                (
                    f"hosts: [a]\nports: [{http}]\nresolution: DNS_ROUND_ROBIN\n"
                    "endpoints: [{address: b}, {address: c}]",
                    "spec.endpoints",
                    "invalid",
                ),
                (f"hosts: ['*.a']\nports: [{http}]\nresolution: DNS", "spec.hosts[0]", "invalid"),
                (
                    f"hosts: [a]\nports: [{http}]\nresolution: STATIC\nworkloadSelector: {{labels: {{a: b}}}}\n"
                    "endpoints: [{address: 10.0.0.1}]",
                    "spec.endpoints",
                    "exclusive",
                ),
                (
                    "hosts: [a, b]\nports: [{number: 1, name: a, protocol: TCP}]\n"
                    "resolution: STATIC\naddresses: [10.0.0.1]",
                    "spec.ports[0].protocol",
                    "exclusive",
                ),
                ("hosts: [a]\nresolution: DSN", "spec.resolution", "type"),
                ("hosts: [a]\nexportTo: ['~', b]", "spec.exportTo", "exclusive"),
            ]
        )

    def test_warnings(self) -> None:
        """
        What has no effect, or more than is meant.
        """
        self.warnings(
            [
                ("hosts: ['*a']", "spec.hosts[0]", "ineffective"),
                ("hosts: [a]\nworkloadSelector: {labels: {a: b}}", "spec.workloadSelector", "ineffective"),
                (
                    "hosts: [a]\nresolution: STATIC\nports: [{number: 1, name: a, protocol: TCP}]",
                    "spec.ports[0]",
                    "ineffective",
                ),
            ]
        )


class WorkloadEntryTests(KindTests):
    """
    What a WorkloadEntry may say.
    """

    kind = "WorkloadEntry"

    def test_accepted(self) -> None:
        """
        Addresses, names, sockets.
        """
        for address in ("10.0.0.1", "'::1'", "a.b", "unix:///a", "unix://@a"):
            self.accepted(f"address: {address}\nlabels: {{app: a}}")
        self.warnings([("network: net", "spec.address", "ineffective")])

    def test_refused(self) -> None:
        """
        No address, or one that is none.
        """
        self.refusals(
            [
                ("labels: {app: a}", "spec.address", "required"),
                ("address: a b", "spec.address", "invalid"),
                ("address: unix://a", "spec.address", "invalid"),
                ("address: unix:///a\nports: {a: 1}", "spec.ports", "exclusive"),
                ("address: 10.0.0.1\nports: {a: 0}", "spec.ports.a", "invalid"),
                ("address: 10.0.0.1\nports: {'a b': 1}", 'spec.ports["a b"]', "invalid"),
                ("address: 10.0.0.1\nweight: -1", "spec.weight", "invalid"),
                ("address: 10.0.0.1\nlabels: {'a b': c}", "spec.labels", "invalid"),
            ]
        )


class WorkloadGroupTests(KindTests):
    """
    What a WorkloadGroup may say.
    """

    kind = "WorkloadGroup"

    def test_accepted(self) -> None:
        """
        A template and a probe; that nobody asks by the probe is told.
        """
        self.warnings(
            [
                (
                    "metadata: {labels: {app: a}}\ntemplate: {serviceAccount: s}\n"
                    f"probe: {{periodSeconds: 5, {probe}}}",
                    "spec.probe",
                    "not-programmed",
                )
                for probe in (
                    "httpGet: {path: /, port: 80, scheme: HTTP, httpHeaders: [{name: x-a, value: b}]}",
                    "tcpSocket: {port: 80}",
                    "exec: {command: [a]}",
                    "grpc: {port: 80}",
                )
            ]
        )

    def test_refused(self) -> None:
        """
        No template, or a probe that cannot be.
        """
        self.refusals([("metadata: {labels: {a: b}}", "spec.template", "required")])
        self.refusals(
            (f"template: {{}}\nprobe: {{{text}}}", f"spec.probe{path}", code)
            for text, path, code in (
                ("periodSeconds: 1", "", "required"),
                ("tcpSocket: {port: 80}, exec: {command: [a]}", ".exec", "exclusive"),
                ("tcpSocket: {port: 65536}", ".tcpSocket.port", "invalid"),
                ("exec: {}", ".exec.command", "required"),
                ("httpGet: {port: 80, scheme: FTP}", ".httpGet.scheme", "invalid"),
                ("httpGet: {port: 80, httpHeaders: [{name: '**'}]}", ".httpGet.httpHeaders[0].name", "invalid"),
                ("grpc: {port: 80}, timeoutSeconds: -1", ".timeoutSeconds", "invalid"),
            )
        )
