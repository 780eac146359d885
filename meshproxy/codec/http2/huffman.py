# -*- test-case-name: tests.codec.http2.test_huffman -*-
"""
The Huffman code of HPACK (RFC 7541, appendix B).

The code is canonical: symbols in the order of the lengths of their codes, then of their values, have codes that
count up. So the lengths alone are the table.

Decoding goes through a machine whose states are the places within a code, two bytes at a time. Each step is looked up
in a table that fills itself as steps are first taken: 65,536 of single bytes at most, and some thousands of pairs.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from meshproxy.errors import RemoteProtocolError

__all__ = ["huffmanDecode", "huffmanEncode", "huffmanLength"]

# Every symbol with a code of that many bits; those with 28 are the rest.
_BY_LENGTH = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5"
    b"\xe7\xef",
    24: b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    30: b"\n\r\x16",
}
_REST = 28
_END_OF_STRING = 256


def _codes() -> dict[int, tuple[int, int]]:
    """
    Each symbol's code and its length.
    """
    lengths = {symbol: length for length, symbols in _BY_LENGTH.items() for symbol in symbols}
    lengths[_END_OF_STRING] = 30
    codes: dict[int, tuple[int, int]] = {}
    code = last = 0
    for symbol in sorted(range(257), key=lambda symbol: (lengths.get(symbol, _REST), symbol)):
        length = lengths.get(symbol, _REST)
        code <<= length - last
        codes[symbol] = (code, length)
        last = length
        code += 1
    return codes


_CODES = _codes()
_BITS = {symbol: format(code, f"0{length}b") for symbol, (code, length) in _CODES.items() if symbol < 256}
_LENGTHS = [_CODES[symbol][1] for symbol in range(256)]


def _tree() -> list[list[int]]:
    """
    The inner nodes of the tree of codes, the root first: where a 0 and a 1 lead. What is negative is a leaf,
    C{~symbol}.
    """
    nodes = [[0, 0]]
    for symbol, (code, length) in _CODES.items():
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not nodes[node][bit]:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = ~symbol
    return nodes


_NODES = _tree()


def _padded() -> frozenset[int]:
    """
    The nodes where a string may end: at most seven bits of ones since the last symbol (RFC 7541, 5.2).
    """
    node = 0
    nodes = [0]
    for _ in range(7):
        node = _NODES[node][1]
        nodes.append(node)
    return frozenset(node << 8 for node in nodes)


_ENDS = _padded()


class _Steps(dict[int, tuple[int, bytes]]):
    """
    From a node and a byte, as C{node << 8 | byte}, to the node that follows, as C{node << 8}, and the symbols on the
    way. Less than 0 is where the code of the end of a string is in it, which no string may contain.
    """

    def __missing__(self, key: int) -> tuple[int, bytes]:
        node = key >> 8
        symbols = bytearray()
        for shift in range(7, -1, -1):
            node = _NODES[node][key >> shift & 1]
            if node < 0:
                if ~node == _END_OF_STRING:
                    break
                symbols.append(~node)
                node = 0
        step = self[key] = (node << 8, bytes(symbols))
        return step


_steps = _Steps()

# How many pairs are known at a time: text needs some thousands.
_MOST_PAIRS = 16384


class _Pairs(dict[int, tuple[int, bytes]]):
    """
    The same for two bytes at once, from C{node << 16 | pair} to C{node << 16}, for those that came lately.
    """

    def __missing__(self, key: int) -> tuple[int, bytes]:
        if key < 0:
            return _NOWHERE
        node, first = _steps[key >> 8]
        if node < 0:
            return _NOWHERE
        node, second = _steps[node | key & 0xFF]
        if node < 0:
            return _NOWHERE
        if len(self) >= _MOST_PAIRS:
            self.clear()
        step = self[key] = (node << 8, first + second)
        return step


# After the code of the end of a string nothing follows; with a pair in its lower bits it stays less than 0.
_NOWHERE = (-1 << 16, b"")


_pairs = _Pairs()


@lru_cache(256)
def _halves(count: int) -> Struct:
    """
    Reads so many pairs of bytes.
    """
    return Struct(f">{count}H")


def _error(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(why, 400, "codec_error:protocol_error", 9)


def huffmanDecode(data: bytes) -> bytes:
    """
    The string that a Huffman-coded one means.

    @raise RemoteProtocolError: If it is none, or is padded wrongly.
    """
    node = 0
    pairs = _pairs
    parts: list[bytes] = []
    append = parts.append
    length = len(data)
    for pair in _halves(length >> 1).unpack_from(data):
        node, symbols = pairs[node | pair]
        append(symbols)
    node >>= 8
    if length & 1 and node >= 0:
        node, symbols = _steps[node | data[-1]]
        append(symbols)
    if node < 0:
        raise _error("the end of the string within a Huffman-coded string")
    if node not in _ENDS:
        raise _error("a Huffman-coded string is not padded with ones, or with too many")
    return b"".join(parts)


def huffmanLength(data: bytes) -> int:
    """
    How many bytes a string takes when it is coded.
    """
    return (sum(map(_LENGTHS.__getitem__, data)) + 7) >> 3


def huffmanEncode(data: bytes) -> bytes:
    """
    Code a string.
    """
    bits = "".join(map(_BITS.__getitem__, data))
    padding = -len(bits) & 7
    length = (len(bits) + padding) >> 3
    return (int(bits + "1" * padding, 2) if bits else 0).to_bytes(length, "big")
