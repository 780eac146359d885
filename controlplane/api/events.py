# -*- test-case-name: tests.controlplane.api.test_events -*-
"""
What happens, as it happens, for a page or a program: server-sent events (HTML, 9.2).

Each commit is an event with its revision as C{id}, so that a browser that lost its connection goes on where it was
(C{Last-Event-ID}).
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.commits import commitOf, visible
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.streams import Stream
from meshproxy.controlplane.store.interfaces import IStore
from meshproxy.controlplane.store.values import Commit, Compacted

__all__ = ["EventStream", "addEvents"]


def addEvents(router: Router, store: IStore, reactor: Any) -> None:
    """
    C{GET /v1/events}.
    """

    async def events(call: Call) -> EventStream:
        since = call.number("since", store.revision)
        last = call.headers.get("last-event-id", "").strip()
        if last.isascii() and last.isdigit() and len(last) <= 18:
            since = int(last)
        try:
            return EventStream(store, since, reactor)
        except Compacted as error:
            raise Refused(410, f"{error}: list again, then ask for events without a revision") from error
        except ValueError as error:
            raise Refused(400, str(error)) from error

    told = {"since": "The revision that is known; what happened after it is told first."}
    summary = "What happens, as server-sent events"
    router.add(Operation("GET", "/v1/events", events, Role.READ, summary, told, (), "events", refuses=(410,)))


class EventStream(Stream):
    """
    The commits of resources.
    """

    contentType = "text/event-stream"

    def opening(self) -> list[bytes]:
        """
        See L{Stream.opening}.
        """
        # The head of the answer goes out with it; a browser then knows that it is connected.
        return [b": meshproxy\n\n"]

    def told(self, commit: Commit) -> list[bytes]:
        """
        See L{Stream.told}.
        """
        if not visible(commit):
            return []
        data = json.dumps(commitOf(commit), ensure_ascii=False, separators=(",", ":"))
        return [f"id: {commit.revision}\nevent: commit\ndata: {data}\n\n".encode()]

    def heartbeat(self) -> bytes:
        """
        See L{Stream.heartbeat}.
        """
        return b": still here\n\n"

    def lost(self, error: Compacted) -> bytes:
        """
        See L{Stream.lost}.
        """
        return f"event: lost\ndata: {json.dumps({'detail': str(error)})}\n\n".encode()
