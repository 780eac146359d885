# -*- test-case-name: tests.controlplane.snapshot.test_snapshots -*-
"""
All that configurations are made of: the resources of the store, read, and the services that are found in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from meshproxy.controlplane.model.documents import parseObject
from meshproxy.controlplane.model.kinds import findPlural
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.registry.index import Change
from meshproxy.controlplane.registry.registry import ResourceRegistry
from meshproxy.controlplane.store.values import Commit, Entry, Key
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.resourceset import ResourceSet

__all__ = ["SERVICE_KINDS", "Changed", "World"]

#: What services and endpoints are found in.
SERVICE_KINDS = ("WorkloadEntry", "ServiceEntry", "Service")


@dataclass(frozen=True, slots=True)
class Changed:
    """
    A resource that changed.

    @ivar before: What it was, or L{None} if it is new.
    @ivar after: What it is, or L{None} if it is gone.
    """

    before: Resource | None
    after: Resource | None

    @property
    def either(self) -> Resource:
        """
        It, before or after.
        """
        found = self.after or self.before
        assert found is not None
        return found


class World:
    """
    See the module.

    @ivar mesh: What holds for the whole mesh.
    @ivar resources: All resources.
    @ivar registry: The services; its C{index} is what translations take.
    @ivar revision: The revision of the store that this is of.
    """

    _log = Logger()

    def __init__(self, mesh: MeshConfig) -> None:
        self.mesh = mesh
        self.resources = ResourceSet()
        self.registry = ResourceRegistry(mesh.domain)
        self.revision = 0
        self._byKey: dict[Key, Resource] = {}
        self._changesServices = True

    def load(self, entries: Iterable[Entry], revision: int) -> None:
        """
        Begin with what there is.
        """
        self._byKey = {}
        for entry in entries:
            resource = self._read(entry)
            if resource is not None:
                self._byKey[entry.key] = resource
        self.revision = revision
        self._changesServices = True
        self.settle()

    def take(self, commit: Commit) -> Sequence[Changed]:
        """
        Note a commit. What is made of all of it is made by L{settle}, once for several commits.
        """
        changes = []
        for written in commit.changes:
            before = self._byKey.pop(written.key, None)
            after = None if written.after is None else self._read(written.after)
            if after is not None:
                self._byKey[written.key] = after
            if before is not None or after is not None:
                changed = Changed(before, after)
                changes.append(changed)
                self._changesServices = self._changesServices or changed.either.kind in SERVICE_KINDS
        self.revision = commit.revision
        return changes

    def settle(self) -> Change:
        """
        Put in order what was noted.

        @return: What that changes of the services.
        """
        self.resources = ResourceSet(self._byKey.values())
        if not self._changesServices:
            return Change()
        self._changesServices = False
        return self.registry.apply(self._byKey.values())

    def having(self, more: Iterable[Resource] = ()) -> list[Resource]:
        """
        All resources, as they would be with more of them applied.
        """
        held = {resource.key: resource for resource in self._byKey.values()}
        return list({**held, **{resource.key: resource for resource in more}}.values())

    def _read(self, entry: Entry) -> Resource | None:
        group, _, plural = entry.key.collection.rpartition("/")
        if findPlural(group, plural) is None:
            return None
        resource, problems = parseObject(entry.document, entry.key.namespace)
        if resource is None:
            # It was valid when it was written: an older, or newer, version of this program wrote it.
            self._log.error("{key} is left out: {problems}", key=str(entry.key), problems="; ".join(map(str, problems)))
        return resource
