# -*- test-case-name: tests.controlplane.api.test_site -*-
"""
The API's place in C{twisted.web}: bodies with a limit, callers that are known, answers that end in one way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request, Site

from meshproxy.controlplane.api.access import Access, Caller, Principal
from meshproxy.controlplane.api.call import FLAGS, NUMBERS, Call
from meshproxy.controlplane.api.replies import JSON, PROBLEM, Refused, Reply, toJSON
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.streams import Stream

__all__ = ["APISite", "MAX_BODY"]

MAX_BODY = 16 * 1024 * 1024
"""
Bytes of a body: thousands of resources in one transaction, and no more than what the memory of a small machine bears.
"""

_FIELDS = 100
# Seconds that a connection may be silent between requests, or while one is sent.
_IDLE = 60.0
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


class _APIRequest(Request):
    """
    A request whose body is bounded while it comes.
    """

    _got = 0

    def gotLength(self, length: int | None) -> None:
        """
        A body whose length is announced, and too large, is not waited for.
        """
        if length is not None and length > MAX_BODY:
            self._tooLarge()
            return
        Request.gotLength(self, length)

    def handleContentChunk(self, data: bytes) -> None:
        """
        Nor is one of which more comes than is allowed.
        """
        self._got += len(data)
        if self._got > MAX_BODY:
            self._tooLarge()
        elif self.content is not None:
            Request.handleContentChunk(self, data)

    def _tooLarge(self) -> None:
        channel = cast(Any, self.channel)
        body = toJSON(Refused(413, f"a body has at most {MAX_BODY} bytes").problem())
        channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        channel.loseConnection()

    def process(self) -> None:
        """
        Instead of C{twisted.web}'s resources: the router.
        """
        cast(Any, self.channel).site.serve(self)


class APISite(Site):
    """
    Serves a L{Router}'s operations.

    @ivar answers: How often it answered, by method and status.
    """

    requestFactory = _APIRequest
    _log = Logger()

    def __init__(
        self,
        router: Router,
        access: Access,
        reactor: Any,
        audit: Callable[[Call, int], None] | None = None,
        identities: Callable[[Any], Sequence[str]] | None = None,
    ) -> None:
        """
        @param audit: Told of each request that may change something, and of its status.
        @param identities: The URIs in the verified client certificate of a transport.
        """
        # Forms are not taken, and so not read either.
        Site.__init__(self, None, reactor=reactor, parsePOSTFormSubmission=False)
        self.timeOut = _IDLE
        self._router = router
        self._access = access
        self._audit = audit
        self._identities = identities or (lambda transport: ())
        self._streams: set[Stream] = set()
        self.answers: Counter[tuple[str, int]] = Counter()

    def log(self, request: object) -> None:
        """
        No access log of C{twisted.web}'s; changes are audited.
        """

    def stop(self) -> None:
        """
        End the answers that go on.
        """
        for stream in list(self._streams):
            stream.finish()

    def serve(self, request: Any) -> None:
        """
        Answer a request.
        """
        ended: Deferred[Any] = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: ended.cancel())
        ended.addErrback(self._lost)

    def _lost(self, why: Failure) -> None:
        if why.check(CancelledError) is None:
            self._log.failure("an answer could not be sent", why)

    async def _answer(self, request: Any) -> None:
        call: Call | None = None
        try:
            call, operation, parts = self._understand(request)
            if operation.role is not None:
                call.principal.require(operation.role)
            answer = await operation.handler(call, **parts)
        except Refused as refused:
            answer = _refusal(refused, request)
        except CancelledError:
            raise
        except Exception:
            # What went wrong is for the log; the caller may be anybody.
            self._log.failure("{method} {uri} failed", method=request.method, uri=request.uri)
            answer = _refusal(Refused(500, "the control plane failed at this; its log tells why"), request)
        method = request.method.decode("latin-1")
        if isinstance(answer, Stream):
            self.answers[_known(method), 200] += 1
            self._stream(request, answer)
            return
        self.answers[_known(method), answer.code] += 1
        self._send(request, answer)
        if call is not None and call.method in _CHANGING and self._audit is not None:
            self._audit(call, answer.code)

    def _understand(self, request: Any) -> tuple[Call, Any, dict[str, str]]:
        headers = {
            name.decode("latin-1").lower(): values[0].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        for name in (b"host", b"authorization", b"origin"):
            if len(request.requestHeaders.getRawHeaders(name, ())) > 1:
                raise Refused(400, f"the field {name.decode()} stands more than once")
        peer = getattr(request.client, "host", "")
        caller = Caller(peer, self._identities(request.channel.transport), headers)
        segments, query = _target(request.uri)
        method = request.method.decode("latin-1")
        principal, operation, parts = self._find(caller, method, segments)
        body = request.content.read() if request.content is not None else b""
        call = Call(method, segments, query, headers, body, principal, peer)
        if body and operation.consumes and call.contentType not in operation.consumes:
            types = ", ".join(operation.consumes)
            raise Refused(415, f"a body of {call.contentType or 'no type'} is not taken here, only {types}")
        _checkParameters(call, operation)
        return call, operation, parts

    def _find(self, caller: Caller, method: str, segments: Sequence[str]) -> tuple[Principal, Any, dict[str, str]]:
        """
        Who asks comes first: a stranger does not learn which paths there are.
        """
        try:
            principal = self._access.principal(caller)
        except Refused as refused:
            if refused.code != 401:
                raise
            try:
                operation, parts = self._router.find(method, segments)
            except Refused:
                raise refused from None
            if operation.role is not None:
                raise
            return Principal("anonymous", frozenset()), operation, parts
        return (principal, *self._router.find(method, segments))

    def _send(self, request: Any, reply: Reply) -> None:
        body = reply.body()
        request.setResponseCode(reply.code)
        request.setHeader("content-type", reply.contentType)
        # Nothing here is for a browser to guess at, to frame or to keep.
        request.setHeader("x-content-type-options", "nosniff")
        request.setHeader("cache-control", "no-store")
        for name, value in reply.headers.items():
            request.setHeader(name, value)
        request.setHeader("content-length", str(len(body)))
        if request.method != b"HEAD":
            request.write(body)
        request.finish()

    def _stream(self, request: Any, stream: Stream) -> None:
        request.setHeader("content-type", stream.contentType)
        request.setHeader("cache-control", "no-store")
        self._streams.add(stream)
        request.channel.setTimeout(None)
        stream.start(request, lambda: self._streams.discard(stream))


def _checkParameters(call: Call, operation: Operation) -> None:
    """
    Whatever is done with them: a change that was to be tried only is not made because nobody could read that.

    @raise Refused: If one that is a flag or a number is none.
    """
    for name in operation.parameters:
        if name == "dryRun":
            call.checkDryRun()
        elif name in FLAGS:
            call.flag(name)
        elif name in NUMBERS:
            call.number(name, 0, NUMBERS[name])


def _known(method: str) -> str:
    """
    A method for a stat: whoever asks cannot make new ones.
    """
    return method if method in (*_CHANGING, "GET", "HEAD", "OPTIONS") else "other"


def _target(uri: bytes) -> tuple[list[str], dict[str, list[str]]]:
    """
    The segments of a path and the query.

    @raise Refused: If it cannot be read.
    """
    path, _, query = uri.partition(b"?")
    try:
        segments = [unquote_to_bytes(segment).decode("utf-8") for segment in path.strip(b"/").split(b"/")]
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise Refused(400, "the path or the query cannot be read: escaped UTF-8 is wanted") from error
    parameters: dict[str, list[str]] = {}
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return [] if segments == [""] else segments, parameters


def _refusal(refused: Refused, request: Any) -> Reply:
    """
    A problem; Kubernetes' Status for who asks Kubernetes' paths for JSON and not for problems.
    """
    accepted = request.getHeader("accept") or ""
    path = request.uri.partition(b"?")[0]
    isKubernetes = path.startswith((b"/api/", b"/apis/")) or path in (b"/api", b"/apis")
    if isKubernetes and JSON in accepted and PROBLEM not in accepted:
        return Reply(refused.status(), refused.code, JSON, refused.headers)
    instance = path.decode("latin-1")
    return Reply(refused.problem(instance), refused.code, PROBLEM, refused.headers)
