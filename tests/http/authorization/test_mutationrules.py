"""
Tests for L{meshproxy.http.authorization.mutationrules}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.http.authorization.checks import Checked, InvalidAnswer
from meshproxy.http.authorization.mutationrules import ANY_MUTATION, MutationRules, compileMutationRules

_NAMES = (b"x-a", b"x-b", b"host", b":method", b":path", b"x-envoy-a")


def rules(**fields: Any) -> MutationRules:
    """
    Some rules.
    """
    section = Section.of("envoy.config.common.mutation_rules.v3.HeaderMutationRules", fields)
    made = compileMutationRules(section)
    section.report.raiseIfAny()
    return made


class RulesTests(SynchronousTestCase):
    """
    L{compileMutationRules}, and answers under them.
    """

    def test_allowed(self) -> None:
        """
        What may be changed.
        """
        for fields, expected in (
            ({}, (b"x-a", b"x-b", b":path")),
            ({"allow_all_routing": True}, (b"x-a", b"x-b", b"host", b":method", b":path")),
            ({"allow_envoy": True}, (b"x-a", b"x-b", b":path", b"x-envoy-a")),
            ({"disallow_system": True, "allow_all_routing": True}, (b"x-a", b"x-b", b"host")),
            ({"disallow_all": True}, ()),
            (
                {"disallow_all": True, "allow_expression": {"regex": "x-.*|host"}},
                (b"x-a", b"x-b", b"host", b"x-envoy-a"),
            ),
            (
                {"allow_expression": {"regex": ".*a"}, "disallow_expression": {"regex": "x-a|:.*"}},
                (b"x-b", b"x-envoy-a"),
            ),
        ):
            allows = rules(**fields).allows
            self.assertEqual(tuple(name for name in _NAMES if allows(name)), expected, fields)
        self.assertIs(compileMutationRules(None), ANY_MUTATION)

    def test_ruled(self) -> None:
        """
        What may not be changed stays as it is, or makes the answer one that cannot be; pseudo-header fields get nothing
        added.
        """
        checked = Checked(
            True,
            sets=[(b"x-a", b"1"), (b"host", b"b")],
            appends=[(b":path", b"/"), (b"x-b", b"2")],
            removes=[b"x-envoy-a", b"x-a"],
        )
        self.assertIs(checked.ruled(ANY_MUTATION), checked)
        left = checked.ruled(rules())
        self.assertEqual((left.sets, left.appends, left.removes), ([(b"x-a", b"1")], [(b"x-b", b"2")], [b"x-a"]))
        strict = rules(disallow_is_error=True)
        self.assertRaises(InvalidAnswer, checked.ruled, strict)
        for wrong in ({"sets": [(b"host", b"b")]}, {"appends": [(b":path", b"/")]}, {"removes": [b"x-envoy-a"]}):
            self.assertRaises(InvalidAnswer, Checked(True, **wrong).ruled, strict)
        fine = Checked(True, sets=[(b"x-a", b"1")])
        self.assertEqual(fine.ruled(strict).sets, fine.sets)

    def test_wrongExpression(self) -> None:
        """
        An expression that is none is refused at its place.
        """
        section = Section.of(
            "envoy.config.common.mutation_rules.v3.HeaderMutationRules", {"allow_expression": {"regex": "("}}
        )
        self.assertFalse(compileMutationRules(section).allows(b"host"))
        self.assertEqual([fault.path for fault in section.report.errors], ["allow_expression.regex"])
