"""
The Huffman code of HPACK.
"""

from __future__ import annotations

from random import Random

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.huffman import huffmanDecode, huffmanEncode, huffmanLength
from meshproxy.errors import RemoteProtocolError


class HuffmanTests(SynchronousTestCase):
    """
    L{huffmanEncode} and L{huffmanDecode}.
    """

    def test_everySymbol(self) -> None:
        """
        Each byte has the code that the package C{hpack} knows, and is read from it.
        """
        for symbol in range(256):
            length = REQUEST_CODES_LENGTH[symbol]
            padding = -length % 8
            code = (REQUEST_CODES[symbol] << padding | (1 << padding) - 1).to_bytes((length + 7) // 8, "big")
            self.assertEqual(huffmanEncode(bytes((symbol,))), code)
            self.assertEqual(huffmanDecode(code), bytes((symbol,)))

    def test_roundTrip(self) -> None:
        """
        What is coded is read back, whatever it is, and takes as many bytes as was foretold.
        """
        random = Random(7541)
        for length in range(200):
            data = random.randbytes(length)
            coded = huffmanEncode(data)
            self.assertEqual(len(coded), huffmanLength(data))
            self.assertEqual(huffmanDecode(coded), data)

    def test_wrong(self) -> None:
        """
        Padding of zeros, of eight bits or more, and the code of the end are refused.
        """
        for coded in (b"\x49\x50\x90", b"\x49\x50\x9f\xff", b"\xff", b"\x00\x3f\xff\xff\xff\xff", b"\xff" * 5):
            with self.assertRaises(RemoteProtocolError) as caught:
                huffmanDecode(coded)
            self.assertEqual(caught.exception.h2Code, 9)
