"""
Tests for L{meshproxy.reload}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.reload import INTERVAL, FilesWatch, FileWatch


class FileWatchTests(SynchronousTestCase):
    """
    L{FileWatch}.
    """

    def setUp(self) -> None:
        """
        A file that is watched.
        """
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text("one")
        self.noticed: list[str] = []
        self.watch = FileWatch(str(self.path), self.clock, lambda: self.noticed.append(self.path.read_text()))
        self.watch.startService()
        self.addCleanup(self.watch.stopService)

    def test_written(self) -> None:
        """
        A change in place is noticed at the next look, once.
        """
        self.path.write_text("three")
        self.assertEqual(self.noticed, [])
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.noticed, ["three"])

    def test_replaced(self) -> None:
        """
        So is another file that took its place, and one behind a link that leads elsewhere now.
        """
        other = self.path.with_suffix(".new")
        other.write_text("two")
        other.rename(self.path)
        self.clock.advance(INTERVAL)
        link = self.path.with_suffix(".link")
        link.symlink_to(self.path.absolute())
        target = self.path.with_suffix(".target")
        target.write_text("four")
        watch = FileWatch(str(link), self.clock, lambda: self.noticed.append(link.read_text()))
        link.unlink()
        link.symlink_to(target.absolute())
        watch.check()
        self.assertEqual(self.noticed, ["two", "four"])

    def test_sameContent(self) -> None:
        """
        A file that was touched, or written again as it was, did not change.
        """
        self.path.write_text("one")
        self.path.touch()
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.noticed, [])

    def test_missing(self) -> None:
        """
        A file that is gone for a moment, as when it is replaced, is waited for.
        """
        self.path.unlink()
        self.clock.advance(INTERVAL)
        self.path.write_text("one")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.noticed, [])
        self.path.unlink()
        self.clock.advance(INTERVAL)
        self.path.write_text("two")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.noticed, ["two"])

    def test_alike(self) -> None:
        """
        A write that leaves size and time as they were, since it came within one tick of the kernel's, is noticed.
        """
        self.path.write_text("two")
        self.clock.advance(INTERVAL)
        stamp = self.path.stat()
        self.path.write_text("ten")
        os.utime(self.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.noticed, ["two", "ten"])

    def test_raises(self) -> None:
        """
        Whoever is told and raises is logged, and told of the next change all the same.
        """

        def fail() -> None:
            self.noticed.append("told")
            raise ZeroDivisionError

        watch = FileWatch(str(self.path), self.clock, fail)
        watch.startService()
        self.addCleanup(watch.stopService)
        for text in ("two", "three"):
            self.path.write_text(text)
            self.clock.advance(INTERVAL)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.noticed.count("told"), 2)

    def test_stop(self) -> None:
        """
        After it stopped nothing is noticed.
        """
        self.watch.stopService()
        self.path.write_text("two")
        self.clock.advance(10)
        self.assertEqual((self.noticed, self.clock.getDelayedCalls()), ([], []))
        self.watch.startService()


class FilesWatchTests(SynchronousTestCase):
    """
    L{FilesWatch}.
    """

    def setUp(self) -> None:
        """
        Two files with names.
        """
        self.paths = [Path(self.mktemp()) for _ in range(2)]
        for path in self.paths:
            path.write_text("one")
        self.files = {str(self.paths[0]): ["a", "b"]}
        self.watch = FilesWatch(lambda: self.files, Clock())

    def test_changed(self) -> None:
        """
        The names of a file that changed are told once.
        """
        self.assertEqual(self.watch.changed(), [])
        self.paths[0].write_text("two")
        self.assertEqual(self.watch.changed(), ["a", "b"])
        self.assertEqual(self.watch.changed(), [])

    def test_more(self) -> None:
        """
        A file that joins is watched from then on; one that leaves, no longer.
        """
        self.files[str(self.paths[1])] = ["c"]
        self.assertEqual(self.watch.changed(), [])
        self.paths[1].write_text("two")
        self.assertEqual(self.watch.changed(), ["c"])
        del self.files[str(self.paths[0])]
        self.paths[0].write_text("two")
        self.assertEqual(self.watch.changed(), [])
