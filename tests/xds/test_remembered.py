"""
L{meshproxy.xds.remembered}.
"""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.xds.named import factsOf
from meshproxy.xds.remembered import remembered


class RememberedTests(SynchronousTestCase):
    """
    L{remembered}.
    """

    def setUp(self) -> None:
        self.read: list[int] = []

        @remembered(3)
        def first(message: bytes) -> int:
            self.read.append(message[0])
            return message[0]

        self.first = first

    def test_once(self) -> None:
        """
        A message is read once, be it short or long, until others came.
        """
        for size in (1, 1000):
            messages = [bytes([number]) * size for number in (1, 2, 3)]
            self.assertEqual([self.first(message) for message in messages * 2], [1, 2, 3, 1, 2, 3])
            self.assertEqual(self.read, [1, 2, 3])
            self.first(b"\4" * size)
            self.first(messages[1])
            self.assertEqual(self.read, [1, 2, 3, 4])
            self.first(messages[0])
            self.assertEqual(self.read, [1, 2, 3, 4, 1])
            self.read.clear()

    def test_digest(self) -> None:
        """
        Long ones are told from each other, and none is kept.
        """
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(50):
            # An unknown field of 100 KB.
            factsOf(b"\xfa\x7f\xa0\x8d\x06" + b"%05d" % number * 20_000)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 1_000_000)
