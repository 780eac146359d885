"""
An HTTP/2 client of a proxy in memory.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import MemoryProxy, Peer
from tests.codec.http2.client import Exchange, Reading
from tests.codec.http2.frames import PREFACE, data, headers, request, settings
from tests.http.support import ProxyCase

__all__ = ["HTTP2Case", "HTTP2Peer"]


class HTTP2Peer(Peer):
    """
    Speaks frames, and acknowledges what has to be.

    @ivar reading: What came.
    """

    def __init__(self, credits: bool = True) -> None:
        Peer.__init__(self)
        self.reading = Reading(credits)
        self.nextId = 1

    def connectionMade(self) -> None:
        self.write(PREFACE + settings())

    def dataReceived(self, data: bytes) -> None:
        Peer.dataReceived(self, data)
        self.reading.feed(data)
        if self.reading.answers and self.lost is None:
            self.write(self.reading.answers)
            self.reading.answers = b""

    def ask(
        self,
        *more: tuple[bytes, bytes],
        body: bytes | None = None,
        endStream: bool = True,
        trailers: list[tuple[bytes, bytes]] | None = None,
        **fields: Any,
    ) -> int:
        """
        Send a request.

        @return: Its stream.
        """
        streamId = self.nextId
        self.nextId += 2
        if body is None and trailers is None:
            self.write(headers(streamId, request(*more, **fields), endStream))
            return streamId
        wire = headers(streamId, request(*more, **fields), False)
        if body is not None:
            pieces = [body[start : start + 16384] for start in range(0, len(body), 16384)] or [b""]
            for piece in pieces:
                wire += data(streamId, piece, endStream and trailers is None and piece is pieces[-1])
        if trailers is not None:
            wire += headers(streamId, trailers)
        self.write(wire)
        return streamId

    def of(self, streamId: int) -> Exchange:
        """
        What came on a stream.
        """
        return self.reading.of(streamId)


class HTTP2Case(ProxyCase):
    """
    A proxy that is spoken to in HTTP/2.
    """

    def connect(self, credits: bool = True, proxy: MemoryProxy | None = None) -> HTTP2Peer:
        """
        A client that is connected.
        """
        peer = HTTP2Peer(credits)
        (proxy or self.proxy).connect(peer)
        self.proxy.settle()
        return peer

    def get(self, peer: HTTP2Peer, *more: tuple[bytes, bytes], wait: float = 0.0, **fields: Any) -> Exchange:
        """
        Ask, and let the answer come.
        """
        streamId = peer.ask(*more, **fields)
        self.proxy.settle()
        if wait:
            self.proxy.advance(wait)
        return peer.of(streamId)
