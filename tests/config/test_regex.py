# -*- test-case-name: tests.config.test_regex -*-
"""
Tests for L{meshproxy.config.regex}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.regex import RegexError, compileRegex, compileSubstitution


class CompileRegexTests(SynchronousTestCase):
    """
    L{compileRegex} speaks RE2 and matches the whole.
    """

    def test_wholeMatch(self) -> None:
        """
        A part that matches is not enough, by either engine.
        """
        for pattern, linear in (("a[0-9]+", True), ("a(0|1|[0-9])+", False)):
            regex = compileRegex(pattern)
            self.assertEqual(regex.isLinear, linear)
            self.assertTrue(regex.fullMatch(b"a17"))
            self.assertFalse(regex.fullMatch(b"a17b"))
            self.assertFalse(regex.fullMatch(b"xa17"))

    def test_capture(self) -> None:
        """
        The groups of a whole match; those that took no part are empty.
        """
        regex = compileRegex("(a+)(b)?")
        self.assertEqual(regex.capture(b"aab"), (b"aa", b"b"))
        self.assertEqual(regex.capture(b"a"), (b"a", b""))
        self.assertIsNone(regex.capture(b"abc"))

    def test_charactersAreBytes(self) -> None:
        """
        As in Envoy, a dot is one byte, and text outside of ASCII matches its UTF-8 bytes.
        """
        for ending in ("", "(x|x)?"):
            self.assertFalse(compileRegex("a.b" + ending).fullMatch("aéb".encode()))
            self.assertTrue(compileRegex("a..b" + ending).fullMatch("aéb".encode()))
            self.assertTrue(compileRegex("a.b" + ending).fullMatch(b"a\xe9b"))
            self.assertTrue(compileRegex("aéb" + ending).fullMatch("aéb".encode()))

    def test_hostileInputIsLinear(self) -> None:
        """
        A pattern that ruins a backtracking matcher is refused to it and answered at once.
        """
        regex = compileRegex("(a+)+b")
        self.assertFalse(regex.isLinear)
        self.assertFalse(regex.fullMatch(b"a" * 50_000))

    def test_refused(self) -> None:
        """
        What RE2 does not know is refused with its words.
        """
        for pattern, words in (("(", "missing \\)"), (r"(a)\1", "invalid escape"), ("(?=a)", "invalid perl operator")):
            fault = self.assertRaises(RegexError, compileRegex, pattern)
            self.assertRegex(str(fault), words)
        self.assertRaises(RegexError, compileRegex, "a" * 40_000)


class CompileSubstitutionTests(SynchronousTestCase):
    """
    L{compileSubstitution} is RE2's GlobalReplace.
    """

    def test_groups(self) -> None:
        """
        Groups by number, the whole as zero, a doubled backslash as one; a group that took no part is empty.
        """
        self.assertEqual(compileSubstitution("^/a/([^/]+)(/.*)?$", r"\2/x/\1")(b"/a/b"), b"/x/b")
        self.assertEqual(compileSubstitution("^/a/([^/]+)(/.*)?$", r"\2/x/\1")(b"/a/b/c"), b"/c/x/b")
        self.assertEqual(compileSubstitution("b", r"[\0]\\")(b"abcb"), rb"a[b]\c[b]" + b"\\")

    def test_everyMatch(self) -> None:
        """
        Every match is replaced; without one the input stays.
        """
        self.assertEqual(compileSubstitution("//+", "/")(b"/a//b///c"), b"/a/b/c")
        self.assertEqual(compileSubstitution("x", "y")(b"/a"), b"/a")

    def test_emptyMatches(self) -> None:
        """
        An empty match right behind a match does not count, as in RE2.
        """
        self.assertEqual(compileSubstitution("x*", "Y")(b"axb"), b"YaYbY")

    def test_refused(self) -> None:
        """
        A group that is not there, and a backslash that says nothing.
        """
        for substitution in (r"\1", r"\q", "a\\"):
            self.assertRaises(RegexError, compileSubstitution, "a", substitution)
