# -*- test-case-name: tests.controlplane.xds.test_session -*-
"""
A stream that tells the state of the world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.config.pool import newMessage
from meshproxy.controlplane.snapshot.snapshot import Versioned
from meshproxy.controlplane.xds.session import Session
from meshproxy.controlplane.xds.subscription import Subscription, checkNames, errorOf
from meshproxy.xds.types import FULL_STATE, WILDCARD

__all__ = ["WorldSession"]


class WorldSession(Session):
    """
    The state-of-the-world variant: C{DiscoveryRequest} and C{DiscoveryResponse}.
    """

    def receive(self, request: Any) -> None:
        """
        A request came.

        @param request: An C{envoy.service.discovery.v3.DiscoveryRequest}.

        @raise GRPCError: If it cannot be served on this stream.
        """
        subscription, isNew = self._subscription(request.type_url)
        typeURL = request.type_url or self._only
        if isNew:
            self._subscribe(typeURL, subscription, checkNames(request.resource_names))
            subscription.isDue = True
            subscription.resumes = bool(request.version_info)
            subscription.version = request.version_info
            return
        # A nonce of an earlier response: the proxy had not seen the last one yet. What it asks for counts all the same,
        # it repeats it when it answers the last one.
        if request.response_nonce and request.response_nonce != subscription.nonce:
            return
        if request.response_nonce:
            self._answered(subscription, errorOf(request))
        self._subscribe(typeURL, subscription, checkNames(request.resource_names))

    def _subscribe(self, typeURL: str, subscription: Subscription, names: set[str]) -> None:
        # xDS protocol, "How the client specifies what resources to return": no names mean all, until there were some.
        wildcard = WILDCARD in names or (not names and typeURL in FULL_STATE and not subscription.names)
        named = names - {WILDCARD}
        if named == subscription.names and wildcard == subscription.isWildcard:
            return
        subscription.asksAnew()
        if named - subscription.names or wildcard > subscription.isWildcard:
            subscription.isDue = True
        for name in subscription.names - named:
            subscription.sent.pop(name, None)
        for name in named - subscription.names:
            # Asked for anew: it is sent again even if it was sent before.
            subscription.sent.pop(name, None)
        subscription.isWildcard, subscription.names = wildcard, named

    def _resume(self, typeURL: str, subscription: Subscription) -> None:
        if subscription.version == self._version(typeURL):
            subscription.accepted = subscription.version
            subscription.sent = {name: one.version for name, one in self._wanted(typeURL).items()}
            subscription.isDue = False

    def _version(self, typeURL: str) -> str:
        assert self.snapshot is not None
        return self.snapshot.version(typeURL)

    def _removesMatter(self, typeURL: str) -> bool:
        return typeURL in FULL_STATE

    def _respond(self, typeURL: str, subscription: Subscription) -> bytes:
        wanted = self._wanted(typeURL)
        if typeURL in FULL_STATE:
            sending = wanted
        else:
            sending = {name: one for name, one in wanted.items() if subscription.sent.get(name) != one.version}
        subscription.sent = {name: one.version for name, one in wanted.items()}
        return self._write(typeURL, subscription, sending, ())

    def _mayAddress(self, typeURL: str) -> bool:
        return typeURL not in FULL_STATE

    def _write(
        self, typeURL: str, subscription: Subscription, sending: Mapping[str, Versioned], gone: Sequence[str]
    ) -> bytes:
        response: Any = newMessage("envoy.service.discovery.v3.DiscoveryResponse")
        response.type_url = typeURL
        response.version_info = subscription.version = self._version(typeURL)
        response.nonce = subscription.nonce = self._nextNonce()
        for one in sending.values():
            packed = response.resources.add()
            packed.type_url = typeURL
            packed.value = one.value
        subscription.offered = set(sending)
        data: bytes = response.SerializeToString()
        return data
