# -*- test-case-name: tests.controlplane.store.test_contract -*-
"""
Who watches a store, and how far each has come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.controlplane.store.interfaces import IWatcher
from meshproxy.controlplane.store.values import Commit, Compacted
from meshproxy.interfaces import ICancellable

__all__ = ["Watch", "Watches"]


@implementer(ICancellable)
class Watch:
    """
    One watcher.

    @ivar seen: The revision that it knows of.
    @ivar isOver: Whether it is to hear nothing more.
    """

    def __init__(self, watcher: IWatcher, since: int, collection: str) -> None:
        self.watcher = watcher
        self.seen = since
        self.isOver = False
        self._collection = collection

    def cancel(self) -> None:
        """
        See L{ICancellable.cancel}.
        """
        self.isOver = True

    def concerns(self, commit: Commit) -> Commit | None:
        """
        What of a commit this watch is for.
        """
        if not self._collection:
            return commit
        changes = [written for written in commit.changes if written.key.collection == self._collection]
        if not changes:
            return None
        return Commit(commit.revision, commit.time, commit.author, commit.message, changes)


class Watches:
    """
    All watches of a store. Each is told in a turn of its own of the reactor, of all that it has not heard of yet.
    """

    _log = Logger()

    def __init__(self, reactor: Any, after: Callable[[int], Sequence[Commit]]) -> None:
        """
        @param after: The commits after a revision; raises L{Compacted}.
        """
        self._reactor = reactor
        self._after = after
        self._watches: list[Watch] = []
        self._call: Any = None

    def add(self, watch: Watch) -> Watch:
        """
        Watch from now on; what happened since it last saw is told soon.
        """
        self._watches.append(watch)
        self.tell()
        return watch

    def tell(self) -> None:
        """
        Something happened.
        """
        if self._call is None:
            self._call = self._reactor.callLater(0, self._tell)

    def close(self) -> None:
        """
        Tell nobody anything more.
        """
        for watch in self._watches:
            watch.cancel()
        self._watches.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tell(self) -> None:
        self._call = None
        for watch in list(self._watches):
            try:
                self._tellOne(watch)
            except Exception as error:
                # One watcher's fault is not another's, nor the store's.
                if not isinstance(error, Compacted):
                    self._log.failure("{watcher!r} failed to take a commit, it is told no more", watcher=watch.watcher)
                if not watch.isOver:
                    watch.cancel()
                    self._tellLost(watch, error)
        self._watches = [watch for watch in self._watches if not watch.isOver]

    def _tellOne(self, watch: Watch) -> None:
        # Without Compacted a watch that is not over has heard of all.
        if watch.isOver:
            return
        for commit in self._after(watch.seen):
            watch.seen = commit.revision
            concerned = watch.concerns(commit)
            if concerned is not None:
                watch.watcher.committed(concerned)
            if watch.isOver:
                return

    def _tellLost(self, watch: Watch, error: Exception) -> None:
        try:
            watch.watcher.watchLost(error)
        except Exception:
            self._log.failure("{watcher!r} failed to take the end of its watch", watcher=watch.watcher)
