# -*- test-case-name: tests.net.test_relay -*-
"""
Moving bytes from one connection to another when nobody needs to look at them.

A L{SocketRelay} stands in for the protocol: it takes the bytes off one socket and puts them on the other in the same
breath, and lets the kernel splice them where there are many. A L{BufferedRelay} does the same for any pair of
transports, by C{dataReceived} and C{write}.

Both read no more while the sink has bytes that its peer does not take, so that a slow reader slows its sender down.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet import main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.net.splice import SPLICE_FLAGS, Pipe, PipePool, pipes
from meshproxy.net.transport import SocketTransport, lost
from meshproxy.stats.metrics import Counter

__all__ = ["BufferedRelay", "IRelay", "NoticedRelay", "RelayCounters", "SocketRelay", "makeRelay"]

# What one read takes.
_READ_SIZE = 65536

# From here on the kernel moves bytes cheaper than recv and send do.
_BULK = 16384

# What splice says of descriptors that it cannot work with.
_UNSPLICEABLE = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}

# What one splice moves at most: what a pipe holds.
_SPLICE_SIZE = 1 << 20


class RelayCounters:
    """
    What a relay counts, besides its own bytes.

    @ivar received: Bytes that came, of all connections.
    @ivar sent: Bytes that went on.
    @ivar paused: How often reading stopped because the sink's peer did not read; C{resumed} how often it went on.
    """

    __slots__ = ("paused", "received", "resumed", "sent")

    def __init__(self, received: Counter, sent: Counter, paused: Counter, resumed: Counter) -> None:
        self.received = received
        self.sent = sent
        self.paused = paused
        self.resumed = resumed


class IRelay(Protocol):
    """
    One direction of a connection.

    @ivar moved: How many bytes went on.
    @ivar lastActive: When the last of them did, by the clock.
    """

    moved: int
    lastActive: float

    def start(self) -> None:
        """
        Begin to read the source.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes that came to the source's protocol all the same.
        """

    def stop(self) -> None:
        """
        Let go of both transports. What came and was not sent is in the sink's buffer then.
        """


@implementer(IPushProducer)
class BufferedRelay:
    """
    From any transport to any other: the source's protocol passes its bytes to L{dataReceived}.
    """

    def __init__(self, source: Any, sink: Any, counters: RelayCounters, seconds: Callable[[], float]) -> None:
        """
        @param source: A transport that is a push producer.
        @param sink: A transport that takes a push producer.
        """
        self.moved = 0
        self.lastActive = seconds()
        self._source = source
        self._sink = sink
        self._counters = counters
        self._seconds = seconds
        self._going = False

    def start(self) -> None:
        """
        See L{IRelay.start}.
        """
        self._going = True
        self._sink.registerProducer(self, True)
        self._source.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IRelay.dataReceived}.
        """
        length = len(data)
        self.moved += length
        self.lastActive = self._seconds()
        self._counters.received.value += length
        self._counters.sent.value += length
        self._sink.write(data)

    def stop(self) -> None:
        """
        See L{IRelay.stop}.
        """
        if self._going:
            self._going = False
            self._sink.unregisterProducer()

    def pauseProducing(self) -> None:
        """
        The sink's buffer is full.
        """
        if self._going:
            self._counters.paused.value += 1
            self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """
        The sink's buffer is empty.
        """
        if self._going:
            self._counters.resumed.value += 1
            self.lastActive = self._seconds()
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """
        The sink is gone.
        """
        self._going = False


