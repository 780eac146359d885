# -*- test-case-name: tests.controlplane.api.test_kubernetes -*-
"""
The values of secrets are for who may issue identities, and for nobody else who may read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.controlplane.api.access import Principal, Role
from meshproxy.controlplane.model.kinds import Kind

__all__ = ["redacted"]

_VALUES = ("data", "stringData")
#: What kubectl apply keeps of a whole resource; it has the values too.
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def redacted(kind: Kind, document: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
    """
    A document as somebody may see it: of a secret the names, with empty values.
    """
    shown = dict(document)
    if not kind.isSecret or Role.ISSUE in principal.roles:
        return shown
    for name in _VALUES:
        if isinstance(shown.get(name), Mapping):
            shown[name] = dict.fromkeys(shown[name], "")
    annotations = shown["metadata"].get("annotations")
    if isinstance(annotations, Mapping) and _APPLIED in annotations:
        kept = {key: value for key, value in annotations.items() if key != _APPLIED}
        shown["metadata"] = {**shown["metadata"], "annotations": kept}
    return shown
