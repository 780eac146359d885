"""
L{meshproxy.config.matchertree}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.config.cel.library import parse
from meshproxy.config.cel.program import Variable
from meshproxy.config.matchertree import Attributes, MatcherTree, Read, compileMatcherTree
from meshproxy.config.section import Section
from meshproxy.config.supported import supported
from meshproxy.config.valuematchers import MISSING
from meshproxy.errors import ConfigErrors

HEADER = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
STRING = "{'@type': type.googleapis.com/google.protobuf.StringValue, value: %s}"
Data = dict[str, bytes]


def key(name: str) -> str:
    """
    An input: the value of a key.
    """
    return f"input: {{name: i, typed_config: {{'@type': type.googleapis.com/{HEADER}, header_name: {name}}}}}"


def act(name: str) -> str:
    """
    An action.
    """
    return "{action: {name: a, typed_config: %s}}" % (STRING % name)


def is_(name: str, match: str) -> str:
    """
    A predicate.
    """
    return f"{{single_predicate: {{{key(name)}, {match}}}}}"


def compiled(text: str) -> MatcherTree:
    """
    A tree over dictionaries, whose actions are texts.
    """

    def read(section: Section) -> Read:
        name: str = section.get("header_name")
        return lambda data: data.get(name)

    def action(section: Section) -> object:
        held = section.any("typed_config")
        return None if held is None else held.message.value

    section = sectionFromYAML("xds.type.matcher.v3.Matcher", text)
    tree = compileMatcherTree(section, {HEADER: read}, action)
    section.report.raiseIfAny()
    return tree


class ListTests(SynchronousTestCase):
    """
    Lists of conditions.
    """

    def test_first(self) -> None:
        """
        The first that holds decides; none is none.
        """
        tree = compiled(
            "matcher_list: {matchers: ["
            f"{{predicate: {is_('a', 'value_match: {prefix: x}')}, on_match: {act('one')}}},"
            f"{{predicate: {is_('a', 'value_match: {suffix: z}')}, on_match: {act('two')}}}]}}"
        )
        self.assertEqual([tree({"a": each}) for each in (b"xz", b"zz", b"w")], ["one", "two", None])
        self.assertIsNone(tree({}))

    def test_combined(self) -> None:
        """
        Conditions are combined; what is missing does not hold, and its opposite does.
        """
        a, b = is_("a", "value_match: {exact: '1'}"), is_("b", "value_match: {exact: '1'}")
        for kind, expected in (
            (f"{{and_matcher: {{predicate: [{a}, {b}]}}}}", [True, False, False]),
            (f"{{or_matcher: {{predicate: [{a}, {b}]}}}}", [True, True, False]),
            (f"{{not_matcher: {a}}}", [False, False, True]),
        ):
            tree = compiled(f"matcher_list: {{matchers: [{{predicate: {kind}, on_match: {act('x')}}}]}}")
            found = [tree(data) is not None for data in ({"a": b"1", "b": b"1"}, {"a": b"1"}, {})]
            self.assertEqual(found, expected, kind)

    def test_nested(self) -> None:
        """
        A branch that ends nowhere makes way for the next one; C{on_no_match} is last.
        """
        inner = f"{{matcher: {{matcher_tree: {{{key('b')}, exact_match_map: {{map: {{v: {act('inner')}}}}}}}}}}}"
        tree = compiled(
            "matcher_list: {matchers: ["
            f"{{predicate: {is_('a', 'value_match: {exact: x}')}, on_match: {inner}}},"
            f"{{predicate: {is_('a', 'value_match: {contains: x}')}, on_match: {act('next')}}}]}}\n"
            f"on_no_match: {act('last')}"
        )
        datas: list[Data] = [{"a": b"x", "b": b"v"}, {"a": b"x"}, {"a": b"y"}]
        self.assertEqual([tree(data) for data in datas], ["inner", "next", "last"])

    def test_addresses(self) -> None:
        """
        Addresses are matched by their ranges.
        """
        ip = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
        match = (
            f"custom_match: {{name: m, typed_config: {{'@type': type.googleapis.com/{ip}, stat_prefix: s,"
            " cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}"
        )
        tree = compiled(f"matcher_list: {{matchers: [{{predicate: {is_('a', match)}, on_match: {act('x')}}}]}}")
        self.assertEqual([tree({"a": each}) for each in (b"10.1.1.1", b"11.1.1.1", b"\xff")], ["x", None, None])


class TreeTests(SynchronousTestCase):
    """
    Trees by value.
    """

    def test_exact(self) -> None:
        """
        A whole value leads to its branch.
        """
        tree = compiled(
            f"matcher_tree: {{{key('a')}, exact_match_map: {{map: {{x: {act('one')}, y: {act('two')}}}}}}}\n"
            f"on_no_match: {act('none')}"
        )
        self.assertEqual([tree({"a": each}) for each in (b"x", b"y", b"xy")], ["one", "two", "none"])
        self.assertEqual(tree({}), "none")

    def test_prefix(self) -> None:
        """
        The longest prefix leads to its branch; where that ends nowhere, a shorter one does.
        """
        inner = f"{{matcher: {{matcher_tree: {{{key('b')}, exact_match_map: {{map: {{v: {act('deep')}}}}}}}}}}}"
        tree = compiled(f"matcher_tree: {{{key('a')}, prefix_match_map: {{map: {{x: {act('short')}, xyz: {inner}}}}}}}")
        datas: list[Data] = [{"a": b"xyzz", "b": b"v"}, {"a": b"xyzz"}, {"a": b"x"}, {"a": b"y"}, {}]
        self.assertEqual([tree(data) for data in datas], ["deep", "short", "short", None, None])

    def test_empty(self) -> None:
        """
        A tree of nothing is its C{on_no_match}, or nothing.
        """
        self.assertEqual(compiled(f"on_no_match: {act('x')}")({}), "x")
        self.assertIsNone(compiled("{}")({}))


class ValueTests(SynchronousTestCase):
    """
    Conditions on values of metadata.
    """

    NOTED = "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
    VALUE = "envoy.extensions.matching.input_matchers.metadata.v3.Metadata"

    def compile(self, condition: str) -> MatcherTree:
        """
        A list of one condition on what stands in a dictionary.
        """

        def read(section: Section) -> Read:
            name: str = section.get("filter")
            return lambda data: data.get(name, MISSING)

        text = f"matcher_list: {{matchers: [{{predicate: {condition}, on_match: {act('x')}}}]}}"
        section = sectionFromYAML("xds.type.matcher.v3.Matcher", text)
        texts = {HEADER: lambda section: lambda data: b"a"}
        tree = compileMatcherTree(section, {self.NOTED: read, **texts}, lambda section: "found")
        section.report.raiseIfAny()
        return tree

    def noted(self, match: str) -> str:
        """
        A predicate.
        """
        typed = f"{{'@type': type.googleapis.com/{self.NOTED}, filter: notes, path: [{{key: k}}]}}"
        return f"{{single_predicate: {{input: {{name: i, typed_config: {typed}}}, {match}}}}}"

    def value(self, fields: str) -> str:
        """
        What matches a value.
        """
        return f"custom_match: {{name: m, typed_config: {{'@type': type.googleapis.com/{self.VALUE}, {fields}}}}}"

    def test_matched(self) -> None:
        """
        Values are no texts; what is missing matches nothing, and everything where it is inverted.
        """
        datas: list[dict[str, object]] = [{"notes": 7.0}, {"notes": "7"}, {}]
        for fields, wanted in (
            ("value: {double_match: {exact: 7}}", ["found", None, None]),
            ("value: {double_match: {exact: 7}}, invert: true", [None, "found", "found"]),
            ("value: {present_match: true}", ["found", "found", None]),
        ):
            tree = self.compile(self.noted(self.value(fields)))
            self.assertEqual([tree(data) for data in datas], wanted)

    def test_refused(self) -> None:
        """
        A text is not matched as a value, nor a value as a text.
        """
        for condition, why in (
            (self.noted("value_match: {exact: a}"), "is matched by a custom_match of"),
            (is_("a", self.value("value: {present_match: true}")), "the input gives text"),
        ):
            self.assertIn(why, str(self.assertRaises(ConfigErrors, self.compile, condition)))


class RefusalTests(SynchronousTestCase):
    """
    What cannot be compiled.
    """

    def test_unknown(self) -> None:
        """
        An input or matcher that is not known here is told, with those that are.
        """
        other = "input: {name: i, typed_config: %s}" % (STRING % "x")
        predicate = f"{{single_predicate: {{{other}, value_match: {{exact: a}}}}}}"
        custom = is_("a", "custom_match: {name: m, typed_config: %s}" % (STRING % "x"))
        with self.assertRaises(ConfigErrors) as caught:
            compiled(
                f"matcher_list: {{matchers: [{{predicate: {predicate}, on_match: {act('x')}}},"
                f" {{predicate: {custom}, on_match: {act('x')}}}]}}"
            )
        told = str(caught.exception)
        self.assertIn(f"there are {HEADER}", told)
        self.assertIn("not a matcher that is implemented here", told)

    def test_keepMatching(self) -> None:
        """
        What is not implemented is not declared.
        """
        text = f"on_no_match: {{keep_matching: true, action: {{name: a, typed_config: {STRING % 'x'}}}}}"
        section: Any = sectionFromYAML("xds.type.matcher.v3.Matcher", text)
        supported.check(section)
        self.assertIn("keep_matching", str(section.report.errors[0]))


class ExpressionTests(SynchronousTestCase):
    """
    Expressions about what the tree looks at.
    """

    CEL = "xds.type.matcher.v3.CelMatcher"
    INPUT = "xds.type.matcher.v3.HttpAttributesCelMatchInput"

    def compile(self, matcher: dict[str, object], kind: str = CEL, under: str = "matcher_list") -> Section:
        """
        A tree with one expression.
        """
        types = "type.googleapis.com/"
        action = {
            "action": {"name": "a", "typed_config": {"@type": types + "google.protobuf.StringValue", "value": "x"}}
        }
        input = {"name": "i", "typed_config": {"@type": types + self.INPUT}}
        single = {"input": input, "custom_match": {"name": "c", "typed_config": {"@type": types + kind, **matcher}}}
        matchers = [{"predicate": {"single_predicate": single}, "on_match": action}]
        tree = (
            {"matchers": matchers}
            if under == "matcher_list"
            else {"input": input, "exact_match_map": {"map": {"a": action}}}
        )
        section = Section.of("xds.type.matcher.v3.Matcher", {under: tree})

        def find(path: Sequence[str]) -> Variable:
            return Variable(1, lambda data: data[path[0]])

        self.tree = compileMatcherTree(section, {self.INPUT: Attributes(find)}, lambda section: "found")
        return section

    def test_forms(self) -> None:
        """
        In each of the forms that Envoy takes.
        """
        expression = {"expr": MessageToDict(parse("a == 'x'"))}
        for form in ("parsed_expr", "checked_expr", "cel_expr_parsed", "cel_expr_checked"):
            self.compile({"expr_match": {form: expression}}).report.raiseIfAny()
            self.assertEqual([self.tree({"a": "x"}), self.tree({"a": "y"})], ["found", None])

    def test_refused(self) -> None:
        """
        What is none is refused, and holds for nothing.
        """
        ip = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
        for section in (
            self.compile({"expr_match": {}}),
            self.compile({"expr_match": {"cel_expr_parsed": {"expr": {}}}}),
            self.compile({"cidr_ranges": [{"address_prefix": "10.0.0.0"}]}, ip),
        ):
            self.assertEqual(len(section.report.errors), 1)
        self.assertIsNone(self.tree({"a": "x"}))
        self.assertIn("expressions", self.compile({}, under="matcher_tree").report.errors[0].why)
