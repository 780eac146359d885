"""
L{meshproxy.tap} and L{meshproxy.commandline}. How the whole program starts and ends is tried in C{tests.integration}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from meshproxy import tap
from meshproxy.commandline import AgentUsage, DemoUsage, ProxyUsage
from meshproxy.tap import Options


def parsed(*arguments: str, **parent: object) -> tuple[Options, dict[str, object]]:
    """
    Options as twistd has them parsed, and what became of its own.
    """
    options = Options()
    twistd: Any = {"nodaemon": True, "pidfile": "twistd.pid", "logger": None, "logfile": None, "syslog": 0, **parent}
    options.parent = twistd
    options.parseOptions(["proxy", *arguments])
    return options, twistd


class OptionTests(SynchronousTestCase):
    """
    The command line.
    """

    def refused(self, *arguments: str) -> str:
        """
        Why a command line is refused.
        """
        return str(self.assertRaises(usage.UsageError, ProxyUsage().parseOptions, list(arguments)))

    def test_refusals(self) -> None:
        """
        What does not fit is refused, with what would.
        """
        self.assertIn("--config-yaml", self.refused())
        self.assertIn("serve, validate or explain", self.refused("-c", "x", "--mode", "run"))
        self.assertIn("concurrency", self.refused("-c", "x", "--concurrency", "2"))
        self.assertIn("critical", self.refused("-c", "x", "--log-level", "loud"))
        self.assertIn("0 or more", self.refused("-c", "x", "--drain-time-s", "-1"))
        self.assertIn("--drain-time-s is a number, not 'x'", self.refused("-c", "x", "--drain-time-s", "x"))
        self.assertIn("--concurrency is a whole number, not '1.5'", self.refused("-c", "x", "--concurrency", "1.5"))
        self.assertIn("0 or more", self.refused("-c", "x", "--drain-time-s", "nan"))
        self.assertIn("comes later: sleep 1", self.refused("-c", "x", "--", "sleep", "1"))
        self.assertIn("come later", self.refused("-c", "x", "--wait-ready", "--", "sleep", "1"))

    def test_misspelt(self) -> None:
        """
        An option that there is not is told, with the one that was probably meant.
        """
        told = self.refused("--conf-path", "x")
        self.assertEqual(told, "there is no option --conf-path; did you mean --config-path?")
        self.assertEqual(self.refused("--zzz"), "there is no option --zzz")
        self.assertEqual(self.refused("-c", "x", "-z"), "option -z not recognized")

    def test_oneLine(self) -> None:
        """
        What does not fit ends the process with 1 and one line on stderr; options that it does not have are no help.
        """
        written: list[tuple[int, bytes]] = []
        self.patch(os, "write", lambda descriptor, data: written.append((descriptor, data)))
        for words, told in (
            ([], "a command is needed: proxy, control, agent, demo (twistd meshproxy --help lists the options)"),
            (["prox"], "there is no command 'prox'; did you mean proxy? (twistd meshproxy --help lists the options)"),
            (
                ["proxy", "-c", "x", "--drain-time-s", "x"],
                "--drain-time-s is a number, not 'x' (twistd meshproxy proxy --help lists the options)",
            ),
        ):
            raised = self.assertRaises(SystemExit, Options().parseOptions, words)
            self.assertEqual((raised.code, written.pop(), written), (1, (2, f"{told}\n".encode()), []))

    def test_explain(self) -> None:
        """
        To explain a request there must be one; it may have any number of headers.
        """
        self.assertIn("--url", self.refused("-c", "x", "--mode", "explain"))
        self.assertIn("--format", self.refused("-c", "x", "--mode", "explain", "--url", "/", "--format", "xml"))
        options = ProxyUsage()
        options.parseOptions("-c f --mode explain --url /x --header a:1 --header b:2".split())
        self.assertEqual(options["header"], ["a:1", "b:2"])
        other = ProxyUsage()
        other.parseOptions("-c f".split())
        self.assertEqual(other["header"], [])

    def test_demo(self) -> None:
        """
        The demo needs no option, and tells what does not fit.
        """
        options = DemoUsage()
        options.parseOptions([])
        ports = [options[name] for name in ("port", "rest-port", "xds-port", "xds-tls-port")]
        self.assertEqual(ports, [9080, 15014, 15010, 15012])
        for words, told in (
            (("--port", "70000"), "0 to 65535"),
            (("--xds-port", "-1"), "--xds-port"),
            (("--network", "10.0"), "127.0 to 127.255"),
            (("--network", "127.256"), "127.0 to 127.255"),
            (("--engine", "nginx"), "meshproxy or envoy"),
            (("--patience", "0"), "0.1 to 100"),
            (("--log-level", "loud"), "critical"),
        ):
            self.assertIn(told, str(self.assertRaises(usage.UsageError, DemoUsage().parseOptions, list(words))))

    def test_proxyOptions(self) -> None:
        """
        What the server gets of it.
        """
        options = ProxyUsage()
        options.parseOptions(
            "-c f --config-yaml {} --service-node n --service-cluster c --service-zone z --drain-time-s 3 "
            "--allow-unknown-static-fields --admin-address-path a --watch-filters".split()
        )
        made = tap._proxyOptions(options)
        self.assertEqual((made.configPath, made.configText, made.drainTime), ("f", "{}", 3.0))
        self.assertEqual((made.serviceNode, made.serviceCluster, made.serviceZone), ("n", "c", "z"))
        self.assertEqual((made.allowUnknown, made.adminAddressPath, made.watchFilters), (True, "a", True))

    def test_defaults(self) -> None:
        """
        The documented defaults.
        """
        options = ProxyUsage()
        options.parseOptions(["-c", "f"])
        made = tap._proxyOptions(options)
        self.assertEqual((made.configText, made.serviceNode, made.drainTime), (None, "", 10.0))
        self.assertEqual((options["mode"], options["log-level"], options["concurrency"]), ("serve", "info", 1))

    def test_synopsis(self) -> None:
        """
        The help says how it is called, once.
        """
        self.assertEqual(str(ProxyUsage()).count("Usage:"), 1)
        self.assertNotIn("default: ]", str(ProxyUsage()))

    def test_version(self) -> None:
        """
        C{--version} is this program's, of each command.
        """
        written: list[bytes] = []
        self.patch(os, "write", lambda descriptor, data: written.append(data))
        for options in (Options(), ProxyUsage()):
            self.assertRaises(SystemExit, options.parseOptions, ["--version"])
        self.assertEqual(written, [f"meshproxy {meshproxy.__version__}\n".encode()] * 2)


class AgentUsageTests(SynchronousTestCase):
    """
    The agent's own options.
    """

    def test_needed(self) -> None:
        """
        Roots are needed, and some proof; what is missing is told.
        """
        for words, told in (
            ([], "--roots FILE"),
            (["--roots", "r"], "--token-file FILE, or --folder DIR"),
            (["-r", "r", "-t", "t", "--socket-mode", "rw"], "octal digits"),
            (["-r", "r", "-t", "t", "--log-level", "loud"], "--log-level is one of"),
        ):
            error = self.assertRaises(usage.UsageError, AgentUsage().parseOptions, words)
            self.assertIn(told, str(error))
        AgentUsage().parseOptions(["-r", "r", "-f", "kept"])

    def test_help(self) -> None:
        """
        The help says how it is called, once, and what it serves.
        """
        told = str(AgentUsage())
        self.assertEqual(told.count("Usage:"), 1)
        self.assertIn("--token-file", told)
        self.assertIn("default and ROOTCA", " ".join(told.split()))

    def test_refused(self) -> None:
        """
        What cannot be used ends the process with 1, and a line for each fault.
        """
        written: list[bytes] = []
        self.patch(os, "write", lambda descriptor, data: written.append(data))
        options = Options()
        for words, told in (
            (["--roots", "/nowhere"], b"'/nowhere' cannot be read: No such file or directory"),
            (["--roots", "r", "--address", "here"], b"'here' is not of the form HOST:PORT"),
            (["--roots", "r", "--lifetime", "soon"], b"lifetime"),
            (["--roots", "r", "--grace-period-ratio", "1"], b"grace_period_ratio"),
        ):
            options = Options()
            options.parent = None
            options.parseOptions(["agent", "--token-file", "t", *words])
            raised = self.assertRaises(SystemExit, tap.makeService, options)
            self.assertEqual(raised.code, 1)
            self.assertIn(told, written.pop())


class TwistdTests(SynchronousTestCase):
    """
    What twistd itself is told.
    """

    def test_foreground(self) -> None:
        """
        In the foreground: no pid file, and the log on stderr, at the level that was asked for.
        """
        from meshproxy.logs import levels

        self.addCleanup(levels.setDefault, levels.default)
        _, twistd = parsed("-c", "f", "--log-level", "error")
        self.assertEqual((twistd["pidfile"], twistd["logger"]), ("", "meshproxy.logs.stderrObserver"))
        self.assertEqual(levels.default, "error")

    def test_asked(self) -> None:
        """
        What its user said stays.
        """
        _, twistd = parsed("-c", "f", pidfile="my.pid", logfile="my.log")
        self.assertEqual((twistd["pidfile"], twistd["logger"]), ("my.pid", None))
        _, twistd = parsed("-c", "f", logger="mine.observer")
        self.assertEqual(twistd["logger"], "mine.observer")
        _, twistd = parsed("-c", "f", syslog=1)
        self.assertIsNone(twistd["logger"])

    def test_background(self) -> None:
        """
        In the background all is twistd's.
        """
        _, twistd = parsed("-c", "f", nodaemon=False)
        self.assertEqual((twistd["pidfile"], twistd["logger"]), ("twistd.pid", None))

    def test_imports(self) -> None:
        """
        Importing the module, and declaring the plugin, brings no reactor: else nobody could choose one.
        """
        code = (
            "import sys, meshproxy.tap, runpy\n"
            "runpy.run_path(sys.argv[1])\n"
            "assert 'twisted.internet.reactor' not in sys.modules\n"
            "meshproxy.tap.Options()\n"
            "from twisted.internet import reactor\n"
            "print(type(reactor).__name__)\n"
        )
        root = Path(meshproxy.__file__).parent.parent
        plugin = str(root / "twisted" / "plugins" / "meshproxy_plugins.py")
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", code, plugin], capture_output=True, text=True, env=environment, timeout=60
        )
        self.assertEqual((done.stdout, done.returncode), ("MeshProxyReactor\n", 0), done.stderr)
