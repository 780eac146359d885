"""
Tests for L{meshproxy.controlplane.api.objects}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.objects import Objects, Wish, collectionOf, kindOf
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.model.kinds import KINDS, findPlural
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.values import Conflict, Key, Mismatch
from meshproxy.testing.clock import VirtualReactor
from tests.controlplane.api.client import VIRTUAL_SERVICE


class ObjectsTests(SynchronousTestCase):
    """
    L{Objects} between the API and the store.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = Ledger(self.reactor)
        self.objects = Objects(self.store, self.reactor.seconds, lambda kind, document: {"seen": kind.kind})
        kind = findPlural("networking.istio.io", "virtualservices")
        assert kind is not None
        self.kind = kind

    def test_collections(self) -> None:
        """
        Each kind has a place in the store, and what lies elsewhere is of no kind.
        """
        for kind in KINDS:
            self.assertIs(kindOf(Key(collectionOf(kind), "a", "b")), kind)
        self.assertIsNone(kindOf(Key("meshproxy.io/bootstraptokens", "", "b")))

    def test_status(self) -> None:
        """
        What the control plane knows of a resource is its status.
        """
        wish = self.objects.wish(self.kind, "default", VIRTUAL_SERVICE)
        self.successResultOf(Deferred.fromCoroutine(self.objects.write([wish], "ann")))
        entry = self.successResultOf(Deferred.fromCoroutine(self.objects.get(self.kind, "default", "reviews")))
        self.assertEqual(self.objects.shown(self.kind, entry)["status"], {"seen": "VirtualService"})
        self.assertNotIn("status", entry.document)

    def test_raceWithoutEnd(self) -> None:
        """
        Where others are quicker again and again, the writer is told at last.
        """
        tries: list[Any] = []

        def commit(changes: Any, author: str, message: str = "") -> Deferred[Any]:
            tries.append(changes)
            return fail(Conflict([Mismatch(changes[0].key, 0, 1)]))

        self.patch(self.store, "commit", commit)
        wish = self.objects.wish(self.kind, "default", VIRTUAL_SERVICE)
        work = Deferred.fromCoroutine(self.objects.write([wish], "ann"))
        self.assertEqual(self.failureResultOf(work, Refused).value.code, 409)
        self.assertTrue(1 < len(tries) < 20)

    def test_resourceVersion(self) -> None:
        """
        A resourceVersion that is none is refused; 0 is whatever there is, as Kubernetes has it.
        """

        def wish(version: str) -> Wish:
            metadata = {"name": "reviews", "resourceVersion": version}
            return self.objects.wish(self.kind, "default", {**VIRTUAL_SERVICE, "metadata": metadata})

        self.assertEqual([wish(version).expected for version in ("7", "0", "")], [7, -1, -1])
        for version in ("x", "-1", "1" * 30):
            self.assertRaises(Refused, wish, version)
