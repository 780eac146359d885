# -*- test-case-name: tests.controlplane.snapshot.test_snapshot -*-
"""
The configuration of one proxy at one version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshproxy.config.pool import TYPE_URL_PREFIX

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["EMPTY", "Resources", "Snapshot", "Versioned", "versioned", "versionedBytes"]


@dataclass(frozen=True, slots=True)
class Versioned:
    """
    A resource as it is sent.

    @ivar value: The message, serialized.
    @ivar version: The same for the same bytes, another for others.
    @ivar number: Likewise, to be added up.
    """

    value: bytes
    version: str
    number: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.version.encode("utf-8"), digest_size=16).digest()
        object.__setattr__(self, "number", int.from_bytes(digest, "big"))


def versioned(message: Message) -> Versioned:
    """
    A message with its version.
    """
    return versionedBytes(message.SerializeToString(deterministic=True))


def versionedBytes(value: bytes) -> Versioned:
    """
    A serialized message with its version.
    """
    return Versioned(value, hashlib.blake2b(value, digest_size=8).hexdigest())


class Resources(dict[str, Versioned]):
    """
    The resources of a type, by name. They are never changed.

    @ivar mark: By which these are known, and no others.
    @ivar basis: The mark of others from which these differ in little; L{None} where that is not known.
    @ivar changed: In what: names that are new, or stand for something else. Nothing is gone.
    """

    __slots__ = ("_total", "basis", "changed", "mark")

    def __init__(
        self,
        resources: Mapping[str, Versioned] | Iterable[tuple[str, Versioned]] = (),
        basis: object = None,
        changed: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(resources)
        self.mark = object()
        self.basis = basis
        self.changed = changed
        self._total: int | None = None

    @property
    def total(self) -> int:
        """
        The sum of the versions: another one for other resources, whatever the order.
        """
        if self._total is None:
            self._total = sum(one.number for one in self.values())
        return self._total

    def replacing(self, changed: Mapping[str, Versioned]) -> Resources:
        """
        The same with some of them anew. What did not change is not looked at again.
        """
        made = Resources({**self, **changed}, self.mark, frozenset(changed))
        if self._total is not None:
            gone = sum(self[name].number for name in changed if name in self)
            made._total = self._total - gone + sum(one.number for one in changed.values())
        return made

    def changedSince(self, other: Mapping[str, Versioned] | None) -> frozenset[str] | None:
        """
        In what these differ from others, where that is known without looking.
        """
        if other is self:
            return frozenset()
        return self.changed if isinstance(other, Resources) and other.mark is self.basis else None


_NONE = Resources()

_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Snapshot:
    """
    Resources by type URL and name. It is never changed; what stays the same from one to the next is shared.
    """

    resources: Mapping[str, Resources] = field(default_factory=dict)
    # Versions that were asked for.
    _versions: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, messages: Mapping[str, Mapping[str, Message]], before: Snapshot | None = None) -> Snapshot:
        """
        @param messages: By the full name of their type, and by their own.
        @param before: What to share with, where nothing changed.
        """
        made: dict[str, Resources] = {}
        for typeName, named in messages.items():
            typeURL = TYPE_URL_PREFIX + typeName
            old = before.ofType(typeURL) if before is not None else _NONE
            new = Resources((name, _shared(versioned(message), old.get(name))) for name, message in named.items())
            made[typeURL] = old if new == old else new
        return cls(made)

    def ofType(self, typeURL: str) -> Resources:
        """
        The resources of a type.
        """
        return self.resources.get(typeURL, _NONE)

    def replacing(self, typeURL: str, changed: Mapping[str, Versioned]) -> Snapshot:
        """
        The same with some resources of a type anew.
        """
        made = Snapshot({**self.resources, typeURL: self.ofType(typeURL).replacing(changed)})
        made._versions.update((name, known) for name, known in self._versions.items() if name != typeURL)
        return made

    def version(self, typeURL: str) -> str:
        """
        The version of all resources of a type together.
        """
        known = self._versions.get(typeURL)
        if known is None:
            known = self._versions[typeURL] = f"{self.ofType(typeURL).total & _MASK:016x}"
        return known


def _shared(new: Versioned, old: Versioned | None) -> Versioned:
    return old if old is not None and old == new else new


EMPTY = Snapshot()
"""
Nothing.
"""
