# -*- test-case-name: tests.config.test_newerfields -*-
"""
Fields that Envoy 1.40 has and the descriptors of C{xds-protos} do not have yet, since it takes Envoy's API later.

They are added when the descriptors are loaded, so that a configuration with one of them is read as any other. A field
that C{xds-protos} has by now stays as it is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

__all__ = ["NEWER_FIELDS", "NewerField", "addNewerFields"]

_BOOL: Final = ""
_PERCENT: Final = ".envoy.type.v3.Percent"


class NewerField(NamedTuple):
    """
    A field.

    @ivar file: The proto file, which imports that of the field's message already.
    @ivar message: Its message, within the package of the file.
    @ivar number: As in Envoy's API.
    @ivar held: The message that it holds; empty for a boolean.
    """

    file: str
    message: str
    name: str
    number: int
    held: str


_MANAGER = "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto"

#: They, in the order of their files.
NEWER_FIELDS: Final = (
    NewerField(
        "envoy/config/core/v3/protocol.proto",
        "HttpProtocolOptions",
        "max_connection_duration_jitter",
        8,
        _PERCENT,
    ),
    NewerField(
        "envoy/extensions/common/ratelimit/v3/ratelimit.proto", "LocalRateLimitDescriptor", "shadow_mode", 3, _BOOL
    ),
    NewerField(
        "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
        "LocalRateLimit",
        "enable_retry_after_header",
        19,
        _BOOL,
    ),
    NewerField(_MANAGER, "HttpConnectionManager", "drain_timeout_jitter", 62, _PERCENT),
)


def addNewerFields(files: Iterable[FileDescriptorProto], fields: Iterable[NewerField] = NEWER_FIELDS) -> None:
    """
    Add fields to the files that lack them.
    """
    wanted: dict[str, list[NewerField]] = {}
    for field in fields:
        wanted.setdefault(field.file, []).append(field)
    for file in files:
        for field in wanted.get(file.name, ()):
            _add(next(each for each in file.message_type if each.name == field.message), field)


def _add(message: DescriptorProto, field: NewerField) -> None:
    if any(field.name == each.name or field.number == each.number for each in message.field):
        return
    added = message.field.add(
        name=field.name, number=field.number, label=FieldDescriptorProto.LABEL_OPTIONAL, json_name=_camel(field.name)
    )
    if field.held:
        added.type = FieldDescriptorProto.TYPE_MESSAGE
        added.type_name = field.held
    else:
        added.type = FieldDescriptorProto.TYPE_BOOL


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
