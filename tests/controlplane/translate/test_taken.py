"""
What the control plane makes of resources for this project's own proxy is taken by it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.translate.proxy import DataPlane
from meshproxy.errors import ConfigErrors
from meshproxy.net.network import ReactorNetwork
from meshproxy.server import ProxyOptions, ProxyServer
from tests.controlplane.translate.envoy import bootstrap, writeFiles
from tests.controlplane.translate.golden import Case, caseNames, caseOf


def _ours(name: str) -> Case:
    """
    A case, for this proxy.
    """
    case = caseOf(name)
    return case._replace(proxy=evolve(case.proxy, dataPlane=DataPlane.MESHPROXY))


class TakenTests(SynchronousTestCase):
    """
    The golden cases, each as if its proxy were this one.
    """

    def take(self, name: str, given: Any) -> None:
        """
        Compile the translation of a case.

        @raise ConfigErrors: If it is not taken.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        writeFiles(folder)
        text = json.dumps(bootstrap([name], given)).replace("/certificates/", f"{folder.absolute()}/")
        clock: Any = Clock()
        ProxyServer(ProxyOptions(configText=text), clock, ReactorNetwork(clock))

    def test_taken(self) -> None:
        """
        Every listener, route and cluster.
        """
        for name in caseNames():
            self.take(name, _ours)

    def test_wouldRefuse(self) -> None:
        """
        It is asked in earnest: what is made for an Envoy alone is refused.
        """
        self.assertRaises(ConfigErrors, self.take, "outside-tls", caseOf)
