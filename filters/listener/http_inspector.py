# -*- test-case-name: tests.filters.listener.test_http_inspector -*-
"""
C{envoy.filters.listener.http_inspector}: finds out whether a client speaks HTTP in cleartext, and which version.
"""

from __future__ import annotations

import re

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.interfaces import MORE, IIncomingConnection
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext

__all__ = ["HTTPInspector"]

_MESSAGE = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"

declare(_MESSAGE)

# RFC 9113, 3.4.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# How long a request line may be; Envoy's.
_MOST = 65536

# What passes for a request line: this chooses a filter chain, and whoever serves that reads strictly. RFC 9112, 3.2 has
# the forms of a target. No expression here looks at a byte twice.
_BLANKS = re.compile(rb"[ \t\r]+")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}(?:[ \t\r]|\Z)")
_TARGET = re.compile(rb"/|\*|[A-Za-z][A-Za-z0-9+.\-]{0,31}://")
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])\Z")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_CONTROLS = bytes(range(33))


class HTTPInspector(ListenerFilter):
    """
    The listener filter.
    """

    configType = _MESSAGE
    maxBytes = _MOST

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        scope = self._scope = context.store.scope("http_inspector.")
        self._readError = scope.counter("read_error")
        self._notFound = scope.counter("http_not_found")
        self._found = {
            "http/1.0": scope.counter("http10_found"),
            "http/1.1": scope.counter("http11_found"),
            "h2c": scope.counter("http2_found"),
        }

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        facts = connection.facts
        if facts.transportProtocol != "raw_buffer":
            # What is within TLS is for ALPN to say.
            return None
        protocol = _protocolOf(data)
        if protocol is None:
            if len(data) < _MOST:
                return MORE
            self._readError.value += 1
            connection.close()
        elif protocol:
            self._found[protocol].value += 1
            facts.applicationProtocols = (protocol,)
        else:
            self._notFound.value += 1
        return None

    def stop(self) -> None:
        """
        See L{IListenerFilter.stop}.
        """
        self._scope.close()


def _protocolOf(data: bytes) -> str | None:
    """
    The protocol that some first bytes speak, by its name in ALPN.

    @return: Empty if it is not HTTP, L{None} if more bytes are needed to tell.
    """
    if data[: len(_PREFACE)] == _PREFACE[: len(data)]:
        return "h2c" if len(data) >= len(_PREFACE) else None
    line, end, _ = data.partition(b"\n")
    if _METHOD.match(line) is None:
        return ""
    if not end:
        return None
    words = _BLANKS.split(line.rstrip(_CONTROLS), 3)
    if len(words) not in (2, 3) or _NOT_ASCII.search(words[1]) is not None:
        return ""
    if _TARGET.match(words[1]) is None and words[0] != b"CONNECT":
        return ""
    if len(words) == 2:
        return "http/1.0"
    version = _VERSION.match(words[2])
    if version is None:
        return ""
    return "http/1.1" if version.groups() == (b"1", b"1") else "http/1.0"
