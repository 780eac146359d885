# -*- test-case-name: tests.controlplane.api.test_router -*-
"""
From a method and a path to who answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.replies import Refused

__all__ = ["Handler", "Operation", "Router"]

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """
    Something that can be asked for.

    @ivar pattern: Its path: C{/v1/history/{revision}}.
    @ivar handler: A coroutine function; called with the L{Call} and the parts of the path by their names.
    @ivar role: What its caller must be allowed to; L{None} for what looks at its caller itself.
    @ivar summary: One line for the description of the API.
    @ivar parameters: Names of query parameters and what each is for.
    @ivar consumes: Media types of its body, none if it has none.
    @ivar group: Under which heading the description lists it.
    @ivar codes: Each status that tells that it is done.
    @ivar answer: The name of the schema of what is answered then.
    @ivar accepts: The name of the schema of its body in JSON.
    @ivar refuses: Statuses of refusals, besides those that follow from its method, path and body.
    """

    method: str
    pattern: str
    handler: Handler
    role: Role | None
    summary: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    consumes: tuple[str, ...] = ()
    group: str = ""
    codes: tuple[int, ...] = (200,)
    answer: str = ""
    accepts: str = ""
    refuses: tuple[int, ...] = ()


class _Node:
    """
    One segment of the paths.
    """

    __slots__ = ("literals", "name", "operations", "parameter")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.name = ""
        self.operations: dict[str, Operation] = {}


class Router:
    """
    All operations. A literal segment goes before a parameter.
    """

    def __init__(self) -> None:
        self._root = _Node()
        self._operations: list[Operation] = []

    def add(self, operation: Operation) -> None:
        """
        Another operation.

        @raise ValueError: If there is one for its method and path.
        """
        node = self._root
        for segment in operation.pattern.strip("/").split("/"):
            if not segment:
                continue
            if not segment.startswith("{"):
                node = node.literals.setdefault(segment, _Node())
                continue
            if node.parameter is None:
                node.parameter = _Node()
                node.parameter.name = segment[1:-1]
            node = node.parameter
            if node.name != segment[1:-1]:
                raise ValueError(f"{operation.pattern}: the same place is called {node.name!r} elsewhere")
        if operation.method in node.operations:
            raise ValueError(f"{operation.method} {operation.pattern} is there already")
        node.operations[operation.method] = operation
        self._operations.append(operation)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    def find(self, method: str, segments: Sequence[str]) -> tuple[Operation, dict[str, str]]:
        """
        The operation of a request, and the parts of its path.

        @raise Refused: 404 if there is nothing at that path, 405 if there is, for other methods.
        """
        wanted = "GET" if method == "HEAD" else method
        other: set[str] = set()
        for node, parts in _walk(self._root, segments, {}):
            if wanted in node.operations:
                return node.operations[wanted], parts
            other.update(node.operations)
        if other:
            allowed = ", ".join(sorted(other | ({"HEAD"} if "GET" in other else set())))
            raise Refused(405, f"{method} is not for this path, only {allowed}", headers={"Allow": allowed})
        raise Refused(404, f"there is nothing at /{'/'.join(segments)}")


def _walk(node: _Node, segments: Sequence[str], parts: dict[str, str]) -> Iterator[tuple[_Node, dict[str, str]]]:
    """
    Each place that a path may mean, the most literal one first.
    """
    if not segments:
        if node.operations:
            yield node, parts
        return
    head, rest = segments[0], segments[1:]
    if head in node.literals:
        yield from _walk(node.literals[head], rest, parts)
    if node.parameter is not None and head:
        yield from _walk(node.parameter, rest, {**parts, node.parameter.name: head})
