# -*- test-case-name: tests.codec.http1.test_explain -*-
"""
The slow, explaining parser of heads: it judges what the patterns of L{meshproxy.codec.http1.grammar} refuse.

What is legal gives what the fast way would have given; what is not raises L{RemoteProtocolError} with a
sentence for the log and with Envoy's status and response code details. Where Envoy is lenient (bare CR or LF,
line folding, several Host fields, more than one space in the request line) this parser is not.
"""

from __future__ import annotations

from meshproxy.codec.http1.grammar import (
    AUTHORITY_CHARACTERS,
    INTERN,
    METHODS,
    STATUS,
    findControl,
    isHostAndPort,
    isToken,
    isVersion,
    isVisible,
    matchURL,
)
from meshproxy.codec.http1.interfaces import Http1Counters, Http1Options, UnderscoreAction
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders

__all__ = [
    "checkLine",
    "explainRequest",
    "explainResponse",
    "parseFieldLine",
    "parseRequestLine",
    "parseStatusLine",
    "tooLarge",
    "tooMany",
]

Pairs = list[tuple[bytes, bytes]]


def _bad(why: str, status: int = 400, details: str = "http1.codec_error") -> RemoteProtocolError:
    return RemoteProtocolError(why, status, details)


def _shown(piece: bytes) -> str:
    """
    Bytes of a peer for the log: escaped, and not more than a line of them.
    """
    return repr(piece[:60])[1:] + ("..." if len(piece) > 60 else "")


def tooLarge(what: str, limit: int) -> RemoteProtocolError:
    """
    The error for a head or trailers of too many bytes.
    """
    return _bad(f"{what} of more than {limit} bytes", 431, "http1.headers_too_large")


def tooMany(what: str, limit: int) -> RemoteProtocolError:
    """
    The error for a head or trailers of too many fields.
    """
    return _bad(f"more than {limit} fields in the {what}", 431, "http1.too_many_headers")


def checkLine(line: bytes) -> bytes:
    """
    One line of a head with its end taken off.

    @raise RemoteProtocolError: If it does not end with CRLF, or has a bare CR or another control character.
    """
    control = findControl(line)
    if control is not None:
        raise _bad(f"control character {_shown(control[0])} in a head", 400, "http1.invalid_characters")
    if not line.endswith(b"\r\n"):
        raise _bad("a line that ends with a bare LF")
    if b"\r" in line[:-2]:
        raise _bad("a bare CR in a head")
    return line[:-2]


def parseFieldLine(line: bytes) -> tuple[bytes, bytes]:
    """
    The lower-case name and the value of a field line without its end.

    @raise RemoteProtocolError: If it is none.
    """
    name, colon, value = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        raise _bad("a folded line (RFC 9112, 5.2 takes obs-fold out of HTTP)")
    if not colon:
        raise _bad(f"a field line without a colon: {_shown(line)}")
    if name[-1:] in (b" ", b"\t"):
        raise _bad(f"white space between a field name and its colon: {_shown(name)}")
    if isToken(name) is None:
        raise _bad(f"an illegal field name: {_shown(name)}" if name else "an empty field name")
    return INTERN[name], value.strip(b" \t")


def parseRequestLine(line: bytes, options: Http1Options) -> tuple[bytes, bytes, bool]:
    """
    Method, target and whether it is HTTP/1.0, from a request line without its end.

    @raise RemoteProtocolError: If it is none, or of a version that is not served (426, as Envoy).
    """
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    if method not in METHODS and not (options.customMethods and isToken(method)):
        raise _bad(f"an unknown method: {_shown(method)}")
    if not target or isVisible(target) is None:
        raise _bad(f"an illegal request target: {_shown(target)}")
    if version == b"HTTP/1.1":
        return method, target, False
    if version == b"HTTP/1.0":
        if options.acceptHTTP10:
            return method, target, True
        raise _bad("HTTP/1.0, and accept_http_10 is not set", 426, "low_version")
    if (not version and target.startswith(b"/")) or isVersion(version) is not None:
        raise _bad(f"an HTTP version that is not served: {_shown(version)}", 426, "low_version")
    raise _bad(f"an illegal HTTP version: {_shown(version)}")


def parseStatusLine(line: bytes) -> tuple[int, bool]:
    """
    The status, and whether it is HTTP/1.0, from a status line without its end.

    @raise RemoteProtocolError: If it is none.
    """
    version, _, rest = line.partition(b" ")
    code, _, _ = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise _bad(f"no HTTP/1 status line: {_shown(line)}")
    status = STATUS.get(code)
    if status is None:
        raise _bad(f"an illegal status code: {_shown(code)}")
    return status, version == b"HTTP/1.0"


def _lines(head: bytes) -> tuple[bytes, list[bytes]]:
    """
    The first line of a head and its field lines, with their ends, without the empty line that ends the head.
    """
    # Not splitlines: that ends a line at a bare CR as well.
    first, *lines = [line + b"\n" for line in head[:-2].split(b"\n")[:-1]]
    return checkLine(first), lines


