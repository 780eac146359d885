"""
When all that was said has been heard.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance import rest
from tests.conformance.rest import Player, Rest, State

_LIMIT = 30.0


class _NotYet(Exception):
    """
    It would look again later.
    """


def _notYet(seconds: float) -> None:
    raise _NotYet


def _nothing() -> bool:
    return False


class RestTests(SynchronousTestCase):
    """
    L{Rest}, of one player and a proxy that answers at once.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        mine, self.other = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(self.other.close)
        self.sock = mine
        self.player = Player(mine)
        self.asked = 0
        self.rest = Rest(lambda: [self.player], self.question)

    def question(self) -> None:
        """
        Count the questions.
        """
        self.asked += 1

    def comesToRest(self, wait: Callable[[], None]) -> bool:
        """
        Whether there is rest at once.
        """
        self.asked = 0
        patched = self.patch(rest, "_sleep", _notYet)
        try:
            wait()
        except _NotYet:
            self.assertEqual(self.asked, 0)
            return False
        finally:
            patched.restore()
        self.assertEqual(self.asked, 1)
        return True

    def serve(self, count: int) -> None:
        """
        Let a thread read some bytes, one by one.
        """

        def run() -> None:
            for _ in range(count):
                self.player.awaitBytes()
                self.sock.recv(1)
            self.player.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, _LIMIT)

    def test_heard(self) -> None:
        """
        There is rest when all that was there has been read.
        """
        self.other.sendall(b"abc")
        self.serve(4)
        self.rest.ofUpstream()
        self.assertEqual((self.player.roused, self.asked), (3, 1))
        self.other.sendall(b"d")

    def test_rousedMeanwhile(self) -> None:
        """
        Where the proxy says something before it answers the question, that is to be heard as well: it is asked again.
        """

        def answer() -> None:
            self.question()
            if self.asked == 1:
                self.other.sendall(b"a")

        self.serve(2)
        Rest(lambda: [self.player], answer).ofUpstream()
        self.assertEqual(self.player.roused, 1)
        self.assertGreater(self.asked, 1)
        self.other.sendall(b"b")

    def test_states(self) -> None:
        """
        The upstream goes on before the client does where both wait for rest; a pause holds nobody up but the end.
        """

        def ofClient() -> None:
            self.rest.ofClient(_nothing)

        def atTheEnd() -> None:
            self.rest.ofClient(_nothing, True)

        for state, idle in (
            (State.ACTS, (False, False, False)),
            (State.READS, (True, True, True)),
            (State.PAUSES, (True, True, False)),
            (State.RESTS, (True, False, False)),
        ):
            with self.player.waits(state):
                seen = tuple(self.comesToRest(wait) for wait in (self.rest.ofUpstream, ofClient, atTheEnd))
            self.assertEqual(seen, idle, state)
        self.player.end()
        self.assertTrue(self.comesToRest(atTheEnd))

    def test_unread(self) -> None:
        """
        Who waits for bytes that are there has not heard them yet.
        """
        self.other.sendall(b"a")
        with self.player.waits(State.READS):
            self.assertFalse(self.comesToRest(self.rest.ofUpstream))

    def test_client(self) -> None:
        """
        The client reads while it waits for rest; the upstream waits for a client that has something to do.
        """
        left = [True, True]

        def read() -> bool:
            return bool(left) and left.pop()

        with self.player.waits(State.READS):
            self.rest.ofClient(read)
            self.assertEqual((left, self.asked), ([], 1))
            self.rest.client = Player(self.sock)
            self.assertFalse(self.comesToRest(self.rest.ofUpstream))
            with self.rest.client.waits(State.RESTS):
                self.assertTrue(self.comesToRest(self.rest.ofUpstream))

    def test_shutdown(self) -> None:
        """
        An end has come to the other's system when C{shutdown} is over.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname(), _LIMIT)
            self.addCleanup(client.close)
            accepted, _ = listening.accept()
            self.addCleanup(accepted.close)
            Player(accepted).shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1, socket.MSG_DONTWAIT), b"")
