# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
The files that commands are given: one, several, a folder of them, or standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshproxy.controlplane.cli.client import CommandFailed

__all__ = ["Text", "readTexts"]

_ENDS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Text:
    """
    @ivar name: How errors name it.
    """

    name: str
    content: str

    @property
    def contentType(self) -> str:
        """
        Its media type.
        """
        return "application/json" if self.name.endswith(".json") else "application/yaml"


def readTexts(names: Sequence[str]) -> list[Text]:
    """
    @param names: Of files or folders; C{-} is standard input.

    @raise CommandFailed: If one cannot be read, or there is none.
    """
    texts = [text for name in names for text in _read(name)]
    if not texts:
        raise CommandFailed(f"there are no files that end in {', '.join(_ENDS)}: {', '.join(names)}")
    return texts


def _read(name: str) -> Iterator[Text]:
    if name == "-":
        yield Text("<stdin>", sys.stdin.read())
        return
    path = Path(name)
    try:
        if path.is_dir():
            for one in sorted(path.rglob("*")):
                if one.suffix in _ENDS and one.is_file():
                    yield Text(str(one), one.read_text("utf-8"))
        else:
            yield Text(name, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{name}: {getattr(error, 'strerror', None) or error}") from error
