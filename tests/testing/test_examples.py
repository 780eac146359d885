"""
The examples: their own tests pass, and their bootstraps do what they say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from unittest import TestResult

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from meshproxy.testing import MemoryProxy

ROOT = Path(meshproxy.__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "filters"


class FilterExampleTests(SynchronousTestCase):
    """
    C{examples/filters}.
    """

    if not EXAMPLES.is_dir():
        skip = "only a checkout has examples"

    def setUp(self) -> None:
        before = dict(sys.modules)
        self.patch(sys, "path", [str(EXAMPLES), *sys.path])

        def forget() -> None:
            for name in set(sys.modules) - set(before):
                file = getattr(sys.modules[name], "__file__", None)
                if file and Path(file).parent == EXAMPLES:
                    del sys.modules[name]

        self.addCleanup(forget)

    def test_tests(self) -> None:
        """
        Each example has tests, and they pass.
        """
        filters = {path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith("test_")}
        self.assertGreaterEqual(filters, {"greeter", "tenants", "token_gate"})
        for name in sorted(filters):
            result = TestResult()
            TestLoader().loadByName(f"test_{name}").run(result)
            self.assertGreater(result.testsRun, 0)
            self.assertEqual(result.errors + result.failures, [])

    def proxy(self, name: str) -> MemoryProxy:
        """
        A proxy with an example's bootstrap.
        """
        return MemoryProxy((EXAMPLES / f"{name}.yaml").read_text())

    def test_greeter(self) -> None:
        """
        As its comments say.
        """
        proxy = self.proxy("greeter")
        self.assertEqual(proxy.request("GET", "/").header("x-greeting"), "good morning")
        self.assertEqual(proxy.request("GET", "/inner").header("x-greeting"), "welcome")

    def test_tokenGate(self) -> None:
        """
        As its comments say.
        """
        proxy = self.proxy("token_gate")
        self.assertEqual(proxy.request("GET", "/").status, 403)
        self.assertEqual(proxy.request("GET", "/", {"authorization": "Bearer sesame"}).status, 200)

    def test_pages(self) -> None:
        """
        What the pages show of them is what they are.
        """
        code = "\n".join(path.read_text() for path in sorted(EXAMPLES.glob("*.py")))
        # Of the page itself: no example reads a body.
        pages = {
            "tutorial/write-a-filter.md": 1,
            "tutorial/write-a-cluster-specifier.md": 0,
            "howto/test-a-filter.md": 0,
        }
        for page, own in pages.items():
            blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)
            self.assertTrue(blocks)
            # The examples begin with a docstring, pages do not.
            missing = [block for block in blocks if block not in code]
            self.assertEqual(len(missing), own, missing)
