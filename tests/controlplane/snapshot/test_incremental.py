"""
Tests for what L{meshproxy.controlplane.snapshot.snapshots} keeps from one change to the next: it is never to be seen.
"""

from __future__ import annotations

from random import Random
from typing import Any

from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.snapshot.conversion import Converter
from meshproxy.controlplane.snapshot.snapshot import Resources, versioned
from meshproxy.controlplane.translate.messages import LISTENER, ROUTES, messageOf
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import Translation, translate
from tests.controlplane.given import resourcesOf
from tests.controlplane.snapshot.support import SnapshotTestCase
from tests.controlplane.translate.golden import Case, caseNames, caseOf, translated

_STEPS = 12


def _document(resource: Resource) -> dict[str, Any]:
    metadata: Any = resource.document["metadata"]
    return {**resource.document, "metadata": {**metadata, "namespace": resource.namespace}}


def _toldIn(translation: Translation) -> set[tuple[str, str]]:
    return {(problem.resource, problem.message) for problem in translation.problems}


class IncrementalTests(SnapshotTestCase):
    """
    A change to what was there comes to what all of it comes to anew.
    """

    def check(self, case: Case, seed: int) -> None:
        """
        Take resources away and bring them back, some of them otherwise, and compare after each change.
        """
        random = Random(seed)
        self.setUp()
        resources = resourcesOf(case.resources)
        documents = [_document(one) for one in resources]
        there = list(documents)
        self.put(*there)
        self.start()
        self.snapshots.world.mesh = case.mesh
        for name in ("first", "second"):
            self.attach(name=name)
        proxies = self.snapshots.attached
        for attached in proxies:
            attached.proxy = case.proxy
        self.reactor.advance(1)
        for step in range(_STEPS):
            document = random.choice(documents)
            if document in there and random.random() < 0.6:
                there.remove(document)
                self.delete(document)
            else:
                if document not in there:
                    there.append(document)
                self.put(document)
            self.reactor.advance(1)
            world = self.snapshots.world
            held = [one for kind in {one.kind for one in resources} for one in world.resources.all(kind)]
            anew = translate(case.proxy, case.mesh, ResourceSet(held), indexOf(held, case.mesh.domain))
            wanted = Converter().snapshot(anew)
            for attached in proxies:
                assert attached.snapshot is not None and attached.translation is not None
                # One that did not have to be made again may tell of other places of the same resources.
                told, due = map(_toldIn, (attached.translation, anew))
                self.assertEqual(told, due, (case.proxy.id, seed, step))
                for typeURL, expected in wanted.resources.items():
                    self.assertEqual(attached.snapshot.ofType(typeURL), expected, (case.proxy.id, seed, step, typeURL))

    def test_anew(self) -> None:
        """
        Of every golden case, in whatever order.
        """
        for number, name in enumerate(caseNames()):
            self.check(caseOf(name), number)

    def test_forgotten(self) -> None:
        """
        Of a proxy that is gone nothing is kept.
        """
        self.put(*map(_document, resourcesOf(caseOf("bookinfo-sidecar").resources)))
        self.start()
        self.attach()
        self.reactor.advance(1)
        (attached,) = self.snapshots.attached
        self.assertTrue(self.snapshots._shared._inbound)
        self.detach()
        self.assertEqual(self.snapshots._shared._inbound, {})
        self.assertEqual(self.snapshots.attached, [])


class BytesTests(SnapshotTestCase):
    """
    Routes that are put together of their virtual hosts.
    """

    def test_same(self) -> None:
        """
        They are the bytes that the whole message is, with its version.
        """
        for name in caseNames():
            made = translated(caseOf(name))
            whole = {one: versioned(messageOf(ROUTES, value)) for one, value in made.routes.items()}
            self.assertEqual(Converter().convert(ROUTES, made.routes), whole, name)

    def test_long(self) -> None:
        """
        Lengths of one byte, two and three.
        """
        for size in (0, 1, 100, 127, 128, 300, 16383, 16384, 70000):
            table = {"name": "r", "virtualHosts": [{"name": "h" * size, "domains": ["*"]}], "validateClusters": False}
            self.assertEqual(Converter().convert(ROUTES, {"r": table})["r"], versioned(messageOf(ROUTES, table)))

    def test_base(self) -> None:
        """
        What is shared is converted once, and what a proxy has of its own goes before it.
        """
        base = Translation(listeners={"a": {"name": "a"}, "b": {"name": "b"}})
        own = Translation(listeners={"b": {"name": "b", "statPrefix": "own"}})
        converter = Converter()
        first, second = (
            converter.snapshot(Translation(base=base, own=own)).ofType(f"type.googleapis.com/{LISTENER}")
            for _ in range(2)
        )
        self.assertIs(first["a"], second["a"])
        self.assertIn(b"own", first["b"].value)
        self.assertIsInstance(first, Resources)
