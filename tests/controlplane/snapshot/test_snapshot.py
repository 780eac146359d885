"""
Tests for L{meshproxy.controlplane.snapshot.snapshot}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.snapshot.snapshot import EMPTY, Resources, Snapshot, Versioned
from meshproxy.xds.types import CLUSTER, LISTENER
from tests.controlplane.xds.support import CLUSTERS, snapshot


class SnapshotTests(SynchronousTestCase):
    """
    L{Snapshot} knows its versions.
    """

    def test_versions(self) -> None:
        """
        The same content has the same version, however it came about; any change has another.
        """
        self.assertEqual(snapshot(clusters="a b").version(CLUSTER), snapshot(clusters="b a").version(CLUSTER))
        versions = {snapshot(clusters=told).version(CLUSTER) for told in ("", "a", "a=2", "a b", "ab", "b")}
        self.assertEqual(len(versions), 6)
        self.assertEqual(EMPTY.version(LISTENER), snapshot(clusters="a").version(LISTENER))

    def test_shared(self) -> None:
        """
        What did not change is the same object, so that a thousand proxies' snapshots do not hold it a thousand times.
        """
        from tests.controlplane.xds.support import _message

        before = snapshot(clusters="a b")
        messages = {CLUSTERS: {"a": _message(CLUSTERS, "a", ""), "b": _message(CLUSTERS, "b", "2")}}
        after = Snapshot.of(messages, before)
        self.assertIs(after.ofType(CLUSTER)["a"], before.ofType(CLUSTER)["a"])
        self.assertNotEqual(after.ofType(CLUSTER)["b"], before.ofType(CLUSTER)["b"])
        messages[CLUSTERS]["b"] = _message(CLUSTERS, "b", "")
        self.assertIs(Snapshot.of(messages, before).ofType(CLUSTER), before.ofType(CLUSTER))

    def test_replacing(self) -> None:
        """
        Some resources anew leave the others and the first snapshot as they are.
        """
        before = snapshot(clusters="a b")
        after = before.replacing(CLUSTER, {"b": Versioned(b"x", "1")})
        self.assertIs(after.ofType(CLUSTER)["a"], before.ofType(CLUSTER)["a"])
        self.assertEqual(after.ofType(CLUSTER)["b"].value, b"x")
        self.assertNotEqual(before.ofType(CLUSTER)["b"].value, b"x")

    def test_versionOfReplaced(self) -> None:
        """
        The version is that of the content, however it came about: in one step or in several, asked for between them or
        not.
        """
        whole = Snapshot({CLUSTER: Resources({name: Versioned(b"", name) for name in "abc"})})
        for isAsked in (True, False):
            made = Snapshot({CLUSTER: Resources({"a": Versioned(b"", "1"), "b": Versioned(b"", "b")})})
            for name in "acc":
                if isAsked:
                    made.version(CLUSTER)
                made = made.replacing(CLUSTER, {name: Versioned(b"", name)})
            self.assertEqual(made.version(CLUSTER), whole.version(CLUSTER), isAsked)
