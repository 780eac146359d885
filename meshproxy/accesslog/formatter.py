# -*- test-case-name: tests.accesslog.test_formatter -*-
"""
Formats compiled: text with operators becomes one template and a list of functions.

Access logs, header mutations, local replies and route rewrites all use these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from meshproxy.accesslog.commands import Command, FormatError, parseFormat
from meshproxy.accesslog.inline import Format, Lines, compileLines, compileTemplate
from meshproxy.accesslog.operators import OPERATORS, compileOperator
from meshproxy.accesslog.values import Value, encodeText, plainText

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo
    from meshproxy.config import Section

__all__ = ["DEFAULT_FORMAT", "Formatter", "Operators", "compileFormat", "compileItems"]

#: The operators of a format, by name.
Operators: TypeAlias = Mapping[str, Callable[[Command], Value]]

#: What Envoy logs where no format is configured.
DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)


class Formatter:
    """
    A compiled format.

    @ivar source: As it was written.
    @ivar format: A function from a L{StreamInfo} to text.
    @ivar constant: The text, if it is always the same, else L{None}.
    """

    __slots__ = ("_makeLines", "constant", "format", "source")

    def __init__(
        self, source: str, format: Format, constant: str | None = None, makeLines: Callable[[], Lines] | None = None
    ) -> None:
        """
        @param makeLines: Makes a quicker L{lines}, where there is one.
        """
        self.source = source
        self.format = format
        self.constant = constant
        self._makeLines = makeLines

    def lines(self) -> Lines:
        """
        Make a function for the texts of many streams at once, one after the other.
        """
        if self._makeLines is not None:
            return self._makeLines()
        format = self.format
        return lambda infos: encodeText("".join([format(info) for info in infos]))

    def formatBytes(self, info: StreamInfo) -> bytes:
        """
        The text as bytes for the wire: what came from a header goes out as it came in.
        """
        return encodeText(self.format(info))

    def __repr__(self) -> str:
        return f"<Formatter {self.source!r}>"


def compileFormat(
    text: str,
    section: Section | None = None,
    field: str = "",
    omitEmpty: bool = False,
    operators: Operators = OPERATORS,
) -> Formatter:
    """
    Compile a line of text with operators.

    @param section: Where faults are told; without one they are raised. A format with a fault then is empty.
    @param field: Which field of the section it is.
    @param omitEmpty: Whether a missing value shows as nothing, instead of C{-}. Header mutations do so.
    @param operators: Those there are.

    @raise FormatError: If there is a fault and no C{section}.
    """
    missing = "" if omitEmpty else "-"
    try:
        items = parseFormat(text)
        if all(isinstance(item, str) for item in items):
            constant = "".join(map(str, items))
            return Formatter(text, lambda info: constant, constant)
        format = compileItems(items, missing, operators)
        return Formatter(
            text, format, None, lambda: compileLines(*_separated(items, operators), plainText, missing, format)
        )
    except FormatError as error:
        if section is None:
            raise
        section.refuse(error.why, field, error.near)
        return Formatter(text, lambda info: "", "")


def compileItems(
    items: list[str | Command], missing: str, operators: Operators = OPERATORS
) -> Callable[[StreamInfo], str]:
    """
    Compile a parsed format that has operators.

    @param missing: What shows for a missing value.

    @raise FormatError: If an operator is wrong.
    """
    literals, values = _separated(items, operators)
    return compileTemplate(literals, values, plainText, missing)


def _separated(items: list[str | Command], operators: Operators = OPERATORS) -> tuple[list[str], list[Value]]:
    """
    The texts between, before and after operators, one more than there are operators.
    """
    literals = [""]
    values: list[Value] = []
    for item in items:
        if isinstance(item, str):
            literals[-1] += item
        else:
            values.append(compileOperator(item, operators))
            literals.append("")
    return literals, values
