"""
Tests of L{meshproxy.net.openssl}.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import TLSError
from meshproxy.net.openssl import (
    drainErrors,
    onServerName,
    readPlain,
    setGroups,
    setSignatureAlgorithms,
    verifyErrorText,
    writePlain,
)
from meshproxy.testing.pki import Authority


class OpenSSLTests(SynchronousTestCase):
    """
    The calls that pyOpenSSL has no name for.
    """

    def setUp(self) -> None:
        issued = Authority().issue("example.com")
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(issued.certificate)
        self.context.use_privatekey(issued.key)

    def connect(self) -> tuple[SSL.Connection, SSL.Connection]:
        """
        A server and a client, the handshake over or failed.
        """
        server = SSL.Connection(self.context, None)
        server.set_accept_state()
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_tlsext_host_name(b"example.com")
        client.set_connect_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error:
                    drainErrors()
                self.pump(one, other)
        return server, client

    def pump(self, one: SSL.Connection, other: SSL.Connection) -> None:
        try:
            other.bio_write(one.bio_read(1 << 20))
        except SSL.WantReadError:
            pass

    def test_transfer(self) -> None:
        """
        A write takes one record, a read a few; nothing there is nothing, and the peer's end is empty.
        """
        server, client = self.connect()
        self.assertIsNone(readPlain(server))
        data = b"x" * 100000
        sent = 0
        while sent < len(data):
            count = writePlain(client, memoryview(data)[sent:])
            self.assertLessEqual(count, 16384)
            sent += count
        self.pump(client, server)
        received = []
        while piece := readPlain(server):
            received.append(len(piece))
        self.assertEqual(received, [65536, 34464])
        client.shutdown()
        self.pump(client, server)
        self.assertEqual(readPlain(server), b"")

    def test_most(self) -> None:
        """
        A read takes no more records than it is told to, and a few at the most.
        """
        singly = [16384] * 5
        for most, sizes in ((1000, singly), (16384, singly), (40000, [49152, 32768]), (1 << 20, [65536, 16384])):
            server, client = self.connect()
            for _ in range(5):
                writePlain(client, b"x" * 16384)
            self.pump(client, server)
            received = []
            while piece := readPlain(server, most):
                received.append(len(piece))
            self.assertEqual(received, sizes)

    def test_garbage(self) -> None:
        """
        What is no record raises with OpenSSL's words, and leaves no error behind for the next connection.
        """
        server, _ = self.connect()
        server.bio_write(b"GET / HTTP/1.1\r\n\r\n")
        error = self.assertRaises(TLSError, readPlain, server)
        self.assertIn("SSL routines::", error.why)
        self.assertEqual(drainErrors(), "")
        self.assertRaises((TLSError, OSError), writePlain, server, b"x")

    def test_names(self) -> None:
        """
        Names of groups and signature algorithms that are not known are told of.
        """
        self.assertTrue(setGroups(self.context, "X25519:P-256"))
        self.assertFalse(setGroups(self.context, "P-1"))
        self.assertTrue(setSignatureAlgorithms(self.context, "ed25519"))
        self.assertFalse(setSignatureAlgorithms(self.context, "md5"))
        self.assertEqual(drainErrors(), "")
        self.assertEqual(verifyErrorText(10), "certificate has expired")

    def test_serverName(self) -> None:
        """
        Whoever looks at the server name decides whether the handshake goes on; an exception is a no.
        """
        asked: list[bytes | None] = []

        def choose(connection: SSL.Connection) -> bool:
            asked.append(connection.get_servername())
            return answers.pop(0)

        kept = onServerName(self.context, choose)
        answers = [True, False]
        for version in (b"TLSv1.3", b"TLSv1.3"):
            server, _ = self.connect()
            del version
        self.assertEqual(asked[:2], [b"example.com"] * 2)
        self.assertRaises(SSL.Error, server.do_handshake)
        answers = []
        server, _ = self.connect()
        self.assertRaises(SSL.Error, server.do_handshake)
        del kept
