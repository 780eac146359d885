"""
Tests for the shorter way of L{meshproxy.controlplane.xds.session}: only what is known to have changed is looked at.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import messageClass
from meshproxy.controlplane.snapshot.snapshot import EMPTY, Resources, Snapshot, Versioned
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.worldsession import WorldSession
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.controlplane.xds.support import CLUSTERS, ENDPOINT_TYPE, LISTENERS, ROUTE_TYPE, deltaRequest, worldRequest

_TYPES = {CLUSTER: CLUSTERS, ENDPOINTS: ENDPOINT_TYPE, LISTENER: LISTENERS, ROUTES: ROUTE_TYPE}
_NAMES = "abcdef"


class ChangedTests(SynchronousTestCase):
    """
    L{Resources} know in what they differ from those that they were made of.
    """

    def test_since(self) -> None:
        """
        From these alone, and not from others that are the same.
        """
        old = Resources({"a": Versioned(b"", "1"), "b": Versioned(b"", "1")})
        before = Snapshot({CLUSTER: old})
        after = before.replacing(CLUSTER, {"b": Versioned(b"", "2")}).ofType(CLUSTER)
        self.assertEqual(after.changedSince(old), {"b"})
        self.assertEqual(after.changedSince(after), set())
        self.assertIsNone(after.changedSince(Resources(old)))
        self.assertIsNone(old.changedSince(after))
        self.assertIsNone(after.changedSince(None))


class _Pair:
    """
    Two sessions that are told the same. The first one gets snapshots that know what changed, the second one snapshots
    that do not.
    """

    def __init__(self, isDelta: bool, random: Random) -> None:
        self.random = random
        self.isDelta = isDelta
        self.sessions = [DeltaSession() if isDelta else WorldSession() for _ in range(2)]
        self.snapshot = EMPTY
        self.names: dict[str, set[str]] = {}
        self.nonces: dict[str, list[str]] = {}
        self.number = 0

    def changed(self) -> None:
        """
        A few resources of a type anew, or the whole snapshot.
        """
        self.number += 1

        def some() -> dict[str, Versioned]:
            names = self.random.sample(_NAMES, self.random.randint(0, 4))
            return {name: Versioned(b"", str(self.random.randint(1, 3))) for name in names}

        if self.random.random() < 0.7:
            self.snapshot = self.snapshot.replacing(self.random.choice(list(_TYPES)), some())
        else:
            self.snapshot = Snapshot({typeURL: Resources(some()) for typeURL in _TYPES})
        other = Snapshot({typeURL: Resources(self.snapshot.ofType(typeURL)) for typeURL in _TYPES})
        for session, snapshot in zip(self.sessions, (self.snapshot, other), strict=True):
            session.setSnapshot(snapshot)

    def asked(self) -> None:
        """
        The proxy subscribes, or unsubscribes.
        """
        typeURL = self.random.choice(list(_TYPES))
        known = self.names.setdefault(typeURL, set())
        added = set(self.random.sample(_NAMES, self.random.randint(0, 3))) - known
        gone = {name for name in known if self.random.random() < 0.2}
        known |= added
        known -= gone
        for number, session in enumerate(self.sessions):
            typeName = _TYPES[typeURL]
            request: Any
            if self.isDelta:
                request = deltaRequest(typeName, " ".join(sorted(added)))
                request.resource_names_unsubscribe.extend(sorted(gone))
            else:
                nonce = self.nonces.get(typeURL, ["", ""])[number]
                request = worldRequest(typeName, " ".join(sorted(known)), nonce=nonce)
            session.receive(request)

    def answered(self) -> None:
        """
        The proxy takes its last response of a type, or does not.
        """
        if not self.nonces:
            return
        typeURL = self.random.choice(list(self.nonces))
        error = "no" if self.random.random() < 0.2 else ""
        for session, nonce in zip(self.sessions, self.nonces[typeURL], strict=True):
            typeName, known = _TYPES[typeURL], " ".join(sorted(self.names.get(typeURL, set())))
            if self.isDelta:
                session.receive(deltaRequest(typeName, nonce=nonce, error=error))
            else:
                session.receive(worldRequest(typeName, known, nonce=nonce, error=error))

    def responses(self) -> list[list[tuple[object, ...]]]:
        """
        What each session sends.
        """
        kind = "DeltaDiscoveryResponse" if self.isDelta else "DiscoveryResponse"
        told = []
        for number, session in enumerate(self.sessions):
            mine: list[tuple[object, ...]] = []
            for typeURL, data in session.responses():
                response: Any = messageClass(f"envoy.service.discovery.v3.{kind}").FromString(data)
                self.nonces.setdefault(typeURL, ["", ""])[number] = response.nonce
                if self.isDelta:
                    held = sorted((one.name, one.version) for one in response.resources)
                    mine.append((typeURL, held, list(response.removed_resources), response.system_version_info))
                else:
                    mine.append((typeURL, len(response.resources), response.version_info))
            told.append(mine)
        return told


class AgreementTests(SynchronousTestCase):
    """
    Both ways come to the same.
    """

    def test_agree(self) -> None:
        """
        Whatever happens in whatever order: changes, subscriptions, answers and refusals.
        """
        for seed in range(200):
            for isDelta in (False, True):
                pair = _Pair(isDelta, Random(seed))
                for step in range(40):
                    pair.random.choice((pair.changed, pair.asked, pair.answered, pair.answered))()
                    first, second = pair.responses()
                    self.assertEqual(first, second, (seed, isDelta, step))
