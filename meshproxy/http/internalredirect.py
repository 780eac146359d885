# -*- test-case-name: tests.http.test_internalredirect -*-
"""
Following an upstream's redirect here: the stream ends, and another one with the same downstream begins, from the
first filter on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.routing.hosts import withoutPort
from meshproxy.routing.internalredirects import InternalRedirectPolicy, RedirectHop

if TYPE_CHECKING:
    from meshproxy.http.stats import ConnectionManagerStats
    from meshproxy.http.stream import Stream

__all__ = ["prepareRedirect", "splitURL"]

#: How many redirects a stream is the outcome of, in its filter state.
_COUNT: Final = "num_internal_redirects"

# An absolute URL; user information, which no request has, is left out as in Envoy.
_url = re.compile(rb"(https?)://(?:[^/?#@]*@)?([A-Za-z0-9.\-_~%:\[\]]+)([/?][!-~]*)?\Z", re.IGNORECASE).match
# What a client meant for the host that it named (CVE-2022-21712 in another client).
_CREDENTIALS: Final = (b"authorization", b"proxy-authorization", b"cookie")


class _Head(NamedTuple):
    """
    What of a head a redirect changes, to be put back where it is not followed.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    fields: HeaderMap


def _remember(headers: RequestHeaders) -> _Head:
    fields = HeaderMap(headers.fields())
    return _Head(headers.method, headers.scheme, headers.authority, headers.path, fields)


def _restore(headers: RequestHeaders, head: _Head) -> None:
    headers.method, headers.scheme, headers.authority, headers.path, fields = head
    headers.first, headers.more = fields.first, fields.more


def splitURL(url: bytes) -> tuple[bytes, bytes, bytes] | None:
    """
    The scheme, the host and the path of an absolute URL, without its fragment; L{None} for anything else.
    """
    found = _url(url.partition(b"#")[0])
    if found is None:
        return None
    path = found[3] or b"/"
    return found[1].lower(), found[2], path if path[:1] == b"/" else b"/" + path


def _copyFields(names: tuple[bytes, ...], response: ResponseHeaders, headers: RequestHeaders) -> None:
    for name in names:
        headers.remove(name)
        for value in response.values(name):
            headers.add(name, value)


def prepareRedirect(
    stream: Stream, policy: InternalRedirectPolicy, response: ResponseHeaders, stats: ConnectionManagerStats
) -> bool:
    """
    Turn the head of a request into that of the request that a redirect asks for.

    @return: Whether it is to be followed; else the head is as it was, and the redirect is the answer.
    """
    headers = stream.requestHeaders
    location = response.first.get(b"location", b"")
    found = splitURL(location)
    if found is None:
        stats.redirectBadLocation.value += 1
        return False
    scheme, host, path = found
    fromTLS, toTLS = headers.scheme == b"https", scheme == b"https"
    if fromTLS is not toTLS and not policy.allowsCrossScheme:
        stats.redirectUnsafeScheme.value += 1
        return False
    state = stream.filterState
    count = state.get(_COUNT, 0)
    if not isinstance(count, int) or count >= policy.most:
        stats.redirectTooMany.value += 1
        return False
    before = _remember(headers)
    origin = stream.routeName
    if withoutPort(host).lower() != withoutPort(headers.authority).lower():
        for name in _CREDENTIALS:
            headers.remove(name)
    _copyFields(policy.headersToCopy, response, headers)
    headers.scheme, headers.authority, headers.path = scheme, host, path
    stream.clearRouteCache()
    if not _isAllowed(stream, policy, RedirectHop(origin, stream.routeName, fromTLS, toTLS, state), stats):
        _restore(headers, before)
        stream.clearRouteCache()
        return False
    if response.status == 303 and headers.method not in (b"GET", b"HEAD"):
        # RFC 9110, 15.4.4: another resource, which is only to be retrieved.
        headers.method = b"GET"
        for name in (b"content-length", b"transfer-encoding"):
            headers.remove(name)
    state[_COUNT] = count + 1
    original = b"%b://%b%b" % (b"https" if fromTLS else b"http", before.authority, before.path)
    headers.set(b"x-envoy-original-url", original)
    return True


def _isAllowed(stream: Stream, policy: InternalRedirectPolicy, hop: RedirectHop, stats: ConnectionManagerStats) -> bool:
    if stream.route is None:
        stats.redirectNoRoute.value += 1
        return False
    if not all(predicate(hop) for predicate in policy.predicates):
        stats.redirectPredicate.value += 1
        return False
    return True
