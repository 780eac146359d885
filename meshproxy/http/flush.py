# -*- test-case-name: tests.http.test_flush -*-
"""
The last bytes of responses that an HTTP/2 downstream is slow to take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshproxy.codec.http2 import CodecStream, ErrorCode

if TYPE_CHECKING:
    from meshproxy.http.http2 import HTTP2Connection
    from meshproxy.net.deadlines import Deadlines

__all__ = ["Flush"]


class Flush:
    """
    One response that is complete, whose end waits in the codec. As in Envoy, it has as long as its stream might have
    been idle (CVE-2020-12604).

    @ivar stream: The codec's stream.
    """

    __slots__ = ("_connection", "_deadlines", "_unsent", "stream")

    def __init__(self, connection: HTTP2Connection, stream: CodecStream, deadlines: Deadlines[Flush] | None) -> None:
        """
        @param deadlines: Where it waits; L{None} where it may take for ever.
        """
        self.stream = stream
        self._connection = connection
        self._deadlines = deadlines
        self._unsent = self._left()
        if deadlines is not None:
            deadlines.start(self)

    def _left(self) -> tuple[int, int]:
        transport: Any = self._connection.transport
        return self.stream.unsent, transport.unsent

    def late(self) -> None:
        """
        Its time is over. A downstream that gives no credit has its stream reset; one that only reads slowly gets as
        long again, so long as it reads at all.
        """
        connection, stream, before = self._connection, self.stream, self._unsent
        here, onItsWay = self._unsent = self._left()
        if (here < before[0] or onItsWay < before[1]) and not connection.codec.isHeldBack(stream):
            if self._deadlines is not None:
                self._deadlines.start(self)
            return
        connection.manager.http2Counters.txFlushTimeout.value += 1
        # The code is Envoy's.
        stream.reset(ErrorCode.INTERNAL_ERROR)
        connection.wake()

    def done(self) -> None:
        """
        The stream is closed.
        """
        if self._deadlines is not None:
            self._deadlines.cancel(self)
        self._connection.flushed()
