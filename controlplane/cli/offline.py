# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
Commands that need no control plane: validate, analyze.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

from meshproxy.controlplane.analysis.references import NOT_FOUND, missingReferences
from meshproxy.controlplane.cli.tables import Printer
from meshproxy.controlplane.cli.texts import readTexts
from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Proxy, Role
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import translate

__all__ = ["analyze", "proxiesOf", "validate"]

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


def proxiesOf(resources: Iterable[Resource]) -> list[Proxy]:
    """
    Proxies that between them have to do with all resources: a sidecar in each namespace, a gateway for each Gateway,
    and one for each workload that a policy selects.
    """
    sidecars: dict[tuple[str, tuple[tuple[str, str], ...]], Proxy] = {}
    routers: dict[tuple[str, tuple[tuple[str, str], ...]], Proxy] = {}
    for resource in resources:
        namespace = resource.namespace or "default"
        labels: dict[str, str] = {}
        selector: Any = getattr(resource.spec, "selector", None)
        if isinstance(selector, dict):
            labels = dict(selector)
        elif hasattr(selector, "matchLabels"):
            labels = dict(selector.matchLabels)
        key = (namespace, tuple(sorted(labels.items())))
        if resource.kind == "Gateway":
            routers[key] = Proxy(id=f"gateway of {namespace}", namespace=namespace, role=Role.ROUTER, labels=labels)
        else:
            sidecars[key] = Proxy(id=f"sidecar in {namespace}", namespace=namespace, labels=labels)
    return [*sidecars.values(), *routers.values()]


def _isTold(problem: Problem, missing: Sequence[Problem]) -> bool:
    """
    Whether the same is said of a name already, with its place.
    """
    if problem.code != NOT_FOUND or problem.path:
        return False
    told = problem.message.partition(": requests")[0]
    return any(one.resource == problem.resource and one.message.startswith(told) for one in missing)


def analyze(printer: Printer, arguments: Namespace) -> int:
    """
    Tell what is valid and does not do what it says: what is not found, not used, or said twice.
    """
    resources, problems = _read(arguments)
    mesh = MeshConfig()
    everything, services = ResourceSet(resources), indexOf(resources, mesh.domain)
    missing = missingReferences(resources, services, mesh.domain)
    found: dict[Problem, None] = dict.fromkeys([*problems, *missing])
    for proxy in proxiesOf(resources):
        told = translate(proxy, mesh, everything, services).problems
        found.update(dict.fromkeys(one for one in told if not _isTold(one, missing)))
    ordered = sorted(found, key=lambda one: (one.file or "", one.line, one.column, one.message))
    if _tell(printer, arguments, ordered):
        return _ERRORS_FOUND
    if not ordered and arguments.output != "json":
        printer.line(f"{len(resources)} resources, nothing found")
    return 0
