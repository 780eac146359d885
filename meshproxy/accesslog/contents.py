# -*- test-case-name: tests.accesslog.test_contents -*-
"""
Operators that a format has only where its C{formatters} say so: what is in files, and secrets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from meshproxy.accesslog.commands import Command, FormatError
from meshproxy.accesslog.values import Value, clean

if TYPE_CHECKING:
    from meshproxy.config import Section

__all__ = ["FILE_OPERATORS", "INTERVAL", "FileContent", "FindSecret", "ReadSecret", "secretOperators"]

#: The bytes of a secret as it is now; L{None} while there are none.
ReadSecret: TypeAlias = "Callable[[], bytes | None]"
#: From an C{SdsSecretConfig} to what reads the secret; L{None} where there is none, which is told.
FindSecret: TypeAlias = "Callable[[Section], ReadSecret | None]"

#: How long what was read of a file is taken for what is in it, in seconds.
INTERVAL: Final = 0.4

# What a log line or a header may reasonably hold is far less.
_MOST_BYTES: Final = 1 << 20

# Kernels keep the time of a change by the tick of their timer: two writes within one may look alike.
_TICK_NS: Final = 50_000_000


def _shown(data: bytes) -> str:
    """
    Content as text in one line. The end of its last line is none of it: editors write one, and a header with one would
    be broken.
    """
    return clean(str(data, "utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r"))


class FileContent:
    """
    What is in a file, as it is now. Nobody watches it: whoever asks has it looked at, if that is not just over. Where
    it is gone, or longer than it may be, what was there before stays.
    """

    def __init__(self, path: str, seconds: Callable[[], float] = time.monotonic) -> None:
        """
        @raise OSError: If it cannot be read.
        """
        self._path = path
        self._seconds = seconds
        self._stamp: tuple[int, ...] | None = None
        self._until = seconds() + INTERVAL
        self._text = ""
        self._read()

    def __call__(self) -> str:
        """
        The text.
        """
        now = self._seconds()
        if now >= self._until:
            self._until = now + INTERVAL
            try:
                self._read()
            except OSError:
                pass
        return self._text

    def _read(self) -> None:
        found = os.stat(self._path)
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if stamp == self._stamp:
            return
        with open(self._path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise OSError(0, f"it is longer than {_MOST_BYTES} bytes")
        self._text = _shown(data)
        self._stamp = stamp if time.time_ns() - found.st_ctime_ns > _TICK_NS else None


def _fileContent(command: Command) -> Value:
    """
    C{%FILE_CONTENT(PATH)%}, C{%FILE_CONTENT(PATH:DIRECTORY)%}.
    """
    words = [word for word in (command.parameters or "").split(":") if word]
    if not 1 <= len(words) <= 2:
        raise FormatError("%FILE_CONTENT% takes a path, and perhaps a directory to watch: PATH or PATH:DIRECTORY")
    path, *watched = words
    if watched and not os.path.isdir(watched[0]):
        raise FormatError(f"there is no directory {watched[0]!r} to watch")
    try:
        content = FileContent(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path of a file"
        raise FormatError(f"{path!r} cannot be read: {why}") from None
    length = command.length
    return lambda info: content()[:length]


FILE_OPERATORS: Final[dict[str, Callable[[Command], Value]]] = {"FILE_CONTENT": _fileContent}


def secretOperators(secrets: Mapping[str, ReadSecret]) -> dict[str, Callable[[Command], Value]]:
    """
    C{%SECRET(NAME)%}.

    @param secrets: By the names that the format has for them.
    """

    def compile(command: Command) -> Value:
        name = command.parameters or ""
        read = secrets.get(name)
        if read is None:
            raise FormatError(f"secret {name!r} is not configured in secret_configs", tuple(secrets))
        length = command.length

        def value(info: object) -> object:
            data = read()
            return _shown(data)[:length] if data else None

        return value

    return {"SECRET": compile}
