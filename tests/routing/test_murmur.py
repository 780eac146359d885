"""
L{meshproxy.routing.murmur}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.murmur import murmur2


class MurmurTests(SynchronousTestCase):
    """
    MurmurHash2.
    """

    def test_vectors(self) -> None:
        """
        Values of C{std::hash}, whose seed this is.
        """
        seed = 0xC70F6907
        for text, expected in ((b"", 6142509188972423790), (b"a", 4993892634952068459)):
            self.assertEqual(murmur2(text, seed), expected)

    def test_lengths(self) -> None:
        """
        Every byte counts, whole words and the rest.
        """
        hashes = {murmur2(b"x" * size, 7) for size in range(40)}
        self.assertEqual(len(hashes), 40)
        for size in (3, 8, 11, 16):
            whole = bytearray(b"y" * size)
            for place in range(size):
                other = bytearray(whole)
                other[place] ^= 1
                self.assertNotEqual(murmur2(bytes(other), 7), murmur2(bytes(whole), 7))
