# -*- test-case-name: tests.config.test_structs -*-
"""
Tests for L{meshproxy.config.structs}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.nodes import Place
from meshproxy.config.structs import structNode, structValue


class StructTests(SynchronousTestCase):
    """
    Free-form data comes back as it was.
    """

    def test_values(self) -> None:
        """
        Every kind of value; whole numbers are integers again, as far as a double holds them exactly.
        """
        data = {"a": [1, 2.5, "x", True, None, {"b.c": []}], "big": 1e300, "edge": 2**53}
        found = structValue(Section.of("google.protobuf.Struct", data))
        self.assertEqual(found, data)
        assert isinstance(found, dict)
        self.assertEqual([type(found[key]) for key in ("big", "edge")], [float, int])
        self.assertIs(type(found["a"][0]), int)

    def test_places(self) -> None:
        """
        Each value knows where it stood.
        """
        text = "type_url: x\nvalue:\n  a:\n  - b\n  'c d': 1\n"
        node = structNode(sectionFromYAML("xds.type.v3.TypedStruct", text, "f"))
        assert isinstance(node.value, dict)
        self.assertEqual(node.value["a"].place, Place("f", 3, 3))
        self.assertEqual(node.value["c d"].node.place, Place("f", 5, 10))

    def test_kinds(self) -> None:
        """
        Lists and single values; an absent value of a TypedStruct is empty.
        """
        self.assertEqual(structValue(Section.of("google.protobuf.ListValue", [1, "a"])), [1, "a"])
        self.assertEqual(structValue(Section.of("google.protobuf.Value", None)), None)
        self.assertEqual(structValue(Section.of("xds.type.v3.TypedStruct", {"type_url": "x"})), {})

    def test_infinity(self) -> None:
        """
        What is no whole number at all stays a float.
        """
        self.assertEqual(structValue(Section.of("google.protobuf.Value", float("inf"))), float("inf"))

    def test_otherMessage(self) -> None:
        """
        Other messages are no free-form data.
        """
        self.assertRaises(TypeError, structNode, Section.of("envoy.config.core.v3.Node", {}))
