"""
Tests for L{meshproxy.accesslog.inline}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.inline import Inline, compileTemplate
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.accesslog.values import Value


class TemplateTests(SynchronousTestCase):
    """
    L{compileTemplate} writes one function for a whole format.
    """

    def test_both(self) -> None:
        """
        Expressions and functions stand side by side.
        """
        values: list[Value] = [Inline("{a}", a="x"), lambda info: 5, Inline("info.bytesSent", True)]
        format = compileTemplate(["<", "|", "|", ">"], values, str, "-")
        self.assertEqual(format(StreamInfo()), "<x|5|0>")

    def test_sameNames(self) -> None:
        """
        Two expressions may use the same name for different things.
        """
        values: list[Value] = [Inline("{a}", a="x"), Inline("{a}", a="y")]
        self.assertEqual(compileTemplate(["", "", ""], values, str, "-")(StreamInfo()), "xy")

    def test_missing(self) -> None:
        """
        Nothing shows as the text for it.
        """
        values: list[Value] = [Inline("None"), lambda info: None]
        self.assertEqual(compileTemplate(["", ",", ""], values, str, "-")(StreamInfo()), "-,-")

    def test_show(self) -> None:
        """
        Without a text for nothing, each value is shown by the function, but for whole numbers.
        """
        values: list[Value] = [Inline("None"), Inline("{a}", a="x"), lambda info: None, Inline("3", True)]
        format = compileTemplate(["", " ", " ", " ", ""], values, repr, None)
        self.assertEqual(format(StreamInfo()), "None 'x' None 3")

    def test_literals(self) -> None:
        """
        Whatever the text between holds, it is text: braces, quotes, backslashes, line ends, odd bytes.
        """
        for literal in ("{info}", "}{", "'", '"', "\\", "\n", "{{", "%s", "\udcff", "\\N{DASH}", "'''\""):
            format = compileTemplate([literal, literal], [Inline("1", True)], str, "-")
            self.assertEqual(format(StreamInfo()), f"{literal}1{literal}")

    def test_alone(self) -> None:
        """
        An expression can be called by itself.
        """
        self.assertEqual(Inline("requestFirst.get({name})", name=b"x")(StreamInfo()), None)
