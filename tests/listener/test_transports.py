"""
Tests of L{meshproxy.listener.transports}: TLS of a filter chain, through a whole proxy in memory.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.peers import HTTPClient, Peer
from meshproxy.testing.pki import Authority, Credential
from meshproxy.testing.proxy import MemoryProxy
from meshproxy.testing.sockets import MemorySocket
from meshproxy.testing.tls import TLSPeer, clientContext, serverContext

_TYPES = "type.googleapis.com/envoy.extensions."
LOG = (
    "%RESPONSE_CODE% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT% "
    "%REQUESTED_SERVER_NAME% %REQ(X-FORWARDED-PROTO)%"
)
FAILURES = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %RESPONSE_FLAGS% %BYTES_RECEIVED% %DOWNSTREAM_LOCAL_CLOSE_REASON%"


def log(path: str, text: str) -> list[dict[str, Any]]:
    """
    An access log.
    """
    config = {
        "@type": f"{_TYPES}access_loggers.file.v3.FileAccessLog",
        "path": path,
        "log_format": {"text_format_source": {"inline_string": text + "\n"}},
    }
    return [{"name": "log", "typed_config": config}]


class TLSCase(SynchronousTestCase):
    """
    A proxy with a listener that speaks TLS.
    """

    def setUp(self) -> None:
        self.authority = Authority()
        self.server = self.authority.issue("example.com")

    def bootstrap(self, *, common: Any = None, chain: Any = None, **fields: Any) -> str:
        context = {
            "@type": f"{_TYPES}transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [self.server.inline], **(common or {})},
            **fields,
        }
        routes = [
            {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
        ]
        manager = {
            "@type": f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "access_log": log("/http", LOG),
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}filters.http.router.v3.Router"}}],
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 9000}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        listener = {
            "name": "tls",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 443}},
            "stat_prefix": "tls",
            "access_log": log("/listener", FAILURES),
            "filter_chains": [
                {
                    "transport_socket": {"name": "tls", "typed_config": context},
                    "filters": [{"name": "manager", "typed_config": manager}],
                    **(chain or {}),
                }
            ],
        }
        cluster = {
            "name": "backend",
            "load_assignment": {"cluster_name": "backend", "endpoints": endpoints},
        }
        return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})

    def proxy(self, network: MemoryNetwork | None = None, **fields: Any) -> MemoryProxy:
        proxy = MemoryProxy(self.bootstrap(**fields), network)
        proxy.backend("127.0.0.1:9000")
        return proxy

    def connect(
        self, proxy: MemoryProxy, credential: Credential | None = None, alpn: tuple[bytes, ...] = ()
    ) -> tuple[HTTPClient, TLSPeer]:
        client = HTTPClient(proxy.reactor, b"example.com")
        tls = TLSPeer(client, clientContext(credential, alpn), b"example.com")
        proxy.network.dial("127.0.0.1:443", tls)  # type: ignore[arg-type]  # it takes no bytes itself
        proxy.settle()
        return client, tls


class TLSTransportsTests(TLSCase):
    """
    Connections of a chain that speaks TLS.
    """

    def test_request(self) -> None:
        """
        A request over TLS: the upstream is told that it was, the access log shows the session, and all is counted.
        """
        proxy = self.proxy()
        client, _ = self.connect(proxy)
        self.assertEqual(client.request(b"GET", b"/").status, 200)
        client.close()
        proxy.settle()
        self.assertEqual(proxy.logFiles.lines("/http"), ["200 TLSv1.3 - - - https"])
        found = proxy.stats("listener.tls.")
        names = ("downstream_cx_total", "downstream_cx_active", "ssl.handshake")
        self.assertEqual([found[f"listener.tls.{name}"] for name in names], [1, 0, 1])
        self.assertEqual(proxy.stat("http.web.downstream_cx_ssl_total"), 1)
        self.assertEqual(proxy.stat("http.web.downstream_cx_ssl_active"), 0)

    def test_clientCertificate(self) -> None:
        """
        The facts about the client's certificate are in the access log.
        """
        trusted = {"validation_context": {"trusted_ca": {"inline_string": self.authority.root}}}
        proxy = self.proxy(common=trusted, require_client_certificate=True)
        client, _ = self.connect(proxy, self.authority.issue("spiffe://a/b", commonName="me"))
        self.assertEqual(client.request(b"GET", b"/").status, 200)
        self.assertEqual(proxy.logFiles.lines("/http"), ["200 TLSv1.3 spiffe://a/b CN=me - https"])

    def test_refusedClient(self) -> None:
        """
        A client without a certificate gets nothing; the listener's log says why, and nothing is left.
        """
        trusted = {"validation_context": {"trusted_ca": {"inline_string": self.authority.root}}}
        proxy = self.proxy(common=trusted, require_client_certificate=True)
        client, _ = self.connect(proxy)
        self.assertTrue(client.closed)
        (line,) = proxy.logFiles.lines("/listener")
        self.assertEqual(line, "TLS_error:|SSL_routines::peer_did_not_return_a_certificate:TLS_error_end - 0 -")
        self.assertEqual(proxy.logFiles.lines("/http"), [])
        self.assertEqual(proxy.stat("listener.tls.downstream_cx_active"), 0)
        self.assertEqual(proxy.stat("listener.tls.ssl.fail_verify_no_cert"), 1)
        self.assertEqual(proxy.server.listeners.connections, 0)

    def test_cleartext(self) -> None:
        """
        A client that speaks no TLS disturbs nobody else.
        """
        proxy = self.proxy()
        good, _ = self.connect(proxy)
        bad = Peer()
        proxy.connect(bad)
        bad.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        proxy.settle()
        self.assertTrue(bad.closed)
        self.assertEqual(good.request(b"GET", b"/").status, 200)
        self.assertEqual(proxy.stat("listener.tls.ssl.connection_error"), 1)

    def test_stalls(self) -> None:
        """
        A client that does not shake hands is cut off after C{transport_socket_connect_timeout}, or a minute.
        """
        for chain, seconds in (({"transport_socket_connect_timeout": "5s"}, 5.0), ({}, 60.0)):
            proxy = self.proxy(chain=chain)
            peer = Peer()
            proxy.connect(peer)
            proxy.advance(seconds - 0.1)
            self.assertFalse(peer.closed)
            proxy.advance(0.2)
            self.assertTrue(peer.closed)
            self.assertEqual(proxy.stat("listener.tls.downstream_cx_transport_socket_connect_timeout"), 1)
            self.assertEqual(proxy.stat("listener.tls.downstream_cx_active"), 0)
            self.assertEqual(proxy.logFiles.lines("/listener"), ["- - 0 transport_socket_timeout"])

    def test_bytewise(self) -> None:
        """
        A slow network that hands out single bytes.
        """
        from meshproxy.testing.clock import VirtualReactor

        proxy = self.proxy(MemoryNetwork(VirtualReactor(), latency=0.001, readSize=1))
        client, _ = self.connect(proxy)
        proxy.advance(1.0)
        self.assertEqual(client.request(b"GET", b"/").status, 200)

    def test_drain(self) -> None:
        """
        A proxy that stops cuts off those who are still shaking hands when its time is over.
        """
        proxy = self.proxy()
        peer = Peer()
        proxy.connect(peer)
        self.assertEqual(proxy.server.listeners.connections, 1)
        proxy.stop()
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.server.listeners.connections, 0)

    def test_reload(self) -> None:
        """
        Another certificate in the bootstrap: the next connection gets it, the one that is there lives on.
        """
        proxy = self.proxy()
        old, first = self.connect(proxy)
        assert first.connection is not None
        before = first.connection.get_peer_certificate(as_cryptography=True)
        self.server = self.authority.issue("example.com")
        self.assertTrue(proxy.reload(self.bootstrap()))
        _, second = self.connect(proxy)
        assert second.connection is not None
        self.assertEqual(before and before != self.server.certificate, True)
        self.assertEqual(second.connection.get_peer_certificate(as_cryptography=True), self.server.certificate)
        self.assertEqual(old.request(b"GET", b"/").status, 200)

    def test_reloadOtherTrust(self) -> None:
        """
        Who came in clear, or without a certificate, does not stay where that is not enough any more, though the chain
        has the same name; nor do those who were verified by other rules. What is on its way is served, as in Envoy.
        """
        rules = {"validation_context": {"trusted_ca": {"inline_string": self.authority.root}}}
        other = {"validation_context": {"trusted_ca": {"inline_string": Authority().root}}}
        named = {"name": "same"}
        clear = {"name": "same", "transport_socket": None}
        strict = {"require_client_certificate": True}
        for before, after in (
            ({"chain": clear}, {"chain": named}),
            ({"chain": named}, {"chain": named, "common": rules, **strict}),
            ({"chain": named, "common": rules}, {"chain": named, "common": rules, **strict}),
            ({"chain": named, "common": rules}, {"chain": named, "common": other}),
        ):
            proxy = self.proxy(**before)
            if before["chain"] is clear:
                client = proxy.client("127.0.0.1:443")
            else:
                client, _ = self.connect(proxy)
            self.assertEqual(client.request(b"GET", b"/").status, 200)
            self.assertTrue(proxy.reload(self.bootstrap(**after)))
            self.assertEqual(client.request(b"GET", b"/").header("connection"), "close")
            proxy.advance(1.1)
            self.assertTrue(client.ended or client.lost)

    def test_reloadSharedName(self) -> None:
        """
        Of two chains with one name each keeps its own connections.
        """

        def both(status: int) -> str:
            document = json.loads(self.bootstrap(chain={"name": "same"}))
            (listener,) = document["static_resources"]["listeners"]
            listener["listener_filters"] = [
                {
                    "name": "tls",
                    "typed_config": {"@type": f"{_TYPES}filters.listener.tls_inspector.v3.TlsInspector"},
                }
            ]
            (chain,) = listener["filter_chains"]
            clear = json.loads(json.dumps(chain))
            del clear["transport_socket"]
            for number, (one, transport) in enumerate(((chain, "tls"), (clear, "raw_buffer"))):
                one["filter_chain_match"] = {"transport_protocol": transport}
                (host,) = one["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
                answer = {"match": {"prefix": "/"}, "direct_response": {"status": status + number}}
                host["routes"] = [answer]
            listener["filter_chains"] = [chain, clear]
            return json.dumps(document)

        proxy = MemoryProxy(both(201))
        secure, _ = self.connect(proxy)
        plain = proxy.client("127.0.0.1:443")
        for first in (201, 203, 205):
            self.assertTrue(proxy.reload(both(first)))
            answers = [client.request(b"GET", b"/").status for client in (secure, plain)]
            self.assertEqual(answers, [first, first + 1])

    def test_notReady(self) -> None:
        """
        While the certificate has not come by SDS, connections are closed at once.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("{}")
        named = [{"name": "x", "sds_config": {"path_config_source": {"path": path}}}]
        proxy = self.proxy(common={"tls_certificates": [], "tls_certificate_sds_secret_configs": named})
        peer = Peer()
        proxy.connect(peer)
        self.assertTrue(peer.closed)
        self.assertIn("Secret_is_not_supplied_by_SDS", proxy.logFiles.lines("/listener")[0])

    def test_other(self) -> None:
        """
        Other transport sockets are refused, with those that there are.
        """
        chain = {
            "transport_socket": {
                "name": "x",
                "typed_config": {"@type": f"{_TYPES}transport_sockets.tls.v3.UpstreamTlsContext"},
            }
        }
        error = self.assertRaises(ConfigErrors, MemoryProxy, self.bootstrap(chain=chain))
        self.assertIn("only envoy.transport_sockets.tls", str(error))


