# -*- test-case-name: tests.controlplane.api.test_selectors -*-
"""
Kubernetes' label and field selectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.controlplane.api.replies import Refused

__all__ = ["Matches", "fieldSelector", "labelSelector", "labelsOf"]

Matches = Callable[[Mapping[str, Any]], bool]
"""
Whether a document is selected.
"""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!)\s*)?(?P<name>{_NAME})"
    rf"(?:\s*(?P<operator>==?|!=)\s*(?P<value>{_VALUE})|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?\s*"
)
_FIELDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "metadata.name": lambda metadata: str(metadata.get("name", "")),
    "metadata.namespace": lambda metadata: str(metadata.get("namespace", "")),
}


def labelsOf(document: Mapping[str, Any]) -> Mapping[str, str]:
    """
    The labels of a document.
    """
    metadata = document.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return labels if isinstance(labels, dict) else {}


def labelSelector(text: str) -> Matches:
    """
    C{app=reviews,version!=v1,tier in (a, b),!canary}: all of it must hold.

    @raise Refused: If it cannot be read; it says where.
    """
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    place = 0
    while place < len(text):
        found = _REQUIREMENT.match(text, place)
        if found is None or (found.end() < len(text) and text[found.end()] != ","):
            raise Refused(400, f"the label selector {text!r} cannot be read from character {place + 1} on")
        tests.append(_labelTest(found))
        place = found.end() + 1
    return lambda document: all(test(labelsOf(document)) for test in tests)


def _labelTest(found: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    name = found["name"]
    if found["absent"]:
        if found["operator"] or found["set"]:
            raise Refused(400, f"the label selector {found[0].strip()!r} asks for absence and for a value")
        return lambda labels: name not in labels
    if found["set"]:
        values = {value.strip() for value in found["values"].split(",")}
        if found["set"] == "in":
            return lambda labels: labels.get(name) in values
        return lambda labels: labels.get(name) not in values
    if found["operator"] == "!=":
        return lambda labels: labels.get(name) != found["value"]
    if found["operator"]:
        return lambda labels: labels.get(name) == found["value"]
    return lambda labels: name in labels


def fieldSelector(text: str) -> Matches:
    """
    C{metadata.name=reviews,metadata.namespace!=default}; no other fields can be selected by.

    @raise Refused: If it cannot be read, or names another field.
    """
    tests: list[tuple[Callable[[Mapping[str, Any]], str], str, bool]] = []
    for part in filter(None, text.split(",")):
        name, operator, value = _fieldPart(part)
        if name not in _FIELDS:
            raise Refused(400, f"the field selector {part!r}: fields are {', '.join(_FIELDS)}")
        tests.append((_FIELDS[name], value, operator != "!="))
    return lambda document: all((get(document["metadata"]) == value) is same for get, value, same in tests)


def _fieldPart(part: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"\s*([^=!\s]+)\s*(==?|!=)\s*(\S*)\s*", part)
    if found is None:
        raise Refused(400, f"the field selector {part!r} is not of the form FIELD=VALUE or FIELD!=VALUE")
    return found[1], found[2], found[3]
