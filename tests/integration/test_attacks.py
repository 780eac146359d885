"""
Clients that attack a running proxy in HTTP/2, each in its own way.

C{tox -e soak} attacks for longer, and measures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.attacks import ATTACKS, Attack
from tests.integration.siege import shared

#: How many times longer than usual each attack is.
FACTOR = int(os.environ.get("MESHPROXY_TEST_ATTACKS", "1"))

# What an attack may cost the proxy in memory, in bytes.
_MEMORY = 20 << 20

# And with time to measure: how long others may wait, and how much CPU it may take, in seconds.
_WAIT = 0.25
_CPU = 1.0


class AttackTests(SynchronousTestCase):
    """
    Each attack is ended, or is cheap; it is counted under Envoy's name; everybody else is served meanwhile; and nothing
    of it is left.
    """

    def withstands(self, attack: Attack) -> None:
        """
        One of them.
        """
        siege = shared()
        outcome = siege.under(attack, FACTOR)
        self.assertTrue(outcome.isAlive)
        self.assertEqual(outcome.failures, [])
        self.assertGreater(outcome.served, 0)
        if attack.ends:
            self.assertEqual(outcome.ended, attack.connections)
            # Who does not read may have been cut off before it could see why.
            self.assertLessEqual(outcome.codes, {attack.code})
            self.assertTrue(outcome.codes or not attack.reads)
        else:
            self.assertEqual((outcome.ended, outcome.codes), (0, set()))
        if attack.resets is not None:
            self.assertIn(attack.resets, outcome.resets)
        if attack.counter:
            self.assertGreaterEqual(outcome.counters.get(attack.counter, 0), attack.connections)
        self.assertLess(outcome.memory, _MEMORY)
        self.assertEqual(siege.leftovers(), {})
        if FACTOR > 1:
            self.assertLess(outcome.longest, _WAIT)
            self.assertLess(outcome.cpu / FACTOR, _CPU)


def _addTests() -> None:
    def testOf(attack: Attack) -> Callable[[Any], None]:
        def test(self: AttackTests) -> None:
            self.withstands(attack)

        test.__doc__ = f"\n        {attack.intent}\n        "
        return test

    for attack in ATTACKS:
        setattr(AttackTests, f"test_{attack.name}", testOf(attack))


_addTests()
