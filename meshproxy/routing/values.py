# -*- test-case-name: tests.routing.test_mutations -*-
"""
Values that a configuration writes with C{%} operators: constants become bytes when they are compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from meshproxy.accesslog.formatter import Operators, compileFormat
from meshproxy.accesslog.operators import OPERATORS
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section

__all__ = ["Value", "compileValue"]

#: Bytes, or what makes them.
Value: TypeAlias = bytes | Callable[[StreamInfo], bytes]


def compileValue(section: Section, field: str, omitEmpty: bool, operators: Operators = OPERATORS) -> Value:
    """
    Compile a value.

    @param section: The message that holds it.
    @param field: Its field there.
    @param omitEmpty: Whether an operator without a value is empty, as in header mutations, or C{-}.
    @param operators: Those there are.
    """
    text: str = section.get(field)
    if "%" not in text:
        return text.encode("utf-8")
    formatter = compileFormat(text, section, field, omitEmpty, operators)
    return formatter.formatBytes if formatter.constant is None else formatter.constant.encode("utf-8")
