"""
Tests for L{meshproxy.controlplane.snapshot.snapshots}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.controlplane.snapshot import snapshots
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.snapshot.world import World
from meshproxy.controlplane.store.values import Compacted
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.translation import translate
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.controlplane.model.test_core import encoded, pair
from tests.controlplane.snapshot.support import (
    SnapshotTestCase,
    destinationRule,
    node,
    peerAuthentication,
    serviceEntry,
    sidecar,
    virtualService,
)

_REVIEWS = "outbound|80||reviews.default.svc.cluster.local"


def changed(before: Snapshot, after: Snapshot) -> set[str]:
    """
    The types that differ.
    """
    return {one for one in (CLUSTER, ENDPOINTS, LISTENER, ROUTES) if before.ofType(one) != after.ofType(one)}


class SnapshotsTests(SnapshotTestCase):
    """
    L{snapshots.Snapshots} gives each proxy what it is to have, when it changes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.put(serviceEntry("reviews", "10.0.0.1"), serviceEntry("ratings", "10.0.1.1"))

    def test_first(self) -> None:
        """
        A proxy that comes is given what there is, in a turn of its own.
        """
        self.start()
        given = self.attach()
        self.assertEqual(given, [])
        self.reactor.advance(0)
        (snapshot,) = given
        self.assertIn(_REVIEWS, snapshot.ofType(CLUSTER))
        self.assertIn(_REVIEWS, snapshot.ofType(ENDPOINTS))

    def test_beforeTheStoreIsRead(self) -> None:
        """
        One that came before the store was read has it all afterwards.
        """
        given = self.attach()
        self.reactor.advance(0)
        self.start()
        self.reactor.advance(0)
        self.assertIn(_REVIEWS, given[-1].ofType(CLUSTER))

    def test_changes(self) -> None:
        """
        What changes is sent, and only that is new; what changes nothing is not sent.
        """
        self.start()
        given = self.attach()
        self.reactor.advance(0)
        self.put(virtualService("reviews", "3s"))
        self.assertEqual((len(given), changed(given[0], given[1])), (2, {ROUTES}))
        self.put(destinationRule("reviews", 7))
        self.assertEqual(changed(given[1], given[2]), {CLUSTER})
        self.put(destinationRule("reviews", 7))
        self.assertEqual(len(given), 3)
        self.delete(destinationRule("reviews", 7))
        self.assertEqual(changed(given[1], given[3]), set())
        self.delete(serviceEntry("ratings"))
        self.assertNotIn("outbound|80||ratings.default.svc.cluster.local", given[-1].ofType(CLUSTER))

    def test_unchanged(self) -> None:
        """
        What changes nothing for a proxy leaves it the snapshot that it has, so that who compares finds it.
        """
        self.start()
        given = self.attach()
        self.reactor.advance(0)
        (attached,) = self.snapshots.attached
        for resource in (destinationRule("nobody", 7), virtualService("reviews", "3s"), destinationRule("nobody", 8)):
            before = attached.revision
            self.put(resource)
            self.assertGreater(attached.revision, before)
            self.assertTrue(attached.snapshot is given[-1], resource)
        self.assertEqual(len(given), 2)

    def test_sharedAnew(self) -> None:
        """
        What proxies have in common is made anew when something changes that it is made of: whoever was there before
        the change has what a proxy has that comes after it.
        """
        labels = {"security.istio.io/tlsMode": "istio"}
        endpoints = [{"address": address, "labels": labels} for address in ("10.0.1.1", "10.0.1.2")]
        self.start()
        given = self.attach(), self.attach(name="other")
        self.reactor.advance(0)
        for document, types in (
            (serviceEntry("meshed", endpoints=endpoints), {CLUSTER, ENDPOINTS, ROUTES}),
            (destinationRule("meshed", 7), {CLUSTER}),
            (peerAuthentication("DISABLE"), {ENDPOINTS, LISTENER}),
            (virtualService("meshed", "3s"), {ROUTES}),
            (destinationRule("meshed", 8), {CLUSTER}),
            (serviceEntry("meshed", endpoints=endpoints[:1]), {ENDPOINTS}),
            (peerAuthentication("STRICT"), {ENDPOINTS, LISTENER}),
        ):
            before = [one[-1] for one in given]
            self.put(document)
            late = Snapshots(self.store, World(MeshConfig()), self.reactor)
            self.successResultOf(late.start())
            told: list[Snapshot] = []
            late.attach(node(), told.append)
            self.reactor.advance(0)
            late.stop()
            for old, one in zip(before, given, strict=True):
                self.assertEqual(changed(old, one[-1]), types, document["kind"])
            self.assertEqual(given[0][-1].resources, told[-1].resources, document["kind"])

    def test_endpointsAlone(self) -> None:
        """
        When only endpoints change, only those of that service are made anew.
        """
        self.start()
        given = self.attach()
        self.reactor.advance(0)
        self.patch(snapshots, "translate", lambda *told: self.fail("all of it is made anew"))
        self.put(serviceEntry("reviews", "10.0.0.1", "10.0.0.2"))
        self.assertEqual(changed(given[0], given[1]), {ENDPOINTS})
        before, after = given[0].ofType(ENDPOINTS), given[1].ofType(ENDPOINTS)
        self.assertEqual({name for name in after if before[name] is not after[name]}, {_REVIEWS})

    def test_together(self) -> None:
        """
        Changes that come close together are one; a stream of them is not waited out.
        """
        self.start()
        given = self.attach()
        self.reactor.advance(0)
        for number in range(1, 5):
            self.write(virtualService("reviews", f"{number}s"))
            self.reactor.advance(0.04)
        self.assertEqual(len(given), 1)
        self.reactor.advance(0.05)
        self.assertEqual(len(given), 2)
        for number in range(5, 25):
            self.write(virtualService("reviews", f"{number}s"))
            self.reactor.advance(0.04)
        self.assertTrue(3 <= len(given) <= 5, len(given))

    def test_onlyWhoIsConcerned(self) -> None:
        """
        A proxy that a change does not concern costs nothing.
        """
        self.start()
        given, other = self.attach(), self.attach(name="other", namespace="other")
        self.reactor.advance(0)
        made = self.snapshots.made
        self.put(virtualService("reviews", "3s", namespace="default", exportTo=["."]))
        self.assertEqual((len(given), len(other), self.snapshots.made), (2, 1, made + 1))

    def test_secrets(self) -> None:
        """
        Secrets of its namespace concern a sidecar where TLS ends there that a Sidecar speaks of, and nobody else.
        """
        self.start()
        given = self.attach()
        self.reactor.advance(0)
        certificate, key = map(encoded, pair())
        kept: dict[str, Any] = {"type": "kubernetes.io/tls", "data": {"tls.crt": certificate, "tls.key": key}}
        first: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "front", "namespace": "default"},
            **kept,
        }
        made = self.snapshots.made
        self.put(first)
        self.assertEqual(self.snapshots.made, made)
        self.delete(first)
        self.put(peerAuthentication("DISABLE"), sidecar())
        self.assertEqual(list(given[-1].ofType(SECRET)), [])
        self.put(first)
        self.assertEqual(list(given[-1].ofType(SECRET)), ["kubernetes://front"])
        before = given[-1].ofType(SECRET)
        self.put({**first, "data": {**kept["data"], "ca.crt": certificate}, "metadata": {**first["metadata"]}})
        self.put({**first, "metadata": {**first["metadata"], "namespace": "other"}})
        self.assertEqual(given[-1].ofType(SECRET), before)
        self.delete(first)
        self.assertEqual(list(given[-1].ofType(SECRET)), [])

    def test_gone(self) -> None:
        """
        A proxy that left is given nothing more.
        """
        self.start()
        given = self.attach()
        self.detach()
        self.reactor.advance(0)
        self.put(virtualService("reviews", "3s"))
        self.assertEqual((given, self.snapshots.attached), ([], []))

    def test_mistakeOfOne(self) -> None:
        """
        A translation that fails for one proxy leaves it what it has, and the others what they get.
        """
        self.start()
        bad, good = self.attach(name="bad"), self.attach(name="good")
        self.reactor.advance(0)

        def broken(proxy: Any, *told: Any) -> Any:
            if proxy.labels["app"] == "bad":
                raise ZeroDivisionError
            return translate(proxy, *told)

        self.patch(snapshots, "translate", broken)
        self.put(virtualService("reviews", "3s"))
        self.assertEqual((len(bad), len(good)), (1, 2))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lost(self) -> None:
        """
        Where the store forgot what was not seen yet, it is read anew.
        """
        self.start()
        given = self.attach()
        self.reactor.advance(0)
        self.snapshots._watch.cancel()
        self.put(virtualService("reviews", "3s"))
        self.assertEqual(len(given), 1)
        self.snapshots.watchLost(Compacted(1, 2))
        self.reactor.advance(0)
        self.assertEqual(changed(given[0], given[1]), {ROUTES})

    def test_stopped(self) -> None:
        """
        When it is stopped nothing is left to happen.
        """
        self.start()
        self.attach()
        self.write(virtualService("reviews", "3s"))
        self.reactor.advance(0)
        self.snapshots.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class WorldTests(SnapshotTestCase):
    """
    L{meshproxy.controlplane.snapshot.world.World} reads what the store has.
    """

    def test_unreadable(self) -> None:
        """
        What an older version wrote and this one does not take is left out and told, the rest is there.
        """
        broken = {**virtualService("a", "1s"), "spec": {"hots": []}}
        self.put(broken, serviceEntry("reviews", "10.0.0.1"))
        self.start()
        world = self.snapshots.world
        self.assertEqual((len(world.resources.all("VirtualService")), len(world.registry.index.services)), (0, 1))
        self.put(virtualService("a", "1s"))
        self.assertEqual(len(world.resources.all("VirtualService")), 1)
        self.put(broken)
        self.assertEqual(len(world.resources.all("VirtualService")), 0)
