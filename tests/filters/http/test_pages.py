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
from meshproxy.interfaces import IFilterFactory
from tests.filters.http.support import makeContext
from tests.house.source import PACKAGE

PAGES = PACKAGE.parent / "docs" / "filters"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def examples(page: Path, beginning: str = "- name:") -> list[str]:
    """
    The blocks of a page that are lists of HTTP filters, or what routes say to them.
    """
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    return [block for block in blocks if block.startswith(beginning) and "filters.http." in block]


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
        names = {plugin.name.rpartition(".")[2] for plugin in registry.plugins if plugin.kind == "http"}
        self.assertEqual({page.stem for page in PAGES.glob("*.md") if page.stem in names} - tried, set())
        self.assertLessEqual({"fault", "header_mutation", "local_ratelimit", "rbac"}, tried)

    def test_routeExamples(self) -> None:
        """
        What routes say to filters can be copied as well.
        """
        registry = FilterRegistry()
        supported.addResolver(registry.declare)
        tried = 0
        for page in sorted(PAGES.glob("*.md")):
            for example in examples(page, "typed_per_filter_config:"):
                text = "match: {prefix: /}\nnon_forwarding_action: {}\n" + example
                section = sectionFromYAML("envoy.config.route.v3.Route", text, page.name)
                supported.check(section)
                for entry in section.entries("typed_per_filter_config").values():
                    config = entry.unpack()
                    plugin = next(each for each in registry.plugins if config.typeName in _routeTypes(each))
                    filterClass = plugin.load()
                    assert issubclass(filterClass, HTTPFilter)
                    self.assertIsNotNone(filterClass.compileRouteConfig(config, makeContext()))
                    tried += 1
                section.report.raiseIfAny()
        self.assertGreater(tried, 0)


def _routeTypes(plugin: IFilterFactory) -> tuple[str, ...]:
    """
    The messages that a route may have for a filter.
    """
    return (*getattr(plugin, "routeConfigTypes", ()), *plugin.configTypes)
