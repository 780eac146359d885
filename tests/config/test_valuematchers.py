"""
L{meshproxy.config.valuematchers}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.valuematchers import (
    MISSING,
    compileFilterStateMatcher,
    compileMetadataMatcher,
    compileValueMatcher,
    lookUp,
)
from meshproxy.net.address import Address

VALUES: tuple[object, ...] = (MISSING, None, True, False, 1, 1.0, 2.5, "", "abc", ["abc", 7], {"a": 1})


def matched(text: str) -> list[object]:
    """
    Which of L{VALUES} a C{ValueMatcher} matches.
    """
    test = compileValueMatcher(sectionFromYAML("envoy.type.matcher.v3.ValueMatcher", text))
    return [value for value in VALUES if test(value)]


class ValueMatcherTests(SynchronousTestCase):
    """
    Each pattern looks at values of its kind alone.
    """

    def test_kinds(self) -> None:
        """
        Null is not missing, a boolean is no number, and a number in text is none.
        """
        self.assertEqual(matched("null_match: {}"), [None])
        self.assertEqual([repr(value) for value in matched("bool_match: true")], ["True"])
        self.assertEqual([repr(value) for value in matched("bool_match: false")], ["False"])
        self.assertEqual([repr(value) for value in matched("double_match: {exact: 1}")], ["1", "1.0"])
        self.assertEqual([repr(v) for v in matched("double_match: {range: {start: 1, end: 2.5}}")], ["1", "1.0"])
        self.assertEqual(matched("string_match: {prefix: a}"), ["abc"])
        self.assertEqual(matched("string_match: {exact: ''}"), [""])

    def test_present(self) -> None:
        """
        Whatever is there is present; as in Envoy, C{present_match: false} matches nothing.
        """
        self.assertEqual(matched("present_match: true"), list(VALUES[1:]))
        self.assertEqual(matched("present_match: false"), [])

    def test_compound(self) -> None:
        """
        One item of a list, one of several matchers.
        """
        self.assertEqual(matched("list_match: {one_of: {double_match: {exact: 7}}}"), [["abc", 7]])
        text = "or_match: {value_matchers: [{null_match: {}}, {string_match: {exact: abc}}]}"
        self.assertEqual(matched(text), [None, "abc"])

    def test_refused(self) -> None:
        """
        A matcher without a pattern is refused, and matches nothing.
        """
        section = Section.of("envoy.type.matcher.v3.ValueMatcher", {})
        test = compileValueMatcher(section)
        self.assertEqual((len(section.report.errors), any(map(test, VALUES))), (1, False))


class MetadataMatcherTests(SynchronousTestCase):
    """
    A path into the metadata of a filter.
    """

    def test_path(self) -> None:
        """
        The value at the path is matched; a path that leads nowhere is missing, however it fails.
        """
        metadata: dict[str, dict[str, object]] = {"f": {"a": {"b": "x"}, "c": None}}
        self.assertEqual(lookUp(metadata, "f", ("a", "b")), "x")
        self.assertIsNone(lookUp(metadata, "f", ("c",)))
        for name, path in (("g", ("a",)), ("f", ("a", "z")), ("f", ("a", "b", "c")), ("f", ("c", "d"))):
            self.assertIs(lookUp(metadata, name, path), MISSING, path)
        self.assertIs(lookUp(None, "f", ("a",)), MISSING)

    def test_invert(self) -> None:
        """
        Inverted, it matches what is missing too.
        """
        text = "{filter: f, path: [{key: a}], value: {string_match: {exact: x}}, invert: %s}"
        for invert, expected in (("false", [True, False, False]), ("true", [False, True, True])):
            test = compileMetadataMatcher(sectionFromYAML("envoy.type.matcher.v3.MetadataMatcher", text % invert))
            self.assertEqual([test({"f": {"a": "x"}}), test({"f": {"a": "y"}}), test(None)], expected)


class FilterStateMatcherTests(SynchronousTestCase):
    """
    C{FilterStateMatcher}.
    """

    def compile(self, **fields: object) -> Any:
        """
        A matcher for the key C{k}.
        """
        section = Section.of("envoy.type.matcher.v3.FilterStateMatcher", {"key": "k", **fields})
        test = compileFilterStateMatcher(section)
        section.report.raiseIfAny()
        return test

    def test_text(self) -> None:
        """
        Objects are matched by their text; what is missing matches nothing.
        """
        test = self.compile(string_match={"prefix": "1"})
        for held, expected in (("1x", True), (b"1x", True), (12, True), ("x", False), (None, False)):
            self.assertIs(test({"k": held}), expected, held)
        self.assertFalse(test({}))
        self.assertFalse(test(None))

    def test_addresses(self) -> None:
        """
        An address is matched by its range; text is none.
        """
        ranges = [{"address_prefix": "192.0.2.0", "prefix_len": 24}]
        test = self.compile(address_match={"ranges": ranges})
        held = (Address("192.0.2.7", 1), Address("198.51.100.1", 1), "192.0.2.7", None)
        self.assertEqual([test({"k": each}) for each in held], [True, False, False, False])
        self.assertFalse(test(None))
