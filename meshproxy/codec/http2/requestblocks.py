# -*- test-case-name: tests.codec.http2.test_requestblocks -*-
"""
The field sections of requests that are alike but for what identifies each of them, and for how long it may take.

All else of such a section, while the dynamic table is the same, is what it was before: it is taken from memory, and the
few values that differ, or that no table may keep (RFC 7541, 7.1.3), are written between, as literals.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

from meshproxy.codec.http2.hpack import Encoder, Field
from meshproxy.codec.http2.messages import requestFields
from meshproxy.headers import RequestHeaders

__all__ = ["RequestBlocks"]

# What another value is expected of in each request, and the literal that it is, without its value.
_VARYING = {name: b"\0%c%b" % (len(name), name) for name in (b"x-request-id", b"grpc-timeout", b"traceparent")} | {
    b"content-length": b"\x0f\x0d",
    b"authorization": b"\x1f\x08",
    b"cookie": b"\x1f\x11",
}

_MOST_KNOWN = 64

# How many literals of values are known at a time, and how long those are at most: an identifier is longer, and never
# comes again.
_MOST_LITERALS = 1024
_LONGEST_KNOWN = 16


def _lengthOf(value: bytes) -> bytes:
    """
    What tells the length of a string (RFC 7541, 5.2).
    """
    length = len(value)
    if length < 127:
        return b"%c" % length
    length -= 127
    parts = bytearray((127,))
    while length >= 128:
        parts.append(length & 127 | 128)
        length >>= 7
    parts.append(length)
    return bytes(parts)


class _Unwritable(Exception):
    """
    A value that no field may have.
    """


class _Literals(dict[bytes, bytes]):
    """
    The string literals of values.
    """

    def __missing__(self, value: bytes) -> bytes:
        if 0x0A in value or 0x0D in value or 0 in value:
            raise _Unwritable
        length = len(value)
        if length > _LONGEST_KNOWN:
            return b"%c%b" % (length, value) if length < 127 else _lengthOf(value) + value
        if len(self) >= _MOST_LITERALS:
            self.clear()
        text = self[value] = b"%c%b" % (length, value)
        return text


_literalOf = _Literals().__getitem__


class _Order:
    """
    What is known of heads with the same names in the same order.

    @ivar varying: Takes the values that are expected to vary from the fields of a head.
    @ivar fixed: Takes the others.
    """

    __slots__ = ("fixed", "varying")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.varying = _taking([name for name in names if name in _VARYING])
        self.fixed = _taking([name for name in names if name not in _VARYING])


def _taking(names: list[bytes]) -> Callable[[dict[bytes, bytes]], tuple[bytes, ...]]:
    """
    A function that takes the values of these names out of a dictionary.
    """
    if len(names) > 1:
        return itemgetter(*names)
    return lambda first: tuple([first[name] for name in names])


class RequestBlocks:
    """
    Encodes the heads of requests of one connection.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        # By a head without what varies: the section, with gaps for the literals of the values that do.
        self._known: dict[tuple[object, ...], bytes] = {}
        # By the names of a head.
        self._orders: dict[tuple[bytes, ...], _Order] = {}
        self._version = 0

    def encode(self, headers: RequestHeaders) -> bytes:
        """
        The section of a head. It must be sent: the table may have changed.

        @raise meshproxy.errors.LocalProtocolError: If it has what cannot be written.
        """
        first = headers.first
        if headers.more is not None:
            return self._encoder.encode(requestFields(headers))
        names = tuple(first)
        order = self._orders.get(names)
        if order is None:
            if len(self._orders) >= _MOST_KNOWN:
                self._orders.clear()
            order = self._orders[names] = _Order(names)
        # Functions that are no methods are called by names of their own: CPython finds them faster.
        fixed, varying = order.fixed, order.varying
        key = (order, headers.method, headers.path, headers.authority, headers.scheme, fixed(first))
        pattern = self._known.get(key)
        if pattern is None or self._version != self._encoder.version:
            return self._encodeAnew(headers, key)
        try:
            return pattern % tuple(map(_literalOf, varying(first)))
        except _Unwritable:
            # The general way tells so.
            return self._encoder.encode(requestFields(headers))

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
            self._known[key] = b"%b".join(part.replace(b"%", b"%%") for part in parts)
        return b"".join([*whole, parts[-1]])