class StaticSecretTests(TLSCase):
    """
    Secrets of the bootstrap, by their names.
    """

    def named(self, credential: Credential, root: Authority) -> str:
        """
        A bootstrap whose listener and cluster take what they need by name.
        """
        whole = json.loads(
            self.bootstrap(common={"tls_certificates": [], "tls_certificate_sds_secret_configs": [{"name": "mine"}]})
        )
        roots = {"validation_context_sds_secret_config": {"name": "roots"}}
        upstream = {"@type": f"{_TYPES}transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": roots}
        whole["static_resources"]["clusters"][0]["transport_socket"] = {"name": "tls", "typed_config": upstream}
        whole["static_resources"]["secrets"] = [
            {"name": "mine", "tls_certificate": credential.inline},
            {"name": "roots", "validation_context": {"trusted_ca": {"inline_string": root.root}}},
        ]
        return json.dumps(whole)

    def leaf(self, proxy: MemoryProxy) -> Any:
        """
        What the proxy shows to clients now.
        """
        _, tls = self.connect(proxy)
        assert tls.connection is not None
        return tls.connection.get_peer_certificate(as_cryptography=True)

    def test_reload(self) -> None:
        """
        A reload that changes nothing but the secrets: listeners and clusters, which stay as they are, take the new
        ones; one with a fault in a secret changes nothing.
        """
        proxy = MemoryProxy(self.named(self.server, self.authority))
        backend = serverContext(self.server)
        peers: list[Peer] = []

        def accept(peer: Any) -> Any:
            peers.append(Peer())
            return TLSPeer(peers[-1], backend)

        proxy.network.listen(Address("127.0.0.1", 9000), accept)
        self.assertEqual(self.leaf(proxy), self.server.certificate)
        cluster = proxy.server.clusters.byName["backend"]
        other = self.authority.issue("example.com")
        self.assertTrue(proxy.reload(self.named(other, Authority("another"))))
        self.assertIs(proxy.server.clusters.byName["backend"], cluster)
        self.assertEqual(self.leaf(proxy), other.certificate)
        client, _ = self.connect(proxy)
        self.assertEqual(client.request(b"GET", b"/").status, 503)
        self.assertEqual(proxy.stat("cluster.backend.ssl.fail_verify_error"), 1)
        bad = self.named(Credential(other.certificate, self.server.key), self.authority)
        self.assertFalse(proxy.reload(bad))
        self.assertEqual(self.leaf(proxy), other.certificate)
        self.assertTrue(proxy.reload(self.named(other, self.authority)))
        client, _ = self.connect(proxy)
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        proxy.settle()
        self.assertTrue(peers[-1].received.startswith(b"GET / HTTP/1.1"))

    def test_unknown(self) -> None:
        """
        A name that no secret has is refused.
        """
        whole = json.loads(self.named(self.server, self.authority))
        del whole["static_resources"]["secrets"][0]
        error = self.assertRaises(ConfigErrors, MemoryProxy, json.dumps(whole))
        self.assertIn("there is no static secret 'mine'; there are: roots", str(error))


