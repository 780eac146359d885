# -*- test-case-name: tests.config.test_yamltext -*-
"""
Tests for L{meshproxy.config.yamltext} and L{meshproxy.config.nodes}.
"""

from __future__ import annotations

import math

import yaml
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import yamltext
from meshproxy.config.nodes import Entry, Node, Place, describe, nodeOf, plain
from meshproxy.config.yamltext import parseYAML, parseYAMLDocuments, scalar
from meshproxy.errors import ConfigError, ConfigErrors


class ScalarTests(SynchronousTestCase):
    """
    L{scalar} reads plain scalars as yaml-cpp does, not as PyYAML does.
    """

    def test_booleans(self) -> None:
        """
        The words of YAML 1.1, and single letters too.
        """
        for text in ("true", "True", "TRUE", "yes", "on", "y", "Y"):
            self.assertIs(scalar(text), True, text)
        for text in ("false", "no", "Off", "n"):
            self.assertIs(scalar(text), False, text)
        self.assertEqual(scalar("tRue"), "tRue")

    def test_null(self) -> None:
        """
        Nothing, a tilde and the word.
        """
        for text in ("", "~", "null", "NULL"):
            self.assertIsNone(scalar(text), text)

    def test_integers(self) -> None:
        """
        Decimal, hexadecimal and octal numbers, with signs.
        """
        cases = {
            "0": 0,
            "5": 5,
            "-5": -5,
            "+5": 5,
            "0x10": 16,
            "-0x1F": -31,
            "010": 8,
            "18446744073709551615": 2**64 - 1,
        }
        for text, expected in cases.items():
            found = scalar(text)
            self.assertEqual((found, type(found)), (expected, int), text)

    def test_floats(self) -> None:
        """
        Fractions, exponents, the special values; digits beyond 64 bits are no integer.
        """
        self.assertEqual([scalar(text) for text in ("1.5", ".5", "1e3", "-2.", "5.0")], [1.5, 0.5, 1000.0, -2.0, 5.0])
        # No octal number, but a decimal fraction to yaml-cpp.
        self.assertEqual(scalar("08"), 8.0)
        self.assertEqual([scalar(text) for text in (".inf", "-.INF")], [math.inf, -math.inf])
        nan = scalar(".nan")
        assert isinstance(nan, float)
        self.assertTrue(math.isnan(nan))
        self.assertIsInstance(scalar("9" * 30), float)

    def test_strings(self) -> None:
        """
        Dates, times and what only looks like a number stay strings.
        """
        for text in ("2024-01-01", "12:30:00", "1_000", "1.2.3", "0b1", "-", "+", ".", "1.5s", "-x", "=", "<<"):
            self.assertEqual(scalar(text), text)

    def test_hugeDigits(self) -> None:
        """
        A number of a million digits is no way to keep the reader busy.
        """
        self.assertEqual(scalar("9" * 1_000_000), math.inf)


