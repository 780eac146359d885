"""
How the program starts: its options, its faults, its output and its exit status.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy import __version__
from tests.integration.configs import bootstrap, cluster, direct, forward, listener
from tests.integration.process import ROOT, Proxy, fetch, freePort, freePorts, until


class OptionTests(SynchronousTestCase):
    """
    What the command line says, and what is answered to it.
    """

    def fails(self, *arguments: str) -> str:
        """
        Start with wrong options.

        @return: What was said.
        """
        proxy = Proxy(self, *arguments)
        self.assertEqual(proxy.ended(), 1)
        said = proxy.output + proxy.log
        self.assertNotIn("Traceback", said)
        return said

    def test_unknownOption(self) -> None:
        """
        An option that does not exist is named, with status 1.
        """
        self.assertIn("--nonsense", self.fails("--nonsense"))

    def test_noConfiguration(self) -> None:
        """
        Without a configuration the options that bring one are told.
        """
        said = self.fails()
        self.assertIn("--config-path", said)
        self.assertIn("--config-yaml", said)

    def test_badValues(self) -> None:
        """
        Values that an option does not take are refused with those that it takes.
        """
        self.assertIn("serve, validate or explain", self.fails("-c", "x", "--mode", "check"))
        self.assertIn("warning", self.fails("-c", "x", "--log-level", "loud"))
        self.assertIn("drain-time-s", self.fails("-c", "x", "--drain-time-s", "-1"))
        self.assertIn("drain-time-s", self.fails("-c", "x", "--drain-time-s", "soon"))

    def test_help(self) -> None:
        """
        C{--help} lists each option with its meaning, and ends with 0.
        """
        proxy = Proxy(self, "--help")
        self.assertEqual(proxy.ended(), 0)
        for name in ("config-path", "config-yaml", "mode", "drain-time-s", "log-level", "service-node"):
            self.assertIn(f"--{name}", proxy.output)
        self.assertLess(max(map(len, proxy.output.splitlines())), 130)

    def test_version(self) -> None:
        """
        C{--version} prints the version alone.
        """
        proxy = Proxy(self, "--version", program=("meshproxy",))
        self.assertEqual(proxy.ended(), 0)
        self.assertEqual(proxy.output, f"meshproxy {__version__}\n")

    def test_noCommand(self) -> None:
        """
        C{twistd meshproxy} alone asks for a command.
        """
        proxy = Proxy(self, program=("meshproxy",))
        self.assertEqual(proxy.ended(), 1)
        self.assertIn("proxy", proxy.output + proxy.log)


class ConfigurationTests(SynchronousTestCase):
    """
    Configurations with faults, and those without.
    """

    def file(self, text: str) -> Path:
        """
        A file with a bootstrap.
        """
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return path

    def test_explain(self) -> None:
        """
        C{--mode explain} tells what would become of a request, with the lines of the file, and binds nothing.
        """
        port = freePort()
        path = self.file(bootstrap(listener("front", port, direct("hello"))))
        asked = ("-c", str(path), "--mode", "explain", "--url", f"http://localhost:{port}/x", "--header", "a: b")
        proxy = Proxy(self, *asked)
        self.assertEqual(proxy.ended(), 0)
        begin = f"GET http://localhost:{port}/x\n  a: b\n=> 200, a direct response at {path}:"
        self.assertTrue(proxy.output.startswith(begin), proxy.output)
        self.assertIn(f"listener front ({path}:", proxy.output)
        told = Proxy(self, *asked, "--format", "json")
        self.assertEqual(told.ended(), 0)
        self.assertEqual(json.loads(told.output)["listener"]["name"], "front")
        wrong = Proxy(self, "-c", str(path), "--mode", "explain", "--url", "ftp://x/")
        self.assertEqual(wrong.ended(), 1)
        self.assertIn("http://host:port/path", wrong.log)

    def test_validate(self) -> None:
        """
        C{--mode validate} prints one line, exactly Envoy's, and binds nothing.
        """
        port = freePort()
        path = self.file(bootstrap(listener("l", port, direct("x"))))
        with socket.create_server(("127.0.0.1", port)):
            proxy = Proxy(self, "-c", str(path), "--mode", "validate")
            self.assertEqual(proxy.ended(), 0)
        self.assertEqual(proxy.output, f"configuration '{path}' OK\n")

    def test_allFaults(self) -> None:
        """
        Every fault is told at once, each with its place, in the order of the file.
        """
        path = self.file(
            "static_resources:\n"
            "  clusters:\n"
            "  - name: a\n"
            "    lb_policy: ROUND_ROBBIN\n"
            "  - name: b\n"
            "    type: STATIC\n"
            "    load_assignment:\n"
            "      cluster_name: b\n"
            "      endpoints:\n"
            "      - lb_endpoints:\n"
            "        - endpoint: {address: {socket_address: {address: somewhere, port_value: 80}}}\n"
            "    conect_timeout: 1s\n"
        )
        for mode in ("validate", "serve"):
            proxy = Proxy(self, "-c", str(path), "--mode", mode)
            self.assertEqual(proxy.ended(), 1)
            self.assertEqual(proxy.output, "")
            self.assertNotIn("Traceback", proxy.log)
            places = re.findall(rf"^{re.escape(str(path))}:(\d+):\d+  (\S+):", proxy.log, re.M)
            self.assertIn(("4", "static_resources.clusters[0].lb_policy"), places)
            self.assertIn("did you mean ROUND_ROBIN?", proxy.log)
            self.assertIn("conect_timeout", proxy.log)

    def test_compiledFaults(self) -> None:
        """
        Faults that only compiling finds are told together, too.
        """
        path = self.file(
            bootstrap(
                listener("l", 1, forward("missing")),
                listener("l", 2, direct("x")),
                cluster("c", 1, host="somewhere"),
            )
        )
        proxy = Proxy(self, "-c", str(path), "--mode", "validate")
        self.assertEqual(proxy.ended(), 1)
        for text in ("'missing'", "two listeners of the name 'l'", "'somewhere' is not an IP address"):
            self.assertIn(text, proxy.log)
        self.assertEqual(len(proxy.log.splitlines()), 3)

    def test_missingFile(self) -> None:
        """
        A file that is not there is one line.
        """
        proxy = Proxy(self, "-c", "/nowhere/at-all.yaml")
        self.assertEqual(proxy.ended(), 1)
        self.assertEqual(len(proxy.log.splitlines()), 1)
        self.assertIn("/nowhere/at-all.yaml", proxy.log)

    def test_textAlone(self) -> None:
        """
        C{--config-yaml} is enough.
        """
        port = freePort()
        Proxy(self, "--config-yaml", bootstrap(listener("l", port, direct("text")))).ready(port)
        self.assertEqual(fetch(port), (200, b"text"))

    def test_textMerged(self) -> None:
        """
        C{--config-yaml} is merged over the file: lists are appended.
        """
        first, second = freePorts(2)
        path = self.file(bootstrap(listener("a", first, direct("file"))))
        added = bootstrap(listener("b", second, direct("text")))
        Proxy(self, "-c", str(path), "--config-yaml", added).ready(first, second)
        self.assertEqual(fetch(first), (200, b"file"))
        self.assertEqual(fetch(second), (200, b"text"))

    def test_unknownField(self) -> None:
        """
        A known field that is not implemented is refused, and only warned of if that is asked for.
        """
        port = freePort()
        asking = cluster("c", 1, lrs_server={"self": {}})
        path = self.file(bootstrap(listener("l", port, direct("x")), asking))
        refused = Proxy(self, "-c", str(path), "--mode", "validate")
        self.assertEqual(refused.ended(), 1)
        self.assertIn("lrs_server", refused.log)
        allowed = Proxy(self, "-c", str(path), "--mode", "validate", "--allow-unknown-static-fields")
        self.assertEqual(allowed.ended(), 0)
        self.assertIn("lrs_server", allowed.log)
        serving = Proxy(self, "-c", str(path), "--allow-unknown-static-fields").ready(port)
        serving.waitLogged("lrs_server")


class PortTests(SynchronousTestCase):
    """
    Addresses that cannot be bound.
    """

    def test_portInUse(self) -> None:
        """
        A port that somebody has is one line and status 1, without a traceback.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            proxy = Proxy(self, "--config-yaml", bootstrap(listener("l", port, direct("x"))), "--log-level", "error")
            self.assertEqual(proxy.ended(), 1)
        self.assertEqual(len(proxy.log.splitlines()), 1)
        self.assertIn(f"127.0.0.1:{port}", proxy.log)

    def test_unboundPath(self) -> None:
        """
        A unix socket in a folder that does not exist, likewise.
        """
        text = bootstrap(listener("l", "/nowhere/socket", direct("x")))
        proxy = Proxy(self, "--config-yaml", text, "--log-level", "error")
        self.assertEqual(proxy.ended(), 1)
        self.assertEqual(len(proxy.log.splitlines()), 1)
        self.assertIn("/nowhere/socket", proxy.log)


