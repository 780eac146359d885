"""
The variations of the plainest exchange are what they are called.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.variations import VARIATIONS, VariedExchanges, counted


class VariationsTests(SynchronousTestCase):
    """
    L{VARIATIONS}.
    """

    def test_answered(self) -> None:
        """
        Each request has its answer, with the status that is told, again and again on the same connections.
        """
        for variation in VARIATIONS.values():
            folder = Path(self.mktemp())
            folder.mkdir()
            exchanges = VariedExchanges(variation, folder, connections=2)
            before = exchanges.answered
            exchanges.run(3)
            self.assertEqual(exchanges.answered, before + 6)
            exchanges.stop()

    def test_counted(self) -> None:
        """
        Instructions and calls are those of the exchanges.
        """
        opcodes, calls, count = counted(VARIATIONS["plain"], turns=1)
        self.assertEqual(count, 8)
        self.assertGreater(opcodes.total(), 1000 * count)
        (name,) = [code for code in calls if code.co_name == "wholeReceived"]
        self.assertEqual(calls[name], count)
