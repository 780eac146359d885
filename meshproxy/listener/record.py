# -*- test-case-name: tests.listener.test_record -*-
"""
What a listener's own access log says of a connection that was served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo

__all__ = ["ConnectionRecord"]


class ConnectionRecord(StreamInfo):
    """
    One connection, whose protocol keeps no record of its own; it counts the bytes that pass.
    """

    def __init__(self, info: ConnectionInfo, now: float) -> None:
        """
        @param now: The clock's seconds.
        """
        self.connection = info
        self.startTime = self.startMonotonic = now

    def countWrites(self, transport: Any) -> None:
        """
        Count what is written to a transport, from now on.
        """
        write: Callable[[bytes], object] = transport.write
        # Bytes may not pass by on another way.
        transport.isGated = True

        def counted(data: bytes) -> None:
            self.bytesSent += len(data)
            write(data)

        transport.write = counted

    def countReads(self, received: Callable[[bytes], object]) -> Callable[[bytes], object]:
        """
        Count what goes to a C{dataReceived}.
        """

        def counted(data: bytes) -> None:
            self.bytesReceived += len(data)
            received(data)

        return counted

    def finish(self, now: float) -> None:
        """
        The connection is gone.
        """
        info = self.connection
        self.end = now
        self.wireBytesReceived, self.wireBytesSent = self.bytesReceived, self.bytesSent
        self.responseFlags |= info.responseFlags
        self.responseCodeDetails = info.codeDetails
        self.dynamicMetadata = info.dynamicMetadata
