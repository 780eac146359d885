# -*- test-case-name: tests.net.test_datagrams -*-
"""
Datagrams that are sent and forgotten.
"""

from __future__ import annotations

import socket

from twisted.logger import Logger

from meshproxy.net.address import Address

__all__ = ["DatagramSender"]


class DatagramSender:
    """
    Sends datagrams to one address. Nobody waits for them: what cannot be sent at once is lost, as much else of them may
    be on the way.

    @ivar lost: How many could not be sent.
    """

    log = Logger()

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self.lost = 0

    def send(self, data: bytes) -> None:
        """
        Send one.
        """
        try:
            if self._socket is None:
                self._open()
            assert self._socket is not None
            self._socket.send(data)
        except OSError as error:
            # Nobody may listen there yet; the error of one datagram comes with the next.
            self.lost += 1
            if self.lost == 1:
                self.log.warn("a datagram to {address} is lost: {why}", address=self._address.text, why=error.strerror)

    def _open(self) -> None:
        made = socket.socket(self._address.family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.connect(self._address.socketName)
        except OSError:
            made.close()
            raise
        self._socket = made

    def close(self) -> None:
        """
        Send no more.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None
