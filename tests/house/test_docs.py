"""
The pages under C{docs/} and the files beside README point to what exists.
"""

from __future__ import annotations

import re
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

    if not (ROOT / "docs").is_dir():
        skip = "the pages are not installed with the package"

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
        linked = {
            (page.parent / target).resolve() for page in pages() for target in links(page.read_text()) if target
        }
        lost = [str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md") if page.resolve() not in linked]
        self.assertEqual(lost, [])

    def test_linksAreFound(self) -> None:
        """
        Addresses, anchors and code are no links to files.
        """
        text = "[a](b.md#c) [d](https://e/) [f](#g)\n```\n[h](i.md)\n```\n[j](../k.yaml)"
        self.assertEqual(links(text), ["b.md", "../k.yaml"])
