"""
Checks over the cluster's transport socket.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from meshproxy.testing.pki import Authority
from meshproxy.testing.tls import serverContext
from meshproxy.upstream.cluster import Cluster
from tests.upstream.healthchecks.support import TIMES, CheckedCase, httpCheck
from tests.upstream.support import clusterSection
from tests.upstream.test_transports import SecureBackend

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


class TLSTests(CheckedCase):
    """
    Endpoints that speak TLS.
    """

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        self.offered: list[list[bytes]] = []
        context = serverContext(self.authority.issue("example.com"))

        def select(connection: SSL.Connection, offered: list[bytes]) -> bytes:
            self.offered.append(offered)
            return offered[0]

        context.set_alpn_select_callback(select)
        self.secure = SecureBackend(self.network, "192.0.2.1:80", context)

    def socket(self, root: str = "", **common: Any) -> dict[str, Any]:
        """
        A transport socket that verifies endpoints.
        """
        ca = {"trusted_ca": {"inline_string": root or self.authority.root}}
        config = {"@type": _TLS, "sni": "example.com", "common_tls_context": {"validation_context": ca, **common}}
        return {"name": "tls", "typed_config": config}

    def check(self, check: dict[str, Any], **fields: Any) -> Cluster:
        """
        A cluster that is checked, and is warm.
        """
        cluster = self.begin(clusterSection("192.0.2.1", health_checks=[check], **fields))
        self.successResultOf(cluster.warmed)
        return cluster

    def test_secure(self) -> None:
        """
        A check shakes hands as a request does, and offers what the configuration says.
        """
        cluster = self.check(httpCheck(), transport_socket=self.socket(alpn_protocols=["http/1.1"]))
        self.assertEqual(self.flags(cluster.endpoints[0]), "healthy")
        self.assertEqual((self.secure.asked, self.offered), ([b"example.com"], [[b"http/1.1"]]))
        self.assertEqual(self.secure.last.path, b"/health")

    def test_connects(self) -> None:
        """
        A connection is there when its handshake is over.
        """
        self.check({**TIMES, "tcp_health_check": {}}, transport_socket=self.socket())
        self.assertEqual((self.stats("success"), len(self.secure.tls), self.offered), ((1,), 1, []))

    def test_distrusted(self) -> None:
        """
        An endpoint that is not who it should be fails.
        """
        other = Authority().root
        for check in (httpCheck(), {**TIMES, "tcp_health_check": {}}):
            cluster = self.check(check, transport_socket=self.socket(other))
            self.assertEqual(self.flags(cluster.endpoints[0]), "/failed_active_hc")
            self.assertEqual(self.stats("network_failure"), (1,))
            cluster.drain()

    def test_offers(self) -> None:
        """
        Checks may offer something else than requests do.
        """
        check = httpCheck({"tls_options": {"alpn_protocols": ["hc", "http/1.1"]}})
        self.check(check, transport_socket=self.socket(alpn_protocols=["h2"]))
        self.assertEqual(self.offered, [[b"hc", b"http/1.1"]])

    def test_chosen(self) -> None:
        """
        Checks may go by another transport socket than requests do.
        """
        matches = [
            {
                "name": "plain",
                "match": {"check": True},
                "transport_socket": {"name": "raw", "typed_config": {"@type": _RAW}},
            },
            {"name": "tls", "match": {}, "transport_socket": self.socket()},
        ]
        for criteria, expected in (({}, "healthy"), ({"check": True}, "/failed_active_hc")):
            check = httpCheck({"transport_socket_match_criteria": criteria})
            cluster = self.check(check, transport_socket_matches=matches)
            self.assertEqual(self.flags(cluster.endpoints[0]), expected)
            cluster.drain()

    def held(self) -> tuple[Cluster, Path]:
        """
        A cluster whose secret has not come, and the file that it comes in.
        """
        path = Path(self.mktemp())
        path.write_text("{}")
        named = {"name": "x", "sds_config": {"path_config_source": {"path": str(path)}}}
        socket = self.socket()
        socket["typed_config"]["common_tls_context"] = {"validation_context_sds_secret_config": named}
        cluster = self.begin(clusterSection("192.0.2.1", health_checks=[httpCheck()], transport_socket=socket))
        self.network.dialled.clear()
        self.reactor.advance(5.0)
        self.assertEqual((self.stats("attempt"), self.network.dialled), ((0,), []))
        self.assertNoResult(cluster.warmed)
        return cluster, path

    def test_secrets(self) -> None:
        """
        Checks wait for secrets, so that no endpoint is ill because they come late.
        """
        cluster, path = self.held()
        secret = {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": "x",
            "validation_context": {"trusted_ca": {"inline_string": self.authority.root}},
        }
        self.secrets.files.start()
        self.addCleanup(self.secrets.files.stop)
        path.write_text(json.dumps({"resources": [secret]}))
        self.reactor.advance(5.0)
        self.successResultOf(cluster.warmed)
        self.assertEqual((self.flags(cluster.endpoints[0]), self.stats("attempt")), ("healthy", (1,)))
        cluster.drain()

    def test_noSecrets(self) -> None:
        """
        They do not wait for ever, and not when the cluster is gone.
        """
        cluster, _ = self.held()
        self.reactor.advance(10.0)
        self.successResultOf(cluster.warmed)
        self.assertEqual((self.flags(cluster.endpoints[0]), self.stats("attempt")), ("/failed_active_hc", (1,)))
        cluster.drain()
        other, _ = self.held()
        other.drain()
        self.successResultOf(other.warmed)
