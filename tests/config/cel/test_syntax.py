"""
Tests of L{meshproxy.config.cel.syntax}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel.library import parse
from meshproxy.config.cel.syntax import ExpressionError, Index, constantText, holderOf, nodeOf, partsOf, pathOf
from meshproxy.config.cel.text import textOf
from meshproxy.config.pool import newMessage


class SyntaxTests(SynchronousTestCase):
    """
    Nodes, and the names that lead to a part of something.
    """

    def test_paths(self) -> None:
        """
        Names behind points and in brackets; what is no path has none.
        """
        self.assertEqual(pathOf(parse("request.headers['x'].y")), ["request", "headers", "x", "y"])
        path = pathOf(parse(".a.b['c']")) or []
        self.assertEqual([isinstance(name, Index) for name in path], [False, False, True])
        for text in ("f(a).b", "a[0]", "a[b]", "has(a.b)", "'a'", "a == b", "f(a)['x']"):
            self.assertIsNone(pathOf(parse(text)), text)

    def test_holders(self) -> None:
        """
        Of what a path's last name is a part.
        """
        self.assertEqual(textOf(holderOf(parse("a.b.c"))), "a.b")
        self.assertEqual(textOf(holderOf(parse("a.b['c']"))), "a.b")

    def test_parts(self) -> None:
        """
        All that is right below a node.
        """
        for text, parts in {
            "a.f(b, c)": ["a", "b", "c"],
            "g(x.y).z": ["g(x.y)"],
            "[a, 1]": ["a", "1"],
            "{a: b}": ["a", "b"],
            "google.protobuf.Duration{seconds: n}": ["n"],
            "1": [],
        }.items():
            self.assertEqual([textOf(part) for part in partsOf(parse(text))], parts, text)

    def test_constants(self) -> None:
        """
        Texts are told from all else.
        """
        self.assertEqual(constantText(parse("'a'")), "a")
        self.assertIsNone(constantText(parse("1")))
        self.assertIsNone(constantText(parse("a")))

    def test_older(self) -> None:
        """
        Both packages have the same syntax trees; an empty one is none.
        """
        old = newMessage("google.api.expr.v1alpha1.Expr")
        old.ParseFromString(parse("a.b == 1").SerializeToString())
        self.assertEqual(textOf(nodeOf(old)), "a.b == 1")
        self.assertRaises(ExpressionError, nodeOf, newMessage("cel.expr.Expr"))
