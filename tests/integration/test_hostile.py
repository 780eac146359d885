"""
Hostile peers on either side of a proxy in a process of its own, and a client who wants to be served meanwhile.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.stalls import queued, waited
from tests.integration.configs import bootstrap, cluster, direct, forward, listener
from tests.integration.peers import Backend, Client, answer, readHead
from tests.integration.process import PATIENCE, Proxy, freePort, until

#: Connections of the slow kind; all of them are open at a time.
SLOW = 300

# What each attack may cost: bytes of memory that stay or come, and seconds of waiting for the victim, who shares the
# machine with the attackers.
_MEMORY = 48 << 20
_WAIT = 2.0


def _swallow(connection: socket.socket) -> None:
    """
    Read for ever, answer never.
    """
    while connection.recv(65536):
        pass


def _garbage(connection: socket.socket) -> None:
    """
    Answer with something that is none, another one each time.
    """
    head = readHead(connection)
    kind = int(head.split(b" ")[1].rpartition(b"/")[2] or b"0") % 6 if head else 0
    noise = random.Random(kind)
    if kind == 0:
        connection.sendall(noise.randbytes(1000000))
    elif kind == 1:
        for _ in range(2000):
            connection.sendall(b"HTTP/1.1 103 Early\r\nlink: </x>\r\n\r\n" * 50)
    elif kind == 2:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 10000000)
    elif kind == 3:
        connection.sendall(answer(b"yes") + answer(b"smuggled"))
        time.sleep(0.05)
    elif kind == 4:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 100000 + b"xyz")
    else:
        connection.sendall(b"\0")
        time.sleep(0.05)


class HostileCase(SynchronousTestCase):
    """
    A proxy that is attacked, and somebody who wants to be served meanwhile.
    """

    def setUp(self) -> None:
        self.good = Backend(b"good")
        self.swallowing = Backend(serve=_swallow)
        self.bad = Backend(serve=_garbage)
        for backend in (self.good, self.swallowing, self.bad):
            self.addCleanup(backend.close)
        self.port = freePort()
        front = listener(
            "front",
            self.port,
            direct("d" * 4000, "/direct"),
            forward("swallowing", "/swallowing", timeout="2s"),
            forward("bad", "/bad", timeout="2s"),
            forward("good"),
            request_headers_timeout="1.5s",
        )
        text = bootstrap(
            front,
            cluster("good", self.good.port),
            cluster("swallowing", self.swallowing.port),
            cluster("bad", self.bad.port),
        )
        self.proxy = Proxy(self, "--config-yaml", text).ready(self.port)
        self.opened: list[socket.socket] = []

    def tearDown(self) -> None:
        for sock in self.opened:
            sock.close()

    def connect(self, receiveBuffer: int = 0) -> socket.socket:
        """
        An attacker's connection.
        """
        client = Client(self.port, receiveBuffer=receiveBuffer)
        self.opened.append(client.socket)
        return client.socket

    def cpu(self) -> float:
        """
        Seconds of CPU that the proxy has used.
        """
        fields = Path(f"/proc/{self.proxy.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def others(self) -> Callable[[], float]:
        """
        From now on: what is not the proxy's to answer for. The machine may keep it, or this process, waiting for a
        processor; and the attackers work in this process, in which the victim waits for them.
        """
        pids = (self.proxy.process.pid, os.getpid())
        before = [queued(pid) for pid in pids]
        used = time.process_time()
        return lambda: (
            time.process_time()
            - used
            + sum(waited(earlier, queued(pid)) for earlier, pid in zip(before, pids, strict=True))
        )

    def under(self, attack: Callable[[], None], cpu: float) -> None:
        """
        Be served while an attack goes on, and look at its price.

        @param cpu: How many seconds of CPU it may cost at most.
        """
        memory, used = self.proxy.memory(), self.cpu()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                attack()
            except OSError:
                pass  # the proxy closed the connection: well done
            except BaseException as failure:
                failures.append(failure)

        attacker = threading.Thread(target=run, daemon=True)
        attacker.start()
        longest = 0.0
        served = 0
        most = 0
        with Client(self.port) as victim:
            while attacker.is_alive() or served < 10:
                others = self.others()
                began = time.monotonic()
                response = victim.get("/victim")
                longest = max(longest, time.monotonic() - began - others())
                self.assertEqual((response.status, response.body), (200, b"good"))
                served += 1
                most = max(most, self.proxy.memory() - memory)
                time.sleep(0.01)
                self.assertLess(served, 100 * PATIENCE, "the attack does not end")
        self.assertEqual(failures, [])
        self.assertLess(longest, _WAIT)
        self.assertLess(most, _MEMORY)
        self.assertLess(self.cpu() - used, cpu)
        self.assertIsNone(self.proxy.process.poll())


class HostileTests(HostileCase):
    """
    What anybody who can connect may do to a proxy.
    """

    def test_slowHeads(self) -> None:
        """
        Hundreds of connections that send a byte of a head now and then are held, and closed when their time is over.
        """
        before = self.proxy.descriptors()

        def attack() -> None:
            socks = [self.connect() for _ in range(SLOW)]
            for piece in (b"GET / HT", b"TP/1.1\r\nho", b"st: a\r\nx"):
                for sock in socks:
                    sock.sendall(piece)
                time.sleep(0.2)

        self.under(attack, 2.0)
        # A client that stays as slow is told so.
        last = self.opened[-1]
        self.assertIn(b" 408 ", last.recv(1000))
        until(lambda: self.proxy.descriptors() <= before + 10, "the slow ones to be gone")

    def test_unreadAnswers(self) -> None:
        """
        Clients that send requests and read no answer.
        """

        def attack() -> None:
            requests = b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n" * 4000
            for _ in range(15):
                sock = self.connect(receiveBuffer=4096)
                sock.setblocking(False)
                sock.send(requests)
            time.sleep(0.3)

        self.under(attack, 3.0)

    def test_longHeads(self) -> None:
        """
        Heads of ten megabytes, of one field and of many.
        """

        def attack() -> None:
            for filling in (b"a" * 10000000, b"a\r\nx: " * 2000000):
                sock = self.connect()
                try:
                    sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + filling)
                except OSError:
                    pass  # refused before its end

        self.under(attack, 1.5)

    def test_smallChunks(self) -> None:
        """
        A body in chunks of one byte.
        """

        def attack() -> None:
            sock = self.connect()
            sock.sendall(b"POST /swallowing HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(100):
                sock.sendall(b"1\r\na\r\n" * 1000)

        self.under(attack, 3.0)

    def test_connections(self) -> None:
        """
        Connections by the hundreds that come and go.
        """

        def attack() -> None:
            for number in range(600):
                with socket.create_connection(("127.0.0.1", self.port)) as sock:
                    if number % 3:
                        sock.sendall(b"GET /direct HTTP/1.1\r\nhost: a\r\n\r\n" * (number % 3))

        self.under(attack, 3.0)

    def test_upstreams(self) -> None:
        """
        An upstream whose answers are none: noise, endless interim responses, an endless head, more than one answer,
        chunks of one byte that end in noise, a lone NUL.
        """

        def attack() -> None:
            statuses = []
            for kind in range(12):
                with Client(self.port) as client:
                    try:
                        client.ask(f"/bad/{kind}", {"connection": "close"})
                        data = b""
                        while piece := client.socket.recv(65536):
                            data += piece
                    except OSError:
                        pass  # reset: the answer had begun
                    statuses.append(data[9:12])
                    if b"smuggled" in data:
                        raise AssertionError("what followed an answer was sent on")
            if [status for number, status in enumerate(statuses) if number % 6 in (0, 2, 5)] != [b"502"] * 6:
                raise AssertionError(f"{statuses}")

        self.under(attack, 6.0)
