"""
Tests of L{meshproxy.upstream.transports}: TLS with endpoints, through a whole proxy in memory.
"""

from __future__ import annotations

import json
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.testing.backend import MemoryBackend
from meshproxy.testing.messages import Response
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.pki import Authority, Credential
from meshproxy.testing.proxy import MemoryProxy
from meshproxy.testing.tls import TLSPeer, serverContext
from meshproxy.upstream.transports import hostOf

_TYPES = "type.googleapis.com/envoy.extensions."
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_TLS_VERSION% "
    "%UPSTREAM_PEER_DNS_SAN% %UPSTREAM_LOCAL_SUBJECT%"
)


class SecureBackend(MemoryBackend):
    """
    A backend that speaks TLS.

    @ivar asked: The server names that it was asked for.
    @ivar clients: The subjects of its clients' certificates.
    """

    def __init__(self, network: MemoryNetwork, address: str, context: SSL.Context) -> None:
        self.context = context
        self.tls: list[TLSPeer] = []
        MemoryBackend.__init__(self, network, address)

    def _buildProtocol(self, peer: Address) -> Any:
        tls = TLSPeer(MemoryBackend._buildProtocol(self, peer), self.context)
        self.tls.append(tls)
        return tls

    @property
    def asked(self) -> list[bytes | None]:
        return [each.connection.get_servername() for each in self.tls if each.connection is not None]

    @property
    def clients(self) -> list[str]:
        found = [
            each.connection.get_peer_certificate(as_cryptography=True)
            for each in self.tls
            if each.connection is not None
        ]
        return ["" if each is None else each.subject.rfc4514_string() for each in found]


