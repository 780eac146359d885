"""
C{ClientHello}s for tests, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["alpn", "extension", "hello", "message", "records", "serverName", "versions"]


def vector(data: bytes, size: int) -> bytes:
    """
    Bytes behind their length.
    """
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    """
    An extension.
    """
    return kind.to_bytes(2, "big") + vector(data, 2)


def serverName(name: bytes, kind: int = 0) -> bytes:
    """
    SNI.
    """
    return extension(0, vector(bytes([kind]) + vector(name, 2), 2))


def alpn(*names: bytes) -> bytes:
    """
    ALPN.
    """
    return extension(16, vector(b"".join(vector(name, 1) for name in names), 2))


def versions(*numbers: int) -> bytes:
    """
    C{supported_versions}.
    """
    return extension(43, vector(b"".join(number.to_bytes(2, "big") for number in numbers), 1))


#: What BoringSSL asks of every TLS 1.3 hello, and TLS 1.2's as well.
COMMON = (
    extension(10, vector(bytes.fromhex("001d0017"), 2))
    + extension(11, vector(b"\0", 1))
    + extension(13, vector(bytes.fromhex("040308040401"), 2))
)


def message(
    *extensions: bytes,
    version: int = 0x0303,
    ciphers: bytes = bytes.fromhex("13011302c02bc02f"),
    session: bytes = b"s" * 32,
    compressions: bytes = b"\0",
    tail: bytes = b"",
) -> bytes:
    """
    The handshake message.
    """
    body = version.to_bytes(2, "big") + b"r" * 32 + vector(session, 1) + vector(ciphers, 2) + vector(compressions, 1)
    if extensions:
        body += vector(b"".join(extensions), 2)
    return b"\1" + vector(body + tail, 3)


def records(data: bytes, sizes: Sequence[int] = ()) -> bytes:
    """
    A handshake message in records.

    @param sizes: How much each holds; the last one holds the rest.
    """
    made, place = b"", 0
    for size in [*sizes, len(data)]:
        piece = data[place : place + size]
        made += b"\x16\x03\x01" + vector(piece, 2)
        place += size
        if place >= len(data):
            break
    return made


def hello(name: bytes = b"", protocols: Sequence[bytes] = (), sizes: Sequence[int] = (), *more: bytes) -> bytes:
    """
    A whole C{ClientHello} as it goes over the wire.
    """
    extensions = [serverName(name)] if name else []
    if protocols:
        extensions.append(alpn(*protocols))
    return records(message(*extensions, COMMON, *more), sizes)
