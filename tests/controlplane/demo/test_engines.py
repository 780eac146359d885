"""
L{meshproxy.controlplane.demo.engines}. All run in L{tests.integration.test_demo}.
"""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.structure import structureOrRaise
from meshproxy.controlplane.demo import engines
from meshproxy.controlplane.demo.bootstraps import gateway
from meshproxy.controlplane.demo.engines import envoyEngine, findEnvoy, processEngine
from meshproxy.identity.settings import IdentitySettings
from tests.controlplane.demo.test_children import Processes


class EngineTests(SynchronousTestCase):
    """
    What is started for a proxy.
    """

    def setUp(self) -> None:
        self.reactor = Processes()
        self.patch(shutil, "which", lambda name: None)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        told = {"roots": "roots.pem", "token": "t", "lifetime": "90s", "server_name": "localhost"}
        self.identity = structureOrRaise(IdentitySettings, told)

    def start(self, engine: Any) -> Any:
        """
        Start the gateway.
        """
        made = engine(gateway("127.9"), 15012, self.identity)
        made.startService()
        return made

    def bootstrap(self) -> Any:
        """
        What it was given.
        """
        return json.loads((self.folder / "ingressgateway.json").read_text())

    def test_process(self) -> None:
        """
        A process of its own is given a bootstrap with its identity.
        """
        self.start(processEngine(self.folder, self.reactor, lambda why: None, "warning"))
        (words,) = self.reactor.commands
        file = str(self.folder / "ingressgateway.json")
        self.assertEqual(words[-7:], ["proxy", "-c", file, "--drain-time-s", "5", "--log-level", "warning"])
        (extension,) = self.bootstrap()["bootstrap_extensions"]
        self.assertEqual(extension["typed_config"]["value"]["token"], "t")

    def test_envoyWithAgent(self) -> None:
        """
        Envoy and its agent are children; the one has its secrets from the socket of the other.
        """
        self.start(envoyEngine("/envoy", self.folder, self.reactor, lambda why: None, ["agent"]))
        self.assertEqual(len(self.reactor.commands), 1)
        socket = str(self.folder / "ingressgateway.sock")
        Path(socket).write_text("")
        self.reactor.advance(1)
        agent, envoy = self.reactor.commands
        self.assertEqual(agent[:3], ["agent", "--address", "127.0.0.1:15012"])
        self.assertEqual(agent[agent.index("--socket") + 1], socket)
        self.assertEqual(agent[agent.index("--lifetime") + 1], "90s")
        self.assertEqual(envoy[:2], ["/envoy", "-c"])
        told = self.bootstrap()
        self.assertEqual(told["node"]["metadata"]["SDS_CLUSTER"], "sds-grpc")
        self.assertIn(socket, json.dumps(told["static_resources"]["clusters"][1]))


class FindTests(SynchronousTestCase):
    """
    Where Envoy is looked for.
    """

    def test_path(self) -> None:
        """
        PATH first.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        program = folder / "envoy"
        program.write_text("")
        program.chmod(0o700)
        self.patch(os, "environ", {"PATH": str(folder)})
        self.assertEqual(findEnvoy(), str(program))

    def test_none(self) -> None:
        """
        There may be none.
        """

        def none(name: str) -> Any:
            raise PackageNotFoundError

        self.patch(shutil, "which", lambda name: None)
        self.patch(engines, "files", none)
        self.assertIsNone(findEnvoy())
