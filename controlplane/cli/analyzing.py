# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
C{meshctl analyze}: what is valid and does not do what it says, of files, of the mesh, or of both.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from meshproxy.controlplane.analysis.whole import analyzed
from meshproxy.controlplane.cli.client import APIClient, CommandFailed, Locate, path
from meshproxy.controlplane.cli.offline import readResources, tellProblems
from meshproxy.controlplane.cli.resources import joined
from meshproxy.controlplane.cli.tables import Printer
from meshproxy.controlplane.cli.texts import readTexts
from meshproxy.controlplane.model.problems import Problem, Severity
from meshproxy.controlplane.translate.mesh import MeshConfig

__all__ = ["analyze"]

_ERRORS_FOUND = 79
"""
What istioctl's analyze ends with where it found errors.
"""


def analyze(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Tell what is not found, not used, or said twice.
    """
    if arguments.applied and not arguments.filename:
        raise CommandFailed("--applied wants the files: -f FILE", 2)
    if arguments.filename and not arguments.applied:
        resources, problems = readResources(arguments)
        found, count = analyzed(resources, MeshConfig(), problems), len(resources)
    else:
        answer, locate = _asked(client, arguments)
        found, count = [_problem(one, locate) for one in answer["problems"]], answer["resources"]
    if tellProblems(printer, arguments, found):
        return _ERRORS_FOUND
    if not found and arguments.output != "json":
        printer.line(f"{count} resource{'' if count == 1 else 's'}, nothing found")
    return 0


def _asked(client: APIClient, arguments: Namespace) -> tuple[Any, Locate | None]:
    if not arguments.filename:
        return client.ask("GET", path("v1", "analyze")), None
    content, contentType, name, locate = joined(readTexts(arguments.filename))
    target = path("v1", "analyze", namespace=arguments.namespace, filename=name)
    return client.ask("POST", target, content.encode("utf-8"), contentType, locate), locate


def _problem(told: Mapping[str, Any], locate: Locate | None) -> Problem:
    """
    A problem as the control plane tells it, in the file that it stands in.
    """
    file, line = told.get("file"), int(told.get("line", 0))
    if line and locate is not None and not file:
        file, line = locate(line)
    return Problem(
        Severity(told["severity"]),
        str(told["code"]),
        str(told["message"]),
        str(told.get("path", "")),
        str(told.get("suggestion", "")),
        file,
        line,
        int(told.get("column", 0)),
        str(told.get("resource", "")),
        0 if locate is not None and not told.get("file") else int(told.get("document", 0)),
    )
