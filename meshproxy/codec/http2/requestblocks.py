# -*- test-case-name: tests.codec.http2.test_requestblocks -*-
"""
The field sections of requests that are alike but for what identifies each of them, and for how long it may take.

All else of such a section, while the dynamic table is the same, is what it was before: it is taken from memory, and the
few values that differ, or that no table may keep (RFC 7541, 7.1.3), are written between, as literals.
"""

from __future__ import annotations

from meshproxy.codec.http2.hpack import Encoder, Field
from meshproxy.codec.http2.messages import requestFields
from meshproxy.headers import RequestHeaders

__all__ = ["RequestBlocks"]

# What another value is expected of in each request, and the literal that it is, without its value.
_VARYING = {
    name: b"\0%c%b" % (len(name), name) for name in (b"x-request-id", b"grpc-timeout", b"traceparent")
} | {b"content-length": b"\x0f\x0d", b"authorization": b"\x1f\x08", b"cookie": b"\x1f\x11"}

_LENGTHS = [b"%c" % length for length in range(127)]
"""
Lengths of one byte, encoded.
"""

_MOST_KNOWN = 64


def _lengthOf(value: bytes) -> bytes:
    """
    What tells the length of a string (RFC 7541, 5.2).
    """
    length = len(value)
    if length < 127:
        return _LENGTHS[length]
    length -= 127
    parts = bytearray((127,))
    while length >= 128:
        parts.append(length & 127 | 128)
        length >>= 7
    parts.append(length)
    return bytes(parts)


class RequestBlocks:
    """
    Encodes the heads of requests of one connection.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        # By a head without what varies: the section, with gaps for the lengths and the values that do.
        self._known: dict[tuple[object, ...], bytes] = {}
        # By the names of a head: a number for them, and where those stand that vary.
        self._places: dict[tuple[bytes, ...], tuple[int, list[int]]] = {}
        self._order = 0
        self._version = 0

    def encode(self, headers: RequestHeaders) -> bytes:
        """
        The section of a head. It must be sent: the table may have changed.

        @raise meshproxy.errors.LocalProtocolError: If it has what cannot be written.
        """
        encoder = self._encoder
        if headers.more is not None:
            return encoder.encode(requestFields(headers))
        names = tuple(headers.first)
        known = self._places.get(names)
        if known is None:
            if len(self._places) >= _MOST_KNOWN:
                self._places.clear()
            self._order += 1
            known = self._order, [place for place, name in enumerate(names) if name in _VARYING]
            self._places[names] = known
        order, places = known
        values = list(headers.first.values())
        varying: list[bytes] = []
        for place in places:
            value = values[place]
            if 0x0A in value or 0x0D in value or 0 in value:
                # It cannot be written: the general way tells so.
                return encoder.encode(requestFields(headers))
            values[place] = b""
            varying += (_LENGTHS[len(value)] if len(value) < 127 else _lengthOf(value), value)
        key = (headers.method, headers.path, headers.authority, headers.scheme, order, *values)
        pattern = self._known.get(key)
        if pattern is None or self._version != encoder.version:
            return self._encodeAnew(headers, key)
        return pattern % tuple(varying)

    def _encodeAnew(self, headers: RequestHeaders, key: tuple[object, ...]) -> bytes:
        """
        Encode a section, and keep it in mind if all of it but what varies was in a table before.
        """
        encoder = self._encoder
        fields = requestFields(headers)
        before = encoder.version
        isSame = True
        # The fields between those that vary, each run on its own.
        run: list[Field] = []
        parts: list[bytes] = []
        whole = []

        def endRun(after: bytes) -> None:
            nonlocal isSame
            block = b""
            if run:
                fields = tuple(run)
                block = encoder.encode(fields)
                isSame = isSame and encoder.recall(fields) is not None
                run.clear()
            parts.append(block + after)

        for name, value in fields:
            if name in _VARYING:
                endRun(_VARYING[name])
                whole += [parts[-1], _lengthOf(value), value]
            else:
                run.append((name, value))
        endRun(b"")
        if isSame and before == encoder.version:
            if self._version != before or len(self._known) >= _MOST_KNOWN:
                self._known.clear()
                self._version = before
            self._known[key] = b"%b%b".join(part.replace(b"%", b"%%") for part in parts)
        return b"".join([*whole, parts[-1]])
