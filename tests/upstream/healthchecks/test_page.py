"""
The guide to health checks.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import Answer, MemoryProxy

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "health-checks.md"


class PageTests(SynchronousTestCase):
    """
    Its example.
    """

    if not PAGE.exists():
        skip = "only a checkout has all pages"

    def test_example(self) -> None:
        """
        An endpoint that fails its checks gets no requests, and gets them when it passes again.
        """
        blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
        proxy = MemoryProxy(blocks[0])
        self.addCleanup(proxy.stop)
        # The first checks found nobody there.
        proxy.backend("192.0.2.1:80", Answer(body=b"1"))
        second = proxy.backend("192.0.2.2:80", Answer(body=b"2"))
        proxy.advance(20.0)

        def served() -> set[bytes]:
            return {proxy.request("GET", "/").body for _ in range(4)}

        self.assertEqual(served(), {b"1", b"2"})
        second.default = Answer(503)
        proxy.advance(11.0)
        self.assertEqual(served(), {b"1"})
        second.default = Answer(body=b"2")
        proxy.advance(2.0)
        self.assertEqual(served(), {b"1"})
        proxy.advance(2.0)
        self.assertEqual(served(), {b"1", b"2"})
        self.assertEqual(proxy.stat("cluster.servers.health_check.healthy"), 2)
