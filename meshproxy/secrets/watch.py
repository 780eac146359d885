# -*- test-case-name: tests.secrets.test_watch -*-
"""
Noticing that the files of secrets changed: by their content, wherever a name leads to.

Certificates are rotated by writing in place, by renaming, by pointing a symbolic link elsewhere (Kubernetes does so
with the folder above the file); each shows in what the name's content is now.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

__all__ = ["INTERVAL", "SecretFiles", "Watch"]

#: How often to look, in seconds.
INTERVAL = 0.4

# Kernels keep the time of a change by the tick of their timer: two writes within one may look alike.
_TICK_NS = 50_000_000


class Watch:
    """
    Somebody who is to be told of changes.
    """

    __slots__ = ("_files", "changed", "paths")

    def __init__(self, files: SecretFiles, changed: Callable[[], object]) -> None:
        self._files = files
        self.changed = changed
        self.paths: frozenset[str] = frozenset()

    def look(self, paths: Iterable[str]) -> None:
        """
        Watch these files, and no others any more. Their content is taken to be known.
        """
        self.paths = frozenset(paths)
        self._files.add(self)

    def stop(self) -> None:
        """
        Watch nothing any more.
        """
        self._files.remove(self)


class SecretFiles:
    """
    Looks at all watched files again and again; it does so while there are any, and after L{start}.

    @ivar clock: Says when.
    """

    _log = Logger()

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self._watches: dict[Watch, None] = {}
        self._known: dict[str, tuple[tuple[int, ...] | None, bytes | None]] = {}
        self._call: IDelayedCall | None = None
        self._isStarted = False

    def watch(self, changed: Callable[[], object]) -> Watch:
        """
        Begin to tell somebody; which files, L{Watch.look} says.
        """
        return Watch(self, changed)

    def start(self) -> None:
        """
        Begin to look.
        """
        self._isStarted = True
        self._arm()

    def stop(self) -> None:
        """
        Look no more.
        """
        self._isStarted = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def add(self, watch: Watch) -> None:
        """
        Look at the files of a watch.
        """
        self._watches[watch] = None
        for path in watch.paths:
            if path not in self._known:
                self._known[path] = _state(path, None)
        self._forget()
        self._arm()

    def remove(self, watch: Watch) -> None:
        """
        Forget a watch.
        """
        self._watches.pop(watch, None)
        self._forget()

    def _forget(self) -> None:
        wanted = frozenset[str]().union(*(watch.paths for watch in self._watches))
        for path in [path for path in self._known if path not in wanted]:
            del self._known[path]

    def _arm(self) -> None:
        if self._isStarted and self._call is None and self._known:
            self._call = self.clock.callLater(INTERVAL, self.check)

    def check(self) -> None:
        """
        Look now.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        changed = set()
        for path, (stamp, digest) in list(self._known.items()):
            state = _state(path, stamp)
            if state[0] is not None and state[0] == stamp:
                continue
            if state[1] is None:
                continue  # gone, or in the middle of being replaced
            self._known[path] = state
            if state[1] != digest:
                changed.add(path)
        if changed:
            self._tell(changed)
        self._arm()

    def _tell(self, changed: set[str]) -> None:
        for watch in list(self._watches):
            if watch in self._watches and watch.paths & changed:
                try:
                    watch.changed()
                except Exception:
                    # Whoever is told must not end the looking.
                    self._log.failure("a secret's file changed, and whoever was told of it raised")


def _state(path: str, known: tuple[int, ...] | None) -> tuple[tuple[int, ...] | None, bytes | None]:
    """
    The stamp of a file, L{None} where a change may not show in it, and its content's digest, which is not read where
    the stamp is the known one.
    """
    try:
        found = os.stat(path)
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if stamp == known:
            return stamp, None
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).digest()
    except (OSError, ValueError):
        return None, None
    return (stamp if time.time_ns() - found.st_ctime_ns > _TICK_NS else None), digest
