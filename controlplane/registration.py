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
            if self._isOwn(entry) and entry.key not in self._leaving:
                self._leaving[entry.key] = self._reactor.callLater(_PATIENCE, self._forget, entry.key)
        for key in list(self._present):
            self._do(self._settle, key)

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
        self._do(self._settle, workload.key)

    def _left(self, workload: _Workload) -> None:
        streams = self._present[workload.key]
        streams.remove(workload)
        if not streams:
            del self._present[workload.key]
        if not self._isStopped:
            self._do(self._settle, workload.key)

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
            if key in gone or any(one.groupKey in there for one in workloads):
                self._do(self._settle, key)

    def watchLost(self, error: Exception) -> None:
        """
        See L{IWatcher}.
        """
        if not self._isStopped:
            self.start().addErrback(lambda why: self._log.failure("the store cannot be read", why))

    def _do(self, work: Callable[[Key], Any], key: Key) -> None:
        def run() -> Deferred[None]:
            return Deferred.fromCoroutine(work(key))

        done = self._lock.run(run)
        done.addErrback(lambda why: self._log.failure("a workload could not be registered", why))

    async def _settle(self, key: Key) -> None:
        """
        Write the entry of who is there, or let it go after a while.
        """
        before: Entry | None = await self._objects.store.get(key)
        group, workload = await self._rightful(key, before)
        if workload is None:
            mayStay = before is None or not self._isOwn(before) or self._isStopped
            if not mayStay and key not in self._leaving:
                self._leaving[key] = self._reactor.callLater(_GRACE, self._forget, key)
            return
        call = self._leaving.pop(key, None)
        if call is not None:
            call.cancel()
        if group is not None:
            await self._register(workload, group)

    async def _register(self, workload: _Workload, group: Entry) -> None:
        try:
            wish = self._objects.wish(_ENTRIES, workload.namespace, _document(workload, group.document))
            (outcome,) = await self._objects.write([wish], _AUTHOR, f"{workload.name} is connected")
        except Refused as refused:
            self._log.warn("{name} is not registered: {why}", name=workload.name, why=str(refused))
            return
        self._log.info("WorkloadEntry {name} {action}", name=workload.name, action=outcome.action)

    async def _rightful(self, key: Key, before: Entry | None) -> tuple[Entry | None, _Workload | None]:
        """
        Who may have an entry of those that ask for it: the one that came last of those with the service account of the
        group. Others do not count, whatever they say of where they are, or they could take the entry of somebody else
        away, or keep it when that is gone.

        @return: The group, and who it is; without a group who keeps what there is.
        """
        for workload in [*reversed(self._present.get(key, ()))]:
            found: Entry | None = await self._objects.store.get(workload.groupKey)
            why = self._whyNot(workload, found, before)
            if not why:
                return found, workload
            self._log.warn("{name} is not registered: {why}", name=workload.name, why=why)
        return None, None

    def _whyNot(self, workload: _Workload, group: Entry | None, before: Entry | None) -> str:
        if group is None and before is None:
            return f"there is no WorkloadGroup {workload.namespace}/{workload.group}"
        if before is not None and not self._isOwn(before):
            return "somebody else made that WorkloadEntry"
        account = _accountOf(group, before)
        if account != workload.serviceAccount:
            return f"its service account is {workload.serviceAccount!r}, that of the group is {account!r}"
        return ""

    async def _remove(self, key: Key) -> None:
        found: Entry | None = await self._objects.store.get(key)
        if found is None or not self._isOwn(found) or (await self._rightful(key, found))[1] is not None:
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


def _accountOf(group: Entry | None, entry: Entry | None) -> str:
    """
    The service account of a group; when it is gone, that which its entry has, which stays with its proxy.
    """
    told: Mapping[str, Any] = {}
    if group is not None:
        told = _part(_part(group.document, "spec"), "template")
    elif entry is not None:
        told = _part(entry.document, "spec")
    return str(told.get("serviceAccount") or "default")


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
