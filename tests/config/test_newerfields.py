# -*- test-case-name: tests.config.test_newerfields -*-
"""
Tests for L{meshproxy.config.newerfields}.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.newerfields import NEWER_FIELDS, NewerField, addNewerFields
from meshproxy.config.pool import messageType
from meshproxy.config.section import Section


class NewerFieldsTests(SynchronousTestCase):
    """
    L{addNewerFields}.
    """

    def test_there(self) -> None:
        """
        Each field is in the pool under the number that Envoy gave it, by whomever.
        """
        for field in NEWER_FIELDS:
            package = field.file.rpartition("/")[0].replace("/", ".")
            found = messageType(f"{package}.{field.message}").fields_by_name[field.name]
            self.assertEqual(found.number, field.number)
            self.assertEqual("." + found.message_type.full_name if found.message_type else "", field.held)

    def test_read(self) -> None:
        """
        A text may have them by both of their names.
        """
        name = "envoy.config.core.v3.HttpProtocolOptions"
        for text in ("max_connection_duration_jitter", "maxConnectionDurationJitter"):
            section = Section.of(name, {text: {"value": 25}})
            self.assertEqual(section.childOrEmpty("max_connection_duration_jitter").get("value"), 25)

    def test_onlyWhatLacks(self) -> None:
        """
        A field that is there, or whose number is taken, is left alone; a file that nobody asks for, too.
        """
        file = FileDescriptorProto(name="a/v3/a.proto", package="a.v3")
        file.message_type.add(name="A").field.add(name="old", number=1, type=FieldDescriptorProto.TYPE_STRING)
        before = file.SerializeToString()
        fields = [NewerField("a/v3/a.proto", "A", name, number, "") for name, number in (("old", 2), ("other", 1))]
        addNewerFields([file], [*fields, NewerField("b.proto", "B", "x", 1, "")])
        self.assertEqual(file.SerializeToString(), before)
        addNewerFields([file], [NewerField("a/v3/a.proto", "A", "is_new", 2, "")])
        (_, added) = file.message_type[0].field
        self.assertEqual((added.name, added.number, added.json_name), ("is_new", 2, "isNew"))
