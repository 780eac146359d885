# -*- test-case-name: tests.admin.explain.test_place -*-
"""
Where parts of a configuration come from, as answers tell it.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.section import Section

__all__ = ["Answer", "originOf", "placeOf"]

#: An answer, or a part of one: what can be written as JSON.
Answer = dict[str, Any]


def placeOf(section: Section, field: str = "") -> str:
    """
    Where something stands: C{envoy.yaml:12}, or its path where there is no text.
    """
    place = section.placeOf(field) if field else section.place
    if place.line:
        return f"{place.file or 'configuration'}:{place.line}"
    return section.pathOf(field)


def originOf(section: Section) -> Answer:
    """
    What a control plane says that a part of the configuration comes from, as Istio's metadata tells it.
    """
    told = section.message.metadata.filter_metadata
    if "istio" not in told or "config" not in told["istio"]:
        return {}
    names = ("config", "field", "delegate", "delegateField")
    return {"origin": {name: str(told["istio"][name]) for name in names if name in told["istio"]}}
