# -*- test-case-name: tests.accesslog.test_values -*-
"""
From what is known about a stream to text that may stand in a log or a header.

Header values are bytes that a peer chose. They are read as UTF-8 where they are, and byte for byte where not
(C{surrogateescape}), so that writing them again gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = [
    "DoubleText",
    "TypedText",
    "Value",
    "clean",
    "encodeText",
    "fromBytes",
    "jsonText",
    "plainText",
    "quoteJSON",
    "serverName",
]

#: What an operator compiles to: text, a number, a boolean, a structure, or L{None} where there is nothing.
Value = Callable[["StreamInfo"], object]

# A control character may end the line, or move the cursor of whoever reads the log (CVE-2024-45808). The codecs
# let none but the tab through; this is for what comes another way (metadata, a TLS library's words).
_CONTROLS = {code: f"\\x{code:02x}" for code in [*range(0x20), 0x7F] if code != 0x09}


def clean(text: str) -> str:
    """
    A text without control characters: a line feed becomes C{\\x0a}.
    """
    return text if text.isprintable() else text.translate(_CONTROLS)


def fromBytes(value: bytes) -> str:
    """
    A header value as text, without control characters.
    """
    text = str(value, "utf-8", "surrogateescape")
    return text if text.isprintable() else text.translate(_CONTROLS)


def encodeText(text: str) -> bytes:
    """
    The bytes of a text from L{fromBytes} and others.
    """
    return text.encode("utf-8", "surrogateescape")


_NOT_HOSTNAME = re.compile(r"[^A-Za-z0-9.-]")


def serverName(name: str) -> str:
    """
    The server name of a ClientHello, which is anything the client likes; Envoy puts underscores for what no host
    name can hold, and says so.
    """
    clean = _NOT_HOSTNAME.sub("_", name)
    return clean if clean == name else f"invalid:{clean}"


class TypedText(str):
    """
    A text that is shown in a line of text as it is in one of JSON: between quotes.
    """

    __slots__ = ()


class DoubleText:
    """
    A value that is shown in a line of text as one thing, and as another in one of JSON.

    @ivar text: In a line of text.
    @ivar json: In one of JSON.
    """

    __slots__ = ("json", "text")

    def __init__(self, text: str, json: str) -> None:
        self.text = text
        self.json = json


def plainText(value: object) -> str:
    """
    A value that is not L{None}, in a line of text.
    """
    if isinstance(value, str):
        return value if type(value) is str else quoteJSON(value) if isinstance(value, TypedText) else value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, DoubleText):
        return value.text
    return _structure(value)


def jsonText(value: object) -> str:
    """
    A value in a line of JSON.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return quoteJSON(value)
    if isinstance(value, DoubleText):
        return value.json
    return plainText(value)


def _number(value: float) -> str:
    # JSON has no NaN and no infinity.
    return (
        "null"
        if value != value or value in (float("inf"), -float("inf"))
        else f"{value:.17g}"
        if (float(f"{value:.15g}") != value)
        else f"{value:.15g}"
    )


def _structure(value: object) -> str:
    """
    Metadata and filter state that are not scalars.
    """
    try:
        value = _wholeNumbers(value)
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return quoteJSON(clean(str(value)))


def _wholeNumbers(value: object) -> object:
    """
    A structure in which numbers that are whole are integers: a C{Struct} knows doubles only.
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {key: _wholeNumbers(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_wholeNumbers(held) for held in value]
    return value


_BYTEWISE = re.compile(rb'["\\\x00-\x1f\x7f-\xff]')


def quoteJSON(text: str) -> str:
    """
    A JSON string. Where the bytes were no UTF-8, Envoy writes each odd byte as C{\\u00xx}, quotes included.
    """
    if text.isascii():
        return encode_basestring(text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raw = encodeText(text)
        return '"' + _BYTEWISE.sub(lambda odd: b"\\u%04x" % odd[0][0], raw).decode("ascii") + '"'
    return encode_basestring(text)
