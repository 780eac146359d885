"""
Tests for L{meshproxy.controlplane.snapshot.conversion}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.snapshot import conversion
from meshproxy.controlplane.snapshot.conversion import Converter
from meshproxy.controlplane.translate.messages import CLUSTER, messageOf
from meshproxy.controlplane.translate.translation import Translation


class ConverterTests(SynchronousTestCase):
    """
    L{Converter} converts each content once.
    """

    def test_remembered(self) -> None:
        """
        The same content is converted once, whoever it is for; other content anew.
        """
        made: list[str] = []

        def noted(typeName: str, value: Any) -> Any:
            made.append(typeName)
            return messageOf(typeName, value)

        self.patch(conversion, "messageOf", noted)
        converter = Converter()
        first = converter.convert(CLUSTER, {"a": {"name": "a"}})
        second = converter.convert(CLUSTER, {"a": {"name": "a"}, "b": {"name": "b"}})
        self.assertIs(first["a"], second["a"])
        self.assertNotEqual(second["a"], second["b"])
        self.assertEqual(len(made), 2)

    def test_bounded(self) -> None:
        """
        What nobody asks for any more is forgotten.
        """
        self.patch(conversion, "_MOST", 10 * conversion._ENTRY)
        converter = Converter()
        kept = converter.convert(CLUSTER, {"kept": {"name": "kept"}})["kept"]
        for number in range(100):
            converter.convert(CLUSTER, {"x": {"name": str(number)}})
            self.assertIs(converter.convert(CLUSTER, {"kept": {"name": "kept"}})["kept"], kept)
        self.assertTrue(len(converter._known) + len(converter._older) <= 21)

    def test_shared(self) -> None:
        """
        A snapshot shares with the one before what did not change.
        """
        converter = Converter()
        before = converter.snapshot(Translation(clusters={"a": {"name": "a"}}))
        same = converter.snapshot(Translation(clusters={"a": {"name": "a"}}), before)
        url = "type.googleapis.com/" + CLUSTER
        self.assertIs(same.ofType(url), before.ofType(url))
