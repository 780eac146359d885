# -*- test-case-name: tests.testing.test_proxy -*-
"""
A service behind the proxy, played from a script.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from twisted.internet.protocol import Protocol

from meshproxy.interfaces import IListening
from meshproxy.net.address import Address
from meshproxy.testing.messages import Fields, Message, MessageReader, Request, headerMap
from meshproxy.testing.network import MemoryNetwork, parseAddress
from meshproxy.testing.peers import Peer

__all__ = ["Answer", "BackendConnection", "MemoryBackend", "OK", "Script"]


@dataclass(frozen=True)
class Answer:
    """
    How a backend answers a request.

    @ivar body: The body; several pieces are sent one by one, chunked unless C{headers} tell a length.
    @ivar trailers: Trailers; the body is chunked then.
    @ivar delay: Seconds until it is sent, and between two pieces of the body.
    @ivar interim: 1xx responses before it, each a status and its fields.
    @ivar early: Whether it is sent when the head of the request is there, rather than its end.
    @ivar raw: Sent as it is, instead of all that.
    @ivar then: What follows: C{""} for nothing, C{"close"}, C{"reset"} to cut the connection off.
    """

    status: int = 200
    body: bytes | Sequence[bytes] = b""
    headers: Fields = ()
    trailers: Fields = ()
    delay: float = 0.0
    interim: Sequence[tuple[int, Fields]] = ()
    early: bool = False
    raw: bytes | None = None
    then: str = ""

    @classmethod
    def hang(cls) -> Answer:
        """
        No answer, ever.
        """
        return cls(raw=b"")

    @classmethod
    def close(cls, raw: bytes = b"", delay: float = 0.0, early: bool = False) -> Answer:
        """
        Nothing, or a part of an answer, and the end of the connection.
        """
        return cls(raw=raw, then="close", delay=delay, early=early)

    @classmethod
    def reset(cls, raw: bytes = b"", delay: float = 0.0, early: bool = False) -> Answer:
        """
        Nothing, or a part of an answer, and the connection is cut off.
        """
        return cls(raw=raw, then="reset", delay=delay, early=early)

    def pieces(self, method: bytes = b"GET") -> list[bytes]:
        """
        The bytes that are sent, in as many writes.
        """
        if self.raw is not None:
            return [self.raw] if self.raw else []
        whole = isinstance(self.body, bytes)
        parts = [self.body] if isinstance(self.body, bytes) else list(self.body)
        fields = headerMap(self.headers)
        trailers = headerMap(self.trailers)
        hasLength = fields.get(b"content-length") is not None
        chunked = len(trailers) > 0 or (not whole and not hasLength)
        bodiless = method == b"HEAD" or self.status in (204, 304) or self.status < 200
        if chunked:
            fields.set(b"transfer-encoding", b"chunked")
        elif not hasLength and self.status not in (101, 204, 304) and "close" not in self.then:
            fields.set(b"content-length", b"%d" % sum(map(len, parts)))
        head = b"".join(_head(status, headerMap(more).fields()) for status, more in self.interim)
        head += _head(self.status, fields.fields())
        if bodiless:
            return [head]
        if chunked:
            parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part]
            parts.append(b"0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in trailers.fields()) + b"\r\n")
            return [head + b"".join(parts)] if whole else [head, *parts]
        return [head + b"".join(parts)] if whole else [head, *parts]


def _head(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % pair for pair in fields)
    return b"HTTP/1.1 %d Scripted\r\n%b\r\n" % (status, lines)


#: What a backend answers that nobody told anything else.
OK = Answer(body=b"ok")

#: A fixed answer, or one for each request.
Script = Answer | Callable[[Request], Answer]


class MemoryBackend:
    """
    A backend at an address. It answers each request with the first of L{answers}, or, when there are none left, with
    L{default}; and remembers what it saw.

    @ivar requests: All requests, in order, from the moment that their head came; bodies grow as they come.
    @ivar connections: All connections, in order; they can be written to, paused, closed, and cut off.
    """

    def __init__(self, network: MemoryNetwork, address: Address | str, default: Script = OK) -> None:
        self.network = network
        self.default = default
        self.answers: deque[Script] = deque()
        self.requests: list[Request] = []
        self.connections: list[BackendConnection] = []
        self.address = parseAddress(address)
        self._listening: IListening | None = None
        self.start()

    def start(self) -> None:
        """
        Accept connections, as it does from the beginning.
        """
        if self._listening is None:
            self._listening = self.network.listen(self.address, self._buildProtocol)

    def stop(self) -> None:
        """
        Refuse connections; those that are there stay.
        """
        if self._listening is not None:
            self._listening.stopListening()
            self._listening = None

    def answer(self, *answers: Script) -> None:
        """
        Answer the next requests so.
        """
        self.answers.extend(answers)

    def respond(
        self, status: int = 200, body: bytes | Sequence[bytes] = b"", headers: Fields = (), **more: Any
    ) -> None:
        """
        Answer the next request so: short for C{answer(Answer(...))}.
        """
        self.answers.append(replace(Answer(status, body, headers), **more))

    @property
    def last(self) -> Request:
        """
        The last request that came.
        """
        return self.requests[-1]

    def _buildProtocol(self, peer: Address) -> Protocol:
        connection = BackendConnection(self)
        self.connections.append(connection)
        return connection

    def nextAnswer(self, request: Request) -> Answer:
        """
        The answer to a request.
        """
        script = self.answers.popleft() if self.answers else self.default
        return script if isinstance(script, Answer) else script(request)


class BackendConnection(Peer):
    """
    One connection of a backend.

    @ivar requests: Those that came on it.
    """

    def __init__(self, backend: MemoryBackend) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._backend = backend
        self._reader = MessageReader(_request, self._began, self._complete, self._framing)
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._early: set[int] = set()
        self._busy = False

    @property
    def tunnel(self) -> bytes | None:
        """
        What came after the head of an upgrade or a CONNECT; L{None} where there was none.
        """
        return self._reader.tunnel

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Peer.dataReceived}.
        """
        super().dataReceived(data)
        self._reader.feed(data)

    def _framing(self, message: Message) -> str | None:
        assert isinstance(message, Request)
        isTunnel = message.method == b"CONNECT" or message.headers.get(b"upgrade") is not None
        return "tunnel" if isTunnel else None

    def _began(self, message: Message) -> None:
        assert isinstance(message, Request)
        self.requests.append(message)
        self._backend.requests.append(message)
        answers = self._backend.answers
        first = answers[0] if answers else self._backend.default
        isEarly = isinstance(first, Answer) and first.early
        if isEarly or self._framing(message) == "tunnel":
            self._early.add(id(message))
            self._answer(message)

    def _complete(self, message: Message) -> None:
        assert isinstance(message, Request)
        if id(message) not in self._early:
            self._answer(message)

    def _answer(self, request: Request) -> None:
        answer = self._backend.nextAnswer(request)
        steps: list[Callable[[], None]] = [partial(self.write, piece) for piece in answer.pieces(request.method)]
        self._queue.extend((answer.delay, step) for step in steps)
        if answer.then:
            # Later than what was written, lest it goes with it; but it does not take the delay once more.
            ending = self.close if answer.then == "close" else self.abort
            self._queue.append((0.0 if steps else answer.delay, partial(self._later, ending)))
        if not self._busy:
            self._next()

    def _later(self, ending: Callable[[], None]) -> None:
        self._backend.network.reactor.callLater(0, ending)

    def _next(self) -> None:
        self._busy = bool(self._queue)
        if self._busy:
            delay, step = self._queue.popleft()
            if delay:
                self._backend.network.reactor.callLater(delay, self._do, step)
            else:
                self._do(step)

    def _do(self, step: Callable[[], None]) -> None:
        if self.lost is None:
            step()
            self._next()


def _request(firstLine: bytes) -> Request:
    method, path, _ = firstLine.split(b" ")
    return Request(method=method, path=path)
