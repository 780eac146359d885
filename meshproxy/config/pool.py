# -*- test-case-name: tests.config.test_pool -*-
"""
Envoy's messages, from a descriptor pool of our own.

Nothing named C{envoy} is imported: the descriptors come from one compressed file that L{meshproxy._build} writes when
the package is built.  The pool is made on first use.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from meshproxy.config.newerfields import addNewerFields, addNewerFiles, inOrder
from meshproxy.errors import MeshProxyError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

__all__ = [
    "TYPE_URL_PREFIX",
    "MissingDescriptors",
    "descriptorPool",
    "findType",
    "messageClass",
    "messageType",
    "newMessage",
    "packAny",
    "typeName",
    "typeNames",
    "typeURL",
]

#: What stands before the name of a message in the C{@type} of a C{typed_config}.
TYPE_URL_PREFIX = "type.googleapis.com/"

_FILE = "envoy.pb.gz"


class MissingDescriptors(MeshProxyError):
    """
    The descriptor set was not generated: this is a checkout that nobody installed.
    """


@cache
def _descriptorSet() -> FileDescriptorSet:
    """
    The file, parsed.
    """
    try:
        packed = files("meshproxy.config").joinpath(_FILE).read_bytes()
    except FileNotFoundError:
        raise MissingDescriptors(
            f"meshproxy/config/{_FILE} is missing: run `pip install -e .`, or `python -m meshproxy._build`"
        ) from None
    found = FileDescriptorSet.FromString(gzip.decompress(packed))
    addNewerFiles(found)
    addNewerFields(found.file)
    return found


@cache
def descriptorPool() -> DescriptorPool:
    """
    The pool that holds every message of Envoy's API, its xds and udpa companions, and the well-known types.
    """
    pool = DescriptorPool()
    for file in inOrder(_descriptorSet().file):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def findType(name: str) -> Descriptor | None:
    """
    The descriptor of a message.

    @param name: Its full name, such as C{envoy.config.cluster.v3.Cluster}.

    @return: L{None} for a name that the pool does not hold.
    """
    try:
        return descriptorPool().FindMessageTypeByName(name)
    except KeyError:
        return None


@cache
def messageType(name: str) -> Descriptor:
    """
    The descriptor of a message that this program names itself.

    @raise KeyError: If there is none: a spelling mistake of ours.
    """
    return descriptorPool().FindMessageTypeByName(name)


@cache
def messageClass(name: str) -> type[Message]:
    """
    The class of a message.

    @raise KeyError: If the pool does not hold the name.
    """
    return GetMessageClass(messageType(name))


def newMessage(name: str) -> Message:
    """
    An empty message.

    @raise KeyError: If the pool does not hold the name.
    """
    return messageClass(name)()


def typeURL(name: str) -> str:
    """
    The type URL of a message, as C{@type} has it.
    """
    return TYPE_URL_PREFIX + name


def typeName(url: str) -> str:
    """
    The full name of the message that a type URL means: what stands after its last slash.
    """
    return url.rpartition("/")[2]


def packAny(message: Message) -> Message:
    """
    A C{google.protobuf.Any} of this pool that holds a message.

    @param message: A message of this pool or of any other.
    """
    packed = newMessage("google.protobuf.Any")
    packed.type_url = typeURL(message.DESCRIPTOR.full_name)  # type: ignore[attr-defined]  # a dynamic message
    packed.value = message.SerializeToString(deterministic=True)  # type: ignore[attr-defined]  # likewise
    return packed


@cache
def typeNames() -> tuple[str, ...]:
    """
    The full name of every top-level message of the pool, in order: to find what a mistyped name meant.
    """
    return tuple(
        sorted(f"{file.package}.{message.name}" for file in _descriptorSet().file for message in file.message_type)
    )