class OutputTests(SynchronousTestCase):
    """
    What is written where.
    """

    def test_streams(self) -> None:
        """
        stdout carries the access log and nothing else; the log is on stderr.
        """
        port = freePort()
        proxy = Proxy(self, "--config-yaml", bootstrap(listener("l", port, direct("x"), logs=True))).ready(port)
        fetch(port, "/asked")
        until(lambda: proxy.output, "a line of the access log")
        lines = proxy.output.splitlines()
        self.assertEqual(len(lines), 1)
        self.assertIn('"GET /asked HTTP/1.1" 200', lines[0])
        self.assertIn("reactor class: meshproxy.net.reactor.MeshProxyReactor", proxy.log)
        self.assertNotIn("/asked", proxy.log)

    def test_logLevel(self) -> None:
        """
        C{--log-level} leaves out what is below it.
        """
        port = freePort()
        text = bootstrap(listener("l", port, direct("x")))
        proxy = Proxy(self, "--config-yaml", text, "--log-level", "error").ready(port)
        self.assertEqual(fetch(port)[0], 200)
        self.assertEqual(proxy.log, "")

    def test_logFile(self) -> None:
        """
        C{twistd -l FILE} sends the log there.
        """
        port = freePort()
        text = bootstrap(listener("l", port, direct("x")))
        proxy = Proxy(self, "--config-yaml", text, twistd=("-n", "-l", "the.log")).ready(port)
        until(lambda: "starting up" in (proxy.folder / "the.log").read_text(), "the log file")
        self.assertEqual(proxy.log, "")

    def test_severalInOneFolder(self) -> None:
        """
        Several run in one folder: none writes a pid file.
        """
        first, second = freePorts(2)
        one = Proxy(self, "--config-yaml", bootstrap(listener("l", first, direct("1")))).ready(first)
        text = bootstrap(listener("l", second, direct("2")))
        Proxy(self, "--config-yaml", text, folder=one.folder).ready(second)
        self.assertEqual((fetch(first)[1], fetch(second)[1]), (b"1", b"2"))
        self.assertEqual(sorted(path.suffix for path in one.folder.iterdir() if path.suffix), [])


