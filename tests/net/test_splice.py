"""
L{meshproxy.net.splice}.
"""

from __future__ import annotations

import fcntl
import os

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.splice import Pipe, PipePool


class FakePipe(Pipe):
    """
    A pipe without descriptors.
    """

    __slots__ = ("closed",)

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """
        Remember it.
        """
        self.closed = True


class PipePoolTests(SynchronousTestCase):
    """
    Which pipes there are.
    """

    def test_reused(self) -> None:
        """
        A pipe that was given back is taken again.
        """
        pool = PipePool(2, FakePipe)
        pipe = pool.take()
        assert pipe is not None
        pool.give(pipe)
        self.assertIs(pool.take(), pipe)
        self.assertEqual(pool.made, 1)

    def test_bounded(self) -> None:
        """
        There are no more than the pool was made for; whoever comes too late gets none.
        """
        pool = PipePool(2, FakePipe)
        first, second = pool.take(), pool.take()
        self.assertIsNot(first, second)
        self.assertIsNone(pool.take())
        assert first is not None
        pool.give(first)
        self.assertIs(pool.take(), first)

    def test_discarded(self) -> None:
        """
        One that is not empty is closed, and another one may be made.
        """
        pool = PipePool(1, FakePipe)
        pipe = pool.take()
        assert isinstance(pipe, FakePipe)
        pool.discard(pipe)
        self.assertTrue(pipe.closed)
        self.assertEqual(pool.made, 0)
        self.assertIsNot(pool.take(), pipe)

    def test_noDescriptors(self) -> None:
        """
        Without descriptors for one there is none, and nothing is raised.
        """

        def make() -> Pipe:
            raise OSError("too many open files")

        pool = PipePool(1, make)
        self.assertIsNone(pool.take())
        self.assertEqual(pool.made, 0)

    def test_noSplice(self) -> None:
        """
        Where the system has no C{splice} there is no pipe either.
        """
        splice = os.splice
        del os.splice
        self.addCleanup(setattr, os, "splice", splice)
        self.assertIsNone(PipePool(1, FakePipe).take())


class PipeTests(SynchronousTestCase):
    """
    A real one.
    """

    def test_pipe(self) -> None:
        """
        It does not block, is not inherited, and its descriptors are gone when it is closed.
        """
        pipe = Pipe()
        for end in (pipe.readEnd, pipe.writeEnd):
            self.assertTrue(fcntl.fcntl(end, fcntl.F_GETFL) & os.O_NONBLOCK)
            self.assertTrue(fcntl.fcntl(end, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)
        self.assertRaises(BlockingIOError, os.read, pipe.readEnd, 1)
        pipe.close()
        self.assertRaises(OSError, os.fstat, pipe.readEnd)
        self.assertRaises(OSError, os.fstat, pipe.writeEnd)

    def test_smallerPipe(self) -> None:
        """
        A user who may not have pipes of that size has smaller ones.
        """

        def refuse(descriptor: int, command: int, argument: int) -> None:
            raise PermissionError("over the user's limit")

        self.patch(fcntl, "fcntl", refuse)
        pipe = Pipe()
        self.addCleanup(pipe.close)
        os.write(pipe.writeEnd, b"x")
        self.assertEqual(os.read(pipe.readEnd, 9), b"x")
