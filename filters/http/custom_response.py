# -*- test-case-name: tests.filters.http.test_custom_response -*-
"""
C{envoy.filters.http.custom_response}: other answers in place of those of the service, chosen by status and headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from meshproxy.accesslog.formatter import Formatter
from meshproxy.accesslog.logs import compileFormatString
from meshproxy.config import Section
from meshproxy.config.matchertree import MatcherTree, compileMatcherTree
from meshproxy.config.supported import declare
from meshproxy.flags import Details
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.internalredirect import splitURL
from meshproxy.http.matchinputs import RESPONSE_INPUTS
from meshproxy.interfaces import STOP, Stop
from meshproxy.routing.mutations import Mutation, compileHeaderOptions
from meshproxy.routing.redirects import Location, compileRedirect, readDataSource
from meshproxy.stats.metrics import Counter

__all__ = ["CustomResponse", "Fetched", "LocalResponse", "RedirectedResponse"]

_MESSAGE = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
_LOCAL = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"
_REDIRECT = "envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy"

declare(_MESSAGE, "custom_response_matcher")
declare(_LOCAL, "body", "body_format", "status_code", "response_headers_to_add")
declare(_LOCAL, "preserve_response_code_details", "response_code_details")
declare(_REDIRECT, "uri", "redirect_action", "status_code", "response_headers_to_add", "request_headers_to_add")

#: Where in the filter state of the stream that fetches it stands which policy wants it.
_STATE: Final = "envoy.filters.http.custom_response"


@dataclass(frozen=True, slots=True)
class LocalResponse:
    """
    A compiled C{LocalResponsePolicy}.

    @ivar body: The body, or what the format knows as C{%LOCAL_REPLY_BODY%}.
    @ivar status: The status, 0 for that of the response.
    @ivar details: What logs tell of why; L{None} for what they would have told.
    """

    body: bytes
    formatter: Formatter | None
    status: int
    mutate: Mutation | None
    details: str | None = Details.EMPTY

    def answer(self, stream: Any, headers: ResponseHeaders, reached: bool) -> Stop:
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
        details = stream.responseCodeDetails if self.details is None else self.details
        stop: Stop = stream.reply(self.status or headers.status, body, list(added.fields()), details)
        return stop


@dataclass(frozen=True, slots=True)
class RedirectedResponse:
    """
    A compiled C{RedirectPolicy}: the answer is that of another route.

    @ivar location: The URL to ask for.
    @ivar status: The status, 0 for that of the response.
    @ivar mutateRequest: What it is asked for with.
    @ivar mutate: What becomes of the head of a good answer.
    """

    location: Location
    status: int
    mutateRequest: Mutation | None
    mutate: Mutation | None
    noRoute: Counter
    invalidURI: Counter

    def answer(self, stream: Any, headers: ResponseHeaders, reached: bool) -> Stop | None:
        """
        Ask for another response, where that can be done; else let this one go on.

        @param reached: Whether the head of the request came as far as this filter.
        """
        # The rest of a request that is still coming would be taken for the next one.
        if not reached or stream.requestEnd is None or stream.upgrade:
            return None
        asked: RequestHeaders = stream.requestHeaders
        before = asked.scheme, asked.authority, asked.path
        found = splitURL(self.location(asked, stream))
        if found is None:
            asked.path = before[2]
            self.invalidURI.value += 1
            return None
        asked.scheme, asked.authority, asked.path = found
        if self.mutateRequest is not None:
            # As in Envoy, %RESP% says nothing here.
            stream.responseHeaders, stream.responseCode = None, headers.status
            self.mutateRequest(asked, stream)
            stream.responseHeaders, stream.responseCode = headers, 0
        stream.clearRouteCache()
        if stream.route is None:
            # As in Envoy, what was added for it stays.
            asked.scheme, asked.authority, asked.path = before
            stream.clearRouteCache()
            self.noRoute.value += 1
            return None
        if asked.method != b"HEAD":
            # HEAD stays what it is: its client would take a body for the next response.
            asked.method = b"GET"
        for name in (b"content-length", b"transfer-encoding"):
            asked.remove(name)
        stream.filterState[_STATE] = Fetched(self, self.status or headers.status)
        stream.beginAgain(headers)
        return STOP


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    What the stream that fetches the answer knows of it.

    @ivar status: That of the answer.
    """

    policy: RedirectedResponse
    status: int

    def finish(self, stream: Any, headers: ResponseHeaders) -> None:
        """
        Make the answer of what was fetched.
        """
        if headers.status == 304:
            # Its length is that of what the client has (RFC 9110, 15.4.5), and the answer has no body.
            headers.remove(b"content-length")
        if self.policy.mutate is not None:
            self.policy.mutate(headers, stream)
        headers.status = self.status


