"""
A service that answers whatever it is asked, and knows who connected.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.ports import bindFree

__all__ = ["Answering"]


class Answering(threading.Thread):
    """
    Answers, and notes who connected.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = bindFree()
        self.sock.listen(16)
        self.port: int = self.sock.getsockname()[1]
        self.peers: list[str] = []

    def rest(self) -> int:
        """
        Wait until nobody has connected for a while.

        @return: How many connections there were.
        """
        count = -1
        while count != len(self.peers):
            count = len(self.peers)
            time.sleep(0.2)
        return count

    def run(self) -> None:
        """
        Serve each connection beside the others.
        """
        while True:
            try:
                sock, peer = self.sock.accept()
            except OSError:
                return
            self.peers.append(peer[0])
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while sock.recv(65536):
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
