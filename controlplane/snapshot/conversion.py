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
from meshproxy.controlplane.snapshot.snapshot import Resources, Snapshot, Versioned, versioned, versionedBytes
from meshproxy.controlplane.translate.messages import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, messageOf
from meshproxy.controlplane.translate.translation import Translation

__all__ = ["Converter"]

# What stays the same object where it does not change, while routes are made again at each change.
_LASTING = (CLUSTER, ENDPOINTS, LISTENER)

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
        # What proxies share, by identity.
        self._bases: dict[int, tuple[Translation, Mapping[str, Mapping[str, Versioned]]]] = {}

    def renew(self, everything: bool = True) -> None:
        """
        Routes will come as other objects from now on.

        @param everything: And so will the rest.
        """
        self._fleeting = {}
        self._bases = {}
        if everything or len(self._lasting) > _MOST_LASTING:
            self._lasting = {}

    def snapshot(self, translation: Translation, before: Snapshot | None = None) -> Snapshot:
        """
        What a translation comes to.

        @param before: What to share with, where nothing changed.
        """
        made: dict[str, Resources] = {}
        base, own = self._base(translation.base), translation.own or translation
        for typeName, values in _parts(own):
            typeURL = TYPE_URL_PREFIX + typeName
            new = Resources({**base.get(typeName, {}), **self.convert(typeName, values)})
            old = before.ofType(typeURL) if before is not None else Resources()
            made[typeURL] = old if new == old else new
        return Snapshot(made)

    def _base(self, base: Translation | None) -> Mapping[str, Mapping[str, Versioned]]:
        """
        What proxies share, converted once for all of them.
        """
        if base is None:
            return {}
        known = self._bases.get(id(base))
        if known is None:
            converted = {typeName: self.convert(typeName, values) for typeName, values in _parts(base)}
            known = self._bases[id(base)] = base, converted
        return known[1]

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
        if typeName == ROUTES:
            # Most of its virtual hosts stay: to put their bytes together costs less than to know all of it again.
            return self._routes(value)
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

    def _routes(self, value: Any) -> Versioned:
        """
        A C{RouteConfiguration}, its virtual hosts one by one.
        """
        rest = {name: held for name, held in value.items() if name not in ("name", "virtualHosts")}
        # In the order of the numbers of the fields, as the whole message would be written.
        parts = [_bytesOf(ROUTES, {"name": value["name"]})]
        for host in value.get("virtualHosts", ()):
            same = self._lasting.get(id(host))
            if same is None:
                data = _bytesOf(_HOST, host)
                same = self._lasting[id(host)] = host, Versioned(_TAG + _varint(len(data)) + data, "")
            parts.append(same[1].value)
        parts.append(_bytesOf(ROUTES, rest))
        return versionedBytes(b"".join(parts))


def _parts(translation: Translation) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """
    The messages of a translation, by type.
    """
    return (
        (LISTENER, translation.listeners),
        (ROUTES, translation.routes),
        (CLUSTER, translation.clusters),
        (ENDPOINTS, translation.endpoints),
        (SECRET, translation.secrets),
    )


_HOST = "envoy.config.route.v3.VirtualHost"

#: Field 2, of a length that is told: C{virtual_hosts}.
_TAG = b"\x12"


def _bytesOf(typeName: str, value: Any) -> bytes:
    data: bytes = messageOf(typeName, value).SerializeToString(deterministic=True)
    return data


def _varint(number: int) -> bytes:
    """
    A number as protobuf writes lengths: seven bits a byte, the lowest first.
    """
    told = bytearray()
    while number > 0x7F:
        told.append(number & 0x7F | 0x80)
        number >>= 7
    told.append(number)
    return bytes(told)
