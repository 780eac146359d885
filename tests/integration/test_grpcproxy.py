"""
gRPC through the proxy, with a client and a server that others wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing.pki import Authority
from tests.integration.configs import address, bootstrap, cluster, forward, listener
from tests.integration.grpcinterop import CASES, InteropClient, InteropServer, grpc, pack, runCases
from tests.integration.process import Proxy, fetch, freePorts, until

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_HTTP2: dict[str, Any] = {
    "typed_extension_protocol_options": {
        _OPTIONS: {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}


class GRPCProxyTests(SynchronousTestCase):
    """
    C{grpcio}, the proxy, C{grpcio}.
    """

    if grpc is None:
        skip = "grpcio is not installed"

    def proxy(
        self,
        server: InteropServer,
        listenerFields: Any = None,
        clusterFields: Any = None,
        removed: tuple[str, ...] = (),
        **action: Any,
    ) -> int:
        """
        A proxy in front of a server.

        @param removed: Fields that its route takes off requests.
        @param action: More fields of the route's action.

        @return: Its port.
        """
        self.addCleanup(server.close)
        port, self.admin = freePorts(2)
        front = listener(
            "front", port, {**forward("backend", timeout="0s", **action), "request_headers_to_remove": removed}
        )
        front["filter_chains"][0].update(listenerFields or {})
        backend = cluster("backend", server.port, **_HTTP2, **(clusterFields or {}))
        text = bootstrap(front, backend, admin={"address": address(self.admin)})
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        Proxy(self, "-c", str(path)).ready(port, self.admin)
        return port

    def stat(self, name: str) -> int:
        """
        What the proxy counted.
        """
        stats = json.loads(fetch(self.admin, f"/stats?format=json&filter=^{name}$")[1])
        return int(stats["stats"][0]["value"])

    def client(self, port: int, server: InteropServer, credentials: Any = None) -> InteropClient:
        """
        Somebody who calls.
        """
        client = InteropClient(port, server, credentials, self.wire)
        self.addCleanup(client.close)
        return client

    def wire(self) -> tuple[int, int]:
        """
        How many bytes went to the server and came from it.
        """
        return self.stat("cluster.backend.upstream_cx_tx_bytes_total"), self.stat(
            "cluster.backend.upstream_cx_rx_bytes_total"
        )

    def test_interop(self) -> None:
        """
        All of gRPC's own cases, in cleartext. Each call that is given up reaches the upstream as the end of its stream
        alone: one connection serves all.
        """
        server = InteropServer()
        client = self.client(self.proxy(server), server)
        self.assertEqual(runCases(client), {})
        self.assertEqual(len(CASES), 26)
        self.assertEqual(self.stat("cluster.backend.upstream_cx_total"), 1)
        # At a deadline either side may be the first; so it may be where the server ends a call before the client did.
        given = sum(name.startswith("cancel") for name in CASES)
        until(lambda: self.stat("cluster.backend.upstream_rq_tx_reset") >= given, "the resets to be counted")
        self.assertGreaterEqual(self.stat("http.front.downstream_rq_rx_reset"), given)
        self.assertEqual(self.stat("cluster.backend.upstream_rq_active"), 0)

    def test_interopTLS(self) -> None:
        """
        The same over TLS on both sides, by ALPN.
        """
        authority = Authority()
        credential = authority.issue("localhost")
        pairs = [(credential.keyText.encode(), credential.chain.encode())]
        server = InteropServer(grpc.ssl_server_credentials(pairs))
        context = {"tls_certificates": [credential.inline], "alpn_protocols": ["h2"]}
        downstream = {
            "name": "tls",
            "typed_config": {"@type": f"{_TLS}DownstreamTlsContext", "common_tls_context": context},
        }
        validation = {"trusted_ca": {"inline_string": authority.root}}
        upstream = {
            "name": "tls",
            "typed_config": {
                "@type": f"{_TLS}UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {"validation_context": validation, "alpn_protocols": ["h2"]},
            },
        }
        port = self.proxy(server, {"transport_socket": downstream}, {"transport_socket": upstream})
        client = self.client(port, server, grpc.ssl_channel_credentials(authority.root.encode()))
        self.assertEqual(runCases(client), {})
        self.assertEqual(self.stat("cluster.backend.ssl.handshake"), 1)

    def test_deadlines(self) -> None:
        """
        The proxy holds calls to the deadline that they tell, up to what the route allows and less its offset, and ends
        them towards both sides.
        """
        server = InteropServer()
        duration = {"grpc_timeout_header_max": "0.7s", "grpc_timeout_header_offset": "0.5s"}
        # The server would end its call at the same moment.
        port = self.proxy(server, removed=("grpc-timeout",), max_stream_duration=duration)
        client = self.client(port, server)
        for timeout in (0.9, 15.0):
            before = len(server.events)
            told = self.failure(client, timeout)
            self.assertEqual(told, ("DEADLINE_EXCEEDED", "downstream duration timeout"), timeout)
            client.waitFor("over", before)
        self.assertEqual(client.unary()(pack(b"in time"), timeout=60), b"in time")

    def test_deadlineTold(self) -> None:
        """
        The service is told of the deadline that the proxy holds it to.
        """
        server = InteropServer()
        client = self.client(self.proxy(server, max_stream_duration={"max_stream_duration": "0.3s"}), server)
        self.assertEqual(self.failure(client, 15.0)[0], "DEADLINE_EXCEEDED")
        assert server.remaining is not None
        self.assertLess(server.remaining, 1.5)

    def failure(self, client: InteropClient, timeout: float) -> tuple[str, str]:
        """
        How a call ends that takes too long.
        """
        failure: Any = client.unary().future(pack(pause=20), timeout=timeout).exception(20)
        return failure.code().name, failure.details()

    def test_downstreamGone(self) -> None:
        """
        A client that goes away with its connection ends its calls upstream.
        """
        server = InteropServer()
        port = self.proxy(server)
        client, other = self.client(port, server), self.client(port, server)
        before = len(server.events)
        call = client.unary().future(pack(pause=20), timeout=20)
        client.waitFor("begun", before)
        client.close()
        self.assertTrue(call.done())
        other.waitFor("over", before)
        self.assertEqual(other.unary()(pack(b"still"), timeout=60), b"still")

    def test_upstreamGone(self) -> None:
        """
        Where nobody answers, or the server goes in the middle, the client is told by a status.
        """
        server = InteropServer()
        client = self.client(self.proxy(server), server)
        call = client.unary().future(pack(pause=20), timeout=20)
        client.waitFor("begun")
        server.close()
        self.assertEqual(call.exception(20).code(), grpc.StatusCode.UNAVAILABLE)
        with self.assertRaises(grpc.RpcError) as raised:
            client.unary()(pack(), timeout=20)
        error: Any = raised.exception
        self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("upstream connect error", error.details())
