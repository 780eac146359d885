# -*- test-case-name: tests.config.test_newerfields -*-
"""
Tests for L{meshproxy.config.newerfields}.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.constraints import checkConstraints
from meshproxy.config.load import BUILT_IN
from meshproxy.config.newerfields import (
    NEWER_FIELDS,
    NewerEnum,
    NewerField,
    NewerMessage,
    addNewerFields,
    addNewerFiles,
    inOrder,
)
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
            held = found.message_type or found.enum_type
            if "map" in field.words:
                assert found.message_type is not None
                self.assertTrue(found.message_type.GetOptions().map_entry)
                held = found.message_type.fields_by_name["value"].message_type
            kind = f".{held.full_name}" if held else field.kind
            self.assertEqual(f"enum{kind}" if found.enum_type else kind, field.kind)
            self.assertEqual(found.is_repeated, "repeated" in field.words or "map" in field.words)
            oneof = [word[3:] for word in field.words if word.startswith("in:")]
            self.assertEqual([found.containing_oneof.name] if found.containing_oneof else [], oneof)

    def test_messages(self) -> None:
        """
        A message without fields is there too, and one that is there already is left alone.
        """
        file = FileDescriptorProto(name="a/v3/a.proto", package="a.v3")
        file.message_type.add(name="Old").field.add(name="x", number=1, type=FieldDescriptorProto.TYPE_STRING)
        added = [NewerMessage("a/v3/a.proto", name) for name in ("Old", "New")]
        addNewerFields([file], messages=[*added, NewerMessage("b.proto", "B")])
        self.assertEqual([(each.name, len(each.field)) for each in file.message_type], [("Old", 1), ("New", 0)])

    def test_files(self) -> None:
        """
        A file that is lacking is made, and one that is there left alone.
        """
        found = FileDescriptorSet()
        found.file.add(name="a/v3/a.proto", package="a.v3").message_type.add(name="Old")
        addNewerFiles(found, ("a/v3/a.proto", "b/v3/b.proto"))
        told = [(file.name, file.package, file.syntax, len(file.message_type)) for file in found.file]
        self.assertEqual(told, [("a/v3/a.proto", "a.v3", "", 1), ("b/v3/b.proto", "b.v3", "proto3", 0)])

    def test_map(self) -> None:
        """
        A map is read as any other, and its rule is heeded.
        """
        name = "envoy.extensions.formatter.generic_secret.v3.GenericSecret"
        section = Section.of(name, {"secretConfigs": {"a": {"name": "b"}}})
        checkConstraints(section)
        self.assertEqual(section.entries("secret_configs")["a"].get("name"), "b")
        self.assertEqual(section.report.errors, [])
        wrong: list[tuple[dict[str, object], str]] = [
            ({}, "secret_configs"),
            ({"secret_configs": {"a": {}}}, 'secret_configs["a"].name'),
        ]
        for held, path in wrong:
            section = Section.of(name, held)
            checkConstraints(section)
            self.assertEqual([fault.path for fault in section.report.errors], [path])

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
        fields = [NewerField("a/v3/a.proto", "A", name, number, "bool") for name, number in (("old", 2), ("other", 1))]
        addNewerFields([file], [*fields, NewerField("b.proto", "B", "x", 1, "bool")])
        self.assertEqual(file.SerializeToString(), before)
        addNewerFields([file], [NewerField("a/v3/a.proto", "A", "is_new", 2, "bool")])
        (_, added) = file.message_type[0].field
        self.assertEqual((added.name, added.number, added.json_name), ("is_new", 2, "isNew"))

    def test_whatTheyNeed(self) -> None:
        """
        New messages, enumerations and oneofs are made, and the files that hold known ones are imported, before those
        that need them.
        """
        a, b = (FileDescriptorProto(name=f"{name}/v3/{name}.proto", package=f"{name}.v3") for name in "ab")
        b.message_type.add(name="B").nested_type.add(name="C")
        fields = [
            NewerField(a.name, "A.Inner", "c", 1, ".b.v3.B.C", ("repeated",)),
            NewerField(a.name, "A", "inner", 1, ".a.v3.A.Inner", ("in:which", "required")),
            NewerField(a.name, "A", "color", 2, "enum.a.v3.A.Color", ("in:which",)),
        ]
        addNewerFields([a, b], fields, [NewerEnum(a.name, "A.Color", ("RED", "BLUE"))])
        self.assertEqual(list(a.dependency), [b.name])
        self.assertEqual([file.name for file in inOrder([a, b])], [b.name, a.name])
        pool = DescriptorPool()
        for file in inOrder([a, b]):
            pool.AddSerializedFile(file.SerializeToString())
        found = pool.FindMessageTypeByName("a.v3.A")
        self.assertEqual(
            found.oneofs_by_name["which"].fields, [found.fields_by_name[name] for name in ("inner", "color")]
        )
        color, inner = found.fields_by_name["color"].enum_type, found.nested_types_by_name["Inner"]
        held = inner.fields_by_name["c"].message_type
        assert color is not None and held is not None
        self.assertEqual((color.values_by_name["BLUE"].number, held.full_name), (1, "b.v3.B.C"))

    def test_moreValues(self) -> None:
        """
        An enumeration that is there gets the values that it lacks, and no others.
        """
        file = FileDescriptorProto(name="a/v3/a.proto", package="a.v3")
        file.enum_type.add(name="Color").value.add(name="RED", number=0)
        addNewerFields([file], (), [NewerEnum(file.name, "Color", ("GREY", "CRIMSON=0", "BLUE=7"))])
        self.assertEqual([(each.name, each.number) for each in file.enum_type[0].value], [("RED", 0), ("BLUE", 7)])
        section = Section.of("envoy.config.accesslog.v3.LogTypeFilter", {"types": ["TcpConnectionStart"]})
        self.assertEqual((list(section.scalars("types")), section.report.errors), (["TcpConnectionStart"], []))

    def test_refused(self) -> None:
        """
        Those that are not declared are refused at their path, as not implemented, with what is below them read.
        """
        held = {"name": "c", "queuing_policies": {"pending_rq_policy": {"name": "fifo"}}}
        section = Section.of("envoy.config.cluster.v3.Cluster", held)
        BUILT_IN.check(section)
        (fault,) = section.report.errors
        self.assertEqual((fault.path, fault.why), ("queuing_policies", "not implemented by meshproxy"))

    def test_rules(self) -> None:
        """
        What Envoy demands of their values is demanded: a cookie has a name and a text to match.
        """
        held = {"prefix": "/", "cookies": [{"string_match": {"exact": ""}}, {"name": "c"}]}
        section = Section.of("envoy.config.route.v3.RouteMatch", held)
        checkConstraints(section)
        self.assertEqual(
            [fault.path for fault in section.report.errors], ["cookies[0].name", "cookies[1].string_match"]
        )
