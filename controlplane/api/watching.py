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
from meshproxy.controlplane.store.values import Commit, Compacted, Entry, Key, Written

__all__ = ["ResourceWatch", "isProgrammed"]


_LOOK = 0.5
"""
Seconds between two looks at a status that somebody waits for.
"""


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
        followed: Mapping[Key, tuple[Entry, bool]] | None = None,
    ) -> None:
        """
        @param shown: An entry as it is sent.
        @param concerns: Whether an entry is selected; L{None} is not.
        @param initial: Resources to begin with.
        @param bookmark: What an event of type BOOKMARK is made of, or L{None} if none is wanted.
        @param followed: Resources whose status is told as well when it changes, which no commit tells, until all
            proxies have them; each with whether it was shown a moment ago as one that they have not. L{None} where
            nobody waits for that.
        """
        super().__init__(store, since, reactor, seconds, collection)
        self._shown = shown
        self._concerns = concerns
        self._initial = initial
        self._bookmark = bookmark
        self._follows = followed is not None
        # Those that not all proxies have, each with the status that was told.
        self._open: dict[Key, tuple[Entry, Any]] = {}
        for entry, wasOpen in (followed or {}).values():
            if wasOpen:
                # Whatever it is now, the reader may not know.
                self._open[entry.key] = entry, None
            else:
                self._follow(entry, shown(entry).get("status"))

    def start(self, request: Any, ended: Callable[[], object]) -> None:
        """
        See L{Stream.start}.
        """
        super().start(request, ended)
        if self._follows:
            self._look()

    def _follow(self, entry: Entry, status: Any) -> None:
        if isProgrammed(status):
            self._open.pop(entry.key, None)
        else:
            self._open[entry.key] = entry, status

    def _look(self) -> None:
        if self._watch is not None:
            for entry, told in list(self._open.values()):
                document = self._shown(entry)
                if document.get("status") != told:
                    self._follow(entry, document.get("status"))
                    self.send(toJSON({"type": "MODIFIED", "object": document}))
        self.later(_LOOK, self._look)

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
        self._open.pop(written.key, None)
        if isNow and written.after is not None:
            document = self._shown(written.after)
            if self._follows:
                self._follow(written.after, document.get("status"))
            return [toJSON({"type": "MODIFIED" if was else "ADDED", "object": document})]
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


def isProgrammed(status: Any) -> bool:
    """
    Whether a status says that all proxies have the resource.
    """
    conditions = status.get("conditions", ()) if isinstance(status, Mapping) else ()
    return any(one.get("type") == "Programmed" and one.get("status") == "True" for one in conditions)
