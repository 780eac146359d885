# -*- test-case-name: tests.upstream.test_dnsdiscovery -*-
"""
What the tests of discovery share.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.net.dns import NameServers
from meshproxy.stats import Store
from meshproxy.upstream.discovery import compileDiscovery
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.stats import ClusterStats
from tests.upstream.support import value

__all__ = ["DiscoveryCase", "Names"]


class Names:
    """
    A network that only resolves; each look-up waits for the test.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.waiting: dict[str, Deferred[list[str]]] = {}
        self.neededTTL = False
        self.servers: NameServers | None = None

    def resolve(
        self, host: str, family: str = "AUTO", needsTTL: bool = False, servers: NameServers | None = None
    ) -> Deferred[list[str]]:
        """
        See L{meshproxy.interfaces.INetwork.resolve}.
        """
        self.asked.append((host, family))
        self.neededTTL = needsTTL
        self.servers = servers
        self.waiting[host] = Deferred()
        return self.waiting[host]

    def answer(self, **hosts: list[str]) -> None:
        """
        Answer look-ups; dots are underscores.
        """
        for host, addresses in hosts.items():
            self.waiting.pop(host.replace("_", ".")).callback(addresses)


class DiscoveryCase(SynchronousTestCase):
    """
    A discovery and what it finds.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names()
        self.store = Store()
        self.found: list[list[Endpoint]] = []
        self.chance = 0.5

    def make(self, section: Section) -> Any:
        """
        Compile one.
        """
        network: Any = self.names
        stats = ClusterStats(self.store.scope("cluster.c."))
        return compileDiscovery(section, network, self.clock, stats, lambda: self.chance)

    def begin(self, section: Section) -> Any:
        """
        Compile one without faults and begin.
        """
        discovery = self.make(section)
        section.report.raiseIfAny()
        discovery.start(self.found.append)
        return discovery

    def last(self) -> list[str]:
        """
        The addresses that were found last.
        """
        return [endpoint.address.text for endpoint in self.found[-1]]

    def stat(self, name: str) -> int | None:
        """
        A metric of the cluster.
        """
        return value(self.store, f"cluster.c.{name}")
