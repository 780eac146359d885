# -*- test-case-name: tests.accesslog.test_statevalues -*-
"""
Operators that show metadata and filter state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING

from meshproxy.accesslog.commands import Command, FormatError
from meshproxy.accesslog.values import TypedText, Value, clean, plainText

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["STATE_OPERATORS"]

_SOURCES = {
    "DYNAMIC": "dynamicMetadata",
    "ROUTE": "routeMetadata",
    "CLUSTER": "clusterMetadata",
    "UPSTREAM_HOST": "upstreamMetadata",
    "LISTENER": "listenerMetadata",
    "LISTENER_FILTER_CHAIN": "connection.filterChainMetadata",
    "VIRTUAL_HOST": "virtualHostMetadata",
}


def _walk(held: object, keys: list[str]) -> object:
    for key in keys:
        if not isinstance(held, Mapping) or key not in held:
            return None
        held = held[key]
    return held


def _shown(value: object, length: int | None) -> object:
    """
    Text is cleaned and cut; a structure that is to be cut becomes text.
    """
    if value is None:
        return None
    if length is None:
        return clean(value) if isinstance(value, str) else value
    return clean(plainText(value))[:length]


def _metadataFrom(attribute: str, keys: list[str], length: int | None) -> Value:
    read = attrgetter(attribute)
    return lambda info: _shown(_walk(read(info), keys), length)


def _ofSource(source: str) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        return _metadataFrom(_SOURCES[source], command.words(), command.length)

    return compile


def _metadata(command: Command) -> Value:
    source, *keys = command.words()
    if source not in _SOURCES:
        raise FormatError(f"{source!r} is not a kind of metadata; there are {', '.join(_SOURCES)}", tuple(_SOURCES))
    if not keys:
        raise FormatError(f"%METADATA({source})% names no namespace")
    return _metadataFrom(_SOURCES[source], keys, command.length)


def _filterState(command: Command) -> Value:
    key, *rest = command.words()
    form = rest[0] if rest else "TYPED"
    if form not in ("PLAIN", "TYPED", "FIELD"):
        raise FormatError(f"{form!r} is not one of PLAIN, TYPED and FIELD")
    if form == "FIELD" and len(rest) < 2:
        raise FormatError(f"%FILTER_STATE({key}:FIELD)% names no field")
    if len(rest) > (2 if form == "FIELD" else 1):
        raise FormatError(f"%FILTER_STATE({key}:{form})% has one part too many: only FIELD is followed by a name")
    field = rest[1] if form == "FIELD" else ""

    def value(info: StreamInfo) -> object:
        state = info.filterState
        held = state.get(key) if state else None
        if held is None and info.connection.filterState:
            held = info.connection.filterState.get(key)
        if form == "TYPED" and hasattr(held, "typed"):
            held = held.typed
        elif held is None or not getattr(held, "isShown", True):
            return None
        if field:
            held = held.get(field) if isinstance(held, Mapping) else getattr(held, field, None)
        elif form == "PLAIN" and not isinstance(held, str):
            held = str(held)
        if isinstance(held, bytes):
            held = held.decode("utf-8", "surrogateescape")
        elif held is not None and not isinstance(held, str | int | float | Mapping | list | tuple):
            held = str(held)
        if form == "TYPED" and type(held) is str:
            # As in Envoy, it is text as JSON has it.
            held = TypedText(clean(held))
            return held if command.length is None else plainText(held)[: command.length]
        return _shown(held, command.length)

    return value


def _upstreamFilterState(command: Command) -> Value:
    # There are no filters on the way to an upstream that could set any.
    _filterState(command)
    return lambda info: None


STATE_OPERATORS: dict[str, Callable[[Command], Value]] = {
    "DYNAMIC_METADATA": _ofSource("DYNAMIC"),
    "CLUSTER_METADATA": _ofSource("CLUSTER"),
    "UPSTREAM_METADATA": _ofSource("UPSTREAM_HOST"),
    "METADATA": _metadata,
    "FILTER_STATE": _filterState,
    "UPSTREAM_FILTER_STATE": _upstreamFilterState,
}
