# -*- test-case-name: tests.secrets.test_keylog -*-
"""
The secrets of sessions in a file, for those who have to look into what was said (C{CommonTlsContext.key_log}).

The format is that of C{SSLKEYLOGFILE}, which Wireshark reads. Whoever has the file can read the connections in it, so
that its owner alone may.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from OpenSSL import SSL
from twisted.logger import Logger

from meshproxy.config import Section
from meshproxy.config.cidr import compileCidrSet

__all__ = ["KeyLog", "compileKeyLog"]


class KeyLog:
    """
    Writes what OpenSSL tells of a context's connections.
    """

    _log = Logger()

    def __init__(self, section: Section) -> None:
        """
        @param section: A C{TlsKeyLog} message.
        """
        self._path: str = section.get("path")
        self._local = compileCidrSet(section.children("local_address_range"))
        self._remote = compileCidrSet(section.children("remote_address_range"))
        self._isBroken = False
        there = self._path if os.path.exists(self._path) else os.path.dirname(self._path) or "."
        if not os.access(there, os.W_OK):
            section.refuse(f"{self._path!r} cannot be written", "path")

    def setUp(self, context: SSL.Context) -> None:
        """
        Have a context tell the secrets of its connections.
        """
        context.set_keylog_callback(self._told)

    def _told(self, connection: SSL.Connection, line: bytes) -> None:
        sock = connection._socket
        if self._isWanted(sock):
            fault = self._append(line + b"\n")
            if fault and not self._isBroken:
                self._log.warn("key_log: {path} cannot be written: {why}", path=self._path, why=fault)
            self._isBroken = bool(fault)

    def _isWanted(self, sock: Any) -> bool:
        """
        Whether a connection is between addresses that were asked for.
        """
        if not self._local and not self._remote:
            return True
        if sock is None or sock.family == socket.AF_UNIX:
            return False
        try:
            local, remote = sock.getsockname()[0], sock.getpeername()[0]
        except OSError:
            return False
        return (not self._local or self._local.containsText(local)) and (
            not self._remote or self._remote.containsText(remote)
        )

    def _append(self, line: bytes) -> str:
        """
        Write a line, whole, whoever else writes.

        @return: What is in the way, empty for nothing.
        """
        try:
            # Opened for each line, it may be moved away at any time.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or "no path of a file"
        return ""


def compileKeyLog(common: Section) -> KeyLog | None:
    """
    Read C{key_log} of a C{CommonTlsContext}.
    """
    section = common.child("key_log")
    return None if section is None else KeyLog(section)
