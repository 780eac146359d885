# -*- test-case-name: tests.filters.http.test_custom_response -*-
"""
C{envoy.filters.http.custom_response}: other answers in place of those of the service, chosen by status and headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshproxy.accesslog.formatter import Formatter
from meshproxy.accesslog.logs import compileFormatString
from meshproxy.config import Section
from meshproxy.config.matchertree import MatcherTree, compileMatcherTree
from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.matchinputs import RESPONSE_INPUTS
from meshproxy.interfaces import Stop
from meshproxy.routing.mutations import Mutation, compileHeaderOptions
from meshproxy.routing.redirects import readDataSource

__all__ = ["CustomResponse", "LocalResponse"]

_MESSAGE = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
_LOCAL = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"

declare(_MESSAGE, "custom_response_matcher")
declare(_LOCAL, "body", "body_format", "status_code", "response_headers_to_add")


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """
    A compiled C{LocalResponsePolicy}.

    @ivar body: The body, or what the format knows as C{%LOCAL_REPLY_BODY%}.
    @ivar status: The status, 0 for that of the response.
    """

    body: bytes
    formatter: Formatter | None
    status: int
    mutate: Mutation | None

    def answer(self, stream: Any, headers: ResponseHeaders) -> Stop:
        """
        Answer instead of the service.
        """
        body = self.body
        if self.formatter is not None:
            stream.localReplyBody = body.decode("utf-8", "surrogateescape")
            body = self.formatter.format(stream).encode("utf-8", "surrogateescape")
        added = HeaderMap()
        if self.mutate is not None:
            self.mutate(added, stream)
        stop: Stop = stream.reply(self.status or headers.status, body, list(added.fields()), "custom_response")
        return stop


class CustomResponse(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    configType = _MESSAGE

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> MatcherTree:
        matcher = section.child("custom_response_matcher")
        if matcher is None:
            return lambda stream: None
        return compileMatcherTree(matcher, RESPONSE_INPUTS, _compilePolicy)

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> Stop | None:
        route = stream.route
        levels = () if route is None else route.overrides.levels.get(self.context.name, ())
        # The most specific level that has an answer, and the filter's own configuration last.
        for matcher in (*levels[::-1], self.config):
            policy: LocalResponse | None = matcher(stream)
            if policy is not None:
                return policy.answer(stream, headers)
        return None


def _compilePolicy(section: Section) -> LocalResponse | None:
    held = section.any("typed_config")
    if held is None or held.typeName != _LOCAL:
        section.refuse(f"not implemented by meshproxy, only {_LOCAL}", "typed_config")
        return None
    body, form = held.child("body"), held.child("body_format")
    return LocalResponse(
        b"" if body is None else readDataSource(body),
        None if form is None else compileFormatString(form),
        held.wrapped("status_code", 0),
        compileHeaderOptions(held, "response_headers_to_add"),
    )
