# -*- test-case-name: tests.test_reload -*-
"""
Noticing that files changed, and what of a changed configuration can be served without a new start.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshproxy.config import Section

__all__ = ["INTERVAL", "FileWatch", "FilesWatch", "refuseElsewhere"]

#: "Within a second", with a look to spare.
INTERVAL = 0.4


# Kernels keep the time of a change by the tick of their timer: two writes within one may look alike.
_TICK_NS = 50_000_000

# What a reload may change: the rest is read once, when the process starts.
_RELOADABLE = ("static_resources", "layered_runtime")


def _isSettled(stamp: tuple[int, ...]) -> bool:
    """
    Whether the next write must show in the stamp.
    """
    return time.time_ns() - stamp[-1] > _TICK_NS


class FileWatch(Service):
    """
    Looks at a file again and again, and tells when its content is another one: written in place, renamed into place, or
    behind a symbolic link that points elsewhere now.
    """

    _log = Logger()

    def __init__(self, path: str, clock: Any, changed: Callable[[], object]) -> None:
        self._path = path
        self._changed = changed
        stamp = self._look()
        self._stamp = stamp if stamp is not None and _isSettled(stamp) else None
        self._digest = self._read()
        self._call: Any = LoopingCall(self.check)
        self._call.clock = clock

    def startService(self) -> None:
        """
        Begin to look.
        """
        Service.startService(self)
        self._call.start(INTERVAL, now=False)

    def stopService(self) -> None:
        """
        Look no more.
        """
        Service.stopService(self)
        if self._call.running:
            self._call.stop()

    def check(self) -> None:
        """
        Look now.
        """
        stamp = self._look()
        if stamp is None or stamp == self._stamp:
            return  # unchanged, or in the middle of being replaced
        digest = self._read()
        if digest is None:
            return
        self._stamp = stamp if _isSettled(stamp) else None
        if digest == self._digest:
            return
        self._digest = digest
        try:
            self._changed()
        except Exception:
            # Whoever is told must not end the looking.
            self._log.failure("{path} changed, and whoever was told of it raised", path=self._path)

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self) -> bytes | None:
        try:
            with open(self._path, "rb") as file:
                return hashlib.sha256(file.read()).digest()
        except OSError:
            return None


class FilesWatch:
    """
    Tells which of some files changed since it was last asked; which ones they are may change, too.
    """

    def __init__(self, files: Callable[[], Mapping[str, Sequence[str]]], clock: Any) -> None:
        """
        @param files: Gives paths, each with names that stand for it.
        """
        self._files = files
        self._clock = clock
        self._watches: dict[str, FileWatch] = {}
        self._changed: list[str] = []
        self.changed()

    def changed(self) -> list[str]:
        """
        Look now.

        @return: The names of files that changed. A file that is seen for the first time did not.
        """
        files = self._files()
        self._watches = {path: self._watches.get(path) or self._watch(path) for path in files}
        for watch in self._watches.values():
            watch.check()
        paths, self._changed = self._changed, []
        return [name for path in paths for name in files.get(path, ())]

    def _watch(self, path: str) -> FileWatch:
        return FileWatch(path, self._clock, lambda: self._changed.append(path))


def refuseElsewhere(old: Section, new: Section) -> None:
    """
    Refuse a configuration that differs where a reload changes nothing. Its report gets a fault for each such field.
    """
    names = {descriptor.name for descriptor in new.message.DESCRIPTOR.fields}
    for name in sorted(names.difference(_RELOADABLE)):
        before, after = (_bytesOf(section, name) for section in (old, new))
        if before != after:
            new.refuse("cannot change while the proxy runs; restart it for that", name)


def _bytesOf(section: Section, name: str) -> object:
    only = type(section.message)()
    if section.has(name):
        whole = type(section.message)()
        whole.CopyFrom(section.message)
        for descriptor, _ in section.message.ListFields():
            if descriptor.name != name:
                whole.ClearField(descriptor.name)
        only = whole
    return only.SerializeToString(deterministic=True)
