# -*- test-case-name: tests.config.test_linear -*-
"""
Tests for L{meshproxy.config.linear}.
"""

from __future__ import annotations

import random
import re

import re2
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.linear import proveLinear

PROVEN = [
    "/api/v[0-9]+/users/[^/]+",
    ".*",
    "/foo/.*",
    r".*\.html",
    "^/a(/.*)?$",
    "(GET|POST)",
    "user|users|usage",
    "(a|b)*c",
    "[^/]+/[^/]+",
    r"/product/\d{1,5}",
    "a{2,4}b",
    "a{3,}b",
    "a{2}",
    "/(en|de|en-us)/.*",
    "a|b|",
    r"\w+@\w+\.com",
    "(foo|bar)+",
    r"^\d+$",
    "http://.*",
    r"[\w.-]+",
    "(a*b)*c",
    "",
    "a?b?c?",
]

UNPROVEN = [
    "(a*)*",
    "(a+)+b",
    "((ab)*)+c",
    "(a{1,2})*b",
    "(ba*)*a",
    "(b(a+)+)*c",
    "(a|a)*",
    "(a|ab)(c|bcd)",
    "x*x*y",
    "[a-z]*.*",
    ".*foo.*",
    "/v1/.*/x/.*",
    "(.*)(.*)(.*)x",
    "(a?){30}a{30}",
    "(ab)*a",
    ".*[ab]*c",
]

OUTSIDE = [
    "[[:alpha:]]+",
    "a**",
    "a*?",
    "^a|b$",
    r"\pN+",
    r"\bfoo\b",
    "(?i)foo",
    "(?P<name>a)",
    "a{2,1}",
    "é",
    r"\x41",
    r"\Qa\E",
    "a(b",
    "a)",
    "[a",
    "[]a]",
    "a$b",
    "{",
    "(" * 40 + ")" * 40,
    "a{999}",
]


class ProveLinearTests(SynchronousTestCase):
    """
    L{proveLinear} accepts what cannot backtrack, and only that.
    """

    def test_proven(self) -> None:
        """
        The patterns that configurations are full of are proven.
        """
        for pattern in PROVEN:
            self.assertIsNotNone(proveLinear(pattern), pattern)

    def test_ambiguous(self) -> None:
        """
        Patterns with two ways to match the same bytes are not.
        """
        for pattern in UNPROVEN:
            self.assertIsNone(proveLinear(pattern), pattern)

    def test_outsideOfTheSubset(self) -> None:
        """
        Syntax that the prover does not know is left to RE2, right or wrong.
        """
        for pattern in OUTSIDE:
            self.assertIsNone(proveLinear(pattern), pattern)

    def test_sameLanguageAsRE2(self) -> None:
        """
        What is written anew matches exactly what RE2 matches with the original, on every short input over an
        alphabet that holds the characters of the patterns, line feeds and bytes outside of ASCII.
        """
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        chance = random.Random(7)
        alphabet = [b"a", b"b", b"c", b"/", b".", b"\n", b"\xe9", b"1", b"\x0b", b"_", b"]"]
        whole = [b"/api/v1/users/x", b"user", b"users", b"usage", b"GET", b"/a", b"/a/", b"/en-us/x", b"x.html", b"aab"]
        for pattern in PROVEN:
            proven = proveLinear(pattern)
            assert proven is not None
            quick, right = re.compile(proven), re2.compile(pattern.encode(), options)
            subjects = [b"".join(chance.choices(alphabet, k=chance.randrange(7))) for _ in range(300)]
            for subject in [*subjects, *whole, *(each + b"\n" for each in whole)]:
                self.assertEqual(
                    quick.fullmatch(subject) is not None,
                    right.fullmatch(subject) is not None,
                    f"{pattern!r} on {subject!r}",
                )

    def test_randomPatterns(self) -> None:
        """
        Of random patterns over few letters, which collide often, those proven answer as RE2 does and take few steps
        on the inputs that hurt backtracking matchers.
        """
        chance = random.Random(11)
        pieces = ["a", "b", "[ab]", ".", "(a|b)", "(ab|a)", "(a|)", "c", "[^a]", "(ab)"]
        signs = ["", "", "*", "+", "?", "{1,3}"]
        options = re2.Options()
        options.log_errors = False
        proofs = 0
        for _ in range(600):
            pattern = "".join(chance.choice(pieces) + chance.choice(signs) for _ in range(chance.randrange(1, 6)))
            proven = proveLinear(pattern)
            if proven is None:
                continue
            proofs += 1
            quick, right = re.compile(proven), re2.compile(pattern.encode(), options)
            for subject in (b"a" * 5000, b"ab" * 2500, b"a" * 2000 + b"c", b"abc", b"ab", b"", b"aab", b"b" * 3000):
                self.assertEqual(
                    quick.fullmatch(subject) is not None, right.fullmatch(subject) is not None, f"{pattern!r}"
                )
        self.assertGreater(proofs, 100)
