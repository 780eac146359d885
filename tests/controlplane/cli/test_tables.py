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

    def test_narrow(self) -> None:
        """
        On a terminal that is too narrow the widest of the columns that may are cut, none below its head or a dozen
        characters; a pipe gets all of it.
        """
        head, row = ["N", "CHANGES", "MESSAGE"], ["1", "c" * 30, "m" * 20]
        for width, changes, message in ((80, 30, 20), (50, 23, 20), (40, 16, 17), (10, 12, 12)):
            self.patch(os, "environ", {"TERM": "dumb", "COLUMNS": str(width)})
            stream = _Terminal()
            Printer(stream).table(head, [row], (1, 2))
            cells = stream.getvalue().splitlines()[1].split()
            self.assertEqual([len(cell) for cell in cells], [1, changes, message], width)
            self.assertEqual(cells[1].endswith("\N{HORIZONTAL ELLIPSIS}"), changes < 30)
        pipe = io.StringIO()
        Printer(pipe).table(head, [row], (1, 2))
        self.assertIn("c" * 30, pipe.getvalue())

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
