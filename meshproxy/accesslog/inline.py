# -*- test-case-name: tests.accesslog.test_inline -*-
"""
A whole format as one Python function.

An access log has a dozen operators on every request, and a call for each would cost more than its work. So an
operator may give its work as an expression, and the expressions of a format become one function, written and
compiled when the configuration is read. Nothing of the configuration stands in that source: what was configured is
bound to names.

Of a line of text there are two such functions. The first puts the values together as the bytes that peers sent, and
asks once of the whole line whether it may be shown as it is. For a line that may not, the second looks at each value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from meshproxy.accesslog.values import Value, encodeText

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["Format", "Inline", "Lines", "compileLines", "compileTemplate"]

#: The line of a stream.
Format: TypeAlias = "Callable[[StreamInfo], str]"
#: The lines of some streams, as bytes.
Lines: TypeAlias = "Callable[[Sequence[StreamInfo]], bytes]"

# What an expression may use besides its own names: the request, its fields, those of the response and the trailers.
_PRELUDE = {
    "request": "request = info.requestHeaders",
    "requestFirst": "requestFirst = request.first if request is not None else {}",
    "responseFirst": "responseFirst = response.first if (response := info.responseHeaders) is not None else {}",
    "trailersFirst": "trailersFirst = trailers.first if (trailers := info.responseTrailers) is not None else {}",
}


# What may be shown as it is: from the blank to the tilde, and the tab, which the codecs let through. All else changes.
_VISIBLE = bytes(byte if 0x20 <= byte < 0x7F or byte == 0x09 else 0x20 for byte in range(256))


class Inline:
    """
    An operator as an expression. It can be called as any other, too.

    @ivar source: Python, with C{info} for the stream, and its names in braces.
    @ivar names: What the names are.
    @ivar isNumber: Whether the value is always a whole number; else it is text, a whole number or L{None}.
    @ivar raw: The same as an expression for bytes, unclean ones too; C{{missing}} and C{{encoded}} are names that it
        may use besides its own: what stands for no value, and the bytes of texts that come again and again. Empty
        where there is none.
    """

    __slots__ = ("_call", "isNumber", "names", "raw", "source")

    def __init__(self, source: str, isNumber: bool = False, raw: str = "", /, **names: object) -> None:
        self.source = source
        self.names = names
        self.isNumber = isNumber
        self.raw = raw
        self._call: Value | None = None

    def __call__(self, info: StreamInfo) -> object:
        if self._call is None:
            self._call = _build(*_assigned([self], {}), ["return value0"])
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
    plain = _compilePlain(literals, values, show, missing)
    if missing is None or not any(isinstance(value, Inline) and value.raw for value in values):
        return plain
    return _compileQuick(literals, values, show, missing, plain)


def compileLines(
    literals: Sequence[str], values: Sequence[Value], show: Callable[[object], str], missing: str, format: Format
) -> Lines:
    """
    A function that does for many streams what C{format} does for each, and gives the bytes: it puts the lines together
    as such, and asks once of all of them whether they may be shown as they are. Where they may not, or are more than
    ASCII, C{format} makes each.
    """
    end = "\n" if literals[-1].endswith("\n") else ""
    template, shown, names = _template(literals, values, show, missing, end)
    names |= {"template": template, "end": end.encode(), "format": format, "visible": _VISIBLE}
    body = [
        "made = []",
        "for info in infos:",
        *(f" {line}" for line in _prelude(shown)),
        f" made.append(template % ({shown},))",
        "text = b''.join(made)",
        "if text.translate(visible) != text: return encodeText(''.join([format(info) for info in infos]))",
        "made.append(b'')",
        "return end.join(made)",
    ]
    return _compiled("infos", body, names)  # type: ignore[no-any-return]  # it is written here


def _compilePlain(
    literals: Sequence[str], values: Sequence[Value], show: Callable[[object], str], missing: str | None
) -> Callable[[StreamInfo], str]:
    names: dict[str, object] = {"show": show, "missing": missing}
    body = [line for position, value in enumerate(values) if (line := _shown(position, value, missing is not None))]
    pieces = [_braced(literals[0])]
    for position, literal in enumerate(literals[1:]):
        pieces.append(f"{{value{position}}}{_braced(literal)}")
    body.append(f"return f{''.join(pieces)!r}")
    built: Callable[[StreamInfo], str] = _build(*_assigned(values, names), body)  # type: ignore[assignment]
    return built


class _Encoded(dict[str, bytes]):
    """
    Texts as bytes: protocols, addresses, names. It does not grow beyond a limit.
    """

    def __missing__(self, text: str) -> bytes:
        encoded = encodeText(text)
        if len(self) < 4096 and len(text) <= 256:
            self[text] = encoded
        return encoded


_ENCODED = _Encoded()


def _compileQuick(
    literals: Sequence[str],
    values: Sequence[Value],
    show: Callable[[object], str],
    missing: str,
    plain: Callable[[StreamInfo], str],
) -> Callable[[StreamInfo], str]:
    """
    A function that does what C{plain} does for all lines that are fit to print, and asks it for the others.
    """
    end = "\n" if literals[-1].endswith("\n") else ""
    template, shown, names = _template(literals, values, show, missing, end)
    names |= {"template": template, "plain": plain}
    line = f"(template % ({shown},)).decode('utf-8', 'surrogateescape')"
    body = [f"line = {line}", f"return line + {end!r} if line.isprintable() else plain(info)"]
    built: Callable[[StreamInfo], str] = _build([], names, body)  # type: ignore[assignment]  # it returns text
    return built


def _template(
    literals: Sequence[str], values: Sequence[Value], show: Callable[[object], str], missing: str, end: str
) -> tuple[bytes, str, dict[str, object]]:
    """
    A line of bytes to fill in, without its end; the expressions for what is filled in; and what their names are.
    """
    names: dict[str, object] = {
        "show": show,
        "missing": encodeText(missing),
        "encoded": _ENCODED,
        "encodeText": encodeText,
    }
    template = [encodeText(literal).replace(b"%", b"%%") for literal in literals]
    template[-1] = template[-1][: len(template[-1]) - len(end)]
    whole, shown = template[0], []
    for position, value in enumerate(values):
        isNumber = isinstance(value, Inline) and value.isNumber
        whole += (b"%d" if isNumber else b"%b") + template[position + 1]
        shown.append(_raw(position, value, names))
    return whole, ", ".join(shown), names


def _raw(position: int, value: Value, names: dict[str, object]) -> str:
    """
    The expression of one value in a line of bytes.
    """
    if not isinstance(value, Inline):
        names[f"call{position}"] = value
        given = f"call{position}(info)"
    else:
        own = _bind(position, value, names)
        if value.isNumber:
            return f"({value.source.format_map(own)})"
        if value.raw:
            return f"({value.raw.format_map({'missing': 'missing', 'encoded': 'encoded', **own})})"
        given = f"({value.source.format_map(own)})"
    shown = "value if type(value) is str else show(value)"
    return f"(missing if (value := {given}) is None else encodeText({shown}))"


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


def _bind(position: int, value: Inline, names: dict[str, object]) -> dict[str, str]:
    """
    Give the names of a value, which others may have too, names of their own.
    """
    own = {name: f"{name}{position}" for name in value.names}
    names.update((own[name], bound) for name, bound in value.names.items())
    return own


def _assigned(values: Sequence[Value], names: dict[str, object]) -> tuple[list[str], dict[str, object]]:
    """
    One assignment for each value, and the names that they use.
    """
    lines: list[str] = []
    for position, value in enumerate(values):
        if isinstance(value, Inline):
            lines.append(f"value{position} = {value.source.format_map(_bind(position, value, names))}")
        else:
            names[f"call{position}"] = value
            lines.append(f"value{position} = call{position}(info)")
    return lines, names


def _build(lines: list[str], names: dict[str, object], body: list[str]) -> Value:
    """
    Write and compile the function: the prelude, then C{lines}, then C{body}.
    """
    return _compiled("info", [*_prelude("\n".join([*lines, *body])), *lines, *body], names)  # type: ignore[no-any-return]


def _prelude(used: str) -> list[str]:
    """
    The lines that find what is used.
    """
    prelude = [line for name, line in _PRELUDE.items() if name in used]
    if "requestFirst" in used and _PRELUDE["request"] not in prelude:
        prelude.insert(0, _PRELUDE["request"])
    return prelude


def _compiled(argument: str, body: Sequence[str], names: dict[str, object]) -> Any:
    # Names as arguments with defaults are local variables, the quickest there are.
    arguments = ", ".join([argument, *(f"{name}={name}" for name in names if name != "format")])
    source = f"def made({arguments}):\n " + "\n ".join(body)
    space: dict[str, Any] = dict(names)
    exec(compile(source, "<access log format>", "exec"), space)
    return space["made"]