class NothingInTheClearTests(TLSCase):
    """
    Whatever way bytes take through the proxy, none leaves a TLS connection as it is.
    """

    def wire(self) -> list[bytes]:
        """
        What sockets in memory are given from now on.
        """
        sent: list[bytes] = []
        original = MemorySocket.send

        def send(sock: MemorySocket, data: Any) -> int:
            sent.append(bytes(data))
            return original(sock, data)

        self.patch(MemorySocket, "send", send)
        return sent

    def test_http(self) -> None:
        """
        Small and large responses, with and without a turn to gather them in, on new and on kept connections.
        """
        proxy = self.proxy()
        client, _ = self.connect(proxy)
        sent = self.wire()
        for _ in range(3):
            response = client.request(b"GET", b"/", [(b"x-marker", b"MARKER")])
            self.assertEqual(response.body, b"ok")
        client.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 40)
        proxy.settle()
        toClient = [data for data in sent if b"HTTP/1.1 200" in data and b"server: envoy" in data.lower()]
        self.assertEqual(toClient, [])
        self.assertEqual(proxy.stat("http.web.downstream_rq_2xx"), 43)
        self.assertTrue(any(b"x-marker: MARKER" in data for data in sent), "the backend is spoken to in the clear")


class AuthorizationTests(TLSCase):
    """
    What the certificate says decides.
    """

    def test_principal(self) -> None:
        """
        rbac lets in who has the URI name, and nobody else who is let through the handshake.
        """
        principal = {"authenticated": {"principal_name": {"exact": "spiffe://mesh/good"}}}
        policy = {"permissions": [{"any": True}], "principals": [principal]}
        rbac = {
            "name": "rbac",
            "typed_config": {
                "@type": f"{_TYPES}filters.http.rbac.v3.RBAC",
                "rules": {"action": "ALLOW", "policies": {"good": policy}},
            },
        }
        whole = json.loads(
            self.bootstrap(common={"validation_context": {"trusted_ca": {"inline_string": self.authority.root}}})
        )
        (chain,) = whole["static_resources"]["listeners"][0]["filter_chains"]
        chain["filters"][0]["typed_config"]["http_filters"].insert(0, rbac)
        proxy = MemoryProxy(json.dumps(whole))
        proxy.backend("127.0.0.1:9000")
        for name, status in (("spiffe://mesh/good", 200), ("spiffe://mesh/bad", 403), ("", 403)):
            credential = self.authority.issue(name) if name else None
            client, _ = self.connect(proxy, credential)
            self.assertEqual(client.request(b"GET", b"/").status, status, name)


