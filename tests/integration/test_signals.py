"""
How the program ends, and what SIGHUP does.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.configs import bootstrap, cluster, direct, forward, listener
from tests.integration.peers import Backend, Client, answer, readHead
from tests.integration.process import Proxy, connectable, fetch, freePort, until


class SlowCase(SynchronousTestCase):
    """
    A proxy before a backend that answers when it is told.
    """

    def setUp(self) -> None:
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.addCleanup(self.answer.set)
        self.backend = Backend(serve=self.serve)
        self.addCleanup(self.backend.close)
        self.port = freePort()

    def serve(self, connection: socket.socket) -> None:
        """
        Answer when it is time.
        """
        while readHead(connection):
            self.asked.set()
            self.answer.wait(60)
            connection.sendall(answer(b"late"))

    def started(self, *arguments: str) -> Proxy:
        """
        The proxy.
        """
        text = bootstrap(listener("l", self.port, forward("c")), cluster("c", self.backend.port))
        return Proxy(self, "--config-yaml", text, *arguments).ready(self.port)

    def inFlight(self) -> Client:
        """
        A client whose request is with the backend.
        """
        client = Client(self.port)
        self.addCleanup(client.close)
        client.ask()
        self.assertTrue(self.asked.wait(60))
        return client


class StopTests(SlowCase):
    """
    SIGTERM and SIGINT.
    """

    def drains(self, number: int) -> None:
        """
        See that a signal lets what is under way end.
        """
        proxy = self.started()
        idle = Client(self.port)
        self.addCleanup(idle.close)
        client = self.inFlight()
        proxy.signal(number)
        self.assertTrue(idle.isClosed())
        until(lambda: not connectable(self.port), "the listener's end")
        self.assertIsNone(proxy.process.poll())
        self.answer.set()
        response = client.response()
        self.assertEqual((response.status, response.body), (200, b"late"))
        self.assertEqual(response.headers["connection"], "close")
        self.assertTrue(client.isClosed())
        client.close()
        idle.close()
        self.assertEqual(proxy.ended(), 0)
        self.assertNotIn("Traceback", proxy.log)

    def test_terminate(self) -> None:
        """
        On SIGTERM idle connections close at once, and the request in flight is answered with C{Connection: close}; then
        the process ends with 0.
        """
        self.drains(signal.SIGTERM)

    def test_interrupt(self) -> None:
        """
        SIGINT does the same.
        """
        self.drains(signal.SIGINT)

    def test_second(self) -> None:
        """
        A second signal ends it at once.
        """
        proxy = self.started("--drain-time-s", "600")
        self.inFlight()
        proxy.signal(signal.SIGTERM)
        until(lambda: not connectable(self.port), "the listener's end")
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.ended(), 1)

    def test_drainTime(self) -> None:
        """
        The drain time ends it, too: with 0, for that was asked for.
        """
        proxy = self.started("--drain-time-s", "0.5")
        client = self.inFlight()
        proxy.signal(signal.SIGTERM)
        began = time.monotonic()
        self.assertEqual(proxy.ended(), 0)
        # Less than the usual drain time, and than what the answer takes.
        self.assertLess(time.monotonic() - began, 9)
        self.assertRaises((EOFError, ConnectionResetError), client.response)

    def test_idle(self) -> None:
        """
        Without anything under way it ends at once, however long the drain time is, even if an idle client does not
        close its end.
        """
        proxy = self.started("--drain-time-s", "600")
        idle = Client(self.port)
        self.addCleanup(idle.close)
        self.answer.set()
        self.assertEqual(idle.get().status, 200)
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.ended(), 0)

    def test_accessLog(self) -> None:
        """
        The lines of the last requests are written before the end.
        """
        text = bootstrap(listener("l", self.port, direct("x"), logs=True))
        proxy = Proxy(self, "--config-yaml", text).ready(self.port)
        for number in range(20):
            fetch(self.port, f"/{number}")
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.ended(), 0)
        self.assertEqual(proxy.output.count("HTTP/1.1"), 20)


class HangUpTests(SynchronousTestCase):
    """
    SIGHUP.
    """

    def test_reload(self) -> None:
        """
        The file is read again.
        """
        port = freePort()
        path = Path(self.mktemp()).absolute()
        path.write_text(bootstrap(listener("l", port, direct("old"))))
        proxy = Proxy(self, "-c", str(path)).ready(port)
        self.assertEqual(fetch(port)[1], b"old")
        path.write_text(bootstrap(listener("l", port, direct("new"))))
        proxy.signal(signal.SIGHUP)
        until(lambda: fetch(port)[1] == b"new", "the new routes")

    def test_withoutFile(self) -> None:
        """
        Where all came by C{--config-yaml} there is nothing new, and no harm.
        """
        port = freePort()
        proxy = Proxy(self, "--config-yaml", bootstrap(listener("l", port, direct("x")))).ready(port)
        proxy.signal(signal.SIGHUP)
        proxy.waitLogged("the configuration was reloaded")
        self.assertEqual(fetch(port)[1], b"x")
