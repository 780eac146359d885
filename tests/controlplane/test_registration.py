# -*- test-case-name: tests.controlplane.test_registration -*-
"""
Tests for L{meshproxy.controlplane.registration}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.objects import Objects
from meshproxy.controlplane.registration import GROUP, Registration
from meshproxy.controlplane.snapshot.snapshot import EMPTY, Snapshot
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.values import Change, Entry, Key
from meshproxy.testing.clock import VirtualReactor

_ENTRIES, _GROUPS = "networking.istio.io/workloadentries", "networking.istio.io/workloadgroups"
_ENTRY = Key(_ENTRIES, "shop", "cart-10.0.0.1")


def group(name: str = "cart", **template: Any) -> dict[str, Any]:
    """
    A WorkloadGroup.
    """
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "metadata": {"labels": {"app": "cart"}, "annotations": {"why": "test"}},
            "template": {"serviceAccount": "cart", "ports": {"http": 8080}, **template},
        },
    }


def node(address: str = "10.0.0.1", **metadata: Any) -> dict[str, Any]:
    """
    A proxy that names the group.
    """
    told = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart", "AUTO_REGISTER_GROUP": "cart", **metadata}
    return {"id": f"sidecar~{address}~c.shop~x", "metadata": told, "locality": {"region": "r", "zone": "z"}}


class _Source:
    """
    Takes care of proxies.
    """

    def __init__(self) -> None:
        self.attached: list[str] = []

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        Remember it as long as it is there.
        """
        changed(EMPTY)
        self.attached.append(node["id"])
        return lambda: self.attached.remove(node["id"])


