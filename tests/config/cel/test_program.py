"""
Tests of L{meshproxy.config.cel.program}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.cel.functions import DEFAULTS, Options
from meshproxy.config.cel.library import isError, parse
from meshproxy.config.cel.program import Variable, compileSection, compileText
from meshproxy.config.cel.syntax import ExpressionError
from meshproxy.config.section import Section
from meshproxy.config.valuematchers import MISSING

Subject = Mapping[str, Any]


def find(path: Sequence[str]) -> Variable:
    """
    C{top.NAME}, and C{fields}, in whose keys case does not matter.
    """
    if path[0] == "fields":
        if len(path) == 1:
            return Variable(1, lambda subject: subject["fields"], foldsKeys=True)
        return Variable(2, lambda subject: subject["fields"].get(path[1].lower(), MISSING))
    if path[0] != "top" or len(path) < 2:
        raise ExpressionError(f"there is no {path[0]}")
    kind = {"count": "UINT"}.get(path[1], "")
    isThere: Callable[[Subject], object] | None = (lambda subject: MISSING) if path[1] == "lost" else None
    return Variable(2, lambda subject: subject.get(path[1], MISSING), kind, isThere)


class ProgramTests(SynchronousTestCase):
    """
    Expressions about dictionaries.
    """

    def value(self, text: str, options: Options = DEFAULTS, /, **subject: Any) -> Any:
        """
        What an expression gives; the text of an error with C{error: } before it.
        """
        value = compileText(text, find, options).value(subject)
        return f"error: {value.value()}" if isError(value) else value.plain_value()

    def assertFails(self, text: str, options: Options = DEFAULTS, /, **subject: Any) -> None:
        """
        The evaluation is an error.
        """
        self.assertTrue(str(self.value(text, options, **subject)).startswith("error: "), text)

    def refused(self, text: str) -> str:
        """
        Why an expression cannot be used.
        """
        return str(self.assertRaises(ExpressionError, compileText, text, find))

    def test_names(self) -> None:
        """
        A name is the value that it stands for, and what is behind it is found in that.
        """
        self.assertEqual(self.value("top.a", a="x"), "x")
        self.assertEqual(self.value("top['a'].b[0].c", a={"b": [{"c": 5}]}), 5)
        self.assertIs(self.value("top.a == 'x' && top.b > 1", a="x", b=2), True)

    def test_missing(self) -> None:
        """
        What is not there is an error, and no error where it does not matter.
        """
        self.assertFails("top.a")
        self.assertFails("top.a == 'x' && true")
        self.assertFails("!(top.a == 'x')")
        self.assertIs(self.value("top.a == 'x' || true"), True)
        self.assertIs(self.value("top.a == 'x' && false"), False)

    def test_has(self) -> None:
        """
        C{has()} asks whether it is there.
        """
        self.assertIs(self.value("has(top.a)", a=1), True)
        self.assertIs(self.value("has(top.a)"), False)
        self.assertIs(self.value("has(top.a.b)", a={}), False)
        self.assertIs(self.value("has(fields.x)", fields={"x": "1"}), True)
        self.assertFails("has(top.a.b)")
        self.assertFails("has(top.lost)", lost=1)

    def test_kinds(self) -> None:
        """
        Values of a type that Python has not.
        """
        self.assertEqual(self.value("top.count + 1u", count=1), 2)

    def test_folding(self) -> None:
        """
        Keys of such maps are sought in lower case, however they are found.
        """
        fields = {"x-a": "1", "x-b": "X-A"}
        for text in ("fields['X-A']", "fields[fields['x-b']]", "fields['x' + '-A']"):
            self.assertEqual(self.value(text, Options(addsStrings=True), fields=fields), "1", text)
        self.assertIs(self.value("'X-A' in fields", fields=fields), True)
        self.assertIs(self.value("fields['x-b'] in fields", fields=fields), True)
        self.assertIs(self.value("'X-C' in fields", fields=fields), False)
        self.assertIs(self.value("1 in fields", fields=fields), False)
        self.assertEqual(self.value("size(fields)", fields=fields), 2)
        self.assertIs(self.value("top.k in top.l", k="A", l=["A"]), True)

    def test_adding(self) -> None:
        """
        Texts are added where that is asked for.
        """
        self.assertFails("top.a + 'b'", a="a")
        self.assertEqual(self.value("top.a + 'b'", Options(addsStrings=True), a="a"), "ab")
        self.assertEqual(self.value("top.a + 1", a=1), 2)
        self.assertFails("top.a + [1]", Options(addsStrings=True), a=[2])

    def test_matching(self) -> None:
        """
        A pattern is checked beforehand.
        """
        self.assertIs(self.value("top.a.matches('^a.c')", a="abcd"), True)
        for text in ("top.a.matches(top.p)", "matches(top.a, top.p)"):
            self.assertIn("to be written out", self.refused(text))
        self.assertIn("invalid regular expression", self.refused("top.a.matches('(')"))

    def test_numbers(self) -> None:
        """
        All that is no text is added, within its limits.
        """
        for text, result in {"1 + 2": 3, "top.a + top.b": 5, "top.c + top.c": 3.0, "1u + 2u": 3}.items():
            for options in (DEFAULTS, Options(addsStrings=True)):
                self.assertEqual(self.value(text, options, a=2, b=3, c=1.5), result, text)
        for text in ("timestamp(1) + duration('1s')", "duration('1s') + timestamp(1)"):
            self.assertIs(self.value(f"{text} == timestamp(2)"), True)
        self.assertIs(self.value("duration('1s') + duration('1s') == duration('2s')"), True)
        for text in ("9223372036854775807 + 1", "top.a + top.b", "1 + 1u", "top.b + top.a", "b'a' + b'b'"):
            self.assertFails(text, a=9223372036854775807, b=1)
        deep = "(top.a + " * 12 + "top.a" + ")" * 12
        self.assertIn("too many sums", self.refused(deep))

    def test_refused(self) -> None:
        """
        What Envoy has not, and what nobody knows.
        """
        self.assertIn("no comprehensions", self.refused("[1].exists(x, x > 1)"))
        self.assertEqual(self.refused("nobody.a"), "there is no nobody")
        self.assertEqual(self.refused("has(nobody.a)"), "there is no nobody")
        self.assertEqual(self.refused("[1, {'a': nobody}]"), "there is no nobody")
        self.assertIn("enable_string_conversion", self.refused("string(top.a)"))
        self.assertIn("no function f() of 1 argument", self.refused("f(top.a)"))
        self.assertIn("re.extract() is not implemented", self.refused("re.extract(top.a, 'a', 'b')"))
        self.assertIn("no method f() of 0 arguments", self.refused("top.a.f()"))

    def test_types(self) -> None:
        """
        Types are values.
        """
        self.assertIs(self.value("type(top.a) == string", a="x"), True)
        self.assertIs(self.value("type(top.a) == int", a="x"), False)

    def test_holds(self) -> None:
        """
        Only what is true holds.
        """
        for text, holds in {"top.a": True, "!top.a": False, "top.b": False, "1": False, "'true'": False}.items():
            self.assertIs(compileText(text, find).holds({"a": True}), holds, text)

    def test_whyNot(self) -> None:
        """
        The part that is false is told, or that fails, or that is no answer.
        """
        program = compileText("top.a == 1 && (top.b == 2 && fields['x'] == 'y') && top.c", find)
        for subject, why in (
            ({"a": 2}, "top.a == 1 is false"),
            ({"a": 1, "b": 3}, "top.b == 2 is false"),
            ({"a": 1, "b": 2, "c": 7, "fields": {"x": "y"}}, "top.c is neither true nor false"),
        ):
            self.assertEqual(program.whyNot({"fields": {}, **subject}), why)
        told = program.whyNot({"a": 1, "b": 2, "fields": {}})
        self.assertTrue(told.startswith('fields["x"] == "y" cannot be evaluated ('), told)
        self.assertIn("fields.x", told)

    def test_sections(self) -> None:
        """
        Expressions as a configuration has them, with the place of a fault.
        """
        section = Section.of("cel.expr.Expr", {"call_expr": {"function": "f"}})
        self.assertIsNone(compileSection(section, find))
        self.assertEqual([error.why for error in section.report.errors], ["there is no function f() of 0 arguments"])
        section = Section.of("google.api.expr.v1alpha1.Expr", {"const_expr": {"bool_value": True}})
        program = compileSection(section, find)
        self.assertIs(program is not None and program.holds({}), True)
        self.assertEqual(program and program.text, "true")
        empty = Section.of("cel.expr.Expr", {"call_expr": {"function": "!_", "args": [{}]}})
        self.assertIsNone(compileSection(empty, find))

    def test_unchanged(self) -> None:
        """
        What is compiled is a copy.
        """
        section = Section.of("cel.expr.Expr", {})
        section.message.CopyFrom(parse("top.a == 1"))
        before = section.message.SerializeToString()
        self.assertIsNotNone(compileSection(section, find))
        self.assertEqual(section.message.SerializeToString(), before)
