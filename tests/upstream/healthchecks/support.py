"""
What the tests of checks share.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.files import LogFiles
from meshproxy.config import Section
from meshproxy.runtime import Runtime
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Store
from meshproxy.testing import MemoryBackend, MemoryNetwork, VirtualReactor
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthchecks.checker import CheckContext
from meshproxy.upstream.healthflags import flagsText
from tests.upstream.support import clusterSection, value

__all__ = ["TIMES", "CheckedCase", "httpCheck"]

#: Times that are easy to reckon with. Nobody uses the clusters of these tests.
TIMES = {
    "timeout": "1s",
    "interval": "10s",
    "no_traffic_interval": "10s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 2,
}


def httpCheck(times: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """
    A C{HealthCheck} over HTTP.
    """
    return {**TIMES, **(times or {}), "http_health_check": {"path": "/health", **fields}}


class CheckedCase(SynchronousTestCase):
    """
    A cluster in memory, whose endpoints are checked.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor)
        self.store = Store()
        self.runtime = Runtime(lambda: 0.0)
        self.files = LogFiles(self.reactor, self.store.scope("filesystem."))
        self.secrets = SecretStore(self.store, self.reactor)
        self.chance = 0.0

    def backend(self, host: str = "192.0.2.1", port: int = 80) -> MemoryBackend:
        """
        One that answers C{200}.
        """
        return MemoryBackend(self.network, f"{host}:{port}")

    def make(self, check: dict[str, Any], *hosts: str, settles: bool = True, **fields: Any) -> Cluster:
        """
        A cluster that looks for its endpoints, and checks them.
        """
        return self.begin(clusterSection(*(hosts or ("192.0.2.1",)), health_checks=[check], **fields), settles)

    def begin(self, section: Section, settles: bool = True) -> Cluster:
        """
        Let a cluster begin.
        """
        context = CheckContext(self.runtime, self.files)
        parts = (self.store, self.network, self.reactor, lambda: self.chance, self.secrets)
        cluster = Cluster(section, *parts, checks=context)
        section.report.raiseIfAny()
        cluster.start()
        if settles:
            self.reactor.settle()
        return cluster

    def refused(self, check: dict[str, Any], **fields: Any) -> str:
        """
        Why a cluster is refused.
        """
        section = clusterSection("192.0.2.1", health_checks=[check], **fields)
        with section.report.despite():
            context = CheckContext(self.runtime, self.files)
            Cluster(section, self.store, self.network, self.reactor, lambda: 0.0, checks=context)
        return "\n".join(map(str, section.report.errors))

    def stats(self, *names: str) -> tuple[int | None, ...]:
        """
        What was counted of checks.
        """
        return tuple(value(self.store, f"cluster.c.health_check.{name}") for name in names)

    def flags(self, endpoint: Endpoint) -> str:
        """
        As C{/clusters} shows them.
        """
        return flagsText(endpoint.allFlags)
