# -*- test-case-name: tests.controlplane.store.test_contract -*-
"""
What a store promises. L{tests.controlplane.store.contract} holds each of them to it.
"""

# Interface methods have no C{self}, and nothing to return.
# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import Attribute, Interface

from meshproxy.controlplane.store.values import Change, Commit, Key

__all__ = ["IStore", "IWatcher"]


class IWatcher(Interface):
    """
    Who is told of commits.
    """

    def committed(commit: Commit) -> None:
        """
        A commit happened. Commits are told in order, each once, and never from within the call that made the watch or
        the commit of another watcher's answer.
        """

    def watchLost(error: Exception) -> None:
        """
        The watch is over, and not because somebody cancelled it: what lies between is lost, so list again.
        """


class IStore(Interface):
    """
    Documents by key, with one number for all: each commit gives the store a new revision, and each document knows
    the revision that it was written in.

    A document is what JSON can say, a dictionary; what comes out must not be changed by who got it. A store knows
    nothing of what documents mean.
    """

    revision: int = Attribute("The newest revision; 0 while nothing was ever written.")

    def get(key: Key) -> Any:
        """
        @return: A Deferred of the L{Entry}, or of L{None}.
        """

    def listing(collection: str = "", namespace: str = "") -> Any:
        """
        All entries, in order of their keys.

        @param collection: Only of this one (C{networking.istio.io/gateways}); all if empty.
        @param namespace: Only of this one; of all if empty.

        @return: A Deferred of a L{Listing}: entries, and the revision that a watch goes on from.
        """

    def commit(changes: Sequence[Change], author: str, message: str = "") -> Any:
        """
        Make several changes at once, or none of them. When the Deferred fires, they are safe.

        @param author: Who; it stays with the commit.
        @param message: Why, in the words of who.

        @return: A Deferred of the L{Commit}. It fails with a L{Conflict} that names each change whose expected revision
            is not the one that is there, with L{ValueError} for two changes of one key or for what JSON cannot say.
        """

    def watch(watcher: IWatcher, since: int, collection: str = "") -> Any:
        """
        Be told of each commit after a revision, those that happened already included.

        @param since: The revision that is known; that of a L{Listing} loses nothing and tells nothing twice.
        @param collection: Only changes of this collection; commits without any are left out.

        @return: An L{meshproxy.interfaces.ICancellable}.

        @raise Compacted: If the history does not reach back that far.
        @raise ValueError: If the revision is yet to come.
        """

    def history(key: Key | None = None, before: int = 0, limit: int = 100) -> Any:
        """
        Commits, newest first, and of each only the changes of the key if one is given.

        @param before: Only of earlier revisions than this; 0 begins at the newest.

        @return: A Deferred of a list of L{Commit}s.
        """

    def at(revision: int) -> Any:
        """
        All entries as they were at a revision.

        @return: A Deferred of a L{Listing}; it fails with L{Compacted} if the history does not reach back that far, and
            with L{ValueError} if the revision is yet to come.
        """

    def compact(revision: int) -> Any:
        """
        Forget the history up to and with a revision. What is there now stays.

        @return: A Deferred of L{None}.
        """

    def close() -> Any:
        """
        Let go of files; watches are over, without a word.

        @return: A Deferred of L{None}.
        """