class UpstreamTLSTests(SynchronousTestCase):
    """
    Clusters that speak TLS.
    """

    def setUp(self) -> None:
        self.authority = Authority()
        self.server = self.authority.issue("example.com", "192.0.2.9")
        self.ca = {"trusted_ca": {"inline_string": self.authority.root}}

    def tls(self, *, validation: Any = None, keys: tuple[Credential, ...] = (), **fields: Any) -> dict[str, Any]:
        common: dict[str, Any] = {"tls_certificates": [each.inline for each in keys]}
        if validation is not None:
            common["validation_context"] = validation
        config = {"@type": f"{_TYPES}transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": common}
        return {"name": "tls", "typed_config": {**config, **fields}}

    def bootstrap(
        self,
        socket: Any,
        *,
        options: Any = None,
        endpoint: Any = None,
        host: Any = None,
        route: Any = None,
        **cluster: Any,
    ) -> str:
        routes = [
            {"match": {"prefix": "/"}, "route": {"cluster": "backend", **(route or {})}},
        ]
        log = {
            "@type": f"{_TYPES}access_loggers.file.v3.FileAccessLog",
            "path": "/log",
            "log_format": {"text_format_source": {"inline_string": LOG + "\n"}},
        }
        manager = {
            "@type": f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "access_log": [{"name": "log", "typed_config": log}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}filters.http.router.v3.Router"}}],
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 9000}}
        found = {"endpoint": {"address": address, **(host or {})}, **(endpoint or {})}
        made: dict[str, Any] = {
            "name": "backend",
            "connect_timeout": "2s",
            "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [found]}]},
            **cluster,
        }
        if socket is not None:
            made["transport_socket"] = socket
        if options is not None:
            http = {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "upstream_http_protocol_options": options,
                "explicit_http_config": {"http_protocol_options": {}},
            }
            made["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http}
        listener = {
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
        }
        return json.dumps({"static_resources": {"listeners": [listener], "clusters": [made]}})

    def start(self, bootstrap: str, server: Credential | None = None, asksClients: bool = False) -> MemoryProxy:
        proxy = MemoryProxy(bootstrap)
        self.backend = SecureBackend(
            proxy.network, "127.0.0.1:9000", serverContext(server or self.server, asksClients=asksClients)
        )
        return proxy

    def get(self, proxy: MemoryProxy, host: bytes = b"example.com") -> Response:
        return proxy.request(b"GET", b"/", [(b"host", host)])

    def test_request(self) -> None:
        """
        A request goes on over TLS, on one connection for several; the log shows the session.
        """
        proxy = self.start(self.bootstrap(self.tls(validation=self.ca, sni="example.com")))
        self.assertEqual([self.get(proxy).status for _ in range(3)], [200] * 3)
        self.assertEqual(self.backend.asked, [b"example.com"])
        self.assertEqual(proxy.accessLog[-1], "200 - - TLSv1.2 example.com -")
        self.assertEqual(proxy.stat("cluster.backend.ssl.handshake"), 1)
        self.assertEqual(proxy.stat("cluster.backend.upstream_cx_total"), 1)

    def test_clientCertificate(self) -> None:
        """
        The proxy shows its own certificate if it has one.
        """
        mine = self.authority.issue(commonName="proxy")
        proxy = self.start(self.bootstrap(self.tls(keys=(mine,))), asksClients=True)
        self.assertEqual(self.get(proxy).status, 200)
        self.assertEqual(self.backend.clients, ["CN=proxy"])
        self.assertTrue(proxy.accessLog[-1].endswith(" CN=proxy"))

    def test_refused(self) -> None:
        """
        An endpoint that nobody vouches for: 503, the reason in the log, and no byte of the request sent.
        """
        proxy = self.start(self.bootstrap(self.tls(validation=self.ca)), Authority("stranger").issue("example.com"))
        response = self.get(proxy)
        self.assertEqual(response.status, 503)
        self.assertIn(b"reset reason: remote connection failure", response.body)
        self.assertIn("503 UF TLS_error:|SSL_routines::certificate_verify_failed", proxy.accessLog[-1])
        self.assertEqual(self.backend.requests, [])
        self.assertEqual(proxy.stat("cluster.backend.ssl.fail_verify_error"), 1)
        self.assertEqual(proxy.stat("cluster.backend.upstream_cx_connect_fail"), 1)
        self.assertEqual(proxy.stat("cluster.backend.upstream_cx_active"), 0)

    def test_cleartextBackend(self) -> None:
        """
        An endpoint that speaks no TLS.
        """
        proxy = MemoryProxy(self.bootstrap(self.tls()))
        backend = MemoryBackend(proxy.network, "127.0.0.1:9000")
        self.assertEqual(self.get(proxy).status, 503)
        self.assertEqual(backend.requests, [])

    def test_silent(self) -> None:
        """
        An endpoint that does not shake hands: C{connect_timeout} is over.
        """
        proxy = MemoryProxy(self.bootstrap(self.tls()))

        class Silent(MemoryBackend):
            def _buildProtocol(self, peer: Address) -> Any:
                connection = MemoryBackend._buildProtocol(self, peer)
                connection.dataReceived = lambda data: None  # type: ignore[method-assign]
                return connection

        Silent(proxy.network, "127.0.0.1:9000")
        client = proxy.client()
        client.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        proxy.advance(1.9)
        self.assertEqual(client.received, b"")
        proxy.advance(0.2)
        self.assertIn(b"503 Service Unavailable", client.received)
        self.assertEqual(proxy.stat("cluster.backend.upstream_cx_connect_timeout"), 1)

    def test_gone(self) -> None:
        """
        A client that leaves while the handshake is under way: the attempt is given up.
        """
        proxy = MemoryProxy(self.bootstrap(self.tls()), MemoryNetwork(_reactor(), latency=0.1))
        self.backend = SecureBackend(proxy.network, "127.0.0.1:9000", serverContext(self.server))
        client = proxy.client()
        proxy.advance(0.2)
        client.write(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        proxy.advance(0.25)
        self.assertEqual(proxy.stat("cluster.backend.upstream_cx_active"), 1)
        client.abort()
        proxy.advance(1.0)
        self.assertEqual(proxy.stat("cluster.backend.upstream_cx_active"), 0)
        self.assertEqual(self.backend.requests, [])

    def test_autoSNI(self) -> None:
        """
        The server name is the request's host, and each name has its own connections; an address is no server name. A
        host that the route writes counts.
        """
        options = {"auto_sni": True}
        proxy = self.start(self.bootstrap(self.tls(sni="default.com"), options=options))
        for host in (b"a.com", b"b.com:8080", b"a.com", b"192.0.2.9", b"[::1]:80"):
            self.assertEqual(self.get(proxy, host).status, 200)
        self.assertEqual(self.backend.asked, [b"a.com", b"b.com", b"default.com"])
        route = {"host_rewrite_literal": "rewritten.com"}
        proxy = self.start(self.bootstrap(self.tls(), options=options, route=route))
        self.assertEqual(self.get(proxy, b"a.com").status, 200)
        self.assertEqual(self.backend.asked, [b"rewritten.com"])

    def test_olderField(self) -> None:
        """
        The cluster's own field of former times says the same, where there are no options by type.
        """
        older = {"upstream_http_protocol_options": {"auto_sni": True}}
        for options, asked in ((None, b"a.com"), ({}, b"default.com")):
            proxy = self.start(self.bootstrap(self.tls(sni="default.com"), options=options, **older))
            self.assertEqual(self.get(proxy, b"a.com").status, 200)
            self.assertEqual(self.backend.asked, [asked])

    def test_overriddenHeader(self) -> None:
        """
        Another header may tell the server name; without it the host does.
        """
        options = {"auto_sni": True, "override_auto_sni_header": "x-name"}
        proxy = self.start(self.bootstrap(self.tls(), options=options))
        proxy.request(b"GET", b"/", [(b"host", b"a.com"), (b"x-name", b"b.com")])
        proxy.request(b"GET", b"/", [(b"host", b"a.com")])
        self.assertEqual(self.backend.asked, [b"b.com", b"a.com"])

    def test_autoSANValidation(self) -> None:
        """
        The certificate has to be for the request's host; one name's connection is not used for another.
        """
        options = {"auto_sni": True, "auto_san_validation": True}
        proxy = self.start(self.bootstrap(self.tls(validation=self.ca), options=options))
        hosts = (b"example.com", b"other.com", b"192.0.2.9", b"example.com")
        self.assertEqual([self.get(proxy, host).status for host in hosts], [200, 503, 200, 200])
        self.assertEqual(proxy.stat("cluster.backend.ssl.fail_verify_san"), 1)
        error = self.assertRaises(ConfigErrors, MemoryProxy, self.bootstrap(self.tls(), options=options))
        self.assertIn("needs a trusted_ca", str(error))

    def test_manyNames(self) -> None:
        """
        Names that requests make up leave no pools behind.
        """
        proxy = self.start(
            self.bootstrap(
                self.tls(), options={"auto_sni": True}, common_http_protocol_options={"idle_timeout": "0.001s"}
            )
        )
        for number in range(200):
            self.get(proxy, b"%d.example.com" % number)
            proxy.advance(0.01)
        (endpoint,) = proxy.server.clusters.byName["backend"].endpoints
        self.assertLess(len(endpoint.pools), 70)

    def test_hostname(self) -> None:
        """
        The endpoint's own host name is the server name if that is asked for, and may be verified.
        """
        socket = self.tls(validation=self.ca, auto_host_sni=True, auto_sni_san_validation=True)
        proxy = self.start(self.bootstrap(socket, host={"hostname": "example.com"}))
        self.assertEqual(self.get(proxy, b"a.com").status, 200)
        self.assertEqual(self.backend.asked, [b"example.com"])

    def test_matches(self) -> None:
        """
        The endpoint's metadata choose the transport: the first that matches, else the cluster's own.
        """
        matches = [
            {"name": "tls", "match": {"mode": "tls"}, "transport_socket": self.tls(sni="matched.com")},
            {"name": "any", "match": {}, "transport_socket": self.tls(sni="any.com")},
        ]
        metadata = {"metadata": {"filter_metadata": {"envoy.transport_socket_match": {"mode": "tls", "x": 1}}}}
        proxy = self.start(self.bootstrap(None, endpoint=metadata, transport_socket_matches=matches))
        self.get(proxy)
        self.assertEqual(self.backend.asked, [b"matched.com"])
        found = proxy.stats("cluster.backend.")
        self.assertEqual(
            [found[f"cluster.backend.{name}.total_match_count"] for name in ("tls", "any", "default")], [1, 0, 0]
        )
        proxy = self.start(self.bootstrap(None, transport_socket_matches=matches))
        self.get(proxy)
        self.assertEqual(self.backend.asked, [b"any.com"])
        proxy = MemoryProxy(
            self.bootstrap(
                self.tls(), transport_socket_matches=[{"name": "plain", "match": {"mode": "tls"}}], endpoint=metadata
            )
        )
        backend = MemoryBackend(proxy.network, "127.0.0.1:9000")
        self.assertEqual(self.get(proxy).status, 200)
        self.assertEqual(len(backend.requests), 1)

    def test_rotation(self) -> None:
        """
        Another trusted authority, by a reload: connections that are there stay, new ones verify by it.
        """
        proxy = self.start(self.bootstrap(self.tls(validation=self.ca)))
        self.assertEqual(self.get(proxy).status, 200)
        self.ca = {"trusted_ca": {"inline_string": Authority("other").root}}
        self.assertTrue(proxy.reload(self.bootstrap(self.tls(validation=self.ca))))
        self.assertEqual(self.get(proxy).status, 503)

    def test_changesWithin(self) -> None:
        """
        The cluster is another one, with another certificate to show, at any moment of connecting, of the handshake and
        of a request: none is lost, and none is tried twice.
        """
        first, second = (self.authority.issue(commonName=name) for name in ("first", "second"))
        latency, step = 0.1, 0.05
        for number in range(int(10 * latency / step)):
            bootstraps = [self.bootstrap(self.tls(validation=self.ca, keys=(mine,))) for mine in (first, second)]
            proxy = MemoryProxy(bootstraps[0], MemoryNetwork(_reactor(), latency))
            context = serverContext(self.server, asksClients=True)
            self.backend = SecureBackend(proxy.network, "127.0.0.1:9000", context)
            client = proxy.client()
            client.send()
            proxy.advance(number * step)
            self.assertTrue(proxy.reload(bootstraps[1]))
            self.assertEqual(client.response().status, 200, f"a change after {number * step:.2f} s")
            self.assertEqual(client.request().status, 200)
            self.assertEqual(len(self.backend.requests), 2)
            self.assertEqual(self.backend.clients[-1], "CN=second")

    def test_notReady(self) -> None:
        """
        While a secret has not come, requests fail; nothing raises.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("{}")
        socket = self.tls()
        named = {"name": "x", "sds_config": {"path_config_source": {"path": path}}}
        socket["typed_config"]["common_tls_context"] = {"validation_context_sds_secret_config": named}
        proxy = self.start(self.bootstrap(socket))
        self.assertEqual(self.get(proxy).status, 503)
        self.assertIn("Secret_is_not_supplied_by_SDS", proxy.accessLog[-1])

    def test_other(self) -> None:
        """
        Other transport sockets are refused.
        """
        socket = {
            "name": "x",
            "typed_config": {"@type": f"{_TYPES}transport_sockets.tls.v3.DownstreamTlsContext"},
        }
        error = self.assertRaises(ConfigErrors, MemoryProxy, self.bootstrap(socket))
        self.assertIn("only envoy.transport_sockets.tls", str(error))

    def test_hosts(self) -> None:
        """
        The host of an authority.
        """
        table = {"a.com": "a.com", "a.com:80": "a.com", "[::1]:80": "::1", "[::1]": "::1", "::1": "::1", "": ""}
        self.assertEqual({authority: hostOf(authority) for authority in table}, table)


def _reactor() -> Any:
    from meshproxy.testing.clock import VirtualReactor

    return VirtualReactor()
