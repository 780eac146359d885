# -*- test-case-name: tests.config.test_section -*-
"""
A message of the configuration and its place: what every other room compiles from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from google.protobuf.message import DecodeError

from meshproxy.config.near import nearTypes
from meshproxy.config.nodes import NOWHERE, Node, Place, nodeOf
from meshproxy.config.pool import findType, messageClass, newMessage, typeName, typeNames
from meshproxy.config.report import Report
from meshproxy.config.walker import VALUE_TYPES, Field, Places, Walker, fieldsOf, mapPath

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

    from meshproxy.errors import ConfigError

__all__ = ["Section", "placeAt"]

_T = TypeVar("_T")

_ANY = "google.protobuf.Any"


def placeAt(places: Places, path: str) -> Place:
    """
    Where a path stands in its text: its own place, or that of the nearest thing around it which the text has.
    """
    while path:
        place = places.get(path)
        if place is not None:
            return place
        if path.endswith('"]'):
            path = path[: max(path.rfind('["'), 0)]
        else:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return places.get("", NOWHERE)


def _enumName(enum: EnumDescriptor, number: int) -> str:
    value = enum.values_by_number.get(number)
    return value.name if value is not None else str(number)


class Section:
    """
    A message, where it stands, and where its faults are told.

    A field is asked for by its name in the proto file; a name that the message does not have is a mistake of the
    program and raises L{KeyError}.

    @ivar message: The protobuf message.
    @ivar path: Where it is, in Envoy's words: C{static_resources.clusters[2]}. A C{typed_config} has the path of
        its field.
    @ivar report: Takes the faults that L{refuse} records.
    @ivar places: Where each path stands in the text, for the whole configuration that this is a part of.
    @ivar typeName: The full name of the message.
    """

    __slots__ = ("_fields", "message", "path", "places", "report", "typeName")

    def __init__(
        self, message: Message, path: str = "", report: Report | None = None, places: Places | None = None
    ) -> None:
        self.message: Any = message
        self.path = path
        self.report = Report() if report is None else report
        self.places: Places = {} if places is None else places
        self.typeName: str = message.DESCRIPTOR.full_name
        self._fields = fieldsOf(self.typeName)

    @classmethod
    def of(cls, typeName: str, value: object) -> Section:
        """
        A section from plain data (or nodes) instead of a text, unchecked beyond its fields and their types.

        @param typeName: The full name of the message.
        @param value: A dictionary, as YAML would give it.

        @raise ConfigErrors: If a field is unknown or of the wrong type.
        """
        section = cls.read(typeName, nodeOf(value), Report())
        section.report.raiseIfAny()
        return section

    @classmethod
    def read(cls, typeName: str, node: Node, report: Report) -> Section:
        """
        A section from nodes. What cannot be read is recorded and left out.
        """
        places: Places = {"": node.place}
        message = newMessage(typeName)
        Walker(report, places).fill(node, message, "")
        return cls(message, "", report, places)

    def __repr__(self) -> str:
        return f"<Section {self.typeName} at {self.path or 'the top'}>"

    def fieldOf(self, name: str) -> Field:
        """
        What is known of a field: whether it is a list, its message, its enumeration.

        @raise KeyError: If the message has no such field.
        """
        try:
            return self._fields[name]
        except KeyError:
            raise KeyError(f"{self.typeName} has no field {name!r}") from None

    def _at(self, message: Message, path: str) -> Section:
        return Section(message, path, self.report, self.places)

    def pathOf(self, field: str) -> str:
        """
        The path of a field of this message.
        """
        if not field:
            return self.path
        return f"{self.path}.{field}" if self.path else field

    # What is set.

    def has(self, name: str) -> bool:
        """
        Whether a field is set: for messages, wrappers and members of a oneof whether the text has it; for lists and
        maps whether there is anything in it; for other scalars whether it differs from the default.
        """
        field = self.fieldOf(name)
        if field.hasPresence:
            present: bool = self.message.HasField(name)
            return present
        return bool(getattr(self.message, name))

    def oneof(self, name: str) -> str | None:
        """
        Which member of a oneof is set.
        """
        member: str | None = self.message.WhichOneof(name)
        return member

    def setFields(self) -> Iterator[str]:
        """
        The names of all fields that are set.
        """
        for descriptor, _value in self.message.ListFields():
            yield descriptor.name

    # Scalars. C{Any}: the type depends on the field.

    def get(self, name: str) -> Any:
        """
        A scalar: text, a number, a boolean, bytes, or the I{name} of an enumeration's value. The default of protobuf
        if it is unset.
        """
        field = self.fieldOf(name)
        value = getattr(self.message, name)
        return value if field.enum is None or field.repeated else _enumName(field.enum, value)

    def scalars(self, name: str) -> list[Any]:
        """
        A list of scalars; enumerations by name.
        """
        field = self.fieldOf(name)
        values = getattr(self.message, name)
        return [_enumName(field.enum, value) for value in values] if field.enum is not None else list(values)

    @overload
    def seconds(self, name: str) -> float | None: ...
    @overload
    def seconds(self, name: str, default: float) -> float: ...
    @overload
    def seconds(self, name: str, default: None) -> float | None: ...

    def seconds(self, name: str, default: float | None = None) -> float | None:
        """
        A C{google.protobuf.Duration} in seconds.

        @param name: The field.
        @param default: What an unset one means.
        """
        self.fieldOf(name)
        if not self.message.HasField(name):
            return default
        duration = getattr(self.message, name)
        return float(duration.seconds + duration.nanos / 1e9) if duration.nanos else float(duration.seconds)

    def wrapped(self, name: str, default: _T) -> _T:
        """
        The value of a wrapper such as C{google.protobuf.UInt32Value}.

        @param name: The field.
        @param default: What an unset one means.
        """
        self.fieldOf(name)
        if not self.message.HasField(name):
            return default
        value: _T = getattr(self.message, name).value
        return value

    # Messages.

    def child(self, name: str) -> Section | None:
        """
        The message of a field, or L{None} if it is unset.
        """
        self.fieldOf(name)
        return self._at(getattr(self.message, name), self.pathOf(name)) if self.message.HasField(name) else None

    def childOrEmpty(self, name: str) -> Section:
        """
        The message of a field; where it is unset, an empty one whose path is that of the field.
        """
        self.fieldOf(name)
        return self._at(getattr(self.message, name), self.pathOf(name))

    def children(self, name: str) -> list[Section]:
        """
        The messages of a list.
        """
        self.fieldOf(name)
        path = self.pathOf(name)
        return [self._at(item, f"{path}[{index}]") for index, item in enumerate(getattr(self.message, name))]

    def entries(self, name: str) -> dict[Any, Any]:
        """
        A map: its keys to sections, or to scalars where it holds such.
        """
        field = self.fieldOf(name)
        path = self.pathOf(name)
        held = getattr(self.message, name)
        if field.messageName:
            return {key: self._at(held[key], mapPath(path, key)) for key in held}
        if field.enum is not None:
            return {key: _enumName(field.enum, held[key]) for key in held}
        return dict(held)

    # Messages of a type that the configuration chooses.

    def any(self, name: str) -> Section | None:
        """
        The message in a field that is a C{google.protobuf.Any}, such as C{typed_config}. A TypedStruct comes as
        it is.

        @return: L{None} if the field is unset, or if what is in it cannot be read, which is then recorded.
        """
        child = self.child(name)
        return None if child is None else child.unpack()

    def unpack(self) -> Section | None:
        """
        The message in this section, which is a C{google.protobuf.Any}: for lists and maps of them.

        @return: L{None} if it is empty, or if what is in it cannot be read, which is then recorded.
        """
        url: str = self.message.type_url
        if not url:
            return None
        name = typeName(url)
        descriptor = findType(name)
        if descriptor is None:
            self.refuse(f"{url!r} is not a type that is known here", "@type", nearTypes(url, typeNames()))
            return None
        # In JSON a well-known type stands under the key "value", and there its faults are.
        path = self.pathOf("value") if name in VALUE_TYPES else self.path
        message = messageClass(name)()
        try:
            message.ParseFromString(self.message.value)
        except DecodeError:
            self.refuse(f"these bytes are no {name}")
            return None
        return self._at(message, path)

    # Faults.

    @property
    def place(self) -> Place:
        """
        Where this message stands in its text.
        """
        return placeAt(self.places, self.path)

    def placeOf(self, field: str) -> Place:
        """
        Where a field stands in its text, or else the message.
        """
        return placeAt(self.places, self.pathOf(field))

    def refuse(self, why: str, field: str = "", near: Sequence[str] = ()) -> None:
        """
        Record a fault here and go on.

        @param why: What was found and what would be right.
        @param field: The field it is about, which may go on: C{domains[2]}.
        @param near: Names that may have been meant.
        """
        self.report.refuse(self.pathOf(field), why, self.placeOf(field), near)

    def warn(self, why: str, field: str = "") -> None:
        """
        Record a warning here.
        """
        self.report.warn(self.pathOf(field), why, self.placeOf(field))

    def error(self, why: str, field: str = "") -> ConfigError:
        """
        The same as L{refuse}, as an exception to raise.
        """
        return self.placeOf(field).error(self.pathOf(field), why)
