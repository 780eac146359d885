"""
What each store must do, whatever stands behind it: L{StoreContract}, to be mixed into a test case.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from meshproxy.controlplane.store.interfaces import IStore, IWatcher
from meshproxy.controlplane.store.values import Change, Commit, Compacted, Conflict, Key, StoreError
from meshproxy.testing.clock import VirtualReactor

__all__ = ["GATEWAYS", "SERVICES", "StoreContract", "Watcher", "key"]

GATEWAYS = "networking.istio.io/gateways"
SERVICES = "/services"


def key(name: str, namespace: str = "default", collection: str = GATEWAYS) -> Key:
    """
    A key, of a gateway unless said otherwise.
    """
    return Key(collection, namespace, name)


@implementer(IWatcher)
class Watcher:
    """
    Writes down what it is told.
    """

    def __init__(self) -> None:
        self.told: list[tuple[int, list[tuple[str, str]]]] = []
        self.lost: list[Exception] = []

    def committed(self, commit: Commit) -> None:
        """
        See L{IWatcher}. Of each change the name and what happened to it.
        """
        self.told.append((commit.revision, [(w.key.name, _verb(w.before, w.after)) for w in commit.changes]))

    def watchLost(self, error: Exception) -> None:
        """
        See L{IWatcher}.
        """
        self.lost.append(error)


def _verb(before: object, after: object) -> str:
    if before is None:
        return "created"
    return "deleted" if after is None else "changed"


class StoreContract(SynchronousTestCase):
    """
    The promises of L{IStore}. A subclass makes the store, and may open it again.
    """

    reactor: VirtualReactor
    store: Any

    def makeStore(self, history: int = 10_000) -> Any:
        """
        A new, empty store; the subclass' part.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = self.makeStore()
        self.addCleanup(lambda: self.store.close())

    # What the tests say it with.

    def commit(self, *changes: Change, author: str = "ann") -> Commit:
        """
        A commit that succeeds.
        """
        commit: Commit = self.successResultOf(self.store.commit(changes, author))
        return commit

    def put(self, name: str, value: object = 1, **more: Any) -> Commit:
        """
        Write one document.
        """
        return self.commit(Change(key(name), {"value": value}, **more))

    def delete(self, name: str, **more: Any) -> Commit:
        """
        Delete one document.
        """
        return self.commit(Change(key(name), None, **more))

    def values(self, revision: int | None = None) -> dict[str, object]:
        """
        What is there, or was at a revision: names and values.
        """
        asked = self.store.listing() if revision is None else self.store.at(revision)
        return {entry.key.name: entry.document["value"] for entry in self.successResultOf(asked).entries}

    # The promises.

    def test_interface(self) -> None:
        """
        It has all of the interface.
        """
        self.assertTrue(verifyObject(IStore, self.store))

    def test_empty(self) -> None:
        """
        An empty store is at revision 0, and what is not there is None.
        """
        self.assertEqual(self.store.revision, 0)
        self.assertIsNone(self.successResultOf(self.store.get(key("a"))))
        listing = self.successResultOf(self.store.listing())
        self.assertEqual((list(listing.entries), listing.revision), ([], 0))
        self.assertEqual(self.successResultOf(self.store.history()), [])

    def test_writeAndRead(self) -> None:
        """
        What was written is read, with the revisions of its making and of its last change, and who made it and when.
        """
        commit = self.put("a", {"deep": [1, 2.5, None, True, "ä"]})
        self.assertEqual((commit.revision, commit.author, commit.time), (1, "ann", self.reactor.seconds()))
        self.put("b")
        self.put("a", 2)
        entry = self.successResultOf(self.store.get(key("a")))
        self.assertEqual((entry.key, entry.document, entry.revision, entry.created), (key("a"), {"value": 2}, 3, 1))
        self.assertEqual(self.store.revision, 3)

    def test_createdAnew(self) -> None:
        """
        What is deleted and written again is new.
        """
        self.put("a")
        self.delete("a")
        self.put("a")
        entry = self.successResultOf(self.store.get(key("a")))
        self.assertEqual((entry.revision, entry.created), (3, 3))

    def test_listing(self) -> None:
        """
        Lists are in order of the keys, and hold what was asked for.
        """
        for one in (key("b"), key("a"), key("c", "other"), key("d", collection=SERVICES)):
            self.commit(Change(one, {"value": 1}))

        def names(*asked: str) -> str:
            return "".join(entry.key.name for entry in self.successResultOf(self.store.listing(*asked)).entries)

        self.assertEqual([names(), names(GATEWAYS), names(GATEWAYS, "default")], ["dabc", "abc", "ab"])
        self.assertEqual([names("", "other"), names(SERVICES, "other"), names("none")], ["c", "", ""])

    def test_ownDocuments(self) -> None:
        """
        A document that is changed by who wrote it stays in the store as it was written.
        """
        document: dict[str, Any] = {"value": [1]}
        self.commit(Change(key("a"), document))
        document["value"].append(2)
        self.assertEqual(self.values(), {"a": [1]})

    def test_transaction(self) -> None:
        """
        Several changes are one commit with one revision.
        """
        self.put("gone")
        commit = self.commit(
            Change(key("a"), {"value": 1}), Change(key("gone"), None), Change(key("b"), {"value": 2}, expected=0)
        )
        self.assertEqual((commit.revision, self.store.revision, self.values()), (2, 2, {"a": 1, "b": 2}))

    def test_conflicts(self) -> None:
        """
        A commit whose expectations are not met does nothing, and each one that is not met is told.
        """
        self.put("a")
        self.put("b")
        changes = [
            Change(key("new"), {"value": 1}),
            Change(key("a"), {"value": 2}, expected=2),
            Change(key("b"), {"value": 2}, expected=0),
            Change(key("c"), {"value": 2}, expected=1),
            Change(key("d"), None, expected=0),
        ]
        conflict = self.failureResultOf(self.store.commit(changes, "bob"), Conflict).value
        self.assertEqual([(m.key.name, m.expected, m.found) for m in conflict.mismatches], [
            ("a", 2, 1), ("b", 0, 2), ("c", 1, 0), ("d", 0, 0),
        ])  # fmt: skip
        self.assertIn("networking.istio.io/gateways/default/a is at revision 1, not at 2", str(conflict))
        self.assertIn("default/b exists already", str(conflict))
        self.assertIn("default/c does not exist", str(conflict))
        self.assertEqual((self.values(), self.store.revision), ({"a": 1, "b": 1}, 2))

    def test_expectations(self) -> None:
        """
        Those that are met are no hindrance; to delete what is not there is none where anything is expected.
        """
        self.put("a", expected=0)
        self.put("a", 2, expected=1)
        self.delete("a", expected=2)
        self.delete("a")
        self.assertEqual(self.values(), {})

    def test_race(self) -> None:
        """
        Of two that saw the same revision the first one wins, also where neither was answered yet.
        """
        self.put("a")
        first = self.store.commit([Change(key("a"), {"value": "first"}, 1)], "ann")
        second = self.store.commit([Change(key("a"), {"value": "second"}, 1)], "bob")
        self.successResultOf(first)
        self.failureResultOf(second, Conflict)
        self.assertEqual(self.values(), {"a": "first"})

    def test_unsayable(self) -> None:
        """
        What JSON cannot say, two changes of one key and no change at all are refused.
        """
        cycle: dict[str, object] = {}
        cycle["cycle"] = cycle
        nan = float("nan")
        documents: list[Any] = [{"value": nan}, {"value": object()}, {"value": "\ud800"}, cycle, {(1, 2): 3}, [1]]
        for document in documents:
            self.failureResultOf(self.store.commit([Change(key("a"), document)], "ann"), ValueError)
        twice = [Change(key("a"), {"value": 1}), Change(key("a"), None)]
        self.failureResultOf(self.store.commit(twice, "ann"), ValueError)
        self.failureResultOf(self.store.commit([], "ann"), ValueError)
        self.assertEqual(self.store.revision, 0)

    def test_watch(self) -> None:
        """
        A watch from a list's revision hears of each later commit, once and in order, in a turn of its own.
        """
        self.put("old")
        watcher = Watcher()
        self.store.watch(watcher, self.store.revision)
        self.put("a")
        self.put("a")
        self.delete("a")
        self.assertEqual(watcher.told, [])
        self.reactor.advance(0)
        self.assertEqual(watcher.told, [(2, [("a", "created")]), (3, [("a", "changed")]), (4, [("a", "deleted")])])
        self.reactor.advance(1)
        self.assertEqual(len(watcher.told), 3)

    def test_watchFromThePast(self) -> None:
        """
        A watch from an earlier revision first hears what it missed.
        """
        for name in "abc":
            self.put(name)
        watcher = Watcher()
        self.store.watch(watcher, 1)
        self.put("d")
        self.reactor.advance(0)
        self.assertEqual([revision for revision, _ in watcher.told], [2, 3, 4])

    def test_watchCollection(self) -> None:
        """
        A watch of a collection hears only of it, and of a commit only its part.
        """
        watcher = Watcher()
        self.store.watch(watcher, 0, SERVICES)
        self.put("a")
        self.commit(Change(key("b"), {"value": 1}), Change(key("s", collection=SERVICES), {"value": 1}))
        self.reactor.advance(0)
        self.assertEqual(watcher.told, [(2, [("s", "created")])])

    def test_watchCancelled(self) -> None:
        """
        Who cancels hears nothing more, not even what was on its way.
        """
        watcher = Watcher()
        watch = self.store.watch(watcher, 0)
        self.put("a")
        watch.cancel()
        watch.cancel()
        self.reactor.advance(0)
        self.assertEqual((watcher.told, watcher.lost), ([], []))

    def test_watchThatRaises(self) -> None:
        """
        A watcher that raises is told so and no more; others and the store go on.
        """
        fault = ZeroDivisionError("fault")

        class Raising(Watcher):
            def committed(self, commit: Commit) -> None:
                raise fault

        bad, good = Raising(), Watcher()
        self.store.watch(bad, 0)
        self.store.watch(good, 0)
        self.put("a")
        self.reactor.advance(0)
        self.put("b")
        self.reactor.advance(0)
        self.assertEqual((bad.lost, len(good.told)), ([fault], 2))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_watcherThatWrites(self) -> None:
        """
        A watcher may write; all hear of that too, in order.
        """
        test = self

        class Writing(Watcher):
            def committed(self, commit: Commit) -> None:
                super().committed(commit)
                if commit.revision == 1:
                    test.put("answer")

        writing, other = Writing(), Watcher()
        self.store.watch(writing, 0)
        self.store.watch(other, 0)
        self.put("a")
        self.reactor.advance(0)
        self.assertEqual([revision for revision, _ in writing.told], [1, 2])
        self.assertEqual(other.told, writing.told)

    def test_watchTheFuture(self) -> None:
        """
        A revision that is yet to come is a mistake.
        """
        self.assertRaises(ValueError, self.store.watch, Watcher(), 1)
        self.failureResultOf(self.store.at(1), ValueError)

    def test_history(self) -> None:
        """
        The history tells newest first who did what, of one key if asked, and in pages.
        """
        self.put("a", 1)
        self.commit(Change(key("a"), {"value": 2}), Change(key("b"), {"value": 1}), author="bob")
        self.delete("a")
        everything = self.successResultOf(self.store.history())
        self.assertEqual([(c.revision, c.author) for c in everything], [(3, "ann"), (2, "bob"), (1, "ann")])
        ofB = self.successResultOf(self.store.history(key("b")))
        self.assertEqual([(c.revision, [w.key.name for w in c.changes]) for c in ofB], [(2, ["b"])])
        older = self.successResultOf(self.store.history(before=3, limit=1))
        self.assertEqual([c.revision for c in older], [2])
        change = everything[1].changes[0]
        self.assertEqual((change.before.document, change.after.document), ({"value": 1}, {"value": 2}))

    def test_message(self) -> None:
        """
        A commit keeps why it was made.
        """
        self.successResultOf(self.store.commit([Change(key("a"), {})], "ann", "because"))
        self.assertEqual(self.successResultOf(self.store.history())[0].message, "because")

    def test_at(self) -> None:
        """
        Each earlier moment can be looked at, revisions of entries included.
        """
        self.put("a", 1)
        self.put("b", 1)
        self.put("a", 2)
        self.delete("b")
        self.put("b", 3)
        self.assertEqual(
            [self.values(revision) for revision in range(6)],
            [{}, {"a": 1}, {"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2}, {"a": 2, "b": 3}],
        )
        listing = self.successResultOf(self.store.at(4))
        self.assertEqual([(e.revision, e.created) for e in listing.entries], [(3, 1)])
        self.assertEqual(listing.revision, 4)

    def test_compact(self) -> None:
        """
        What is compacted away can be asked for no more; what is there stays, and what comes goes on.
        """
        self.put("a", 1)
        self.put("b", 1)
        self.put("a", 2)
        self.successResultOf(self.store.compact(2))
        self.assertEqual(self.values(), {"a": 2, "b": 1})
        self.assertEqual(self.values(2), {"a": 1, "b": 1})
        lost = self.failureResultOf(self.store.at(1), Compacted).value
        self.assertEqual((lost.revision, lost.oldest), (1, 2))
        self.assertRaises(Compacted, self.store.watch, Watcher(), 1)
        watcher = Watcher()
        self.store.watch(watcher, 2)
        self.put("c")
        self.reactor.advance(0)
        self.assertEqual([revision for revision, _ in watcher.told], [3, 4])
        self.assertEqual([c.revision for c in self.successResultOf(self.store.history())], [4, 3])

    def test_compactUnderAWatch(self) -> None:
        """
        A watch whose next commit is compacted away is told that it lost something.
        """
        watcher = Watcher()
        self.store.watch(watcher, 0)
        self.put("a")
        self.put("b")
        self.successResultOf(self.store.compact(1))
        self.reactor.advance(0)
        self.assertEqual((watcher.told, len(watcher.lost)), ([], 1))
        self.assertIsInstance(watcher.lost[0], Compacted)

    def test_boundedHistory(self) -> None:
        """
        The history does not grow for ever.
        """
        self.successResultOf(self.store.close())
        self.store = self.makeStore(history=10)
        for number in range(40):
            self.put("a", number)
        kept = len(self.successResultOf(self.store.history()))
        self.assertTrue(10 <= kept <= 11, kept)
        self.assertEqual(self.values(39), {"a": 38})

    def test_closed(self) -> None:
        """
        A closed store takes nothing more and tells nothing more; to close it again is no fault.
        """
        watcher = Watcher()
        self.store.watch(watcher, 0)
        self.put("a")
        self.successResultOf(self.store.close())
        self.successResultOf(self.store.close())
        self.reactor.advance(0)
        self.assertEqual((watcher.told, watcher.lost), ([], []))
        self.failureResultOf(self.store.commit([Change(key("b"), {})], "ann"), StoreError)
        self.failureResultOf(self.store.compact(1), StoreError)
