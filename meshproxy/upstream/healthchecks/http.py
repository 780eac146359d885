# -*- test-case-name: tests.upstream.healthchecks.test_http -*-
"""
Checks over HTTP: C{http_health_check}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshproxy.config import Section
from meshproxy.config.matchers import BytesTest, compileStringMatcher
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.routing.mutations import Mutation, compileHeaderOptions
from meshproxy.upstream.healthchecks.exchange import USER_AGENT, Exchange, FailureKind, IJudge
from meshproxy.upstream.healthchecks.settings import compilePayloads, holdsAll

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo
    from meshproxy.stats.metrics import Counter
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["HTTPCheck", "HTTPProbe", "compileHTTPCheck"]

# Methods whose requests have no body.
_BODILESS = ("GET", "HEAD", "DELETE", "TRACE")


@dataclass(frozen=True, slots=True)
class HTTPCheck:
    """
    What is asked, and which answers are good.

    @ivar host: C{:authority}, unless the endpoint has another; empty for the cluster's name.
    @ivar expected: Ranges of statuses that are good, and C{retriable} of such as have to come several times to be bad:
        from one up to below the other.
    @ivar received: What the body must hold.
    @ivar bodyLimit: How much of the body is looked at; 0 for all of it.
    @ivar isService: Whether the service that answered, by its name, is the right one; L{None} for any.
    """

    method: bytes
    path: bytes
    host: str
    isHTTP2: bool
    body: bytes
    expected: tuple[tuple[int, int], ...]
    retriable: tuple[tuple[int, int], ...]
    received: tuple[bytes, ...]
    bodyLimit: int
    isService: BytesTest | None
    mutate: Mutation | None


def compileHTTPCheck(section: Section) -> HTTPCheck:
    """
    Read it from an C{HttpHealthCheck}.
    """
    method: str = section.get("method")
    if method == "METHOD_UNSPECIFIED":
        method = "GET"
    body = b"".join(compilePayloads([payload for payload in [section.child("send")] if payload is not None]))
    if body and method in _BODILESS:
        section.refuse(
            f"HTTP health check cannot specify a request payload with method {method!r}: POST, PUT, PATCH and OPTIONS "
            "have one",
            "send",
        )
    received = compilePayloads(section.children("receive"))
    limit: int = section.wrapped("response_buffer_size", 1024)
    total = sum(map(len, received))
    if limit and total > limit:
        section.refuse(
            f"The expected response length '{total}' is over than http health response buffer size '{limit}'", "receive"
        )
    matcher = section.child("service_name_matcher")
    return HTTPCheck(
        method.encode("ascii"),
        section.get("path").encode("utf-8"),
        section.get("host"),
        section.get("codec_client_type") == "HTTP2",
        body,
        _compileRanges(section, "expected") or ((200, 201),),
        _compileRanges(section, "retriable"),
        received,
        limit,
        None if matcher is None else compileStringMatcher(matcher),
        compileHeaderOptions(section, "request_headers_to_add", "request_headers_to_remove"),
    )


def _compileRanges(section: Section, kind: str) -> tuple[tuple[int, int], ...]:
    found = []
    field = f"{kind}_statuses"
    for index, each in enumerate(section.children(field)):
        start, end = each.get("start"), each.get("end")
        # As Envoy's, these are read as numbers that are not negative.
        what = ""
        if start % (1 << 64) >= end % (1 << 64):
            what = f"start < end, but found start={start} and end={end}"
        elif start < 100:
            what = f"start >= 100, but found start={start}"
        elif end > 600:
            what = f"end <= 600, but found end={end}"
        if what:
            section.refuse(f"Invalid http {kind} status range: expecting {what}", f"{field}[{index}]")
        found.append((start, end))
    return tuple(found)


class HTTPProbe(Exchange):
    """
    Asks an endpoint.
    """

    def __init__(
        self,
        check: HTTPCheck,
        pool: HTTP1Pool,
        judge: IJudge,
        authority: bytes,
        scheme: bytes,
        info: Callable[[], StreamInfo],
        verifies: Callable[[], bool],
        verified: Counter,
    ) -> None:
        """
        @param info: Makes what added headers may speak of.
        @param verifies: Whether to look at the name of the service (C{health_check.verify_cluster} of the runtime).
        @param verified: Counts how often that was done.
        """
        super().__init__(pool, judge)
        self._check = check
        self._authority = authority
        self._scheme = scheme
        self._info = info
        self._verifies = verifies
        self._verified = verified
        self._head: ResponseHeaders | None = None
        self._body = bytearray()

    def send(self, connection: Any) -> None:
        """
        See L{Exchange.send}.
        """
        check = self._check
        self._head = None
        self._body.clear()
        headers = RequestHeaders(check.method, check.path, self._authority, [USER_AGENT], self._scheme)
        if check.mutate is not None:
            check.mutate(headers, self._info())
        if check.body:
            headers.set(b"content-length", b"%d" % len(check.body))
            connection.sendHeaders(headers, False)
            connection.sendData(check.body, True)
        else:
            connection.sendHeaders(headers, True)

    def headReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{Exchange.headReceived}.
        """
        self._head = headers

    def bodyReceived(self, data: bytes) -> None:
        """
        See L{Exchange.bodyReceived}.
        """
        check = self._check
        if check.received:
            limit = check.bodyLimit
            self._body += data[: limit - len(self._body)] if limit else data

    def completed(self, trailers: HeaderMap | None) -> None:
        """
        See L{Exchange.completed}.
        """
        self.end()
        head, check, judge = self._head, self._check, self.judge
        assert head is not None
        status = head.status
        excludes = head.get(b"x-envoy-immediate-health-check-fail") is not None
        if check.received and not holdsAll(bytes(self._body), check.received):
            judge.failed(FailureKind.ACTIVE, excludes=excludes, status=status)
        elif not _isWithin(status, check.expected):
            judge.failed(FailureKind.ACTIVE, _isWithin(status, check.retriable), excludes, status)
        elif not self._isRightService(head):
            judge.failed(FailureKind.ACTIVE, status=status)
        else:
            judge.passed(head.get(b"x-envoy-degraded") is not None)

    def _isRightService(self, head: ResponseHeaders) -> bool:
        test = self._check.isService
        if test is None or not self._verifies():
            return True
        self._verified.value += 1
        return test(head.get(b"x-envoy-upstream-healthchecked-cluster") or b"")


def _isWithin(status: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(start <= status < end for start, end in ranges)
