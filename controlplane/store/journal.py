# -*- test-case-name: tests.controlplane.store.test_sqlite -*-
"""
What L{meshproxy.controlplane.store.ledger.Ledger} writes to before it acknowledges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meshproxy.controlplane.store.values import Commit, Entry

__all__ = ["IJournal", "NoJournal", "Recovered"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    What a journal remembers of earlier runs.

    @ivar entries: What there is now.
    @ivar commits: The history, oldest first.
    @ivar compacted: The revision up to which the history is forgotten.
    @ivar revision: The newest revision.
    """

    entries: Sequence[Entry]
    commits: Sequence[Commit]
    compacted: int
    revision: int


class IJournal(Protocol):
    """
    Something durable. Its methods may block, are called by one thread at a time, and in order.
    """

    #: Whether C{append} and C{compact} take so long that they belong into a thread.
    blocks: bool

    def recover(self) -> Recovered:
        """
        Called once, first.
        """

    def append(self, commits: Sequence[Commit]) -> None:
        """
        Keep commits: all of them, durably, or none and raise.
        """

    def compact(self, revision: int) -> None:
        """
        Forget the commits up to and with a revision.
        """

    def close(self) -> None:
        """
        Let go.
        """


class NoJournal:
    """
    For a store that lives as long as its process.
    """

    blocks = False

    def recover(self) -> Recovered:
        """
        Nothing.
        """
        return Recovered((), (), 0, 0)

    def append(self, commits: Sequence[Commit]) -> None:
        """
        Nothing to do.
        """

    def compact(self, revision: int) -> None:
        """
        Nothing to do.
        """

    def close(self) -> None:
        """
        Nothing to do.
        """
