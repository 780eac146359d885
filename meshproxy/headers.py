# -*- test-case-name: tests.test_headers -*-
"""
The ordered header map that codecs, filters and the HTTP room share.

Names are lower-case C{bytes}, values C{bytes} without surrounding white space. The pseudo-header fields of
RFC 9113, 8.3 (C{:method}, C{:path}, C{:scheme}, C{:authority}, C{:status}) are attributes of
L{RequestHeaders} and L{ResponseHeaders}, and may be read and written by name as well, as in Envoy; C{host} is
another name of C{:authority}.

The first value of each name stands in one dictionary, so that the usual message, whose names differ from each
other, is built, looked up, copied and written by C code. Further values of a name stand beside it, in
L{HeaderMap.more}. Names keep the order in which they first came; the values of one name keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["HeaderMap", "RequestHeaders", "ResponseHeaders", "isGRPC", "isGRPCType", "withRoom"]


class HeaderMap:
    """
    An ordered multimap of field names to values; on its own, the trailers of a message.

    @ivar first: The first value of each name. The hot path reads it directly; whoever writes to it directly
        knows that C{more} holds no further value of that name.
    @ivar more: The second and later values by name, or L{None} where every name came once.
    """

    __slots__ = ("first", "more")

    first: dict[bytes, bytes]
    more: dict[bytes, list[bytes]] | None

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """
        @param pairs: Names, already in lower case, with their values, in order.
        """
        pairs = list(pairs)
        self.first = dict(pairs)
        self.more = None
        if len(self.first) != len(pairs):
            self._separate(pairs)

    def _separate(self, pairs: list[tuple[bytes, bytes]]) -> None:
        first: dict[bytes, bytes] = {}
        more: dict[bytes, list[bytes]] = {}
        for name, value in pairs:
            if name in first:
                more.setdefault(name, []).append(value)
            else:
                first[name] = value
        self.first = first
        self.more = more

    def get(self, name: bytes) -> bytes | None:
        """
        The first value of a name, or L{None}.
        """
        return self.first.get(name)

    def values(self, name: bytes) -> list[bytes]:
        """
        All values of a name, in order.
        """
        value = self.get(name)
        if value is None:
            return []
        if self.more is None:
            return [value]
        return [value, *self.more.get(name, ())]

    def joined(self, name: bytes) -> bytes | None:
        """
        All values of a name with a comma between them: what matchers look at, as in Envoy, so that a second
        value cannot hide behind the first one. L{None} where the name is absent.
        """
        if self.more is None or name not in self.more:
            return self.get(name)
        return b",".join(self.values(name))

    def set(self, name: bytes, value: bytes) -> None:
        """
        Make C{value} the only value of a name; a name that is there keeps its place.
        """
        self.first[name] = value
        if self.more is not None:
            self.more.pop(name, None)

    def add(self, name: bytes, value: bytes) -> None:
        """
        Add one more value of a name, after those that are there.
        """
        if name not in self.first:
            self.first[name] = value
        else:
            if self.more is None:
                self.more = {}
            self.more.setdefault(name, []).append(value)

    def remove(self, name: bytes) -> bool:
        """
        Remove every value of a name.

        @return: Whether there was one.
        """
        if self.more is not None:
            self.more.pop(name, None)
        return self.first.pop(name, None) is not None

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """
        The fields in order, without pseudo-header fields; further values of a name follow its first one.
        """
        more = self.more
        if not more:
            yield from self.first.items()
            return
        for name, value in self.first.items():
            yield name, value
            for further in more.get(name, ()):
                yield name, further

    def allFields(self) -> Iterator[tuple[bytes, bytes]]:
        """
        L{fields} with the pseudo-header fields before them.
        """
        return self.fields()

    def byteSize(self) -> int:
        """
        The bytes of all names and values, as Envoy counts them (C{HeaderMap::byteSize}).
        """
        return sum(len(name) + len(value) for name, value in self.allFields())

    def copy(self) -> HeaderMap:
        """
        An independent map with the same fields.
        """
        return self._copyInto(HeaderMap.__new__(HeaderMap))

    def _copyInto(self, other: HeaderMap) -> HeaderMap:
        other.first = self.first.copy()
        other.more = None if self.more is None else {name: list(values) for name, values in self.more.items()}
        return other

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and self.get(name) is not None

    def __len__(self) -> int:
        """
        How many fields there are, each value counted, pseudo-header fields left out.
        """
        return len(self.first) + sum(map(len, (self.more or {}).values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HeaderMap):
            return NotImplemented
        return list(self.allFields()) == list(other.allFields())

    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {list(self.allFields())!r}>"


class RequestHeaders(HeaderMap):
    """
    The head of a request.

    @ivar method: C{:method}, for example C{b"GET"}.
    @ivar path: C{:path}: path and query as on the wire; empty for CONNECT.
    @ivar scheme: C{:scheme}, C{b"http"} or C{b"https"}.
    @ivar authority: C{:authority}, the C{Host} of HTTP/1; empty where HTTP/1.0 gave none.
    """

    __slots__ = ("authority", "method", "path", "scheme")

    def __init__(
        self,
        method: bytes,
        path: bytes,
        authority: bytes = b"",
        pairs: Iterable[tuple[bytes, bytes]] = (),
        scheme: bytes = b"http",
    ) -> None:
        self.method = method
        self.path = path
        self.authority = authority
        self.scheme = scheme
        HeaderMap.__init__(self, pairs)

    def get(self, name: bytes) -> bytes | None:
        """
        The first value of a name, pseudo-header fields and C{host} included, or L{None}.
        """
        value = self.first.get(name)
        if value is None:
            attribute = _PSEUDO.get(name)
            if attribute is not None:
                value = getattr(self, attribute) or None
        return value

    def set(self, name: bytes, value: bytes) -> None:
        """
        Make C{value} the only value of a name, pseudo-header fields and C{host} included.
        """
        attribute = _PSEUDO.get(name)
        if attribute is not None:
            setattr(self, attribute, value)
        else:
            HeaderMap.set(self, name, value)

    def add(self, name: bytes, value: bytes) -> None:
        """
        Add one more value of a name. A pseudo-header field has one value: it is replaced.
        """
        if name in _PSEUDO:
            self.set(name, value)
        else:
            HeaderMap.add(self, name, value)

    def allFields(self) -> Iterator[tuple[bytes, bytes]]:
        yield b":method", self.method
        yield b":scheme", self.scheme
        yield b":authority", self.authority
        yield b":path", self.path
        yield from self.fields()

    def copy(self) -> RequestHeaders:
        other = RequestHeaders.__new__(RequestHeaders)
        other.method = self.method
        other.path = self.path
        other.authority = self.authority
        other.scheme = self.scheme
        self._copyInto(other)
        return other


class ResponseHeaders(HeaderMap):
    """
    The head of a response.

    @ivar status: C{:status}, 100 to 599.
    """

    __slots__ = ("status",)

    def __init__(self, status: int, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.status = status
        HeaderMap.__init__(self, pairs)

    def get(self, name: bytes) -> bytes | None:
        """
        The first value of a name, C{:status} included, or L{None}.
        """
        if name == b":status":
            return b"%d" % self.status
        return self.first.get(name)

    def set(self, name: bytes, value: bytes) -> None:
        """
        Make C{value} the only value of a name.

        @raise ValueError: If C{:status} is not three digits.
        """
        if name == b":status":
            if len(value) != 3 or not value.isdigit():
                raise ValueError(f":status is three digits, not {value!r}")
            self.status = int(value)
        else:
            HeaderMap.set(self, name, value)

    def add(self, name: bytes, value: bytes) -> None:
        """
        Add one more value of a name; C{:status} has one and is replaced.
        """
        if name == b":status":
            self.set(name, value)
        else:
            HeaderMap.add(self, name, value)

    def allFields(self) -> Iterator[tuple[bytes, bytes]]:
        yield b":status", b"%d" % self.status
        yield from self.fields()

    def copy(self) -> ResponseHeaders:
        other = ResponseHeaders.__new__(ResponseHeaders)
        other.status = self.status
        self._copyInto(other)
        return other


def isGRPC(headers: HeaderMap) -> bool:
    """
    Whether a message is gRPC's.
    """
    contentType = headers.first.get(b"content-type")
    return contentType is not None and isGRPCType(contentType)


def isGRPCType(contentType: bytes) -> bool:
    """
    Whether a C{content-type} is gRPC's: C{application/grpc}, with or without a suffix after C{+}. As in Envoy,
    C{application/grpc-web} is another thing.
    """
    return contentType == b"application/grpc" or contentType.startswith(b"application/grpc+")


def withRoom(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """
    A copy of a dictionary whose own copies take half as many fields again before they have to grow: CPython copies a
    dictionary with the room that it has.
    """
    roomy = dict(fields)
    spare = [b"\0%d" % number for number in range(len(fields) // 2)]
    roomy.update(dict.fromkeys(spare, b""))
    for name in spare:
        del roomy[name]
    return roomy


# Envoy's map knows "host" as a second name of ":authority" (source/common/http/header_map_impl.cc).
_PSEUDO = {
    b":method": "method",
    b":path": "path",
    b":scheme": "scheme",
    b":authority": "authority",
    b"host": "authority",
}
