"""
Kinds of addresses, many connections, slow peers, and upstreams that fail.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.configs import bootstrap, cluster, direct, forward, listener
from tests.integration.peers import Backend, Client, answer, readHead
from tests.integration.process import Proxy, fetch, freePort, freePorts, until

#: How many connections are open at a time; C{tox -e soak} asks for thousands.
CONNECTIONS = int(os.environ.get("MESHPROXY_TEST_CONNECTIONS", "200"))

_MEGABYTE = 1 << 20

# How long a listener without descriptors waits before it tries again, in seconds.
_PAUSE = 0.25


def hasIPv6() -> bool:
    """
    Whether this machine has ::1.
    """
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class AddressTests(SynchronousTestCase):
    """
    Where one may listen and connect to.
    """

    def test_unixSockets(self) -> None:
        """
        A listener and an upstream on unix sockets; the listener's file has the configured permissions, and is gone in
        the end.
        """
        front = listener("l", "front", forward("c"))
        front["address"]["pipe"]["mode"] = 0o600
        text = bootstrap(front, listener("b", "back", direct("unix")), cluster("c", "back"))
        proxy = Proxy(self, "--config-yaml", text)
        # Paths of unix sockets are short: this test goes where they are.
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(proxy.folder)
        proxy.ready("front")
        self.assertEqual(os.stat("front").st_mode & 0o777, 0o600)
        self.assertEqual(fetch("front"), (200, b"unix"))
        proxy.process.terminate()
        self.assertEqual(proxy.ended(), 0)
        self.assertFalse(os.path.exists("front"))

    def test_staleSocket(self) -> None:
        """
        The file that a killed process left does not hinder the next one.
        """
        text = bootstrap(listener("l", "front", direct("x")))
        proxy = Proxy(self, "--config-yaml", text)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(proxy.folder)
        proxy.ready("front")
        proxy.kill()
        self.assertTrue(os.path.exists("front"))
        Proxy(self, "--config-yaml", text, folder=proxy.folder).ready("front")
        self.assertEqual(fetch("front"), (200, b"x"))

    def test_ipv6(self) -> None:
        """
        IPv6, downstream and upstream.
        """
        if not hasIPv6():
            raise SkipTest("this machine has no IPv6")
        front, back = freePorts(2, "::1")
        text = bootstrap(
            listener("l", front, forward("c"), host="::1"),
            listener("b", back, direct("six"), host="::1"),
            cluster("c", back, host="::1"),
        )
        Proxy(self, "--config-yaml", text).ready(("::1", front))
        self.assertEqual(fetch(front, host="::1"), (200, b"six"))

    def test_strictDNS(self) -> None:
        """
        A cluster whose endpoint is a name.
        """
        port, back = freePorts(2)
        text = bootstrap(
            listener("l", port, forward("c")),
            listener("b", back, direct("name")),
            cluster("c", back, host="localhost", kind="STRICT_DNS", dns_lookup_family="V4_ONLY"),
        )
        Proxy(self, "--config-yaml", text).ready(port)
        self.assertEqual(fetch(port), (200, b"name"))

    def test_nameWithoutAddress(self) -> None:
        """
        A name that does not exist keeps nobody from starting; its routes answer with 503.
        """
        port = freePort()
        text = bootstrap(
            listener("l", port, forward("c", "/c"), direct("others")),
            cluster("c", 1, host="does-not-exist.invalid", kind="STRICT_DNS"),
        )
        Proxy(self, "--config-yaml", text).ready(port)
        self.assertEqual(fetch(port, "/c")[0], 503)
        self.assertEqual(fetch(port), (200, b"others"))

    def test_severalListeners(self) -> None:
        """
        Each listener has its own routes.
        """
        ports = freePorts(3)
        text = bootstrap(*(listener(f"l{port}", port, direct(str(port))) for port in ports))
        Proxy(self, "--config-yaml", text).ready(*ports)
        for port in ports:
            self.assertEqual(fetch(port), (200, str(port).encode()))


class ManyTests(SynchronousTestCase):
    """
    Many connections, and slow ones among them.
    """

    def setUp(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, CONNECTIONS * 4 + 200)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    def test_concurrent(self) -> None:
        """
        All are answered, each several times, with the body that it asked for.
        """
        port, back = freePorts(2)
        routes = [direct(f"body{number}", f"/{number}/") for number in range(10)]
        limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 2 * CONNECTIONS)
        text = bootstrap(
            listener("l", port, forward("c")),
            listener("b", back, *routes),
            cluster("c", back, circuit_breakers={"thresholds": [limits]}, connect_timeout="30s"),
        )
        proxy = Proxy(self, "--config-yaml", text).ready(port)
        clients = [Client(port) for _ in range(CONNECTIONS)]
        for client in clients:
            self.addCleanup(client.close)
        for turn in range(3):
            for number, client in enumerate(clients):
                client.ask(f"/{(number + turn) % 10}/")
            for number, client in enumerate(clients):
                response = client.response()
                self.assertEqual(response.body, f"body{(number + turn) % 10}".encode())
        before = proxy.descriptors()
        for client in clients:
            client.close()
        until(lambda: proxy.descriptors() <= before - CONNECTIONS, "the end of their connections")

    def test_slowReaders(self) -> None:
        """
        Downstreams that do not read stop their upstreams: the proxy's memory is bounded by its buffers, and others are
        served meanwhile.
        """
        size = 20 * _MEGABYTE
        sent = [0]

        def serve(connection: socket.socket) -> None:
            head = readHead(connection)
            if b"/big" not in head:
                connection.sendall(answer(b"small", "connection: close\r\n"))
                return
            connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
            piece = b"x" * 65536
            for _ in range(size // len(piece)):
                connection.sendall(piece)
                sent[0] += len(piece)

        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        port = freePort()
        limit = 65536
        front = {**listener("l", port, forward("c", timeout="0s")), "per_connection_buffer_limit_bytes": limit}
        text = bootstrap(front, cluster("c", backend.port, per_connection_buffer_limit_bytes=limit))
        proxy = Proxy(self, "--config-yaml", text).ready(port)
        fetch(port)
        before = proxy.memory()
        slow = [Client(port, receiveBuffer=4096) for _ in range(20)]
        for client in slow:
            self.addCleanup(client.close)
            client.ask("/big")
        until(lambda: sent[0] > 0 and _settled(lambda: sent[0]), "upstreams that wait")
        self.assertLess(sent[0], len(slow) * size / 2)
        self.assertLess(proxy.memory() - before, 20 * _MEGABYTE)
        self.assertEqual(fetch(port)[1], b"small")
        # And they get it all, once they read.
        response = slow[0].response()
        self.assertEqual(len(response.body), size)

    def test_slowUpstream(self) -> None:
        """
        An upstream that does not read stops its downstream, likewise.
        """
        go = threading.Event()
        self.addCleanup(go.set)
        size = 20 * _MEGABYTE

        def serve(connection: socket.socket) -> None:
            readHead(connection)
            go.wait(60)
            left = size
            while left:
                left -= len(connection.recv(65536))
            connection.sendall(answer(b"read"))

        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        port = freePort()
        limit = 65536
        front = {**listener("l", port, forward("c", timeout="0s")), "per_connection_buffer_limit_bytes": limit}
        text = bootstrap(front, cluster("c", backend.port, per_connection_buffer_limit_bytes=limit))
        proxy = Proxy(self, "--config-yaml", text).ready(port)
        before = proxy.memory()
        client = Client(port)
        self.addCleanup(client.close)
        client.send(f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode())
        sent = [0]

        def send() -> None:
            while sent[0] < size:
                client.send(b"y" * 65536)
                sent[0] += 65536

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        until(lambda: sent[0] > 0 and _settled(lambda: sent[0]), "a downstream that waits")
        self.assertLess(sent[0], size)
        self.assertLess(proxy.memory() - before, 10 * _MEGABYTE)
        go.set()
        self.assertEqual(client.response().body, b"read")
        sender.join(10)

    def test_pipelinedAndUnread(self) -> None:
        """
        A downstream that pipelines requests and reads no answer is read no further: it cannot fill the memory.
        """
        port = freePort()
        text = bootstrap(listener("l", port, direct("x" * 4000)))
        proxy = Proxy(self, "--config-yaml", text).ready(port)
        fetch(port)
        before = proxy.memory()
        client = Client(port, receiveBuffer=4096)
        self.addCleanup(client.close)
        requests = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1000
        client.socket.settimeout(1)
        sent = 0
        try:
            # More than the kernel takes on both sides, a hundred times as much in answers.
            while sent < 20 * _MEGABYTE:
                sent += client.socket.send(requests)
        except TimeoutError:
            pass
        self.assertLess(sent, 20 * _MEGABYTE)
        self.assertLess(proxy.memory() - before, 30 * _MEGABYTE)
        self.assertEqual(fetch(port)[0], 200)

    def test_descriptorsUsedUp(self) -> None:
        """
        Without a descriptor left the proxy waits, and accepts again when there are some.
        """

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

        port = freePort()
        text = bootstrap(listener("l", port, direct("x")))
        proxy = Proxy(self, "--config-yaml", text, preexec=limited).ready(port)
        clients = [Client(port) for _ in range(60)]
        proxy.waitLogged("cannot accept")
        began = time.monotonic()
        waited = len(proxy.log.splitlines())
        time.sleep(0.6)
        lines = len(proxy.log.splitlines()) - waited
        # One for each pause.
        self.assertLess(lines, 3 + (time.monotonic() - began) / _PAUSE)
        for client in clients[:40]:
            client.close()
        for client in clients[40:]:
            self.addCleanup(client.close)
            self.assertEqual(client.get().body, b"x")


def _settled(figure: object) -> bool:
    """
    Whether a figure stays as it is for a while.
    """
    assert callable(figure)
    before = figure()
    time.sleep(0.5)
    return bool(figure() == before)


class FailureTests(SynchronousTestCase):
    """
    Upstreams that fail.
    """

    def test_killedInResponse(self) -> None:
        """
        A response that is cut off upstream is cut off downstream: nobody takes it for whole.
        """

        def serve(connection: socket.socket) -> None:
            readHead(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")

        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        port = freePort()
        text = bootstrap(listener("l", port, forward("c")), cluster("c", backend.port))
        proxy = Proxy(self, "--config-yaml", text).ready(port)
        with Client(port) as client:
            client.ask()
            self.assertRaises((EOFError, ConnectionResetError), client.response)
        with Client(port) as client:
            client.ask()
            self.assertRaises((EOFError, ConnectionResetError), client.response)
        self.assertNotIn("Traceback", proxy.log)

    def test_refused(self) -> None:
        """
        An upstream that nobody runs is a 503, at once, and the next one is served again when it is back.
        """
        port, back = freePorts(2)
        text = bootstrap(listener("l", port, forward("c")), cluster("c", back, connect_timeout="60s"))
        Proxy(self, "--config-yaml", text).ready(port)
        began = time.monotonic()
        status, body = fetch(port)
        self.assertEqual(status, 503)
        self.assertIn(b"connection_refused" if b"connection_refused" in body else b"connect", body)
        # Far from any time-out.
        self.assertLess(time.monotonic() - began, 10)

    def test_neverConnects(self) -> None:
        """
        An upstream that does not accept is given up after C{connect_timeout}, with a 503.
        """
        # A backlog of 0 that is full: further SYNs are not answered.
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                self.addCleanup(filler.close)
            port = freePort()
            text = bootstrap(
                listener("l", port, forward("c")), cluster("c", full.getsockname()[1], connect_timeout="0.3s")
            )
            Proxy(self, "--config-yaml", text).ready(port)
            began = time.monotonic()
            self.assertEqual(fetch(port)[0], 503)
            self.assertGreater(time.monotonic() - began, 0.25)

    def test_leftWhileConnecting(self) -> None:
        """
        A downstream that leaves while its upstream is being connected takes the attempt with it, and nothing breaks.
        """
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                self.addCleanup(filler.close)
            port = freePort()
            text = bootstrap(
                listener("l", port, forward("c", "/c"), direct("others")),
                cluster("c", full.getsockname()[1], connect_timeout="30s"),
            )
            proxy = Proxy(self, "--config-yaml", text).ready(port)
            client = Client(port)
            self.assertEqual(client.get().body, b"others")
            # Without what is left of those who looked whether it listens.
            until(lambda: _settled(proxy.descriptors), "a number of descriptors that stays")
            before = proxy.descriptors()
            client.ask("/c")
            until(lambda: proxy.descriptors() == before + 1, "the attempt")
            client.close()
            until(lambda: proxy.descriptors() == before - 1, "the end of both")
            self.assertEqual(fetch(port), (200, b"others"))
            self.assertNotIn("Traceback", proxy.log)

    def test_idleUpstreamCloses(self) -> None:
        """
        An upstream that closes idle connections costs no request.
        """

        def serve(connection: socket.socket) -> None:
            readHead(connection)
            connection.sendall(answer(b"once"))

        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        port = freePort()
        text = bootstrap(listener("l", port, forward("c")), cluster("c", backend.port))
        Proxy(self, "--config-yaml", text).ready(port)
        with Client(port) as client:
            for _ in range(5):
                self.assertEqual(client.get().body, b"once")
                time.sleep(0.05)
        self.assertEqual(backend.accepted, 5)
