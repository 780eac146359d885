# -*- test-case-name: tests.config.cel.test_library -*-
"""
The evaluator: C{cel-expr-python}, which is loaded when a configuration holds an expression.

Its functions are those of the language. What Envoy has beyond them, or has otherwise, is added here under names that no
text can hold, and expressions are written anew to use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import re2

from meshproxy.config.cel.syntax import ExpressionError, Node
from meshproxy.config.pool import descriptorPool, newMessage

__all__ = ["ADD", "CONCATENATE", "MATCHES", "Evaluate", "checkPattern", "evaluator", "isError", "parse"]

#: What adds as Envoy does: no texts, bytes and lists; C{CONCATENATE}: no lists.
ADD: Final = "@add"
CONCATENATE: Final = "@concatenate"
#: What matches as Envoy does, where the pattern is not known beforehand.
MATCHES: Final = "@matches"

# Envoy's: a pattern may come from a peer.
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


def checkPattern(pattern: str) -> re2._Regexp:
    """
    Compile a regular expression.

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
    return compiled


_pattern = lru_cache(256)(checkPattern)


def _add(left: Any, right: Any) -> Any:
    return left + right


def _matches(text: str, pattern: str) -> bool:
    return _pattern(pattern).search(text) is not None


def _extract(text: str, pattern: str, template: str) -> str:
    found = _pattern(pattern).search(text)
    if found is None:
        raise ExpressionError("the regular expression does not match")
    expanded: str = found.expand(template)
    return expanded


def _capture(text: str, pattern: str) -> str:
    found = _pattern(pattern).fullmatch(text)
    if found is None:
        raise ExpressionError("the regular expression does not match")
    group: str = found.group(1)
    return group


def _captureNamed(text: str, pattern: str) -> dict[str, str]:
    compiled = _pattern(pattern)
    found = compiled.fullmatch(text)
    if found is None:
        raise ExpressionError("the regular expression does not match")
    names = {number: name for name, number in compiled.groupindex.items()}
    return {names.get(number, str(number)): text or "" for number, text in enumerate(found.groups(), 1)}


@cache
def _functions() -> list[Any]:
    cel = _found()
    kinds = cel.Type
    text = kinds.STRING
    numbers = {
        "int": (kinds.INT, kinds.INT, kinds.INT),
        "uint": (kinds.UINT, kinds.UINT, kinds.UINT),
        "double": (kinds.DOUBLE, kinds.DOUBLE, kinds.DOUBLE),
        "duration": (kinds.DURATION, kinds.DURATION, kinds.DURATION),
        "timestamp": (kinds.TIMESTAMP, kinds.TIMESTAMP, kinds.DURATION),
        "duration_timestamp": (kinds.TIMESTAMP, kinds.DURATION, kinds.TIMESTAMP),
    }
    texts = {"string": (text, text, text), "bytes": (kinds.BYTES, kinds.BYTES, kinds.BYTES)}

    def function(name: str, overloads: Mapping[str, tuple[Any, ...]], does: Callable[..., Any]) -> Any:
        made = [
            cel.Overload(f"{name}_{id}", return_type=result, parameters=list(takes), is_member=False, impl=does)
            for id, (result, *takes) in overloads.items()
        ]
        return cel.FunctionDecl(name, made)

    return [
        function(ADD, numbers, _add),
        function(CONCATENATE, {**numbers, **texts}, _add),
        function(MATCHES, {"string": (kinds.BOOL, text, text)}, _matches),
        function("re.extract", {"string": (text, text, text, text)}, _extract),
        function("re.capture", {"string": (text, text, text)}, _capture),
        function("re.captureN", {"string": (kinds.Map(text, text), text, text)}, _captureNamed),
    ]


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
        functions=_functions(),
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
