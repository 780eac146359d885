# -*- test-case-name: tests.admin.test_masks -*-
"""
C{google.protobuf.FieldMask}: which fields of a message are wanted. Unlike protobuf's own, paths lead through lists and
through C{google.protobuf.Any}, whose type then stays.
"""

from __future__ import annotations

from typing import Any

from meshproxy.admin.messages import anyOf
from meshproxy.config.pool import findType, messageClass, typeName

__all__ = ["MaskError", "parseMask", "trimmed"]

Paths = list[list[str]]


class MaskError(ValueError):
    """
    A path names no field.
    """


def parseMask(text: str) -> Paths:
    """
    Read C{a.b,c} into its paths.
    """
    return [path.split(".") for path in text.split(",") if path]


def trimmed(message: Any, paths: Paths) -> Any:
    """
    A copy with nothing but the wanted fields.

    @raise MaskError: If a path names no field of the message.
    """
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        if findType(typeName(message.type_url)) is None:
            raise MaskError("an unknown type")
        return anyOf(trimmed(messageClass(typeName(message.type_url)).FromString(message.value), paths))
    copy = type(message)()
    for name in dict.fromkeys(path[0] for path in paths):
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise MaskError("no such field")
        below = [path[1:] for path in paths if path[0] == name]
        _take(message, copy, field, [] if [] in below else below)
    return copy


def _take(message: Any, copy: Any, field: Any, below: Paths) -> None:
    """
    Copy one field.

    @param below: What is wanted of the messages in it; nothing for all of them.
    """
    name = field.name
    value = getattr(message, name)
    kind = field.message_type
    if below and (kind is None or kind.GetOptions().map_entry):
        raise MaskError("not a message")
    repeated = not hasattr(value, "DESCRIPTOR") and kind is not None
    if not below:
        whole = type(message)()
        whole.CopyFrom(message)
        for other, _ in message.ListFields():
            if other.name != name:
                whole.ClearField(other.name)
        copy.MergeFrom(whole)
    elif repeated:
        _check(kind, below)
        getattr(copy, name).extend(trimmed(item, below) for item in value)
    elif message.HasField(name):
        getattr(copy, name).CopyFrom(trimmed(value, below))
    else:
        _check(kind, below)


def _check(kind: Any, paths: Paths) -> None:
    """
    Look whether paths lead anywhere in a message that is not there.

    @raise MaskError: If they do not.
    """
    if kind.full_name == "google.protobuf.Any":
        return
    for path in paths:
        field = kind.fields_by_name.get(path[0])
        if field is None or (len(path) > 1 and field.message_type is None):
            raise MaskError("no such field")
        if len(path) > 1:
            _check(field.message_type, [path[1:]])
