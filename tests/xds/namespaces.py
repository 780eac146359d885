"""
A control plane that sends some virtual hosts to whoever asks for none by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.config.pool import messageClass
from meshproxy.controlplane.snapshot.snapshot import Versioned
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.subscription import Subscription
from meshproxy.xds.types import CLUSTER, VIRTUAL_HOST

__all__ = ["NamespaceSession"]

#: What the names of these begin with; others are sent to those who ask for them.
FIRST = "first"


class NamespaceSession(DeltaSession):
    """
    See the module.

    @cvar saysEmpty: Whether what does not exist is an empty resource, as Envoy wants it, and not one that is gone.
    @cvar onDemand: Clusters that are sent only to those who ask for them by name.
    """

    saysEmpty = False
    onDemand: frozenset[str] = frozenset()
    _sendsFirst = False

    def __init__(self, only: str = "") -> None:
        super().__init__(only)
        self._known: set[str] = set()

    def receive(self, request: Any) -> None:
        """
        See L{DeltaSession.receive}.
        """
        if request.type_url == VIRTUAL_HOST and VIRTUAL_HOST not in self.subscriptions:
            self._sendsFirst = not request.resource_names_subscribe
        super().receive(request)

    def _wanted(self, typeURL: str) -> dict[str, Versioned]:
        wanted = super()._wanted(typeURL)
        if typeURL == CLUSTER:
            names = self.subscriptions[typeURL].names
            return {name: one for name, one in wanted.items() if name in names or name not in self.onDemand}
        if typeURL == VIRTUAL_HOST and self._sendsFirst:
            for name, one in self._resources(typeURL).items():
                if name.rpartition("/")[2].startswith(FIRST):
                    wanted[name] = one
        return wanted

    def _write(
        self, typeURL: str, subscription: Subscription, sending: Mapping[str, Versioned], gone: Sequence[str]
    ) -> bytes:
        data = super()._write(typeURL, subscription, sending, gone)
        if typeURL != VIRTUAL_HOST or not self.saysEmpty:
            return data
        self._known.update(sending)
        response: Any = messageClass("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(data)
        response.ClearField("removed_resources")
        response.removed_resources.extend(name for name in gone if name in self._known)
        for name in gone:
            if name not in self._known:
                response.resources.add(name=name, version="none", aliases=[name])
        self._known.difference_update(gone)
        written: bytes = response.SerializeToString()
        return written

    def _changed(self, typeURL: str, subscription: Subscription) -> frozenset[str] | None:
        return None if typeURL in (CLUSTER, VIRTUAL_HOST) else super()._changed(typeURL, subscription)
