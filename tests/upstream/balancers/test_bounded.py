"""
L{meshproxy.upstream.balancers.bounded}.
"""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.bounded import MOST_PROBES, BoundedLoad, jumps
from meshproxy.upstream.balancers.hashing import Ring
from meshproxy.upstream.endpoint import Endpoint
from tests.upstream.balancers.support import endpoint, numbers


class First:
    """
    A table that knows one endpoint.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def choose(self, key: int, attempt: int) -> Endpoint:
        """
        That one.
        """
        return self._endpoint


class JumpsTests(SynchronousTestCase):
    """
    L{jumps}.
    """

    def test_twister(self) -> None:
        """
        The numbers are those of std::mt19937: with its default seed, 5489, the first ones are known.
        """
        # Of 2 ** 32 places each number of the generator is one itself.
        drawn = jumps(5489, 1 << 32)
        self.assertEqual(next(drawn), 3499211612)

    def test_each(self) -> None:
        """
        Each number once, in an order that belongs to the key; of a key the lower half counts.
        """
        for count in (1, 2, 7, 100):
            self.assertEqual(sorted(jumps(1, count)), list(range(count)))
        self.assertEqual(list(jumps(1, 50)), list(jumps(1 + (1 << 32), 50)))
        self.assertNotEqual(list(jumps(1, 50)), list(jumps(2, 50)))

    def test_spread(self) -> None:
        """
        Keys that are alike differ in what comes first.
        """
        firsts = Counter(next(jumps(key, 4)) for key in range(400))
        self.assertTrue(all(60 < firsts[number] < 140 for number in range(4)), firsts)

    def test_bounded(self) -> None:
        """
        Of many no more than so many.
        """
        self.assertEqual(len(list(jumps(3, 1_000_000))), MOST_PROBES)


class BoundedLoadTests(SynchronousTestCase):
    """
    L{BoundedLoad}.
    """

    def setUp(self) -> None:
        self.endpoints = [endpoint(number) for number in (1, 2, 3, 4)]
        self.active = 0

    def make(self, factor: int, weights: tuple[float, ...] = (0.25,) * 4) -> BoundedLoad:
        """
        Before a table that would always choose the first.
        """
        weighted = list(zip(self.endpoints, weights, strict=True))
        return BoundedLoad(First(self.endpoints[0]), weighted, factor, lambda: self.active)

    def load(self, *active: int) -> None:
        """
        So many requests are under way.
        """
        for each, count in zip(self.endpoints, active, strict=True):
            each.active = count
        self.active = sum(active)

    def test_room(self) -> None:
        """
        An endpoint is taken as long as it has not more than its share: of 8 requests and this one, times 1.5, a quarter
        is 4.
        """
        table = self.make(150)
        for mine, taken in ((4, True), (5, False)):
            self.load(mine, 8 - mine, 0, 0)
            self.assertIs(table.choose(7, 0) is self.endpoints[0], taken, mine)

    def test_next(self) -> None:
        """
        Another one is always the same for a key, and one that has room.
        """
        table = self.make(150)
        self.load(8, 0, 0, 0)
        keys = range(50)
        chosen = [table.choose(key, 0) for key in keys]
        self.assertEqual(chosen, [table.choose(key, 0) for key in keys])
        self.assertEqual(set(numbers(chosen)), {2, 3, 4})
        table = self.make(100)
        self.load(8, 8, 0, 8)
        self.assertEqual({numbers([table.choose(key, 0)])[0] for key in keys}, {3})

    def test_weights(self) -> None:
        """
        One of a greater weight has a greater share; everybody has one request.
        """
        table = self.make(100, (0.7, 0.1, 0.1, 0.1))
        self.load(7, 1, 1, 1)
        self.assertIs(table.choose(1, 0), self.endpoints[0])
        self.load(10, 1, 0, 0)
        self.assertIsNot(table.choose(1, 0), self.endpoints[0])

    def test_allFull(self) -> None:
        """
        Where what is counted of the cluster is behind, and all seem full, the least of them is taken.
        """
        table = self.make(100)
        self.load(9, 5, 4, 6)
        self.active = 4
        self.assertIs(table.choose(1, 0), self.endpoints[2])

    def test_idle(self) -> None:
        """
        Where there are no requests, as in a cluster for TCP alone, nothing is passed over.
        """
        table = self.make(100)
        self.load(9, 0, 0, 0)
        self.active = 0
        self.assertIs(table.choose(1, 0), self.endpoints[0])

    def test_bound(self) -> None:
        """
        However alike the requests are, nobody has more than the factor allows, and a request that may stay stays.
        """
        random = Random(4)
        weighted = [(each, 0.25) for each in self.endpoints]
        ring = Ring(weighted)
        table = BoundedLoad(ring, weighted, 125, lambda: self.active)
        for _ in range(400):
            key = int(random.random() ** 8 * (1 << 64))
            chosen = table.choose(key, 0)
            slots = ceil((self.active + 1) * 1.25)
            bound = ceil(slots / 4)
            if ring.choose(key, 0).active <= bound:
                self.assertIs(chosen, ring.choose(key, 0))
            chosen.active += 1
            self.active += 1
            self.assertLessEqual(chosen.active, bound + 1)
        self.assertTrue(all(each.active > 0 for each in self.endpoints))
