"""
Tests for L{meshproxy.admin.service}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.errors import ConfigErrors
from tests.admin.support import BOOTSTRAP, Answer, MemoryTransport, ask, connect, makeServer

NON_LOOPBACK = BOOTSTRAP.replace("address: 127.0.0.1, port_value: 9901", "address: 0.0.0.0, port_value: 0")


class AdminServerTests(SynchronousTestCase):
    """
    L{AdminServer} as a listener.
    """

    def logged(self) -> list[str]:
        """
        The names of the levels at which the admin logs from now on, with the texts.
        """
        lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event["log_namespace"].startswith("meshproxy.admin"):
                lines.append(f"{event['log_level'].name} {event['log_format']}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return lines

    def test_headers(self) -> None:
        """
        Each answer has the fields of Envoy's admin, and its length.
        """
        answer = ask(makeServer(), "/ready")
        self.assertEqual((answer.status, answer.text), (200, "LIVE\n"))
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=UTF-8")
        self.assertEqual(answer.headers["cache-control"], "no-cache, max-age=0")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertEqual(answer.headers["server"], "envoy")
        self.assertEqual(answer.headers["content-length"], "5")

    def test_head(self) -> None:
        """
        HEAD gets the head alone, for what is answered at once and for what takes turns of the reactor.
        """
        server = makeServer()
        for target in ("/ready", "/stats"):
            answer = ask(server, target, "HEAD")
            self.assertEqual((answer.status, answer.body), (200, b""))
            self.assertGreater(int(answer.headers["content-length"]), 0)

    def test_oldProbe(self) -> None:
        """
        HTTP/1.0 without a host is answered: load balancers ask so.
        """
        server = makeServer()
        transport = MemoryTransport()
        protocol = connect(server, "127.0.0.1:9901", transport)
        protocol.dataReceived(b"GET /ready HTTP/1.0\r\n\r\n")
        self.assertEqual(Answer(transport.value()).status, 200)

    def test_addressFile(self) -> None:
        """
        The address that was bound is written to the file that the command line names.
        """
        path = Path(self.mktemp())
        server = makeServer(NON_LOOPBACK, adminAddressPath=str(path))
        self.assertEqual(path.read_text(), "0.0.0.0:12345")
        assert server.admin.address is not None
        self.assertEqual(server.admin.address.text, "0.0.0.0:12345")

    def test_addressFileWhole(self) -> None:
        """
        It takes the place of what was there at once, so that nobody reads half of it; what is no file is written to.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "address").write_text("before")
        with open(folder / "address") as former:
            makeServer(NON_LOOPBACK, adminAddressPath=str(folder / "address"))
            self.assertEqual(former.read(), "before")
        self.assertEqual([(each.name, each.read_text()) for each in folder.iterdir()], [("address", "0.0.0.0:12345")])
        os.mkfifo(folder / "pipe")
        reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        makeServer(NON_LOOPBACK, adminAddressPath=str(folder / "pipe"))
        self.assertEqual(os.read(reader, 100), b"0.0.0.0:12345")

    def test_addressFileFails(self) -> None:
        """
        A file that cannot be written is told, and the admin serves.
        """
        lines = self.logged()
        server = makeServer(adminAddressPath=str(Path(self.mktemp()) / "nowhere"))
        self.assertIn("error cannot write the admin's address to {path}: {why}", lines)
        self.assertEqual(ask(server, "/ready").status, 200)

    def test_warnsOfOthers(self) -> None:
        """
        An address that others reach is warned of; a loopback address and a unix socket are not.
        """
        lines = self.logged()
        makeServer(NON_LOOPBACK)
        self.assertEqual([line.split()[0] for line in lines], ["warn"])
        for address in ("address: 127.0.0.1,", 'address: "::1",'):
            lines.clear()
            makeServer(BOOTSTRAP.replace("address: 127.0.0.1, port_value: 9901", f"{address} port_value: 9901"))
            self.assertEqual([line.split()[0] for line in lines], ["info"])
        lines.clear()
        makeServer(BOOTSTRAP.replace("socket_address: {address: 127.0.0.1, port_value: 9901}", "pipe: {path: /x}"))
        self.assertEqual([line.split()[0] for line in lines], ["info"])

    def test_noAddress(self) -> None:
        """
        Without an address there is no admin, which is no fault.
        """
        for admin in ("", "admin: {}"):
            text = BOOTSTRAP.replace(
                "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}", admin
            )
            server = makeServer(text)
            self.assertIsNone(server.admin.address)
            self.assertNotIn("127.0.0.1:9901", server.context.network.ports)  # type: ignore[attr-defined]
            server.admin.stop()

    def test_cannotListen(self) -> None:
        """
        An address that is taken is told to who starts the proxy.
        """
        server = makeServer(start=False)
        server.context.network.ports["127.0.0.1:9901"] = lambda peer: None  # type: ignore[attr-defined]
        self.assertRaises(CannotListenError, server.admin.listen)

    def test_stop(self) -> None:
        """
        After it stopped nobody listens, and its listener's stats are gone.
        """
        server = makeServer()
        ask(server, "/ready")
        self.assertIn("listener.admin.downstream_cx_total", server.context.store.counters)
        server.admin.stop()
        self.assertNotIn("127.0.0.1:9901", server.context.network.ports)  # type: ignore[attr-defined]
        self.assertNotIn("listener.admin.downstream_cx_total", server.context.store.counters)

    def test_stats(self) -> None:
        """
        The admin counts under Envoy's names, apart from the listeners of the configuration.
        """
        server = makeServer()
        ask(server, "/ready")
        ask(server, "/nosuch")
        counters = server.context.store.counters
        self.assertEqual(counters["http.admin.downstream_rq_total"].value, 2)
        self.assertEqual(counters["http.admin.downstream_rq_4xx"].value, 1)
        self.assertEqual(counters["listener.admin.downstream_cx_total"].value, 2)
        self.assertEqual(counters["listener.admin.main_thread.downstream_cx_total"].value, 2)
        self.assertEqual(server.listeners.connections, 0)

    def test_allowPaths(self) -> None:
        """
        With C{allow_paths}, what is not listed is forbidden; the query counts as part of the path, as in Envoy.
        """
        text = BOOTSTRAP.replace("admin: {", "admin: {allow_paths: [{exact: /ready}, {prefix: /stats}], ")
        server = makeServer(text)
        statuses = {target: ask(server, target).status for target in ("/ready", "/ready?x", "/stats?type=All", "/")}
        self.assertEqual(statuses, {"/ready": 200, "/ready?x": 403, "/stats?type=All": 200, "/": 403})
        self.assertEqual(ask(server, "/quitquitquit", "POST").status, 403)

    def test_accessLog(self) -> None:
        """
        C{access_log} and the older C{access_log_path} both get a line for each request.
        """
        first, second = Path(self.mktemp()), Path(self.mktemp())
        kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        format = r"%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"
        log = (
            f"access_log: [{{name: f, typed_config: {{'@type': {kind}, path: {first}, "
            f'log_format: {{text_format: "{format}"}}}}}}], access_log_path: {second}, '
        )
        server = makeServer(BOOTSTRAP.replace("admin: {", "admin: {" + log))
        ask(server, "/ready?a=b")
        server.files.flush()
        self.assertEqual(first.read_text().strip(), "/ready?a=b 200 admin_filter_response")
        self.assertIn('"GET /ready?a=b HTTP/1.1" 200', second.read_text())

    def test_badAccessLog(self) -> None:
        """
        A fault of an access log is told at its place in the admin's section.
        """
        text = BOOTSTRAP.replace("admin: {", "admin: {access_log: [{name: f}], ")
        with self.assertRaises(ConfigErrors) as caught:
            makeServer(text)
        self.assertIn("admin.access_log[0]", str(caught.exception))

    def test_badAddress(self) -> None:
        """
        A name is no address to listen on, and is told at its place.
        """
        with self.assertRaises(ConfigErrors) as caught:
            makeServer(BOOTSTRAP.replace("address: 127.0.0.1, port_value: 9901", "address: localhost, port_value: 1"))
        self.assertIn("admin.address.socket_address.address", str(caught.exception))

    def test_hiddenFromOthers(self) -> None:
        """
        No listener of a configuration can have the admin's filter.
        """
        server = makeServer()
        self.assertNotIn("meshproxy.admin", server.context.registry.names("http"))