def _fields(lines: list[bytes], limit: int) -> Pairs:
    pairs = [parseFieldLine(checkLine(line)) for line in lines]
    if len(pairs) > limit:
        raise tooMany("head", limit)
    return pairs


def explainRequest(head: bytes, options: Http1Options, counters: Http1Counters) -> tuple[RequestHeaders, bool]:
    """
    Parse the head of a request, the empty line at its end included.

    @return: The head, and whether it is of HTTP/1.0.

    @raise RemoteProtocolError: With the reason why it is not legal.
    """
    if len(head) > options.maxHeadBytes:
        raise tooLarge("a head", options.maxHeadBytes)
    first, lines = _lines(head)
    method, target, isHTTP10 = parseRequestLine(first, options)
    pairs = _fields(lines, options.maxHeaderCount)
    if options.underscores is not UnderscoreAction.ALLOW:
        pairs = _underscores(pairs, options, counters)
    hosts = [value for name, value in pairs if name == b"host"]
    if len(hosts) > 1:
        # RFC 9112, 3.2: a server must answer 400 to a request with more than one Host.
        raise _bad("more than one Host", 400, "http.invalid_authority")
    scheme, authority, path = _target(method, target, options)
    if authority is None:
        authority = _host(hosts, isHTTP10, options)
    headers = RequestHeaders(method, path, authority, [pair for pair in pairs if pair[0] != b"host"], scheme)
    return headers, isHTTP10


def explainResponse(head: bytes, options: Http1Options) -> tuple[ResponseHeaders, bool]:
    """
    Parse the head of a response, the empty line at its end included.

    @return: The head, and whether it is of HTTP/1.0.

    @raise RemoteProtocolError: With the reason why it is not legal.
    """
    if len(head) > options.maxHeadBytes:
        raise tooLarge("a head", options.maxHeadBytes)
    first, lines = _lines(head)
    status, isHTTP10 = parseStatusLine(first)
    return ResponseHeaders(status, _fields(lines, options.maxHeaderCount)), isHTTP10


def _underscores(pairs: Pairs, options: Http1Options, counters: Http1Counters) -> Pairs:
    kept = [pair for pair in pairs if b"_" not in pair[0]]
    if len(kept) < len(pairs):
        if options.underscores is UnderscoreAction.REJECT:
            counters.requestsRejectedWithUnderscoresInHeaders.value += 1
            raise _bad("a field name with an underscore", 400, "http1.unexpected_underscore")
        counters.droppedHeadersWithUnderscores.value += len(pairs) - len(kept)
    return kept


def _host(hosts: list[bytes], isHTTP10: bool, options: Http1Options) -> bytes:
    if not hosts:
        if isHTTP10 and options.defaultHost:
            return options.defaultHost
        return b""  # the connection manager answers that, as it knows what was asked for
    if hosts[0].translate(None, AUTHORITY_CHARACTERS):
        raise _bad(f"an illegal Host: {_shown(hosts[0])}", 400, "http.invalid_authority")
    return hosts[0]


def _target(method: bytes, target: bytes, options: Http1Options) -> tuple[bytes, bytes | None, bytes]:
    """
    Scheme, authority and path that a request target means (RFC 9112, 3.2), with L{None} as the authority where
    the Host decides.
    """
    if method == b"CONNECT":
        host = isHostAndPort(target)
        if host is None or host[1] is None or not _isPort(host[1]):
            raise _bad(f"CONNECT to what is no host and port: {_shown(target)}", 400, "http1.invalid_url")
        return options.scheme, target, b""
    if target.startswith(b"/"):
        return options.scheme, None, target
    if target == b"*":
        if method == b"OPTIONS":
            return options.scheme, None, target
        raise _bad("an asterisk as target of another method than OPTIONS", 400, "http1.invalid_url")
    return _absolute(target, options)


def _absolute(target: bytes, options: Http1Options) -> tuple[bytes, bytes | None, bytes]:
    url = matchURL(target)
    if url is None:
        raise _bad(f"an illegal request target: {_shown(target)}")
    if not options.allowAbsoluteURL:
        return options.scheme, None, target  # no path: the connection manager refuses it
    scheme, authority, rest = url.groups()
    if scheme.lower() not in (b"http", b"https"):
        raise _bad(f"a request target of another scheme: {_shown(scheme)}", 400, "http1.invalid_scheme")
    # Envoy leaves user information out of the authority that it makes of the target.
    authority = authority.rpartition(b"@")[2]
    host = isHostAndPort(authority)
    if host is None or not _isPort(host[1]):
        raise _bad(f"an illegal host in the request target: {_shown(authority)}", 400, "http1.invalid_url")
    return scheme.lower(), authority, rest or b"/"


def _isPort(digits: bytes | None) -> bool:
    return digits is None or int(digits) <= 65535
