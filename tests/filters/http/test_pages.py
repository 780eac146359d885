"""
The examples on the pages of the HTTP filters.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.config.registry import FilterRegistry
from meshproxy.config.supported import supported
from meshproxy.http.filter import HTTPFilter
from tests.filters.http.support import makeContext
from tests.house.source import PACKAGE

PAGES = PACKAGE.parent / "docs" / "filters"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def examples(page: Path) -> list[str]:
    """
    The blocks of a page that are lists of HTTP filters.
    """
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    return [block for block in blocks if block.startswith("- name:") and "filters.http." in block]


class ExampleTests(SynchronousTestCase):
    """
    Examples that can be copied.
    """

    if not PAGES.is_dir():
        skip = "the pages are not installed with the package"

    def test_examples(self) -> None:
        """
        Each is a configuration that its filter takes, with no field that is not implemented.
        """
        registry = FilterRegistry()
        supported.addResolver(registry.declare)
        tried = set()
        for page in sorted(PAGES.glob("*.md")):
            for example in examples(page):
                filters = "\n".join(f"  {line}" for line in example.splitlines())
                section = sectionFromYAML(
                    MANAGER, f"stat_prefix: s\nroute_config: {{}}\nhttp_filters:\n{filters}", page.name
                )
                supported.check(section)
                for item in section.children("http_filters"):
                    found = registry.find("http", item)
                    assert found is not None and issubclass(found.filterClass, HTTPFilter)
                    found.filterClass(found.filterClass.compileConfig(found.config, makeContext()), makeContext())
                    tried.add(found.plugin.name.rpartition(".")[2])
                section.report.raiseIfAny()
        self.assertLessEqual({"fault", "header_mutation", "local_ratelimit", "rbac"}, tried)
