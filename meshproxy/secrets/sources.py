# -*- test-case-name: tests.secrets.test_keys -*-
"""
Where the bytes of a secret are: C{envoy.config.core.v3.DataSource}.
"""

from __future__ import annotations

import os

from meshproxy.config import Section

__all__ = ["Loading", "readSource"]

#: More than any certificate bundle has.
_MOST_BYTES = 16 << 20


class Loading:
    """
    One reading of everything that a TLS context is made of.

    @ivar files: The files that were read, or were to be read: those to watch.
    """

    __slots__ = ("files",)

    def __init__(self) -> None:
        self.files: set[str] = set()


def readSource(section: Section, loading: Loading, isText: bool = True) -> bytes | None:
    """
    Read a data source. What is wrong with it is told at its place, without anything of what is in it.

    @param isText: Whether white space around it has no meaning.

    @return: L{None} if it cannot be read, or nothing is in it.
    """
    kind = section.oneof("specifier")
    data = b""
    if kind == "filename":
        path = section.get("filename")
        loading.files.add(path)
        found = _readFile(section, path)
        if found is None:
            return None
        data = found
    elif kind == "environment_variable":
        name = section.get(kind)
        value = os.environ.get(name)
        if value is None:
            section.refuse(f"there is no environment variable {name!r}", kind)
            return None
        data = os.fsencode(value)
    elif kind is not None:
        value = section.get(kind)
        data = value.encode("utf-8") if isinstance(value, str) else value
    if not (data.strip() if isText else data):
        section.refuse("is empty: filename, inline_string, inline_bytes or environment_variable is needed", kind or "")
        return None
    return data


def _readFile(section: Section, path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path of a file"
        section.refuse(f"{path!r} cannot be read: {why}", "filename")
        return None
    if len(data) > _MOST_BYTES:
        section.refuse(f"{path!r} is longer than {_MOST_BYTES} bytes", "filename")
        return None
    return data
