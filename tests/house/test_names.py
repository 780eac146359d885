"""
The names under which the program can be imported and found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from twisted.application.reactors import IReactorInstaller, Reactor
from twisted.application.service import IServiceMaker, ServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from tests.house.source import PACKAGE


class BareNameTests(SynchronousTestCase):
    """
    C{filters} and C{controlplane} are names of other distributions.
    """

    def test_refused(self) -> None:
        """
        Imported under its bare name, as a checkout on C{sys.path} would allow, each says which name is right.
        """
        for name in ("filters", "controlplane"):
            spec = spec_from_file_location(name, PACKAGE / name / "__init__.py")
            assert spec is not None and spec.loader is not None
            with self.assertRaises(ImportError) as caught:
                spec.loader.exec_module(module_from_spec(spec))
            self.assertIn(f"import this package as meshproxy.{name}", str(caught.exception))


class TwistedPluginTests(SynchronousTestCase):
    """
    What C{twistd} and C{trial} find.
    """

    def test_service(self) -> None:
        """
        C{twistd} knows the subcommand C{meshproxy}, made by L{meshproxy.tap}.
        """
        found = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "meshproxy"]
        self.assertEqual([maker.module for maker in found if isinstance(maker, ServiceMaker)], ["meshproxy.tap"])

    def test_reactor(self) -> None:
        """
        C{--reactor=meshproxy} names L{meshproxy.net.reactor}.
        """
        found = [reactor for reactor in getPlugins(IReactorInstaller) if reactor.shortName == "meshproxy"]
        modules = [reactor.moduleName for reactor in found if isinstance(reactor, Reactor)]
        self.assertEqual(modules, ["meshproxy.net.reactor"])

    def test_onlyNames(self) -> None:
        """
        The plugin file, and the module it names for C{twistd}, leave the choice of a reactor open and load
        neither Envoy's messages nor the control plane.
        """
        code = (
            "import sys, twisted.plugins.meshproxy_plugins as plugins\n"
            "before = sorted(name for name in sys.modules if name.startswith('meshproxy'))\n"
            "import meshproxy.tap\n"
            "late = ['twisted.internet.reactor', 'google.protobuf', 'meshproxy.server', 'meshproxy.controlplane']\n"
            "print(before, [name for name in late if name in sys.modules])\n"
        )
        # The path of this process: trial puts the checkout on it, an installation has it anyway.
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, sys.path)])
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": path},
            cwd=Path("/"),
        )
        self.assertEqual((done.stdout, done.stderr), ("[] []\n", ""))
