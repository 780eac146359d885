"""
Tests for L{meshproxy.controlplane.api.access}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.access import ALL_ROLES, Access, Caller, Principal, Role, TokenGrant
from meshproxy.controlplane.api.replies import Refused

READ = frozenset({Role.READ})


class AccessTests(SynchronousTestCase):
    """
    L{Access} knows who asks.
    """

    def setUp(self) -> None:
        digest = hashlib.sha256(b"secret").hexdigest()
        self.access = Access([TokenGrant("ci", digest.upper(), READ)], {"spiffe://td/ns/a/sa/b": READ})

    def principal(self, peer: str, identities: Sequence[str] = (), **headers: str) -> Principal:
        """
        Who asks, with a C{Host} of this machine unless said otherwise.
        """
        fields = {"host": "localhost:15014", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.access.principal(Caller(peer, identities, fields))

    def refused(self, peer: str, identities: Sequence[str] = (), **headers: str) -> int:
        """
        The status with which a caller is refused.
        """
        error = self.assertRaises(Refused, self.principal, peer, identities, **headers)
        assert isinstance(error, Refused)
        return error.code

    def test_loopback(self) -> None:
        """
        This machine, in each form of its address.
        """
        for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", ""):
            self.assertEqual(self.principal(host), Principal("local", ALL_ROLES), host)
        for host in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%lo", "nonsense", "0.0.0.0"):
            self.assertEqual(self.refused(host), 401, host)

    def test_localNames(self) -> None:
        """
        C{Host} is a name of this machine that nobody else can give away.
        """
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:80", "[::1]:15014", "[::1]"):
            self.principal("127.0.0.1", host=host)
        for host in ("", ":80", "a.test", "localhost.", "localhost.a.test", "127.0.0.1.a.test", "10.0.0.1", "[::2]"):
            self.assertEqual(self.refused("127.0.0.1", host=host), 403, host)

    def test_token(self) -> None:
        """
        A token counts from everywhere, and a wrong one also here.
        """
        for authorization in ("Bearer secret", "bearer secret", "Bearer  secret "):
            self.assertEqual(self.principal("10.0.0.1", authorization=authorization), Principal("ci", READ))
        self.assertEqual(self.principal("127.0.0.1", host="a.test", authorization="Bearer secret").name, "ci")
        for authorization in ("Bearer wrong", "Bearer", "Basic secret", "secret", "", "Bearer \udcff"):
            self.assertEqual(self.refused("127.0.0.1", authorization=authorization), 401)

    def test_certificate(self) -> None:
        """
        An identity that is known may do what it was given; another one is a stranger.
        """
        self.assertEqual(self.principal("10.0.0.1", ["spiffe://td/ns/a/sa/b"]).roles, READ)
        self.assertEqual(self.refused("10.0.0.1", ["spiffe://td/ns/a/sa/c"]), 401)

    def test_closedLoopback(self) -> None:
        """
        Where nothing is allowed to this machine as such, it needs a token too.
        """
        self.access = Access(local=frozenset())
        self.assertEqual(self.refused("127.0.0.1"), 401)

    def test_roles(self) -> None:
        """
        What one lacks is told.
        """
        error = self.assertRaises(Refused, Principal("ci", READ).require, Role.ISSUE)
        self.assertIn("ci lacks the role 'issue' (it has: read)", str(error))
