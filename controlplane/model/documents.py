# -*- test-case-name: tests.controlplane.model.test_documents -*-
"""
Texts and request bodies to resources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from meshproxy.config.jsontext import parseJSON
from meshproxy.config.near import HINT, near
from meshproxy.config.nodes import Entry, Node, Place, nodeOf
from meshproxy.config.report import Report
from meshproxy.config.structure import structure
from meshproxy.config.yamltext import parseYAMLDocuments
from meshproxy.controlplane.model.kinds import KINDS, OUTSIDE, Kind, findKind, kindNames
from meshproxy.controlplane.model.problems import Problem, Severity, hasErrors
from meshproxy.controlplane.model.resource import Metadata, Resource, checkMetadata
from meshproxy.controlplane.model.spots import Findings
from meshproxy.errors import ConfigError, ConfigErrors

__all__ = ["parseDocuments", "parseObject"]

#: The namespace of what names none.
DEFAULT_NAMESPACE = "default"

#: What the structurer says of keys and values, and the code of each.
_CODES = ((" is not known here", "unknown-field"), ("is required, and not set", "required"))


def parseDocuments(
    text: str, filename: str | None = None, namespace: str = DEFAULT_NAMESPACE
) -> tuple[list[Resource], list[Problem]]:
    """
    Read every document of a text, YAML or (if its file is named C{.json}) JSON. Lists are taken apart.

    @param text: The text.
    @param filename: How problems name it.
    @param namespace: For what names no namespace.

    @return: The resources without errors, in their order, and all problems, in the order of the text.
    """
    problems: list[Problem] = []

    def warn(warning: ConfigError) -> None:
        problems.append(_told(warning, Severity.WARNING, "syntax"))

    try:
        if filename is not None and filename.endswith(".json"):
            documents = [parseJSON(text, filename, warn)]
        else:
            documents = parseYAMLDocuments(text, filename, warn)
    except ConfigErrors as errors:
        return [], [*problems, *(_told(error, Severity.ERROR, "syntax") for error in errors.errors)]
    resources: list[Resource] = []
    numbers: list[int] = []
    for number, document in enumerate(documents, 1):
        here: list[Problem] = []
        for node in _items(document, here):
            resource, found = _read(node, namespace)
            if resource is not None:
                resources.append(resource)
                numbers.append(number)
            here += found
        problems += [attrs.evolve(problem, document=number) for problem in here]
    problems += _duplicates(resources, numbers)
    return resources, sorted(problems, key=lambda problem: (problem.line == 0, problem.line, problem.column))


def parseObject(
    value: Mapping[str, object] | Node, namespace: str = DEFAULT_NAMESPACE
) -> tuple[Resource | None, list[Problem]]:
    """
    Read one resource from plain data, such as the body of a request.

    @param value: The object.
    @param namespace: For one that names no namespace.

    @return: The resource, or L{None} if it has errors, and its problems.
    """
    try:
        node = nodeOf(dict(value) if isinstance(value, Mapping) else value)
    except TypeError as error:
        return None, [Problem(Severity.ERROR, "type", str(error))]
    return _read(node, namespace)


def _told(error: ConfigError, severity: Severity, code: str, resource: str = "") -> Problem:
    why, _, hint = error.why.partition(HINT)
    return Problem(severity, code, why, error.path, hint.rstrip("?"), error.file, error.line, error.column, resource)


def _items(document: Node, problems: list[Problem]) -> Iterator[Node]:
    """
    The resources of a document: itself, none of an empty one, or the items of a list.
    """
    value = document.value
    if value is None:
        return
    if not isinstance(value, dict) or not str(_plainEntry(value, "kind") or "").endswith("List"):
        yield document
        return
    items = value.get("items")
    if items is None or not isinstance(items.node.value, list):
        problems.append(_problem("type", "a List has items, and they are a list", document.place, "items"))
        return
    for item in items.node.value:
        yield from _items(item, problems)


def _problem(code: str, why: str, place: Place, path: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, code, why, path, suggestion, place.file, place.line, place.column)


def _plainEntry(value: dict[str, Entry], key: str) -> object:
    entry = value.get(key)
    return None if entry is None or isinstance(entry.node.value, (dict, list)) else entry.node.value


def _read(node: Node, namespace: str) -> tuple[Resource | None, list[Problem]]:
    """
    One resource.
    """
    value = node.value
    if not isinstance(value, dict):
        return None, [_problem("type", "a resource is a mapping", node.place)]
    found = _kindOf(value, node)
    if isinstance(found, Problem):
        return None, [found]
    findings = Findings(node, _title(value, found))
    reader = _Reader(found, findings, _title(value, found))
    metadata = reader.part(Metadata, value.get("metadata"), "metadata")
    if metadata is None:
        metadata = Metadata()
    if found.namespaced and not metadata.namespace:
        metadata = attrs.evolve(metadata, namespace=namespace)
    checkMetadata(metadata, findings.spot("metadata"))
    spec = reader.spec(node, value)
    if spec is not None:
        _notProgrammed(spec, findings, (found.specKey,) if found.specKey else ())
        found.check(spec, metadata, findings.spot(found.specKey) if found.specKey else findings.spot())
    if spec is None or hasErrors(findings.problems):
        return None, findings.problems
    apiVersion = str(_plainEntry(value, "apiVersion"))
    return (
        Resource(apiVersion=apiVersion, kind=found.kind, metadata=metadata, spec=spec, node=node),
        findings.problems,
    )


def _title(value: dict[str, Entry], kind: Kind) -> str:
    metadata = value.get("metadata")
    named = metadata.node.value if metadata is not None else None
    if not isinstance(named, dict):
        return kind.kind
    parts = [_plainEntry(named, "namespace"), _plainEntry(named, "name")]
    return f"{kind.kind} {'/'.join(str(part) for part in parts if part)}".rstrip()


def _kindOf(value: dict[str, Entry], node: Node) -> Kind | Problem:
    """
    Which kind a document is of.
    """
    for key in ("apiVersion", "kind"):
        if not isinstance(_plainEntry(value, key), str):
            why = f"a resource has {key}, a string"
            return _problem("required", why, node.place, key, _versionFor(value) if key == "apiVersion" else "")
    version, name = str(_plainEntry(value, "apiVersion")), str(_plainEntry(value, "kind"))
    kind = findKind(version, name)
    if kind is not None:
        return kind
    if (version.rpartition("/")[0], name) in OUTSIDE:
        why = f"{name} is not a resource of the mesh: it is left to Kubernetes"
        place = value["kind"].node.place
        return Problem(Severity.WARNING, "outside", why, "kind", file=place.file, line=place.line, column=place.column)
    versions = [known for one in KINDS if one.kind == name for known in one.apiVersions]
    if versions:
        why = f"{name} is of {', '.join(versions)}, not of {version!r}"
        meant = near(version, versions, 1) or versions[:1]
        return _problem("unknown-kind", why, value["apiVersion"].node.place, "apiVersion", "".join(meant))
    meant = near(name, kindNames(), 1)
    why = f"{name!r} is not a kind of the mesh: {', '.join(kindNames())}"
    return _problem("unknown-kind", why, value["kind"].node.place, "kind", "".join(meant))


def _versionFor(value: dict[str, Entry]) -> str:
    """
    The version that a document without one probably is of, by its kind.
    """
    name = _plainEntry(value, "kind")
    return next((kind.apiVersions[0] for kind in KINDS if kind.kind == name), "")


class _Reader:
    """
    Makes instances of attrs classes of one resource; what cannot be read is told and left out, so that the checks of
    the kind can speak of the rest.
    """

    def __init__(self, kind: Kind, findings: Findings, title: str) -> None:
        self._kind = kind
        self._findings = findings
        self._title = title

    def part(self, cls: type, entry: Entry | None, path: str) -> Any:
        """
        The instance that stands at a key, or L{None} if there is none.
        """
        return None if entry is None or entry.node.value is None else self._make(cls, entry.node, path)

    def spec(self, node: Node, value: dict[str, Entry]) -> Any:
        """
        The instance of the kind's class.
        """
        allowed = {"apiVersion", "kind", "metadata"}
        if self._kind.specKey:
            self._surplus(value, allowed | {self._kind.specKey, "status"})
            entry = value.get(self._kind.specKey)
            if entry is None or entry.node.value is None:
                if self._kind.specRequired:
                    self._findings.spot(self._kind.specKey).require(None)
                    return None
                return self._kind.model()
            return self._make(self._kind.model, entry.node, self._kind.specKey)
        rest = {key: entry for key, entry in value.items() if key not in allowed}
        return self._make(self._kind.model, Node(rest, node.place), "")

    def _surplus(self, value: dict[str, Entry], allowed: set[str]) -> None:
        for key in value:
            if key not in allowed:
                why = f"{key!r} is not known here, only {', '.join(sorted(allowed))}"
                self._findings.spot(key).refuse(why, "unknown-field", key, allowed)

    def _make(self, cls: type, node: Node, path: str) -> Any:
        """
        An instance, of as much as can be read.
        """
        # Each round takes out at least one value, and all that a round finds; the second one succeeds as a rule.
        for _ in range(20):
            report = _Gathered()
            made: Any = structure(cls, node, report, path, camelCase=True)
            if made is not None:
                return made
            for error in report.errors:
                self._tell(error)
            cut = False
            for steps in report.steps(path):
                node, one = _without(node, steps)
                cut = cut or one
            if not cut:
                return None
        return None

    def _tell(self, error: ConfigError) -> None:
        code = next((code for text, code in _CODES if text in error.why), "type")
        problem = _told(error, Severity.ERROR, code, self._title)
        if self._kind.isSecret and code == "type":
            problem = attrs.evolve(problem, message=f"not {problem.message.rpartition(' is not ')[2]}")
        self._findings.problems.append(problem)
        self._findings.spoil(error.path)
        if error.path.endswith("]"):
            # The whole list may go with the item.
            self._findings.spoil(error.path[: error.path.rfind("[")])


class _Gathered(Report):
    """
    Faults, and the way to what is at fault.
    """

    def steps(self, root: str) -> list[list[str]]:
        """
        The keys and indices that lead to each fault, from below the root.
        """
        return [_split(error.path[len(root) :]) for error in self.errors]


def _split(path: str) -> list[str]:
    """
    A path to its keys and indices, as texts.
    """
    steps: list[str] = []
    while path:
        if path.startswith('["'):
            step, _, path = path[2:].partition('"]')
        elif path.startswith("["):
            step, _, path = path[1:].partition("]")
        else:
            path = path.removeprefix(".")
            end = min((index for index in (path.find("."), path.find("[")) if index >= 0), default=len(path))
            step, path = path[:end], path[end:]
        steps.append(step)
    return steps


def _without(node: Node, steps: Sequence[str]) -> tuple[Node, bool]:
    """
    A node without what stands at the end of the steps: the entry of a mapping, or an emptied item of a list, so that
    the items behind it keep their places.

    @return: The node, and whether anything was taken out.
    """
    if not steps:
        return Node({}, node.place), not isinstance(node.value, dict)
    value = node.value
    step = steps[0]
    if isinstance(value, dict) and step in value:
        if len(steps) == 1:
            return Node({key: entry for key, entry in value.items() if key != step}, node.place), True
        inner, cut = _without(value[step].node, steps[1:])
        if inner.value is _GONE:
            return Node({key: entry for key, entry in value.items() if key != step}, node.place), True
        return Node({**value, step: Entry(value[step].place, inner)}, node.place), cut
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        if len(steps) == 1 and not isinstance(value[int(step)].value, dict):
            # An item that is no mapping: without it the others would move, so the whole list goes.
            return Node(_GONE, node.place), True
        inner, cut = _without(value[int(step)], steps[1:])
        return Node([*value[: int(step)], inner, *value[int(step) + 1 :]], node.place), cut
    return node, False


#: Stands for a list that could not be read.
_GONE = "\0gone"


def _notProgrammed(instance: Any, findings: Findings, steps: tuple[str | int, ...]) -> None:
    """
    Tell of each field that is set and has no effect so far.
    """
    for attribute in attrs.fields(type(instance)):
        value = getattr(instance, attribute.name)
        here = (*steps, attribute.metadata.get("key", attribute.name))
        why = attribute.metadata.get("notProgrammed")
        if why and value != attribute.default and value not in (None, False, 0, "", [], {}):
            findings.spot(*here).notProgrammed(f"has no effect so far: {why}")
        elif attrs.has(type(value)):
            _notProgrammed(value, findings, here)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if attrs.has(type(item)):
                    _notProgrammed(item, findings, (*here, index))
        elif isinstance(value, dict):
            for key, item in value.items():
                if attrs.has(type(item)):
                    _notProgrammed(item, findings, (*here, key))


def _duplicates(resources: list[Resource], numbers: Sequence[int]) -> list[Problem]:
    """
    A resource that stands twice in one text: the later one would silently win.
    """
    seen: dict[object, Resource] = {}
    problems = []
    for resource, number in zip(resources, numbers, strict=True):
        first = seen.setdefault(resource.key, resource)
        if first is not resource:
            place, other = resource.place("metadata", "name"), first.place("metadata", "name")
            why = f"{resource.title} stands in this text already, on line {other.line}"
            problem = _problem("duplicate", why, place, "metadata.name")
            problems.append(attrs.evolve(problem, resource=resource.title, document=number))
    return problems
