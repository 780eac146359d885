"""
Tests of L{meshproxy.config.cel.library}.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel import library
from meshproxy.config.cel.library import checkPattern, evaluator, isError, parse
from meshproxy.config.cel.syntax import ExpressionError


def evaluate(text: str, **data: Any) -> Any:
    """
    What a text gives.
    """
    return evaluator(parse(text), {})(data)


class LibraryTests(SynchronousTestCase):
    """
    The evaluator, and what Envoy has beyond it.
    """

    def test_parsed(self) -> None:
        """
        What is no expression is told, with where.
        """
        error = self.assertRaises(ExpressionError, parse, "1 +")
        self.assertTrue(str(error).startswith("this is no expression: 1:4: Syntax error"), str(error))

    def test_evaluated(self) -> None:
        """
        A value, or an error that is one.
        """
        value = evaluate("a.b + 1", a={"b": 2})
        self.assertEqual((value.value(), isError(value)), (3, False))
        self.assertTrue(isError(evaluate("a.b", a={})))
        self.assertTrue(isError(evaluate("a")))

    def test_kinds(self) -> None:
        """
        A number is an int where nothing else is said.
        """
        node = parse("a + 1u")
        self.assertTrue(isError(evaluator(node, {})({"a": 1})))
        self.assertEqual(evaluator(node, {"a": "UINT"})({"a": 1}).value(), 2)

    def test_patterns(self) -> None:
        """
        Envoy takes small regular expressions.
        """
        checkPattern("^/a.c")
        self.assertIn("missing )", str(self.assertRaises(ExpressionError, checkPattern, "(")))
        self.assertIn("larger", str(self.assertRaises(ExpressionError, checkPattern, "a{1000}")))

    def test_missing(self) -> None:
        """
        Without the library, the error says what to install.
        """
        caches = (library._library, library._environment)
        for cache in caches:
            cache.cache_clear()
            self.addCleanup(cache.cache_clear)
        self.patch(sys, "modules", {**sys.modules, "cel_expr_python.cel": None})
        error = self.assertRaises(ExpressionError, parse, "1")
        self.assertIn("pip install 'meshproxy[cel]'", str(error))
