"""
The contract of L{meshproxy.controlplane.store.interfaces.IStore}, on each store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.sqlite import SQLiteJournal
from tests.controlplane.store import contract

__all__ = ["MemoryStoreTests", "SQLiteStoreTests"]


class MemoryStoreTests(contract.StoreContract):
    """
    L{Ledger} without a journal.
    """

    def makeStore(self, history: int = 10_000) -> Any:
        return Ledger(self.reactor, history=history)


class SQLiteStoreTests(contract.StoreContract):
    """
    L{Ledger} before an L{SQLiteJournal}.
    """

    def makeStore(self, history: int = 10_000) -> Any:
        return Ledger(self.reactor, SQLiteJournal(Path(self.mktemp())), history)
