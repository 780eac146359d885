# -*- test-case-name: tests.controlplane.registry.test_index -*-
"""
Tests for L{meshproxy.controlplane.registry.index}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.resource import Key
from meshproxy.controlplane.registry.index import Change, ServiceIndex, changesBetween
from meshproxy.controlplane.registry.services import Endpoint, Port, Service

ORIGIN = Key("", "Service", "shop", "a")
A = Service(host="a", namespace="shop", ports=(Port(number=80), Port(number=81)), origin=ORIGIN)
ENDPOINT = Endpoint(address="10.0.0.1", port=8080, servicePort=80)


class IndexTests(SynchronousTestCase):
    """
    Services, found in several ways.
    """

    def test_visible(self) -> None:
        """
        The own service wins over others of the same host, then the oldest that is exported; what is exported to nobody
        is not seen.
        """
        old = evolve(A, namespace="other", age=(False, "2020", "", ""))
        young = evolve(A, namespace="third", age=(False, "2021", "", ""))
        hidden = evolve(A, host="b", exportTo=frozenset("~"))
        private = evolve(A, host="c", exportTo=frozenset("."))
        index = ServiceIndex([young, A, old, hidden, private])
        self.assertIs(index.visible("a", "shop"), A)
        self.assertIs(index.visible("a", "nowhere"), old)
        self.assertIsNone(index.visible("b", "shop"))
        self.assertIs(index.visible("c", "shop"), private)
        self.assertIsNone(index.visible("c", "other"))
        index.visibleServices("shop").clear()
        self.assertEqual(index.visibleServices("shop"), [A, private])
        self.assertEqual(index.visibleServices("other"), [old])
        self.assertEqual(list(index.inNamespace("shop")), [A, hidden, private])

    def test_oldest(self) -> None:
        """
        Of two services with one key the older counts.
        """
        old = evolve(A, name="old", age=(False, "2020", "", ""))
        self.assertEqual(ServiceIndex([A, old]).services, (old,))

    def test_targets(self) -> None:
        """
        What a workload serves: by its address, in its namespace.
        """
        endpoints = [ENDPOINT, evolve(ENDPOINT, servicePort=81), evolve(ENDPOINT, address="10.0.0.2")]
        index = ServiceIndex([A], {A.key: [evolve(one, namespace="shop") for one in endpoints]})
        found = index.targets(["10.0.0.1"], "shop")
        self.assertEqual([(one.service.host, one.port.number) for one in found], [("a", 80), ("a", 81)])
        self.assertEqual(index.targets(["10.0.0.1"], "other"), [])
        self.assertEqual(index.targets(["10.0.0.9"], "shop"), [])

    def test_changes(self) -> None:
        """
        A service that is another, and one that has other endpoints, are told apart; what stays is not told.
        """
        before = ServiceIndex([A, evolve(A, host="b"), evolve(A, host="c")], {A.key: [ENDPOINT]})
        after = ServiceIndex([A, evolve(A, host="b", external=True), evolve(A, host="d")], {A.key: []})
        change = changesBetween(before, after)
        self.assertEqual({key.host for key in change.services}, {"b", "c", "d"})
        self.assertEqual({key.host for key in change.endpoints}, {"a"})
        self.assertFalse(changesBetween(before, before))
        self.assertFalse(Change())

    def test_behind(self) -> None:
        """
        One that stands behind an older one changes what is told of both, coming and going, not with what it says.
        """
        young = evolve(A, origin=Key("", "Service", "shop", "b"), age=(False, "2021", "", ""))
        other = evolve(young, external=True)
        old = evolve(A, age=(False, "2020", "", ""))
        alone, both = ServiceIndex([old]), ServiceIndex([old, young])
        for before, after, changed in (
            (alone, both, {A.key}),
            (both, alone, {A.key}),
            (both, ServiceIndex([old, other]), set()),
        ):
            self.assertEqual(changesBetween(before, after).services, changed)
