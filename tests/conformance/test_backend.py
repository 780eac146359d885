"""
The upstream of comparisons records what happened, whatever its threads come to first.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.backend import Backend
from tests.conformance.case import Do, Pause, Step, Until, get
from tests.conformance.rest import AT_THE_END, Player
from tests.ports import bindFree

_LIMIT = 30.0


class _Held(threading.Event):
    """
    Stands in for the clock of a script: a pause lasts until the test ends it.
    """

    def sleep(self, seconds: float) -> None:
        """
        Wait for the test.
        """
        self.wait(_LIMIT)


class BackendTests(SynchronousTestCase):
    """
    L{Backend}.
    """

    def begin(self, *steps: Step) -> socket.socket:
        """
        Serve one script to one connection, which sends a GET.
        """
        self.backend = Backend(bindFree())
        self.addCleanup(self.backend.close)
        self.backend.begin([steps])
        sock = socket.create_connection(("127.0.0.1", self.backend.port), _LIMIT)
        self.addCleanup(sock.close)
        sock.sendall(get())
        return sock

    def hold(self) -> _Held:
        """
        Let pauses last until the test ends them.
        """
        held = _Held()
        self.addCleanup(held.set)
        self.patch(Player, "pause", lambda player, seconds: held.sleep(seconds))
        return held

    def over(self) -> None:
        """
        Wait until nothing more is recorded.
        """
        end = time.monotonic() + _LIMIT
        while not all(player.isIdle(AT_THE_END) for player in self.backend.players()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)

    def reset(self, sock: socket.socket) -> None:
        """
        Close the other end, with a reset.
        """
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def test_closesAtOnceOrNot(self) -> None:
        """
        A proxy that closes when it has read the answer may be faster than the script's next step, which is to close.
        """
        for isFast in (False, True):
            held = self.hold()
            sock = self.begin(b"answer", Pause(1), Do.CLOSE)
            self.assertEqual(sock.recv(100), b"answer")
            if isFast:
                self.reset(sock)
            held.set()
            self.over()
            (received,) = self.backend.received
            self.assertEqual((received.data, received.ended), (get(), False))

    def test_closedMeanwhile(self) -> None:
        """
        Who was to be kept, and closed, is told, with what it said before that; be it found by writing or by reading.
        """
        for steps in ((Do.EARLY, Pause(1), b"a", b"b", b"c"), (Do.EARLY, Pause(1), Until(b"more"), Do.DRAIN)):
            held = self.hold()
            sock = self.begin(*steps)
            sock.sendall(b"more")
            self.reset(sock)
            held.set()
            self.over()
            (received,) = self.backend.received
            self.assertEqual((received.data, received.ended), (get() + b"more", True))
