"""
A control plane that sends some virtual hosts to whoever asks for none by name.
"""

from __future__ import annotations

from typing import Any

from meshproxy.controlplane.snapshot.snapshot import Versioned
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.subscription import Subscription
from meshproxy.xds.types import VIRTUAL_HOST

__all__ = ["NamespaceSession"]

#: What the names of these begin with; others are sent to those who ask for them.
FIRST = "first"


class NamespaceSession(DeltaSession):
    """
    See the module.
    """

    _sendsFirst = False

    def receive(self, request: Any) -> None:
        """
        See L{DeltaSession.receive}.
        """
        if request.type_url == VIRTUAL_HOST and VIRTUAL_HOST not in self.subscriptions:
            self._sendsFirst = not request.resource_names_subscribe
        super().receive(request)

    def _wanted(self, typeURL: str) -> dict[str, Versioned]:
        wanted = super()._wanted(typeURL)
        if typeURL == VIRTUAL_HOST and self._sendsFirst:
            for name, one in self._resources(typeURL).items():
                if name.rpartition("/")[2].startswith(FIRST):
                    wanted[name] = one
        return wanted

    def _changed(self, typeURL: str, subscription: Subscription) -> frozenset[str] | None:
        return None if typeURL == VIRTUAL_HOST else super()._changed(typeURL, subscription)
