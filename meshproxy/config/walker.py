# -*- test-case-name: tests.config.test_walker -*-
"""
Nodes to protobuf messages, by protobuf's JSON rules with Envoy's leniencies.

Descriptor driven, and it does not stop at the first fault: what cannot be read is reported with its place, its path
and what was probably meant, and the rest is read.  While it reads it notes where each field stands, so that later
checks can say so too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshproxy.config.near import didYouMean, near, nearTypes
from meshproxy.config.nodes import Entry, Node, Place, describe
from meshproxy.config.pool import findType, messageClass, messageType, typeNames
from meshproxy.config.report import Report
from meshproxy.config.scalars import ScalarReader, ScalarValue, WrongValue, durationParts, scalarReader

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

__all__ = ["VALUE_TYPES", "Field", "Places", "Walker", "fieldsOf", "keyPath", "mapPath"]

#: Path to place, for every field of a message that came from a text.
Places: TypeAlias = dict[str, Place]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def keyPath(path: str, key: str) -> str:
    """
    The path of a key of a free-form structure.
    """
    if _WORD.match(key):
        return f"{path}.{key}" if path else key
    return mapPath(path, key)


def mapPath(path: str, key: object) -> str:
    """
    The path of an entry of a map.
    """
    return f'{path}["{key}"]'


_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


class Field:
    """
    What reading needs to know of a field, looked up once.

    @ivar name: Its name in the proto file.
    @ivar repeated: Whether it is a list or a map.
    @ivar isMap: Whether it is a map.
    @ivar messageName: The full name of its message, or of a map's value; empty for scalars.
    @ivar read: How to read its scalars, or a map's; L{None} for messages.
    @ivar readKey: How to read a map's keys.
    @ivar oneof: The oneof it is a member of, or empty.
    @ivar enum: What its numbers are called, or L{None} if it is no enumeration.
    @ivar hasPresence: Whether "unset" and "set to the default" differ.
    """

    __slots__ = ("enum", "hasPresence", "isMap", "messageName", "name", "oneof", "read", "readKey", "repeated")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.repeated = field.is_repeated
        entry = field.message_type
        if entry is not None and not entry.GetOptions().map_entry:
            entry = None
        self.isMap = entry is not None
        value = field if entry is None else entry.fields_by_name["value"]
        self.messageName: str = value.message_type.full_name if value.message_type is not None else ""
        self.read: ScalarReader | None = None if self.messageName else scalarReader(value)
        self.readKey: ScalarReader | None = None if entry is None else scalarReader(entry.fields_by_name["key"])
        self.enum: EnumDescriptor | None = value.enum_type
        self.hasPresence: bool = field.has_presence
        oneof = field.containing_oneof
        self.oneof = oneof.name if oneof is not None and len(oneof.fields) > 1 else ""


@cache
def fieldsOf(typeName: str) -> dict[str, Field]:
    """
    The fields of a message by every name that a text may use: that of the proto file, and in camel case.
    """
    found: dict[str, Field] = {}
    for descriptor in messageType(typeName).fields:
        field = Field(descriptor)
        found[descriptor.json_name] = found[descriptor.name] = field
    return found


class Walker:
    """
    Reads nodes into messages.

    @param report: Takes the faults.
    @param places: Takes the place of each field.
    @param allowUnknown: Only warn of fields that a message does not have.
    """

    def __init__(self, report: Report, places: Places, allowUnknown: bool = False) -> None:
        self.report = report
        self.places = places
        self._allowUnknown = allowUnknown

    # ``Any`` below: messages of the pool have no static type, and each field is another attribute.

    def fill(self, node: Node, message: Any, path: str, base: Any = None) -> None:
        """
        Read a node into a message of any kind, a well-known type included.

        @param node: What to read.
        @param message: What to fill.
        @param path: Where the message is.
        @param base: The message that this one is going to be merged into, whose lists it lengthens.
        """
        special = _SPECIAL.get(message.DESCRIPTOR.full_name)
        if special is None:
            self._message(node, message, path, base)
            return
        try:
            special(self, node, message, path)
        except WrongValue as wrong:
            self._wrong(node, path, wrong)

    def _wrong(self, node: Node, path: str, wrong: WrongValue) -> None:
        self.report.refuse(path, f"{describe(node.value)} is not {wrong.wanted}", node.place)
        self.report.spoil(path)

    def _message(self, node: Node, message: Any, path: str, base: Any, skip: str = "") -> None:
        """
        Read the fields of an ordinary message.
        """
        typeName: str = message.DESCRIPTOR.full_name
        entries = node.value
        if not isinstance(entries, dict):
            self._wrong(node, path, WrongValue(f"a mapping ({typeName})"))
            return
        fields = fieldsOf(typeName)
        seen: dict[str, str] = {}
        for key, entry in entries.items():
            if key == skip:
                continue
            field = fields.get(key)
            if field is None:
                self._unknown(key, entry, typeName, path)
                continue
            if entry.node.value is None and field.messageName != "google.protobuf.Value":
                continue
            self._twice(field, key, entry, seen, path)
            self._field(field, entry, message, f"{path}.{field.name}" if path else field.name, base)

    def _twice(self, field: Field, key: str, entry: Entry, seen: dict[str, str], path: str) -> None:
        """
        Tell of a field that stands there under both of its names, and of two members of one oneof.

        @param seen: The keys so far, by field and by oneof.
        """
        other = seen.setdefault(field.name, key)
        if other != key:
            why = f"{key!r} is another name of {other!r}, which stands here too; only this one counts"
            self.report.warn(keyPath(path, field.name), why, entry.place)
        elif field.oneof:
            other = seen.setdefault(f"oneof {field.oneof}", key)
            if other != key:
                why = f"{key!r} stands beside {other!r}, and only one of them may be set"
                self.report.refuse(keyPath(path, field.name), why, entry.place)

    def _unknown(self, key: str, entry: Entry, typeName: str, path: str) -> None:
        names = [field.name for field in fieldsOf(typeName).values()]
        why = f"{key!r} is not a field of {typeName}"
        meant = near(key, names, 1)
        if self._allowUnknown:
            self.report.warn(keyPath(path, key), why + didYouMean(meant), entry.place)
            return
        self.report.refuse(keyPath(path, key), why, entry.place, meant)
        for name in meant:
            self.report.spoil(keyPath(path, name))

    def _field(self, field: Field, entry: Entry, message: Any, path: str, base: Any) -> None:
        """
        Read one field, whatever its kind.
        """
        node = entry.node
        name = field.name
        self.places[path] = entry.place if isinstance(node.value, (dict, list)) else node.place
        if field.isMap:
            self._map(field, node, getattr(message, name), path)
        elif field.repeated:
            self._list(field, node, getattr(message, name), path, 0 if base is None else len(getattr(base, name)))
        elif field.read is not None:
            value = self._scalar(field.read, node, path)
            if value is not None:
                setattr(message, name, value)
        else:
            child = getattr(message, name)
            child.SetInParent()
            if node.value == {} and message.DESCRIPTOR.full_name == _FILTER_CONFIG:
                # Envoy: a FilterConfig with an empty config switches a filter on.
                return
            under = getattr(base, name) if base is not None and base.HasField(name) else None
            self.fill(node, child, path, under)

    def _scalar(self, read: ScalarReader, node: Node, path: str) -> ScalarValue | None:
        try:
            return read(node.value)
        except WrongValue as wrong:
            self._wrong(node, path, wrong)
            return None

    def _list(self, field: Field, node: Node, container: Any, path: str, offset: int) -> None:
        """
        Read a list. Envoy takes a single value for a list of one.
        """
        items = node.value if isinstance(node.value, list) else [node]
        for index, item in enumerate(items, offset):
            place = f"{path}[{index}]"
            self.places[place] = item.place
            if item.value is None and field.messageName != "google.protobuf.Value":
                self.report.refuse(place, "null is not allowed in a list", item.place)
                # It keeps its index, or the paths of what follows would be wrong.
                if field.messageName:
                    container.add()
            elif field.read is None:
                self.fill(item, container.add(), place)
            else:
                value = self._scalar(field.read, item, place)
                if value is not None:
                    container.append(value)

    def _map(self, field: Field, node: Node, container: Any, path: str) -> None:
        if not isinstance(node.value, dict):
            self._wrong(node, path, WrongValue("a mapping"))
            return
        for name, entry in node.value.items():
            place = mapPath(path, name)
            item = entry.node
            self.places[place] = entry.place if isinstance(item.value, (dict, list)) else item.place
            # Keys are strings in JSON, so a number comes quoted.
            key = self._scalar(field.readKey, Node(name, entry.place), place) if field.readKey else None
            if key is None:
                continue
            if item.value is None and field.messageName != "google.protobuf.Value":
                self.report.refuse(place, "null is not allowed in a map", item.place)
            elif field.read is None:
                self.fill(item, container[key], place)
            else:
                value = self._scalar(field.read, item, place)
                if value is not None:
                    container[key] = value

    # Well-known types, each with a form of its own in JSON.

    # Wrappers, durations and times may also be written as the messages they are, as Envoy allows.

    def _wrapper(self, node: Node, message: Any, path: str) -> None:
        if isinstance(node.value, dict):
            self._message(node, message, path, None)
            return
        message.value = _wrapperReader(message.DESCRIPTOR.full_name)(node.value)

    def _duration(self, node: Node, message: Any, path: str) -> None:
        if isinstance(node.value, dict):
            self._message(node, message, path, None)
            return
        message.seconds, message.nanos = durationParts(node.value)

    def _byItsOwnParser(self, node: Node, message: Any, path: str) -> None:
        """
        Time stamps and field masks: protobuf's own classes read these.
        """
        if isinstance(node.value, dict):
            self._message(node, message, path, None)
            return
        if isinstance(node.value, str):
            try:
                message.FromJsonString(node.value)
                return
            except ValueError:
                pass
        stamp = message.DESCRIPTOR.name == "Timestamp"
        raise WrongValue("a time such as 2026-01-31T12:00:00Z" if stamp else "a list of fields such as a.b,c")

    def _struct(self, node: Node, message: Any, path: str) -> None:
        if not isinstance(node.value, dict):
            raise WrongValue("a mapping")
        message.SetInParent()
        for key, entry in node.value.items():
            place = keyPath(path, key)
            item = entry.node
            self.places[place] = entry.place if isinstance(item.value, (dict, list)) else item.place
            self._value(item, message.fields[key], place)

    def _listValue(self, node: Node, message: Any, path: str) -> None:
        if not isinstance(node.value, list):
            raise WrongValue("a list")
        message.SetInParent()
        for index, item in enumerate(node.value):
            place = f"{path}[{index}]"
            self.places[place] = item.place
            self._value(item, message.values.add(), place)

    def _value(self, node: Node, message: Any, path: str) -> None:
        value = node.value
        if value is None:
            message.null_value = 0
        elif isinstance(value, bool):
            message.bool_value = value
        elif isinstance(value, (int, float)):
            message.number_value = value
        elif isinstance(value, str):
            message.string_value = value
        elif isinstance(value, dict):
            self._struct(node, message.struct_value, path)
        else:
            self._listValue(node, message.list_value, path)

    def _any(self, node: Node, message: Any, path: str) -> None:
        """
        A message of the type that C{@type} names; it is read at the path of the Any itself.
        """
        entries = node.value
        if not isinstance(entries, dict):
            raise WrongValue("a mapping with an @type")
        named = entries.get("@type")
        if named is None:
            self.report.spoil(path)
            self.report.refuse(path, "'@type' is missing: it says which message this is", node.place)
            return
        descriptor = self._typeOf(named.node, path)
        if descriptor is None:
            return
        inner = messageClass(descriptor.full_name)()
        if descriptor.full_name in VALUE_TYPES:
            held = entries.get("value")
            for key, entry in entries.items():
                if key not in ("@type", "value"):
                    why = f"{key!r} stands beside @type, where {descriptor.full_name} has its 'value' alone"
                    self.report.refuse(keyPath(path, key), why, entry.place)
            if held is not None:
                under = keyPath(path, "value")
                self.places[under] = held.place
                self.fill(held.node, inner, under)
        else:
            self._message(node, inner, path, None, "@type")
        message.type_url = named.node.value
        message.value = inner.SerializeToString(deterministic=True)

    def _typeOf(self, node: Node, path: str) -> Descriptor | None:
        """
        The message that a type URL means.
        """
        url = node.value
        place = keyPath(path, "@type")
        self.places[place] = node.place
        if not isinstance(url, str):
            self._wrong(node, place, WrongValue("a type URL"))
            return None
        name = url.rpartition("/")[2]
        descriptor = findType(name)
        if descriptor is None:
            why = f"{url!r} is not a type that is known here"
            self.report.spoil(path)
            self.report.refuse(place, why, node.place, nearTypes(url, typeNames()))
        elif "/" not in url:
            why = f"{url!r} is not a type URL: it lacks type.googleapis.com/ before the name"
            self.report.refuse(place, why, node.place)
            return None
        return descriptor


@cache
def _wrapperReader(typeName: str) -> ScalarReader:
    return scalarReader(messageType(typeName).fields_by_name["value"])


_SPECIAL: Final[dict[str, Callable[[Walker, Node, Message, str], None]]] = {
    **{
        f"google.protobuf.{kind}Value": Walker._wrapper
        for kind in ("Bool", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double", "String", "Bytes")
    },
    "google.protobuf.Duration": Walker._duration,
    "google.protobuf.Timestamp": Walker._byItsOwnParser,
    "google.protobuf.FieldMask": Walker._byItsOwnParser,
    "google.protobuf.Struct": Walker._struct,
    "google.protobuf.ListValue": Walker._listValue,
    "google.protobuf.Value": Walker._value,
    "google.protobuf.Any": Walker._any,
}

#: Messages whose JSON is no mapping of their fields; in an Any they stand under the key C{value}.
VALUE_TYPES: Final = frozenset(_SPECIAL)
