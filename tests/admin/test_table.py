"""
Tests for L{meshproxy.admin.table}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.commands import helpText
from tests.admin.support import ask, makeServer

# Envoy's paths, but for its profilers, heap dumps and symbol table.
ENVOY = {
    "/",
    "/certs",
    "/clusters",
    "/config_dump",
    "/contention",
    "/cpuprofiler",
    "/drain_listeners",
    "/healthcheck/fail",
    "/healthcheck/ok",
    "/help",
    "/hot_restart_version",
    "/init_dump",
    "/listeners",
    "/logging",
    "/memory",
    "/quitquitquit",
    "/ready",
    "/reopen_logs",
    "/reset_counters",
    "/runtime",
    "/runtime_modify",
    "/server_info",
    "/stats",
    "/stats/recentlookups",
    "/stats/recentlookups/clear",
    "/stats/recentlookups/disable",
    "/stats/recentlookups/enable",
    "/stats/prometheus",
}


class CommandTableTests(SynchronousTestCase):
    """
    L{CommandTable}.
    """

    def test_paths(self) -> None:
        """
        Envoy's paths are there, and some of ours.
        """
        found = set(makeServer().admin.commands.commands)
        self.assertEqual(found - ENVOY, {"/explain", "/filters/reload", "/streams"})
        self.assertEqual(ENVOY - found, set())

    def test_help(self) -> None:
        """
        C{/help} lists all, by path.
        """
        server = makeServer()
        answer = ask(server, "/help")
        self.assertEqual(answer.text, helpText(server.admin.commands.commands.values()))
        paths = [line.split(":")[0].split()[0] for line in answer.text.splitlines()[1:] if line.startswith("  /")]
        self.assertEqual(paths, sorted(paths))

    def test_unknown(self) -> None:
        """
        Another path is 404 with the help, and is not repeated.
        """
        server = makeServer()
        for target in ("/nosuch", "/ready/", "/%72eady", "/Ready", "/<b>?<b>"):
            answer = ask(server, target)
            self.assertEqual(answer.status, 404, target)
            self.assertEqual(answer.text, "invalid path. " + ask(server, "/help").text)
