"""
Tests of L{meshproxy.secrets.watch}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.secrets.watch import INTERVAL, SecretFiles


class SecretFilesTests(SynchronousTestCase):
    """
    L{SecretFiles} tells of files whose content changed, however that was done.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = Clock()
        self.files = SecretFiles(self.clock)
        self.told = 0
        self.watch = self.files.watch(self.tell)
        self.path = self.folder / "key.pem"
        self.path.write_text("one")
        self.watch.look([str(self.path)])
        self.files.start()

    def tell(self) -> None:
        self.told += 1

    def changes(self) -> int:
        """
        How often it was told of in the next look.
        """
        before = self.told
        self.clock.advance(INTERVAL)
        return self.told - before

    def test_inPlace(self) -> None:
        """
        Written anew in place; the same content again is no change.
        """
        self.assertEqual(self.changes(), 0)
        self.path.write_text("two")
        self.assertEqual(self.changes(), 1)
        self.path.write_text("two")
        self.assertEqual((self.changes(), self.changes()), (0, 0))

    def test_sameSize(self) -> None:
        """
        A write of the same length at nearly the same time is noticed by its content.
        """
        self.path.write_text("eno")
        self.assertEqual(self.changes(), 1)

    def test_renamed(self) -> None:
        """
        Another file was moved there.
        """
        other = self.folder / "other"
        other.write_text("two")
        os.rename(other, self.path)
        self.assertEqual(self.changes(), 1)

    def test_symbolicLinks(self) -> None:
        """
        The folder above is a symbolic link that points elsewhere now, as Kubernetes mounts secrets.
        """
        for name in ("first", "second"):
            (self.folder / name).mkdir()
            (self.folder / name / "key.pem").write_text(name)
        (self.folder / "data").symlink_to("first")
        self.watch.look([str(self.folder / "data" / "key.pem")])
        self.assertEqual(self.changes(), 0)
        (self.folder / "next").symlink_to("second")
        os.rename(self.folder / "next", self.folder / "data")
        self.assertEqual(self.changes(), 1)

    def test_gone(self) -> None:
        """
        A file that is gone for a while is no change; what comes instead is.
        """
        self.path.unlink()
        self.assertEqual(self.changes(), 0)
        self.path.write_text("two")
        self.assertEqual(self.changes(), 1)

    def test_missingAtFirst(self) -> None:
        """
        A file that was not there begins to be.
        """
        late = self.folder / "late"
        self.watch.look([str(late)])
        self.assertEqual(self.changes(), 0)
        late.write_text("x")
        self.assertEqual(self.changes(), 1)

    def test_stop(self) -> None:
        """
        Who stopped is not told, and nothing keeps looking.
        """
        self.watch.stop()
        self.path.write_text("two")
        self.assertEqual(self.changes(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.look([str(self.path)])
        self.files.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_raises(self) -> None:
        """
        Who raises when told does not keep others from being told.
        """
        other = self.files.watch(lambda: 1 / 0)
        other.look([str(self.path)])
        last = self.files.watch(self.tell)
        last.look([str(self.path)])
        self.path.write_text("two")
        self.assertEqual(self.changes(), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
