# -*- test-case-name: tests.controlplane.demo.test_web -*-
"""
What the services of the demo have in common: how they answer, and how they call each other through their sidecars.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import Factory, frozen
from treq.content import collect
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

__all__ = ["BODY_LIMIT", "FORWARDED", "Answer", "App", "Caller", "content", "forwarded", "jsonAnswer", "numberIn"]

#: More than any service of the demo says; whoever says more is not one of them.
BODY_LIMIT = 1 << 20

#: What a service hands on, so that the calls of one request are one trace, and routes can go by the user. Istio's
#: bookinfo hands on the same.
FORWARDED = (
    "x-request-id",
    "traceparent",
    "tracestate",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "x-ot-span-context",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    "user-agent",
    "authorization",
    "end-user",
)


@frozen
class Answer:
    """
    What a service answers.
    """

    body: bytes
    status: int = 200
    contentType: str = "application/json"
    headers: Mapping[str, str] = Factory(dict)


def jsonAnswer(value: object, status: int = 200) -> Answer:
    """
    An answer in JSON.
    """
    return Answer(json.dumps(value).encode(), status)


def numberIn(path: bytes, prefix: bytes) -> int | None:
    """
    The number that ends a path, C{/reviews/0}; L{None} if it is another path.
    """
    rest = path.removeprefix(prefix)
    return int(rest) if path.startswith(prefix) and rest.isdigit() and len(rest) < 10 else None


def forwarded(request: Request) -> dict[str, str]:
    """
    The headers of a request that go on with the calls that it causes.
    """
    found: dict[str, str] = {}
    for name in FORWARDED:
        value = request.getHeader(name.encode())
        if value is not None:
            found[name] = value.decode("latin-1")
    return found


class App(Resource):
    """
    A service as C{twisted.web} has it.
    """

    isLeaf = True
    log = Logger()

    def __init__(self, name: str, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        """
        @param name: The name of the workload, for the log.
        @param answer: What it answers.
        """
        Resource.__init__(self)
        self._name = name
        self._answer = answer

    def render(self, request: Request) -> int:
        """
        Answer, as soon as the calls that it takes are answered. A caller that leaves takes them along.
        """
        method, path, host = (one.decode("latin-1") for one in (request.method, request.path, _host(request)))
        self.log.info("{name}: {method} {path} for {host}", name=self._name, method=method, path=path, host=host)
        work = Deferred.fromCoroutine(self._asked(request))
        left: list[Failure] = []

        def gone(why: Failure) -> None:
            left.append(why)
            work.cancel()

        request.notifyFinish().addErrback(gone)
        work.addErrback(self._failed, left)
        work.addCallback(lambda answer: None if left else self._write(answer, request))
        work.addErrback(lambda why: self.log.failure("{name} failed", why, name=self._name))
        return NOT_DONE_YET

    async def _asked(self, request: Request) -> Answer:
        if request.path == b"/health":
            return jsonAnswer({"status": f"{self._name} is healthy"})
        return await self._answer(request)

    def _write(self, answer: Answer, request: Request) -> None:
        request.setResponseCode(answer.status)
        request.setHeader(b"content-type", answer.contentType.encode())
        request.setHeader(b"content-length", str(len(answer.body)).encode())
        for name, value in answer.headers.items():
            request.setHeader(name.encode(), value.encode())
        if request.method != b"HEAD":
            request.write(answer.body)
        request.finish()

    def _failed(self, failure: Failure, left: list[Failure]) -> Answer:
        if not left:
            self.log.failure("{name} failed", failure, name=self._name)
        return jsonAnswer({"error": "internal error"}, 500)


def _host(request: Request) -> bytes:
    return request.getHeader(b"host") or b"-"


async def content(response: Any) -> bytes:
    """
    The body of a response.

    @raise ValueError: If it is longer than L{BODY_LIMIT}.
    """
    parts: list[bytes] = []

    def take(data: bytes) -> None:
        parts.append(data)
        if sum(map(len, parts)) > BODY_LIMIT:
            raise ValueError(f"the body is longer than {BODY_LIMIT} bytes")

    await collect(response, take)
    return b"".join(parts)


_CANCELLED = (CancelledError, ConnectingCancelledError)


def _isCancelled(error: Exception) -> bool:
    """
    Whether a call ended because nobody wants its answer any more; C{twisted.web} wraps that up.
    """
    reasons = getattr(error, "reasons", None) or ()
    return isinstance(error, _CANCELLED) or any(one.check(*_CANCELLED) for one in reasons)


class Caller:
    """
    Calls other services, as a workload does: at its sidecar, by their names.
    """

    log = Logger()

    def __init__(self, agent: IAgent, reactor: IReactorTime, sidecar: str, patience: float = 1.0) -> None:
        """
        @param sidecar: Where the sidecar listens for the workload: C{HOST:PORT}.
        @param patience: How many times as long as it is told to it waits.
        """
        self._agent = agent
        self._reactor = reactor
        self._sidecar = sidecar
        self._patience = patience

    async def get(
        self, host: str, path: str, headers: Mapping[str, str], timeout: float, tries: int = 1
    ) -> dict[str, Any] | None:
        """
        A JSON object.

        @param host: The service, C{reviews:9080}.
        @param timeout: Seconds for each try.

        @return: L{None} if no try had one.
        """
        for _ in range(tries):
            work = Deferred.fromCoroutine(self._once(host, path, headers))
            end = self._reactor.callLater(timeout * self._patience, work.cancel)
            try:
                return await work
            except Exception as error:
                if end.active() and _isCancelled(error):
                    raise CancelledError from error
                # Whatever else it is: the page is shown without that part.
                self.log.info("{host}{path}: {error}", host=host, path=path, error=repr(error))
            finally:
                if end.active():
                    end.cancel()
        return None

    async def _once(self, host: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        sent = Headers({name: [value] for name, value in {**headers, "host": host}.items()})
        response = await self._agent.request(b"GET", f"http://{self._sidecar}{path}".encode("ascii"), sent, None)
        body = await content(response)
        if response.code != 200:
            raise ValueError(f"answered {response.code}")
        value = json.loads(body)
        if not isinstance(value, dict):
            raise ValueError("answered something else than an object")
        return value
