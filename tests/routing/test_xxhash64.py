# -*- test-case-name: tests.routing.test_xxhash64 -*-
"""
Tests for L{meshproxy.routing.xxhash64}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.xxhash64 import xxhash64

# The first so many bytes of 0, 1, 2 ..., a seed, and what the reference implementation makes of them.
REFERENCE = [
    (0, 0, 0xEF46DB3751D8E999),
    (1, 0, 0xE934A84ADB052768),
    (3, 1, 0xA2168D89C582B451),
    (4, 0, 0xFFCED8604453CC1E),
    (7, 0, 0x14CC643F630C72D2),
    (8, 0, 0x884A173614B81B8D),
    (12, 7, 0x17D8629FD1DF6544),
    (31, 0, 0xC346D2B59B4D8EE1),
    (32, 0, 0xCBF59C5116FF32B4),
    (33, (1 << 64) - 1, 0x5677D5193D356C20),
    (63, 0, 0xE26AA9E2A95F8E4F),
    (64, 0, 0xF7C67301DB6713F0),
    (100, 5, 0x9C502A83DCB7C69E),
    (255, 0, 0xF7D97507CAAD693),
]


class XXHash64Tests(SynchronousTestCase):
    """
    L{xxhash64} is XXH64.
    """

    def test_reference(self) -> None:
        """
        Every way through the algorithm: no stripe, one and several, every kind of tail, seeds.
        """
        data = bytes(range(256))
        for size, seed, expected in REFERENCE:
            self.assertEqual(xxhash64(data[:size], seed), expected, (size, seed))

    def test_text(self) -> None:
        """
        Values that are published for it.
        """
        self.assertEqual(xxhash64(b"abc"), 0x44BC2CF5AD770999)
        self.assertEqual(xxhash64(b"Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1)
