# -*- test-case-name: tests.admin.test_filter -*-
"""
The HTTP filter that answers for the admin: the end of the chain of the admin's own listener.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from twisted.internet.defer import Deferred

from meshproxy.admin.commands import AdminRequest, AdminResponse
from meshproxy.admin.table import CommandTable
from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import HTTPFilter

__all__ = ["AdminFilter", "parseRequest"]

# What a form may hold, and how many fields: more than anybody writes by hand.
_BODY_LIMIT = 64 * 1024
_FIELDS = 256

_FORM = b"application/x-www-form-urlencoded"

#: The code details of Envoy's own admin.
_DETAILS = "admin_filter_response"


def parseRequest(headers: RequestHeaders, body: bytes = b"") -> tuple[AdminRequest, str]:
    """
    Take a request apart.

    @return: The request, and its path with the query.

    @raise ValueError: If there are too many parameters.
    """
    target = headers.path.decode("utf-8", "replace")
    path, _, query = target.partition("?")
    if not query and body:
        contentType = (headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if contentType == _FORM:
            query = body.decode("utf-8", "replace")
    parameters: dict[str, str] = {}
    every = tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS))
    for name, value in every:
        parameters.setdefault(name, value)
    return AdminRequest(path, parameters, headers.method.decode("latin-1"), every), target


class AdminFilter(HTTPFilter):
    """
    Answers every request. Each admin has a subclass of its own, which names its commands.

    @cvar commands: Who answers.
    """

    shared = True
    terminal = True
    commands: ClassVar[CommandTable]

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> object:
        """
        Answer at once, or when the body is here and the answer is made.
        """
        if not endStream:
            return self._answerWithBody(stream, headers)
        return self._reply(stream, self._answer(headers, b""))

    async def _answerWithBody(self, stream: Any, headers: RequestHeaders) -> None:
        body = await stream.requestBody(_BODY_LIMIT)
        waiting = self._reply(stream, self._answer(headers, body))
        if hasattr(waiting, "send"):
            await waiting  # type: ignore[misc]  # a coroutine, by its methods

    def _answer(self, headers: RequestHeaders, body: bytes) -> AdminResponse:
        if headers.method == b"POST" and _isForeign(headers):
            return AdminResponse("a page of another site may not do that", 403)
        try:
            request, target = parseRequest(headers, body)
        except ValueError:
            return AdminResponse("too many parameters", 400)
        return self.commands.answer(request, target)

    def _reply(self, stream: Any, response: AdminResponse) -> object:
        if isinstance(response.body, str):
            self._send(stream, response, response.body.encode("utf-8"))
            return None
        return self._gather(stream, response, response.body)

    async def _gather(self, stream: Any, response: AdminResponse, pieces: Iterator[str]) -> None:
        """
        Make a long answer piece by piece; the reactor serves others in between.
        """
        made: list[bytes] = []
        for piece in pieces:
            made.append(piece.encode("utf-8"))
            turn: Deferred[None] = Deferred()
            self.context.clock.callLater(0, turn.callback, None)
            await turn
        self._send(stream, response, b"".join(made))

    def _send(self, stream: Any, response: AdminResponse, body: bytes) -> None:
        headers = (
            (b"content-type", response.contentType.encode("ascii")),
            (b"cache-control", b"no-cache, max-age=0"),
            (b"x-content-type-options", b"nosniff"),
            *response.headers,
        )
        stream.localReply(LocalReply(response.status, body, _DETAILS, 0, headers, isPage=True))


def _isForeign(headers: RequestHeaders) -> bool:
    """
    Whether a browser sends this for a page that is not the admin's: any site may send forms to a loopback address, and
    the browser says from where.
    """
    origin = headers.get(b"origin")
    return origin is not None and urlsplit(origin.decode("latin-1")).netloc.encode("latin-1") != headers.authority
