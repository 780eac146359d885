"""
L{meshproxy.secrets.keylog}.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.secrets.keylog import compileKeyLog
from meshproxy.testing.pki import Authority
from tests.secrets.support import Room, section


class _Socket:
    """
    A socket between two addresses.
    """

    family = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    def getpeername(self) -> tuple[str, int]:
        return "198.51.100.1", 2


class _Connection:
    def __init__(self, sock: Any) -> None:
        self._socket = sock


class KeyLogTests(SynchronousTestCase):
    """
    C{key_log}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def test_handshake(self) -> None:
        """
        The secrets of a session stand in the file, which its owner alone may read.
        """
        room = Room()
        common = {"tls_certificates": [Authority().issue("a").inline], "key_log": {"path": str(self.path)}}
        server = room.downstream({"common_tls_context": common})
        self.assertFalse(self.path.exists())
        ends = room.shake(server, room.upstream({}))
        self.assertTrue(all(end.isMade for end in ends))
        labels = {line.split()[0] for line in self.path.read_text().splitlines()}
        self.assertLessEqual({"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}, labels)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def told(self, sock: Any, **ranges: str) -> bool:
        """
        Whether a line of a connection is written.
        """
        config: dict[str, Any] = {"path": str(self.path)}
        for name, prefix in ranges.items():
            config[f"{name}_address_range"] = [{"address_prefix": prefix, "prefix_len": 24}]
        log = compileKeyLog(section("CommonTlsContext", {"key_log": config}))
        assert log is not None
        kept: list[Any] = []

        class Context:
            set_keylog_callback = kept.append

        log.setUp(Context())  # type: ignore[arg-type]  # all of it that is asked for
        kept[0](_Connection(sock), b"line")
        written = self.path.exists() and self.path.read_bytes() == b"line\n"
        self.path.unlink(missing_ok=True)
        return written

    def test_ranges(self) -> None:
        """
        Both ends have to be in the ranges that are given; who has no address is in none.
        """
        self.assertTrue(self.told(_Socket()))
        self.assertTrue(self.told(None))
        self.assertTrue(self.told(_Socket(), local="192.0.2.0", remote="198.51.100.0"))
        self.assertFalse(self.told(_Socket(), local="192.0.2.0", remote="203.0.113.0"))
        self.assertFalse(self.told(_Socket(), local="203.0.113.0"))
        self.assertFalse(self.told(None, local="192.0.2.0"))

    def test_faults(self) -> None:
        """
        A path that cannot be written is told at once, where that can be known; else the handshake goes on.
        """
        room = Room()
        key = Authority().issue("a").inline
        common = {"tls_certificates": [key], "key_log": {"path": str(self.path / "none" / "file")}}
        error = self.assertRaises(ConfigErrors, room.downstream, {"common_tls_context": common})
        self.assertIn("key_log.path: ", str(error))
        common["key_log"] = {"path": str(self.path)}
        server = room.downstream({"common_tls_context": common})
        self.path.mkdir()
        self.assertTrue(room.shake(server, room.upstream({}))[0].isMade)

    def test_none(self) -> None:
        """
        Nobody who did not ask for it has one.
        """
        self.assertIsNone(compileKeyLog(section("CommonTlsContext", {})))
        self.assertIsNone(SSL.Context(SSL.TLS_SERVER_METHOD)._keylog_callback)
