# -*- test-case-name: tests.controlplane.snapshot.test_snapshots -*-
"""
The snapshot of each proxy that is connected: made when it comes, and again when something changes that concerns it.

Changes that come close together are taken together. One proxy is served after the other, each in a turn of its own of
the reactor, so that the API answers meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Key as ResourceKey
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.registry.services import ServiceKey
from meshproxy.controlplane.snapshot.conversion import Converter
from meshproxy.controlplane.snapshot.snapshot import Snapshot, Versioned
from meshproxy.controlplane.snapshot.world import SERVICE_KINDS, Changed, World
from meshproxy.controlplane.store.interfaces import IStore, IWatcher
from meshproxy.controlplane.store.values import Commit, Listing
from meshproxy.controlplane.translate.messages import ENDPOINTS
from meshproxy.controlplane.translate.proxy import Proxy, proxyOf
from meshproxy.controlplane.translate.scope import sidecarsOf
from meshproxy.controlplane.translate.shared import Shared
from meshproxy.controlplane.translate.translation import Translation, endpointsAgain, servedBy, translate
from meshproxy.xds.types import ENDPOINTS as ENDPOINTS_URL

__all__ = ["Attached", "Snapshots"]

_QUIET = 0.05
"""
Seconds without a further change after which changes are taken.
"""

_PATIENCE = 0.5
"""
Seconds after which they are taken although more come.
"""


class Attached:
    """
    A proxy that is connected.

    @ivar proxy: Who it is.
    @ivar translation: What its configuration was made from; L{None} at first.
    @ivar served: The services that its workload was an endpoint of then.
    @ivar snapshot: What it is to have; L{None} at first.
    @ivar revision: The revision of the store that this is of.
    """

    def __init__(self, proxy: Proxy, changed: Callable[[Snapshot], object]) -> None:
        self.proxy = proxy
        self.translation: Translation | None = None
        self.served: frozenset[ServiceKey] = frozenset()
        self.snapshot: Snapshot | None = None
        self.revision = 0
        self.changed = changed
        # What is to be made: endpoints of these services, or all of it.
        self.endpointsDue: set[ServiceKey] = set()
        self.isDue = True


@implementer(IWatcher)
class Snapshots:
    """
    See the module.

    @ivar world: What all of it is made from.
    @ivar made: How many snapshots were made, for who looks at the cost.
    """

    _log = Logger()

    def __init__(self, store: IStore, world: World, reactor: Any) -> None:
        """
        @param reactor: C{IReactorTime}.
        """
        self.world = world
        self.made = 0
        self._store = store
        self._reactor = reactor
        self._converter = Converter()
        self._shared = Shared()
        # The endpoints of some services anew, for all proxies that are alike.
        self._again: dict[Hashable, dict[str, Versioned] | None] = {}
        self._attached: dict[Attached, None] = {}
        self._changes: list[Changed] = []
        self._firstChange = 0.0
        self._settleCall: Any = None
        # Of a dictionary whose first ones are taken one by one, the next first one is ever harder to find.
        self._queue: OrderedDict[Attached, None] = OrderedDict()
        self._workCall: Any = None
        self._watch: Any = None
        self._isStopped = False

    def start(self) -> Deferred[None]:
        """
        Read all there is, and follow it.
        """
        self._isStopped = False
        found: Deferred[Listing] = self._store.listing()
        return found.addCallback(self._load)

    def _load(self, listing: Listing) -> None:
        if self._isStopped:
            return
        self.world.load(listing.entries, listing.revision)
        self._renew()
        self._watch = self._store.watch(self, listing.revision)
        for attached in self._attached:
            attached.isDue = True
            self._enqueue(attached)

    def stop(self) -> None:
        """
        Follow it no more.
        """
        self._isStopped = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for call in (self._settleCall, self._workCall):
            if call is not None and call.active():
                call.cancel()
        self._settleCall = self._workCall = None

    # Proxies

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        See L{meshproxy.controlplane.xds.server.ISource}.
        """
        attached = Attached(proxyOf(node), changed)
        self._attached[attached] = None
        self._enqueue(attached)

        def detach() -> None:
            self._attached.pop(attached, None)
            self._queue.pop(attached, None)
            self._shared.forget(attached.proxy)

        return detach

    @property
    def attached(self) -> Sequence[Attached]:
        """
        The proxies that are connected.
        """
        return list(self._attached)

    def problems(self, key: ResourceKey, title: str) -> list[Problem]:
        """
        What the translations said of a resource, each once.

        @param title: How a sentence names it.
        """
        found: dict[Problem, None] = {}
        for attached in self._attached:
            if attached.translation is not None:
                found.update((problem, None) for problem in attached.translation.problems if problem.resource == title)
        return list(found)

    # The store's word

    def committed(self, commit: Commit) -> None:
        """
        See L{IWatcher}.
        """
        changes = self.world.take(commit)
        if not changes:
            return
        now = self._reactor.seconds()
        if not self._changes:
            self._firstChange = now
        self._changes += changes
        wait = max(0.0, min(_QUIET, self._firstChange + _PATIENCE - now))
        if self._settleCall is None:
            self._settleCall = self._reactor.callLater(wait, self._settle)
        else:
            self._settleCall.reset(wait)

    def watchLost(self, error: Exception) -> None:
        """
        See L{IWatcher}. What was missed is in the list.
        """
        self._log.warn("the store is read anew: {error}", error=str(error))
        if not self._isStopped:
            self.start().addErrback(lambda why: self._log.failure("the store cannot be read", why))

    def _settle(self) -> None:
        self._settleCall = None
        changes, self._changes = self._changes, []
        services = self.world.settle()
        self._again = {}
        if any(change.either.kind in _CLUSTER_KINDS for change in changes):
            self._renew()
        else:
            isRouting = not services and all(change.either.kind == "VirtualService" for change in changes)
            touched = services.services | services.endpoints
            self._shared = Shared(self._shared, touched, not services.services, isRouting)
            self._converter.renew(everything=False)
        onlyEndpoints = not services.services and all(_isOnlyEndpoints(change) for change in changes)
        for attached in self._attached:
            if onlyEndpoints:
                attached.endpointsDue |= services.endpoints
                self._enqueue(attached)
            elif services.services or any(self._concerns(attached, change) for change in changes):
                attached.isDue = True
                self._enqueue(attached)
            elif services.endpoints:
                attached.endpointsDue |= services.endpoints
                self._enqueue(attached)
            else:
                attached.revision = self.world.revision

    def _renew(self) -> None:
        """
        What was made for one proxy does not serve the others any more.
        """
        self._shared = Shared()
        self._converter.renew()

    def _concerns(self, attached: Attached, change: Changed) -> bool:
        """
        Whether a proxy may get something else by a change. Where it is not sure it says so.
        """
        translation = attached.translation
        if translation is None or change.either.key in translation.resources:
            return True
        return any(self._mayConcern(attached.proxy, one) for one in (change.before, change.after) if one is not None)

    def _mayConcern(self, proxy: Proxy, resource: Resource) -> bool:
        mesh = self.world.mesh
        match resource.kind:
            case "Secret":
                return resource.namespace == proxy.namespace and self._asksSecrets(proxy)
            case "Gateway":
                return not proxy.isSidecar
            case "AuthorizationPolicy":
                return resource.namespace in (proxy.namespace, mesh.rootNamespace)
            case "VirtualService":
                # One without hosts is part of others, wherever they are seen.
                hosts = resource.spec.hosts
                return not hosts or self.world.resources.seesVirtualService(resource, proxy.namespace, mesh)
        return True

    def _asksSecrets(self, proxy: Proxy) -> bool:
        """
        Whether a proxy may get secrets of its namespace.
        """
        if not proxy.isSidecar:
            return True
        found = sidecarsOf(proxy, self.world.mesh, self.world.resources)
        return any(listener.tls is not None for sidecar in found[:1] for listener in sidecar.spec.ingress)

    # Work

    def _enqueue(self, attached: Attached) -> None:
        self._queue[attached] = None
        if self._workCall is None and not self._isStopped:
            self._workCall = self._reactor.callLater(0, self._work)

    def _work(self) -> None:
        """
        Serve one proxy, and let others have their turn.
        """
        self._workCall = None
        if not self._queue:
            return
        attached, _ = self._queue.popitem(last=False)
        try:
            self._make(attached)
        except Exception:
            # A mistake in the translation of one proxy is none of the others'; it keeps what it has.
            self._log.failure("the configuration of {id} could not be made", id=attached.proxy.id)
        if self._queue:
            self._workCall = self._reactor.callLater(0, self._work)

    def _make(self, attached: Attached) -> None:
        before = attached.snapshot
        snapshot = None
        if not attached.isDue and before is not None and attached.translation is not None:
            snapshot = self._endpointsAgain(attached, before)
        if snapshot is None:
            world = self.world
            attached.translation = translate(
                attached.proxy, world.mesh, world.resources, world.registry.index, self._shared
            )
            attached.served = servedBy(attached.proxy, world.registry.index)
            snapshot = self._converter.snapshot(attached.translation, before)
        attached.isDue = False
        attached.endpointsDue = set()
        attached.revision = self.world.revision
        self.made += 1
        if before is None or snapshot.resources != before.resources:
            attached.snapshot = snapshot
            attached.changed(snapshot)

    def _endpointsAgain(self, attached: Attached, before: Snapshot) -> Snapshot | None:
        world, proxy, due = self.world, attached.proxy, attached.endpointsDue
        index = world.registry.index
        # What the workload served, or serves now, may be more than its endpoints.
        if not due.isdisjoint(attached.served | servedBy(proxy, index)):
            return None
        sidecar = next(iter(sidecarsOf(proxy, world.mesh, world.resources)), None)
        like = self._shared.likeness(proxy, world.resources, world.mesh, sidecar) if proxy.isSidecar else proxy.id
        key = like, frozenset(due)
        if key not in self._again:
            found = endpointsAgain(proxy, world.mesh, world.resources, index, sorted(due), self._shared)
            self._again[key] = None if found is None else self._converter.convert(ENDPOINTS, found)
        converted = self._again[key]
        if converted is None:
            return None
        old = before.ofType(ENDPOINTS_URL)
        changed = {name: one for name, one in converted.items() if old.get(name) != one}
        return before.replacing(ENDPOINTS_URL, changed) if changed else before


# What the clusters of services are made of beside services and endpoints: see Shared.
_CLUSTER_KINDS = ("DestinationRule", "PeerAuthentication")


def _isOnlyEndpoints(change: Changed) -> bool:
    """
    Whether nothing but endpoints may follow from it, as long as no service changes.
    """
    return change.either.kind in SERVICE_KINDS