class ReactorTests(SynchronousTestCase):
    """
    Which event loop runs.
    """

    def test_others(self) -> None:
        """
        Every reactor that Twisted can install on this system serves, and is the one that runs.
        """
        backend = freePort()
        for name, className in (
            ("asyncio", "AsyncioSelectorReactor"),
            ("select", "SelectReactor"),
            ("poll", "PollReactor"),
            ("epoll", "EPollReactor"),
        ):
            port = freePort()
            text = bootstrap(
                listener("l", port, forward("c")),
                listener("b", backend, direct(name)),
                cluster("c", backend),
            )
            proxy = Proxy(self, "--config-yaml", text, twistd=("-n", "--reactor", name)).ready(port)
            self.assertEqual(fetch(port), (200, name.encode()), name)
            self.assertIn(className, proxy.log)
            proxy.kill()

    def test_daemon(self) -> None:
        """
        Without C{-n} it goes to the background with a pid file and a log file, as any C{twistd} does.
        """
        port = freePort()
        text = bootstrap(listener("l", port, direct("x")))
        proxy = Proxy(self, "--config-yaml", text, twistd=())
        self.assertEqual(proxy.ended(), 0)
        pidFile = proxy.folder / "twistd.pid"
        pid = int(until(lambda: pidFile.exists() and pidFile.read_text(), "a pid file"))
        try:
            proxy.folder.joinpath("twistd.log")
            until(lambda: fetchOr(port) == (200, b"x"), "an answer")
            self.assertIn("starting up", (proxy.folder / "twistd.log").read_text())
        finally:
            import os
            import signal

            os.kill(pid, signal.SIGTERM)
            until(lambda: not pidFile.exists(), "its end")


def fetchOr(port: int) -> tuple[int, bytes] | None:
    """
    L{fetch}, or L{None} where nobody listens.
    """
    try:
        return fetch(port)
    except OSError:
        return None


class JSONTests(SynchronousTestCase):
    """
    JSON is accepted, as YAML is.
    """

    def test_json(self) -> None:
        """
        A file with the ending C{.json} is read as such.
        """
        path = Path(self.mktemp() + ".json").absolute()
        path.write_text(json.dumps({"static_resources": {}}))
        proxy = Proxy(self, "-c", str(path), "--mode", "validate")
        self.assertEqual(proxy.ended(), 0, proxy.log)
        self.assertEqual(proxy.output, f"configuration '{path}' OK\n")

    def test_root(self) -> None:
        """
        The package under test is the one that the process runs.
        """
        self.assertTrue((ROOT / "meshproxy" / "tap.py").exists())
