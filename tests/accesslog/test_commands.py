"""
Tests for L{meshproxy.accesslog.commands}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import Command, FormatError, parseFormat


class ParseTests(SynchronousTestCase):
    """
    L{parseFormat} takes formats apart as Envoy does.
    """

    def test_parts(self) -> None:
        """
        Text and operators, with and without parameters and length.
        """
        self.assertEqual(
            parseFormat("a %REQ(X?Y):5%%PROTOCOL% %START_TIME(%s.%3f)%"),
            [
                "a ",
                Command("REQ", "X?Y", 5),
                Command("PROTOCOL", None, None),
                " ",
                Command("START_TIME", "%s.%3f", None),
            ],
        )

    def test_percent(self) -> None:
        """
        Two percent signs are one, and no gap between texts.
        """
        self.assertEqual(parseFormat("100%% of %%x"), ["100% of %x"])
        self.assertEqual(parseFormat(""), [])

    def test_faults(self) -> None:
        """
        A percent sign that begins nothing is refused, with its place, as in Envoy.
        """
        for text, place in [
            ("%", 0),
            ("a % b", 2),
            ("%REQ(a", 0),
            ("%req(a)%", 0),
            ("%REQ(a):x%", 0),
            ("ok %A% %B", 7),
        ]:
            error = self.assertRaises(FormatError, parseFormat, text)
            self.assertIn(f"at character {place} ", error.why)

    def test_words(self) -> None:
        """
        Parameters are split; without any there is an error that says how it should look.
        """
        self.assertEqual(Command("M", "a:b", None).words(), ["a", "b"])
        for parameters in (None, ""):
            error = self.assertRaises(FormatError, Command("REQ", parameters, None).words)
            self.assertEqual(error.why, "%REQ% requires parameters: %REQ(...)%")
