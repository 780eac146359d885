"""
L{meshproxy.testing.clock}.
"""

from __future__ import annotations

from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing.clock import EPOCH, VirtualReactor


class VirtualReactorTests(SynchronousTestCase):
    """
    Time that a test moves.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.struck: list[tuple[str, float]] = []

    def strike(self, name: str) -> None:
        """
        Remember when a timer struck.
        """
        self.struck.append((name, self.reactor.seconds() - EPOCH))

    def test_eachAtItsTime(self) -> None:
        """
        A long advance strikes each timer at its own time, those too that others set, and stops at its end.
        """
        self.reactor.callLater(2, self.strike, "late")
        self.reactor.callLater(1, lambda: self.reactor.callLater(0.5, self.strike, "set by another"))
        self.reactor.callLater(4, self.strike, "beyond")
        self.reactor.advance(3)
        self.assertEqual(self.struck, [("set by another", 1.5), ("late", 2.0)])
        self.assertEqual(self.reactor.seconds(), EPOCH + 3)

    def test_settle(self) -> None:
        """
        Settling does what is due now, however often it leads to something else, and no time passes.
        """
        self.reactor.callLater(0, lambda: self.reactor.callLater(0, self.strike, "second"))
        self.reactor.callLater(0.001, self.strike, "not yet")
        self.reactor.settle()
        self.assertEqual(self.struck, [("second", 0.0)])

    def test_waitFor(self) -> None:
        """
        Waiting ends as soon as it happened, or at the limit.
        """
        self.reactor.callLater(5, self.strike, "it")
        self.assertFalse(self.reactor.waitFor(lambda: bool(self.struck), 4))
        self.assertTrue(self.reactor.waitFor(lambda: bool(self.struck), 6))
        self.assertEqual(self.struck, [("it", 5.0)])

    def test_moved(self) -> None:
        """
        A timer that is put off or called off does as it is told.
        """
        self.reactor.callLater(1, self.strike, "put off").delay(2)
        self.reactor.callLater(1, self.strike, "called off").cancel()
        self.reactor.advance(2)
        self.assertEqual(self.struck, [])
        self.reactor.advance(1)
        self.assertEqual(self.struck, [("put off", 3.0)])

    def test_threads(self) -> None:
        """
        Work for a thread is done at once; what it raises is a failure.
        """
        done = deferToThreadPool(self.reactor, self.reactor.getThreadPool(), lambda: 7)
        self.assertEqual(self.successResultOf(done), 7)
        failed = deferToThreadPool(self.reactor, self.reactor.getThreadPool(), lambda: 1 // 0)
        self.failureResultOf(failed, ZeroDivisionError)
