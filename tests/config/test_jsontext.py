# -*- test-case-name: tests.config.test_jsontext -*-
"""
Tests for L{meshproxy.config.jsontext}.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.jsontext import parseJSON
from meshproxy.config.nodes import Place, plain
from meshproxy.errors import ConfigError, ConfigErrors


class JSONTests(SynchronousTestCase):
    """
    L{parseJSON} makes nodes.
    """

    def test_likeTheStandardLibrary(self) -> None:
        """
        What C{json} reads is read alike, types included.
        """
        texts = [
            '{"a": [1, -2, 3.5, 1e3, true, false, null], "b": {}, "c": [], "": "x"}',
            '"\\ud83d\\ude00 \\u00e9 \\n \\/ \\""',
            " [ ] ",
            "0",
            "-0.0",
            '{"big": 18446744073709551615}',
        ]
        for text in texts:
            self.assertEqual(repr(plain(parseJSON(text))), repr(json.loads(text)), text)

    def test_places(self) -> None:
        """
        Keys and values have their places.
        """
        node = parseJSON('{\n  "a": [\n    5]\n}', "f.json")
        assert isinstance(node.value, dict)
        self.assertEqual(node.value["a"].place, Place("f.json", 2, 3))
        assert isinstance(node.value["a"].node.value, list)
        self.assertEqual(node.value["a"].node.value[0].place, Place("f.json", 3, 5))

    def test_faults(self) -> None:
        """
        Each fault has its place and its reason.
        """
        cases = {
            "": "f:1:1  not JSON: a value is missing here",
            '{"a" 1}': "f:1:6  not JSON: a colon is missing here",
            '{"a": 1 "b": 2}': "f:1:9  not JSON: a comma or a closing brace is missing here",
            "{a: 1}": "f:1:2  not JSON: a key in double quotes is missing here",
            "[1 2]": "f:1:4  not JSON: a comma or a closing bracket is missing here",
            "[1,]": "f:1:4  not JSON: a value is missing here",
            '{"a": 1,}': "f:1:9  not JSON: a key in double quotes is missing here",
            "[1": "f:1:3  not JSON: a comma or a closing bracket is missing here",
            "{}\nx": "f:2:1  not JSON: this is behind the end of the document",
            "01": "f:1:2  not JSON: this is behind the end of the document",
            "NaN": "f:1:1  not JSON: a value is missing here",
        }
        for text, expected in cases.items():
            error = self.assertRaises(ConfigErrors, parseJSON, text, "f")
            self.assertEqual(str(error), expected, text)

    def test_badString(self) -> None:
        """
        Control characters, bad escapes and missing quotes.
        """
        for text in ('"a\nb"', '"\\x"', '"abc', '"\\u12"'):
            error = self.assertRaises(ConfigErrors, parseJSON, text, "f")
            self.assertTrue(str(error).startswith("f:1:1  not JSON: this string is not well formed"), text)

    def test_depth(self) -> None:
        """
        Nesting has a limit.
        """
        error = self.assertRaises(ConfigErrors, parseJSON, "[" * 100_000)
        self.assertIn("nests deeper", str(error))

    def test_hugeNumber(self) -> None:
        """
        Digits without end are no integer.
        """
        self.assertEqual(plain(parseJSON("9" * 100_000)), float("inf"))

    def test_duplicateKey(self) -> None:
        """
        The last counts, with a warning.
        """
        warnings: list[ConfigError] = []
        self.assertEqual(plain(parseJSON('{"a": 1,\n"a": 2}', "f", warnings.append)), {"a": 2})
        self.assertEqual(str(warnings[0]), "f:2:1  the key 'a' stands on line 1 already; only this one counts")
