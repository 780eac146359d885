# -*- test-case-name: tests.codec.http1.test_cases -*-
"""
C{header_key_format} with C{preserve_case}: names of fields go on as they came, for peers that tell C{X-A} from C{x-a}.

Inside names are in lower case, as everywhere. A head that such a codec received carries along how its names were
written, and whichever codec writes that head writes them so again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match
from typing import NamedTuple

from meshproxy.codec.http1.downstream import DownstreamCodec
from meshproxy.codec.http1.interfaces import Http1Counters, Http1Options, IRequestSink, IResponseSink
from meshproxy.codec.http1.serialize import NameCases, properName
from meshproxy.codec.http1.upstream import UpstreamCodec
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = [
    "CasedRequestHeaders",
    "CasedResponseHeaders",
    "CasePreservingDownstreamCodec",
    "CasePreservingUpstreamCodec",
    "makeDownstreamCodec",
    "makeUpstreamCodec",
]

_names = re.compile(rb"(?<=\n)[^:\r\n \t]++(?=:)").findall
_reason = re.compile(rb"HTTP/1\.[01] [0-9]{3} ?([^\r\n]*)").match


def _casesOf(head: bytes, isProper: bool, reason: bytes | None = None) -> NameCases:
    """
    How a head writes its names; the first way counts where a name comes in several.
    """
    written: dict[bytes, bytes] = {}
    for name in _names(head):
        written.setdefault(name.lower(), name)
    return NameCases(written, properName if isProper else None, reason)


def _take(headers: HeaderMap, other: HeaderMap) -> None:
    headers.first = other.first
    # Not None: what is written in a hurry is written in lower case, so this keeps out of the short ways.
    headers.more = {} if other.more is None else other.more


class CasedRequestHeaders(RequestHeaders):
    """
    The head of a request that remembers how its names were written.
    """

    __slots__ = ("cases",)

    def __init__(self, headers: RequestHeaders, cases: NameCases) -> None:
        self.method = headers.method
        self.path = headers.path
        self.authority = headers.authority
        self.scheme = headers.scheme
        _take(self, headers)
        self.cases = cases

    def copy(self) -> RequestHeaders:
        return CasedRequestHeaders(super().copy(), self.cases)


class CasedResponseHeaders(ResponseHeaders):
    """
    The head of a response that remembers how its names were written.
    """

    __slots__ = ("cases",)

    def __init__(self, headers: ResponseHeaders, cases: NameCases) -> None:
        self.status = headers.status
        _take(self, headers)
        self.cases = cases

    def copy(self) -> ResponseHeaders:
        return CasedResponseHeaders(super().copy(), self.cases)


class CasePreservingDownstreamCodec(DownstreamCodec):
    """
    Reads requests and remembers how their names were written.
    """

    def _takeMatch(self, match: Match[bytes]) -> RequestHeaders | None:
        return None

    def _explain(self, head: bytes) -> tuple[RequestHeaders, bool]:
        headers, isHTTP10 = super()._explain(head)
        return CasedRequestHeaders(headers, _casesOf(head, self._options.properCase)), isHTTP10


class CasePreservingUpstreamCodec(UpstreamCodec):
    """
    Reads responses and remembers how their names were written.
    """

    def _takeMatch(self, match: Match[bytes]) -> ResponseHeaders | None:
        return None

    def _explain(self, head: bytes) -> tuple[ResponseHeaders, bool]:
        headers, isHTTP10 = super()._explain(head)
        reason = _reason(head) if self._options.forwardsReason else None
        cases = _casesOf(head, self._options.properCase, None if reason is None else reason[1])
        return CasedResponseHeaders(headers, cases), isHTTP10


class _Roles(NamedTuple):
    downstream: Callable[[IRequestSink, Http1Options, Http1Counters | None], DownstreamCodec]
    upstream: Callable[[IResponseSink, Http1Options], UpstreamCodec]


_ROLES = {
    False: _Roles(DownstreamCodec, UpstreamCodec),
    True: _Roles(CasePreservingDownstreamCodec, CasePreservingUpstreamCodec),
}


def makeDownstreamCodec(
    sink: IRequestSink, options: Http1Options, counters: Http1Counters | None = None
) -> DownstreamCodec:
    """
    The downstream codec that the options ask for.
    """
    return _ROLES[options.preservesCase].downstream(sink, options, counters)


def makeUpstreamCodec(sink: IResponseSink, options: Http1Options) -> UpstreamCodec:
    """
    The upstream codec that they ask for.
    """
    return _ROLES[options.preservesCase].upstream(sink, options)
