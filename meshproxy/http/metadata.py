# -*- test-case-name: tests.http.test_metadata -*-
"""
Dynamic metadata: what filters tell each other, and access logs, of a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["NotedMetadata", "mergeInto", "noteMetadata", "noteShared"]


def noteMetadata(stream: Any, namespace: str, values: dict[str, Any]) -> None:
    """
    Note values under a namespace, beside what is noted there already.

    @param values: A dictionary of the caller's making: it may be kept, and changed later.
    """
    metadata = stream.dynamicMetadata
    if metadata is None:
        stream.dynamicMetadata = {namespace: values}
    elif namespace in metadata:
        metadata[namespace].update(values)
    else:
        metadata[namespace] = values


class NotedMetadata:
    """
    The C{dynamicMetadata} of a stream: a dictionary of its own, made when it is read for the first time. Most streams
    have nothing noted but the verdict that let them pass, and nobody asks for that: it waits as the stream's C{noted},
    a namespace with values that all such streams share.
    """

    def __get__(self, stream: Any, owner: type) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if stream is not None:
            if stream.noted:
                namespace, values = stream.noted
                made[namespace] = dict(values)
            stream.noted = ()
            # Not by __dict__: asking for that takes the instance's attributes out of their inline place, for good.
            stream.dynamicMetadata = made
        return made


def noteShared(stream: Any, note: tuple[str, Mapping[str, object]]) -> None:
    """
    Note values that many streams share, of a stream of which something was noted, or read, before. Else it is enough to
    put them into its C{noted}.
    """
    noteMetadata(stream, note[0], dict(note[1]))


def mergeInto(held: dict[str, object], values: Mapping[str, object]) -> None:
    """
    Merge as Envoy merges a C{Struct} into another: structures key by key, lists one after the other, and what else
    there is of one kind takes the place of what was there. What is of another kind stays as it was.
    """
    for key, value in values.items():
        there = held.get(key)
        if key not in held:
            held[key] = value
        elif isinstance(there, dict) and isinstance(value, Mapping):
            inner = dict(there)
            mergeInto(inner, value)
            held[key] = inner
        elif isinstance(there, list) and isinstance(value, list):
            held[key] = [*there, *value]
        else:
            held[key] = value
