# -*- test-case-name: tests.config.test_report -*-
"""
Where the faults of one configuration gather, so that all of them are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from meshproxy.config.near import didYouMean
from meshproxy.config.nodes import NOWHERE, Place
from meshproxy.errors import ConfigError, ConfigErrors

__all__ = ["Report"]

#: The rest of a path that goes one step further: a field, an index, a key.
_ONE_STEP = re.compile(r"\.?[^.\[]+\Z|\[[^\[\]]*\]\Z")


class Report:
    """
    The faults and the warnings of one configuration.

    They are found in two passes. The first reads the text, and holds it to what is declared; the second compiles. Where
    the first found something, the second goes on L{despite} it, so that its faults are told as well, except those that
    may come only of the others.

    @ivar errors: What refuses the configuration, in the order found.
    @ivar warnings: What is allowed, but hardly meant.
    """

    def __init__(self) -> None:
        self._spoiled: set[str] = set()
        self._isUnsound = False
        self.errors: list[ConfigError] = []
        self.warnings: list[ConfigError] = []

    def refuse(self, path: str, why: str, place: Place = NOWHERE, near: Sequence[str] = ()) -> None:
        """
        Record a fault and go on.

        @param path: Where, in the words of the configuration.
        @param why: What was found and what would be right.
        @param place: Where in the text.
        @param near: Names that may have been meant.
        """
        self.add(place.error(path, why + didYouMean(near)))

    def add(self, error: ConfigError) -> None:
        """
        Record a fault that was raised elsewhere.
        """
        if not (self._isUnsound and self.isSpoiled(error.path)):
            self.errors.append(error)

    def endReading(self) -> None:
        """
        The first pass is over: what it refused casts its shadow on the second.
        """
        self._isUnsound = bool(self.errors)
        self._spoiled.update(error.path for error in self.errors)

    @contextmanager
    def despite(self) -> Iterator[None]:
        """
        Compile something. Where the first pass left faults, what cannot be made of it is left out, without a word more.
        """
        try:
            yield
        except Exception:
            if not self._isUnsound:
                raise

    def warn(self, path: str, why: str, place: Place = NOWHERE) -> None:
        """
        Record a warning.
        """
        self.addWarning(place.error(path, why))

    def addWarning(self, warning: ConfigError) -> None:
        """
        Record a warning that was made elsewhere.
        """
        self.warnings.append(warning)

    def spoil(self, path: str) -> None:
        """
        Remember that what stands at a path could not be read, so that a later check does not call it missing.
        """
        self._spoiled.add(path)

    def isSpoiled(self, path: str) -> bool:
        """
        Whether a fault at a path may come only of what could not be read: there, around it, or right below it.
        """
        return any(
            path == spoiled
            or (path.startswith(spoiled) and path[len(spoiled)] in ".[")
            or (spoiled.startswith(path) and _ONE_STEP.match(spoiled, len(path)))
            for spoiled in self._spoiled
        )

    def ordered(self) -> list[ConfigError]:
        """
        The faults in the order of the text, each once; those without a place last.
        """
        files: dict[str | None, int] = {}
        for error in self.errors:
            files.setdefault(error.file, len(files))
        once = {(error.file, error.line, error.column, error.path, error.why): error for error in self.errors}
        return sorted(once.values(), key=lambda error: (error.line == 0, files[error.file], error.line, error.column))

    def raiseIfAny(self) -> None:
        """
        Raise what was recorded.

        @raise ConfigErrors: With every fault, unless there is none.
        """
        if self.errors:
            raise ConfigErrors(self.ordered())
