"""
Tests for L{meshproxy.controlplane.cli.completion}.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshproxy.controlplane.cli.client import CommandFailed
from meshproxy.controlplane.cli.completion import SCRIPTS, candidates, completion, namesFrom
from meshproxy.controlplane.cli.main import makeParser
from meshproxy.controlplane.cli.tables import Printer


class CandidateTests(SynchronousTestCase):
    """
    L{candidates} tells what a word may become.
    """

    def setUp(self) -> None:
        self.asked: list[tuple[str, Namespace]] = []

    def names(self, what: str, said: Namespace) -> Sequence[str]:
        """
        Names that a control plane would know.
        """
        self.asked.append((what, said))
        return {"name": ["reviews", "ratings"], "proxy": ["sidecar~1"], "namespace": ["default", "prod"]}.get(what, [])

    def told(self, *words: str) -> list[str]:
        """
        What the last word may become.
        """
        return candidates(makeParser(), words, self.names)

    def test_commands(self) -> None:
        """
        Commands, also behind options with values; what is only for shells is not among them.
        """
        self.assertEqual(self.told("proxy-"), ["proxy-config", "proxy-status"])
        self.assertEqual(self.told("--server", "http://x", "di"), ["diff"])
        self.assertEqual(self.told("--server=http://x", "di"), ["diff"])
        self.assertNotIn("complete", self.told(""))
        self.assertEqual(self.told("nonsense", ""), [])

    def test_options(self) -> None:
        """
        The options of a command, and the values that they may have; files are left to the shell.
        """
        self.assertIn("--all-namespaces", self.told("get", "vs", "--"))
        self.assertEqual(self.told("get", "-o", "w"), ["wide"])
        self.assertEqual(self.told("apply", "-f", ""), [])
        self.assertEqual(self.told("get", "vs", "-n", "p"), ["prod"])

    def test_kinds(self) -> None:
        """
        Kinds by all their names.
        """
        self.assertEqual(self.told("get", "virt"), ["virtualservices"])
        self.assertIn("vs", self.told("delete", "v"))

    def test_names(self) -> None:
        """
        Names of the kind and the namespace that were said before; several where several are taken.
        """
        self.assertEqual(self.told("get", "-n", "prod", "vs", "re"), ["reviews"])
        what, said = self.asked[-1]
        self.assertEqual((what, said.kind, said.namespace), ("name", "vs", "prod"))
        self.assertEqual(self.told("delete", "vs", "reviews", "ra"), ["ratings"])
        self.assertEqual(self.told("proxy-config", "clusters", ""), ["sidecar~1"])
        self.assertEqual(self.told("get", "vs", "reviews", ""), ["ratings"])
        self.assertEqual(self.told("get", "vs,dest"), ["vs,destinationrules"])

    def test_hostileNames(self) -> None:
        """
        A name that would be read as something else by a terminal is left out.
        """
        names = lambda what, said: ["fine", "bad\nname", "\x1b[2J"]  # noqa: E731
        self.assertEqual(candidates(makeParser(), ["get", "vs", ""], names), ["fine"])


class _Client:
    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def ask(self, method: str, target: str) -> Any:
        if target not in self.answers:
            raise CommandFailed("nobody listens there")
        return self.answers[target]


class NamesTests(SynchronousTestCase):
    """
    L{namesFrom} asks the control plane.
    """

    def test_asked(self) -> None:
        """
        Each sort of name by its path; nothing where there is no answer, or none of a control plane.
        """
        vs = "/apis/networking.istio.io/v1/namespaces/prod/virtualservices"
        client: Any = _Client(
            {
                vs: {"items": [{"metadata": {"name": "a"}}]},
                "/api/v1/namespaces": {"items": [{"metadata": {"name": "prod"}}]},
                "/v1/proxies": {"proxies": [{"id": "sidecar~1~p.prod~x", "cluster": "c"}]},
                "/v1/history?limit=50": {"nothing": "of this"},
            }
        )
        names = namesFrom(lambda said: client)
        said = Namespace(kind="vs", namespace="prod")
        told = {what: list(names(what, said)) for what in ("name", "namespace", "proxy", "revision", "ttl")}
        proxy = ["p.prod", "p", "c", "sidecar~1~p.prod~x"]
        self.assertEqual(told, {"name": ["a"], "namespace": ["prod"], "proxy": proxy, "revision": [], "ttl": []})
        self.assertEqual(names("name", Namespace(kind="dr")), [])
        self.assertEqual(names("name", Namespace()), [])


class ScriptTests(SynchronousTestCase):
    """
    The scripts are ones of their shells.
    """

    def script(self, shell: str) -> str:
        """
        What C{meshctl completion} prints, read by the shell.
        """
        if shutil.which(shell) is None:
            raise SkipTest(f"{shell} is not installed")
        stream = io.StringIO()
        self.assertEqual(completion(Printer(stream), Namespace(shell=shell)), 0)
        self.assertEqual(stream.getvalue(), SCRIPTS[shell])
        subprocess.run([shell, "-n"], input=stream.getvalue().encode(), check=True, timeout=30)
        return stream.getvalue()

    def test_bash(self) -> None:
        """
        bash completes by what C{meshctl complete} says, told of all words up to the cursor.
        """
        script = self.script("bash") + (
            'meshctl() { printf "%s\\n" "[$*]" two; }\n'
            'COMP_WORDS=(meshctl get vs re); COMP_CWORD=3; _meshctl; printf "%s|" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True, timeout=30)
        # The function splits lines, and so does $* within it.
        self.assertEqual(done.stdout.decode(), "[complete|--|get|vs|re]|two|")

    def test_zsh(self) -> None:
        """
        zsh reads its script.
        """
        self.assertTrue(self.script("zsh").startswith("#compdef meshctl\n"))

    def test_fish(self) -> None:
        """
        fish completes likewise.
        """
        script = self.script("fish") + ('function meshctl; echo "[$argv]"; end\ncomplete -C "meshctl get vs re"')
        done = subprocess.run(["fish", "-N"], input=script.encode(), capture_output=True, timeout=30)
        self.assertIn("[complete -- get vs re]", done.stdout.decode())
