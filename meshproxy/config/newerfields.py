# -*- test-case-name: tests.config.test_newerfields -*-
"""
Fields that Envoy 1.40 has and the descriptors of C{xds-protos} do not have yet, since it takes Envoy's API later.

They are added when the descriptors are loaded, so that a configuration with one of them is read as any other: what is
implemented is declared as ever, and the others are refused as not implemented. A field that C{xds-protos} has by now
stays as it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto as File

from meshproxy.config.newertable import NEWER

__all__ = [
    "NEWER_ENUMS",
    "NEWER_FIELDS",
    "NEWER_FILES",
    "NEWER_MESSAGES",
    "NewerEnum",
    "NewerField",
    "NewerMessage",
    "addNewerFields",
    "addNewerFiles",
    "inOrder",
]

_SCALARS: Final = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}

#: The options of C{validate.rules}, as they are on the wire: the extension is not known yet when they are added.
_RULES: Final = {
    # string: {min_len: 1}
    "notEmpty": bytes.fromhex("fa420472021001"),
    # string: {min_len: 1, max_bytes: 1024}
    "nameRule": bytes.fromhex("fa420772051001288008"),
    # string: {pattern: "^[^\\x00-\\x1f\\x7f]*$"}
    "printable": b"\xfa\x42\x17\x72\x15\x32\x13" + rb"^[^\x00-\x1f\x7f]*$",
    # message: {required: true}
    "required": bytes.fromhex("fa42058a01021001"),
    # map: {min_pairs: 1}
    "notNone": bytes.fromhex("fa42059a01020801"),
}


class NewerField(NamedTuple):
    """
    A field.

    @ivar file: Its proto file.
    @ivar message: Its message, within the package of the file. Where the file has none of that name, it gets one.
    @ivar number: As in Envoy's API.
    @ivar kind: C{bool}, C{string}, C{uint32}; the full name of a message, after a point; C{enum} before such a name.
    @ivar words: C{repeated}, C{map}, C{in:} before the name of a oneof, the name of a rule.
    """

    file: str
    message: str
    name: str
    number: int
    kind: str
    words: tuple[str, ...] = ()


class NewerEnum(NamedTuple):
    """
    An enumeration.

    @ivar values: The names of its values, from zero on; or those, with their numbers behind an equals sign, that one
        lacks which is there already.
    """

    file: str
    name: str
    values: tuple[str, ...]


class NewerMessage(NamedTuple):
    """
    A message without fields.
    """

    file: str
    name: str


def _package(file: str) -> str:
    return file.rpartition("/")[0].replace("/", ".")


def _read(table: str) -> Iterator[NewerField | NewerEnum | NewerMessage]:
    file = ""
    for line in table.strip().splitlines():
        first, *words = line.split()
        if first == "new":
            continue
        if not words:
            file = first
        elif first == "enum":
            yield NewerEnum(file, words[0], tuple(words[1:]))
        elif first == "message":
            yield NewerMessage(file, words[0])
        else:
            message, _, name = first.rpartition(".")
            kind = words[1].replace("+", f".{_package(file)}.")
            yield NewerField(file, message, name, int(words[0]), kind, tuple(words[2:]))


def _newFiles(table: str) -> Iterator[str]:
    lines = table.split()
    for before, line in pairwise(lines):
        if line == "new":
            yield before


#: The files that are new as a whole.
NEWER_FILES: Final = tuple(_newFiles(NEWER))
#: They, in the order of their files.
NEWER_FIELDS: Final = tuple(each for each in _read(NEWER) if isinstance(each, NewerField))
#: The enumerations that some of them are of.
NEWER_ENUMS: Final = tuple(each for each in _read(NEWER) if isinstance(each, NewerEnum))
#: The messages without fields.
NEWER_MESSAGES: Final = tuple(each for each in _read(NEWER) if isinstance(each, NewerMessage))


def addNewerFiles(found: FileDescriptorSet, names: Iterable[str] = NEWER_FILES) -> None:
    """
    Add the files that are lacking, without anything in them.
    """
    known = {file.name for file in found.file}
    for name in names:
        if name not in known:
            found.file.add(name=name, package=_package(name), syntax="proto3")


def addNewerFields(
    files: Iterable[File],
    fields: Iterable[NewerField] = NEWER_FIELDS,
    enums: Iterable[NewerEnum] = NEWER_ENUMS,
    messages: Iterable[NewerMessage] = NEWER_MESSAGES,
) -> None:
    """
    Add fields to the files that lack them, with the messages and the enumerations that they need.
    """
    known = {file.name: file for file in files}
    for message in messages:
        if message.file in known:
            _message(known[message.file], message.name)
    for enum in enums:
        if enum.file in known:
            _addEnum(known[enum.file], enum)
    added = [field for field in fields if field.file in known and _add(known[field.file], field)]
    homes = {f".{file.package}.{name}": file.name for file in known.values() for name in _names(file)}
    for field in added:
        home = homes.get(field.kind.removeprefix("enum"), field.file)
        dependencies = known[field.file].dependency
        if home != field.file and home not in dependencies:
            dependencies.append(home)


def inOrder(files: Iterable[File]) -> Iterator[File]:
    """
    The files, each after those that it imports.
    """
    waiting = {file.name: file for file in files}

    def take(name: str) -> Iterator[File]:
        file = waiting.pop(name, None)
        if file is not None:
            for imported in file.dependency:
                yield from take(imported)
            yield file

    for name in list(waiting):
        yield from take(name)


def _names(file: File) -> Iterator[str]:
    yield from (enum.name for enum in file.enum_type)
    for message in file.message_type:
        yield from _namesIn(message, message.name)


def _namesIn(message: DescriptorProto, name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}.{enum.name}" for enum in message.enum_type)
    for nested in message.nested_type:
        yield from _namesIn(nested, f"{name}.{nested.name}")


def _message(file: File, name: str) -> DescriptorProto:
    """
    A message of a file; a new one where it has none of the name.
    """
    outer, _, own = name.rpartition(".")
    siblings = _message(file, outer).nested_type if outer else file.message_type
    for each in siblings:
        if each.name == own:
            return each
    return siblings.add(name=own)


def _addEnum(file: File, enum: NewerEnum) -> None:
    outer, _, own = enum.name.rpartition(".")
    siblings = _message(file, outer).enum_type if outer else file.enum_type
    there = [each for each in siblings if each.name == own]
    made: EnumDescriptorProto = there[0] if there else siblings.add(name=own)
    for place, text in enumerate(enum.values):
        name, isMore, number = text.partition("=")
        if not isMore and not there:
            made.value.add(name=name, number=place)
        elif isMore and all(each.number != int(number) for each in made.value):
            made.value.add(name=name, number=int(number))


def _add(file: File, field: NewerField) -> bool:
    """
    @return: Whether it was lacking.
    """
    message = _message(file, field.message)
    if any(field.name == each.name or field.number == each.number for each in message.field):
        return False
    added = message.field.add(
        name=field.name, number=field.number, label=FieldDescriptorProto.LABEL_OPTIONAL, json_name=_camel(field.name)
    )
    if field.kind in _SCALARS:
        added.type = _SCALARS[field.kind]
    else:
        isEnum = field.kind.startswith("enum")
        added.type = FieldDescriptorProto.TYPE_ENUM if isEnum else FieldDescriptorProto.TYPE_MESSAGE
        added.type_name = field.kind.removeprefix("enum")
    for word in field.words:
        if word == "repeated":
            added.label = FieldDescriptorProto.LABEL_REPEATED
        elif word == "map":
            _makeMap(file, field, message, added)
        elif word.startswith("in:"):
            added.oneof_index = _oneof(message, word[3:])
        else:
            added.options.MergeFromString(_RULES[word])
    return True


def _makeMap(file: File, field: NewerField, message: DescriptorProto, added: FieldDescriptorProto) -> None:
    """
    Make of a field a map of texts to what it is.
    """
    name = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
    entry = message.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, key in enumerate(("key", "value"), start=1):
        held = entry.field.add(name=key, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL, json_name=key)
        held.type = added.type if number == 2 else FieldDescriptorProto.TYPE_STRING
    held.type_name = added.type_name
    added.label = FieldDescriptorProto.LABEL_REPEATED
    added.type = FieldDescriptorProto.TYPE_MESSAGE
    added.type_name = f".{file.package}.{field.message}.{name}"


def _oneof(message: DescriptorProto, name: str) -> int:
    names = [each.name for each in message.oneof_decl]
    if name not in names:
        message.oneof_decl.add(name=name)
        names.append(name)
    return names.index(name)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
