# -*- test-case-name: tests.config.test_expressions -*-
"""
Conditions as expressions, so that one that is made of many becomes one function.

A compiled condition is a function. Beside that it may tell what it does as an expression, from which whoever needs
several of them at once, on the path of each request, writes and compiles one function: a call for each would cost more
than its work. Nothing of the configuration stands in that source: what was configured is bound to names.

The expressions are about the head of a request, C{headers}, whose dictionary is C{first}, and some about its
C{stream} as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeVar

__all__ = ["Expression", "allOf", "anyOf", "compileFunction", "expressionOf", "told"]

F = TypeVar("F", bound=Callable[..., Any])

# Beyond these, a part becomes a function of its own: Python's parser has a limit, and so has the cache of a processor.
_DEEPEST = 12
_LONGEST = 20_000

_numbers = count()


class Expression(NamedTuple):
    """
    @ivar source: Python. It is safe to put operators around it.
    @ivar names: What its names stand for, apart from C{headers}, C{first} and C{stream}.
    @ivar depth: How deep it is nested.
    """

    source: str
    names: dict[str, Any]
    depth: int = 0

    @classmethod
    def of(cls, template: str, **names: Any) -> Expression:
        """
        Make one.

        @param template: Its source, with names in braces, which become names that no other expression has.
        """
        statement = cls.statement(template, **names)
        return statement._replace(source=f"({statement.source})")

    @classmethod
    def statement(cls, template: str, **names: Any) -> Expression:
        """
        Make a statement, on one line, for a function that is written of several.

        @param template: As of L{of}.
        """
        own = {name: f"{name}{next(_numbers)}" for name in names}
        return cls(template.format_map(own), {own[name]: value for name, value in names.items()})

    def negated(self) -> Expression:
        """
        Its opposite.
        """
        return self._replace(source=f"(not {self.source})", depth=self.depth + 1)


def told(function: F, template: str, **names: Any) -> F:
    """
    A function that tells what it does. Its arguments are those that L{expressionOf} is asked about.
    """
    function.expression = Expression.of(template, **names)  # type: ignore[attr-defined]  # functions take any
    return function


def expressionOf(function: Callable[..., Any], arguments: str) -> Expression:
    """
    What a function does, or a call of it.

    @param arguments: How to call it: C{"headers"} or C{"stream, headers"}.
    """
    expression: Expression | None = getattr(function, "expression", None)
    return Expression.of(f"{{function}}({arguments})", function=function) if expression is None else expression


def _joined(operator: str, parts: Sequence[Expression], arguments: str) -> Expression:
    if len(parts) == 1:
        return parts[0]
    names = {name: value for part in parts for name, value in part.names.items()}
    source = f"({f' {operator} '.join(part.source for part in parts)})"
    joined = Expression(source, names, 1 + max(part.depth for part in parts))
    if joined.depth <= _DEEPEST and len(source) <= _LONGEST:
        return joined
    function = compileFunction(arguments, [f"return {source}"], names)
    return Expression.of(f"{{function}}({arguments})", function=function)


def allOf(parts: Sequence[Expression], arguments: str) -> Expression:
    """
    All of some conditions, asked in their order.
    """
    return _joined("and", parts, arguments)


def anyOf(parts: Sequence[Expression], arguments: str) -> Expression:
    """
    Any of some conditions, asked in their order.
    """
    return _joined("or", parts, arguments)


def compileFunction(arguments: str, body: Sequence[str], names: dict[str, Any]) -> Callable[..., Any]:
    """
    Write and compile a function.

    @param arguments: C{headers} among them.
    @param body: Its statements, after which C{first} is known.
    @param names: What else they know.
    """
    source = "\n ".join([f"def function({arguments}):", "first = headers.first", *body])
    space = dict(names)
    exec(compile(source, "<conditions>", "exec"), space)
    made: Callable[..., Any] = space["function"]
    return made