Policy = LocalResponse | RedirectedResponse


class CustomResponse(HTTPFilter):
    """
    Each stream has an instance, which knows whether the request passed it.
    """

    configType = _MESSAGE
    _reached = False

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> MatcherTree:
        matcher = section.child("custom_response_matcher")
        if matcher is None:
            return lambda stream: None
        return compileMatcherTree(matcher, RESPONSE_INPUTS, lambda action: _compilePolicy(action, context))

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> None:
        self._reached = True

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> Stop | None:
        fetched: Fetched | None = stream.filterState.get(_STATE)
        if fetched is not None:
            fetched.finish(stream, headers)
            return None
        route = stream.route
        levels = () if route is None else route.overrides.levels.get(self.context.name, ())
        # The most specific level that has an answer, and the filter's own configuration last.
        for matcher in (*levels[::-1], self.config):
            policy: Policy | None = matcher(stream)
            if policy is not None:
                return policy.answer(stream, headers, self._reached)
        return None


def _compilePolicy(section: Section, context: FilterContext) -> Policy | None:
    held = section.any("typed_config")
    if held is not None and held.typeName == _REDIRECT:
        return _compileRedirected(held, context)
    if held is None or held.typeName != _LOCAL:
        section.refuse(f"not implemented by meshproxy, only {_LOCAL} and {_REDIRECT}", "typed_config")
        return None
    body, form = held.child("body"), held.child("body_format")
    details: str | None = held.get("response_code_details") or Details.EMPTY
    if held.oneof("response_code_details_action") == "preserve_response_code_details":
        details = None
        if not held.get("preserve_response_code_details"):
            held.refuse("value must equal true", "preserve_response_code_details")
    return LocalResponse(
        b"" if body is None else readDataSource(body),
        None if form is None else compileFormatString(form),
        held.wrapped("status_code", 0),
        compileHeaderOptions(held, "response_headers_to_add"),
        details,
    )


def _compileRedirected(section: Section, context: FilterContext) -> Policy | None:
    uri: bytes = section.get("uri").encode("utf-8")
    action = section.child("redirect_action")

    def location(_headers: RequestHeaders, _stream: Any) -> bytes:
        return uri

    if action is not None:
        for field in ("prefix_rewrite", "regex_rewrite"):
            if action.has(field):
                action.refuse("not for custom responses", field)
        if "#" in action.get("path_redirect"):
            action.refuse("a fragment is not for the wire", "path_redirect")
        if not action.get("host_redirect") and not action.get("path_redirect"):
            action.refuse("at least one of host_redirect and path_redirect is needed")
        location = compileRedirect(action, None).location  # type: ignore[assignment]
    elif splitURL(uri) is None:
        section.refuse(f"{section.get('uri')!r} is no absolute URL of http or https", "uri")
    return RedirectedResponse(
        location,
        section.wrapped("status_code", 0),
        compileHeaderOptions(section, "request_headers_to_add"),
        compileHeaderOptions(section, "response_headers_to_add"),
        context.scope.counter("custom_response_redirect_no_route"),
        context.scope.counter("custom_response_invalid_uri"),
    )
