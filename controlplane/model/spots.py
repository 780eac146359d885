# -*- test-case-name: tests.controlplane.model.test_documents -*-
"""
Places inside a resource, and what the checks of its kind say about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from meshproxy.config.near import HINT, near
from meshproxy.config.nodes import Node, Place
from meshproxy.config.report import Report
from meshproxy.config.walker import keyPath
from meshproxy.controlplane.model.problems import NOT_PROGRAMMED, Problem, Severity

__all__ = ["Findings", "Spot", "pathOf", "placeOf"]

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def pathOf(steps: Iterable[str | int]) -> str:
    """
    Keys and indices as a path.
    """
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else keyPath(path, step)
    return path


def placeOf(node: Node, steps: Iterable[str | int]) -> Place:
    """
    Where something stands in a text, or the nearest thing around it that the text has.
    """
    place = node.place
    for step in steps:
        value = node.value
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                break
            node = value[step]
            place = node.place
        else:
            if not isinstance(value, dict):
                break
            entry = value.get(step) or value.get(_CAPITAL.sub("_", step).lower())
            if entry is None:
                break
            node = entry.node
            # A nested mapping begins below its key; the key is what the eye looks for.
            place = entry.place if isinstance(node.value, (dict, list)) else node.place
    return place


class Findings:
    """
    What is found in one resource.

    @ivar problems: The problems, in the order found.
    """

    def __init__(self, node: Node, resource: str = "") -> None:
        self._node = node
        self._resource = resource
        self._unread = Report()
        self.problems: list[Problem] = []

    def spot(self, *steps: str | int) -> Spot:
        """
        A place in the resource.
        """
        return Spot(self, steps)

    def spoil(self, path: str) -> None:
        """
        Remember that what stands at a path could not be read, so that a check does not speak of its consequences.
        """
        self._unread.spoil(path)

    def add(self, severity: Severity, code: str, why: str, steps: Sequence[str | int], suggestion: str = "") -> None:
        """
        Record a problem, unless it follows from what could not be read.
        """
        path = pathOf(steps)
        if not self._unread.isSpoiled(path):
            place = placeOf(self._node, steps)
            told = Problem(severity, code, why, path, suggestion, place.file, place.line, place.column, self._resource)
            if told not in self.problems:
                self.problems.append(told)


class Spot:
    """
    A place in a resource: C{spot["http"][0]} is one further in.
    """

    __slots__ = ("_findings", "_steps")

    def __init__(self, findings: Findings, steps: tuple[str | int, ...]) -> None:
        self._findings = findings
        self._steps = steps

    def __getitem__(self, step: str | int) -> Spot:
        return Spot(self._findings, (*self._steps, step))

    @property
    def path(self) -> str:
        """
        The path, as a problem has it.
        """
        return pathOf(self._steps)

    def refuse(self, why: str, code: str = "invalid", wanted: str = "", known: Iterable[str] = ()) -> None:
        """
        Record an error.

        @param why: What was found and what would be right.
        @param code: One of those of L{Problem}.
        @param wanted: A word that may be mistyped.
        @param known: The words that it may have meant.
        """
        suggestion = "".join(near(wanted, known, 1)) if wanted else ""
        self._findings.add(Severity.ERROR, code, why, self._steps, suggestion)

    def warn(self, why: str, code: str = "ineffective", wanted: str = "", known: Iterable[str] = ()) -> None:
        """
        Record a warning; for the arguments see L{refuse}.
        """
        suggestion = "".join(near(wanted, known, 1)) if wanted else ""
        self._findings.add(Severity.WARNING, code, why, self._steps, suggestion)

    def notProgrammed(self, why: str) -> None:
        """
        Record that what stands here has no effect so far.
        """
        self._findings.add(Severity.WARNING, NOT_PROGRAMMED, why, self._steps)

    def judge(self, why: str | None, code: str = "invalid") -> bool:
        """
        Record an error if there is one. What it says was probably meant becomes the suggestion.

        @return: Whether there was none.
        """
        if why is not None:
            told, _, hint = why.partition(HINT)
            self._findings.add(Severity.ERROR, code, told, self._steps, hint.rstrip("?"))
        return why is None

    def require(self, value: object, why: str = "is required, and not set") -> bool:
        """
        Record an error if a value is not there.

        @return: Whether it is.
        """
        if value is None or value == "" or value == [] or value == {}:
            self.refuse(why, "required")
            return False
        return True

    def oneOf(self, instance: object, *names: str, needed: bool = False) -> None:
        """
        Record an error if several of some attributes are set, or none of them where one is needed.
        """
        given = [name for name in names if _isSet(getattr(instance, name))]
        keys = [name.rstrip("_") for name in names]
        if len(given) > 1:
            told = " and ".join(name.rstrip("_") for name in given)
            self[given[1].rstrip("_")].refuse(f"only one of {', '.join(keys)} may be set, not {told}", "exclusive")
        elif needed and not given:
            self.refuse(f"one of {', '.join(keys)} is required", "required")


def _isSet(value: object) -> bool:
    return value is not None and value is not False and value != "" and value != [] and value != {} and value != 0
