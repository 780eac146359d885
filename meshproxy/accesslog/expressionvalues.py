# -*- test-case-name: tests.accesslog.test_expressionvalues -*-
"""
Operators that show what an expression gives: C{%CEL(request.headers["x"])%}, and C{%TYPED_CEL(...)%}, which in JSON
keeps its type.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from json import loads
from math import isfinite
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.text_format import MessageToString

from meshproxy.accesslog.attributes import ofStreams
from meshproxy.accesslog.commands import Command, FormatError
from meshproxy.accesslog.values import DoubleText, Value, clean, encodeText, quoteJSON
from meshproxy.config.cel.functions import DEFAULTS, Options
from meshproxy.config.cel.library import isError
from meshproxy.config.cel.program import compileText
from meshproxy.config.cel.syntax import ExpressionError

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["EXPRESSION_OPERATORS", "expressionOperators", "valueText"]


def _moment(moment: datetime) -> str:
    part = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{part}+00:00"


def _span(span: timedelta) -> str:
    """
    As Envoy's C{absl::FormatDuration}: C{1h1m1.5s}, C{1.5ms}, C{2us}, C{0}.
    """
    micros = span // timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    if micros < 1_000_000:
        if not micros:
            return "0"
        return f"{sign}{micros / 1000:.6g}ms" if micros >= 1000 else f"{sign}{micros}us"
    seconds, part = divmod(micros, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)
    if seconds or part:
        shown += f"{seconds}.{part:06d}".rstrip("0").rstrip(".") + "s"
    return sign + shown


def _jsonPart(micros: int) -> str:
    """
    The part of a second: three digits, six, or none.
    """
    digits = f".{micros:06d}"
    return (digits.removesuffix("000") if micros else "").rstrip(".")


def _jsonSpan(span: timedelta) -> str:
    micros = span // timedelta(microseconds=1)
    seconds, part = divmod(abs(micros), 1_000_000)
    return f"{'-' * (micros < 0)}{seconds}{_jsonPart(part)}s"


def _jsonMoment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_jsonPart(moment.microsecond)}Z"


def valueText(value: Any) -> str:
    """
    A value as text, as Envoy writes it.
    """
    found = value.value()
    if found is None:
        return "NULL"
    if found is True or found is False:
        return "true" if found else "false"
    if isinstance(found, str):
        return found
    if isinstance(found, int):
        return str(found)
    if isinstance(found, float):
        return f"{found:g}"
    if isinstance(found, bytes | bytearray):
        return bytes(found).decode("utf-8", "surrogateescape")
    if isinstance(found, timedelta):
        return _span(found)
    if isinstance(found, datetime):
        return _moment(found)
    if isinstance(found, list):
        return "CelList value"
    if isinstance(found, Mapping):
        return "CelMap value"
    if hasattr(found, "DESCRIPTOR"):
        text = MessageToString(found, as_one_line=True)
        return f"{text} " if text else ""
    return "CelType value"


def _number(value: float) -> str:
    """
    A number in the fewest characters that say it, as Envoy writes them: C{1e+08}, C{123456789}.
    """
    if not isfinite(value):
        return "null"
    fixed = str(int(value)) if value and value.is_integer() else f"{Decimal(repr(value)):f}".removesuffix(".0")
    mantissa, exponent = f"{Decimal(repr(value)).normalize():e}".split("e")
    scientific = f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"
    return fixed if len(fixed) <= len(scientific) else scientific


def _json(found: Any) -> str:
    """
    A value in JSON.

    @raise ValueError: If JSON has none such.
    """
    if isinstance(found, bytes | bytearray):
        return quoteJSON(base64.b64encode(found).decode("ascii"))
    if isinstance(found, timedelta):
        return quoteJSON(_jsonSpan(found))
    if isinstance(found, datetime):
        return quoteJSON(_jsonMoment(found))
    if isinstance(found, list):
        return f"[{','.join(map(_json, found))}]"
    if isinstance(found, Mapping):
        members = {_key(key): _json(each) for key, each in found.items()}
        return f"{{{','.join(f'{quoteJSON(key)}:{members[key]}' for key in sorted(members))}}}"
    if hasattr(found, "DESCRIPTOR"):
        return _json(MessageToDict(found, preserving_proto_field_name=True))
    if isinstance(found, str):
        return quoteJSON(found)
    if found is None or found is True or found is False:
        return {None: "null", True: "true", False: "false"}[found]
    if isinstance(found, int | float):
        # All numbers of a Struct are doubles.
        return _number(float(found))
    raise ValueError("JSON has no such value")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise ValueError("JSON has no such keys")


def _cut(text: str, length: int) -> str:
    return encodeText(text)[:length].decode("utf-8", "surrogateescape")


def _compile(options: Options, isTyped: bool) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        try:
            program = compileText(command.parameters or "", ofStreams, options)
        except ExpressionError as error:
            raise FormatError(f"%{command.name}({command.parameters or ''})%: {error}") from None
        length = command.length

        def text(found: Any) -> str:
            whole = valueText(found)
            return clean(whole if length is None else _cut(whole, length))

        def plain(info: StreamInfo) -> object:
            found = program.value(info)
            return None if isError(found) else text(found)

        def typed(info: StreamInfo) -> object:
            found = program.value(info)
            if isError(found):
                return None
            try:
                json = _json(found.plain_value())
            except ValueError:
                json = "null"
            if length is not None and json.startswith('"'):
                json = quoteJSON(_cut(loads(json), length))
            return DoubleText(text(found), json)

        return typed if isTyped else plain

    return compile


def expressionOperators(options: Options) -> dict[str, Callable[[Command], Value]]:
    """
    The operators, for a C{formatters} that says what expressions may hold.
    """
    return {"CEL": _compile(options, False), "TYPED_CEL": _compile(options, True)}


EXPRESSION_OPERATORS = expressionOperators(DEFAULTS)
