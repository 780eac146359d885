# -*- test-case-name: tests.test_reload -*-
"""
Noticing that a file changed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

__all__ = ["FileWatch"]

# "Within a second", with a look to spare.
_INTERVAL = 0.4


class FileWatch(Service):
    """
    Looks at a file again and again, and tells when its content is another one: written in place, renamed into place, or behind
    a symbolic link that points elsewhere now.
    """

    def __init__(self, path: str, clock: Any, changed: Callable[[], object]) -> None:
        self._path = path
        self._changed = changed
        self._stamp = self._look()
        self._digest = self._read()
        self._call: Any = LoopingCall(self.check)
        self._call.clock = clock

    def startService(self) -> None:
        """
        Begin to look.
        """
        Service.startService(self)
        self._call.start(_INTERVAL, now=False)

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
        self._stamp = stamp
        if digest != self._digest:
            self._digest = digest
            self._changed()

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
