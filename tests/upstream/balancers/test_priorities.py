"""
L{meshproxy.upstream.balancers.priorities}. The figures are those of Envoy's documentation on priority levels.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.priorities import Health, choosePriority, panicking, reload, spread


def health(healthy: int, degraded: int = 0, total: int = 100) -> Health:
    """
    A priority with so many percent healthy.
    """
    return Health(total, healthy, degraded, total)


class SpreadTests(SynchronousTestCase):
    """
    Loads.
    """

    def test_documented(self) -> None:
        """
        Two and three priorities spill over as documented.
        """
        for percents, expected in (
            ((100, 100), (100, 0)),
            ((72, 72), (100, 0)),
            ((71, 71), (99, 1)),
            ((50, 50), (70, 30)),
            ((25, 100), (35, 65)),
            ((25, 25), (50, 50)),
            ((0, 100), (0, 100)),
            ((100, 100, 100), (100, 0, 0)),
            ((25, 25, 50), (35, 35, 30)),
        ):
            self.assertEqual(spread([health(p) for p in percents]).healthy, expected, percents)

    def test_degraded(self) -> None:
        """
        Degraded endpoints get what healthy ones of all priorities leave.
        """
        loads = spread([health(50, 50), health(0, 100)])
        self.assertEqual((loads.healthy, loads.degraded), ((70, 0), (30, 0)))
        loads = spread([health(0, 100), health(100)])
        self.assertEqual((loads.healthy, loads.degraded), ((0, 100), (0, 0)))

    def test_panic(self) -> None:
        """
        A priority panics by itself, nobody while all together suffice; where all do, their sizes count.
        """
        self.assertEqual(spread([health(20), health(100)]).panic, (False, False))
        self.assertEqual(spread([health(20), health(51)]).panic, (True, False))
        loads = spread([Health(4, 0, 0, 4), Health(2, 0, 0, 2)])
        self.assertEqual((loads.panic, loads.healthy), ((True, True), (67, 33)))

    def test_noPanic(self) -> None:
        """
        A threshold of 0 is never passed.
        """
        loads = spread([health(0)], threshold=0.0)
        self.assertEqual((loads.panic, loads.healthy, loads.degraded), ((False,), (0,), (0,)))
        self.assertFalse(panicking(Health(0, 0, 0, 0), 0.0))

    def test_empty(self) -> None:
        """
        Without any endpoint everything goes to the first priority, where nobody is.
        """
        self.assertEqual(spread([Health(0, 0, 0, 0)]).healthy, (100,))

    def test_factor(self) -> None:
        """
        The overprovisioning factor is configured.
        """
        self.assertEqual(spread([health(50), health(50)], 100).healthy, (50, 50))
        self.assertEqual(spread([health(50), health(50)], 200).healthy, (100, 0))


class ChoosePriorityTests(SynchronousTestCase):
    """
    The draw.
    """

    def test_draw(self) -> None:
        """
        Healthy ones of all priorities come before degraded ones; what is loaded with nothing is never drawn.
        """
        drawn = [choosePriority(number, (50, 0, 20), (0, 30, 0)) for number in (0, 49, 50, 69, 70, 99)]
        self.assertEqual(drawn, [(0, False), (0, False), (2, False), (2, False), (1, True), (1, True)])
        self.assertIsNone(choosePriority(0, (0, 0), (0, 0)))


class ReloadTests(SynchronousTestCase):
    """
    Without those that were tried.
    """

    def test_excluded(self) -> None:
        """
        Their load goes to the others; where none is left, nobody has any.
        """
        available = [(100, 0), (70, 30), (100, 0)]
        self.assertEqual(reload(available, frozenset({0})), ((0, 70, 30), (0, 0, 0)))
        self.assertEqual(reload([(100, 0), (70, 30)], frozenset({0})), ((0, 70), (0, 30)))
        self.assertEqual(reload(available, frozenset({0, 1})), ((0, 0, 100), (0, 0, 0)))
        self.assertIsNone(reload(available, frozenset({0, 1, 2})))

    def test_whole(self) -> None:
        """
        Nothing is lost by rounding.
        """
        found = reload([(10, 5), (7, 3)], frozenset())
        assert found is not None
        self.assertEqual(sum(found[0]) + sum(found[1]), 100)