class NoticedRelay(BufferedRelay):
    """
    A relay that somebody is told of, whenever bytes have gone on.
    """

    def __init__(
        self,
        source: Any,
        sink: Any,
        counters: RelayCounters,
        seconds: Callable[[], float],
        passed: Callable[[], object],
    ) -> None:
        super().__init__(source, sink, counters, seconds)
        self._passed = passed

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IRelay.dataReceived}.
        """
        super().dataReceived(data)
        if self._going:
            self._passed()


@implementer(IPushProducer)
class SocketRelay:
    """
    From one socket to another, without a protocol in between.

    For as long as it runs, the source's C{doRead} is this relay's, and it is the sink's producer; nobody else writes to
    the sink. At most one piece is under way at a time: while the sink cannot take it, the source is not read. So what
    is kept in between is never more than one piece, in memory or in a pipe.

    The end of the source, and its loss, are told to the source's protocol as ever: by then all that came has gone on.
    """

    def __init__(
        self,
        source: SocketTransport,
        sink: SocketTransport,
        counters: RelayCounters,
        seconds: Callable[[], float],
        pool: PipePool = pipes,
        length: int | None = None,
        done: Callable[[], object] | None = None,
    ) -> None:
        """
        @param pool: Where pipes come from. Without one the relay copies.
        @param length: How many bytes to move; by default all until the source ends.
        @param done: Called when that many have gone on, or are in the sink's buffer, and both transports are their
            protocols' again. It is called from within the source's C{doRead} or the sink's C{doWrite}.
        """
        self.moved = 0
        self.lastActive = seconds()
        self._source = source
        self._sink = sink
        self._counters = counters
        self._seconds = seconds
        self._pool = pool
        self._splices = True
        self._left = length
        self._done = done
        self._going = False
        self._held = False
        self._pipe: Pipe | None = None
        self._inPipe = 0
        # Neither side's buffer limit is exceeded by a piece.
        self._most = max(1, min(source.bufferSize, sink.bufferSize))
        self._former: tuple[Any, bool] = (None, False)
        self._copy = self._copier()

    def start(self) -> None:
        """
        See L{IRelay.start}. What the sink's buffer holds already goes first.
        """
        sink = self._sink
        sink.flush()
        self._going = True
        self._former = (sink.producer, getattr(sink, "streamingProducer", False))
        sink.producer = self
        sink.streamingProducer = True
        self._source.doRead = self._copy  # type: ignore[method-assign]  # the reactor looks it up on each event
        if sink.unsent:
            sink.producerPaused = self._held = True
            self._counters.paused.value += 1
            self._source.stopReading()
        else:
            sink.producerPaused = False
            self._source.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IRelay.dataReceived}.
        """
        length = len(data)
        self._count(length)
        self._hold(data)
        if self._left is not None:
            self._progress(length)

    def stop(self) -> None:
        """
        See L{IRelay.stop}.
        """
        if not self._going:
            return
        self._going = False
        source, sink = self._source, self._sink
        del source.doRead
        sink.producer, sink.streamingProducer = self._former
        sink.producerPaused = False
        pipe = self._pipe
        if pipe is not None:
            del sink.doWrite
            self._pipe = None
            _unload(pipe, self._inPipe, sink, self._pool)
        if sink.connected and (sink.disconnecting or sink._writeDisconnecting):
            sink.startWriting()
        if self._held:
            self._held = False
            self._counters.resumed.value += 1
            if source.connected:
                source.resumeProducing()

    # Pieces in memory

    def _copier(self) -> Callable[[], Exception | None]:
        """
        Make the C{doRead} for small pieces. All that it needs is bound: this is the hot path of every TCP connection.
        """
        recv = self._source.socket.recv
        send = self._sink.socket.send
        received, sent = self._counters.received, self._counters.sent
        seconds = self._seconds
        size = min(_READ_SIZE, self._most)
        bulk = _BULK if self._splices else _READ_SIZE + 1

        def doRead() -> Exception | None:
            try:
                data = recv(size if self._left is None else min(size, self._left))
            except BlockingIOError:
                return None
            except OSError as exception:
                return lost(exception)
            length = len(data)
            if not length:
                return cast(Exception, main.CONNECTION_DONE)
            self.moved += length
            self.lastActive = seconds()
            received.value += length
            sent.value += length
            try:
                taken = send(data)
            except OSError as exception:
                if self._isReset(exception):
                    return None
                # Blocked, or broken: then the sink's next doWrite finds out and says so.
                taken = 0
            if taken < length:
                self._hold(data[taken:])
            elif length >= bulk:
                self._source.doRead = self._splice  # type: ignore[method-assign]  # as in start
            if self._left is not None:
                self._progress(length)
            return None

        return doRead

    def _count(self, length: int) -> None:
        self.moved += length
        self.lastActive = self._seconds()
        self._counters.received.value += length
        self._counters.sent.value += length

    def _progress(self, length: int) -> None:
        assert self._left is not None
        self._left -= length
        if not self._left and not self._inPipe:
            self._finish()

    def _finish(self) -> None:
        self.stop()
        if self._done is not None:
            self._done()

    def _hold(self, rest: bytes) -> None:
        """
        The sink did not take all: leave the rest in its buffer, and read on when that is empty.
        """
        sink = self._sink
        if not self._held:
            self._held = True
            self._counters.paused.value += 1
            self._source.stopReading()
        # Twisted resumes a producer only if it paused it.
        sink.producerPaused = True
        FileDescriptor.write(sink, rest)

    def _isReset(self, exception: OSError) -> bool:
        """
        Whether the sink cannot be sent to because its peer reset it. A socket tells that once, and seems to have ended
        regularly from then on, so it is remembered; what it has received may still be read first.
        """
        if exception.errno != errno.ECONNRESET:
            return False
        self._source.stopReading()
        sink = self._sink
        sink.reactor.callLater(0, sink.connectionLost, Failure(lost(exception)))  # type: ignore[attr-defined]
        return True

    # Pieces in a pipe

    def _splice(self) -> Exception | None:
        """
        The C{doRead} for large pieces.
        """
        pipe = self._pool.take()
        if pipe is None:
            self._source.doRead = self._copy  # type: ignore[method-assign]  # as in start
            return self._copy()
        size = min(_SPLICE_SIZE, self._most)
        if self._left is not None:
            size = min(size, self._left)
        try:
            length = os.splice(self._source.fileno(), pipe.writeEnd, size, flags=SPLICE_FLAGS)
        except BlockingIOError:
            length = -1
        except OSError as exception:
            self._pool.give(pipe)
            if exception.errno not in _UNSPLICEABLE:
                # The socket tells this error once: to ask it again would give a regular end.
                return lost(exception)
            self._splices = False
            self._copy = self._copier()
            self._source.doRead = self._copy  # type: ignore[method-assign]  # as in start
            return self._copy()
        if length <= 0:
            self._pool.give(pipe)
            if not length:
                return cast(Exception, main.CONNECTION_DONE)
        else:
            self._count(length)
            self._pass(pipe, length)
            if self._left is not None:
                self._progress(length)
        if length < _BULK and self._going:
            self._source.doRead = self._copy  # type: ignore[method-assign]  # as in start
        return None

    def _pass(self, pipe: Pipe, length: int) -> None:
        try:
            length -= os.splice(pipe.readEnd, self._sink.fileno(), length, flags=SPLICE_FLAGS)
        except OSError as exception:
            if self._isReset(exception):
                self._pool.discard(pipe)
                return
        if not length:
            self._pool.give(pipe)
            return
        self._pipe = pipe
        self._inPipe = length
        self._held = True
        self._counters.paused.value += 1
        self._source.stopReading()
        self._sink.doWrite = self._drain  # type: ignore[method-assign]  # the reactor looks it up on each event
        self._sink.startWriting()

    def _drain(self) -> Exception | None:
        """
        The sink's C{doWrite} while there is something in the pipe.
        """
        pipe, sink = self._pipe, self._sink
        assert pipe is not None
        try:
            self._inPipe -= os.splice(pipe.readEnd, sink.fileno(), self._inPipe, flags=SPLICE_FLAGS)
        except BlockingIOError:
            return None
        except OSError as exception:
            return lost(exception)
        if self._inPipe:
            return None
        self._pipe = None
        self._pool.give(pipe)
        del sink.doWrite
        if not (sink.disconnecting or sink._writeDisconnecting):
            sink.stopWriting()
        if self._left == 0:
            self._finish()
        else:
            self.resumeProducing()
        return None

    # The sink's producer

    def pauseProducing(self) -> None:
        """
        The sink's buffer is over its limit; L{_hold} has stopped reading already.
        """

    def resumeProducing(self) -> None:
        """
        The sink took all.
        """
        if self._going and self._held:
            self._held = False
            self._counters.resumed.value += 1
            self.lastActive = self._seconds()
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """
        The sink is gone.
        """
        former = self._former[0]
        self.stop()
        if former is not None:
            former.stopProducing()


def _unload(pipe: Pipe, length: int, sink: SocketTransport, pool: PipePool) -> None:
    """
    Leave what is in a pipe in its sink's buffer.
    """
    pieces = []
    try:
        while length:
            pieces.append(os.read(pipe.readEnd, length))
            length -= len(pieces[-1])
    except OSError:
        pool.discard(pipe)
    else:
        pool.give(pipe)
    FileDescriptor.write(sink, b"".join(pieces))


def makeRelay(source: Any, sink: Any, counters: RelayCounters, seconds: Callable[[], float]) -> IRelay:
    """
    The relay that suits two transports.
    """
    # A subclass may do more with its bytes, such as encrypt them.
    if type(source) is SocketTransport and type(sink) is SocketTransport and not source.isGated:
        return SocketRelay(source, sink, counters, seconds)
    return BufferedRelay(source, sink, counters, seconds)
