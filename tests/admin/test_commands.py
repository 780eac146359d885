"""
Tests for L{meshproxy.admin.commands}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.commands import CHOICE, OK, Command, Lazy, Parameter, helpText, jsonResponse


class HelpTests(SynchronousTestCase):
    """
    L{helpText}.
    """

    def test_form(self) -> None:
        """
        The form is Envoy's: methods, parameters, choices.
        """
        commands = [
            Command("/a", "does a", lambda server, request: OK),
            Command("/b", "does b", lambda server, request: OK, True, (Parameter("x", "an x", CHOICE, ("1", "2")),)),
        ]
        self.assertEqual(
            helpText(commands),
            "admin commands are:\n  /a: does a\n  /b (POST): does b\n      x: an x; One of (1, 2)\n",
        )


class JSONTests(SynchronousTestCase):
    """
    L{jsonResponse} and L{Lazy}.
    """

    def test_indent(self) -> None:
        """
        JSON is indented by one space, as Envoy does it, and other letters than ASCII stay.
        """
        response = jsonResponse({"a": ["ü"]})
        self.assertEqual("".join(response.body), '{\n "a": [\n  "ü"\n ]\n}\n')
        self.assertEqual((response.status, response.contentType), (200, "application/json"))

    def test_lazy(self) -> None:
        """
        Items are made when they are written, so that none waits in memory for the last.
        """
        made: list[int] = []

        def items() -> Iterator[object]:
            for number in range(3000):
                made.append(number)
                yield {"number": number}

        pieces = iter(jsonResponse({"all": Lazy(items)}).body)
        first = next(pieces)
        self.assertLess(len(made), 1000)
        self.assertEqual(len(json.loads(first + "".join(pieces))["all"]), 3000)
