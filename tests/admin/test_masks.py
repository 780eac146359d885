"""
Tests for L{meshproxy.admin.masks}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.masks import MaskError, parseMask, trimmed
from meshproxy.admin.messages import anyOf, dictOf
from meshproxy.config import Section
from meshproxy.config.pool import newMessage

CLUSTER = Section.of(
    "envoy.config.cluster.v3.Cluster",
    {
        "name": "c",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "c", "endpoints": [{"priority": 1}, {"priority": 2}]},
    },
).message


def cut(message: Any, mask: str) -> dict[str, Any]:
    """
    What a mask leaves.
    """
    return dictOf(trimmed(message, parseMask(mask)))


class MaskTests(SynchronousTestCase):
    """
    L{trimmed}.
    """

    def test_fields(self) -> None:
        """
        Named fields stay, whole or in part; several paths add up.
        """
        self.assertEqual(cut(CLUSTER, "name"), {"name": "c"})
        self.assertEqual(cut(CLUSTER, "name,connect_timeout"), {"name": "c", "connect_timeout": "1s"})
        self.assertEqual(cut(CLUSTER, "load_assignment.cluster_name"), {"load_assignment": {"cluster_name": "c"}})
        self.assertEqual(cut(CLUSTER, "load_assignment,load_assignment.cluster_name"), cut(CLUSTER, "load_assignment"))

    def test_lists(self) -> None:
        """
        A path goes through each item of a list.
        """
        self.assertEqual(
            cut(CLUSTER, "load_assignment.endpoints.priority"),
            {"load_assignment": {"endpoints": [{"priority": 1}, {"priority": 2}]}},
        )

    def test_any(self) -> None:
        """
        A path goes through an Any, whose type stays.
        """
        static: Any = newMessage("envoy.admin.v3.ClustersConfigDump.StaticCluster")
        static.cluster.CopyFrom(anyOf(CLUSTER))
        self.assertEqual(
            cut(static, "cluster.name"),
            {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c"}},
        )

    def test_unset(self) -> None:
        """
        A path to what is not set leaves nothing, and is no fault.
        """
        self.assertEqual(cut(CLUSTER, "circuit_breakers.thresholds.priority"), {})
        self.assertEqual(cut(CLUSTER, "health_checks.timeout"), {})
        self.assertEqual(cut(CLUSTER, ""), {})

    def test_nothingThere(self) -> None:
        """
        A path that no message of the kind has is refused, be the message set or not.
        """
        for mask in (
            "nobody",
            "name.x",
            "load_assignment.nobody",
            "circuit_breakers.nobody",
            "health_checks.nobody",
            "circuit_breakers.thresholds.priority.x",
            "name.",
            "metadata.filter_metadata.x",
        ):
            with self.subTest(mask=mask):
                self.assertRaises(MaskError, cut, CLUSTER, mask)

    def test_unknownAny(self) -> None:
        """
        What is in an Any of an unknown type cannot be named.
        """
        packed: Any = newMessage("google.protobuf.Any")
        packed.type_url = "x/nobody.Knows"
        self.assertRaises(MaskError, cut, packed, "a")