class ParseTests(SynchronousTestCase):
    """
    L{parseYAML} makes nodes.
    """

    def read(self, text: str) -> object:
        """
        The plain value of a text that gives no warning.
        """
        return plain(parseYAML(text, "f.yaml", self.fail))

    def refusal(self, text: str) -> str:
        """
        Why a text is refused.
        """
        error = self.assertRaises(ConfigErrors, parseYAML, text, "f.yaml")
        self.assertEqual(len(error.errors), 1)
        return str(error)

    def test_values(self) -> None:
        """
        Mappings, lists, quoted and plain scalars, blocks, flow style.
        """
        text = "a: 5\nb: \"5\"\nc: 'true'\nd: |\n  x\n  y\ne: [1, {f: ~}]\n200: ok\n"
        expected = {"a": 5, "b": "5", "c": "true", "d": "x\ny\n", "e": [1, {"f": None}], "200": "ok"}
        self.assertEqual(self.read(text), expected)

    def test_tags(self) -> None:
        """
        The tags of YAML change nothing, as in Envoy, but for C{!}, which makes a string; any other gives a warning.
        """
        self.assertEqual(self.read("a: !!str 5\nb: ! 5\n"), {"a": 5, "b": "5"})
        warnings: list[ConfigError] = []
        self.assertEqual(plain(parseYAML("a: !include x.yaml", "f", warnings.append)), {"a": "x.yaml"})
        self.assertEqual(str(warnings[0]), "f:1:4  the tag !include has no meaning here")

    def test_noMergeKey(self) -> None:
        """
        C{<<} is a key like any other.
        """
        self.assertEqual(self.read("a: &x {b: 1}\nc:\n  <<: *x\n"), {"a": {"b": 1}, "c": {"<<": {"b": 1}}})

    def test_places(self) -> None:
        """
        Keys and values have the places where they begin, from 1.
        """
        node = parseYAML("a:\n  - b:   hello\n", "f.yaml")
        assert isinstance(node.value, dict)
        entry = node.value["a"]
        self.assertEqual(entry.place, Place("f.yaml", 1, 1))
        assert isinstance(entry.node.value, list)
        item = entry.node.value[0]
        assert isinstance(item.value, dict)
        self.assertEqual(item.value["b"].place, Place("f.yaml", 2, 5))
        self.assertEqual(item.value["b"].node.place, Place("f.yaml", 2, 10))

    def test_duplicateKey(self) -> None:
        """
        The last of two equal keys counts, with a warning that tells both lines.
        """
        warnings: list[ConfigError] = []
        self.assertEqual(plain(parseYAML("a: 1\nb: 2\na: 3\n", "f", warnings.append)), {"a": 3, "b": 2})
        self.assertEqual(
            [str(warning) for warning in warnings],
            ["f:3:1  the key 'a' stands on line 1 already; only this one counts"],
        )

    def test_aliases(self) -> None:
        """
        An alias is what its anchor names.
        """
        self.assertEqual(self.read("a: &x [1]\nb: *x\n"), {"a": [1], "b": [1]})

    def test_unknownAlias(self) -> None:
        """
        An alias without an anchor is refused.
        """
        self.assertEqual(self.refusal("a: *x\n"), "f.yaml:1:4  *x is not an anchor of this document")

    def test_aliasOfItself(self) -> None:
        """
        An alias within its own anchor would never end.
        """
        self.assertEqual(self.refusal("a: &x [*x]\n"), "f.yaml:1:8  *x stands within what &x names")

    def test_billionLaughs(self) -> None:
        """
        Aliases of aliases are paid for as if they were written out.
        """
        lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
        self.assertIn("unfolds to more than", self.refusal("\n".join(lines)))

    def test_deepAliases(self) -> None:
        """
        Nor do aliases get round the limit of depth.
        """
        lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 120)]
        self.assertIn("levels", self.refusal("\n".join(lines)))

    def test_depth(self) -> None:
        """
        The limit of depth holds in flow and in block style, and just below it all is well.
        """
        self.assertIn("nests deeper than 100 levels", self.refusal("[" * 100_000))
        self.assertIn("nests deeper than 100 levels", self.refusal("- " * 200 + "x"))
        parseYAML("[" * 100 + "]" * 100)

    def test_size(self) -> None:
        """
        So does the limit of values.
        """
        self.patch(yamltext, "MAX_NODES", 10)
        self.assertIn("more than 10 values", self.refusal("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]"))

    def test_notYAML(self) -> None:
        """
        What the parser refuses has its place and its reason.
        """
        told = self.refusal("a: b: c")
        self.assertTrue(told.startswith("f.yaml:1:5  not YAML: mapping values are not allowed in this context"))
        self.assertTrue(self.refusal("\ta: b").startswith("f.yaml:1:1  not YAML: "))
        self.assertTrue(self.refusal("a: x\nb: \x01").startswith("f.yaml:2:0  not YAML: "))
        self.assertEqual(self.refusal("? [a]\n: b"), "f.yaml:1:3  a key must be a plain word")

    def test_hints(self) -> None:
        """
        Mistakes that many make are told in words of the text: a tab, another indentation, a text without quotes.
        """
        self.assertIn("begins with a tab", self.refusal("a:\n\tb: c"))
        self.assertIn("indented as those around it", self.refusal("a:\n- b\n c: d"))
        for text in ("{a: b[c], d: e}", "[a, b: c: d", "{a: x{y}}"):
            self.assertIn("has no quotes", self.refusal(text), text)
        self.assertTrue(self.refusal("a: @b").endswith("; a text that begins with @ stands in quotes"))
        for text in ("a: [1.2.3.4, 2001:db8::]", "[::1, a]"):
            self.assertIn("an address with '::' stands in quotes", self.refusal(text), text)

    def test_quotes(self) -> None:
        """
        A quote that is missing is told where the other one is, not where the parser stumbles.
        """
        self.assertEqual(self.refusal("a:\n  b: 'c\nd: e"), "f.yaml:2:6  not YAML: this quote is never closed")
        told = self.refusal('a: "b\nc: d\ne: "@type"')
        self.assertTrue(told.startswith("f.yaml:3:5  not YAML: "), told)
        self.assertTrue(told.endswith("; the quote that opens on line 1 closes on line 3 only: is one missing?"), told)
        self.assertNotIn("quote that opens", self.refusal('a: "b\n  c"\nd: "e"\nf: @g'))

    def test_nothing(self) -> None:
        """
        A text without a document is null.
        """
        self.assertIsNone(self.read(""))
        self.assertIsNone(self.read("# only this\n"))

    def test_documents(self) -> None:
        """
        Of several documents the first counts, with a warning; whoever wants all gets all.
        """
        warnings: list[ConfigError] = []
        self.assertEqual(plain(parseYAML("a: 1\n---\nb: 2\n", "f", warnings.append)), {"a": 1})
        self.assertEqual(len(warnings), 1)
        self.assertEqual([plain(node) for node in parseYAMLDocuments("a: 1\n---\nb: 2\n")], [{"a": 1}, {"b": 2}])

    def test_withoutLibyaml(self) -> None:
        """
        PyYAML's own parser, where libyaml is missing, gives the same.
        """
        text = "a: &x [1, \"2\", '3', ! 4, 2024-01-01]\nb: {c: *x, d: yes}\n"
        fast = parseYAML(text, "f")
        self.patch(yamltext, "_LOADER", yaml.SafeLoader)
        slow = parseYAML(text, "f")
        self.assertEqual(repr(slow), repr(fast))
        self.assertEqual(plain(slow), plain(fast))


class NodeTests(SynchronousTestCase):
    """
    Nodes and plain data.
    """

    def test_roundTrip(self) -> None:
        """
        Plain data becomes nodes and comes back.
        """
        data = {"a": [1, 2.5, True, None, {"b": "c"}]}
        self.assertEqual(plain(nodeOf(data)), data)

    def test_nodesStay(self) -> None:
        """
        A node among plain data keeps its place.
        """
        node = Node(5, Place("f", 3, 4))
        outer = nodeOf({"a": node})
        assert isinstance(outer.value, dict)
        self.assertEqual(outer.value["a"], Entry(Place(None, 0, 0), node))

    def test_strangers(self) -> None:
        """
        What no configuration text can hold is refused.
        """
        self.assertRaises(TypeError, nodeOf, {"a": object()})

    def test_describe(self) -> None:
        """
        How errors call what they found.
        """
        self.assertEqual([describe("a"), describe(None)], ["'a'", "null"])
        self.assertEqual([describe(5), describe(1.5)], ["the number 5", "the number 1.5"])
        self.assertEqual(describe(True), "the boolean true")
        self.assertEqual(describe({}), "a mapping")
        self.assertEqual(describe([]), "a list")
        self.assertTrue(describe("x" * 500).endswith("...'"))
