# -*- test-case-name: tests.controlplane.model.test_documents -*-
"""
What is to be said of a resource: errors, warnings, and what has no effect so far.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

__all__ = ["NOT_PROGRAMMED", "Problem", "Severity", "hasErrors"]

#: The code of what is valid, and what no data plane does so far.
NOT_PROGRAMMED = "not-programmed"


class Severity(Enum):
    """
    Whether a problem refuses its resource.
    """

    ERROR = "error"
    WARNING = "warning"


@frozen
class Problem:
    """
    One thing that is wrong with a resource, or hardly meant.

    @ivar severity: An error refuses the resource.
    @ivar code: One word for programs: C{syntax}, C{unknown-kind}, C{unknown-field}, C{required}, C{type},
        C{invalid}, C{exclusive}, C{duplicate}, C{conflict}, C{unreachable}, C{deprecated}, C{ineffective},
        C{not-programmed}.
    @ivar message: What was found and what would be right, in one sentence without the suggestion.
    @ivar path: Where in the resource: C{spec.http[0].timeout}; empty for the whole.
    @ivar suggestion: A near name, or empty.
    @ivar file: The text it stands in, or L{None}.
    @ivar line: Its line there, from 1, or 0 where it is unknown.
    @ivar column: Its column there, from 1, or 0 where it is unknown.
    @ivar resource: Which resource: C{VirtualService default/reviews}, or empty where that is not known.
    @ivar document: The number of its document in the text, from 1, or 0 where it is unknown.
    """

    severity: Severity
    code: str
    message: str
    path: str = ""
    suggestion: str = ""
    file: str | None = None
    line: int = 0
    column: int = 0
    resource: str = ""
    document: int = 0

    @property
    def isError(self) -> bool:
        """
        Whether it refuses the resource.
        """
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        """
        One line: place, severity, resource, path, message, suggestion, without what is unknown.
        """
        place = (
            "" if self.file is None else f"{self.file}:{self.line}:{self.column}  " if self.line else f"{self.file}  "
        )
        where = ", ".join(filter(None, (self.resource, self.path)))
        told = f"{self.message}; did you mean {self.suggestion}?" if self.suggestion else self.message
        return f"{place}{self.severity.value}: {f'{where}: ' if where else ''}{told}"

    def asDict(self) -> dict[str, object]:
        """
        As plain data, for JSON.
        """
        told: dict[str, object] = {"severity": self.severity.value, "code": self.code, "message": self.message}
        told.update(
            {name: value for name in ("path", "suggestion", "file", "resource") if (value := getattr(self, name))}
        )
        if self.document:
            told["document"] = self.document
        if self.line:
            told.update(line=self.line, column=self.column)
        return told


def hasErrors(problems: list[Problem]) -> bool:
    """
    Whether any of them refuses its resource.
    """
    return any(problem.isError for problem in problems)
