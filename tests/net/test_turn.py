"""
Tests for L{meshproxy.net.turn}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.turn import Turn, turn


class Gathering:
    """
    Somebody who gathers, and notes what is asked of him.
    """

    def __init__(self, log: list[str], name: str, during: Callable[[], object] = lambda: None) -> None:
        self._log = log
        self._name = name
        self._during = during

    def flush(self) -> None:
        """
        See L{meshproxy.net.turn.IGathering.flush}.
        """
        self._log.append(self._name)
        self._during()

    def failed(self) -> None:
        """
        See L{meshproxy.net.turn.IGathering.failed}.
        """
        self._log.append(f"{self._name} failed")


class TurnTests(SynchronousTestCase):
    """
    L{Turn} ends with everything sent.
    """

    def setUp(self) -> None:
        self.log: list[str] = []
        self.turn = Turn()

    def gather(self, name: str, during: Callable[[], object] = lambda: None) -> None:
        """
        Write to somebody.
        """
        self.turn.written.append(Gathering(self.log, name, during))

    def test_outside(self) -> None:
        """
        No turn is going on at first, so writes are sent at once; and so it is with the process' own.
        """
        self.assertFalse(self.turn.active)
        self.assertFalse(turn.active)
        self.assertEqual(turn.written, [])

    def test_order(self) -> None:
        """
        Peers are served in the order in which they were written to, each once.
        """
        self.turn.active = True
        for name in "abc":
            self.gather(name)
        self.turn.end()
        self.turn.end()
        self.assertEqual(self.log, ["a", "b", "c"])
        self.assertEqual(self.turn.written, [])

    def test_over(self) -> None:
        """
        While it is sent, the turn is over: what a flush leads to is written at once and not lost.
        """
        self.turn.active = True
        seen: list[bool] = []
        self.gather("a", lambda: seen.append(self.turn.active))
        self.turn.end()
        self.assertEqual(seen, [False])

    def test_again(self) -> None:
        """
        Who gathers again while the end sends is kept for the next end, and not in the list that is being walked.
        """
        self.gather("a", lambda: self.gather("b"))
        self.turn.end()
        self.assertEqual(self.log, ["a"])
        self.turn.end()
        self.assertEqual(self.log, ["a", "b"])

    def test_failure(self) -> None:
        """
        A flush that raises is told to whose it is; the others are sent all the same.
        """

        def fail() -> None:
            raise ValueError("a producer's fault")

        self.gather("a", fail)
        self.gather("b")
        self.turn.end()
        self.assertEqual(self.log, ["a", "a failed", "b"])
