"""
A client of HTTP/2 that asks for a thousand long responses and lets none of them go, with a service that would send
without end.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.stalls import Stall, hold

# How much of each response is kept beside what all of them share, and what a stream and a connection themselves take.
_EACH = 16384 + 12000
_SHARED = 5 << 20

# With HTTP/2 upstream it is the window of its connection that may come at once: 24 MiB, as in Envoy.
_WINDOW = 24 << 20


class StallTests(SynchronousTestCase):
    """
    What is kept is bounded, the service has to wait, others are served, and the next client costs no more.
    """

    def holds(self, stall: Stall, most: int, rounds: int = 1) -> None:
        """
        @param most: How many bytes may be kept.
        """
        held = hold("meshproxy", stall, rounds)
        self.assertEqual(held.failures, [])
        self.assertGreater(held.served, 0)
        self.assertLess(held.memory[0], most)
        self.assertLess(held.memory[-1], held.memory[0] + (4 << 20))

    def test_stalled(self) -> None:
        """
        An upstream connection for each response: one short read of each. The next client's take the same place.
        """
        self.holds(Stall(), _SHARED + 1000 * _EACH, 2)

    def test_stalledLate(self) -> None:
        """
        The same where the client takes so much of each that its upstream is read in long pieces by then.
        """
        self.holds(Stall(window=200000), _SHARED + 1000 * _EACH)

    def test_stalledHTTP2(self) -> None:
        """
        One upstream connection of HTTP/2 for all.
        """
        self.holds(Stall(isHTTP2=True), _WINDOW + _SHARED + 1000 * _EACH // 2)
