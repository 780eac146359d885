# -*- test-case-name: tests.controlplane.xds.test_session -*-
"""
A stream that tells what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshproxy.config.pool import newMessage
from meshproxy.controlplane.snapshot.snapshot import Versioned
from meshproxy.controlplane.xds.session import Session
from meshproxy.controlplane.xds.subscription import Subscription, checkNames, errorOf
from meshproxy.xds.types import FULL_STATE, WILDCARD

__all__ = ["DeltaSession"]


class DeltaSession(Session):
    """
    The incremental variant: C{DeltaDiscoveryRequest} and C{DeltaDiscoveryResponse}.
    """

    def receive(self, request: Any) -> None:
        """
        A request came.

        @param request: An C{envoy.service.discovery.v3.DeltaDiscoveryRequest}.

        @raise GRPCError: If it cannot be served on this stream.
        """
        subscription, isNew = self._subscription(request.type_url)
        typeURL = request.type_url or self._only
        if isNew:
            subscription.isDue = True
            subscription.resumes = bool(request.initial_resource_versions)
            subscription.sent.update(request.initial_resource_versions)
            if not request.resource_names_subscribe and typeURL in FULL_STATE:
                subscription.isWildcard = True
        if request.response_nonce and request.response_nonce == subscription.nonce:
            self._answered(subscription, errorOf(request))
        if isNew or request.resource_names_unsubscribe or request.resource_names_subscribe:
            subscription.asksAnew()
            self._unsubscribe(subscription, request.resource_names_unsubscribe)
            self._subscribe(subscription, request.resource_names_subscribe, isNew)

    def _subscribe(self, subscription: Subscription, names: Iterable[str], isNew: bool) -> None:
        for name in names:
            if name == WILDCARD:
                subscription.isDue = subscription.isDue or not subscription.isWildcard
                subscription.isWildcard = True
                continue
            subscription.names.add(name)
            subscription.told.discard(name)
            if not isNew:
                # Asked for anew: the proxy forgot it, and is to be sent it whatever it had.
                subscription.sent.pop(name, None)
        checkNames(subscription.names)

    def _unsubscribe(self, subscription: Subscription, names: Iterable[str]) -> None:
        for name in names:
            if name == WILDCARD:
                subscription.isWildcard = False
                for known in [known for known in subscription.sent if known not in subscription.names]:
                    del subscription.sent[known]
            else:
                subscription.names.discard(name)
                subscription.told.discard(name)
                if not subscription.isWildcard:
                    subscription.sent.pop(name, None)

    def _removesMatter(self, typeURL: str) -> bool:
        return True

    def _resume(self, typeURL: str, subscription: Subscription) -> None:
        assert self.snapshot is not None
        if not self._differs(typeURL):
            subscription.version = subscription.accepted = self.snapshot.version(typeURL)
            subscription.isDue = False

    def _missing(self, typeURL: str) -> set[str]:
        """
        The names that are asked for and do not exist, and that the proxy was not told so of.
        """
        subscription = self.subscriptions[typeURL]
        resources = self._resources(typeURL)
        return {name for name in subscription.names if name not in resources} - subscription.told

    def _respond(self, typeURL: str, subscription: Subscription) -> bytes:
        wanted = self._wanted(typeURL)
        missing = self._missing(typeURL)
        gone = sorted({name for name in subscription.sent if name not in wanted} | missing)
        sending = {name: one for name, one in wanted.items() if subscription.sent.get(name) != one.version}
        subscription.sent = {name: one.version for name, one in wanted.items()}
        subscription.told = {name for name in subscription.names if name not in wanted}
        return self._write(typeURL, subscription, sending, gone)

    def _mayAddress(self, typeURL: str) -> bool:
        return True

    def _write(
        self, typeURL: str, subscription: Subscription, sending: Mapping[str, Versioned], gone: Sequence[str]
    ) -> bytes:
        assert self.snapshot is not None
        response: Any = newMessage("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        response.type_url = typeURL
        response.system_version_info = subscription.version = self.snapshot.version(typeURL)
        response.nonce = subscription.nonce = self._nextNonce()
        for name, one in sending.items():
            resource = response.resources.add()
            resource.name = name
            resource.version = one.version
            resource.resource.type_url = typeURL
            resource.resource.value = one.value
        response.removed_resources.extend(gone)
        subscription.offered, subscription.gone = set(sending), set(gone)
        data: bytes = response.SerializeToString()
        return data
