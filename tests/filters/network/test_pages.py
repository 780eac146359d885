"""
The examples on the pages of the network filters and listener filters.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import MemoryProxy
from tests.filters.network.support import TCP, bootstrapOf, filterOf
from tests.house.source import PACKAGE

PAGES = PACKAGE.parent / "docs" / "filters"


def examples(page: Path, kind: str) -> list[Any]:
    """
    The blocks of a page that are lists of filters of a kind.
    """
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    return [yaml.safe_load(block) for block in blocks if block.startswith("- name:") and f"filters.{kind}." in block]


class ExampleTests(SynchronousTestCase):
    """
    Examples that can be copied.
    """

    if not PAGES.is_dir():
        skip = "the pages are not installed with the package"

    def run_(self, kind: str) -> set[str]:
        """
        Run a proxy with each example.
        """
        tried = set()
        for page in sorted(PAGES.glob("*.md")):
            for example in examples(page, kind):
                if kind == "network":
                    text = bootstrapOf(chains=[{"filters": example}])
                else:
                    text = bootstrapOf(chains=[{"filters": [filterOf("tcp_proxy", TCP)]}], listener_filters=example)
                MemoryProxy(text).server.listeners.stop()
                tried |= {item["name"].rpartition(".")[2] for item in example}
        return tried

    def test_network(self) -> None:
        """
        Each is a chain that a listener takes.
        """
        wanted = {"connection_limit", "direct_response", "echo", "local_ratelimit", "rbac", "sni_cluster"}
        wanted |= {"set_filter_state", "sni_dynamic_forward_proxy", "tcp_proxy"}
        self.assertLessEqual(wanted, self.run_("network"))

    def test_listener(self) -> None:
        """
        Each is a list that a listener takes.
        """
        wanted = {"http_inspector", "local_ratelimit", "proxy_protocol", "tls_inspector"}
        self.assertLessEqual(wanted, self.run_("listener"))
