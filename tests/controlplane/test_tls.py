"""
Tests for L{meshproxy.controlplane.tls}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.ca.certificates import newKey
from meshproxy.controlplane.ca.material import Material
from meshproxy.controlplane.tls import ServerTLS, peerURIs
from tests.controlplane.ca.support import ANN, makeRequest


class _Peer:
    """
    What a transport knows of its peer.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def getPeerCertificate(self) -> Any:
        """
        As Twisted's transports have it.
        """
        return self._connection.get_peer_certificate()


class ServerTLSTests(SynchronousTestCase):
    """
    L{ServerTLS} and clients.
    """

    def setUp(self) -> None:
        import time

        # OpenSSL verifies by the real clock.
        self.now = time.time()
        self.authority = self.makeAuthority()
        self.tls = ServerTLS(self.authority, ["control.test", "127.0.0.1"], lambda: self.now)

    def makeAuthority(self) -> Authority:
        """
        An authority of its own.
        """
        material = Material(Path(self.mktemp()), "cluster.local", lambda: self.now)
        return Authority(material.signer, "cluster.local", lambda: self.now)

    def client(self, authority: Authority | None = None, protocols: tuple[bytes, ...] = (b"h2",)) -> SSL.Connection:
        """
        A client that trusts the server's authority, with a certificate of some authority.
        """
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        store = context.get_cert_store()
        assert store is not None
        for root in self.authority.roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *told: bool(told[-1]))
        context.set_alpn_protos(list(protocols))
        if authority is not None:
            key = newKey()
            issued = authority.issue(makeRequest(key), ANN)
            context.use_privatekey(crypto.PKey.from_cryptography_key(key))
            context.use_certificate(crypto.X509.from_cryptography(issued.chain[0]))
            context.add_extra_chain_cert(crypto.X509.from_cryptography(issued.chain[1]))
        connection = SSL.Connection(context, None)
        connection.set_tlsext_host_name(b"control.test")
        connection.set_connect_state()
        return connection

    def shake(self, client: SSL.Connection) -> SSL.Connection:
        """
        Let a client and the server shake hands.

        @return: The server's side.
        """
        server = self.tls.serverConnectionForTLS(None)
        server.set_accept_state()
        done: set[SSL.Connection] = set()
        for _ in range(10):
            for one, other in ((client, server), (server, client)):
                if one not in done:
                    try:
                        one.do_handshake()
                        done.add(one)
                    except SSL.WantReadError:
                        pass
                try:
                    other.bio_write(one.bio_read(65536))
                except SSL.WantReadError:
                    pass
        self.assertEqual(len(done), 2)
        # In TLS 1.3 the client hears of a refusal after its own handshake.
        try:
            server.recv(1)
        except SSL.WantReadError:
            pass
        return server

    def test_withoutCertificate(self) -> None:
        """
        A client without a certificate may come, and proves nothing.
        """
        client = self.client()
        server = self.shake(client)
        self.assertEqual(peerURIs(_Peer(server)), [])
        self.assertEqual(client.get_alpn_proto_negotiated(), b"h2")

    def test_withCertificate(self) -> None:
        """
        One with a certificate of the authority is known by its identity.
        """
        self.assertEqual(peerURIs(_Peer(self.shake(self.client(self.authority)))), [str(ANN)])

    def test_foreignCertificate(self) -> None:
        """
        One with another authority's certificate is refused.
        """
        self.assertRaises(SSL.Error, self.shake, self.client(self.makeAuthority()))

    def test_otherProtocol(self) -> None:
        """
        One that speaks something else inside is refused.
        """
        self.assertRaises(SSL.Error, self.shake, self.client(protocols=(b"http/1.1",)))

    def test_names(self) -> None:
        """
        The server's certificate has its names.
        """
        client = self.client()
        self.shake(client)
        shown = client.get_peer_certificate()
        assert shown is not None
        names = shown.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["control.test"])
        self.assertEqual(list(map(str, names.get_values_for_type(x509.IPAddress))), ["127.0.0.1"])

    def test_renewed(self) -> None:
        """
        At half of its life it has another certificate; until then the same.
        """

        def context() -> SSL.Context:
            return self.tls.serverConnectionForTLS(None).get_context()

        first = context()
        self.now += 15 * 86400 - 60
        self.assertIs(context(), first)
        self.now += 60
        second = context()
        self.assertIsNot(second, first)
        self.assertIs(context(), second)

    def test_noTLS(self) -> None:
        """
        A peer in clear proves nothing.
        """
        self.assertEqual(peerURIs(object()), [])
