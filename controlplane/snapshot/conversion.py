# -*- test-case-name: tests.controlplane.snapshot.test_conversion -*-
"""
Messages in protobuf's JSON form to what is sent.

Most proxies get mostly the same: what was converted for one is not converted again for the next, nor after a change
that did not touch it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshproxy.config.pool import TYPE_URL_PREFIX
from meshproxy.controlplane.snapshot.snapshot import Snapshot, Versioned, versioned
from meshproxy.controlplane.translate.messages import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, messageOf
from meshproxy.controlplane.translate.translation import Translation

__all__ = ["Converter"]

# What proxies have in common, so that it comes as the same object again and again.
_COMMON = (CLUSTER, ENDPOINTS)

_MOST = 50_000
"""
Conversions that are remembered. When there are more, those that nobody asked for since the last time go.
"""


class Converter:
    """
    Converts, and remembers by content.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Versioned] = {}
        self._older: dict[tuple[str, str], Versioned] = {}
        # The same by identity; the object is held, so that no other gets its identity.
        self._same: dict[int, tuple[Any, Versioned]] = {}

    def renew(self) -> None:
        """
        What is common will come as other objects from now on.
        """
        self._same = {}

    def snapshot(self, translation: Translation, before: Snapshot | None = None) -> Snapshot:
        """
        What a translation comes to.

        @param before: What to share with, where nothing changed.
        """
        made: dict[str, Mapping[str, Versioned]] = {}
        for typeName, values in (
            (LISTENER, translation.listeners),
            (ROUTES, translation.routes),
            (CLUSTER, translation.clusters),
            (ENDPOINTS, translation.endpoints),
            (SECRET, translation.secrets),
        ):
            typeURL = TYPE_URL_PREFIX + typeName
            new = self.convert(typeName, values)
            old = before.ofType(typeURL) if before is not None else {}
            made[typeURL] = old if new == old else new
        return Snapshot(made)

    def convert(self, typeName: str, values: Mapping[str, Any]) -> dict[str, Versioned]:
        """
        Messages of one type, by name.
        """
        if typeName not in _COMMON:
            return {name: self._convert(typeName, value) for name, value in values.items()}
        made = {}
        for name, value in values.items():
            same = self._same.get(id(value))
            if same is None:
                same = self._same[id(value)] = value, self._convert(typeName, value)
            made[name] = same[1]
        return made

    def _convert(self, typeName: str, value: Any) -> Versioned:
        key = (typeName, json.dumps(value, separators=(",", ":")))
        found = self._known.get(key)
        if found is None:
            found = self._older.pop(key, None)
            if found is None:
                found = versioned(messageOf(typeName, value))
            if len(self._known) >= _MOST:
                self._older, self._known = self._known, {}
            self._known[key] = found
        return found
