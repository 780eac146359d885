# -*- test-case-name: tests.routing.test_pathindex -*-
"""
Tests for L{meshproxy.routing.pathindex}.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing import pathindex
from meshproxy.routing.pathindex import PathIndex, PathRule


class Rule(NamedTuple):
    """
    A rule of a test: an exact path or a prefix, final or not.
    """

    exact: bool
    key: bytes
    isFinal: bool


def scan(rules: list[Rule], path: bytes) -> list[int]:
    """
    What a look-up must give, found the slow way.
    """
    found = []
    for order, rule in enumerate(rules):
        if path == rule.key if rule.exact else path.startswith(rule.key):
            found.append(order)
            if rule.isFinal:
                break
    return found


def index(rules: Iterable[Rule]) -> PathIndex[int]:
    """
    The index of some rules, each entry its order.
    """
    made: PathIndex[int] = PathIndex()
    for order, rule in enumerate(rules):
        add = made.addExact if rule.exact else made.addPrefix
        add(rule.key, PathRule(order, order, rule.isFinal))
    return made


class PathIndexTests(SynchronousTestCase):
    """
    L{PathIndex} gives what trying every rule in order would leave.
    """

    def test_order(self) -> None:
        """
        Rules of a path and of its prefixes come in their own order, cut behind the first final one.
        """
        rules = [
            Rule(False, b"/a", False),
            Rule(True, b"/a/b", False),
            Rule(False, b"/a/b", True),
            Rule(False, b"/", True),
        ]
        lookup = index(rules).compileLookup()
        self.assertEqual(list(lookup(b"/a/b")), [0, 1, 2])
        self.assertEqual(list(lookup(b"/a/bc")), [0, 2])
        self.assertEqual(list(lookup(b"/ax")), [0, 3])
        self.assertEqual(list(lookup(b"/x")), [3])
        self.assertEqual(list(lookup(b"*")), [])

    def test_asScan(self) -> None:
        """
        Random tables over few characters, so that prefixes nest and miss closely, against the slow way; with all
        merged beforehand and with nothing.
        """
        chance = random.Random(3)
        for limit in (500_000, -1):
            self.patch(pathindex, "MAX_MERGED", limit)
            for _ in range(60):
                rules = [
                    Rule(
                        chance.random() < 0.4,
                        b"/" + bytes(chance.choices(b"ab/", k=chance.randrange(6))) if chance.random() < 0.9 else b"",
                        chance.random() < 0.5,
                    )
                    for _ in range(chance.randrange(25))
                ]
                lookup = index(rules).compileLookup()
                for _ in range(60):
                    path = b"/" + bytes(chance.choices(b"ab/c", k=chance.randrange(8)))
                    self.assertEqual(list(lookup(path)), scan(rules, path), (rules, path))

    def test_deepNestIsClimbedInFewSteps(self) -> None:
        """
        A path that is greater than the deepest of a thousand nested prefixes, and begins with few of them, costs
        some twenty comparisons and not a thousand.
        """
        steps = 0

        class Counted(bytes):
            def startswith(self, *args: object) -> bool:
                nonlocal steps
                steps += 1
                return bytes.startswith(self, *args)  # type: ignore[arg-type]

        rules = [Rule(False, b"/" + b"a" * depth, True) for depth in range(1000, -1, -1)]
        lookup = index(rules).compileLookup()
        for depth in range(0, 1000, 7):
            steps = 0
            self.assertEqual(list(lookup(Counted(b"/" + b"a" * depth + b"b"))), [1000 - depth])
            self.assertLess(steps, 60)

    def test_manyConditionsStayWithinMemory(self) -> None:
        """
        Conditional rules on a short prefix are not copied to each of very many exact paths.
        """
        self.patch(pathindex, "MAX_MERGED", 1000)
        rules = [Rule(False, b"/", False)] * 200 + [Rule(True, b"/%d" % number, True) for number in range(200)]
        made = index(rules)
        lookup = made.compileLookup()
        self.assertLess(made._spent, 1500)
        for number in (0, 150, 199):
            self.assertEqual(list(lookup(b"/%d" % number)), [*range(200), 200 + number])

    def test_sameRuleUnderTwoKeys(self) -> None:
        """
        A rule that stands under a path and under its prefix comes once.
        """
        made: PathIndex[str] = PathIndex()
        made.addExact(b"/a", PathRule(0, "rule", False))
        made.addPrefix(b"/a", PathRule(0, "rule", False))
        self.assertEqual(list(made.compileLookup()(b"/a")), ["rule"])
