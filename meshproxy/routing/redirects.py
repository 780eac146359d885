# -*- test-case-name: tests.routing.test_redirects -*-
"""
Routes that answer by themselves: redirects and direct responses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshproxy.accesslog.formatter import Formatter
from meshproxy.accesslog.logs import compileBodyFormat
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.routing.rewrites import PathRewrite, replacePrefix, substitutePath
from meshproxy.routing.values import compileValue

__all__ = [
    "DirectResponse",
    "Location",
    "Redirect",
    "compileDirectResponse",
    "compileRedirect",
    "readDataSource",
    "tlsRedirect",
]

#: The C{location} of a redirect. Rewrites the C{:path} of the request on the way, as Envoy does.
Location: TypeAlias = Callable[[RequestHeaders, StreamInfo], bytes]

_STATUS: Final = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}
# The port that the scheme of the request stands for by itself.
_OWN_PORT: Final = {b"http": b":80", b"https": b":443"}

# RouteConfiguration.max_direct_response_body_size_bytes
DEFAULT_MAX_BODY: Final = 4096


@dataclass(frozen=True, slots=True)
class Redirect:
    """
    What a redirecting route answers.
    """

    status: int
    location: Location


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """
    What a route answers without any upstream.

    @ivar formatter: Makes the body, in which C{%LOCAL_REPLY_BODY%} stands for C{body}; L{None} where this is it.
    @ivar contentType: Of what the formatter makes.
    """

    status: int
    body: bytes
    formatter: Formatter | None = None
    contentType: bytes = b""

    @property
    def tellsLocation(self) -> bool:
        """
        Whether it tells where the resource is, which is where it was asked for, as Envoy does (RFC 9110, 15.3.2).
        """
        return self.status == 201 or 300 <= self.status < 400


def _hostFor(headers: RequestHeaders, scheme: bytes, hasPort: bool) -> bytes:
    """
    The host of the request; without its port where the redirect names another, or where the port only says the
    scheme that is left: C{http://a:80} becomes C{https://a}.
    """
    host = headers.authority
    start = host.rfind(b"]:") + 1 if host[:1] == b"[" else host.rfind(b":")
    if start <= 0:
        return host
    asked = headers.first.get(b"x-forwarded-proto", b"")
    if hasPort or (scheme != asked and host[start:] == _OWN_PORT.get(asked)):
        return host[:start]
    return host


def _pathRewrite(section: Section, matched: int | None) -> PathRewrite | None:
    if section.get("prefix_rewrite"):
        return replacePrefix(matched, section.get("prefix_rewrite").encode("utf-8"))
    regex = section.child("regex_rewrite")
    return None if regex is None else substitutePath(regex)


def _formattedPath(section: Section) -> Location:
    """
    C{path_rewrite}: a format, with the query of the request behind it unless it made one of its own, as for
    C{path_redirect}. Where nothing comes of it, the path stays.
    """
    value = compileValue(section, "path_rewrite", omitEmpty=True)
    stripQuery: bool = section.get("strip_query")

    def path(headers: RequestHeaders, info: StreamInfo) -> bytes:
        made = value if isinstance(value, bytes) else value(info)
        if b"?" in made:
            return made
        bare, mark, query = headers.path.partition(b"?")
        return (made or bare) + (b"" if stripQuery else mark + query)

    return path


def _newPath(section: Section, matched: int | None) -> Location:
    """
    The path of the location, with the query that it is to have.
    """
    if section.get("path_rewrite"):
        return _formattedPath(section)
    fixed: bytes = section.get("path_redirect").encode("utf-8")
    stripQuery: bool = section.get("strip_query")
    rewrite = _pathRewrite(section, matched)

    def path(headers: RequestHeaders, info: StreamInfo) -> bytes:
        if rewrite is not None:
            if info.tellsOriginalPath:
                HeaderMap.set(headers, b"x-envoy-original-path", headers.path)
            headers.path = rewrite(headers.path, info)
        return headers.path

    def fixedPath(headers: RequestHeaders, info: StreamInfo) -> bytes:
        _, mark, query = headers.path.partition(b"?")
        return fixed + mark + query

    # A query that path_redirect brings along wins over that of the request, and is never stripped.
    if b"?" in fixed:
        return lambda headers, info: fixed
    found = fixedPath if fixed else path
    if stripQuery:
        return lambda headers, info: found(headers, info).partition(b"?")[0]
    return found


def compileRedirect(section: Section, matched: int | None) -> Redirect:
    """
    Compile C{envoy.config.route.v3.RedirectAction}.

    @param matched: How many bytes of the path the route matched; L{None} for all of it.
    """
    fixedScheme: bytes = section.get("scheme_redirect").encode("utf-8")
    if section.get("https_redirect"):
        fixedScheme = b"https"
    fixedHost: bytes = section.get("host_redirect").encode("utf-8")
    number: int = section.get("port_redirect")
    port = b":%d" % number if number else b""
    newPath = _newPath(section, matched)

    def location(headers: RequestHeaders, info: StreamInfo) -> bytes:
        scheme = fixedScheme or headers.scheme
        path = newPath(headers, info)
        if path[:1] != b"/":
            path = b"/" + path
        host = fixedHost or _hostFor(headers, scheme, bool(port))
        return b"%b://%b%b%b" % (scheme, host, port, path)

    return Redirect(_STATUS[section.get("response_code")], location)


def _tlsLocation(headers: RequestHeaders, info: StreamInfo) -> bytes:
    return b"https://" + headers.authority + headers.path


#: What C{require_tls} answers on cleartext.
tlsRedirect: Final = Redirect(301, _tlsLocation)


def readDataSource(section: Section, limit: int | None = None) -> bytes:
    """
    The bytes of C{envoy.config.core.v3.DataSource}, read once; what cannot be read is refused and empty.

    @param limit: The most bytes to take.
    """
    kind = section.oneof("specifier")
    held = b""
    try:
        if kind == "inline_string":
            held = section.get(kind).encode("utf-8")
        elif kind == "inline_bytes":
            held = section.get(kind)
        elif kind == "environment_variable":
            held = os.environb[section.get(kind).encode("utf-8")]
        elif kind == "filename":
            with open(section.get(kind), "rb") as source:
                held = source.read() if limit is None else source.read(limit + 1)
    except KeyError:
        section.refuse(f"environment variable {section.get('environment_variable')!r} does not exist", kind or "")
    except OSError as fault:
        section.refuse(f"unable to read it: {fault.strerror}", kind or "")
    if limit is not None and len(held) > limit:
        section.refuse(f"response body size is {len(held)} bytes; maximum is {limit}", kind or "")
    return held


def compileDirectResponse(section: Section, maxBody: int = DEFAULT_MAX_BODY) -> DirectResponse:
    """
    Compile C{envoy.config.route.v3.DirectResponseAction}.

    @param maxBody: C{max_direct_response_body_size_bytes}.
    """
    held, bodyFormat = section.child("body"), section.child("body_format")
    body = b"" if held is None else readDataSource(held, maxBody)
    made = () if bodyFormat is None else compileBodyFormat(bodyFormat)
    return DirectResponse(section.get("status"), body, *made)
