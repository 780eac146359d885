# -*- test-case-name: tests.controlplane.snapshot.test_snapshot -*-
"""
The configuration of one proxy at one version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshproxy.config.pool import TYPE_URL_PREFIX

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["EMPTY", "Snapshot", "Versioned", "versioned"]


@dataclass(frozen=True, slots=True)
class Versioned:
    """
    A resource as it is sent.

    @ivar value: The message, serialized.
    @ivar version: The same for the same bytes, another for others.
    """

    value: bytes
    version: str


def versioned(message: Message) -> Versioned:
    """
    A message with its version.
    """
    value: bytes = message.SerializeToString(deterministic=True)
    return Versioned(value, hashlib.blake2b(value, digest_size=8).hexdigest())


_Resources = Mapping[str, Versioned]


@dataclass(frozen=True)
class Snapshot:
    """
    Resources by type URL and name. It is never changed; what stays the same from one to the next is shared.
    """

    resources: Mapping[str, _Resources] = field(default_factory=dict)
    # Versions that were asked for.
    _versions: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, messages: Mapping[str, Mapping[str, Message]], before: Snapshot | None = None) -> Snapshot:
        """
        @param messages: By the full name of their type, and by their own.
        @param before: What to share with, where nothing changed.
        """
        made: dict[str, _Resources] = {}
        for typeName, named in messages.items():
            typeURL = TYPE_URL_PREFIX + typeName
            old = before.ofType(typeURL) if before is not None else {}
            new = {name: _shared(versioned(message), old.get(name)) for name, message in named.items()}
            made[typeURL] = old if new == old else new
        return cls(made)

    def ofType(self, typeURL: str) -> _Resources:
        """
        The resources of a type.
        """
        return self.resources.get(typeURL, {})

    def replacing(self, typeURL: str, changed: Mapping[str, Versioned]) -> Snapshot:
        """
        The same with some resources of a type anew.
        """
        return Snapshot({**self.resources, typeURL: {**self.ofType(typeURL), **changed}})

    def version(self, typeURL: str) -> str:
        """
        The version of all resources of a type together.
        """
        known = self._versions.get(typeURL)
        if known is None:
            told = "\n".join(f"{name}\t{one.version}" for name, one in sorted(self.ofType(typeURL).items()))
            known = self._versions[typeURL] = hashlib.blake2b(told.encode("utf-8"), digest_size=8).hexdigest()
        return known


def _shared(new: Versioned, old: Versioned | None) -> Versioned:
    return old if old is not None and old == new else new


EMPTY = Snapshot()
"""
Nothing.
"""
