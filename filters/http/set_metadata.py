# -*- test-case-name: tests.filters.http.test_set_metadata -*-
"""
C{envoy.filters.http.set_metadata}: notes fixed values in the dynamic metadata of each request.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.metadata import mergeInto, noteMetadata
from meshproxy.interfaces import IHTTPStream

__all__ = ["Note", "SetMetadata"]

_PACKAGE = "envoy.extensions.filters.http.set_metadata.v3."

declare(_PACKAGE + "Config", "metadata_namespace", "value", "metadata")
declare(_PACKAGE + "Metadata", "metadata_namespace", "allow_overwrite", "value")


class Note(NamedTuple):
    """
    What is noted.

    @ivar merges: Whether it is merged into what is there, rather than left out.
    """

    namespace: str
    values: dict[str, Any]
    merges: bool


class SetMetadata(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    configType = _PACKAGE + "Config"

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> tuple[Note, ...]:
        notes = []
        if section.get("metadata_namespace") and section.has("value"):
            notes.append(Note(section.get("metadata_namespace"), MessageToDict(section.message.value), True))
        for held in section.children("metadata"):
            if not held.has("value"):
                continue
            values = MessageToDict(held.message.value)
            notes.append(Note(held.get("metadata_namespace"), values, held.get("allow_overwrite")))
        return tuple(notes)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> None:
        notes: tuple[Note, ...] = stream.routeConfig(self.context.name) or self.config
        for namespace, values, merges in notes:
            there = (stream.dynamicMetadata or {}).get(namespace)
            # A copy, since others may change what they find.
            if there is None:
                noteMetadata(stream, namespace, deepcopy(values))
            elif merges:
                mergeInto(there, deepcopy(values))
