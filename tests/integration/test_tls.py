"""
TLS with the clients that people use, certificates that change under load, peers that break off, and both kinds of
transport on the same sockets.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshproxy.net.address import Address
from meshproxy.net.tls import TLSTransport
from meshproxy.net.tlsbuffered import BufferedTLSTransport
from meshproxy.testing.pki import Authority, Credential
from meshproxy.testing.tls import PeerHandshake, clientContext, serverContext
from tests.integration.configs import bootstrap, direct, listener
from tests.integration.process import Proxy, freePort, until

#: How long certificates change under load, in seconds; C{tox -e soak} asks for minutes.
ROTATION = float(os.environ.get("MESHPROXY_TEST_ROTATION", "10"))

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


class TLSCase(SynchronousTestCase):
    """
    A proxy with a listener that speaks TLS, its certificate in files.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = Authority()
        self.write("ca.pem", self.authority.root)
        self.credential = self.authority.issue("localhost", "127.0.0.1")
        self.rotate(self.credential)

    def write(self, name: str, text: str) -> Path:
        """
        Move a file into place.
        """
        path = self.folder / name
        beside = self.folder / f"{name}.new"
        beside.write_text(text)
        os.replace(beside, path)
        return path

    def rotate(self, credential: Credential) -> None:
        """
        Another certificate.
        """
        self.write("key.pem", credential.keyText)
        self.write("cert.pem", credential.chain)

    def start(self, common: Any = None, chain: Any = None, **fields: Any) -> Proxy:
        """
        The proxy, which answers every request itself.

        @param chain: More fields of the filter chain.
        """
        self.port = freePort()
        made = listener("l", self.port, direct("secure"))
        pair = {
            "certificate_chain": {"filename": str(self.folder / "cert.pem")},
            "private_key": {"filename": str(self.folder / "key.pem")},
        }
        config = {
            "@type": f"{_TLS}DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"], **(common or {})},
            **fields,
        }
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        made["filter_chains"][0].update(chain or {})
        return Proxy(self, "--config-yaml", bootstrap(made)).ready(self.port)

    def program(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """
        Run a client.
        """
        if shutil.which(command[0]) is None:
            raise SkipTest(f"{command[0]} is not installed")
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    def context(self) -> ssl.SSLContext:
        """
        A client that verifies.
        """
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def ask(self, context: ssl.SSLContext | None = None) -> bytes:
        """
        One request on a connection of its own.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            with (context or self.context()).wrap_socket(sock, server_hostname="localhost") as secure:
                secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                data = b""
                while piece := secure.recv(65536):
                    data += piece
        return data


class ClientTests(TLSCase):
    """
    Clients of others' making.
    """

    def test_curl(self) -> None:
        """
        curl verifies the certificate and gets its answer, over HTTP/1.1 and over HTTP/2, which ALPN agrees upon.
        """
        self.start()
        ca = str(self.folder / "ca.pem")
        url = f"https://localhost:{self.port}/"
        for option, version in (("--http1.1", "1.1"), ("--http2", "2")):
            done = self.program("curl", "-sS", option, "--cacert", ca, "-w", " %{http_version}", url)
            self.assertEqual((done.stdout, done.stderr), (f"secure {version}", ""))
        done = self.program("curl", "-sS", url)
        self.assertEqual(done.returncode, 60, done.stderr)

    def test_clientCertificate(self) -> None:
        """
        A client with a certificate is let in, one without is not.
        """
        ca = str(self.folder / "ca.pem")
        self.start({"validation_context": {"trusted_ca": {"filename": ca}}}, require_client_certificate=True)
        mine = self.authority.issue("spiffe://a/b")
        files = ["--cert", str(self.write("mine.pem", mine.chain)), "--key", str(self.write("mine.key", mine.keyText))]
        url = f"https://localhost:{self.port}/"
        self.assertEqual(self.program("curl", "-sS", "--cacert", ca, *files, url).stdout, "secure")
        self.assertNotEqual(self.program("curl", "-sS", "--cacert", ca, url).returncode, 0)

    def test_openssl(self) -> None:
        """
        openssl s_client sees the chain, the protocol that was agreed upon, and a clean end; old versions are refused.
        """
        self.start()
        target = ["-connect", f"127.0.0.1:{self.port}", "-CAfile", str(self.folder / "ca.pem")]
        request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-servername", "localhost", *target]
        done = self.program(*command, "-alpn", "http/1.1", "-ign_eof", text=request)
        self.assertIn("secure", done.stdout)
        self.assertNotIn("error", done.stderr)
        done = self.program("openssl", "s_client", *target, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", text="Q\n")
        self.assertNotIn("Verify return code: 0", done.stdout + done.stderr if done.returncode == 0 else "")

    def test_renegotiation(self) -> None:
        """
        A client that asks for another handshake does not get one.
        """
        self.start({"tls_params": {"tls_maximum_protocol_version": "TLSv1_2"}})
        target = ["-connect", f"127.0.0.1:{self.port}"]
        done = self.program("openssl", "s_client", *target, "-alpn", "http/1.1", text="R\n")
        self.assertIn("no renegotiation", done.stderr + done.stdout)


class HostileTests(TLSCase):
    """
    Peers that break off disturb nobody.
    """

    def test_breaksOff(self) -> None:
        """
        Garbage, stalls, and connections that end at every byte of the first flight: whoever else asks is served, and
        nothing is logged as a fault of the program.
        """
        proxy = self.start()
        context = clientContext()
        hello = SSL.Connection(context, None)
        hello.set_connect_state()
        try:
            hello.do_handshake()
        except SSL.WantReadError:
            pass
        first = hello.bio_read(65536)
        stalled = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(50)]
        for number, sock in enumerate(stalled):
            sock.sendall(first[: number * 5])
        for cut in range(0, len(first), 3):
            with socket.create_connection(("127.0.0.1", self.port)) as sock:
                sock.sendall(first[:cut])
        record = b"\x16\x03\x01\xff\xff" + b"x" * 70000
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", record, b"\0" * 100, b"\x80\x2e\x01"):
            with socket.create_connection(("127.0.0.1", self.port)) as sock:
                try:
                    sock.sendall(garbage)
                except ConnectionError:
                    pass
        self.assertIn(b"secure", self.ask())
        for sock in stalled:
            sock.close()
        self.assertIn(b"secure", self.ask())
        self.assertNotIn("Traceback", proxy.log)

    def test_saysWhy(self) -> None:
        """
        Who does not speak TLS is told so, and then the end: a reset, for what it sent beside, could overtake both.
        """
        self.start()
        for wire, alert in (
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b""),
            (b"\x16\x03\x01\xff\xff" + b"x" * 20000, b"\x15"),
            (b"\x16\x03\x01\0\0" * 40, b"\x15"),
        ):
            with socket.create_connection(("127.0.0.1", self.port), 30) as sock:
                sock.sendall(wire)
                got = b""
                while piece := sock.recv(4096):
                    got += piece
                self.assertEqual(got[:1], alert)

    def test_slowHandshakes(self) -> None:
        """
        Hundreds of connections that send a C{ClientHello} byte by byte: others are served meanwhile, and when their
        time is over they are closed.
        """
        proxy = self.start(chain={"transport_socket_connect_timeout": "1s"})
        hello = SSL.Connection(clientContext(), None)
        hello.set_connect_state()
        try:
            hello.do_handshake()
        except SSL.WantReadError:
            pass
        first = hello.bio_read(65536)
        before, memory = proxy.descriptors(), proxy.memory()
        slow = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(300)]
        for place in range(12):
            for sock in slow:
                try:
                    sock.sendall(first[place : place + 1])
                except ConnectionError:
                    pass  # its second is over
            self.assertIn(b"secure", self.ask())
        until(lambda: proxy.descriptors() <= before + 5, "the slow ones to be gone")
        self.assertLess(proxy.memory() - memory, 20 << 20)
        for sock in slow:
            sock.close()
        self.assertIn(b"secure", self.ask())

    def test_noKeyInSight(self) -> None:
        """
        Neither the log nor an error of the configuration shows anything of a key.
        """
        proxy = self.start()
        other = self.authority.issue("localhost")
        self.write("key.pem", other.keyText)
        until(lambda: "does not belong" in proxy.log, "the refusal of the pair")
        self.assertNotIn("PRIVATE", proxy.log)
        for line in (*other.keyText.splitlines()[1:-1], *self.credential.keyText.splitlines()[1:-1]):
            self.assertNotIn(line, proxy.log)


class RotationTests(TLSCase):
    """
    Certificates that change while the proxy serves.
    """

    def test_renamed(self) -> None:
        """
        Files that are renamed into place.
        """
        self.underLoad(self.start(), self.rotate)

    def test_inPlace(self) -> None:
        """
        Files that are written over, the key first: until both fit, the pair before serves.
        """

        def write(credential: Credential) -> None:
            (self.folder / "key.pem").write_text(credential.keyText)
            (self.folder / "cert.pem").write_text(credential.chain)

        self.underLoad(self.start(), write, 0.4)

    def test_links(self) -> None:
        """
        A symbolic link that is swapped for one to another folder, as Kubernetes does.
        """
        for name in ("key.pem", "cert.pem"):
            (self.folder / name).unlink()
            (self.folder / name).symlink_to(f"..data/{name}")
        numbers = itertools.count()

        def swap(credential: Credential) -> None:
            folder = self.folder / f"..{next(numbers)}"
            folder.mkdir()
            (folder / "key.pem").write_text(credential.keyText)
            (folder / "cert.pem").write_text(credential.chain)
            beside = self.folder / "..data.new"
            beside.symlink_to(folder.name)
            os.replace(beside, self.folder / "..data")

        swap(self.credential)
        self.underLoad(self.start(), swap, 0.4)

    def underLoad(self, proxy: Proxy, rotate: Callable[[Credential], object], share: float = 1.0) -> None:
        """
        A new certificate every second, while clients connect and ask without pause: no request fails, the new
        certificates are seen, and nothing of the old ones stays.

        @param share: Of the usual time, how much.
        """
        context = self.context()
        stop = threading.Event()
        failures: list[str] = []
        served = [0]
        seen: set[bytes] = set()

        def client() -> None:
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
                        with context.wrap_socket(sock, server_hostname="localhost") as secure:
                            seen.add(secure.getpeercert(True) or b"")
                            for _ in range(3):
                                secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                                data = b""
                                while not data.endswith(b"secure"):
                                    piece = secure.recv(65536)
                                    if not piece:
                                        raise OSError("closed")
                                    data += piece
                                served[0] += 1
                except (OSError, ssl.SSLError) as error:
                    failures.append(repr(error))
                time.sleep(0.01)

        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        rotations = max(int(ROTATION * share), 2)
        memory = 0
        try:
            for number in range(rotations):
                time.sleep(1.0)
                self.credential = self.authority.issue("localhost")
                rotate(self.credential)
                der = self.credential.certificate.public_bytes(serialization.Encoding.DER)
                until(lambda der=der: der in seen, "the new certificate")  # type: ignore[misc]  # bound now
                if number == rotations // 4:
                    memory = proxy.memory()
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        grown = proxy.memory() - memory
        if "MESHPROXY_TEST_ROTATION" in os.environ:
            sys.stdout.write(
                f"{rotations} certificates, {len(seen)} seen; {served[0]} requests served, {len(failures)} failed; "
                f"memory grown by {grown / 1e6:.1f} MB in three quarters of the time\n"
            )
        self.assertEqual(failures, [])
        self.assertGreater(served[0], 3 * rotations)
        self.assertEqual(len(seen), rotations + 1)
        self.assertLess(grown, 4 << 20)

    def test_sds(self) -> None:
        """
        A certificate by SDS from a file behind a symbolic link, as Kubernetes mounts secrets.
        """
        for number in (1, 2):
            data = self.folder / f"v{number}"
            data.mkdir()
            secret = {
                "@type": f"{_TLS}Secret",
                "name": "mine",
                "tls_certificate": self.authority.issue("localhost", f"v{number}.example").inline,
            }
            (data / "sds.yaml").write_text(json.dumps({"resources": [secret]}))
        (self.folder / "data").symlink_to("v1")
        named = {"name": "mine", "sds_config": {"path_config_source": {"path": str(self.folder / "data/sds.yaml")}}}
        self.start({"tls_certificates": [], "tls_certificate_sds_secret_configs": [named]})

        def names() -> list[str]:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
                with self.context().wrap_socket(sock, server_hostname="localhost") as secure:
                    found: Any = secure.getpeercert()
                    return [value for _, value in found["subjectAltName"]]

        self.assertIn("v1.example", names())
        (self.folder / "next").symlink_to("v2")
        os.replace(self.folder / "next", self.folder / "data")
        until(lambda: "v2.example" in names(), "the second certificate")


class _Both(Protocol):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.received = b""

    def connectionMade(self) -> None:
        self.log.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.log.append(type(reason.value).__name__)


class TransportTests(SynchronousTestCase):
    """
    TLS on the descriptor and TLS that moves the bytes itself behave alike.
    """

    def converse(self, kind: type[TLSTransport], otherKind: type[TLSTransport]) -> list[Any]:
        """
        A conversation between two ends on real sockets.

        @return: What each end saw.
        """
        reactor = EPollReactor()
        issued = Authority().issue("example.com")
        contexts = serverContext(issued, (b"h2",)), clientContext(alpn=(b"http/1.1", b"h2"))
        ends = _Both(), _Both()
        transports: list[Any] = []
        for context, end, sock, made in zip(contexts, ends, socket.socketpair(), (kind, otherKind), strict=True):
            sock.setblocking(False)
            connection = SSL.Connection(context, sock if made is TLSTransport else None)
            connection.set_accept_state() if context is contexts[0] else connection.set_connect_state()
            transport = made(reactor, sock, Address(""), PeerHandshake(connection))
            transports.append(transport)
            transport.shake(end, lambda error: self.fail(str(error)))
        server, client = transports

        def turn(happened: Any) -> None:
            limit = time.monotonic() + 60
            while not happened():
                reactor.iterate(0.01)
                self.assertLess(time.monotonic(), limit)

        turn(lambda: all(end.log for end in ends))
        large = bytes(range(256)) * 8000
        client.write(large)
        server.write(b"hello")
        turn(lambda: len(ends[0].received) == len(large) and ends[1].received == b"hello")
        server.pauseProducing()
        client.write(b"more")
        for _ in range(5):
            reactor.iterate(0.005)
        paused = len(ends[0].received)
        server.resumeProducing()
        turn(lambda: ends[0].received.endswith(b"more"))
        # So much that a server on the descriptor sends records in batches; then it goes back to the socket.
        for count in range(1, 14):
            server.write(large[:256000])
            turn(lambda count=count: len(ends[1].received) == 5 + count * 256000)
        self.assertEqual(server._batches is not None, kind is TLSTransport)
        client.write(b"and more")
        turn(lambda: ends[0].received.endswith(b"and more"))
        if server._batches is not None:
            self.assertTrue(server._batches.end())
        server.write(large[:40000])
        turn(lambda: len(ends[1].received) == 5 + 13 * 256000 + 40000)
        # Where little is expected, little is read at once.
        sizes: list[int] = []
        receive = ends[0].dataReceived

        def received(data: bytes) -> None:
            sizes.append(len(data))
            receive(data)

        self.patch(ends[0], "dataReceived", received)
        server.expectLittle()
        before = len(ends[0].received)
        client.write(large[:200000])
        turn(lambda: len(ends[0].received) == before + 200000)
        if kind is TLSTransport:
            self.assertLessEqual(max(sizes), 16384)
        client.loseConnection()
        turn(lambda: all(len(end.log) == 2 for end in ends))
        for descriptor in reactor.removeAll():
            del descriptor
        reactor.fireSystemEvent("shutdown")
        return [
            ends[0].received == large + b"moreand more" + large[:200000],
            ends[1].received == b"hello" + large[:256000] * 13 + large[:40000],
            paused,
            [end.log for end in ends],
            [each.negotiatedProtocol for each in transports],
            [each.tls.version for each in transports],
        ]

    def test_alike(self) -> None:
        """
        Each kind with each other one.
        """
        kinds: tuple[type[TLSTransport], ...] = (TLSTransport, BufferedTLSTransport)
        seen = [self.converse(one, other) for one in kinds for other in kinds]
        for each in seen[1:]:
            self.assertEqual(each, seen[0])
        self.assertEqual(seen[0][3], [["made", "ConnectionDone"]] * 2)
        self.assertEqual(seen[0][4], [b"h2", b"h2"])
