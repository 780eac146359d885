# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
What needs no control plane: reading files, and telling every fault of them.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from meshproxy.controlplane.cli.tables import Printer
from meshproxy.controlplane.cli.texts import readTexts
from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource

__all__ = ["readResources", "tellProblems", "validate"]


def readResources(arguments: Namespace) -> tuple[list[Resource], list[Problem]]:
    """
    What files hold, and what is wrong with it.
    """
    resources: list[Resource] = []
    problems: list[Problem] = []
    for text in readTexts(arguments.filename):
        found, told = parseDocuments(text.content, text.name, arguments.namespace)
        resources += found
        problems += told
    return resources, problems


def tellProblems(printer: Printer, arguments: Namespace, problems: Sequence[Problem]) -> bool:
    """
    Tell what is wrong.

    @return: Whether there are errors.
    """
    if arguments.output == "json":
        printer.json([problem.asDict() for problem in problems])
    else:
        for problem in problems:
            word = problem.severity.value
            painted = printer.painted(word, "red" if problem.isError else "yellow")
            printer.line(str(problem).replace(f"{word}:", f"{painted}:", 1))
    return any(problem.isError for problem in problems)


def validate(printer: Printer, arguments: Namespace) -> int:
    """
    Tell every fault of files, each with its place.
    """
    resources, problems = readResources(arguments)
    if tellProblems(printer, arguments, problems):
        return 1
    if arguments.output != "json":
        count = len(resources)
        printer.line(f"{count} resource{'' if count == 1 else 's'}, no errors")
    return 0
