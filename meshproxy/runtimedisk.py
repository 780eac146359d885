# -*- test-case-name: tests.test_runtimedisk -*-
"""
Runtime values in files: C{disk_layer}.

A directory holds one value in each file, whose path below it, with dots, is the key. Whoever changes values prepares
another directory and puts the symbolic link to it in the old one's place, so that all change at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from meshproxy.config import Section

__all__ = ["DiskLayer", "RuntimeFault"]

# As Envoy: no deeper, and no longer.
_DEEPEST = 16
_LONGEST = 16 << 20


class RuntimeFault(ValueError):
    """
    A directory that cannot be read.
    """


class DiskLayer:
    """
    One directory.

    @ivar path: Where it is; it need not be there.
    """

    def __init__(self, section: Section, serviceCluster: str) -> None:
        """
        @param section: A C{DiskLayer} message.
        @param serviceCluster: C{node.cluster}.
        """
        self._root = Path(section.get("symlink_root"))
        self.path = self._root / section.get("subdirectory")
        if section.get("append_service_cluster"):
            self.path /= serviceCluster
        self._seen = self._mark()

    def hasChanged(self) -> bool:
        """
        Whether the link leads elsewhere since this was last asked.
        """
        before, self._seen = self._seen, self._mark()
        return self._seen != before

    def _mark(self) -> tuple[int, int, str] | None:
        """
        What changes with the link: nothing below it is looked at.
        """
        try:
            found = os.lstat(self._root)
            target = os.readlink(self._root) if self._root.is_symlink() else ""
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns if target else 0, target)

    def texts(self) -> dict[str, str] | None:
        """
        The text of each key, L{None} where there is no such directory.

        @raise RuntimeFault: If it cannot be read.
        """
        if not self.path.is_dir():
            return None
        try:
            return {key: _textOf(file) for file, key in self._files(self.path, "", 1)}
        except OSError as error:
            raise RuntimeFault(f"{error.filename}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RuntimeFault(f"{self.path}: a value that is not UTF-8") from error

    def _files(self, folder: Path, prefix: str, depth: int) -> Iterator[tuple[Path, str]]:
        if depth > _DEEPEST:
            raise RuntimeFault(f"{folder}: deeper than {_DEEPEST} directories")
        for entry in sorted(folder.iterdir()):
            key = f"{prefix}{entry.name}"
            if entry.is_dir():
                yield from self._files(entry, f"{key}.", depth + 1)
            elif entry.is_file():
                yield entry, key


def _textOf(file: Path) -> str:
    """
    The value in a file, without comments and without blanks at its end.
    """
    if file.stat().st_size > _LONGEST:
        raise RuntimeFault(f"{file}: longer than {_LONGEST} bytes")
    lines = file.read_text("utf-8").split("\n")
    return "\n".join(line for line in lines if line and not line.startswith("#")).rstrip()
