# -*- test-case-name: tests.controlplane.api.test_kubernetes -*-
"""
Kubernetes' watch: one event a line, C{{"type": "ADDED", "object": ...}}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshproxy.controlplane.api.replies import Refused, toJSON
from meshproxy.controlplane.api.streams import Stream
from meshproxy.controlplane.store.interfaces import IStore
from meshproxy.controlplane.store.values import Commit, Compacted, Entry, Written

__all__ = ["ResourceWatch"]


class ResourceWatch(Stream):
    """
    The events of the resources of one kind that are selected.
    """

    def __init__(
        self,
        store: IStore,
        since: int,
        reactor: Any,
        seconds: float,
        collection: str,
        shown: Callable[[Entry], Mapping[str, Any]],
        concerns: Callable[[Entry | None], bool],
        initial: Sequence[Mapping[str, Any]],
        bookmark: Mapping[str, Any] | None,
    ) -> None:
        """
        @param shown: An entry as it is sent.
        @param concerns: Whether an entry is selected; L{None} is not.
        @param initial: Resources to begin with.
        @param bookmark: What an event of type BOOKMARK is made of, or L{None} if none is wanted.
        """
        super().__init__(store, since, reactor, seconds, collection)
        self._shown = shown
        self._concerns = concerns
        self._initial = initial
        self._bookmark = bookmark

    def opening(self) -> list[bytes]:
        """
        See L{Stream.opening}.
        """
        return [toJSON({"type": "ADDED", "object": document}) for document in self._initial]

    def told(self, commit: Commit) -> list[bytes]:
        """
        See L{Stream.told}.
        """
        return [event for written in commit.changes for event in self._event(written, commit.revision)]

    def _event(self, written: Written, revision: int) -> list[bytes]:
        """
        What leaves the selection is deleted for who watches it, what enters is added.
        """
        was, isNow = self._concerns(written.before), self._concerns(written.after)
        if isNow and written.after is not None:
            return [toJSON({"type": "MODIFIED" if was else "ADDED", "object": self._shown(written.after)})]
        if was and written.before is not None:
            # Kubernetes tells a deletion with its own revision, so that a watch can go on from it.
            last = Entry(written.key, written.before.document, revision, written.before.created)
            return [toJSON({"type": "DELETED", "object": self._shown(last)})]
        return []

    def heartbeat(self) -> bytes:
        """
        See L{Stream.heartbeat}.
        """
        if self._bookmark is None:
            return b""
        metadata = {"resourceVersion": str(self._seen), "creationTimestamp": None}
        return toJSON({"type": "BOOKMARK", "object": {**self._bookmark, "metadata": metadata}})

    def lost(self, error: Compacted) -> bytes:
        """
        See L{Stream.lost}.
        """
        return toJSON({"type": "ERROR", "object": Refused(410, f"{error}: list again").status()})
