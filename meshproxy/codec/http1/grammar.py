# -*- test-case-name: tests.codec.http1.test_grammar -*-
"""
The grammar of RFC 9112 as compiled patterns, and the table that lower-cases names.

L{matchRequest} and L{matchResponse} accept a head only if it is strictly legal and of the usual form; what
they refuse is judged by L{meshproxy.codec.http1.explain}. All repetitions are possessive: a pattern takes
time in proportion to what it reads, whatever that is.
"""

from __future__ import annotations

import re

__all__ = [
    "AUTHORITY_CHARACTERS",
    "INTERN",
    "METHODS",
    "STATUS",
    "VALUE",
    "InternTable",
    "findControl",
    "isHostAndPort",
    "isToken",
    "isVersion",
    "isVisible",
    "matchChunkLine",
    "matchChunkSize",
    "matchFields",
    "matchNextChunkSize",
    "matchRequest",
    "matchRequestLine",
    "matchResponse",
    "matchURL",
    "parseLength",
    "requestLinePattern",
    "skipEmptyLines",
    "splitFields",
]

# RFC 9110, 5.6.2. A class of characters, to stand between brackets.
_TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"

# RFC 9110, 5.5: visible, space, tab and obs-text. No other control character, thus no CR, LF or NUL.
VALUE = rb"\t -~\x80-\xff"
"""The class of characters of field values."""

# The usual form of a field line: one space after the colon, no white space around the value.
_FIELDS = rb"((?:[" + _TCHAR + rb"]++: (?![\t ])[" + VALUE + rb"]*+(?<![\t ])\r\n)*+)\r\n"

# Envoy's balsa parser knows these methods and answers 400 to any other.
METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY "
    b"OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK "
    b"UNLOCK UNSUBSCRIBE".split()
)

_USUAL_METHODS = rb"(GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH)"

# A path in origin-form. '#' would begin a fragment, which a request target cannot have.
_PATH = rb"(/[!\"$-~]*+)"

requestLinePattern = _USUAL_METHODS + b" " + _PATH + rb" HTTP/1\.1\r\n"
"""The request line of a usual request. Groups: method, path."""

matchRequest = re.compile(requestLinePattern + _FIELDS).match
"""Groups: method, path, field lines."""

matchRequestLine = re.compile(requestLinePattern).match
"""The first line of what L{matchRequest} accepts. Groups: method, path."""

matchResponse = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9])(?: [" + VALUE + rb"]*+)?+\r\n" + _FIELDS).match
"""Groups: status, field lines."""

splitFields = re.compile(rb"([^:]++): ([^\r]*+)\r\n").findall
"""Pairs of name and value of field lines that L{matchRequest} or L{matchResponse} accepted."""

matchFields = re.compile(rb"(?:[" + _TCHAR + rb"]++:[" + VALUE + rb"]*+\r\n)*+").match
"""As many whole field lines, of any legal form, as there are."""

skipEmptyLines = re.compile(rb"(?:\r\n)*+").match

isToken = re.compile(rb"[" + _TCHAR + rb"]++").fullmatch

findControl = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
"""A control character that no head may have; CR, LF and tab have rules of their own."""

isVersion = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch

isVisible = re.compile(rb"[!-~]++").fullmatch

matchURL = re.compile(rb"([A-Za-z]++)://([^/?#]*+)(.*+)", re.DOTALL).fullmatch
"""Groups: scheme, authority, the rest."""

isHostAndPort = re.compile(rb"(?:\[[0-9A-Fa-f:.]++\]|[0-9A-Za-z._~%!$&'()+;=\-]++)(?::([0-9]{1,5}+))?+").fullmatch
"""The authority of an absolute URL or of CONNECT as Envoy takes it. Group: the port."""

# Envoy's authorityIsValid (source/common/http/header_utility.cc): what RFC 3986, 3.2 allows in an authority.
AUTHORITY_CHARACTERS = b"-._~%!$&'()*+,;=:@[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

matchChunkSize = re.compile(rb"([0-9A-Fa-f]{1,15}+)\r\n").match

matchNextChunkSize = re.compile(rb"\r\n([0-9A-Fa-f]{1,15}+)\r\n").match
"""The end of a chunk with the size of the next one."""

_TOKEN = rb"[" + _TCHAR + rb"]++"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'

matchChunkLine = re.compile(
    rb"([0-9A-Fa-f]{1,15}+)((?:[ \t]*+;[ \t]*+"
    + _TOKEN
    + rb"(?:[ \t]*+=[ \t]*+(?:"
    + _TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?+)*+)"
).fullmatch
"""A size with chunk extensions (RFC 9112, 7.1.1), without its line end. Groups: size, extensions."""

# 18 digits hold any length that can be meant, and keep clear of every integer of 64 bits, signed or not.
_MAX_LENGTH_DIGITS = 18

STATUS = {b"%d" % status: status for status in range(100, 1000)}


def parseLength(value: bytes) -> int | None:
    """
    The number that a Content-Length means, or L{None} if it is none: digits only (RFC 9110, 8.6), where C{int}
    would take signs, spaces and underscores too.
    """
    if value.isdigit() and len(value) <= _MAX_LENGTH_DIGITS:
        return int(value)
    return None


class InternTable(dict[bytes, bytes]):
    """
    From a field name as it came to its lower-case form, one object for each name.

    A name that is not there is lower-cased and kept. A peer cannot make the table grow: only short names are
    kept, and when it is full it begins anew with the names that it was made with.
    """

    def __init__(self, names: bytes, limit: int = 1024) -> None:
        """
        @param names: The usual names, with spaces between them.
        """
        self._seed = {form: name for name in names.split() for form in (name, name.title())}
        self._limit = limit
        dict.__init__(self, self._seed)

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if len(name) <= 40:
            if len(self) >= self._limit:
                self.clear()
                self.update(self._seed)
            # A name whose lower-case form is known shares that object: looking up interned names is fastest.
            self[name] = lower = self.get(lower, lower)
        return lower


INTERN = InternTable(
    b"accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-origin age allow "
    b"alt-svc authorization baggage cache-control connection content-disposition content-encoding content-language "
    b"content-length content-location content-range content-security-policy content-type cookie date dnt etag expect "
    b"expires forwarded from grpc-accept-encoding grpc-encoding grpc-message grpc-status grpc-timeout host if-match "
    b"if-modified-since if-none-match if-range if-unmodified-since keep-alive last-modified link location max-forwards "
    b"origin pragma proxy-authenticate proxy-authorization proxy-connection range referer referrer-policy retry-after "
    b"sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user "
    b"sec-websocket-accept sec-websocket-extensions sec-websocket-key sec-websocket-protocol sec-websocket-version "
    b"server set-cookie strict-transport-security te traceparent tracestate trailer transfer-encoding upgrade "
    b"upgrade-insecure-requests user-agent vary via www-authenticate x-b3-parentspanid x-b3-sampled x-b3-spanid "
    b"x-b3-traceid x-content-type-options x-envoy-attempt-count x-envoy-upstream-service-time x-forwarded-for "
    b"x-forwarded-host x-forwarded-proto x-frame-options x-powered-by x-real-ip x-request-id x-requested-with "
    b"x-xss-protection"
)
