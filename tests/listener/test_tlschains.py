"""
Listener filters, TLS and network filters together, in a proxy in memory: each finds the bytes that are its own.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.testing import Peer
from meshproxy.testing.pki import Authority, Credential
from meshproxy.testing.tls import TLSPeer, clientContext
from tests.codec.test_proxyprotocol import V1
from tests.filters.network.support import TCP, FilterProxy, accessLog, filterOf

LOG = accessLog("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %FILTER_CHAIN_NAME% %RESPONSE_FLAGS% %BYTES_RECEIVED%\n")


class _Announced:
    """
    A client that sends something in the clear before it speaks TLS.
    """

    def __init__(self, beginning: bytes, tls: TLSPeer) -> None:
        self._beginning = beginning
        self._tls = tls

    def makeConnection(self, transport: Any) -> None:
        """
        It is connected.
        """
        if self._beginning:
            transport.write(self._beginning)
            transport.flush()
        self._tls.makeConnection(transport)


class TLSChainTests(SynchronousTestCase):
    """
    A listener with C{proxy_protocol}, C{tls_inspector}, chains that speak TLS, and C{rbac} before tcp_proxy.
    """

    def setUp(self) -> None:
        self.authority = Authority()

    def proxy(self, identity: str) -> FilterProxy:
        """
        A proxy whose chain for C{a.example} lets one identity pass, and one for cleartext.
        """
        context = {
            "@type": typeURL("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "tls_certificates": [self.authority.issue("a.example").inline],
                "validation_context": {"trusted_ca": {"inline_string": self.authority.root}},
            },
        }
        policy = {
            "permissions": [{"requested_server_name": {"exact": "a.example"}}],
            "principals": [{"authenticated": {"principal_name": {"exact": identity}}}],
        }
        rules = {"stat_prefix": "p", "rules": {"policies": {"p": policy}}}
        chains = [
            {
                "name": "secure",
                "filter_chain_match": {"server_names": ["a.example"]},
                "transport_socket": {"name": "tls", "typed_config": context},
                "filters": [filterOf("rbac", rules), filterOf("tcp_proxy", TCP)],
            },
            {
                "name": "clear",
                "filter_chain_match": {"transport_protocol": "raw_buffer"},
                "filters": [filterOf("tcp_proxy", TCP)],
            },
        ]
        before = [("proxy_protocol", {"allow_requests_without_proxy_protocol": True}), ("tls_inspector", {})]
        return FilterProxy(before=before, chains=chains, access_log=LOG)

    def talk(
        self,
        proxy: FilterProxy,
        beginning: bytes = b"",
        credential: Credential | None = None,
        name: bytes = b"a.example",
    ) -> tuple[Peer, TLSPeer]:
        """
        A client that speaks TLS.
        """
        peer = Peer()
        tls = TLSPeer(peer, clientContext(credential), name)
        proxy.proxy.network.dial("127.0.0.1:10000", _Announced(beginning, tls))  # type: ignore[arg-type]  # it is enough
        proxy.proxy.settle()
        return peer, tls

    def test_allowed(self) -> None:
        """
        The inspector sees the C{ClientHello} behind the PROXY header, TLS finds it all, the rule the identity, the
        upstream the bytes, whole: with the header and without.
        """
        proxy = self.proxy("spiffe://td/client")
        for beginning, client in ((V1, "192.0.2.1"), (b"", "127.0.0.1")):
            peer, _ = self.talk(proxy, beginning, self.authority.issue("spiffe://td/client"))
            for piece in (b"abc", b"def"):
                peer.write(piece)
                proxy.proxy.settle()
            self.assertEqual(proxy.backend.received[-1], b"abcdef")
            proxy.backend.peers[-1].write(b"answer")
            proxy.proxy.settle()
            self.assertEqual(peer.received, b"answer")
            peer.abort()
            self.assertEqual(proxy.log[-1], f"{client} secure - 6")

    def test_denied(self) -> None:
        """
        Another identity, or none, is closed when its first bytes come.
        """
        proxy = self.proxy("spiffe://td/other")
        for credential in (self.authority.issue("spiffe://td/client"), None):
            peer, _ = self.talk(proxy, V1, credential)
            peer.write(b"abc")
            proxy.proxy.settle()
            self.assertTrue(peer.closed)
            self.assertEqual(proxy.backend.received[-1], b"")
        self.assertEqual(proxy.stat("p.rbac.denied"), 2)

    def test_otherName(self) -> None:
        """
        A name without a chain gets none; cleartext has its own.
        """
        proxy = self.proxy("spiffe://td/client")
        _, tls = self.talk(proxy, V1, name=b"b.example")
        self.assertIsNotNone(tls.failure)
        self.assertEqual(proxy.stat("listener.127.0.0.1_10000.no_filter_chain_match"), 1)
        proxy.talk(V1 + b"hello")
        self.assertEqual(proxy.backend.received, [b"hello"])
