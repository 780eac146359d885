"""
L{meshproxy.upstream.balancers.base}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.base import choosable
from tests.upstream.support import endpoints


class ChoosableTests(SynchronousTestCase):
    """
    Which endpoints may be chosen.
    """

    def test_panic(self) -> None:
        """
        Fewer healthy ones than the threshold is panic: all may be chosen. Exactly as many is none.
        """
        for healthy, count, isPanic in ((4, 4, False), (2, 2, False), (1, 4, True), (0, 4, True)):
            these = endpoints(1, 1, 1, 1)
            for endpoint in these[healthy:]:
                endpoint.healthy = False
            chosen, panic = choosable(these)
            self.assertEqual((len(chosen), panic), (count, isPanic))

    def test_threshold(self) -> None:
        """
        The threshold is configured; 0 never panics, and may leave nothing.
        """
        these = endpoints(1, 1, 1, 1)
        for endpoint in these[1:]:
            endpoint.healthy = False
        self.assertEqual(choosable(these, 0.25), ((these[0],), False))
        these[0].healthy = False
        self.assertEqual(choosable(these, 0.0), ((), False))

    def test_empty(self) -> None:
        """
        Nothing is nothing, without panic.
        """
        self.assertEqual(choosable([]), ((), False))
