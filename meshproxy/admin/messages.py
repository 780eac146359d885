# -*- test-case-name: tests.admin.test_messages -*-
"""
Envoy's messages as the JSON that Envoy shows, without what nobody is to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.json_format import MessageToDict

from meshproxy.config.pool import descriptorPool, findType, messageClass, messageType, newMessage, typeName, typeURL

__all__ = ["REDACTED", "anyOf", "dictOf", "redacted", "setDuration", "setTimestamp"]

REDACTED = "[redacted]"

_ANY = "google.protobuf.Any"
_STRUCTS = frozenset({"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"})


def dictOf(message: Any, defaults: bool = False) -> dict[str, Any]:
    """
    A message as plain data for JSON: names as in the proto file, types as C{@type}.

    @param defaults: Show scalars that have their default, too.
    """
    found: dict[str, Any] = MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=defaults,
        descriptor_pool=descriptorPool(),
    )
    return found


def anyOf(message: Any) -> Any:
    """
    A C{google.protobuf.Any} that holds a message.
    """
    packed: Any = newMessage(_ANY)
    packed.type_url = typeURL(message.DESCRIPTOR.full_name)
    packed.value = message.SerializeToString(deterministic=True)
    return packed


def setTimestamp(timestamp: Any, seconds: float) -> None:
    """
    Set a C{google.protobuf.Timestamp}, to the millisecond.
    """
    milliseconds = int(seconds * 1000)
    timestamp.seconds = milliseconds // 1000
    timestamp.nanos = milliseconds % 1000 * 1000000


def setDuration(duration: Any, seconds: float) -> None:
    """
    Set a C{google.protobuf.Duration}, to the whole second.
    """
    duration.seconds = int(seconds)
    # Set even if it is 0.
    duration.SetInParent()


def redacted(message: Any) -> Any:
    """
    A copy of a message without its secrets: fields that Envoy's API calls sensitive, and all that is below them, say
    C{[redacted]} instead of text; numbers among them are gone.
    """
    copy = type(message)()
    copy.CopyFrom(message)
    _redact(copy, False)
    return copy


@cache
def _isSensitive(field: Any) -> bool:
    # The options come from protobuf's own pool, which does not know the extension; read again by ours they do.
    options: Any = messageClass("google.protobuf.FieldOptions").FromString(field.GetOptions().SerializeToString())
    return bool(options.Extensions[descriptorPool().FindExtensionByName("udpa.annotations.sensitive")])


def _redact(message: Any, hide: bool) -> None:
    name = message.DESCRIPTOR.full_name
    if name == _ANY:
        _redactAny(message, hide)
        return
    if name in _STRUCTS and not hide:
        descriptor = findType(typeName(message.type_url))
        if descriptor is not None:
            _redactStruct(message.value, descriptor)
        return
    for field, value in message.ListFields():
        hidden = hide or _isSensitive(field)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            _redactMap(entry.fields_by_name["value"], value, hidden)
        elif entry is not None:
            for item in [value] if isinstance(value, type(message)) or hasattr(value, "DESCRIPTOR") else value:
                _redact(item, hidden)
        elif hidden:
            _hide(message, field, value)


def _hide(message: Any, field: Any, value: Any) -> None:
    """
    Hide a scalar, or a list of them.
    """
    if field.type == field.TYPE_STRING:
        shown: Any = REDACTED
    elif field.type == field.TYPE_BYTES:
        shown = REDACTED.encode("ascii")
    else:
        message.ClearField(field.name)
        return
    if isinstance(value, (str, bytes)):
        setattr(message, field.name, shown)
    else:
        value[:] = [shown] * len(value)


def _redactMap(field: Any, held: Any, hide: bool) -> None:
    for key in list(held):
        if field.message_type is not None:
            _redact(held[key], hide)
        elif hide:
            if field.type == field.TYPE_STRING:
                held[key] = REDACTED
            else:
                del held[key]


def _redactAny(packed: Any, hide: bool) -> None:
    if not packed.type_url or findType(typeName(packed.type_url)) is None:
        if hide or packed.value:
            # Bytes that nobody can read here: nobody can say what is in them either.
            packed.ClearField("value")
        return
    inner = messageClass(typeName(packed.type_url)).FromString(packed.value)
    _redact(inner, hide)
    packed.value = inner.SerializeToString(deterministic=True)


def _redactStruct(struct: Any, descriptor: Any) -> None:
    """
    Redact a C{Struct} that stands for a message.
    """
    fields: Mapping[str, Any] = {field.name: field for field in descriptor.fields}
    camel = {field.json_name: field for field in descriptor.fields}
    for key, value in struct.fields.items():
        field = fields.get(key) or camel.get(key)
        if field is None:
            continue
        if _isSensitive(field):
            _redact(value, True)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in value.list_value.values if value.HasField("list_value") else [value]:
                if item.HasField("struct_value"):
                    inner = item.struct_value.fields.get("@type")
                    target = field.message_type
                    if target.full_name == _ANY and inner is not None:
                        target = findType(typeName(inner.string_value)) or messageType(_ANY)
                    _redactStruct(item.struct_value, target)
