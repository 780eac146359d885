"""
Tests for L{meshproxy.controlplane.cli.tables}.
"""

from __future__ import annotations

import io
import os

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.cli.tables import Printer, ago


class _Terminal(io.StringIO):
    """
    A terminal.
    """

    def isatty(self) -> bool:
        """
        It is one.
        """
        return True


class PrinterTests(SynchronousTestCase):
    """
    L{Printer} writes for people and for programs.
    """

    def setUp(self) -> None:
        self.patch(os, "environ", {"TERM": "xterm"})

    def test_table(self) -> None:
        """
        Columns are as wide as they need; a pipe gets no colour and no blanks at the ends.
        """
        stream = io.StringIO()
        Printer(stream).table(["NAME", "STATE"], [["a-long-name", "SYNCED"], ["b", "ERROR"]])
        self.assertEqual(stream.getvalue(), "NAME          STATE\na-long-name   SYNCED\nb             ERROR\n")

    def test_colour(self) -> None:
        """
        A terminal gets colour, unless somebody does not want it.
        """
        cases = (({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False))
        for environment, isColoured in cases:
            self.patch(os, "environ", environment)
            stream = _Terminal()
            Printer(stream).table(["STATE"], [["ERROR"]])
            self.assertEqual("\x1b[31mERROR\x1b[0m" in stream.getvalue(), isColoured, environment)

    def test_hostileNames(self) -> None:
        """
        A name cannot tell the terminal what to do.
        """
        stream = _Terminal()
        printer = Printer(stream)
        printer.line(printer.painted("error", "red") + ": \x1b]0;owned\x07 \x1b[2J")
        printer.table(["NAME"], [["\x1b[2J\r"]])
        printer.diff("+a\x1b[2J")
        self.assertIn("\x1b[31merror\x1b[0m: ?]0;owned? ?[2J", stream.getvalue())
        self.assertNotIn("\x1b[2J", stream.getvalue())

    def test_ago(self) -> None:
        """
        Times in one unit.
        """
        self.assertEqual([ago(seconds, 1_000_000) for seconds in (999_990, 999_000, 990_000, 800_000)], [
            "10s", "16m", "2h", "2d",
        ])  # fmt: skip
        self.assertEqual(ago("2027-01-15T08:00:00Z", 1_800_000_045), "45s")
        self.assertEqual(ago("never", 0), "?")
