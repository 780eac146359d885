"""
Tests of L{meshproxy.config.cel.functions}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel.functions import DEFAULTS, Options, compileOptions, hasFunction
from meshproxy.config.section import Section


class FunctionTests(SynchronousTestCase):
    """
    Which functions there are.
    """

    def test_known(self) -> None:
        """
        By name, number of arguments, and whether it is called on something.
        """
        for name, count, isMember in (("size", 1, False), ("size", 0, True), ("_+_", 2, False), ("getDate", 1, True)):
            self.assertIsNone(hasFunction(name, count, isMember, DEFAULTS), name)

    def test_unknown(self) -> None:
        """
        What there is not is told.
        """
        self.assertEqual(hasFunction("size", 2, False, DEFAULTS), "there is no function size() of 2 arguments")
        self.assertEqual(hasFunction("hex", 1, True, DEFAULTS), "there is no method hex() of 1 argument")

    def test_options(self) -> None:
        """
        Some are there where they are asked for, and else their option is named.
        """
        for name, count, isMember, field in (
            ("string", 1, False, "enable_string_conversion"),
            ("lowerAscii", 0, True, "enable_string_functions"),
            ("strings.quote", 1, False, "enable_string_functions"),
        ):
            self.assertIn(field, hasFunction(name, count, isMember, DEFAULTS) or "")
            section = Section.of("envoy.config.core.v3.CelExpressionConfig", {field: True})
            self.assertIsNone(hasFunction(name, count, isMember, compileOptions(section)), name)

    def test_compiled(self) -> None:
        """
        All are off by default.
        """
        self.assertEqual(compileOptions(None), Options(False, False, False))
        section = Section.of("envoy.config.core.v3.CelExpressionConfig", {"enable_string_concat": True})
        self.assertEqual(compileOptions(section), Options(addsStrings=True))
