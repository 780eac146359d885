# -*- test-case-name: tests.accesslog.test_inline -*-
"""
A whole format as one Python function.

An access log has a dozen operators on every request, and a call for each would cost more than its work. So an
operator may give its work as an expression, and the expressions of a format become one function, written and
compiled when the configuration is read. Nothing of the configuration stands in that source: what was configured is
bound to names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshproxy.accesslog.values import Value

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["Inline", "compileTemplate"]

# What an expression may use besides its own names: the request, its fields, those of the response and the trailers.
_PRELUDE = {
    "request": "request = info.requestHeaders",
    "requestFirst": "requestFirst = request.first if request is not None else {}",
    "responseFirst": "responseFirst = response.first if (response := info.responseHeaders) is not None else {}",
    "trailersFirst": "trailersFirst = trailers.first if (trailers := info.responseTrailers) is not None else {}",
}


class Inline:
    """
    An operator as an expression. It can be called as any other, too.

    @ivar source: Python, with C{info} for the stream, and its names in braces.
    @ivar names: What the names are.
    @ivar isNumber: Whether the value is always a whole number; else it is text, a whole number or L{None}.
    """

    __slots__ = ("_call", "isNumber", "names", "source")

    def __init__(self, source: str, isNumber: bool = False, /, **names: object) -> None:
        self.source = source
        self.names = names
        self.isNumber = isNumber
        self._call: Value | None = None

    def __call__(self, info: StreamInfo) -> object:
        if self._call is None:
            self._call = _build(["return value0"], [self], {})
        return self._call(info)


def compileTemplate(
    literals: Sequence[str], values: Sequence[Value], show: Callable[[object], str], missing: str | None
) -> Callable[[StreamInfo], str]:
    """
    A function that fills in values between texts.

    @param literals: The texts, one more than there are values.
    @param show: How a value is shown which is no whole number.
    @param missing: What shows for a value of L{None}; if this is given, other texts show as they are. Without it,
        C{show} decides on all texts too.
    """
    names: dict[str, object] = {"show": show, "missing": missing}
    body = [line for position, value in enumerate(values) if (line := _shown(position, value, missing is not None))]
    pieces = [_braced(literals[0])]
    for position, literal in enumerate(literals[1:]):
        pieces.append(f"{{value{position}}}{_braced(literal)}")
    body.append(f"return f{''.join(pieces)!r}")
    built: Callable[[StreamInfo], str] = _build(body, values, names)  # type: ignore[assignment]  # it returns text
    return built


def _shown(position: int, value: Value, textAsIs: bool) -> str:
    """
    The statement that turns a value into what stands in the text; empty where there is nothing to do.
    """
    name = f"value{position}"
    if isinstance(value, Inline):
        if value.isNumber:
            return ""
        if textAsIs:
            return f"if {name} is None: {name} = missing"
    elif textAsIs:
        return f"if type({name}) is not str: {name} = missing if {name} is None else show({name})"
    return f"{name} = show({name})"


def _braced(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")


def _build(body: list[str], values: Sequence[Value], names: dict[str, object]) -> Value:
    """
    Write and compile the function: the prelude, one assignment for each value, then C{body}.
    """
    lines: list[str] = []
    for position, value in enumerate(values):
        if isinstance(value, Inline):
            own = {name: f"{name}{position}" for name in value.names}
            names.update((own[name], bound) for name, bound in value.names.items())
            lines.append(f"value{position} = {value.source.format_map(own)}")
        else:
            names[f"call{position}"] = value
            lines.append(f"value{position} = call{position}(info)")
    used = "\n".join(lines)
    prelude = [line for name, line in _PRELUDE.items() if name in used]
    if "requestFirst" in used and _PRELUDE["request"] not in prelude:
        prelude.insert(0, _PRELUDE["request"])
    # Names as arguments with defaults are local variables, the quickest there are.
    arguments = ", ".join(["info", *(f"{name}={name}" for name in names)])
    source = f"def format({arguments}):\n " + "\n ".join([*prelude, *lines, *body])
    made: dict[str, Value] = {}
    exec(compile(source, "<access log format>", "exec"), dict(names), made)
    return made["format"]
