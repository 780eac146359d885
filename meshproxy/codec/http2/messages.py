# -*- test-case-name: tests.codec.http2.test_messages -*-
"""
Between decoded fields and the heads of messages (RFC 9113, 8): what is malformed is refused here, and nothing that
HTTP/1 would read otherwise gets through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshproxy.codec.http1.grammar import AUTHORITY_CHARACTERS, STATUS, isToken, parseLength
from meshproxy.codec.http1.interfaces import UnderscoreAction
from meshproxy.codec.http2.hpack import Field
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = [
    "CONNECTION_FIELDS",
    "UNDERSCORE",
    "isPath",
    "isTrimmedValue",
    "requestFields",
    "requestFrom",
    "responseFields",
    "responseFrom",
    "trailerFields",
    "trailersFrom",
]

CONNECTION_FIELDS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
"""
What HTTP/2 has no use for (RFC 9113, 8.2.2).
"""

_FORBIDDEN = CONNECTION_FIELDS - {b"http2-settings"}

# RFC 9110, 5.6.2, without capitals (RFC 9113, 8.2.1).
# As the HTTP/1 codec: visible, space, tab and obs-text.
_isValue = re.compile(rb"[\t -~\x80-\xff]*+").fullmatch

_isName = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++").fullmatch

_NAME = rb"[!#$%&'*+\-.^_`|~0-9a-z]++"
_VALUE = rb"(?![\t ])[\t -~\x80-\xff]*+(?<![\t ])"

_areNames = re.compile(_NAME + rb"(?:\n" + _NAME + rb")*+").fullmatch
"""Names with line feeds between them."""

isTrimmedValue = re.compile(_VALUE).fullmatch
"""A value without blanks around it."""

_areValues = re.compile(_VALUE + rb"(?:\n" + _VALUE + rb")*+").fullmatch
"""Values likewise, without blanks around any."""

_BLANKS = (b" ", b"\t")

# As the HTTP/1 codec, and Envoy: bytes beyond ASCII are the upstream's to judge.
isPath = re.compile(rb"[!-~\x80-\xff]++").fullmatch
"""
What may be a path, but for how it begins.
"""

_isScheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*+").fullmatch

_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})

UNDERSCORE = "http2.unexpected_underscore"
"""
Why a request is refused that C{headers_with_underscores_action} rejects.
"""

_VIOLATION = "http2.violation.of.messaging.rule"
_INVALID_FIELD = "http2.invalid.header.field"


def _malformed(why: str, details: str = _INVALID_FIELD) -> RemoteProtocolError:
    return RemoteProtocolError(why, 400, details, 1)


def _regular(fields: Sequence[Field], into: HeaderMap) -> None:
    """
    Judge regular fields and put them into a map; cookies are joined (RFC 9113, 8.2.3).
    """
    first = dict(fields)
    count = len(fields)
    if len(first) == count and _FORBIDDEN.isdisjoint(first):
        # The usual section: every name once, all of them legal, seen at once and not one by one.
        names, values = b"\n".join(first), b"\n".join(first.values())
        if names.count(b"\n") + 1 == values.count(b"\n") + 1 == count and _areNames(names) and _areValues(values):
            into.first = first
            into.more = None
            return
    first = {}
    more: dict[bytes, list[bytes]] | None = None
    for name, value in fields:
        if not _isName(name):
            raise _malformed("a pseudo-header field after others" if name[:1] == b":" else "an illegal name")
        if not _isValue(value):
            raise _malformed(f"an illegal value of {name.decode('ascii')}")
        if value[:1] in _BLANKS or value[-1:] in _BLANKS:
            # RFC 9113, 8.2.1 calls it malformed; as in Envoy it is cut off, before anybody compares the value.
            value = value.strip(b"\t ")
        if name not in first:
            first[name] = value
        elif name == b"cookie":
            if more is None:
                more = {}
            more.setdefault(name, []).append(value)
        elif name == b"content-length" or name == b"host":
            raise _malformed(f"{name.decode('ascii')} twice")
        else:
            if more is None:
                more = {}
            more.setdefault(name, []).append(value)
    if more is not None and b"cookie" in more:
        first[b"cookie"] = b"; ".join([first[b"cookie"], *more.pop(b"cookie")])
        more = more or None
    if not _FORBIDDEN.isdisjoint(first):
        raise _malformed("a field of the connection")
    into.first = first
    into.more = more


def _pseudo(fields: Sequence[Field], known: frozenset[bytes]) -> tuple[dict[bytes, bytes], int]:
    """
    The pseudo-header fields, and how many there are.
    """
    pseudo: dict[bytes, bytes] = {}
    for count, (name, value) in enumerate(fields):
        if name[:1] != b":":
            return pseudo, count
        if name not in known or name in pseudo:
            raise _malformed("an unknown pseudo-header field, or one twice")
        pseudo[name] = value
    return pseudo, len(fields)


# RFC 9113, 8.3.1: no user information.
_AUTHORITY = AUTHORITY_CHARACTERS.replace(b"@", b"")


def _isAuthority(value: bytes) -> bool:
    return not value.translate(None, _AUTHORITY)


def requestFrom(
    fields: Sequence[Field], options: Http2Options, counters: Http2Counters
) -> tuple[RequestHeaders, bytes]:
    """
    The head of a request, and the protocol that an extended CONNECT asks for, or nothing.

    An extended CONNECT (RFC 8441) becomes what HTTP/1 says instead: a GET with C{Upgrade}.

    @raise RemoteProtocolError: If it is malformed.
    """
    pseudo, count = _pseudo(fields, _REQUEST_PSEUDO)
    headers = RequestHeaders.__new__(RequestHeaders)
    _regular(fields[count:], headers)
    first = headers.first
    method = pseudo.get(b":method")
    if method is None:
        raise _malformed("no :method", _VIOLATION)
    if not isToken(method):
        raise _malformed("an illegal :method")
    protocol = pseudo.get(b":protocol")
    headers.method = method
    headers.path = b""
    headers.scheme = b"http"
    if method != b"CONNECT" or protocol is not None:
        if protocol is not None and (method != b"CONNECT" or not options.allowConnect):
            raise _malformed(":protocol where it is not allowed")
        path, scheme = pseudo.get(b":path"), pseudo.get(b":scheme")
        if path is None or scheme is None:
            raise _malformed("no :path, or no :scheme", _VIOLATION)
        if not isPath(path) or not _isScheme(scheme):
            raise _malformed("an illegal :path or :scheme")
        if path[:1] != b"/" and (path != b"*" or method != b"OPTIONS"):
            raise _malformed("a :path that does not begin with a slash", _VIOLATION)
        headers.path = path
        headers.scheme = scheme.lower()
    elif b":path" in pseudo or b":scheme" in pseudo:
        raise _malformed(":path or :scheme in a CONNECT", _VIOLATION)
    headers.authority = _authority(pseudo, first, headers)
    if b"te" in first and (first[b"te"] != b"trailers" or (headers.more is not None and b"te" in headers.more)):
        raise _malformed("a te other than trailers")
    if b"content-length" in first and parseLength(first[b"content-length"]) is None:
        raise _malformed("a content-length that is no number")
    if options.underscores is not UnderscoreAction.ALLOW:
        _judgeUnderscores(headers, options.underscores, counters)
    if protocol is not None:
        if not isToken(protocol):
            raise _malformed("an illegal :protocol")
        headers.method = b"GET"
        first[b"connection"] = b"upgrade"
        first[b"upgrade"] = protocol
        return headers, protocol
    return headers, b""


def _authority(pseudo: dict[bytes, bytes], first: dict[bytes, bytes], headers: RequestHeaders) -> bytes:
    """
    The one authority of a request (RFC 9113, 8.3.1).
    """
    authority = pseudo.get(b":authority")
    host = first.pop(b"host", None)
    if authority is None:
        if host is None:
            raise _malformed("no authority", _VIOLATION)
        authority = host
    elif host is not None and host.lower() != authority.lower():
        raise _malformed("a host that is not the :authority")
    if not _isAuthority(authority):
        raise _malformed("an illegal authority")
    return authority


def _judgeUnderscores(headers: HeaderMap, action: UnderscoreAction, counters: Http2Counters) -> None:
    names = [name for name in headers.first if b"_" in name]
    if names and action is UnderscoreAction.REJECT:
        counters.requestsRejectedWithUnderscoresInHeaders.value += 1
        raise _malformed("an underscore in a name", UNDERSCORE)
    for name in names:
        counters.droppedHeadersWithUnderscores.value += len(headers.values(name))
        headers.remove(name)


def responseFrom(fields: Sequence[Field]) -> ResponseHeaders:
    """
    The head of a response.

    @raise RemoteProtocolError: If it is malformed.
    """
    pseudo, count = _pseudo(fields, frozenset({b":status"}))
    status = STATUS.get(pseudo.get(b":status", b""))
    if status is None or status == 101:
        # RFC 9113, 8.6: there is no 101 in HTTP/2.
        raise _malformed("no legal :status")
    headers = ResponseHeaders.__new__(ResponseHeaders)
    _regular(fields[count:], headers)
    headers.status = status
    if b"te" in headers.first and headers.first[b"te"] != b"trailers":
        raise _malformed("a te other than trailers")
    length = headers.first.get(b"content-length")
    if length is not None and parseLength(length) is None:
        raise _malformed("a content-length that is no number")
    return headers


def trailersFrom(fields: Sequence[Field]) -> HeaderMap:
    """
    Trailers.

    @raise RemoteProtocolError: If they are malformed.
    """
    if any(name[:1] == b":" for name, _ in fields):
        raise _malformed("a pseudo-header field in trailers")
    trailers = HeaderMap.__new__(HeaderMap)
    _regular(fields, trailers)
    return trailers


# Written messages


_NOT_WRITTEN = frozenset((*CONNECTION_FIELDS, b"host"))


def _written(headers: HeaderMap, fields: list[Field]) -> tuple[Field, ...]:
    """
    The fields of a head that is to be sent: pseudo-header fields, then what HTTP/2 takes of the rest.
    """
    first = headers.first
    if headers.more is None and _NOT_WRITTEN.isdisjoint(first):
        # The usual head, judged at once and not field by field.
        names, values = b"\n".join(first), b"\n".join(first.values())
        count = len(first)
        if (
            names.count(b"\n") + 1 == values.count(b"\n") + 1 == count
            and _areNames(names)
            and b"\r" not in values
            and b"\0" not in values
        ):
            return (*fields, *first.items())
    for field in headers.fields():
        name, value = field
        if name in CONNECTION_FIELDS or name == b"host":
            continue
        if not _isName(name) or b"\r" in value or b"\n" in value or b"\0" in value:
            raise LocalProtocolError(f"a field {name!r} that cannot be written")
        fields.append(field)
    return tuple(fields)


def requestFields(headers: RequestHeaders) -> tuple[Field, ...]:
    """
    The fields of a request that is to be sent. An upgrade becomes an extended CONNECT.

    @raise LocalProtocolError: If it has what cannot be written.
    """
    method = headers.method
    path = headers.path
    upgrade = headers.first.get(b"upgrade")
    pseudo: list[Field] = []
    if not isToken(method) or not _isAuthority(headers.authority):
        raise LocalProtocolError("an illegal method or authority")
    if method == b"CONNECT":
        pseudo.append((b":method", method))
        pseudo.append((b":authority", headers.authority))
    else:
        if not isPath(path):
            raise LocalProtocolError("an illegal path")
        pseudo.append((b":method", method if upgrade is None else b"CONNECT"))
        if upgrade is not None:
            if not isToken(upgrade):
                raise LocalProtocolError("an illegal upgrade")
            pseudo.append((b":protocol", upgrade))
        pseudo += ((b":scheme", headers.scheme), (b":authority", headers.authority), (b":path", path))
    fields = _written(headers, pseudo)
    te = headers.first.get(b"te")
    if te is not None and te != b"trailers":
        fields = tuple(field for field in fields if field[0] != b"te")
    return fields


def responseFields(headers: ResponseHeaders, isUpgrade: bool = False) -> tuple[Field, ...]:
    """
    The fields of a response that is to be sent. The 101 that accepts an upgrade becomes a 200 (RFC 8441, 5).

    @raise LocalProtocolError: If it has what cannot be written.
    """
    status = headers.status
    if isUpgrade and status == 101:
        status = 200
    return _written(headers, [(b":status", b"%d" % status)])


def trailerFields(trailers: HeaderMap) -> tuple[Field, ...]:
    """
    The fields of trailers that are to be sent.
    """
    return _written(trailers, [])
