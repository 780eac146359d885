"""
L{meshproxy.http.resets}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.resets import PrematureResets


class PrematureResetTests(SynchronousTestCase):
    """
    L{PrematureResets}.
    """

    def test_soon(self) -> None:
        """
        The 250th reset within a second is too much, if there were few other streams.
        """
        resets = PrematureResets()
        self.assertEqual([resets.isTooMuch(number, 0.0, 0.5) for number in range(1, 251)].index(True), 249)

    def test_among(self) -> None:
        """
        Among many that end well, resets are no more than what clients do.
        """
        resets = PrematureResets()
        self.assertFalse(any(resets.isTooMuch(3 * number, 0.0, 0.5) for number in range(1, 2000)))

    def test_late(self) -> None:
        """
        Streams that lived for a second are not counted.
        """
        resets = PrematureResets()
        self.assertFalse(any(resets.isTooMuch(number, 0.0, 1.0) for number in range(1, 2000)))
