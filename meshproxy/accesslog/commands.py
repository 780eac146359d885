# -*- test-case-name: tests.accesslog.test_commands -*-
"""
How a format is written: text, and between two percent signs the operators, C{%NAME(parameters):length%}.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from meshproxy.errors import MeshProxyError

__all__ = ["Command", "FormatError", "parseFormat"]

_COMMAND = re.compile(
    # What expressions call stands in parentheses too; as in Envoy they end where the operator can end.
    r"%(?:(CEL|TYPED_CEL)\((.*?)\)|([A-Z0-9_]+)(?:\(([^)]*)\))?)(?::([0-9]+))?%"
)


class FormatError(MeshProxyError):
    """
    A format that cannot be used.

    @ivar why: The reason, for the configuration's report.
    @ivar near: Names that may have been meant.
    """

    def __init__(self, why: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.near = near


class Command(NamedTuple):
    """
    One operator as it was written.

    @ivar name: C{REQ}.
    @ivar parameters: What stands in parentheses, L{None} without any.
    @ivar length: After how many characters the value is cut, or L{None}.
    """

    name: str
    parameters: str | None
    length: int | None

    def words(self, separator: str = ":") -> list[str]:
        """
        The parameters, separated; there must be some.

        @raise FormatError: If there are none.
        """
        if not self.parameters:
            raise FormatError(f"%{self.name}% requires parameters: %{self.name}(...)%")
        return self.parameters.split(separator)


def parseFormat(text: str) -> list[str | Command]:
    """
    Take a format apart. C{%%} is a percent sign.

    @raise FormatError: If a percent sign begins no operator.
    """
    items: list[str | Command] = []
    literal = ""
    position = 0
    while True:
        percent = text.find("%", position)
        if percent < 0:
            literal += text[position:]
            break
        literal += text[position:percent]
        if text.startswith("%%", percent):
            literal += "%"
            position = percent + 2
            continue
        match = _COMMAND.match(text, percent)
        if match is None:
            raise FormatError(
                f"no operator begins at character {percent} ({text[percent : percent + 20]!r}); "
                "an operator is %NAME%, %NAME(parameters)% or %NAME(parameters):length%, a percent sign %%"
            )
        if literal:
            items.append(literal)
            literal = ""
        length = None if match[5] is None else int(match[5])
        items.append(Command(match[1] or match[3], match[2] if match[1] else match[4], length))
        position = match.end()
    if literal:
        items.append(literal)
    return items
