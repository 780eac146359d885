# -*- test-case-name: tests.config.test_report -*-
"""
Tests for L{meshproxy.config.report}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.nodes import Place
from meshproxy.config.report import Report
from meshproxy.errors import ConfigError, ConfigErrors


class ReportTests(SynchronousTestCase):
    """
    L{Report} gathers faults.
    """

    def test_nothing(self) -> None:
        """
        Without a fault nothing is raised, warnings or not.
        """
        report = Report()
        report.warn("a", "hardly meant")
        report.raiseIfAny()
        self.assertEqual([str(warning) for warning in report.warnings], ["a: hardly meant"])

    def test_order(self) -> None:
        """
        Faults are told in the order of the texts, whatever order they were found in; those without a place last.
        """
        report = Report()
        report.refuse("b", "second", Place("one", 7, 1))
        report.refuse("x", "other file", Place("two", 1, 1))
        report.refuse("nowhere", "last")
        report.refuse("a", "first", Place("one", 2, 9))
        error = self.assertRaises(ConfigErrors, report.raiseIfAny)
        self.assertEqual([each.why for each in error.errors], ["first", "second", "other file", "last"])

    def test_once(self) -> None:
        """
        The same fault found by two checks is told once.
        """
        report = Report()
        report.refuse("a", "wrong", Place("f", 1, 1))
        report.add(ConfigError("a", "wrong", "f", 1, 1))
        self.assertEqual(len(report.ordered()), 1)

    def test_near(self) -> None:
        """
        Near names end the sentence.
        """
        report = Report()
        report.refuse("a", "'x' is unknown", near=["y"])
        self.assertEqual(report.errors[0].why, "'x' is unknown; did you mean y?")

    def test_spoiled(self) -> None:
        """
        What could not be read casts its shadow on what is within it and one step above, and no further.
        """
        report = Report()
        report.spoil("a.b")
        report.spoil("list[3]")
        for path in ("a.b", "a.b.c", "a.b[0]", "a", "list", "list[3].x"):
            self.assertTrue(report.isSpoiled(path), path)
        for path in ("a.bc", "a.c", "z", "list[4]", ""):
            self.assertFalse(report.isSpoiled(path), path)

    def test_secondPass(self) -> None:
        """
        After faults of the first pass the second tells what does not come of them, and what it stumbles over is none;
        without any, an exception is one.
        """
        report = Report()
        report.endReading()
        with self.assertRaises(KeyError), report.despite():
            raise KeyError
        report.refuse("a.b", "first")
        report.endReading()
        report.refuse("a.b.c", "comes of it")
        report.refuse("a.c", "second")
        with report.despite():
            raise KeyError
        self.assertEqual([error.why for error in report.errors], ["first", "second"])
