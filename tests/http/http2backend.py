"""
An HTTP/2 service in a test's hands, in a network in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hpack
from twisted.internet.protocol import Protocol

from meshproxy.testing import MemoryProxy
from meshproxy.testing.network import parseAddress
from tests.codec.http2.frames import data, framesIn, headers, settings, windowUpdate

__all__ = ["HTTP2Backend", "ServiceConnection", "Seen", "answer"]


@dataclass
class Seen:
    """
    A request that came.
    """

    streamId: int
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] | None = None
    ended: bool = False
    resetCode: int | None = None

    def get(self, name: bytes) -> bytes | None:
        """
        The value of a field.
        """
        return dict(self.fields).get(name)


class ServiceConnection(Protocol):
    """
    One connection.

    @ivar seen: The requests, by stream.
    @ivar frames: All frames that came.
    """

    def __init__(self, backend: HTTP2Backend) -> None:
        self.backend = backend
        self.seen: dict[int, Seen] = {}
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.isLost = False
        self._partial = b""
        self._decoder = hpack.Decoder()
        self._prefaced = False

    def connectionMade(self) -> None:
        self.backend.connections.append(self)
        self.write(settings(*self.backend.settings))

    def write(self, wire: bytes) -> None:
        """
        Send bytes.
        """
        transport: Any = self.transport
        transport.write(wire)

    def dataReceived(self, data: bytes) -> None:
        data = self._partial + data
        if not self._prefaced:
            if len(data) < 24:
                self._partial = data
                return
            assert data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), data
            self._prefaced = True
            data = data[24:]
        whole = 0
        while len(data) - whole >= 9:
            stop = whole + 9 + int.from_bytes(data[whole : whole + 3], "big")
            if stop > len(data):
                break
            whole = stop
        self._partial = data[whole:]
        for each in framesIn(data[:whole]):
            self.frames.append(each)
            self._frame(*each)

    def _frame(self, kind: int, flags: int, streamId: int, payload: bytes) -> None:
        if kind == 4 and not flags & 1:
            self.write(settings(ack=True))
        elif kind == 6 and not flags & 1 and self.backend.answersPings:
            self.write(b"\0\0\x08\x06\x01\0\0\0\0" + payload)
        elif kind == 1:
            fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(payload, raw=True)]
            if streamId in self.seen:
                self.seen[streamId].trailers = fields
            else:
                self.seen[streamId] = Seen(streamId, fields)
        elif kind == 0:
            self.seen[streamId].body += payload
            if self.backend.credits and payload:
                self.write(windowUpdate(0, len(payload)))
                if not flags & 1:
                    self.write(windowUpdate(streamId, len(payload)))
        elif kind == 3:
            self.seen[streamId].resetCode = int.from_bytes(payload, "big")
        if kind in (0, 1):
            request = self.seen[streamId]
            if flags & 1:
                request.ended = True
            if (flags & 1 and not self.backend.early) or (kind == 1 and self.backend.early):
                self.backend.respond(self, request)

    def connectionLost(self, reason: Any = None) -> None:
        self.isLost = True


def answer(body: bytes = b"ok", *fields: tuple[bytes, bytes], status: bytes = b"200") -> Callable[..., None]:
    """
    What answers each request in the same way.
    """

    def respond(connection: ServiceConnection, request: Seen) -> None:
        connection.write(headers(request.streamId, [(b":status", status), *fields], not body))
        if body:
            connection.write(data(request.streamId, body, True))

    return respond


class HTTP2Backend:
    """
    A service.

    @ivar respond: What is done with a request that is complete, or, if C{early} is true, with its head.
    @ivar connections: All connections.
    """

    def __init__(self, proxy: MemoryProxy, address: str, *pairs: tuple[int, int]) -> None:
        """
        @param pairs: The settings it announces.
        """
        self.settings = pairs
        self.connections: list[ServiceConnection] = []
        self.respond: Callable[[ServiceConnection, Seen], object] = answer()
        self.credits = True
        self.early = False
        self.answersPings = True
        proxy.network.listen(parseAddress(address), lambda peer: ServiceConnection(self))

    @property
    def requests(self) -> list[Seen]:
        """
        All requests, of all connections.
        """
        return [seen for connection in self.connections for seen in connection.seen.values()]
