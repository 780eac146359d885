"""
The messages of gRPC's own interoperability tests: C{grpc/testing/empty.proto} and C{grpc/testing/messages.proto}, with
their names and numbers, as far as cases without credentials use them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = [
    "Empty",
    "SimpleRequest",
    "SimpleResponse",
    "StreamingInputCallRequest",
    "StreamingInputCallResponse",
    "StreamingOutputCallRequest",
    "StreamingOutputCallResponse",
]

_PACKAGE = "grpc.testing"

# Message: name, number and type of each field; * is for repeated ones.
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "Empty": (),
    "BoolValue": (("value", 1, "bool"),),
    "Payload": (("type", 1, "PayloadType"), ("body", 2, "bytes")),
    "EchoStatus": (("code", 1, "int32"), ("message", 2, "string")),
    "SimpleRequest": (
        ("response_type", 1, "PayloadType"),
        ("response_size", 2, "int32"),
        ("payload", 3, "Payload"),
        ("fill_username", 4, "bool"),
        ("fill_oauth_scope", 5, "bool"),
        ("response_compressed", 6, "BoolValue"),
        ("response_status", 7, "EchoStatus"),
        ("expect_compressed", 8, "BoolValue"),
        ("fill_server_id", 9, "bool"),
    ),
    "SimpleResponse": (
        ("payload", 1, "Payload"),
        ("username", 2, "string"),
        ("oauth_scope", 3, "string"),
        ("server_id", 4, "string"),
        ("hostname", 6, "string"),
    ),
    "StreamingInputCallRequest": (("payload", 1, "Payload"), ("expect_compressed", 2, "BoolValue")),
    "StreamingInputCallResponse": (("aggregated_payload_size", 1, "int32"),),
    "ResponseParameters": (("size", 1, "int32"), ("interval_us", 2, "int32"), ("compressed", 3, "BoolValue")),
    "StreamingOutputCallRequest": (
        ("response_type", 1, "PayloadType"),
        ("response_parameters", 2, "*ResponseParameters"),
        ("payload", 3, "Payload"),
        ("response_status", 7, "EchoStatus"),
    ),
    "StreamingOutputCallResponse": (("payload", 1, "Payload"),),
}

_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "string": FieldDescriptorProto.TYPE_STRING,
}


def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="grpc/testing/messages.proto", package=_PACKAGE, syntax="proto3")
    kind = file.enum_type.add(name="PayloadType")
    kind.value.add(name="COMPRESSABLE", number=0)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, of in fields:
            made = message.field.add(name=field, number=number)
            made.label = FieldDescriptorProto.LABEL_REPEATED if of[0] == "*" else FieldDescriptorProto.LABEL_OPTIONAL
            of = of.removeprefix("*")
            if of in _SCALARS:
                made.type = _SCALARS[of]
            else:
                made.type = FieldDescriptorProto.TYPE_ENUM if of == "PayloadType" else FieldDescriptorProto.TYPE_MESSAGE
                made.type_name = f".{_PACKAGE}.{of}"
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_MADE = _pool()


def _of(name: str) -> Any:
    return GetMessageClass(_MADE.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Empty = _of("Empty")
SimpleRequest = _of("SimpleRequest")
SimpleResponse = _of("SimpleResponse")
StreamingInputCallRequest = _of("StreamingInputCallRequest")
StreamingInputCallResponse = _of("StreamingInputCallResponse")
StreamingOutputCallRequest = _of("StreamingOutputCallRequest")
StreamingOutputCallResponse = _of("StreamingOutputCallResponse")
