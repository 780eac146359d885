"""
Tests for L{meshproxy.controlplane.metrics}.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshproxy.controlplane.api.access import ALL_ROLES, Access
from meshproxy.controlplane.api.application import makeSite
from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.ca.material import Material
from meshproxy.controlplane.ca.requests import RequestRefused
from meshproxy.controlplane.metrics import ControlMetrics
from meshproxy.controlplane.xds.server import Connected, XDSServer
from tests.controlplane.api.client import Conversation
from tests.controlplane.ca.support import makeRequest
from tests.controlplane.snapshot.support import SnapshotTestCase, node, serviceEntry, virtualService

_DAY = 86400
_LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)+)\})? ([-+.e0-9]+)')


class MetricsTests(SnapshotTestCase):
    """
    What C{/metrics} tells.
    """

    def setUp(self) -> None:
        super().setUp()
        material = Material(Path(self.mktemp()), "cluster.local", self.reactor.seconds)
        self.authority = Authority(material.signer, "cluster.local", self.reactor.seconds)
        self.xds = XDSServer(self.snapshots, self.reactor)
        self.site = makeSite(self.store, Access([], local=ALL_ROLES), self.reactor, metrics=lambda: self.metrics.text())
        self.metrics = ControlMetrics(
            self.store,
            self.authority,
            self.snapshots,
            self.xds,
            lambda: self.site.answers,
            self.reactor.seconds,
        )

    def told(self) -> dict[tuple[str, str], float]:
        """
        What Prometheus reads: values by name and labels. (The reader of prometheus_client is one of OpenMetrics, and
        renames counters.)
        """
        found = {}
        for line in self.metrics.text().decode().splitlines():
            if not line.startswith("#"):
                name, labels, value = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]
                found[name, (labels or "").replace('"', "")] = float(value)
        return found

    def issue(self, account: str, hours: float) -> None:
        """
        A certificate.
        """
        identity = Identity("cluster.local", "default", account)
        self.authority.issue(makeRequest(), identity, timedelta(hours=hours))

    def test_resources(self) -> None:
        """
        Resources, services, endpoints, and the revision of the store.
        """
        self.start()
        self.put(serviceEntry("a", "192.0.2.1", "192.0.2.2"), virtualService("a", "1s"))
        told = self.told()
        self.assertEqual(told["pilot_services", ""], 1)
        self.assertEqual(told["pilot_virt_services", ""], 1)
        self.assertEqual(told["meshproxy_control_endpoints", ""], 2)
        self.assertEqual(told["meshproxy_control_resources", "kind=ServiceEntry"], 1)
        self.assertEqual(told["meshproxy_control_store_revision", ""], self.store.revision)
        self.assertEqual(told["meshproxy_control_served_revision", ""], self.store.revision)

    def test_proxies(self) -> None:
        """
        Connected proxies by their data plane, pushes, and what was not taken.
        """
        self.xds.pushes = {"CDS": 3, "LDS": 1}
        self.xds.rejections = {"LDS": 1}
        names = ("envoy", "envoy", "meshproxy")
        session: Any = type("Session", (), {"subscriptions": {}, "snapshot": None})()
        streams = [Connected({**node(), "userAgentName": name}, "", "", "delta", 0, session) for name in names]
        self.patch(self.xds, "connected", lambda: streams)
        told = self.told()
        self.assertEqual((told["pilot_xds", "version=envoy"], told["pilot_xds", "version=meshproxy"]), (2, 1))
        self.assertEqual(told["pilot_xds_pushes", "type=cds"], 3)
        self.assertEqual(told["pilot_total_xds_rejects", "type=lds"], 1)

    def test_authority(self) -> None:
        """
        When root, signer and certificates end, and how many were asked for, issued and refused.
        """
        self.issue("a", 2)
        self.issue("b", 1)
        self.issue("b", 3)
        self.assertRaises(RequestRefused, self.authority.issue, b"no", Identity("cluster.local", "default", "c"))
        now = self.reactor.seconds()
        told = self.told()
        root = told["citadel_server_root_cert_expiry_timestamp", ""]
        self.assertAlmostEqual(root, now + 3650 * _DAY, delta=3 * _DAY)
        self.assertEqual(told["citadel_server_root_cert_expiry_seconds", ""], root - now)
        self.assertLess(told["citadel_server_cert_chain_expiry_timestamp", ""], root)
        self.assertEqual(told["citadel_server_csr_count", ""], 4)
        self.assertEqual(told["citadel_server_success_cert_issuance_count", ""], 3)
        self.assertEqual(told["citadel_server_csr_parsing_err_count", ""], 1)
        self.assertEqual(told["citadel_server_csr_sign_err_count", ""], 0)
        # Of b the newer one counts, so that a's ends first.
        self.assertEqual(told["meshproxy_control_certificates", ""], 2)
        self.assertEqual(told["meshproxy_control_certificate_expiry_timestamp", ""], now + 2 * 3600)
        self.reactor.advance(2.5 * 3600)
        told = self.told()
        self.assertEqual(told["meshproxy_control_certificates", ""], 1)
        self.assertEqual(told["meshproxy_control_certificates_ended", ""], 1)

    def test_served(self) -> None:
        """
        It is served as text by the API, which counts its answers; a method that is made up is none of its own.
        """
        for method, path in (("GET", "/metrics"), ("MADEUP", "/version"), ("GET", "/nowhere"), ("GET", "/metrics")):
            conversation = Conversation(self.site, "127.0.0.1")
            conversation.send(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        answer = conversation.answer
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        text = answer.body.decode()
        self.assertIn("# TYPE pilot_xds_pushes counter\n", text)
        self.assertIn('meshproxy_control_requests{code="200",method="GET"} 1.0\n', text)
        self.assertIn('meshproxy_control_requests{code="404",method="GET"} 1.0\n', text)
        self.assertIn('meshproxy_control_requests{code="405",method="other"} 1.0\n', text)
        self.assertIn("process_resident_memory_bytes", text)
