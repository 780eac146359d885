"""
Tests for L{meshproxy.accesslog.files}.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.accesslog.files import FLUSH_BYTES, FLUSH_SECONDS, MAX_WAITING_BYTES, LogFile, LogFiles, writeAll
from meshproxy.stats import Store


class SlowThreads:
    """
    Threads whose work is done when the test says so.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], None], Deferred[None]]] = []

    def run(self, work: Callable[[], None]) -> Deferred[None]:
        """
        As L{meshproxy.accesslog.files.RunInThread}.
        """
        done: Deferred[None] = Deferred()
        self.waiting.append((work, done))
        return done

    def finishOne(self) -> None:
        """
        Do the oldest work.
        """
        work, done = self.waiting.pop(0)
        maybeDeferred(work).chainDeferred(done)


class FileCase(SynchronousTestCase):
    """
    Log files in a temporary folder.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.path = Path(self.mktemp())

    def files(self, run: Callable[[Callable[[], None]], Deferred[None]] | None = None) -> LogFiles:
        """
        A new set of files; by default, writing takes no time.
        """
        files = LogFiles(self.clock, self.store.scope("filesystem."), run or maybeDeferred)
        self.addCleanup(files.close)
        return files

    def written(self) -> str:
        """
        What the file holds.
        """
        return self.path.read_text()

    def count(self, name: str) -> int:
        """
        A counter's value.
        """
        return self.store.counters[f"filesystem.{name}"].value


class BufferTests(FileCase):
    """
    Lines are gathered.
    """

    def test_timer(self) -> None:
        """
        Lines are written a second after the first of them, and no timer runs without lines.
        """
        file = self.files().open(str(self.path))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        file.write("a\n")
        file.write("b\n")
        self.clock.advance(FLUSH_SECONDS - 0.01)
        self.assertEqual(self.written(), "")
        self.clock.advance(0.01)
        self.assertEqual(self.written(), "a\nb\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_size(self) -> None:
        """
        A full batch does not wait.
        """
        file = self.files().open(str(self.path))
        line = "x" * 1023 + "\n"
        for _ in range(FLUSH_BYTES // len(line)):
            file.write(line)
        self.assertEqual(len(self.written()), FLUSH_BYTES)

    def test_counted(self) -> None:
        """
        What Envoy counts under C{filesystem.}.
        """
        file = self.files().open(str(self.path))
        file.write("a\n")
        file.write("b\n")
        self.assertEqual(self.store.gauges["filesystem.write_total_buffered"].value, 4)
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.store.gauges["filesystem.write_total_buffered"].value, 0)
        self.assertEqual(
            [self.count(name) for name in ("write_buffered", "write_completed", "flushed_by_timer", "write_failed")],
            [2, 2, 1, 0],
        )

    def test_bytes(self) -> None:
        """
        Text is UTF-8, and odd bytes are themselves.
        """
        file = self.files().open(str(self.path))
        file.write("é\udcff\n")
        file.flush()
        self.assertEqual(self.path.read_bytes(), b"\xc3\xa9\xff\n")

    def test_append(self) -> None:
        """
        What was in the file stays.
        """
        self.path.write_text("old\n")
        file = self.files().open(str(self.path))
        file.write("new\n")
        file.flush()
        self.assertEqual(self.written(), "old\nnew\n")


class SlowDiskTests(FileCase):
    """
    While a batch is being written.
    """

    def setUp(self) -> None:
        super().setUp()
        self.threads = SlowThreads()
        self.set = LogFiles(self.clock, self.store.scope("filesystem."), self.threads.run)
        self.file = self.set.open(str(self.path))

    def finish(self) -> None:
        """
        Let the threads do all they have.
        """
        while self.threads.waiting:
            self.threads.finishOne()

    def test_oneAtATime(self) -> None:
        """
        Batches never overtake each other, and nothing is forgotten.
        """
        self.file.write("a\n")
        self.clock.advance(FLUSH_SECONDS)
        self.file.write("b\n")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(len(self.threads.waiting), 1)
        self.finish()
        self.assertEqual(self.written(), "a\nb\n")

    def test_flushed(self) -> None:
        """
        Who waits for a flush is told when the lines of that moment are written, not before.
        """
        self.file.write("a\n")
        first = self.file.flush()
        again = self.file.flush()
        self.file.write("b\n")
        second = self.file.flush()
        self.assertNoResult(first)
        self.threads.finishOne()
        self.successResultOf(first)
        self.successResultOf(again)
        self.assertNoResult(second)
        self.threads.finishOne()
        self.successResultOf(second)

    def test_bounded(self) -> None:
        """
        What a disk does not take is lost beyond the limit, and counted.
        """
        self.file.write("a\n")
        self.file.flush()
        line = "x" * (MAX_WAITING_BYTES // 4)
        for _ in range(6):
            self.file.write(line)
        self.assertEqual(self.count("write_dropped"), 2)
        self.file.write("y")
        self.assertEqual(self.count("write_dropped"), 3)
        self.finish()
        self.file.write("z\n")
        self.file.flush()
        self.finish()
        self.assertTrue(self.written().endswith("z\n"))

    def test_failure(self) -> None:
        """
        A failed write is counted, logged once, and forgotten when it works again.
        """
        events: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

        def fail() -> None:
            raise OSError(28, "No space left on device")

        for _ in range(2):
            self.file.write("a\n")
            flushed = self.file.flush()
            _, done = self.threads.waiting.pop()
            maybeDeferred(fail).chainDeferred(done)
            self.successResultOf(flushed)
        self.assertEqual(self.count("write_failed"), 2)
        self.assertEqual(len(events), 1)
        self.file.write("b\n")
        self.file.flush()
        self.finish()
        self.assertEqual(self.written(), "b\n")

    def test_closeWaits(self) -> None:
        """
        Closing writes everything first; what comes later is dropped, and no timer stays.
        """
        self.file.write("a\n")
        self.file.flush()
        self.file.write("b\n")
        closed = self.set.release(self.file)
        self.assertNoResult(closed)
        self.finish()
        self.successResultOf(closed)
        self.assertEqual(self.written(), "a\nb\n")
        self.file.write("late\n")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual((self.written(), self.count("write_dropped")), ("a\nb\n", 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reopenWhileWriting(self) -> None:
        """
        The batch on its way goes to the file that was moved, what comes after to the new one, twice over.
        """
        self.file.write("a\n")
        self.file.flush()
        moved = Path(f"{self.path}.1")
        self.path.rename(moved)
        self.file.write("b\n")
        self.set.reopen()
        self.set.reopen()
        self.file.write("c\n")
        self.file.flush()
        self.finish()
        self.assertEqual((moved.read_text(), self.written()), ("a\n", "b\nc\n"))


class SharingTests(FileCase):
    """
    L{LogFiles} keeps one file for each path.
    """

    def test_shared(self) -> None:
        """
        The last to give a file up closes it.
        """
        files = self.files()
        first, second = files.open(str(self.path)), files.open(str(self.path))
        self.assertIs(first, second)
        first.write("a\n")
        files.release(first)
        self.assertEqual(self.written(), "")
        files.release(second)
        self.assertEqual(self.written(), "a\n")
        self.assertIsNot(files.open(str(self.path)), first)

    def test_closeAll(self) -> None:
        """
        At the end all is written; giving files up then does nothing.
        """
        files = self.files()
        file = files.open(str(self.path))
        file.write("a\n")
        self.successResultOf(files.flush())
        file.write("b\n")
        self.successResultOf(files.close())
        self.successResultOf(files.release(file))
        self.assertEqual(self.written(), "a\nb\n")

    def test_reopen(self) -> None:
        """
        After a rotation, lines go to a new file of the old name.
        """
        files = self.files()
        file = files.open(str(self.path))
        file.write("a\n")
        moved = Path(f"{self.path}.1")
        self.path.rename(moved)
        files.reopen()
        file.write("b\n")
        files.flush()
        self.assertEqual((moved.read_text(), self.written()), ("a\n", "b\n"))

    def test_reopenFails(self) -> None:
        """
        Where the path cannot be opened again, the old file goes on.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "log"
        files = self.files()
        file = files.open(str(self.path))
        moved = Path(self.mktemp())
        folder.rename(moved)
        files.reopen()
        file.write("a\n")
        file.flush()
        self.assertEqual((moved / "log").read_text(), "a\n")
        self.assertEqual(self.count("reopen_failed"), 1)

    def test_cannotOpen(self) -> None:
        """
        A path that cannot be opened is an error at once.
        """
        self.assertRaises(OSError, self.files().open, str(self.path / "none" / "log"))

    def test_standardStreams(self) -> None:
        """
        The standard streams are descriptors of their own, so that closing a log leaves them open.
        """
        files = self.files()
        for path, descriptor in [("/dev/stdout", 1), ("/dev/stderr", 2)]:
            file = files.open(path)
            self.assertIsInstance(file, LogFile)
            files.release(file)
            os.fstat(descriptor)


class WriteTests(SynchronousTestCase):
    """
    L{writeAll} writes to whatever there is.
    """

    def test_pipe(self) -> None:
        """
        A pipe takes what it can; when nobody reads and nobody wants to wait, the rest is given up.
        """
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        writeAll(writer, b"a" * 10000, lambda: False)
        self.assertEqual(os.read(reader, 20000), b"a" * 10000)
        error = self.assertRaises(OSError, writeAll, writer, b"b" * 1000000, lambda: True)
        self.assertIn("does not read", str(error))

    def test_closedReader(self) -> None:
        """
        A pipe without a reader is an error.
        """
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        os.close(reader)
        self.assertRaises(BrokenPipeError, writeAll, writer, b"a", lambda: False)
