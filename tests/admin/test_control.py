"""
Tests for L{meshproxy.admin.control}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.server import ProxyServer
from tests.admin.support import BOOTSTRAP, MemoryTransport, ask, connect, makeServer

RUNTIME = BOOTSTRAP + (
    "layered_runtime: {layers: [{name: base, static_layer: {a: 1}}, {name: admin, admin_layer: {}}]}\n"
)
CHANGING = (
    "/drain_listeners",
    "/filters/reload",
    "/healthcheck/fail",
    "/healthcheck/ok",
    "/logging",
    "/quitquitquit",
    "/reopen_logs",
    "/reset_counters",
    "/runtime_modify",
)


class Client:
    """
    A connection that stays open.
    """

    def __init__(self, server: ProxyServer, address: str = "127.0.0.1:10000") -> None:
        self.transport = MemoryTransport()
        self.protocol = connect(server, address, self.transport, "192.0.2.7")

    def get(self) -> str:
        """
        The response to a request.
        """
        self.transport.clear()
        self.protocol.dataReceived(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        return str(self.transport.value().decode("latin-1").lower())


class ControlTests(SynchronousTestCase):
    """
    Commands that change something.
    """

    def test_methods(self) -> None:
        """
        None of them does anything without POST.
        """
        server = makeServer()
        for path in CHANGING:
            for method in ("GET", "PUT"):
                answer = ask(server, path, method)
                self.assertEqual((answer.status, answer.text), (405, f"Method {method} not allowed, POST required."))
        self.assertFalse(server.failedHealthCheck)
        self.assertEqual(len(list(server.listeners)[0].ports), 1)

    def test_foreignPage(self) -> None:
        """
        A browser that sends a form for a page of another site is refused; one that sends the admin's own is not.
        """
        server = makeServer()
        for origin in ("http://evil.example", "null", "http://127.0.0.1:9902", "http://127.0.0.1:9901.evil.example"):
            answer = ask(server, "/healthcheck/fail", "POST", f"origin: {origin}\r\n")
            self.assertEqual(answer.status, 403, origin)
        self.assertFalse(server.failedHealthCheck)
        self.assertEqual(ask(server, "/healthcheck/fail", "POST", "origin: http://127.0.0.1:9901\r\n").status, 200)

    def test_resetCounters(self) -> None:
        """
        Counters are 0 again; gauges stay.
        """
        server = makeServer()
        ask(server, "/ready")
        gauge = server.context.store.gauges["cluster_manager.active_clusters"]
        self.assertEqual(ask(server, "/reset_counters", "POST").text, "OK\n")
        self.assertEqual(server.context.store.counters["cluster_manager.cluster_added"].value, 0)
        self.assertEqual(gauge.value, 2)

    def test_quit(self) -> None:
        """
        The process ends, after the answer.
        """
        server = makeServer()
        stopped: list[None] = []
        server.reactor.stop = lambda: stopped.append(None)
        self.assertEqual(ask(server, "/quitquitquit", "POST").text, "OK\n")
        self.assertEqual(stopped, [])
        server.reactor.advance(0)
        self.assertEqual(stopped, [None])

    def test_reopenLogs(self) -> None:
        """
        After a log was moved away, lines go to a new file.
        """
        path = Path(self.mktemp())
        log = (
            "admin: {access_log: [{name: f, typed_config: {'@type': type.googleapis.com/"
            f"envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {path}}}}}], "
        )
        server = makeServer(BOOTSTRAP.replace("admin: {", log))
        path.rename(path.with_suffix(".1"))
        self.assertEqual(ask(server, "/reopen_logs", "POST").text, "OK\n")
        self.assertTrue(path.exists())

    def test_runtimeModify(self) -> None:
        """
        Values come from the query or from a form; an empty one takes them away.
        """
        server = makeServer(RUNTIME)
        self.assertEqual(ask(server, "/runtime_modify?a=5", "POST").text, "OK\n")
        self.assertEqual(server.context.runtime.number("a", 0), 5)
        form = "content-type: application/x-www-form-urlencoded\r\n"
        self.assertEqual(ask(server, "/runtime_modify", "POST", form, "a=6&b.c=true").text, "OK\n")
        self.assertEqual(server.context.runtime.number("a", 0), 6)
        self.assertEqual(ask(server, "/runtime_modify?a=", "POST").text, "OK\n")
        self.assertEqual(server.context.runtime.number("a", 0), 1)

    def test_runtimeModifyWrong(self) -> None:
        """
        Nothing to modify is 400; what cannot be read, and no layer to write to, are 503.
        """
        server = makeServer(RUNTIME)
        answer = ask(server, "/runtime_modify", "POST")
        self.assertEqual(answer.status, 400)
        self.assertTrue(answer.text.startswith("usage: /runtime_modify?key1=value1"))
        answer = ask(server, "/runtime_modify?a=%7Bx", "POST")
        self.assertEqual(answer.status, 503)
        self.assertNotIn("{x", answer.text)
        fixed = makeServer(BOOTSTRAP + "layered_runtime: {layers: [{name: base, static_layer: {a: 1}}]}\n")
        answer = ask(fixed, "/runtime_modify?a=2", "POST")
        self.assertEqual((answer.status, answer.text), (503, "No admin layer specified"))


class DrainTests(SynchronousTestCase):
    """
    C{/healthcheck/fail} and C{/drain_listeners} on live connections.
    """

    def setUp(self) -> None:
        """
        A proxy.
        """
        self.server = makeServer(drainTime=20.0)

    def ports(self) -> list[str]:
        """
        The addresses where the proxy listens, but for the admin's.
        """
        return sorted(set(self.server.context.network.ports) - {"127.0.0.1:9901"})  # type: ignore[attr-defined]

    def post(self, target: str) -> None:
        """
        Give a command.
        """
        self.assertEqual(ask(self.server, target, "POST").text, "OK\n")

    def test_fail(self) -> None:
        """
        While health checks fail, each response closes its connection, and new ones are accepted; connections that wait
        for a request are left alone. When it is well again they stay open.
        """
        idle, busy = Client(self.server), Client(self.server)
        self.assertNotIn("connection: close", busy.get())
        self.post("/healthcheck/fail")
        self.assertIn("connection: close", busy.get())
        self.assertIn("connection: close", Client(self.server).get())
        self.assertFalse(idle.transport.disconnecting)
        self.post("/healthcheck/ok")
        self.assertNotIn("connection: close", idle.get())

    def test_failThenReload(self) -> None:
        """
        A reload in between changes nothing about that.
        """
        self.post("/healthcheck/fail")
        self.assertTrue(self.successResultOf(self.server.reload()))
        self.assertIn("connection: close", Client(self.server).get())

    def test_drain(self) -> None:
        """
        Without more words listeners stop at once; connections end with their next response, and the proxy is C{LIVE},
        as in Envoy.
        """
        client = Client(self.server)
        self.post("/drain_listeners")
        self.assertEqual(self.ports(), [])
        self.assertIn("connection: close", client.get())
        self.assertEqual(ask(self.server, "/ready").status, 200)
        self.assertEqual(self.server.context.store.counters["listener_manager.listener_stopped"].value, 2)

    def test_inboundOnly(self) -> None:
        """
        C{inboundonly} leaves listeners of other directions alone.
        """
        self.post("/drain_listeners?inboundonly")
        self.assertEqual(self.ports(), ["[::1]:10001"])

    def test_graceful(self) -> None:
        """
        C{graceful} lets connections end for the drain time, and stops then.
        """
        client = Client(self.server)
        self.post("/drain_listeners?graceful")
        self.assertEqual(len(self.ports()), 2)
        self.assertIn("connection: close", client.get())
        # It stays so, however well the proxy is.
        self.post("/healthcheck/ok")
        self.assertIn("connection: close", Client(self.server).get())
        self.server.reactor.advance(20)
        self.assertEqual(self.ports(), [])

    def test_gracefulInbound(self) -> None:
        """
        Both together.
        """
        outbound = Client(self.server, "[::1]:10001")
        self.post("/drain_listeners?graceful&inboundonly")
        self.assertNotIn("connection: close", outbound.get())
        self.server.reactor.advance(20)
        self.assertEqual(self.ports(), ["[::1]:10001"])

    def test_skipExit(self) -> None:
        """
        C{skip_exit} lets connections end and never stops.
        """
        client = Client(self.server)
        self.post("/drain_listeners?skip_exit&graceful")
        self.assertIn("connection: close", client.get())
        self.server.reactor.advance(100)
        self.assertEqual(len(self.ports()), 2)


FILTER = """
from meshproxy.http.filter import HTTPFilter

