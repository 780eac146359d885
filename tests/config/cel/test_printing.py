"""
Tests of L{meshproxy.config.cel.printing}.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel.printing import main, treeOf
from meshproxy.config.section import Section
from meshproxy.http.authorization.policies import compilePolicies
from tests.filters.http.support import FakeStream

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "expressions.md"


class PrintingTests(SynchronousTestCase):
    """
    Trees of expressions.
    """

    def printed(self, *arguments: str) -> tuple[int, str, str]:
        """
        The exit status, and what is printed.
        """
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        return main(arguments), out.getvalue(), err.getvalue()

    def test_printed(self) -> None:
        """
        What is printed is YAML, without what only numbers the parts.
        """
        status, text, _ = self.printed("{'a': -1}")
        self.assertEqual(status, 0)
        entry = {"map_key": {"const_expr": {"string_value": "a"}}, "value": {"const_expr": {"int64_value": "-1"}}}
        self.assertEqual(yaml.safe_load(text), {"struct_expr": {"entries": [entry]}})

    def test_faults(self) -> None:
        """
        What is wrong is told.
        """
        status, text, error = self.printed("1 +")
        self.assertEqual((status, text), (1, ""))
        self.assertIn("this is no expression", error)
        self.assertEqual(self.printed()[0], 2)

    def test_page(self) -> None:
        """
        The example of the page is what its expression is, and does what it says.
        """
        if not PAGE.exists():
            self.skipTest("only a checkout has all pages")
        text = PAGE.read_text()
        (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
        (expression,) = re.findall(r"^python -m meshproxy.config.cel '(.*)'$", text, re.M)
        policies = yaml.safe_load(example)
        self.assertEqual(policies["policies"]["own"]["condition"], treeOf(expression))
        section = Section.of("envoy.config.rbac.v3.RBAC", policies)
        made = compilePolicies(section)
        section.report.raiseIfAny()
        for user, owner, allowed in ((b"a", b"a", True), (b"a", b"b", False)):
            stream = FakeStream([(b"x-user", user), (b"x-owner", owner)])
            self.assertIs(made.check(stream, stream.requestHeaders).allowed, allowed)
