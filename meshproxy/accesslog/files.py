# -*- test-case-name: tests.accesslog.test_files -*-
"""
Where log lines go: files and the standard streams, written in batches and never by the reactor's thread.

A disk may be slow and a pipe full, and neither may stop the proxy. So lines are gathered, and one batch at a time
is written in a thread; what comes meanwhile waits, up to a limit, beyond which it is lost and counted.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from meshproxy.accesslog.values import encodeText

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from meshproxy.stats import Scope

__all__ = ["FLUSH_BYTES", "LogFile", "LogFiles", "RunInThread", "inReactorsThreads", "writeAll"]

#: A batch is written when it is as large as this. Envoy writes 64 KiB; handing a batch to a thread costs more here.
FLUSH_BYTES = 256 * 1024

#: And after this time at the latest. Envoy waits for ten seconds; people who look at a log are less patient.
FLUSH_SECONDS = 1.0

#: So much may wait for a disk or a reader that does not keep up: some seconds of a busy proxy.
MAX_WAITING_BYTES = 16 * 1024 * 1024

#: POSIX lets a pipe take so much at once, or nothing: no write of this size blocks after poll() said it will not.
_PIPE_BYTES = 4096

# How often a thread that waits for a reader asks whether it should go on waiting.
_POLL_MILLISECONDS = 250

#: Runs a function outside of the reactor's thread, and tells its result inside.
RunInThread = Callable[[Callable[[], None]], "Deferred[None]"]

# O_APPEND: several processes write whole batches. O_NONBLOCK: a FIFO without a reader is an error, not a wait.
_OPEN_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


def inReactorsThreads(reactor: IReactorFromThreads) -> RunInThread:
    """
    The reactor's own thread pool.
    """

    def run(work: Callable[[], None]) -> Deferred[None]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)  # type: ignore[attr-defined]

    return run


def writeAll(descriptor: int, data: bytes, isStopped: Callable[[], bool]) -> None:
    """
    Write everything, waiting for a pipe or a terminal as long as it takes. Runs in a thread.

    @param isStopped: Whether nobody wants to wait any longer: what then cannot be written is dropped.

    @raise OSError: If the descriptor takes no more, ever.
    """
    isRegular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    left = memoryview(data)
    while left:
        if not isRegular and not poller.poll(_POLL_MILLISECONDS):
            if isStopped():
                raise OSError(errno.EAGAIN, "the reader of the log does not read")
            continue
        try:
            left = left[os.write(descriptor, left if isRegular else left[:_PIPE_BYTES]) :]
        except BlockingIOError:
            continue


class LogFile:
    """
    One file. All logs with the same path share it.

    @ivar path: Its path.
    """

    log = Logger()

    def __init__(self, path: str, clock: IReactorTime, stats: Scope, runInThread: RunInThread) -> None:
        """
        @param stats: Where C{write_buffered} and the others are counted.

        @raise OSError: If it cannot be opened.
        """
        self.path = path
        self.holders = 0
        self._clock = clock
        self._runInThread = runInThread
        self._descriptor = self._open()
        # What waits, how many lines that is, and how many bytes.
        self._pieces: list[bytes] = []
        self._lines = 0
        self._size = 0
        self._timer: IDelayedCall | None = None
        self._isWriting = False
        # Who waits for the batch that is being written, and who for the one after it.
        self._waiters: list[Deferred[None]] = []
        self._later: list[Deferred[None]] = []
        # The descriptor that a batch still goes to while reopen() has opened another.
        self._stale: int | None = None
        self._isClosing = False
        self._hasFailed = False
        self._buffered = stats.counter("write_buffered")
        self._completed = stats.counter("write_completed")
        self._failed = stats.counter("write_failed")
        self._dropped = stats.counter("write_dropped")
        self._byTimer = stats.counter("flushed_by_timer")
        self._reopenFailed = stats.counter("reopen_failed")
        self._total = stats.gauge("write_total_buffered")

    def _open(self) -> int:
        # A descriptor of our own in any case, that close() may close.
        standard = _STANDARD.get(self.path)
        if standard is not None:
            return os.dup(standard)
        return os.open(self.path, _OPEN_FLAGS, 0o644)

    def write(self, line: str) -> None:
        """
        Add a line, its end included.
        """
        if not self.add(encodeText(line), 1):
            self._dropped.value += 1

    def add(self, data: bytes, lines: int) -> bool:
        """
        Add several lines, if there is room for all of them.

        @param data: They, their ends included.
        @param lines: How many they are.
        """
        size = self._size + len(data)
        if size > MAX_WAITING_BYTES:
            return False
        self._size = size
        self._pieces.append(data)
        self._lines += lines
        self._buffered.value += lines
        self._total.value += len(data)
        if self._timer is None:
            self._timer = self._clock.callLater(FLUSH_SECONDS, self._timeOut)
        elif size >= FLUSH_BYTES and not self._isWriting:
            self._begin()
        return True

    def _timeOut(self) -> None:
        self._timer = None
        self._byTimer.value += 1
        if not self._isWriting:
            self._begin()

    def flush(self) -> Deferred[None]:
        """
        Write what waits.

        @return: Fires, never with a failure, when all that waits now has been written or given up.
        """
        if not self._isWriting:
            self._begin()
            if not self._isWriting:
                return succeed(None)
            waiters = self._waiters
        else:
            waiters = self._later if self._pieces else self._waiters
        waiter: Deferred[None] = Deferred()
        waiters.append(waiter)
        return waiter

    def _begin(self) -> None:
        """
        Write one batch. One at a time, which keeps the order.
        """
        if not self._pieces:
            return
        pieces, self._pieces = self._pieces, []
        lines, self._lines = self._lines, 0
        size, self._size = self._size, 0
        descriptor = self._descriptor

        def work() -> None:
            writeAll(descriptor, b"".join(pieces), lambda: self._isClosing)

        self._isWriting = True
        writing = maybeDeferred(self._runInThread, work)
        writing.addCallbacks(self._cbWritten, self._ebWritten, callbackArgs=(lines,))
        writing.addBoth(self._cbDone, size)

    def _cbWritten(self, _: None, lines: int) -> None:
        self._completed.value += lines
        self._hasFailed = False

    def _ebWritten(self, failure: Failure) -> None:
        self._failed.value += 1
        if not self._hasFailed:
            # Once, until it works again: a full disk is no reason to fill another.
            self._hasFailed = True
            self.log.warn("cannot write access log {path}: {why}", path=self.path, why=failure.getErrorMessage())

    def _cbDone(self, _: None, size: int) -> None:
        self._isWriting = False
        self._total.value -= size
        if self._stale is not None:
            os.close(self._stale)
            self._stale = None
        ready, self._waiters, self._later = self._waiters, self._later, []
        if self._waiters or self._size >= FLUSH_BYTES or self._timer is None:
            self._begin()
        if not self._isWriting:
            ready += self._waiters
            self._waiters = []
        for waiter in ready:
            waiter.callback(None)

    def reopen(self) -> None:
        """
        Open the path again, after it was moved away (C{POST /reopen_logs}). What came before goes to the old file.
        """
        try:
            fresh = self._open()
        except OSError as error:
            self._reopenFailed.value += 1
            self.log.warn("cannot reopen access log {path}: {why}", path=self.path, why=error.strerror)
            return
        if not self._isWriting:
            self._begin()
        old, self._descriptor = self._descriptor, fresh
        if self._isWriting and self._stale is None:
            self._stale = old
        else:
            os.close(old)

    def close(self) -> Deferred[None]:
        """
        Write what waits, and close.

        @return: Fires when that is done.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._isClosing = True
        return self.flush().addCallback(self._cbFlushed)

    def _cbFlushed(self, _: None) -> None:
        os.close(self._descriptor)
        # A stream that outlived its log: nothing more is taken, lest it be written to whoever has the descriptor next.
        self._total.value -= self._size
        self._pieces = []
        self._lines = 0
        self._size = MAX_WAITING_BYTES
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LogFiles:
    """
    All log files of the process, by path.
    """

    def __init__(self, clock: IReactorTime, stats: Scope, runInThread: RunInThread | None = None) -> None:
        """
        @param clock: The reactor.
        @param stats: The scope C{filesystem.}.
        @param runInThread: Where to write; by default the reactor's thread pool.
        """
        self._clock = clock
        self._stats = stats
        self._runInThread = runInThread or inReactorsThreads(cast(IReactorFromThreads, clock))
        self._files: dict[str, LogFile] = {}

    def open(self, path: str) -> LogFile:
        """
        The file of a path. Each call is to be matched by one of L{release}.

        @raise OSError: If it cannot be opened.
        """
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = LogFile(path, self._clock, self._stats, self._runInThread)
        file.holders += 1
        return file

    def release(self, file: LogFile) -> Deferred[None]:
        """
        Give a file up; the last one to do so closes it.
        """
        file.holders -= 1
        if file.holders > 0 or self._files.get(file.path) is not file:
            return succeed(None)
        del self._files[file.path]
        return file.close()

    def reopen(self) -> None:
        """
        Open each file again (C{POST /reopen_logs}).
        """
        for file in self._files.values():
            file.reopen()

    def flush(self) -> Deferred[None]:
        """
        Write what waits in any of them.
        """
        return gatherResults([file.flush() for file in self._files.values()]).addCallback(lambda _: None)

    def close(self) -> Deferred[None]:
        """
        Write what waits, and close all.
        """
        files, self._files = self._files, {}
        return gatherResults([file.close() for file in files.values()]).addCallback(lambda _: None)
