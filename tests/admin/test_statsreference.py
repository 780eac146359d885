"""
C{docs/reference/stats.md} is held to what a proxy shows.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from meshproxy.server import ProxyServer
from tests.admin.support import ask, makeServer

PAGE = Path(meshproxy.__file__).resolve().parent.parent / "docs" / "reference" / "stats.md"

#: What stands before the name that the page lists: the tree, or a part of the name that others share.
PREFIX = re.compile(
    r"^(?:http2|server|listener_manager(?:\.lds)?|cluster_manager(?:\.cds)?|config_reload|runtime|filesystem|cluster\.[^.]+(?:\.http2)?|http\.[^.]+"
    r"|listener\.(?:admin|\[[^\]]*\]_\d+|[\d.]+_\d+))\."
)


def names(server: ProxyServer) -> list[str]:
    """
    The names of a proxy's metrics, as the page would list them.
    """
    found = set()
    for metric in server.context.store.metrics():
        name = PREFIX.sub("", metric.name)
        name = re.sub(r"^(?:worker_0|external)\.|^main_thread\.(?=downstream)", "", name)
        name = name.replace("circuit_breakers.high.", "circuit_breakers.default.")
        name = re.sub(r"^http\.[^.]+\.(downstream_rq)", r"\1", name)
        found.add(name)
    return sorted(found)


class StatsReferenceTests(SynchronousTestCase):
    """
    The page.
    """

    if not PAGE.exists():
        skip = "only a checkout has all pages"

    def test_everyName(self) -> None:
        """
        Each name is explained.
        """
        server = makeServer()
        ask(server, "/stats")
        text = PAGE.read_text("utf-8")
        missing = [name for name in names(server) if f"`{name}`" not in text]
        self.assertEqual(missing, [], "describe these in docs/reference/stats.md")