WORD = b"one"

class Greeter(HTTPFilter):
    shared = True

    def responseHeaders(self, stream, headers, endStream):
        headers.set(b"x-word", word())

def word():
    return WORD
"""


class ReloadFilterTests(SynchronousTestCase):
    """
    C{/filters/reload}, C{--watch-filters} and SIGHUP.
    """

    NAME = "python:admincontrolgreeter:Greeter"

    def setUp(self) -> None:
        """
        A proxy with a filter in a file, and a connection.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "admincontrolgreeter.py"
        self.write("one")
        self.patch(sys, "path", [str(folder.absolute()), *sys.path])
        self.addCleanup(sys.modules.pop, "admincontrolgreeter", None)

    def write(self, word: str, more: str = "") -> None:
        """
        Save the filter's file, at another time than before.
        """
        self.file.write_text(FILTER.replace("one", word) + more)
        self._saved = getattr(self, "_saved", 1000) + 5
        os.utime(self.file, (self._saved, self._saved))

    def server(self, **options: Any) -> ProxyServer:
        """
        The proxy.
        """
        return makeServer(
            BOOTSTRAP.replace(
                "          http_filters:\n",
                "          http_filters:\n          - name: greeter\n            typed_config: {'@type': "
                f"type.googleapis.com/xds.type.v3.TypedStruct, type_url: '{self.NAME}'}}\n",
            ),
            **options,
        )

    def test_reload(self) -> None:
        """
        The next stream of a live connection runs on the new code.
        """
        server = self.server()
        client = Client(server)
        self.assertIn("x-word: one", client.get())
        self.write("two")
        self.assertIn("x-word: one", client.get())
        self.assertEqual(ask(server, f"/filters/reload?name={self.NAME}", "POST").text, "OK\n")
        self.assertIn("x-word: two", client.get())

    def test_broken(self) -> None:
        """
        Code that does not run, or that refuses its configuration, leaves all as it was; the answer says why. What is
        right again loads.
        """
        server = self.server()
        client = Client(server)
        self.file.write_text("class Greeter(:")
        answer = ask(server, f"/filters/reload?name={self.NAME}", "POST")
        self.assertEqual(answer.status, 503)
        self.assertIn("SyntaxError", answer.text)
        self.file.write_text(
            FILTER.replace("one", "two").replace(
                "    shared = True\n",
                "    shared = True\n\n    @classmethod\n    def compileConfig(cls, section, context):\n"
                "        section.refuse('not like this')\n",
            )
        )
        answer = ask(server, f"/filters/reload?name={self.NAME}", "POST")
        self.assertEqual(answer.status, 503)
        self.assertIn("not like this", answer.text)
        self.assertIn("x-word: one", client.get())
        self.assertTrue(self.successResultOf(server.reload()))
        self.assertIn("x-word: one", client.get())
        self.write("three")
        self.assertEqual(ask(server, f"/filters/reload?name={self.NAME}", "POST").status, 200)
        self.assertIn("x-word: three", client.get())

    def test_unknown(self) -> None:
        """
        A name is needed, and one that nobody has is not repeated.
        """
        server = self.server()
        self.assertEqual(ask(server, "/filters/reload", "POST").status, 400)
        answer = ask(server, "/filters/reload?name=%3Cb%3E", "POST")
        self.assertEqual(answer.status, 404)
        self.assertNotIn("<b>", answer.text)

    def test_watch(self) -> None:
        """
        With C{--watch-filters} a file that is saved is loaded within a second; without, it is not.
        """
        for watching, word in ((True, "two"), (False, "one")):
            self.write("one")
            sys.modules.pop("admincontrolgreeter", None)
            server = self.server(watchFilters=watching)
            client = Client(server)
            server.reactor.advance(1)
            self.write("two")
            server.reactor.advance(1)
            self.assertIn(f"x-word: {word}", client.get())

    def test_watchBroken(self) -> None:
        """
        What cannot be loaded is logged, and watched on.
        """
        server = self.server(watchFilters=True)
        client = Client(server)
        self.write("two", "raise ValueError('half')")
        server.reactor.advance(1)
        self.assertIn("x-word: one", client.get())
        self.write("three")
        server.reactor.advance(1)
        self.assertIn("x-word: three", client.get())

    def test_signal(self) -> None:
        """
        SIGHUP loads filters whose files changed, and the configuration.
        """
        server = self.server()
        client = Client(server)
        self.write("two")
        self.assertTrue(self.successResultOf(server.reloadAll()))
        self.assertIn("x-word: two", client.get())

    def test_notLive(self) -> None:
        """
        A proxy that does not serve yet, or no longer, refuses.
        """
        server = self.server()
        server.state = "DRAINING"
        self.assertEqual(ask(server, f"/filters/reload?name={self.NAME}", "POST").status, 503)
