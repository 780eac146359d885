"""
Tests for L{meshproxy.controlplane.store.sqlite}.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.sqlite import SQLiteJournal
from meshproxy.controlplane.store.values import Change, Commit, StoreError
from meshproxy.testing.clock import VirtualReactor
from tests.controlplane.store.contract import key


class SQLiteJournalTests(SynchronousTestCase):
    """
    L{SQLiteJournal} brings everything back.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.reactor = VirtualReactor()

    def open(self, history: int = 10_000) -> Ledger:
        """
        The store of the file.
        """
        store = Ledger(self.reactor, SQLiteJournal(self.path), history)
        self.addCleanup(store.close)
        return store

    def fill(self, store: Ledger) -> None:
        """
        Something of everything: created, changed, deleted, created anew, two at once.
        """
        for changes in (
            [Change(key("a"), {"value": 1}), Change(key("b"), {"value": "ä\0"})],
            [Change(key("a"), {"value": 2})],
            [Change(key("b"), None)],
            [Change(key("b"), {"value": 3}), Change(key("c"), {"value": 1})],
            [Change(key("c"), None)],
        ):
            self.successResultOf(store.commit(changes, "ann", "why"))
            self.reactor.advance(1)

    def told(self, store: Ledger) -> tuple[object, ...]:
        """
        All that a store can tell.
        """
        moments = [self.successResultOf(store.at(revision)) for revision in range(store._compacted, store.revision + 1)]
        return store.revision, self.successResultOf(store.history()), moments, self.successResultOf(store.listing())

    def test_openAgain(self) -> None:
        """
        A file that is opened again tells the same as before, and goes on with the next revision.
        """
        store = self.open()
        self.fill(store)
        before = self.told(store)
        self.successResultOf(store.close())
        again = self.open()
        self.assertEqual(self.told(again), before)
        self.assertEqual(self.successResultOf(again.commit([Change(key("d"), {})], "ann")).revision, 6)

    def test_openAgainCompacted(self) -> None:
        """
        So it does wherever its history was cut.
        """
        for cut in range(1, 6):
            self.path = Path(self.mktemp())
            store = self.open()
            self.fill(store)
            self.successResultOf(store.compact(cut))
            before = self.told(store)
            self.successResultOf(store.close())
            again = self.open()
            self.assertEqual(self.told(again), before, cut)
            self.assertEqual([c.revision for c in self.successResultOf(again.history())], list(range(5, cut, -1)))

    def test_compactedTwice(self) -> None:
        """
        What was compacted before stays when more is.
        """
        store = self.open()
        self.fill(store)
        for cut in (1, 2, 4):
            self.successResultOf(store.compact(cut))
        before = self.told(store)
        self.successResultOf(store.close())
        self.assertEqual(self.told(self.open()), before)

    def test_oneOwner(self) -> None:
        """
        A second process is refused with a plain word, and disturbs the first one not.
        """
        store = self.open()
        error = self.assertRaises(StoreError, SQLiteJournal, self.path)
        self.assertIn("another process has this store open", str(error))
        self.fill(store)

    def test_permissions(self) -> None:
        """
        The file may hold keys: nobody else reads it, whatever the umask is.
        """
        self.addCleanup(os.umask, os.umask(0))
        self.open()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_newer(self) -> None:
        """
        A file of a newer program is left alone.
        """
        with sqlite3.connect(self.path) as database:
            database.execute("PRAGMA user_version=99")
        database.close()
        error = self.assertRaises(StoreError, SQLiteJournal, self.path)
        self.assertIn("newer version", str(error))

    def test_noDatabase(self) -> None:
        """
        What is no database is named.
        """
        self.path.write_text("this is no database, and long enough to be seen as none" * 100)
        error = self.assertRaises(StoreError, SQLiteJournal, self.path)
        self.assertIn(str(self.path), str(error))
        missing = self.assertRaises(StoreError, SQLiteJournal, self.path / "below" / "it")
        self.assertIn("Not a directory", str(missing))

    def test_fullDisk(self) -> None:
        """
        What could not be written is told, did not happen, and stands in nobody's way.
        """
        store = self.open()
        self.fill(store)
        before = self.told(store)
        journal: Any = store._journal
        # A limit of pages is how SQLite itself plays a full disk.
        (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
        journal._database.execute(f"PRAGMA max_page_count={pages}")
        failure = self.failureResultOf(store.commit([Change(key("big"), {"value": "x" * 200_000})], "ann"), StoreError)
        self.assertIn("nothing was written: database or disk is full", str(failure.value))
        self.assertEqual(self.told(store), before)
        journal._database.execute("PRAGMA max_page_count=100000")
        self.assertEqual(self.successResultOf(store.commit([Change(key("d"), {})], "ann")).revision, 6)


class _Pool:
    """
    A thread pool whose work is done when the test says so.
    """

    def __init__(self) -> None:
        self.work: list[Any] = []

    def callInThreadWithCallback(self, onResult: Any, work: Any, *args: Any, **kwargs: Any) -> None:
        self.work.append(lambda: onResult(True, work(*args, **kwargs)))


class _Reactor(VirtualReactor):
    """
    A reactor with such a pool.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = _Pool()

    def getThreadPool(self) -> Any:
        return self.pool

    def work(self) -> int:
        """
        Let one piece of work be done; tell how many pieces wait.
        """
        self.pool.work.pop(0)()
        self.advance(0)
        return len(self.pool.work)


class GatheringTests(SynchronousTestCase):
    """
    L{Ledger} while its journal is at work.
    """

    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.batches: list[list[int]] = []
        self.journal = SQLiteJournal(Path(self.mktemp()))
        append = self.journal.append

        def noted(commits: Any) -> None:
            self.batches.append([commit.revision for commit in commits])
            append(commits)

        self.journal.append = noted  # type: ignore[method-assign]  # to see what it is given
        self.store = Ledger(self.reactor, self.journal)
        self.answers: list[object] = []

    def commit(self, name: str, expected: int = -1) -> None:
        """
        Ask for a commit; its answer is written down.
        """

        def answered(commit: Commit) -> None:
            self.answers.append(commit.revision)

        def refused(failure: Any) -> None:
            self.answers.append(type(failure.value).__name__)

        change = Change(key(name), {"by": len(self.answers)}, expected)
        self.store.commit([change], "ann").addCallbacks(answered, refused)

    def test_gather(self) -> None:
        """
        What comes while the journal writes goes in one piece, and is judged by what was asked before it.
        """
        self.commit("a")
        self.commit("b", 0)
        self.commit("b", 2)
        self.commit("b", 0)
        self.assertEqual((self.answers, self.store.revision), ([], 0))
        self.assertEqual(self.reactor.work(), 1)
        self.assertEqual(self.store.revision, 1)
        # The one that is refused knows it when its turn comes: what it lost against is not safe yet, but goes first.
        self.assertEqual(self.answers, ["Conflict", 1])
        self.assertEqual(self.reactor.work(), 0)
        self.assertEqual(self.answers, ["Conflict", 1, 2, 3])
        self.assertEqual(self.batches, [[1], [2, 3]])

    def test_nothingBeforeItIsSafe(self) -> None:
        """
        Neither readers nor watchers see what is not on the disk.
        """
        self.commit("a")
        self.assertEqual(self.successResultOf(self.store.listing()).entries, [])
        self.reactor.work()
        self.assertEqual(len(self.successResultOf(self.store.listing()).entries), 1)

    def test_closeWaits(self) -> None:
        """
        A store that is closed first writes what it was asked for before.
        """
        self.commit("a")
        self.commit("b")
        closed = self.store.close()
        self.commit("late")
        self.assertNoResult(closed)
        while self.reactor.pool.work:
            self.reactor.work()
        self.successResultOf(closed)
        self.assertEqual(self.answers, ["StoreError", 1, 2])
        self.assertEqual(self.batches, [[1], [2]])
