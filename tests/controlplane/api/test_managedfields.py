"""
Tests for L{meshproxy.controlplane.api.managedfields}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.managedfields import (
    APPLY,
    ITEM,
    UPDATE,
    Owner,
    fieldsOf,
    ownersOf,
    told,
    tracked,
)

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews", "labels": {"app": "reviews"}, "annotations": {}},
    "spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}], "selector": {}},
    "status": {"programmed": "1 of 1"},
}
TCP, UDP = 'k:{"port":80,"protocol":"TCP"}', 'k:{"port":80,"protocol":"UDP"}'


class FieldsTests(SynchronousTestCase):
    """
    L{fieldsOf} finds what somebody can manage.
    """

    def test_fields(self) -> None:
        """
        Labels, the items of a keyed list and what is in them, an empty mapping; neither names nor what is the control
        plane's.
        """
        ports = ("f:spec", "f:ports")
        self.assertEqual(
            fieldsOf("Service", SERVICE),
            {
                ("f:metadata", "f:labels", "f:app"): "reviews",
                (*ports, TCP): ITEM,
                (*ports, TCP, "f:port"): 80,
                (*ports, UDP): ITEM,
                (*ports, UDP, "f:port"): 80,
                (*ports, UDP, "f:protocol"): "UDP",
                ("f:spec", "f:selector"): {},
            },
        )

    def test_oneValue(self) -> None:
        """
        A list is one value where its items have no keys, or not each its own.
        """
        for kind, ports in (("Sidecar", [{"port": 80}]), ("Service", [{"port": 80}] * 2), ("Service", [{"name": "a"}])):
            self.assertEqual(fieldsOf(kind, {"spec": {"ports": ports}}), {("f:spec", "f:ports"): ports})


class OwnersTests(SynchronousTestCase):
    """
    Owners are read and told in Kubernetes' form.
    """

    def test_roundTrip(self) -> None:
        """
        What stands within what somebody manages as well is told with a dot.
        """
        paths = frozenset(fieldsOf("Service", SERVICE))
        owner = Owner("me", APPLY, "v1", "2026-01-02T03:04:05Z", paths)
        (value,) = told([owner, Owner("nobody", UPDATE, "v1", "", frozenset())])
        self.assertEqual(value["fieldsV1"]["f:spec"]["f:ports"][TCP], {".": {}, "f:port": {}})
        self.assertEqual(ownersOf([value]), [owner])

    def test_unknown(self) -> None:
        """
        What cannot be understood is nothing; an empty list, or an empty item, takes all owners away.
        """
        good = told([Owner("me", APPLY, "v1", "now", frozenset([("f:spec",)]))])[0]
        wrongs: list[Any] = [None, "text", {}, [1], [{**good, "operation": "Guess"}], [{**good, "manager": None}, good]]
        for wrong in wrongs:
            self.assertIsNone(ownersOf(wrong), wrong)
        self.assertIsNone(ownersOf([{**good, "fieldsV1": "all"}]))
        self.assertEqual(ownersOf([]), [])
        self.assertEqual(ownersOf([{}]), [])


class TrackedTests(SynchronousTestCase):
    """
    L{tracked} follows writes of other kinds.
    """

    def test_changes(self) -> None:
        """
        Who changes a field has it, others lose it, and what is gone is nobody's; times change with fields only.
        """
        one, two, gone = (("f:spec", f"f:{name}") for name in ("one", "two", "gone"))
        before = {"apiVersion": "v1", "spec": {"one": 1, "two": 2, "gone": 3}}
        owners = [
            Owner("a", APPLY, "v1", "then", frozenset([one, gone])),
            Owner("b", APPLY, "v1", "then", frozenset([two])),
        ]
        after = {"apiVersion": "v1", "spec": {"one": True, "two": 2}}
        found = tracked("Sidecar", owners, before, after, "c", "now")
        self.assertEqual(
            found,
            [
                Owner("a", APPLY, "v1", "now", frozenset()),
                Owner("b", APPLY, "v1", "then", frozenset([two])),
                Owner("c", UPDATE, "v1", "now", frozenset([one])),
            ],
        )
        # The same writer again has one entry; nothing new changes nothing.
        again = {"apiVersion": "v1", "spec": {"one": True, "two": 3}}
        found = tracked("Sidecar", found, after, again, "c", "later")
        self.assertEqual(found[2], Owner("c", UPDATE, "v1", "later", frozenset([one, two])))
        self.assertEqual(tracked("Sidecar", found, again, again, "d", "much later"), found)
