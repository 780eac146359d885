# -*- test-case-name: tests.config.test_valuematchers -*-
"""
Tests for L{meshproxy.config.valuematchers}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.section import Section
from meshproxy.config.valuematchers import MISSING, compileMetadataMatcher, compileValueMatcher, lookUp


def value(**fields: Any) -> Section:
    """
    A ValueMatcher.
    """
    return Section.of("envoy.type.matcher.v3.ValueMatcher", fields)


class ValueMatcherTests(SynchronousTestCase):
    """
    L{compileValueMatcher} knows the kinds of values apart.
    """

    def test_kinds(self) -> None:
        """
        Each kind of match against each kind of value.
        """
        values = [MISSING, None, True, False, 1, 1.5, 0, "a", "", ["a", 2], [], {"a": 1}]
        for fields, matching in (
            ({"null_match": {}}, [None]),
            ({"bool_match": True}, [True]),
            ({"bool_match": False}, [False]),
            ({"present_match": True}, values[1:]),
            ({"present_match": False}, []),
            ({"double_match": {"exact": 1}}, [1]),
            ({"double_match": {"range": {"start": 0, "end": 1.5}}}, [1, 0]),
            ({"string_match": {"prefix": "a"}}, ["a"]),
            ({"list_match": {"one_of": {"double_match": {"exact": 2}}}}, [["a", 2]]),
            ({"or_match": {"value_matchers": [{"null_match": {}}, {"bool_match": True}]}}, [None, True]),
        ):
            test = compileValueMatcher(value(**fields))
            found = [each for each in values if test(each)]
            self.assertEqual(list(map(repr, found)), list(map(repr, matching)), fields)

    def test_empty(self) -> None:
        """
        A matcher without any kind is refused and matches nothing.
        """
        section = value()
        self.assertFalse(compileValueMatcher(section)(MISSING))
        self.assertEqual(len(section.report.errors), 1)


class MetadataMatcherTests(SynchronousTestCase):
    """
    L{compileMetadataMatcher} finds its value.
    """

    def test_paths(self) -> None:
        """
        Through structures, and no further than they go.
        """
        metadata: dict[str, dict[str, object]] = {"f": {"a": {"b": "v"}, "n": None}}
        self.assertEqual(lookUp(metadata, "f", ("a", "b")), "v")
        self.assertIsNone(lookUp(metadata, "f", ("n",)))
        for name, path in (("g", ("a",)), ("f", ("x",)), ("f", ("a", "b", "c"))):
            self.assertIs(lookUp(metadata, name, path), MISSING)
        self.assertIs(lookUp(None, "f", ("a",)), MISSING)

    def test_invert(self) -> None:
        """
        Inverted, a missing value matches.
        """
        for invert in (False, True):
            section = Section.of(
                "envoy.type.matcher.v3.MetadataMatcher",
                {
                    "filter": "f",
                    "path": [{"key": "a"}],
                    "value": {"string_match": {"exact": "v"}},
                    "invert": invert,
                },
            )
            test = compileMetadataMatcher(section)
            outcomes = [test({"f": {"a": "v"}}), test({"f": {"a": "w"}}), test({}), test(None)]
            self.assertEqual(outcomes, [not invert, invert, invert, invert])
