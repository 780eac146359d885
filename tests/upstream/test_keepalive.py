"""
L{meshproxy.upstream.keepalive}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.http2options import KeepaliveSettings
from meshproxy.upstream.keepalive import Keepalive


class KeepaliveTests(SynchronousTestCase):
    """
    L{Keepalive}.
    """

    def start(self, settings: KeepaliveSettings, chance: float = 0.0) -> Keepalive:
        """
        Begin.
        """
        self.clock = Clock()
        self.sent: list[bytes] = []
        self.lost: list[bool] = []
        keepalive = Keepalive(settings, self.clock, lambda: chance, self.sent.append, lambda: self.lost.append(True))
        keepalive.start()
        return keepalive

    def test_answered(self) -> None:
        """
        Each answer sets the time for the next ping.
        """
        keepalive = self.start(KeepaliveSettings(10.0, 3.0))
        for number in range(1, 4):
            self.clock.advance(10.0)
            self.assertEqual(len(self.sent), number)
            keepalive.answered(b"another!")
            keepalive.answered(self.sent[-1])
        self.assertEqual(self.lost, [])
        keepalive.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """
        No answer is the end, said once.
        """
        self.start(KeepaliveSettings(10.0, 3.0))
        self.clock.advance(10.0)
        self.clock.advance(2.9)
        self.assertEqual(self.lost, [])
        self.clock.advance(0.1)
        self.assertEqual(self.lost, [True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_jitter(self) -> None:
        """
        The interval is longer by a random part.
        """
        self.start(KeepaliveSettings(10.0, 3.0, 0.5), 0.8)
        self.clock.advance(13.9)
        self.assertEqual(self.sent, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.sent), 1)

    def test_onDemand(self) -> None:
        """
        Without an interval pings go out when they are asked for.
        """
        keepalive = self.start(KeepaliveSettings(0.0, 3.0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        keepalive.ask()
        keepalive.ask()
        self.assertEqual(len(self.sent), 1)
        keepalive.answered(self.sent[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])
