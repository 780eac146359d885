# -*- test-case-name: tests.controlplane.xds.test_session -*-
"""
One stream of xDS, without I/O: what both variants have in common, the state of the world
(L{meshproxy.controlplane.xds.worldsession}) and delta (L{meshproxy.controlplane.xds.deltasession}).

A session is fed requests and snapshots, and gives the responses that are due. Of each type one response is under way at
a time: what changes meanwhile goes with the next one. Responses keep an order in which nothing is named before it is
there ("make before break"): clusters, then their endpoints, then listeners and routes; clusters that nobody is to use
any more stay until listeners and routes that do not name them were taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.config.pool import newMessage
from meshproxy.controlplane.snapshot.snapshot import Snapshot, Versioned, versioned
from meshproxy.controlplane.xds.subscription import Rejection, Subscription
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ORDER, ROUTES

__all__ = ["Session"]


class Session:
    """
    What both variants have in common.

    @ivar subscriptions: By type URL.
    @ivar snapshot: What the proxy is to have; L{None} before there is anything.
    @ivar mayWait: Whether listeners and routes wait for clusters and endpoints. Whoever drives the session sets it to
        false when it took too long, so that a proxy that does not ask for some of them is served all the same.
    """

    def __init__(self, only: str = "") -> None:
        """
        @param only: The one type of the stream; empty for an aggregated one.
        """
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshot: Snapshot | None = None
        self.mayWait = True
        self._only = only
        self._nonces = 0
        # Clusters that are gone, and their endpoints, which stay with the proxy for a while.
        self._lingering: dict[str, dict[str, Versioned]] = {CLUSTER: {}, ENDPOINTS: {}}

    def setSnapshot(self, snapshot: Snapshot) -> None:
        """
        There is something new, perhaps.
        """
        old = self.snapshot
        self.snapshot = snapshot
        self.mayWait = True
        if old is not None:
            self._linger(old, snapshot)
            for typeURL, subscription in self.subscriptions.items():
                if subscription.doubtful and snapshot.ofType(typeURL) != old.ofType(typeURL):
                    # Something is new: all that was refused together is offered again, and what is there no more is
                    # taken away, whatever the proxy has of it. Even if nothing is left to send, a proxy that takes that
                    # says that it refuses nothing any more.
                    known = {*subscription.sent, *filter(subscription.wants, subscription.withdrawn)}
                    subscription.sent.update((name, "") for name in subscription.doubtful if name in known)
                    subscription.isDue = True
                    subscription.settledOn = None
                    subscription.doubtful, subscription.withdrawn = set(), set()

    def _linger(self, old: Snapshot, new: Snapshot) -> None:
        hasUsers = LISTENER in self.subscriptions or ROUTES in self.subscriptions
        for typeURL, lingering in self._lingering.items():
            there, before = new.ofType(typeURL), old.ofType(typeURL)
            if hasUsers and there.changedSince(before) is None:
                lingering.update((name, one) for name, one in before.items() if name not in there)
            for name in [name for name in lingering if name in there]:
                del lingering[name]

    @property
    def isWaiting(self) -> bool:
        """
        Whether something is held back until the proxy has what comes before it.
        """
        return self.mayWait and any(
            self._isDirty(typeURL) and not self._comesFirst(typeURL) for typeURL in (LISTENER, ROUTES)
        )

    def responses(self) -> list[tuple[str, bytes]]:
        """
        What is to be sent now: type URLs and responses.
        """
        if self.snapshot is None:
            return []
        self._settleLingering()
        made = []
        for typeURL in self._order():
            subscription = self.subscriptions[typeURL]
            if subscription.resumes:
                subscription.resumes = False
                subscription.settledOn = None
                self._resume(typeURL, subscription)
            if subscription.isUnderWay or not self._isDirty(typeURL):
                continue
            if self.mayWait and not self._comesFirst(typeURL):
                continue
            before = subscription.sent
            made.append((typeURL, self._answer(typeURL, subscription)))
            if typeURL == CLUSTER:
                self._sendEndpointsAgain(before, subscription.sent)
            subscription.isUnderWay = True
            subscription.isDue = False
        return made

    def _answer(self, typeURL: str, subscription: Subscription) -> bytes:
        """
        The response that is due: of a few resources that changed, where it is known which, or of all.
        """
        assert self.snapshot is not None
        resources = self.snapshot.ofType(typeURL)
        changed = None if subscription.isDue else self._changed(typeURL, subscription)
        if changed is not None and self._mayAddress(typeURL):
            sending = {
                name: resources[name]
                for name in sorted(changed)
                if subscription.wants(name) and subscription.sent.get(name) != resources[name].version
            }
            subscription.sent = {**subscription.sent, **{name: one.version for name, one in sending.items()}}
            subscription.told -= changed
            subscription.invented -= changed
            subscription.settledOn = resources
            return self._write(typeURL, subscription, sending, ())
        if typeURL == ENDPOINTS:
            subscription.invented = self._withoutEndpoints(resources)
        # What follows from it is looked for: endpoints that are gone are no endpoints next.
        subscription.settledOn = None
        return self._respond(typeURL, subscription)

    def _changed(self, typeURL: str, subscription: Subscription) -> frozenset[str] | None:
        """
        The resources that may differ from those that the proxy has, where it is known which.
        """
        assert self.snapshot is not None
        if subscription.settledOn is None or self._lingering.get(typeURL):
            return None
        return self.snapshot.ofType(typeURL).changedSince(subscription.settledOn)

    def _mayAddress(self, typeURL: str) -> bool:
        """
        Whether a response may hold a few resources of a type, instead of all.
        """
        raise NotImplementedError

    def _write(
        self, typeURL: str, subscription: Subscription, sending: Mapping[str, Versioned], gone: Sequence[str]
    ) -> bytes:
        """
        A response.

        @param sending: What is in it.
        @param gone: What it says to be gone.
        """
        raise NotImplementedError

    def _sendEndpointsAgain(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """
        A cluster that changed waits for its endpoints again, and a proxy that asked for them once does not ask anew
        (xDS protocol, "Resource warming"): they are sent with it, though they are the same. So they are with one that
        is offered anew after a refusal: what the proxy has of it is not known.
        """
        endpoints = self.subscriptions.get(ENDPOINTS)
        if endpoints is not None:
            for name, version in after.items():
                if before.get(name) != version:
                    endpoints.sent.pop(name, None)
                    endpoints.settledOn = None

    def _resume(self, typeURL: str, subscription: Subscription) -> None:
        """
        A proxy came again and said what it has: if that is the newest it is sent nothing.
        """
        raise NotImplementedError

    def hasAll(self, typeURL: str) -> bool:
        """
        Whether the proxy took all that it asked for of a type and that there is.
        """
        subscription = self.subscriptions[typeURL]
        if self.snapshot is None or subscription.isUnderWay or subscription.rejection is not None:
            return False
        return not self._isDirty(typeURL)

    def _order(self) -> list[str]:
        return sorted(self.subscriptions, key=lambda one: ORDER.index(one) if one in ORDER else len(ORDER))

    def _resources(self, typeURL: str) -> Mapping[str, Versioned]:
        """
        All resources of a type, with those that linger, and with empty endpoints for clusters that are asked for and
        have none, so that the proxy need not wait for them.
        """
        assert self.snapshot is not None
        resources: Mapping[str, Versioned] = self.snapshot.ofType(typeURL)
        if lingering := self._lingering.get(typeURL):
            resources = {**resources, **lingering}
        if typeURL == ENDPOINTS:
            missing = self._withoutEndpoints(resources)
            if missing:
                return {**resources, **{name: _noEndpoints(name) for name in missing}}
        return resources

    def _withoutEndpoints(self, resources: Mapping[str, Versioned]) -> set[str]:
        """
        The clusters that the proxy asks for and that have no endpoints, nor ever had: what had some is gone, and the
        proxy will see that.
        """
        subscription = self.subscriptions[ENDPOINTS]
        return {
            name
            for name in subscription.names
            if name not in resources and (name not in subscription.sent or name in subscription.invented)
        }

    def _wanted(self, typeURL: str) -> dict[str, Versioned]:
        subscription = self.subscriptions[typeURL]
        resources = self._resources(typeURL)
        if subscription.isWildcard:
            return dict(resources)
        return {name: resources[name] for name in sorted(subscription.names) if name in resources}

    def _isDirty(self, typeURL: str) -> bool:
        """
        Whether a response is due.
        """
        if typeURL not in self.subscriptions:
            return False
        return self.subscriptions[typeURL].isDue or self._differs(typeURL)

    def _differs(self, typeURL: str) -> bool:
        assert self.snapshot is not None
        subscription = self.subscriptions[typeURL]
        resources, lingers = self.snapshot.ofType(typeURL), bool(self._lingering.get(typeURL))
        changed = self._changed(typeURL, subscription)
        if changed is not None:
            if any(
                subscription.wants(name) and subscription.sent.get(name) != resources[name].version for name in changed
            ):
                return True
            subscription.settledOn = resources
            return False
        wanted = self._wanted(typeURL)
        if any(subscription.sent.get(name) != one.version for name, one in wanted.items()):
            return True
        isMore = any(name not in wanted for name in subscription.sent)
        if isMore and self._removesMatter(typeURL):
            return True
        if self._missing(typeURL):
            return True
        subscription.settledOn = None if lingers or isMore else resources
        return False

    def _removesMatter(self, typeURL: str) -> bool:
        """
        Whether the variant can say that something of a type is gone.
        """
        raise NotImplementedError

    def _missing(self, typeURL: str) -> set[str]:
        """
        The names that are asked for and do not exist, where the variant can say so and the proxy was not told yet.
        """
        return set()

    def _comesFirst(self, typeURL: str) -> bool:
        """
        Whether the proxy has all that this type may name.
        """
        if typeURL not in (LISTENER, ROUTES):
            return True
        clusters = self.subscriptions.get(CLUSTER)
        endpoints = self.subscriptions.get(ENDPOINTS)
        if clusters is not None and clusters.rejection is None and (clusters.isUnderWay or self._isDirty(CLUSTER)):
            return False
        if endpoints is None or self.snapshot is None:
            return True
        if endpoints.isUnderWay or self._isDirty(ENDPOINTS):
            return False
        # A cluster that was just sent is followed by the proxy's request for its endpoints.
        rejected = clusters is not None and clusters.rejection is not None
        return rejected or endpoints.wantsAll(self.snapshot.ofType(ENDPOINTS))

    def _settleLingering(self) -> None:
        """
        Clusters that are gone go, when nothing that the proxy has names them any more.
        """
        if any(self._lingering.values()) and not any(
            typeURL in self.subscriptions and (self.subscriptions[typeURL].isUnderWay or self._isDirty(typeURL))
            for typeURL in (LISTENER, ROUTES)
        ):
            for lingering in self._lingering.values():
                lingering.clear()

    def _respond(self, typeURL: str, subscription: Subscription) -> bytes:
        raise NotImplementedError

    def _nextNonce(self) -> str:
        self._nonces += 1
        return str(self._nonces)

    def _subscription(self, typeURL: str) -> tuple[Subscription, bool]:
        """
        That of a request, and whether it is new.

        @raise GRPCError: If the stream is not for that type.
        """
        if self._only and typeURL not in ("", self._only):
            raise GRPCError(Status.INVALID_ARGUMENT, f"this stream is for {self._only}, not for {typeURL}")
        typeURL = typeURL or self._only
        if not typeURL:
            raise GRPCError(Status.INVALID_ARGUMENT, "a request on an aggregated stream names its type_url")
        isNew = typeURL not in self.subscriptions
        if isNew and len(self.subscriptions) >= 100:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "a stream has at most 100 types")
        return self.subscriptions.setdefault(typeURL, Subscription()), isNew

    def _answered(self, subscription: Subscription, error: str) -> None:
        """
        The proxy said something to the last response.

        @param error: What is wrong with it, or nothing.
        """
        subscription.isUnderWay = False
        if error:
            subscription.rejection = Rejection(subscription.version, error)
            subscription.doubtful |= subscription.offered | subscription.gone
            subscription.withdrawn |= subscription.gone
        else:
            subscription.rejection = None
            subscription.accepted = subscription.version


def _noEndpoints(name: str) -> Versioned:
    message: Any = newMessage("envoy.config.endpoint.v3.ClusterLoadAssignment")
    message.cluster_name = name
    return versioned(message)
