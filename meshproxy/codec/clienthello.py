# -*- test-case-name: tests.codec.test_clienthello -*-
"""
What the first message of a TLS client says: whom it wants to speak to, in which protocols.

Nothing is verified. What OpenSSL and BoringSSL would read as a C{ClientHello} is read here, however it is cut into
records, so that nobody passes by with an unusual but legal one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import md5, sha256

from meshproxy.errors import RemoteProtocolError

__all__ = ["ClientHello", "ClientHelloParser", "ja3", "ja4", "parseClientHello"]

_HANDSHAKE = 22
_CLIENT_HELLO = 1

# RFC 8446, 5.1 allows 16384 bytes in a record, and some more once they are encrypted; BoringSSL waits for the longer.
_LONGEST_RECORD = (1 << 14) + 256

# BoringSSL's limit; a longer message is not read by anybody.
_LONGEST_MESSAGE = 1 << 14

# Records without content carry nothing on. BoringSSL takes so many in a row; OpenSSL takes fewer.
_MOST_EMPTY_RECORDS = 32

_SERVER_NAME = 0
_SUPPORTED_GROUPS = 10
_POINT_FORMATS = 11
_SIGNATURE_ALGORITHMS = 13
_ALPN = 16
_SUPPORTED_VERSIONS = 43

# RFC 6066, 3: a host name is a DNS name; BoringSSL's limit.
_LONGEST_NAME = 255


@dataclass(slots=True)
class ClientHello:
    """
    A C{ClientHello} (RFC 8446, 4.1.2).

    @ivar version: Its C{legacy_version}.
    @ivar serverName: The host name of SNI in lower case, or empty.
    @ivar applicationProtocols: ALPN, in the client's order.
    @ivar ciphers: Its cipher suites.
    @ivar extensions: The types of its extensions, in their order.
    @ivar versions: C{supported_versions}; empty where there is no such extension.
    @ivar groups: C{supported_groups}.
    @ivar pointFormats: C{ec_point_formats}.
    @ivar signatureAlgorithms: C{signature_algorithms}.
    """

    version: int
    serverName: str = ""
    applicationProtocols: tuple[str, ...] = ()
    ciphers: tuple[int, ...] = ()
    extensions: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    pointFormats: tuple[int, ...] = ()
    signatureAlgorithms: tuple[int, ...] = field(default=())


def _refuse(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"no ClientHello: {why}", details="tls.not_a_client_hello")


class _Reader:
    """
    Reads fields of a message whose end is known.
    """

    __slots__ = ("_data", "_end", "_place")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0
        self._end = len(data)

    @property
    def left(self) -> int:
        """
        How many bytes are left.
        """
        return self._end - self._place

    def take(self, size: int) -> bytes:
        """
        The next bytes.
        """
        if size > self.left:
            raise _refuse("a field is longer than what holds it")
        place = self._place
        self._place = place + size
        return self._data[place : place + size]

    def number(self, size: int) -> int:
        """
        The next number.
        """
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        """
        The next vector.

        @param size: How many bytes its length has.
        """
        return _Reader(self.take(self.number(size)))

    def numbers(self, size: int) -> tuple[int, ...]:
        """
        All that is left, as numbers.
        """
        if self.left % size:
            raise _refuse("a list ends within a number")
        return tuple(self.number(size) for _ in range(self.left // size))


def parseClientHello(data: bytes) -> ClientHello | None:
    """
    Read a C{ClientHello}.

    @param data: All bytes of the connection until now.

    @return: L{None} if more bytes are needed.

    @raise RemoteProtocolError: If these bytes begin no C{ClientHello}.
    """
    return ClientHelloParser().look(data)


class ClientHelloParser:
    """
    Reads one C{ClientHello}, and remembers how far it is, so that one in many pieces is not read from its start each
    time.
    """

    __slots__ = ("_empty", "_fragments", "_length", "_place", "_wanted")

    def __init__(self) -> None:
        self._fragments: list[bytes] = []
        self._length = 0
        self._wanted = 4
        self._place = 0
        self._empty = 0

    def look(self, data: bytes) -> ClientHello | None:
        """
        See L{parseClientHello}. What was looked at before must be there again, unchanged.
        """
        while self._length < self._wanted:
            place = self._place
            size = _recordSize(data, place)
            if size and not self._fragments:
                _checkStart(data[place + 5 : place + 6])
            if size is None or place + 5 + size > len(data):
                return None
            self._take(data[place + 5 : place + 5 + size])
        return _parse(_Reader(b"".join(self._fragments)[4 : self._wanted]))

    def _take(self, fragment: bytes) -> None:
        """
        Take what a record holds.
        """
        self._place += 5 + len(fragment)
        if not fragment:
            self._empty += 1
            if self._empty > _MOST_EMPTY_RECORDS:
                raise _refuse("too many records without content")
            return
        self._empty = 0
        self._fragments.append(fragment)
        self._length += len(fragment)
        if self._wanted == 4 and self._length >= 4:
            self._wanted = 4 + _messageLength(b"".join(self._fragments))


def _recordSize(data: bytes, place: int) -> int | None:
    """
    The length of the record at a place; L{None} if its header is not whole. What is there of the header is checked.
    """
    header = data[place : place + 5]
    if header and header[0] != _HANDSHAKE:
        raise _refuse("a record is no handshake")
    if len(header) > 1 and header[1] != 3:
        raise _refuse("a record has no version of TLS")
    if len(header) < 5:
        return None
    size = int.from_bytes(header[3:], "big")
    if size > _LONGEST_RECORD:
        raise _refuse("a record is too long")
    return size


def _checkStart(start: bytes) -> None:
    if start and start[0] != _CLIENT_HELLO:
        raise _refuse("the handshake begins with another message")


def _messageLength(start: bytes) -> int:
    length = int.from_bytes(start[1:4], "big")
    if length > _LONGEST_MESSAGE:
        raise _refuse("the message is too long")
    return length


def _parse(reader: _Reader) -> ClientHello:
    hello = ClientHello(reader.number(2))
    reader.take(32)
    if reader.vector(1).left > 32:
        raise _refuse("the session id is too long")
    hello.ciphers = reader.vector(2).numbers(2)
    if not hello.ciphers or not reader.vector(1).left:
        raise _refuse("a list of ciphers or compressions is empty")
    if reader.left:
        extensions = reader.vector(2)
        if reader.left:
            raise _refuse("there is something behind the extensions")
        _parseExtensions(hello, extensions)
    return hello


def _parseExtensions(hello: ClientHello, reader: _Reader) -> None:
    found: dict[int, _Reader] = {}
    while reader.left:
        kind = reader.number(2)
        if kind in found:
            # RFC 8446, 4.2: There MUST NOT be more than one extension of the same type.
            raise _refuse("an extension is there twice")
        found[kind] = reader.vector(2)
    hello.extensions = tuple(found)
    if _SERVER_NAME in found:
        hello.serverName = _serverName(found[_SERVER_NAME])
    if _ALPN in found:
        hello.applicationProtocols = _applicationProtocols(found[_ALPN])
    if _SUPPORTED_VERSIONS in found:
        hello.versions = found[_SUPPORTED_VERSIONS].vector(1).numbers(2)
        if not hello.versions:
            raise _refuse("the list of versions is empty")
    if _SUPPORTED_GROUPS in found:
        hello.groups = found[_SUPPORTED_GROUPS].vector(2).numbers(2)
    if _POINT_FORMATS in found:
        hello.pointFormats = found[_POINT_FORMATS].vector(1).numbers(1)
    if _SIGNATURE_ALGORITHMS in found:
        hello.signatureAlgorithms = found[_SIGNATURE_ALGORITHMS].vector(2).numbers(2)


def _serverName(reader: _Reader) -> str:
    """
    SNI: exactly one host name. RFC 6066, 3 allows no other kind, nor two of one.
    """
    names = reader.vector(2)
    kind, name = names.number(1), names.vector(2)
    if kind or names.left or reader.left:
        raise _refuse("the server name is not one host name")
    host = name.take(name.left)
    if not host or len(host) > _LONGEST_NAME or 0 in host:
        raise _refuse("the server name is no host name")
    return host.lower().decode("latin-1")


def _applicationProtocols(reader: _Reader) -> tuple[str, ...]:
    """
    ALPN. What is wrong with it is for TLS itself to refuse, as in Envoy.
    """
    found = []
    try:
        names = reader.vector(2)
        if reader.left or names.left < 2:
            return ()
        while names.left:
            name = names.vector(1)
            if not name.left:
                return ()
            found.append(name.take(name.left).decode("latin-1"))
    except RemoteProtocolError:
        return ()
    return tuple(found)


# Fingerprints


def _isGrease(value: int) -> bool:
    """
    Whether a value is one of those that clients put in at random (RFC 8701).
    """
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def _real(values: Iterable[int]) -> list[int]:
    return [value for value in values if not _isGrease(value)]


def ja3(hello: ClientHello) -> str:
    """
    The JA3 fingerprint: what clients of one make have in common, in their order.
    """
    lists = (hello.ciphers, hello.extensions, hello.groups, hello.pointFormats)
    text = ",".join([str(hello.version), *("-".join(map(str, _real(values))) for values in lists)])
    return md5(text.encode(), usedforsecurity=False).hexdigest()


# As in Envoy, which has no names for versions before TLS 1.0.
_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}


def ja4(hello: ClientHello) -> str:
    """
    The JA4 fingerprint: the same, but for the order.
    """
    version = _VERSIONS.get(max(_real(hello.versions), default=hello.version), "00")
    ciphers, extensions = _real(hello.ciphers), _real(hello.extensions)
    first = "".join(
        (
            "t",
            version,
            "d" if _SERVER_NAME in extensions else "i",
            f"{min(len(ciphers), 99):02}",
            f"{min(len(extensions), 99):02}",
            _protocolLetters(hello.applicationProtocols[0] if hello.applicationProtocols else ""),
        )
    )
    others = sorted(f"{each:04x}" for each in extensions if each not in (_SERVER_NAME, _ALPN))
    text = ",".join(others)
    algorithms = _real(hello.signatureAlgorithms)
    if algorithms:
        text += "_" + ",".join(f"{each:04x}" for each in algorithms)
    return f"{first}_{_digest(','.join(sorted(f'{each:04x}' for each in ciphers)))}_{_digest(text)}"


def _protocolLetters(name: str) -> str:
    if not name:
        return "00"
    if name[0].isalnum() and name[-1].isalnum():
        return name[0] + name[-1]
    raw = name.encode("latin-1", "replace").hex()
    return raw[0] + raw[-1]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else "0" * 12
