# -*- test-case-name: tests.controlplane.api.test_site -*-
"""
The whole API, put together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from meshproxy.controlplane.api.access import Access
from meshproxy.controlplane.api.analyzing import addAnalysis
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.discovery import addDiscovery
from meshproxy.controlplane.api.events import addEvents
from meshproxy.controlplane.api.explaining import addExplaining
from meshproxy.controlplane.api.issuing import addIssuing
from meshproxy.controlplane.api.kubernetes import addResources
from meshproxy.controlplane.api.metrics import addMetrics
from meshproxy.controlplane.api.objects import Objects, StatusOf
from meshproxy.controlplane.api.openapi import addDescription
from meshproxy.controlplane.api.openapi3 import addKubernetesDescription
from meshproxy.controlplane.api.proxies import addProxies
from meshproxy.controlplane.api.router import Router
from meshproxy.controlplane.api.site import APISite
from meshproxy.controlplane.api.transactions import addTransactions
from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.ca.tokens import BootstrapTokens
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.store.interfaces import IStore
from meshproxy.controlplane.xds.server import Connected

__all__ = ["makeSite"]


def makeSite(
    store: IStore,
    access: Access,
    reactor: Any,
    authority: Authority | None = None,
    audit: Callable[[Call, int], None] | None = None,
    identities: Callable[[Any], Sequence[str]] | None = None,
    statusOf: StatusOf | None = None,
    connected: Callable[[], Sequence[Connected]] | None = None,
    snapshots: Snapshots | None = None,
    metrics: Callable[[], bytes] | None = None,
) -> APISite:
    """
    @param authority: Who certifies; without it there is no C{/v1/ca}.
    @param audit: Told of each request that may change something, and of its status.
    @param identities: The URIs in the verified client certificate of a transport.
    @param statusOf: What is known of a resource besides what was applied.
    @param connected: The proxies that are connected.
    @param snapshots: What they are to have; without it there are no C{/v1/proxies},
        C{/v1/analyze} and C{/v1/explain}.
    @param metrics: What is counted, as text; without it there is no C{/metrics}.
    """
    router = Router()
    objects = Objects(store, reactor.seconds, statusOf)
    addDiscovery(router, store)
    addResources(router, objects, reactor)
    addTransactions(router, objects)
    addEvents(router, store, reactor)
    if authority is not None:
        addIssuing(router, authority, BootstrapTokens(store, reactor.seconds))
    if snapshots is not None:
        addProxies(router, connected or (lambda: ()), snapshots)
        addAnalysis(router, snapshots.world)
        addExplaining(router, snapshots)
    if metrics is not None:
        addMetrics(router, metrics)
    addKubernetesDescription(router)
    addDescription(router)
    return APISite(router, access, reactor, audit, identities)
