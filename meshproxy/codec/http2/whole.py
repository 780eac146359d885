# -*- test-case-name: tests.codec.http2.test_whole -*-
"""
Messages that come whole in one read: the short way of unary calls of gRPC, and of small responses.

A head that a body is to follow is held until the end of the read. A response whose body ends it, a request whose one
DATA frame ends it, and a response of head, one DATA frame and trailers, are told in one step then, each stream's for
itself: clients may well send the heads of many calls before their messages. Whatever else comes on such a stream, or to
the connection, lets first what is held be told, part by part, as if it had come just then. So does the end of a read.

Windows, lengths and floods are counted when a frame comes, whether it is held or not; credit is given back when what it
brought was taken.
"""

from __future__ import annotations

from typing import Any

from meshproxy.codec.http2.connection import ConnectionCodec
from meshproxy.codec.http2.frames import FrameType
from meshproxy.codec.http2.stream import CodecStream

__all__ = ["WholeCodec"]

# What cannot matter to a stream that it does not name.
_OF_STREAMS = (FrameType.RST_STREAM, FrameType.WINDOW_UPDATE)


class WholeCodec(ConnectionCodec):
    """
    A codec of either role that holds what may come whole.

    @cvar takesCalls: Whether calls pass in one step; not where someone counts their frames one by one.
    """

    takesCalls = True

    def _hold(self, stream: CodecStream, head: Any) -> None:
        """
        A head came that a body is to follow.
        """
        stream.head = head
        self._held[stream.id] = stream

    def _tellHead(self, stream: CodecStream, head: Any) -> None:
        """
        Tell of a head that a body is to follow.
        """
        raise NotImplementedError

    def _tell(self, stream: CodecStream) -> None:
        """
        Tell what is held of a stream, part by part.
        """
        del self._held[stream.id]
        head, body = stream.head, stream.body
        stream.head = stream.body = None
        self._tellHead(stream, head)
        if body is not None:
            sink = stream.sink
            if sink is not None:
                sink.dataReceived(body, False)
            stream.received(len(body))

    def _tellHeld(self) -> None:
        held = self._held
        while held:
            self._tell(next(iter(held.values())))

    def _tellHeldBefore(self, kind: int, streamId: int) -> None:
        held = self._held
        if kind not in _OF_STREAMS:
            self._tellHeld()
        elif streamId in held:
            self._tell(held[streamId])
