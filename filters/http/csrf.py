# -*- test-case-name: tests.filters.http.test_csrf -*-
"""
C{envoy.filters.http.csrf}: refuses requests that change something and come from a page of another origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from meshproxy.config import Section
from meshproxy.config.matchers import BytesTest, compileStringMatcher
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.interfaces import IHTTPStream

__all__ = ["CSRF", "CSRFPolicy", "hostAndPort"]

_MESSAGE = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"

declare(_MESSAGE, "filter_enabled", "shadow_enabled", "additional_origins")

_CHANGING = frozenset((b"POST", b"PUT", b"DELETE", b"PATCH"))
# RFC 9110, 10.1.3: a Referer has no fragment; one that has is no URL here, as in Envoy.
_authority = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)[^#]*\Z").match


def hostAndPort(url: bytes | None) -> bytes:
    """
    The host and port of a URL; something else is taken as it is, as in Envoy.
    """
    if not url:
        return b""
    found = _authority(url)
    return url if found is None else found[1]


@dataclass(frozen=True, slots=True)
class CSRFPolicy:
    """
    A compiled C{CsrfPolicy}.

    @ivar isEnabled: Whether requests are refused; likewise C{isShadow}, whether they are only counted.
    @ivar origins: Hosts that may send such requests besides the target itself.
    """

    isEnabled: Callable[[], bool]
    isShadow: Callable[[], bool]
    origins: tuple[BytesTest, ...]

    def allows(self, source: bytes, target: bytes) -> bool:
        """
        Whether a page of one host may change something at another.
        """
        return source == target or any(test(source) for test in self.origins)


class CSRF(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    configType = _MESSAGE

    def __init__(self, config: CSRFPolicy, context: FilterContext) -> None:
        super().__init__(config, context)
        scope = context.scope.scope("csrf.")
        self._missing = scope.counter("missing_source_origin")
        self._invalid = scope.counter("request_invalid")
        self._valid = scope.counter("request_valid")

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> CSRFPolicy:
        return CSRFPolicy(
            context.runtime.fraction(section.child("filter_enabled")),
            context.runtime.fraction(section.child("shadow_enabled")),
            tuple(compileStringMatcher(held) for held in section.children("additional_origins")),
        )

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        if headers.method not in _CHANGING:
            return None
        policy: CSRFPolicy = stream.routeConfig(self.context.name) or self.config
        isEnabled = policy.isEnabled()
        if not isEnabled and not policy.isShadow():
            return None
        source = hostAndPort(headers.joined(b"origin")) or hostAndPort(headers.joined(b"referer"))
        if not source:
            self._missing.value += 1
        if source and policy.allows(source, headers.authority):
            self._valid.value += 1
            return None
        self._invalid.value += 1
        return stream.reply(403, b"Invalid origin", details="csrf_origin_mismatch") if isEnabled else None
