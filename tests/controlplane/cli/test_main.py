"""
Tests for L{meshproxy.controlplane.cli.main}: the commands that need no server. The others are in
C{tests.integration.test_meshctl}.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy import __version__
from meshproxy.controlplane.cli.main import main

GOOD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
"""

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 80, name: http}]}
"""


class MainCase(SynchronousTestCase):
    """
    Calls L{main}, as a user does.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def run_(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """
        The exit status, and what was written.
        """
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        self.patch(sys, "stdin", io.StringIO(stdin))
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        return code, out.getvalue(), err.getvalue()

    def file(self, name: str, text: str) -> str:
        """
        A file.
        """
        path = self.folder / name
        path.write_text(text)
        return str(path)


class MainTests(MainCase):
    """
    L{main}.
    """

    def test_version(self) -> None:
        """
        The version.
        """
        self.assertEqual(self.run_("version", "--client"), (0, f"meshctl {__version__}\n", ""))

    def test_usage(self) -> None:
        """
        Wrong usage is 2, and says what is right.
        """
        code, _, err = self.run_("nonsense")
        self.assertEqual((code, "invalid choice: 'nonsense'" in err), (2, True))
        self.assertEqual(self.run_()[0], 2)
        code, out, _ = self.run_("--help")
        self.assertEqual((code, "MESHCTL_SERVER" in out), (0, True))
        for words in (
            ("get", "nothing"),
            ("get", "vs,nothing"),
            ("get", "vs/a", "b"),
            ("get", "vs,dr", "-w"),
            ("get", "vs", "a", "-A"),
            ("get", "vs", "a", "-l", "x=y"),
            ("delete",),
            ("delete", "vs"),
            ("delete", "all"),
            ("analyze", "--applied"),
            ("proxy-config", "clusters"),
        ):
            # The control plane is named before the command or after it.
            self.assertEqual(self.run_("--server", "http://127.0.0.1:1", *words)[0], 2, words)
            self.assertEqual(self.run_(*words, "--server", "http://127.0.0.1:1")[0], 2, words)
        self.assertEqual(self.run_("--server", "nowhere", "get", "vs")[0], 2)
        self.assertEqual(self.run_("--token-file", "/nowhere", "get", "vs")[0], 2)

    def test_validate(self) -> None:
        """
        Good files, folders and standard input are 0; faults are 1, each with its place.
        """
        good = self.file("good.yaml", GOOD)
        self.assertEqual(self.run_("validate", "-f", good), (0, "1 resource, no errors\n", ""))
        self.assertEqual(self.run_("validate", "-f", "-", stdin=GOOD)[0], 0)
        bad = self.file("bad.yaml", GOOD.replace("hosts:", "hots:"))
        code, out, _ = self.run_("validate", "-f", str(self.folder))
        self.assertEqual(code, 1)
        self.assertIn(f"{bad}:5:3  error: VirtualService reviews, spec.hots", out)
        self.assertIn("did you mean hosts?", out)
        code, out, _ = self.run_("validate", "-f", bad, "-o", "json")
        self.assertEqual((code, json.loads(out)[0]["suggestion"]), (1, "hosts"))

    def test_files(self) -> None:
        """
        Files that are not there, or hold nothing for us, are told.
        """
        code, _, err = self.run_("validate", "-f", "/nowhere.yaml")
        self.assertEqual((code, err), (1, "meshctl: /nowhere.yaml: No such file or directory\n"))
        self.assertEqual(self.run_("validate", "-f", str(self.folder))[0], 1)
        (self.folder / "latin.yaml").write_bytes(b"\xff")
        self.assertEqual(self.run_("validate", "-f", str(self.folder))[0], 1)

    def test_analyze(self) -> None:
        """
        What is valid and does not do what it says is told: two resources for one host name each other.
        """
        text = GOOD + "---\n" + GOOD.replace("name: reviews", "name: other") + "---\n" + SERVICE
        code, out, _ = self.run_("analyze", "-f", self.file("two.yaml", text))
        self.assertEqual(code, 0)
        self.assertIn("VirtualService default/reviews", out)
        self.assertIn("VirtualService default/other", out)
        self.assertEqual(self.run_("analyze", "-f", self.file("bad.yaml", "kind: X\n"))[0], 79)
