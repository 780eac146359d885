# -*- test-case-name: tests.controlplane.store.test_contract -*-
"""
A store in memory, which may have a journal behind it.

All that is asked for is answered from memory: the entries as they are, and the commits of the history. What is
written goes to the journal first, and counts, is told and is acknowledged when it is there. While the journal writes,
further commits gather; then they go together, since a disk takes as long for ten as for one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.controlplane.store.interfaces import IStore, IWatcher
from meshproxy.controlplane.store.journal import IJournal, NoJournal
from meshproxy.controlplane.store.values import (
    ANY,
    Change,
    Commit,
    Compacted,
    Conflict,
    Entry,
    Key,
    Listing,
    Mismatch,
    StoreError,
    Written,
    decode,
    encode,
)
from meshproxy.controlplane.store.watches import Watch, Watches
from meshproxy.interfaces import ICancellable

__all__ = ["HISTORY", "Ledger"]

HISTORY = 10_000
"""
How many commits are kept by default: with a change every ten minutes that is ten weeks, and bounded all the same.
"""


class _Life(Enum):
    """
    Whether a store still takes commits.
    """

    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _Asked:
    """
    A commit that somebody waits for.
    """

    changes: Sequence[Change]
    author: str
    message: str
    answer: Deferred[Commit]


@implementer(IStore)
class Ledger:
    """
    See the module.

    @ivar revision: See L{IStore}.
    """

    def __init__(self, reactor: Any, journal: IJournal | None = None, history: int = HISTORY) -> None:
        """
        @param reactor: C{IReactorTime}, and C{IReactorThreads} where a journal blocks.
        @param history: How many commits to keep; older ones are compacted away, a tenth of this at a time.
        """
        self._reactor = reactor
        self._journal: IJournal = journal or NoJournal()
        self._keep = history
        recovered = self._journal.recover()
        self._entries = {entry.key: entry for entry in recovered.entries}
        self._commits = list(recovered.commits)
        self._compacted = recovered.compacted
        self.revision = recovered.revision
        self._watches = Watches(reactor, self._after)
        self._asked: list[_Asked] = []
        self._lock = DeferredLock()
        self._life = _Life.OPEN
        self._closers: list[Deferred[None]] = []
        self._busy = False

    def get(self, key: Key) -> Deferred[Entry | None]:
        """
        See L{IStore.get}.
        """
        return succeed(self._entries.get(key))

    def listing(self, collection: str = "", namespace: str = "") -> Deferred[Listing]:
        """
        See L{IStore.listing}.
        """
        found = [
            entry
            for key, entry in self._entries.items()
            if (not collection or key.collection == collection) and (not namespace or key.namespace == namespace)
        ]
        return succeed(Listing(sorted(found, key=_keyOf), self.revision))

    def commit(self, changes: Sequence[Change], author: str, message: str = "") -> Deferred[Commit]:
        """
        See L{IStore.commit}.
        """
        if self._life is not _Life.OPEN:
            return fail(StoreError("the store is closed"))
        try:
            own = _own(changes)
        except ValueError:
            return fail(Failure())
        answer: Deferred[Commit] = Deferred()
        self._asked.append(_Asked(own, author, message, answer))
        self._write()
        return answer

    def watch(self, watcher: IWatcher, since: int, collection: str = "") -> ICancellable:
        """
        See L{IStore.watch}.
        """
        self._check(since)
        return self._watches.add(Watch(watcher, since, collection))

    def history(self, key: Key | None = None, before: int = 0, limit: int = 100) -> Deferred[Sequence[Commit]]:
        """
        See L{IStore.history}.
        """
        found: list[Commit] = []
        for commit in reversed(self._commits):
            if len(found) >= limit:
                break
            if before and commit.revision >= before:
                continue
            if key is not None:
                changes = [written for written in commit.changes if written.key == key]
                if not changes:
                    continue
                commit = Commit(commit.revision, commit.time, commit.author, commit.message, changes)
            found.append(commit)
        return succeed(found)

    def at(self, revision: int) -> Deferred[Listing]:
        """
        See L{IStore.at}.
        """
        try:
            self._check(revision)
        except (Compacted, ValueError):
            return fail(Failure())
        entries: dict[Key, Entry | None] = dict(self._entries)
        for commit in reversed(self._after(revision)):
            for written in commit.changes:
                entries[written.key] = written.before
        return succeed(Listing(sorted(filter(None, entries.values()), key=_keyOf), revision))

    def compact(self, revision: int) -> Deferred[None]:
        """
        See L{IStore.compact}.
        """
        if self._life is not _Life.OPEN:
            return fail(StoreError("the store is closed"))
        return self._compact(min(revision, self.revision))

    def close(self) -> Deferred[None]:
        """
        See L{IStore.close}. Commits under way end first.
        """
        if self._life is _Life.CLOSED:
            return succeed(None)
        answer: Deferred[None] = Deferred()
        self._closers.append(answer)
        if self._life is _Life.OPEN:
            self._life = _Life.CLOSING
            self._watches.close()
            self._write()
        return answer

    def _closed(self, result: object) -> None:
        self._life = _Life.CLOSED
        closers, self._closers = self._closers, []
        for answer in closers:
            answer.callback(None)

    # What follows writes.

    def _write(self) -> None:
        """
        Give what gathered to the journal, unless it is busy.
        """
        if self._busy:
            return
        asked, self._asked = self._asked, []
        commits: list[Commit] = []
        answers: list[Deferred[Commit]] = []
        ahead: dict[Key, Entry | None] = {}
        refused: list[tuple[Deferred[Commit], Conflict]] = []
        for one in asked:
            try:
                commits.append(self._prepare(one, ahead, self.revision + len(commits) + 1))
            except Conflict as error:
                refused.append((one.answer, error))
            else:
                answers.append(one.answer)
        if commits:
            self._busy = True
            self._inJournal(lambda: self._journal.append(commits)).addCallbacks(
                lambda _: self._applied(commits, answers), lambda why: self._failed(why, answers)
            )
        elif self._life is _Life.CLOSING:
            # Behind whatever is with the journal still, and the last that it is asked for.
            self._busy = True
            self._inJournal(self._journal.close).addBoth(self._closed)
        for answer, conflict in refused:
            answer.errback(conflict)

    def _prepare(self, asked: _Asked, ahead: dict[Key, Entry | None], revision: int) -> Commit:
        """
        @param ahead: What earlier commits that are not applied yet make of entries; this one's changes are added.
        """
        mismatches: list[Mismatch] = []
        changes: list[Written] = []
        for change in asked.changes:
            before = ahead[change.key] if change.key in ahead else self._entries.get(change.key)
            found = 0 if before is None else before.revision
            gone = change.document is None and before is None
            if (change.expected != ANY and change.expected != found) or (gone and change.expected != ANY):
                mismatches.append(Mismatch(change.key, change.expected, found))
                continue
            after = None
            if change.document is not None:
                after = Entry(change.key, change.document, revision, revision if before is None else before.created)
            changes.append(Written(change.key, before, after))
        if mismatches:
            raise Conflict(mismatches)
        ahead.update((written.key, written.after) for written in changes)
        # A clock that is set back would make a history that runs backwards.
        time = max(self._reactor.seconds(), self._commits[-1].time if self._commits else 0.0)
        return Commit(revision, time, asked.author, asked.message, changes)

    def _applied(self, commits: list[Commit], answers: list[Deferred[Commit]]) -> None:
        for commit in commits:
            for written in commit.changes:
                if written.after is None:
                    self._entries.pop(written.key, None)
                else:
                    self._entries[written.key] = written.after
        self._commits += commits
        self.revision = commits[-1].revision
        self._busy = False
        self._watches.tell()
        if len(self._commits) > self._keep + self._keep // 10:
            self._compact(self._commits[-self._keep - 1].revision)
        self._write()
        for answer, commit in zip(answers, commits, strict=True):
            answer.callback(commit)

    def _failed(self, why: Failure, answers: list[Deferred[Commit]]) -> None:
        self._busy = False
        self._write()
        for answer in answers:
            answer.errback(StoreError(f"nothing was written: {why.getErrorMessage()}"))

    def _compact(self, revision: int) -> Deferred[None]:
        if revision <= self._compacted:
            return succeed(None)
        self._compacted = revision
        del self._commits[: bisect_right(self._commits, revision, key=_revisionOf)]
        return self._inJournal(lambda: self._journal.compact(revision))

    def _inJournal(self, work: Callable[[], None]) -> Deferred[None]:
        """
        One piece of work after the other, in a thread if it may take its time.
        """
        if self._journal.blocks:
            pool = self._reactor.getThreadPool()
            return self._lock.run(deferToThreadPool, self._reactor, pool, work)
        return self._lock.run(work)

    # What follows reads the history.

    def _check(self, since: int) -> None:
        if since > self.revision:
            raise ValueError(f"revision {since} is yet to come, the newest one is {self.revision}")
        if since < self._compacted:
            raise Compacted(since, self._compacted)

    def _after(self, revision: int) -> Sequence[Commit]:
        """
        The commits after a revision.

        @raise Compacted: If some of them are forgotten.
        """
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        return self._commits[bisect_right(self._commits, revision, key=_revisionOf) :]


def _keyOf(entry: Entry) -> Key:
    return entry.key


def _revisionOf(commit: Commit) -> int:
    return commit.revision


def _own(changes: Sequence[Change]) -> list[Change]:
    """
    The changes with documents of their own, which nobody else can change.

    @raise ValueError: If a key stands twice, or JSON cannot say a document.
    """
    keys = {change.key for change in changes}
    if not changes:
        raise ValueError("a commit has at least one change")
    if len(keys) < len(changes):
        raise ValueError("a commit changes each key once")
    return [
        Change(change.key, None if change.document is None else decode(encode(change.document)), change.expected)
        for change in changes
    ]
