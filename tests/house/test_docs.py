"""
The pages under C{docs/} and the files beside README point to what exists.
"""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.house.source import PACKAGE

ROOT = PACKAGE.parent


def pages() -> list[Path]:
    """
    Every Markdown page of the project.
    """
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def links(text: str) -> list[str]:
    """
    The targets of a page's links that are files, without their anchors.
    """
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [target.partition("#")[0] for target in found if not re.match(r"\w+:|#", target)]


class DocumentationTests(SynchronousTestCase):
    """
    Pages that lead somewhere.
    """

    if not (ROOT / ".ci").is_dir():
        skip = "only a checkout has all pages"

    def test_links(self) -> None:
        """
        Each link to a file has one.
        """
        broken = [
            f"{page.relative_to(ROOT)}: {target}"
            for page in pages()
            for target in links(page.read_text())
            if not (page.parent / target).exists()
        ]
        self.assertEqual(broken, [])

    def test_reachable(self) -> None:
        """
        Each page below C{docs/} is linked from another.
        """
        linked = {(page.parent / target).resolve() for page in pages() for target in links(page.read_text()) if target}
        lost = [str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md") if page.resolve() not in linked]
        self.assertEqual(lost, [])

    def test_commands(self) -> None:
        """
        README's commands are where the gate looks for them, and name files that exist.
        """
        spec = spec_from_file_location("readme", ROOT / ".ci" / "readme.py")
        assert spec is not None and spec.loader is not None
        readme = module_from_spec(spec)
        spec.loader.exec_module(readme)
        run, ask, test = readme.command("Run it", 0), readme.command("Run it", 1), readme.command("Test it", 0)
        for file in re.findall(r"-c (\S+)", run):
            self.assertTrue((ROOT / file).is_file(), file)
        self.assertTrue(run.startswith("python3 -m venv .venv && .venv/bin/pip install"), run)
        self.assertTrue(ask.startswith("curl "), ask)
        self.assertIn("trial", test)

    def test_linksAreFound(self) -> None:
        """
        Addresses, anchors and code are no links to files.
        """
        text = "[a](b.md#c) [d](https://e/) [f](#g)\n```\n[h](i.md)\n```\n[j](../k.yaml)"
        self.assertEqual(links(text), ["b.md", "../k.yaml"])
