"""
Services of the demo, asked in memory.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

from attrs import frozen
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, Cooperator
from twisted.web.client import FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from meshproxy.controlplane.demo.web import Answer, App, Caller, content

__all__ = ["Asked", "Peers", "Told", "asked", "begun"]


@frozen
class Told:
    """
    What a service answered.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """
        The body, as JSON.
        """
        return json.loads(self.body)


class Asked:
    """
    A request under way.

    @ivar told: The answer, once it is there.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        path: str,
        headers: dict[str, str] | None = None,
        form: bytes | None = None,
    ) -> None:
        self._agent = RequestTraversalAgent(App("it", answer))
        self.told: Told | None = None
        sent = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        named = Headers({name: [value] for name, value in sent.items()})
        body = None if form is None else _form(form)
        method = b"GET" if form is None else b"POST"
        work = self._agent.request(method, f"http://it{path}".encode(), named, body)
        work.addCallback(lambda response: Deferred.fromCoroutine(self._take(response)))
        self.problem: Any = None
        work.addErrback(lambda failure: setattr(self, "problem", failure))
        self._agent.flush()

    async def _take(self, response: Any) -> None:
        headers = {name.decode().lower(): values[0].decode() for name, values in response.headers.getAllRawHeaders()}
        self.told = Told(response.code, headers, await content(response))

    def flush(self) -> Told | None:
        """
        Let what was written arrive.
        """
        self._agent.flush()
        return self.told


def _form(data: bytes) -> FileBodyProducer:
    # All of it at once.
    return FileBodyProducer(BytesIO(data), cooperator=Cooperator(scheduler=_now))


def _now(work: Callable[[], None]) -> IDelayedCall:
    clock = Clock()
    call = clock.callLater(0, work)
    clock.advance(0)
    return call


def begun(answer: Callable[[Request], Awaitable[Answer]], path: str, headers: dict[str, str] | None = None) -> Asked:
    """
    A request that waits for something.
    """
    return Asked(answer, path, headers)


def asked(
    answer: Callable[[Request], Awaitable[Answer]],
    path: str,
    headers: dict[str, str] | None = None,
    form: bytes | None = None,
) -> Told:
    """
    A request that is answered at once.
    """
    told = Asked(answer, path, headers, form).flush()
    assert told is not None
    return told


class _Peer(Resource):
    """
    Answers as it was told to, by host.
    """

    isLeaf = True

    def __init__(self, peers: Peers) -> None:
        Resource.__init__(self)
        self._peers = peers

    def render(self, request: Request) -> Any:
        """
        The next answer for the host.
        """
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self._peers.seen.append((headers["host"], request.path.decode(), headers))
        status, body = self._peers.answers[headers["host"]].pop(0)
        if status == 0:
            return NOT_DONE_YET
        request.setResponseCode(status)
        return body


class Peers:
    """
    The sidecar of a workload, and who is behind it.

    @ivar answers: By host: pairs of status and body, used up one by one; a status of 0 is none at all.
    @ivar seen: What was asked: host, path, headers.
    """

    def __init__(self, patience: float = 1.0, **answers: list[tuple[int, bytes]]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.clock = Clock()
        self.caller = Caller(RequestTraversalAgent(_Peer(self)), self.clock, "127.0.2.1:9080", patience)
