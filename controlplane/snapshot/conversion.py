# -*- test-case-name: tests.controlplane.snapshot.test_conversion -*-
"""
Messages in protobuf's JSON form to what is sent.

Most proxies get mostly the same: what was converted for one is not converted again for the next, nor after a change
that did not touch it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from meshproxy.config.pool import TYPE_URL_PREFIX
from meshproxy.controlplane.snapshot.snapshot import Resources, Snapshot, Versioned, versioned
from meshproxy.controlplane.translate.messages import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, messageOf
from meshproxy.controlplane.translate.translation import Translation

__all__ = ["Converter"]

# What stays the same object where it does not change, while listeners and routes are made again at each change.
_LASTING = (CLUSTER, ENDPOINTS)

_MOST = 64 << 20
"""
Bytes that are remembered. When there are more, those that nobody asked for since the last time go.
"""


_ENTRY = 200
"""
Bytes that remembering takes beside what is remembered.
"""


_MOST_LASTING = 50_000
"""
Objects that are held because they may come again.
"""


class Converter:
    """
    Converts, and remembers by content.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Versioned] = {}
        self._older: dict[bytes, Versioned] = {}
        self._size = 0
        # The same by identity; the object is held, so that no other gets its identity.
        self._lasting: dict[int, tuple[Any, Versioned]] = {}
        self._fleeting: dict[int, tuple[Any, Versioned]] = {}

    def renew(self, everything: bool = True) -> None:
        """
        Listeners and routes will come as other objects from now on.

        @param everything: And so will the rest.
        """
        self._fleeting = {}
        if everything or len(self._lasting) > _MOST_LASTING:
            self._lasting = {}

    def snapshot(self, translation: Translation, before: Snapshot | None = None) -> Snapshot:
        """
        What a translation comes to.

        @param before: What to share with, where nothing changed.
        """
        made: dict[str, Resources] = {}
        for typeName, values in (
            (LISTENER, translation.listeners),
            (ROUTES, translation.routes),
            (CLUSTER, translation.clusters),
            (ENDPOINTS, translation.endpoints),
            (SECRET, translation.secrets),
        ):
            typeURL = TYPE_URL_PREFIX + typeName
            new = Resources(self.convert(typeName, values))
            old = before.ofType(typeURL) if before is not None else Resources()
            made[typeURL] = old if new == old else new
        return Snapshot(made)

    def convert(self, typeName: str, values: Mapping[str, Any]) -> dict[str, Versioned]:
        """
        Messages of one type, by name.
        """
        known = self._lasting if typeName in _LASTING else self._fleeting
        made = {}
        for name, value in values.items():
            same = known.get(id(value))
            if same is None:
                same = known[id(value)] = value, self._convert(typeName, value)
            made[name] = same[1]
        return made

    def _convert(self, typeName: str, value: Any) -> Versioned:
        text = json.dumps([typeName, value], separators=(",", ":"))
        key = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
        found = self._known.get(key)
        if found is None:
            found = self._older.pop(key, None)
            if found is None:
                found = versioned(messageOf(typeName, value))
            if self._size >= _MOST:
                self._older, self._known, self._size = self._known, {}, 0
            self._known[key] = found
            self._size += len(found.value) + _ENTRY
        return found