class TCPTests(TLSCase):
    """
    tcp_proxy between two TLS connections.
    """

    def proxyOf(self) -> MemoryProxy:
        whole = json.loads(self.bootstrap())
        (listener,), (cluster,) = whole["static_resources"]["listeners"], whole["static_resources"]["clusters"]
        (chain,) = listener["filter_chains"]
        config = {
            "@type": f"{_TYPES}filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": "backend",
            "access_log": log("/tcp", "%UPSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_VERSION% %BYTES_SENT%"),
        }
        chain["filters"] = [{"name": "tcp", "typed_config": config}]
        upstream = {"@type": f"{_TYPES}transport_sockets.tls.v3.UpstreamTlsContext"}
        cluster["transport_socket"] = {"name": "tls", "typed_config": upstream}
        return MemoryProxy(json.dumps(whole))

    def test_bothWays(self) -> None:
        """
        Bytes, and the end of each direction, go through both; more than the buffers hold too.
        """
        proxy = self.proxyOf()
        backends: list[Peer] = []

        def accept(peer: Any) -> Any:
            backends.append(Peer())
            return TLSPeer(backends[-1], serverContext(self.server))

        proxy.network.listen(Address("127.0.0.1", 9000), accept)
        client = Peer()
        proxy.network.dial("127.0.0.1:443", TLSPeer(client, clientContext(), b""))  # type: ignore[arg-type]
        proxy.settle()
        (backend,) = backends
        data = bytes(range(256)) * 20000
        client.write(data)
        proxy.settle()
        self.assertEqual(backend.received, data)
        client.finish()
        proxy.settle()
        self.assertEqual((backend.ended, client.closed), (True, False))
        backend.write(b"answer")
        backend.finish()
        proxy.settle()
        self.assertEqual((client.received, client.ended), (b"answer", True))
        client.close()
        backend.close()
        proxy.settle()
        self.assertEqual(proxy.logFiles.lines("/tcp"), ["TLSv1.2 TLSv1.3 6"])
        self.assertEqual(proxy.server.listeners.connections, 0)
