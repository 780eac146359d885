# -*- test-case-name: tests.accesslog.test_headervalues -*-
"""
Operators that show parts of requests and responses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from meshproxy.accesslog.commands import Command, FormatError
from meshproxy.accesslog.inline import Inline
from meshproxy.accesslog.values import Value, clean, fromBytes
from meshproxy.config.matchers import parseInteger
from meshproxy.flags import GRPC_STATUSES, grpcStatus
from meshproxy.headers import isGRPC

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["HEADER_OPERATORS", "grpcStatusOf", "headerNames", "responseStatusOf"]

_ORIGINAL_PATH = b"x-envoy-original-path"


def headerNames(command: Command) -> list[bytes]:
    """
    The names in C{%REQ(X?Y)%}, in lower case.

    @raise FormatError: If there are none, or more than two, or some that cannot be.
    """
    names = command.words("?")
    if len(names) > 2:
        raise FormatError(f"more than one alternative header in %{command.name}({command.parameters})%")
    try:
        return [name.strip().lower().encode("ascii") for name in names]
    except UnicodeEncodeError:
        raise FormatError(f"%{command.name}({command.parameters})% holds characters that no header name has") from None


# Bytes to text without control characters, as fromBytes, in one expression.
_TO_TEXT = (
    "None if (found := {lookup}) is None"
    " else text if (text := found.decode('utf-8', 'surrogateescape')).isprintable() else {{clean}}(text)"
)

# Pseudo-header fields of requests are attributes of the map, not entries of its dictionary; "" stands for none.
_ATTRIBUTES = {
    b":method": "method",
    b":path": "path",
    b":authority": "authority",
    b"host": "authority",
    b":scheme": "scheme",
}


def _lookup(fields: str, name: bytes, position: int, nothing: str = "None") -> str:
    """
    The expression for a field.

    @param nothing: That for what stands in the place of one that is not there.
    """
    if fields == "requestFirst" and name in _ATTRIBUTES:
        return f"(request.{_ATTRIBUTES[name]} or {nothing}) if request is not None else {nothing}"
    if fields == "responseFirst" and name == b":status":
        return f"b'%d' % info.responseHeaders.status if info.responseHeaders is not None else {nothing}"
    if nothing == "None":
        return f"{fields}.get({{name{position}}})"
    return f"{fields}.get({{name{position}}}, {nothing})"


def _fields(fields: str) -> Callable[[Command], Value]:
    """
    An operator that shows a field of the request, the response or the trailers.

    @param fields: What L{meshproxy.accesslog.inline} calls the dictionary of their first values.
    """

    def compile(command: Command) -> Value:
        names = headerNames(command)
        lookups = [_lookup(fields, name, position) for position, name in enumerate(names)]
        first = f"first if (first := {lookups[0]}) is not None else " if len(lookups) > 1 else ""
        lookup = first + lookups[-1]
        raw = first + _lookup(fields, names[-1], len(names) - 1, "{missing}")
        if command.length is not None:
            lookup = f"whole[:{{length}}] if (whole := {lookup}) is not None else None"
            raw = f"found if (found := ({lookup})) is not None else {{missing}}"
        bound = {f"name{position}": name for position, name in enumerate(names)}
        source = _TO_TEXT.format(lookup=f"({lookup})").replace("{{", "{").replace("}}", "}")
        return Inline(source, False, raw, clean=clean, length=command.length, **bound)

    return compile


def _withoutQuery(command: Command) -> Value:
    names = headerNames(command)

    def value(info: StreamInfo) -> object:
        headers = info.requestHeaders
        for name in names if headers is not None else ():
            found = headers.get(name)  # type: ignore[union-attr]  # names are empty without headers
            if found is not None:
                return fromBytes(found.partition(b"?")[0][: command.length])
        return None

    return value


def _pathOf(info: StreamInfo, choice: str) -> bytes | None:
    headers = info.requestHeaders
    if headers is None:
        return None
    if choice != "PATH":
        original = headers.first.get(_ORIGINAL_PATH)
        if original is not None or choice == "ORIG":
            return original
    return headers.path or None


def _path(command: Command) -> Value:
    words = (command.parameters or "WQ").split(":")
    query = words[0]
    choice = words[1] if len(words) > 1 else "ORIG_OR_PATH"
    if query not in ("WQ", "NQ"):
        raise FormatError(f"%PATH({command.parameters})%: {query!r} is neither WQ nor NQ")
    if choice not in ("ORIG", "PATH", "ORIG_OR_PATH"):
        raise FormatError(f"%PATH({command.parameters})%: {choice!r} is not one of ORIG, PATH and ORIG_OR_PATH")

    def value(info: StreamInfo) -> object:
        path = _pathOf(info, choice)
        if path is None:
            return None
        if query == "NQ":
            path = path.partition(b"?")[0]
        return fromBytes(path[: command.length])

    return value


def _queryOf(info: StreamInfo) -> bytes | None:
    # As in Envoy, that of the path as it is now, after the route rewrote it.
    path = _pathOf(info, "PATH")
    if path is None:
        return None
    _, mark, query = path.partition(b"?")
    return query.partition(b"#")[0] if mark else None


def _queryParameter(command: Command) -> Value:
    wanted = command.words("\0")[0].encode("utf-8")

    def value(info: StreamInfo) -> object:
        query = _queryOf(info)
        for field in query.split(b"&") if query else ():
            name, _, found = field.partition(b"=")
            if name == wanted:
                return fromBytes(unquote_to_bytes(found)[: command.length])
        return None

    return value


_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def _decoded(query: bytes) -> bytes:
    """
    A query with those escapes decoded that stand for what can be seen, quotes and backslashes left out, as Envoy does.
    """

    def decode(escape: re.Match[bytes]) -> bytes:
        byte = int(escape[1], 16)
        return bytes((byte,)) if 0x21 <= byte <= 0x7E and byte not in b'"\\' else escape[0]

    return _ESCAPED.sub(decode, query)


def _queryParameters(command: Command) -> Value:
    choice = command.parameters or "ORIG"
    if choice not in ("ORIG", "DECODED"):
        raise FormatError(f"%QUERY_PARAMS({choice})%: only ORIG and DECODED are possible")

    def value(info: StreamInfo) -> object:
        query = _queryOf(info)
        if query is None:
            return None
        return fromBytes((_decoded(query) if choice == "DECODED" else query)[: command.length])

    return value


def _byteSize(attribute: str) -> Callable[[Command], Value]:
    read = attrgetter(attribute)

    def compile(command: Command) -> Value:
        if command.parameters is not None or command.length is not None:
            raise FormatError(f"%{command.name}% takes neither parameters nor a length")

        def value(info: StreamInfo) -> object:
            headers = read(info)
            return 0 if headers is None else headers.byteSize()

        return value

    return compile


_CERTIFICATE_KEYS = ("by", "hash", "cert", "chain", "subject", "uri", "dns")


def _clientCertificate(command: Command) -> Value:
    """
    C{%XFCC_VALUE(KEY)%}: of the elements of C{x-forwarded-client-cert}, the value of the first that has the key.
    """
    given = command.parameters
    if not given:
        raise FormatError("%XFCC_VALUE% requires a key: %XFCC_VALUE(uri)%", _CERTIFICATE_KEYS)
    key = given.lower()
    if key not in _CERTIFICATE_KEYS:
        raise FormatError(f"{given!r} is not one of {', '.join(_CERTIFICATE_KEYS)}", _CERTIFICATE_KEYS)
    wanted = key.encode("ascii")

    def value(info: StreamInfo) -> object:
        headers = info.requestHeaders
        told = None if headers is None else headers.joined(b"x-forwarded-client-cert")
        if told is not None:
            for element in _unquoted(told, b","):
                for pair in _unquoted(element, b";"):
                    name, _, held = pair.partition(b"=")
                    if name.strip(_SPACE).lower() == wanted:
                        return fromBytes(_withoutQuotes(held.strip(_SPACE)))
        return None

    return value


_SPACE = b" \t\n\v\f\r"
# A quote, unless it is escaped, by an odd number of backslashes; or what may separate.
_quotesOr = {separator: re.compile(rb'\\+"?|["' + separator + rb"]").finditer for separator in (b",", b";")}
_escaped = re.compile(rb'\\(["\\])').sub


def _unquoted(text: bytes, separator: bytes) -> Iterator[bytes]:
    """
    The pieces of a text, parted where a separator stands outside of quotes. What follows a quote that does not end is
    none.
    """
    isQuoted, start = False, 0
    for found in _quotesOr[separator](text):
        piece = found[0]
        if piece == separator:
            if not isQuoted:
                yield text[start : found.start()]
                start = found.end()
        elif piece.endswith(b'"') and len(piece) % 2:
            isQuoted = not isQuoted
    if not isQuoted:
        yield text[start:]


def _withoutQuotes(value: bytes) -> bytes:
    if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
        value = value[1:-1]
    return _escaped(rb"\1", value)


# Envoy has its own spelling for two of them.
_GRPC_CAMEL = ("OK", "Canceled", *("".join(w.title() for w in name.split("_")) for name in GRPC_STATUSES[2:]))


def grpcStatusOf(info: StreamInfo) -> int | None:
    """
    The gRPC status of a response: of its trailers, of its head, or else what the HTTP status means; -1 where they say
    something that is none.

    @return: L{None} if the request is no gRPC.
    """
    if info.requestHeaders is None or not isGRPC(info.requestHeaders):
        return None
    status = _saidStatus(info)
    if status is not None:
        return status
    return grpcStatus(info.responseCode) if info.responseHeaders is not None else None


def responseStatusOf(info: StreamInfo) -> int:
    """
    The gRPC status that a response of any kind stands for; -1 where it says something that is none.
    """
    status = _saidStatus(info)
    if status is None:
        return grpcStatus(info.responseCode)
    # As in Envoy, what is none of gRPC's statuses is not even unknown.
    return status if status < len(GRPC_STATUSES) else -1


def _saidStatus(info: StreamInfo) -> int | None:
    """
    What C{grpc-status} says: a number, -1 if it is none, L{None} where there is no such field.
    """
    for fields in (info.responseTrailers, info.responseHeaders):
        status = fields.first.get(b"grpc-status") if fields is not None else None
        if status is not None:
            number = parseInteger(status)
            return -1 if number is None or number < 0 else number
    return None


def _grpcStatus(command: Command) -> Value:
    form = "NUMBER" if command.name == "GRPC_STATUS_NUMBER" else command.parameters or "CAMEL_STRING"
    names: tuple[str, ...]
    if form == "NUMBER":
        return grpcStatusOf
    if form == "CAMEL_STRING":
        names = _GRPC_CAMEL
    elif form == "SNAKE_STRING":
        names = GRPC_STATUSES
    else:
        raise FormatError(f"{form!r} is not one of CAMEL_STRING, SNAKE_STRING and NUMBER")

    def value(info: StreamInfo) -> object:
        status = grpcStatusOf(info)
        return None if status is None else names[status] if 0 <= status < len(names) else str(status)

    return value


HEADER_OPERATORS: dict[str, Callable[[Command], Value]] = {
    "REQ": _fields("requestFirst"),
    "REQUEST_HEADER": _fields("requestFirst"),
    "RESP": _fields("responseFirst"),
    "RESPONSE_HEADER": _fields("responseFirst"),
    "TRAILER": _fields("trailersFirst"),
    "RESPONSE_TRAILER": _fields("trailersFirst"),
    "REQ_WITHOUT_QUERY": _withoutQuery,
    "PATH": _path,
    "QUERY_PARAM": _queryParameter,
    "QUERY_PARAMS": _queryParameters,
    "XFCC_VALUE": _clientCertificate,
    "REQUEST_HEADERS_BYTES": _byteSize("requestHeaders"),
    "RESPONSE_HEADERS_BYTES": _byteSize("responseHeaders"),
    "RESPONSE_TRAILERS_BYTES": _byteSize("responseTrailers"),
    "GRPC_STATUS": _grpcStatus,
    "GRPC_STATUS_NUMBER": _grpcStatus,
}
