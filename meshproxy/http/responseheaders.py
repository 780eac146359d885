# -*- test-case-name: tests.http.test_responseheaders -*-
"""
What the connection manager does to the head of a response after all filters saw it (Envoy's
C{ConnectionManagerUtility::mutateResponseHeaders}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToString

from meshproxy.codec.http1 import COOKIES
from meshproxy.headers import ResponseHeaders

if TYPE_CHECKING:
    from meshproxy.http.settings import ManagerSettings
    from meshproxy.http.stream import Stream

__all__ = ["compileResponseHeaders"]

# RFC 9110, 7.6.1: they speak of the connection to the upstream.
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


class _Date:
    """
    The C{date} field, made once a second.
    """

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def at(self, now: float) -> bytes:
        """
        RFC 9110, 5.6.7: C{Sun, 06 Nov 1994 08:49:37 GMT}.
        """
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetimeToString(second)
        return self._text


def compileResponseHeaders(settings: ManagerSettings, clock: IReactorTime) -> Callable[[Stream, ResponseHeaders], None]:
    """
    Make the function that finishes heads.
    """
    date = _Date()
    serverName = settings.serverName
    overwrite = settings.serverHeader == "OVERWRITE"
    appendIfAbsent = settings.serverHeader == "APPEND_IF_ABSENT"
    via = settings.via
    alwaysRequestId = settings.alwaysSetRequestId
    # Who may force a trace, only an internal client, is told under which id to look for it.
    mayForceTrace = settings.forwarding.isInternal is not None
    isPlain = _HOP_BY_HOP.isdisjoint

    def finish(stream: Stream, headers: ResponseHeaders) -> None:
        first = headers.first
        if not isPlain(first):
            if b"connection" in first and headers.more is None and headers.status != 101:
                del first[b"connection"]
            if not isPlain(first):
                _endHopByHop(stream, headers)
        if alwaysRequestId or (mayForceTrace and b"x-envoy-force-trace" in stream.requestHeaders.first):
            requestId = stream.requestHeaders.first.get(b"x-request-id")
            if requestId is not None:
                headers.set(b"x-request-id", requestId)
        if b"date" not in first:
            first[b"date"] = date.at(clock.seconds())
        if overwrite:
            if headers.more is None:
                first[b"server"] = serverName
            else:
                headers.set(b"server", serverName)
        elif appendIfAbsent and b"server" not in first:
            first[b"server"] = serverName
        if via:
            existing = headers.joined(b"via")
            headers.set(b"via", via if existing is None else existing + b", " + via)

    def finishUsual(stream: Stream, headers: ResponseHeaders) -> None:
        # The same for a head without any field twice but cookies, where nothing but date and server is configured.
        first = headers.first
        if headers.status == 101 or (headers.more is not None and headers.more.keys() != COOKIES):
            finish(stream, headers)
            return
        # Most responses have one of these, and nothing else that ends here.
        if b"connection" in first:
            del first[b"connection"]
        if b"transfer-encoding" in first:
            del first[b"transfer-encoding"]
        if not isPlain(first):
            _endHopByHop(stream, headers)
        if b"date" not in first:
            first[b"date"] = date.at(clock.seconds())
        first[b"server"] = serverName

    tellStatus = settings.proxyStatus
    if tellStatus is None:
        return finishUsual if overwrite and not (via or alwaysRequestId or mayForceTrace) else finish

    def finishAndTell(stream: Stream, headers: ResponseHeaders) -> None:
        finish(stream, headers)
        tellStatus(stream, headers)

    return finishAndTell


def _endHopByHop(stream: Stream, headers: ResponseHeaders) -> None:
    if headers.status == 101 and stream.upgrade:
        # The downstream is told what its connection becomes.
        for name in _HOP_BY_HOP - {b"connection", b"upgrade"}:
            headers.remove(name)
        return
    for name in _HOP_BY_HOP:
        headers.remove(name)
