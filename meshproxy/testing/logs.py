# -*- test-case-name: tests.testing.test_proxy -*-
"""
Access logs that are kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from meshproxy.accesslog.files import LogFile, LogFiles
from meshproxy.stats import Scope, Store

__all__ = ["MemoryLogFile", "MemoryLogFiles"]


def _inline(work: Callable[[], None]) -> Deferred[None]:
    work()
    return succeed(None)


class MemoryLogFile(LogFile):
    """
    The lines of one path.

    @ivar lines: What was logged, without line ends.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.holders = 0
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """
        See L{LogFile.write}.
        """
        self.lines.append(line.rstrip("\n"))

    def add(self, data: bytes, lines: int) -> bool:
        """
        See L{LogFile.add}. Nothing is taken: each line shall come by itself, to be told from others.
        """
        return False

    def flush(self) -> Deferred[None]:
        """
        See L{LogFile.flush}.
        """
        return succeed(None)

    def reopen(self) -> None:
        """
        See L{LogFile.reopen}.
        """

    def close(self) -> Deferred[None]:
        """
        See L{LogFile.close}.
        """
        return succeed(None)


class MemoryLogFiles(LogFiles):
    """
    All of them; no file is opened.
    """

    def __init__(self, clock: IReactorTime, stats: Scope | None = None) -> None:
        super().__init__(clock, stats or Store().scope("filesystem."), _inline)
        self._kept: dict[str, MemoryLogFile] = {}

    def open(self, path: str) -> LogFile:
        """
        See L{LogFiles.open}.
        """
        return self._kept.setdefault(path, MemoryLogFile(path))

    def release(self, file: LogFile) -> Deferred[None]:
        """
        See L{LogFiles.release}; lines stay to be looked at.
        """
        return succeed(None)

    def lines(self, path: str | None = None) -> list[str]:
        """
        What was logged.

        @param path: To which file, C{"/dev/stdout"} for example; by default to all.
        """
        return [line for file in self._kept.values() if path in (None, file.path) for line in file.lines]
