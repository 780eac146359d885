# -*- test-case-name: tests.controlplane.api.test_kubernetes -*-
"""
Answers that go on while the store changes.

A reader that is slow is not buffered for: while it does not read, the watch of the store is given up, and taken up
again at the revision where it was left. What the store forgot in the meantime ends the answer, and the reader lists
again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from meshproxy.controlplane.store.interfaces import IStore, IWatcher
from meshproxy.controlplane.store.values import Commit, Compacted
from meshproxy.interfaces import ICancellable

__all__ = ["Stream"]

_HEARTBEAT = 20.0
"""
Seconds of silence after which something is sent, so that both ends, and what stands between them, know the other is
there.
"""


@implementer(IPushProducer, IWatcher)
class Stream(ABC):
    """
    An answer that follows the commits of a store. A subclass says what each looks like.

    @cvar contentType: Of the answer.
    """

    contentType = "application/json"

    def __init__(self, store: IStore, since: int, reactor: Any, seconds: float = 0.0, collection: str = "") -> None:
        """
        @param since: The revision that the reader knows.
        @param seconds: When to end by itself; 0 for never.
        @param collection: Only of this one.

        @raise Compacted: If the store does not know that revision any more.
        @raise ValueError: If it is yet to come.
        """
        self._store = store
        self._seen = since
        self._reactor = reactor
        self._life = seconds
        self._collection = collection
        self._request: Any = None
        self._ended: Callable[[], object] = lambda: None
        self._calls: list[Any] = []
        # Made at once, so that a revision that is forgotten is an answer of its own.
        self._watch: ICancellable | None = store.watch(self, since, collection)

    def start(self, request: Any, ended: Callable[[], object]) -> None:
        """
        Begin to answer.

        @param ended: Called when it is over.
        """
        self._request = request
        self._ended = ended
        request.notifyFinish().addBoth(lambda _: self._over())
        request.registerProducer(self, True)
        # The head of the answer goes out at once: the reader is to know that it is heard.
        request.write(b"")
        for data in self.opening():
            self.send(data)
        self._beat()
        if self._life:
            self._calls.append(self._reactor.callLater(self._life, self.finish))

    def opening(self) -> list[bytes]:
        """
        What is sent first.
        """
        return []

    @abstractmethod
    def told(self, commit: Commit) -> list[bytes]:
        """
        What a commit looks like; nothing if it does not concern the reader.
        """

    @abstractmethod
    def heartbeat(self) -> bytes:
        """
        What is sent in a silence.
        """

    @abstractmethod
    def lost(self, error: Compacted) -> bytes:
        """
        What is sent last, where something was forgotten.
        """

    def send(self, data: bytes) -> None:
        """
        Send something, if it is not over.
        """
        if self._request is not None and data:
            self._request.write(data)

    def finish(self) -> None:
        """
        End the answer.
        """
        request = self._request
        if request is not None:
            self._over()
            request.unregisterProducer()
            request.finish()

    # The store's word.

    def committed(self, commit: Commit) -> None:
        """
        See L{IWatcher}.
        """
        self._seen = commit.revision
        for data in self.told(commit):
            self.send(data)

    def watchLost(self, error: Exception) -> None:
        """
        See L{IWatcher}.
        """
        self._watch = None
        if isinstance(error, Compacted):
            self.send(self.lost(error))
        self.finish()

    # The reader's pace.

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._unwatch()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        if self._watch is None and self._request is not None:
            try:
                self._watch = self._store.watch(self, self._seen, self._collection)
            except Compacted as error:
                self.watchLost(error)

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._over()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """
        Call something later, unless it is over by then.
        """
        self._calls = [each for each in self._calls if each.active()]
        self._calls.append(self._reactor.callLater(seconds, call))

    def _beat(self) -> None:
        self.later(_HEARTBEAT, self._beatNow)

    def _beatNow(self) -> None:
        if self._watch is not None:
            self.send(self.heartbeat())
        self._beat()

    def _over(self) -> None:
        self._request = None
        self._unwatch()
        for call in self._calls:
            if call.active():
                call.cancel()
        self._calls = []
        ended, self._ended = self._ended, lambda: None
        ended()
