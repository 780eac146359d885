# -*- test-case-name: tests.routing.test_hashing -*-
"""
C{hash_policy}: a number from a request, by which ring hash and Maglev balancers keep alike requests on one endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.matchers import compileSubstitute, parseQuery
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.xxhash64 import xxhash64

__all__ = ["HashPolicy", "HashableText", "compileHashPolicy", "cookieValue", "setCookieValue"]


class HashableText(str):
    """
    A text in filter state by which requests may be told to be alike; as in Envoy, not every text is.
    """

    __slots__ = ()


#: Gives the hash of a request, or L{None} where nothing of it counts. Takes a list for C{set-cookie} values that the
#: response is to have, so that the next request is known again.
HashPolicy: TypeAlias = Callable[[RequestHeaders, StreamInfo, list[bytes]], int | None]

_MASK = (1 << 64) - 1


def cookieValue(headers: RequestHeaders, name: bytes) -> bytes | None:
    """
    The value of a cookie, without the quotes around it; L{None} where there is none. As in Envoy, spaces before a name
    count for nothing, those behind a value do.
    """
    for line in headers.values(b"cookie"):
        for pair in line.split(b";"):
            key, mark, value = pair.lstrip(b" ").partition(b"=")
            if mark and key == name:
                return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
    return None


def setCookieValue(
    name: bytes, value: bytes, path: bytes, maxAge: int, attributes: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """
    A C{set-cookie} as Envoy writes it.

    @param maxAge: Seconds; 0 for as long as the browser runs.
    """
    made = b'%b="%b"' % (name, value)
    if maxAge:
        made += b"; Max-Age=%d" % maxAge
    if path:
        made += b"; Path=" + path
    for key, content in attributes:
        made += b"; %b=%b" % (key, content) if content else b"; " + key
    return made + b"; HttpOnly"


def _compileHeader(section: Section) -> HashPolicy:
    name: bytes = section.get("header_name").lower().encode("utf-8")
    rewrite = section.child("regex_rewrite")
    substitute = None if rewrite is None else compileSubstitute(rewrite)

    def hashHeader(headers: RequestHeaders, info: StreamInfo, cookies: list[bytes]) -> int | None:
        values = headers.values(name)
        if not values:
            return None
        if substitute is not None:
            values = [substitute(value) for value in values]
        # Sorted, so that the order of the lines does not matter.
        made = 0
        for value in sorted(values):
            made = xxhash64(value, made)
        return made

    return hashHeader


def _connectionFingerprint(info: StreamInfo) -> bytes:
    """
    The same for all streams of a connection, so that streams that race get the same cookie.
    """
    connection = info.connection
    text = "".join(each.text for each in (connection.remoteAddress, connection.localAddress) if each is not None)
    return b"%016x" % xxhash64(text.encode("utf-8"))


def _compileCookie(section: Section) -> HashPolicy:
    name: bytes = section.get("name").encode("utf-8")
    path: bytes = section.get("path").encode("utf-8")
    ttl = section.seconds("ttl")
    attributes = [
        (each.get("name").encode("utf-8"), each.get("value").encode("utf-8")) for each in section.children("attributes")
    ]

    def hashCookie(headers: RequestHeaders, info: StreamInfo, cookies: list[bytes]) -> int | None:
        value = cookieValue(headers, name)
        if not value:
            if ttl is None:
                return None
            value = _connectionFingerprint(info)
            cookies.append(setCookieValue(name, value, path, int(ttl), attributes))
        return xxhash64(value)

    return hashCookie


def _hashSourceAddress(headers: RequestHeaders, info: StreamInfo, cookies: list[bytes]) -> int | None:
    address = info.remoteAddress or info.connection.remoteAddress
    # Envoy hashes the address without its port; a unix socket has none.
    return None if address is None or not address.isIP else xxhash64(address.host.encode("ascii"))


def _compileQueryParameter(section: Section) -> HashPolicy:
    name: bytes = section.get("name").encode("utf-8")

    def hashParameter(headers: RequestHeaders, info: StreamInfo, cookies: list[bytes]) -> int | None:
        value = parseQuery(headers.path).get(name)
        return None if value is None else xxhash64(value)

    return hashParameter


def _compileFilterState(section: Section) -> HashPolicy:
    key: str = section.get("key")

    def hashState(headers: RequestHeaders, info: StreamInfo, cookies: list[bytes]) -> int | None:
        held = None if info.filterState is None else info.filterState.get(key)
        if held is None and info.connection.filterState:
            held = info.connection.filterState.get(key)
        return xxhash64(held.encode("utf-8", "surrogateescape")) if isinstance(held, HashableText) else None

    return hashState


def _compileOne(section: Section) -> HashPolicy | None:
    kind = section.oneof("policy_specifier")
    if kind == "header":
        return _compileHeader(section.childOrEmpty(kind))
    if kind == "cookie":
        return _compileCookie(section.childOrEmpty(kind))
    if kind == "query_parameter":
        return _compileQueryParameter(section.childOrEmpty(kind))
    if kind == "connection_properties":
        return _hashSourceAddress if section.childOrEmpty(kind).get("source_ip") else None
    if kind == "filter_state":
        return _compileFilterState(section.childOrEmpty(kind))
    section.refuse("header, cookie, query_parameter, filter_state or connection_properties is needed", kind or "")
    return None


def compileHashPolicy(sections: Sequence[Section]) -> HashPolicy | None:
    """
    Compile a list of C{RouteAction.HashPolicy}.

    @return: L{None} where there is none.
    """
    compiled = [(_compileOne(section), bool(section.get("terminal"))) for section in sections]
    policies = tuple([(policy, terminal) for policy, terminal in compiled if policy is not None])
    if not policies:
        return None
    if len(policies) == 1:
        return policies[0][0]

    def hashAll(headers: RequestHeaders, info: StreamInfo, cookies: list[bytes]) -> int | None:
        made: int | None = None
        for policy, terminal in policies:
            found = policy(headers, info, cookies)
            if found is not None:
                # Turned by a bit, so that two equal policies do not cancel each other out.
                made = found if made is None else ((made << 1 | made >> 63) & _MASK) ^ found
            if terminal and made is not None:
                break
        return made

    return hashAll