class RegistrationTests(SynchronousTestCase):
    """
    L{Registration} keeps an entry for each proxy that names a group.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = Ledger(self.reactor)
        self.source = _Source()
        self.given: list[Snapshot] = []
        self.registration = self.started()

    def started(self) -> Registration:
        """
        One that follows the store.
        """
        made = Registration(self.source, Objects(self.store, self.reactor.seconds), self.reactor)
        self.successResultOf(made.start())
        self.addCleanup(made.stop)
        return made

    def put(self, document: dict[str, Any], collection: str = _GROUPS) -> None:
        """
        Write a resource.
        """
        metadata = document["metadata"]
        key = Key(collection, metadata["namespace"], metadata["name"])
        self.successResultOf(self.store.commit([Change(key, document)], "ann"))
        self.reactor.advance(0)

    def attach(self, **told: Any) -> Callable[[], object]:
        """
        A proxy that comes.
        """
        gone = self.registration.attach(node(**told), self.given.append)
        self.reactor.advance(0)
        return gone

    def entry(self, key: Key = _ENTRY) -> Any:
        """
        The document of an entry, or nothing.
        """
        found: Entry | None = self.successResultOf(self.store.get(key))
        return None if found is None else found.document

    def test_registered(self) -> None:
        """
        The entry has what the group says, and what the proxy says of itself, but for labels that the group has; the
        proxy is taken care of as ever.
        """
        self.put(group())
        self.attach(LABELS={"version": "v2", "app": "payments"}, NETWORK="")
        entry = self.entry()
        self.assertEqual(entry["metadata"]["annotations"], {"why": "test", GROUP: "cart"})
        labels = {"app": "cart", "version": "v2"}
        spec = {"address": "10.0.0.1", "serviceAccount": "cart", "ports": {"http": 8080}, "locality": "r/z"}
        self.assertEqual(entry["spec"], {**spec, "labels": labels})
        self.assertEqual((self.given, self.source.attached), ([EMPTY], ["sidecar~10.0.0.1~c.shop~x"]))
        (commit, *_) = self.successResultOf(self.store.history())
        self.assertEqual(commit.author, "auto-registration")

    def test_names(self) -> None:
        """
        A name is made of group, address and network, so that the same address in two networks is two workloads.
        """
        self.put(group())
        self.attach(address="2001:db8::1", NETWORK="n1")
        entry = self.entry(Key(_ENTRIES, "shop", "cart-2001-db8--1-n1"))
        self.assertEqual((entry["spec"]["address"], entry["spec"]["network"]), ("2001:db8::1", "n1"))

    def test_none(self) -> None:
        """
        A proxy that names no group has no entry.
        """
        self.put(group())
        gone = self.attach(AUTO_REGISTER_GROUP="")
        self.assertIsNone(self.entry())
        gone()
        self.assertEqual(self.source.attached, [])

    def test_gone(self) -> None:
        """
        An entry outlives its proxy by a while, in which it may come again; then it goes.
        """
        self.put(group())
        gone = self.attach()
        other = self.attach()
        gone()
        self.reactor.advance(60)
        self.assertIsNotNone(self.entry())
        other()
        self.reactor.advance(9)
        again = self.attach()
        self.reactor.advance(60)
        self.assertIsNotNone(self.entry())
        again()
        self.reactor.advance(9.9)
        self.assertIsNotNone(self.entry())
        self.reactor.advance(0.2)
        self.assertIsNone(self.entry())

    def test_groupLater(self) -> None:
        """
        A group that comes later, or says something else, counts for who is there; an entry that somebody takes away is
        made again as long as its proxy is there.
        """
        self.attach()
        self.assertIsNone(self.entry())
        self.put(group())
        self.assertEqual(self.entry()["spec"]["ports"], {"http": 8080})
        self.put(group(ports={"http": 8081}))
        self.assertEqual(self.entry()["spec"]["ports"], {"http": 8081})
        self.successResultOf(self.store.commit([Change(_ENTRY, None)], "ann"))
        self.reactor.advance(0)
        self.assertIsNotNone(self.entry())

    def test_another(self) -> None:
        """
        Who has another service account than the group is not one of it, and what others wrote stays theirs.
        """
        self.put(group())
        self.attach(SERVICE_ACCOUNT="thief")
        self.assertIsNone(self.entry())
        own = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": _ENTRY.name, "namespace": "shop"},
            "spec": {"address": "10.0.0.9"},
        }
        self.put(own, _ENTRIES)
        gone = self.attach()
        self.assertEqual(self.entry(), own)
        gone()
        self.reactor.advance(60)
        self.assertEqual(self.entry(), own)

    def test_thief(self) -> None:
        """
        Who says that it is where another one is, and may not, neither keeps its entry from being written, nor makes it
        outlive its proxy.
        """
        self.put(group())
        gone = self.attach(LABELS={"version": "v1"})
        self.attach(SERVICE_ACCOUNT="thief", LABELS={"version": "v2"})
        self.put(group(ports={"http": 8081}))
        self.assertEqual(self.entry()["spec"]["ports"], {"http": 8081})
        self.successResultOf(self.store.commit([Change(_ENTRY, None)], "ann"))
        self.reactor.advance(0)
        self.assertEqual(self.entry()["spec"]["labels"]["version"], "v1")
        gone()
        self.reactor.advance(5)
        self.attach(SERVICE_ACCOUNT="thief")
        self.reactor.advance(4.9)
        self.assertIsNotNone(self.entry())
        self.reactor.advance(0.2)
        self.assertIsNone(self.entry())

    def test_newest(self) -> None:
        """
        Of several at one address the entry is that of the last one that is there.
        """
        self.put(group())
        self.attach(LABELS={"version": "v1"})
        gone = self.attach(LABELS={"version": "v2"})
        self.assertEqual(self.entry()["spec"]["labels"]["version"], "v2")
        gone()
        self.reactor.advance(0)
        self.assertEqual(self.entry()["spec"]["labels"]["version"], "v1")

    def test_groupGone(self) -> None:
        """
        When its group is gone an entry stays as it is with its proxy, and goes with it.
        """
        self.put(group())
        gone = self.attach()
        self.successResultOf(self.store.commit([Change(Key(_GROUPS, "shop", "cart"), None)], "ann"))
        again = self.attach(LABELS={"version": "v2"})
        gone()
        self.reactor.advance(60)
        self.assertEqual(self.entry()["spec"]["labels"], {"app": "cart"})
        again()
        self.reactor.advance(11)
        self.assertIsNone(self.entry())

    def test_restart(self) -> None:
        """
        When the control plane starts again entries stay for those who come again, and go a minute later for others;
        when it stops nothing goes.
        """
        self.put(group())
        self.attach()
        gone = self.attach(address="10.0.0.2")
        self.registration.stop()
        gone()
        self.reactor.advance(60)
        other = Key(_ENTRIES, "shop", "cart-10.0.0.2")
        self.assertIsNotNone(self.entry(other))
        self.registration = self.started()
        self.attach()
        self.reactor.advance(59)
        self.assertIsNotNone(self.entry(other))
        self.reactor.advance(2)
        self.assertEqual((self.entry(other), self.entry() is not None), (None, True))
