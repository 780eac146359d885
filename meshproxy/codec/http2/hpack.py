# -*- test-case-name: tests.codec.http2.test_hpack -*-
"""
HPACK, the compression of field sections (RFC 7541).
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from meshproxy.codec.http1.grammar import INTERN
from meshproxy.codec.http2.huffman import huffmanDecode, huffmanEncode, huffmanLength
from meshproxy.codec.http2.templates import NUMBERS, Template, numberString
from meshproxy.errors import RemoteProtocolError

__all__ = ["STATIC_TABLE", "Decoder", "Encoder", "Field", "encodeLiteral"]

Field = tuple[bytes, bytes]

_STATIC = """:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200
:status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate
accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control
content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|cookie
date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified
link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie
strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"""


def _static() -> tuple[Field, ...]:
    entries = _STATIC.replace("\n", "|").split("|")
    pairs = [entry.encode("ascii").partition(b" ") for entry in entries]
    return tuple((INTERN[name], value) for name, _, value in pairs)


STATIC_TABLE: tuple[Field, ...] = _static()
"""
RFC 7541, appendix A; the first entry has the index 1.
"""

_STATIC_COUNT = len(STATIC_TABLE)

# By index, with their sizes; there is no entry 0. No others while a section changes the table.
_STATIC_SIZED: list[tuple[Field, int]] = [((b"", b""), 0)]
_STATIC_SIZED += [((name, value), len(name) + len(value)) for name, value in STATIC_TABLE]

# RFC 7541, 4.1: what an entry takes beside its name and value.
_ENTRY_OVERHEAD = 32

# After how many sections in a row that leave the table as it is.
_STAYS = 3
# How many sections that look at nothing in the table are remembered, and how long they may be.
_MOST_APART = 32
_LONGEST_APART = 512

# RFC 7541, 5.1 allows integers without end. Nothing that can be meant takes more than 28 bits after the prefix.
_MOST_INTEGER_BYTES = 4

# RFC 7541, 4.2: the smallest size since the last section, and the last one.
_MOST_UPDATES = 2

_COMPRESSION_ERROR = 9
_CALM = 11


def _error(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(why, 400, "codec_error:protocol_error", _COMPRESSION_ERROR)


class Decoder:
    """
    Decodes the field sections of one connection, in order.

    @ivar version: Changes whenever a section changed the dynamic table: as long as it stays, equal bytes mean the same.
    @ivar overflowed: Whether the last section was longer than its limits. All of it was decoded, so that the table is
        right, but the fields after the limit were only counted.
    @ivar tooMany: Whether there were too many fields in it, before they were too long.
    """

    def __init__(self, tableSize: int = 4096, maxBytes: int = 60 * 1024, maxCount: int = 100, excess: int = 0) -> None:
        """
        @param tableSize: The limit of the dynamic table, as announced in SETTINGS_HEADER_TABLE_SIZE.
        @param maxBytes: The most bytes of names and values of a section, decoded.
        @param maxCount: The most fields of a section.
        @param excess: How many times these a section may be that is decoded to its end; 0 for any.
        """
        self.version = 0
        self.overflowed = self.tooMany = False
        self._limit = tableSize
        self._maxBytes = maxBytes
        self._maxCount = maxCount
        self._excess = excess
        # The newest entry first.
        self._entries: deque[Field] = deque()
        self._size = 0
        self._tableSize = tableSize
        self._sized: list[tuple[Field, int]] = _STATIC_SIZED
        self._sizedVersion = self._lastVersion = self._stays = 0
        # Sections that mean the same whatever is in the table, each with its fields and those that it puts there.
        self._apart: dict[bytes, tuple[list[Field], list[Field]]] = {}
        # What was put there again and again since: how many bytes, and the version that came of it.
        self._cycle: list[Field] = []
        self._cycleSize = self._cycleVersion = 0

    def decode(self, block: bytes) -> list[Field]:
        """
        The fields of a section, in order; every one of them was counted before anything else is made of it.

        @raise RemoteProtocolError: If it is no HPACK, or a bomb. The table is not to be relied on any more.
        """
        entries = self._entries
        self.overflowed = self.tooMany = False
        if block in self._apart:
            known, inserted = self._apart[block]
            if inserted:
                self._insertAgain(inserted)
            return known.copy()
        fields: list[Field] = []
        inserted = []
        counted = count = position = updates = 0
        stop = len(block)
        maxBytes, maxCount = self._maxBytes, self._maxCount
        sized = self._sized
        isApart = False
        if self._sizedVersion != self.version:
            # Peers that put the same into the table with each message do not point at it: only one that stays is worth
            # to be looked through.
            self._stays = self._stays + 1 if self._lastVersion == self.version else 0
            self._lastVersion = self.version
            isApart = self._stays < _STAYS
            sized = _STATIC_SIZED if isApart else self._sizeEntries()
        while position < stop:
            byte = block[position]
            position += 1
            if byte & 0x80:
                index = byte & 0x7F
                if 0 < index < len(sized):
                    # Nearly all of a usual section.
                    field, size = sized[index]
                    count += 1
                    counted += size
                    if counted > maxBytes or count > maxCount:
                        self._overflow(counted, count)
                    else:
                        fields.append(field)
                    continue
                if index == 0x7F:
                    index, position = self._integer(block, position, 0x7F)
                isApart = False
                field = self._entry(index)
            elif byte & 0x60 == 0x20:
                if count:
                    raise _error("a dynamic table size update after a field")
                updates += 1
                if updates > _MOST_UPDATES:
                    raise _error("more than two dynamic table size updates")
                size = byte & 0x1F
                if size == 0x1F:
                    size, position = self._integer(block, position, 0x1F)
                self._resize(size)
                sized = _STATIC_SIZED
                isApart = False
                continue
            else:
                prefix = 0x3F if byte & 0x40 else 0x0F
                index = byte & prefix
                if index == prefix:
                    index, position = self._integer(block, position, prefix)
                if index:
                    if index > _STATIC_COUNT:
                        isApart = False
                    name = self._entry(index)[0]
                else:
                    name, position = self._string(block, position)
                    name = INTERN[name] if name.islower() else name
                value, position = self._string(block, position)
                field = (name, value)
                if byte & 0x40:
                    self._insert(field, entries)
                    inserted.append(field)
                    sized = _STATIC_SIZED
            count += 1
            counted += len(field[0]) + len(field[1])
            if counted > maxBytes or count > maxCount:
                self._overflow(counted, count)
            else:
                fields.append(field)
        if isApart and inserted and not self.overflowed and stop <= _LONGEST_APART:
            if len(self._apart) >= _MOST_APART:
                self._apart.clear()
            self._apart[block] = (fields.copy(), inserted)
        return fields

    def _overflow(self, counted: int, count: int) -> None:
        """
        A field came that is over a limit.
        """
        if not self.overflowed:
            self.overflowed = True
            self.tooMany = count > self._maxCount
        excess = self._excess
        if excess and (counted > excess * self._maxBytes or count > excess * self._maxCount):
            details = "http2.too_many_headers" if self.tooMany else "http2.header_list_size_too_large"
            raise RemoteProtocolError("a field section that unfolds far beyond the limit", 431, details, _CALM)

    def _sizeEntries(self) -> list[tuple[Field, int]]:
        """
        Put both tables into one list, by index, each entry with its size, as far as one byte can name them.
        """
        self._sizedVersion = self.version
        self._sized = [
            *_STATIC_SIZED,
            *((field, len(field[0]) + len(field[1])) for field in islice(self._entries, 126 - _STATIC_COUNT)),
        ]
        return self._sized

    def nameOf(self, index: int) -> bytes:
        """
        The name that a literal with this index has.

        @raise RemoteProtocolError: If there is none.
        """
        return self._entry(index)[0]

    def _entry(self, index: int) -> Field:
        if 0 < index <= _STATIC_COUNT:
            return STATIC_TABLE[index - 1]
        index -= _STATIC_COUNT + 1
        if 0 <= index < len(self._entries):
            return self._entries[index]
        raise _error("an index beyond the tables")

    def _insert(self, field: Field, entries: deque[Field]) -> None:
        self.version += 1
        size = len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
        self._evict(self._tableSize - size)
        # RFC 7541, 4.4: one that is larger than the table empties it, and that is no error.
        if size <= self._tableSize:
            entries.appendleft(field)
            self._size += size

    def _insertAgain(self, fields: list[Field]) -> None:
        """
        Insert what a section inserts that came before. Once such sections alone have filled the table, each further one
        leaves it as it is, and so does the version.
        """
        if fields is not self._cycle or self.version != self._cycleVersion:
            self._cycle = fields
            self._cycleSize = 0
        if self._cycleSize <= self._tableSize:
            entries = self._entries
            for field in fields:
                self._insert(field, entries)
                self._cycleSize += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
            self._cycleVersion = self.version

    def _evict(self, most: int) -> None:
        entries = self._entries
        while entries and self._size > most:
            name, value = entries.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD

    def _resize(self, size: int) -> None:
        if size > self._limit:
            raise _error("a dynamic table size update beyond SETTINGS_HEADER_TABLE_SIZE")
        self.version += 1
        self._tableSize = size
        self._evict(size)

    @staticmethod
    def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
        """
        The rest of an integer whose prefix is full.
        """
        value = prefix
        for shift in range(0, 7 * _MOST_INTEGER_BYTES, 7):
            if position >= len(block):
                raise _error("the end of the section within an integer")
            byte = block[position]
            position += 1
            value += (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise _error("an integer of too many bytes")

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        if position >= len(block):
            raise _error("the end of the section where a string is due")
        byte = block[position]
        position += 1
        length = byte & 0x7F
        if length == 0x7F:
            length, position = self._integer(block, position, 0x7F)
        end = position + length
        if end > len(block):
            raise _error("the end of the section within a string")
        data = block[position:end]
        return (huffmanDecode(data) if byte & 0x80 else data), end


# RFC 7541, 7.1.3: what no table on the way may keep, so that nobody can find it out by trying.
_SENSITIVE = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})

_STATIC_FIELDS = {field: index for index, field in reversed(list(enumerate(STATIC_TABLE, 1)))}
_STATIC_NAMES = {name: index for index, (name, _) in reversed(list(enumerate(STATIC_TABLE, 1)))}

# How many fields that were seen once are kept in mind, and how many whole sections.
_MOST_SEEN = 256
_MOST_BLOCKS = 64
_LONGEST_BLOCK = 4096
_MOST_REMEMBERED = 256


def _integer(value: int, prefix: int, pattern: int) -> bytes:
    if value < prefix:
        return bytes((pattern | value,))
    parts = bytearray((pattern | prefix,))
    value -= prefix
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _string(data: bytes) -> bytes:
    return _integer(len(data), 0x7F, 0) + data


def encodeLiteral(field: Field) -> bytes:
    """
    A field that is in no table, and goes into none (RFC 7541, 6.2.2).
    """
    return b"\0" + _string(field[0]) + _string(field[1])


def _huffmanString(data: bytes) -> bytes:
    if huffmanLength(data) >= len(data):
        return _string(data)
    coded = huffmanEncode(data)
    return _integer(len(coded), 0x7F, 0x80) + coded


class Encoder:
    """
    Encodes the field sections of one connection, in order.

    A field goes into the dynamic table when it is sent for the second time, so that what never comes again (a request's
    identifier) drives nothing out; of L{NUMBERS} only the names do, once. What was encoded without a change of the
    table is remembered: each field's bytes, and those of whole sections. What is sent once is not Huffman-coded: that
    costs this program more than it saves the network.

    @ivar version: Changes whenever what was encoded may be encoded otherwise from now on.
    @ivar templates: Sections that were written and are the same still but for their L{NUMBERS}, by the keys that they
        were encoded with. None is longer than any peer takes in one frame.
    """

    def __init__(self, tableSize: int = 4096, huffman: bool = True) -> None:
        """
        @param tableSize: The most bytes that the dynamic table may take, whatever the peer allows.
        @param huffman: Whether strings may be Huffman-coded.
        """
        self._most = tableSize
        self._string = _huffmanString if huffman else _string
        self._tableSize = min(tableSize, 4096)
        self._size = 0
        # In the order in which they came in, with their numbers.
        self._entries: dict[Field, int] = {}
        self._inserted = 0
        self._updates: list[int] = [] if self._tableSize == 4096 else [self._tableSize]
        self._bytes: dict[Field, bytes] = {}
        self._blocks: dict[tuple[object, ...], bytes] = {}
        # It is the same dictionary always.
        self.recall = self._blocks.get
        self.templates: dict[tuple[object, ...], Template] = {}
        # What was sent last with a name of NUMBERS that the static table does not have, or is in the table.
        self._named: dict[bytes, Field] = {}
        self._seen: set[Field] = set()
        self.version = 0

    def peerAllows(self, tableSize: int) -> None:
        """
        The peer's SETTINGS_HEADER_TABLE_SIZE came.
        """
        size = min(tableSize, self._most)
        if size == self._tableSize and not self._updates:
            return
        # RFC 7541, 4.2: the smallest size since the last section is told, then the last one.
        smallest = min(self._updates) if self._updates else size
        self._updates = [size] if size <= smallest else [smallest, size]
        self._tableSize = size
        self._evict(min(smallest, size))
        self._forget()

    def encode(self, fields: tuple[Field, ...], key: tuple[object, ...] = ()) -> bytes:
        """
        The section for these fields. They are legal: the caller has seen to that.

        @param key: What it can be recalled by; see L{keyOf<meshproxy.codec.http2.templates.keyOf>}. By default, the
            fields.
        """
        if not key:
            block = self._blocks.get(fields)
            if block is not None:
                return block
        inserted = self._inserted
        parts = []
        gaps: list[tuple[int, bytes]] = []
        isWorthwhile = True
        if self._updates:
            parts = [_integer(size, 0x1F, 0x20) for size in self._updates]
            self._updates = []
            isWorthwhile = False
        for field in fields:
            code = self._bytes.get(field)
            if code is None:
                if field[0] in NUMBERS:
                    gaps.append((len(parts), field[0]))
                    isWorthwhile = isWorthwhile and (not key or numberString(field[1]) != b"")
                    code = self._number(field)
                else:
                    code = self._field(field)
                    isWorthwhile = isWorthwhile and field in self._bytes
            parts.append(code)
        block = b"".join(parts)
        if isWorthwhile and inserted == self._inserted and len(block) <= _LONGEST_BLOCK:
            if key:
                if len(self.templates) >= _MOST_BLOCKS:
                    self.templates.clear()
                for position, name in gaps:
                    parts[position] = self._numberHead(name)
                self.templates[key] = Template(parts, gaps)
            else:
                if len(self._blocks) >= _MOST_BLOCKS:
                    self._blocks.clear()
                self._blocks[fields] = block
        return block

    def _field(self, field: Field) -> bytes:
        index = _STATIC_FIELDS.get(field)
        if index is None:
            number = self._entries.get(field)
            if number is None:
                return self._literal(field)
            index = _STATIC_COUNT + self._inserted - number
        code = _integer(index, 0x7F, 0x80)
        if len(self._bytes) >= _MOST_REMEMBERED:
            self._bytes.clear()
        self._bytes[field] = code
        return code

    def _literal(self, field: Field) -> bytes:
        name, value = field
        index = _STATIC_NAMES.get(name, 0)
        if name in _SENSITIVE:
            return _integer(index, 0x0F, 0x10) + (b"" if index else _string(name)) + _string(value)
        if field in self._seen and self._fits(field):
            self._seen.discard(field)
            return self._insert(field, index)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen.add(field)
        return _integer(index, 0x0F, 0) + (b"" if index else _string(name)) + _string(value)

    def _number(self, field: Field) -> bytes:
        """
        One of L{NUMBERS}: a literal that does not change the table, but where its name comes for the second time.
        """
        name, value = field
        if name not in _STATIC_NAMES and self._named.get(name) not in self._entries:
            isAgain = name in self._named
            self._named[name] = field
            if isAgain and self._fits(field):
                return self._insert(field, 0)
        return self._numberHead(name) + _string(value)

    def _numberHead(self, name: bytes) -> bytes:
        """
        A literal without its value.
        """
        index = _STATIC_NAMES.get(name, 0)
        if not index:
            number = self._entries.get(self._named[name])
            if number is None:
                return b"\0" + _string(name)
            index = _STATIC_COUNT + self._inserted - number
        return _integer(index, 0x0F, 0)

    def _fits(self, field: Field) -> bool:
        return len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD <= self._tableSize // 4

    def _insert(self, field: Field, index: int) -> bytes:
        """
        Put a field into the table.

        @param index: That of its name in the static table, or 0.
        """
        name, value = field
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        self._evict(self._tableSize - size)
        self._entries[field] = self._inserted
        self._inserted += 1
        self._size += size
        self._forget()
        return _integer(index, 0x3F, 0x40) + (b"" if index else self._string(name)) + self._string(value)

    def _evict(self, most: int) -> None:
        entries = self._entries
        while entries and self._size > most:
            name, value = field = next(iter(entries))
            del entries[field]
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD

    def _forget(self) -> None:
        # The indexes of all entries are others now.
        self.version += 1
        self._bytes.clear()
        self._blocks.clear()
        self.templates.clear()
