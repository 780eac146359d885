# -*- test-case-name: tests.upstream.test_plain -*-
"""
Messages of a configuration as plain data.
"""

from __future__ import annotations

from meshproxy.config import Section

__all__ = ["metadataOf", "plainStruct"]


def metadataOf(section: Section) -> dict[str, dict[str, object]]:
    """
    The C{filter_metadata} of a C{core.v3.Metadata} message as plain data.
    """
    return {name: plainStruct(value.message) for name, value in section.entries("filter_metadata").items()}


def plainStruct(struct: object) -> dict[str, object]:
    """
    A C{google.protobuf.Struct} as plain data.
    """
    return {key: _plainValue(value) for key, value in struct.fields.items()}  # type: ignore[attr-defined]  # dynamic


def _plainValue(value: object) -> object:
    kind = value.WhichOneof("kind")  # type: ignore[attr-defined]  # dynamic
    if kind == "struct_value":
        return plainStruct(value.struct_value)  # type: ignore[attr-defined]  # dynamic
    if kind == "list_value":
        return [_plainValue(item) for item in value.list_value.values]  # type: ignore[attr-defined]  # dynamic
    return None if kind in (None, "null_value") else getattr(value, kind)
