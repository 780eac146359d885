# -*- test-case-name: tests.controlplane.test_registration -*-
"""
Workloads that tell of themselves: a proxy that names a WorkloadGroup (C{AUTO_REGISTER_GROUP} of its node's metadata)
has a WorkloadEntry made of the group's template, as long as it is connected and a little longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.controlplane.api.objects import Objects, Wish, collectionOf
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.model.kinds import Kind, findKind
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.store.interfaces import IWatcher
from meshproxy.controlplane.store.values import Commit, Entry, Key, Listing
from meshproxy.controlplane.translate.proxy import proxyOf
from meshproxy.controlplane.xds.server import ISource

__all__ = ["GROUP", "Registration"]

#: What a WorkloadEntry that was made for a proxy is known by: the name of its group, in an annotation.
GROUP = "istio.io/autoRegistrationGroup"

_AUTHOR = "auto-registration"

_GRACE = 10.0
"""
Seconds that an entry stays when its proxy is gone, which may come again at once.
"""

_PATIENCE = 60.0
"""
Seconds that proxies have to come again after a start: their pauses grow to half a minute.
"""


def _kind(name: str) -> Kind:
    kind = findKind("networking.istio.io/v1", name)
    assert kind is not None
    return kind


_GROUPS, _ENTRIES = _kind("WorkloadGroup"), _kind("WorkloadEntry")


@frozen
class _Workload:
    """
    What a proxy says of its workload.
    """

    namespace: str
    group: str
    name: str
    address: str
    serviceAccount: str
    labels: Mapping[str, str]
    locality: str
    network: str

    @property
    def key(self) -> Key:
        """
        Where its entry is in the store.
        """
        return Key(collectionOf(_ENTRIES), self.namespace, self.name)

    @property
    def groupKey(self) -> Key:
        """
        Where its group is.
        """
        return Key(collectionOf(_GROUPS), self.namespace, self.group)


def _workload(node: Mapping[str, Any]) -> _Workload | None:
    """
    The workload of a proxy that names a group, and says where it is.
    """
    group = str((node.get("metadata") or {}).get("AUTO_REGISTER_GROUP") or "")
    proxy = proxyOf(node)
    if not group or not proxy.addresses:
        return None
    address = proxy.addresses[0]
    # As Istio names them, so that two proxies at one address of one network are one workload.
    name = "-".join(filter(None, (group, address.replace(":", "-"), proxy.network)))
    return _Workload(
        proxy.namespace,
        group,
        name,
        address,
        proxy.serviceAccount,
        proxy.labels,
        proxy.locality,
        proxy.network,
    )


@implementer(IWatcher)
class Registration:
    """
    Stands before the source of configurations, and sees who comes and goes. See the module.
    """

    _log = Logger()

    def __init__(self, source: ISource, objects: Objects, reactor: Any) -> None:
        """
        @param reactor: C{IReactorTime}.
        """
        self._source = source
        self._objects = objects
        self._reactor = reactor
        self._present: dict[Key, list[_Workload]] = {}
        self._leaving: dict[Key, Any] = {}
        # One write after the other, so that who goes and comes again is there in the end.
        self._lock = DeferredLock()
        self._watch: Any = None
        self._isStopped = False

    def start(self) -> Deferred[None]:
        """
        Look who is there of those that were made before.
        """
        self._isStopped = False
        found: Deferred[Listing] = self._objects.store.listing()
        return found.addCallback(self._load)

    def _load(self, listing: Listing) -> None:
        if self._isStopped:
            return
        self._watch = self._objects.store.watch(self, listing.revision)
        for entry in listing.entries:
            if self._isOwn(entry) and entry.key not in self._present and entry.key not in self._leaving:
                self._leaving[entry.key] = self._reactor.callLater(_PATIENCE, self._forget, entry.key)
        for workloads in list(self._present.values()):
            self._do(self._register, workloads[-1])

    def stop(self) -> None:
        """
        Leave all as it is: proxies come again.
        """
        self._isStopped = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for call in self._leaving.values():
            call.cancel()
        self._leaving.clear()

    # Proxies

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        See L{ISource}.
        """
        detach = self._source.attach(node, changed)
        workload = _workload(node)
        if workload is None:
            return detach
        self._came(workload)

        def gone() -> None:
            detach()
            self._left(workload)

        return gone

    def _came(self, workload: _Workload) -> None:
        self._present.setdefault(workload.key, []).append(workload)
        call = self._leaving.pop(workload.key, None)
        if call is not None:
            call.cancel()
        self._do(self._register, workload)

    def _left(self, workload: _Workload) -> None:
        streams = self._present[workload.key]
        streams.remove(workload)
        if streams:
            return
        del self._present[workload.key]
        if not self._isStopped:
            self._leaving[workload.key] = self._reactor.callLater(_GRACE, self._forget, workload.key)

    def _forget(self, key: Key) -> None:
        del self._leaving[key]
        self._do(self._remove, key)

    # The store

    def committed(self, commit: Commit) -> None:
        """
        See L{IWatcher}: a group came, or says something else; or somebody took an entry away whose proxy is there, with
        others perhaps.
        """
        there = {one.key for one in commit.changes if one.after is not None}
        gone = {one.key for one in commit.changes if one.after is None}
        for key, workloads in list(self._present.items()):
            if workloads[-1].groupKey in there or key in gone:
                self._do(self._register, workloads[-1])

    def watchLost(self, error: Exception) -> None:
        """
        See L{IWatcher}.
        """
        if not self._isStopped:
            self.start().addErrback(lambda why: self._log.failure("the store cannot be read", why))

    def _do(self, work: Callable[[Any], Any], what: _Workload | Key) -> None:
        def run() -> Deferred[None]:
            return Deferred.fromCoroutine(work(what))

        done = self._lock.run(run)
        done.addErrback(lambda why: self._log.failure("a workload could not be registered", why))

    async def _register(self, workload: _Workload) -> None:
        if workload.key not in self._present:
            return
        found: Entry | None = await self._objects.store.get(workload.groupKey)
        before: Entry | None = await self._objects.store.get(workload.key)
        why = self._whyNot(workload, found, before)
        if why or found is None:
            self._log.warn("{name} is not registered: {why}", name=workload.name, why=why)
            return
        try:
            wish = self._objects.wish(_ENTRIES, workload.namespace, _document(workload, found.document))
            (outcome,) = await self._objects.write([wish], _AUTHOR, f"{workload.name} is connected")
        except Refused as refused:
            self._log.warn("{name} is not registered: {why}", name=workload.name, why=str(refused))
            return
        self._log.info("WorkloadEntry {name} {action}", name=workload.name, action=outcome.action)

    def _whyNot(self, workload: _Workload, group: Entry | None, before: Entry | None) -> str:
        if group is None:
            return f"there is no WorkloadGroup {workload.namespace}/{workload.group}"
        if before is not None and not self._isOwn(before):
            return "somebody else made that WorkloadEntry"
        template = _part(_part(group.document, "spec"), "template")
        account = str(template.get("serviceAccount") or "default")
        if account != workload.serviceAccount:
            return f"its service account is {workload.serviceAccount!r}, that of the group is {account!r}"
        return ""

    async def _remove(self, key: Key) -> None:
        found: Entry | None = await self._objects.store.get(key)
        if key in self._present or found is None or not self._isOwn(found):
            return
        wish = Wish(_ENTRIES, key.namespace, key.name, None, found.revision)
        await self._objects.write([wish], _AUTHOR, f"{key.name} is gone")
        self._log.info("WorkloadEntry {name} deleted", name=key.name)

    def _isOwn(self, entry: Entry) -> bool:
        if entry.key.collection != collectionOf(_ENTRIES):
            return False
        return GROUP in _part(_part(entry.document, "metadata"), "annotations")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


def _document(workload: _Workload, group: Mapping[str, Any]) -> dict[str, Any]:
    """
    The entry of a workload: what its group says, and what it says itself. Of labels the group's count: by them services
    find their workloads, and a proxy is not to be one of a service that it was not meant for.
    """
    spec = _part(group, "spec")
    common, template = _part(spec, "metadata"), _part(spec, "template")
    own = {"address": workload.address, "locality": workload.locality, "network": workload.network}
    labels = {**workload.labels, **_part(template, "labels"), **_part(common, "labels")}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "labels": labels,
            "annotations": {**_part(common, "annotations"), GROUP: workload.group},
        },
        "spec": {**template, **{name: value for name, value in own.items() if value}, "labels": labels},
    }
