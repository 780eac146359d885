"""
Tests for L{meshproxy.controlplane.ca.identity}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.ca.identity import Identity, IdentityError, checkTrustDomain


class IdentityTests(SynchronousTestCase):
    """
    L{Identity} is a SPIFFE ID of Istio's form, or nothing.
    """

    def test_roundTrip(self) -> None:
        """
        A SPIFFE ID is parsed, and written the same.
        """
        uri = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews.v1"
        identity = Identity.parse(uri)
        self.assertEqual(identity, Identity("cluster.local", "default", "bookinfo-reviews.v1"))
        self.assertEqual(str(identity), uri)

    def test_noIdentities(self) -> None:
        """
        What could be read in two ways, or slips something in, is refused whole.
        """
        for uri in (
            "",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/a",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://cluster.local/ns/a/sa/b\n",
            "spiffe://cluster.local/ns/a/sa/b?c",
            "spiffe://cluster.local/ns/a/sa/b#c",
            "spiffe://cluster.local/ns/a/sa/b%2f",
            "spiffe://cluster.local/ns/../sa/b",
            "spiffe://cluster.local/ns/a/sa/..",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/a.b/sa/c",
            "spiffe://cluster.local/ns/A/sa/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe://cluster.local:80/ns/a/sa/b",
            "spiffe://user@cluster.local/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
            "SPIFFE://cluster.local/ns/a/sa/b",
            "https://cluster.local/ns/a/sa/b",
            " spiffe://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/sa/b\0",
            "spiffe://cluster.local/ns/a/sa/-b",
            "spiffe://cluster.local/ns/a/sa/" + "b" * 254,
            "spiffe://cluster.local/ns/" + "a" * 64 + "/sa/b",
        ):
            self.assertRaises(IdentityError, Identity.parse, uri)

    def test_parts(self) -> None:
        """
        Parts that are put together are checked as well, and the error says what is allowed.
        """
        error = self.assertRaises(IdentityError, Identity, "cluster.local", "a/sa/admin", "b")
        self.assertIn("'a/sa/admin' is no namespace: lower case", str(error))
        self.assertRaises(IdentityError, Identity, "cluster.local", "a", "b/c")
        self.assertRaises(IdentityError, Identity, "x" * 256, "a", "b")
        self.assertEqual(checkTrustDomain("td_1.example-2"), "td_1.example-2")
