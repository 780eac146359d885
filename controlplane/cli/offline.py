# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
Commands that need no control plane: validate, analyze.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from meshproxy.controlplane.analysis.whole import analyzed
from meshproxy.controlplane.cli.tables import Printer
from meshproxy.controlplane.cli.texts import readTexts
from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.mesh import MeshConfig

__all__ = ["analyze", "validate"]

_ERRORS_FOUND = 79
"""
What istioctl's analyze ends with where it found errors.
"""


def _read(arguments: Namespace) -> tuple[list[Resource], list[Problem]]:
    resources: list[Resource] = []
    problems: list[Problem] = []
    for text in readTexts(arguments.filename):
        found, told = parseDocuments(text.content, text.name, arguments.namespace)
        resources += found
        problems += told
    return resources, problems


def _tell(printer: Printer, arguments: Namespace, problems: Sequence[Problem]) -> bool:
    """
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
    resources, problems = _read(arguments)
    if _tell(printer, arguments, problems):
        return 1
    if arguments.output != "json":
        printer.line(f"{len(resources)} resources, no errors")
    return 0


def analyze(printer: Printer, arguments: Namespace) -> int:
    """
    Tell what is valid and does not do what it says: what is not found, not used, or said twice.
    """
    resources, problems = _read(arguments)
    ordered = analyzed(resources, MeshConfig(), problems)
    if _tell(printer, arguments, ordered):
        return _ERRORS_FOUND
    if not ordered and arguments.output != "json":
        printer.line(f"{len(resources)} resources, nothing found")
    return 0
