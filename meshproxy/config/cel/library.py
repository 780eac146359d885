# -*- test-case-name: tests.config.cel.test_library -*-
"""
The evaluator: C{cel-expr-python}, which is loaded when a configuration holds an expression.

Its functions are those of the language. None is added that is written in Python: the library keeps the arguments of
each call of such a function for ever (0.1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import re2

from meshproxy.config.cel.syntax import ExpressionError, Node
from meshproxy.config.pool import descriptorPool, newMessage

__all__ = ["Evaluate", "checkPattern", "evaluator", "isError", "parse"]

# As in Envoy.
_LARGEST_PROGRAM: Final = 100

_PARSED: Final = "cel.expr.ParsedExpr"

#: An expression: from values by their names to a C{Value} of the library's.
Evaluate = Callable[[Mapping[str, object]], Any]

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


@cache
def _library() -> ModuleType:
    return import_module("cel_expr_python.cel")


def _found() -> Any:
    """
    @raise ExpressionError: If it is not installed.
    """
    try:
        return _library()
    except ImportError:
        raise ExpressionError(
            "expressions need the library cel-expr-python, which is not installed: pip install 'meshproxy[cel]'"
        ) from None


def checkPattern(pattern: str) -> None:
    """
    Look at a regular expression.

    @raise ExpressionError: If it is none, or larger than Envoy takes.
    """
    try:
        compiled = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        text = error.args[0] if error.args else error
        shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        raise ExpressionError(f"invalid regular expression: {shown}") from None
    if compiled.programsize > _LARGEST_PROGRAM:
        raise ExpressionError("the regular expression is larger than Envoy takes")


@cache
def _environment(kinds: tuple[tuple[str, str], ...] = ()) -> Any:
    """
    @param kinds: The names of variables with their types in the library, where a value of Python does not say it.
    """
    cel = _found()
    strings = import_module("cel_expr_python.ext.ext_strings")
    environment = cel.NewEnv(
        descriptor_pool=descriptorPool(),
        variables={name: getattr(cel.Type, kind) for name, kind in kinds},
        extensions=[strings.ExtStrings()],
    )
    # It heeds the types of its variables from the first text on that it has compiled.
    environment.compile("true", disable_check=True)
    return environment


def parse(text: str) -> Node:
    """
    The syntax tree of a text.

    @raise ExpressionError: If the text is no expression, or the library is missing.
    """
    environment = _environment()
    try:
        serialized = environment.compile(text, disable_check=True).serialize()
    except RuntimeError as error:
        # Its first line says what is wrong, the others point at it.
        first = str(error).partition("\n")[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: <input>:")
        raise ExpressionError(f"this is no expression: {first}") from None
    packed: Any = newMessage("google.protobuf.Any")
    packed.ParseFromString(serialized)
    parsed: Any = newMessage(_PARSED)
    parsed.ParseFromString(packed.value)
    return parsed.expr


def evaluator(node: Node, kinds: Mapping[str, str]) -> Evaluate:
    """
    Make an expression that can be evaluated.

    @param kinds: The types of its variables: C{UINT}, C{TIMESTAMP}, C{DURATION}; those are left out that need none.

    @raise ExpressionError: If the library does not take it.
    """
    parsed: Any = newMessage(_PARSED)
    parsed.expr.CopyFrom(node)
    packed: Any = newMessage("google.protobuf.Any")
    packed.type_url = "type.googleapis.com/" + _PARSED
    packed.value = parsed.SerializeToString()
    try:
        expression = _environment(tuple(sorted(kinds.items()))).deserialize(packed.SerializeToString())
    except RuntimeError as error:
        raise ExpressionError(f"the evaluator does not take it: {str(error).partition(chr(10))[0]}") from None
    evaluate = expression.eval
    return lambda data: evaluate(data=data)


def isError(value: Any) -> bool:
    """
    Whether an evaluation failed; the value is why, then.
    """
    found: bool = value.type() == _library().Type.ERROR
    return found
