"""
L{meshproxy.net.accepted}, on pairs of unix sockets; the reactor does nothing by itself.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.interfaces import IAcceptedSocket
from meshproxy.net.accepted import AcceptedSocket, ArrivalWatch, closeSocket
from meshproxy.net.address import Address
from tests.net.transportsupport import FakeReactor, Recorder

PEER = Address("192.0.2.1", 1)


class AcceptedCase(SynchronousTestCase):
    """
    A socket that was accepted, and its peer.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.watch = ArrivalWatch(self.reactor)
        self.told: list[tuple[str, bool]] = []

    def pair(self) -> tuple[AcceptedSocket, socket.socket]:
        """
        Both ends of a connection.
        """
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        ours.setblocking(False)
        return AcceptedSocket(self.reactor, ours, PEER, lambda: self.watch), theirs

    def watched(self, name: str = "a") -> tuple[AcceptedSocket, socket.socket]:
        """
        The same, and arrivals are told.
        """
        accepted, theirs = self.pair()
        accepted.watch(lambda ended: self.told.append((name, ended)))
        return accepted, theirs


class PeekTests(AcceptedCase):
    """
    The first bytes.
    """

    def test_interface(self) -> None:
        """
        It is what L{IAcceptedSocket} says.
        """
        accepted, _ = self.pair()
        self.assertTrue(verifyObject(IAcceptedSocket, accepted))
        self.assertEqual(accepted.localAddress, Address(""))

    def test_peek(self) -> None:
        """
        What is peeked at stays; nothing yet is not the same as nothing ever.
        """
        accepted, theirs = self.pair()
        self.assertIsNone(accepted.peek(10))
        theirs.send(b"hello")
        self.assertEqual(accepted.peek(3), b"hel")
        self.assertEqual(accepted.peek(10), b"hello")
        theirs.shutdown(socket.SHUT_WR)
        self.assertEqual(accepted.peek(10), b"hello")
        accepted.consume(5)
        self.assertEqual(accepted.peek(10), b"")

    def test_consume(self) -> None:
        """
        What is consumed is seen by nobody else, to the byte, however much it is.
        """
        accepted, theirs = self.pair()
        theirs.send(b"x" * 70000 + b"rest")
        accepted.consume(70000)
        protocol = Recorder()
        accepted.begin(protocol, 123)
        transport: Any = protocol.transport
        self.assertEqual((transport.bufferSize, transport.peerAddress), (123, PEER))
        transport.doRead()
        self.assertEqual(protocol.received, [b"rest"])

    def test_consumeNothing(self) -> None:
        """
        To consume what does not come is an error of the connection, and no endless loop.
        """
        accepted, theirs = self.pair()
        theirs.close()
        accepted.consume(0)
        self.assertRaises(ConnectionResetError, accepted.consume, 1)

    def test_close(self) -> None:
        """
        It closes, and is not watched any more.
        """
        accepted, theirs = self.watched()
        accepted.close()
        self.assertEqual(theirs.recv(1), b"")
        self.assertEqual(self.reactor.readers, set())

    def test_reset(self) -> None:
        """
        A reset is asked of the kernel by lingering for no time; a socket that is broken already is closed all the same.
        """
        done: list[object] = []

        class Broken:
            """
            A socket that takes no option.
            """

            def setsockopt(self, *arguments: object) -> None:
                """
                Refuse.
                """
                done.append(arguments)
                raise OSError

            def close(self) -> None:
                """
                Close.
                """
                done.append("close")

        closeSocket(Broken(), True)
        self.assertEqual(done, [(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"), "close"])


class RoundTripTests(AcceptedCase):
    """
    L{AcceptedSocket.roundTripTime}.
    """

    def asked(self, *told: bytes | Exception) -> float | None:
        """
        What is made of the answers of the operating system.
        """

        found: float | None = None
        answers = list(told)

        class Asked:
            """
            A socket that has one option.
            """

            def getsockopt(self, *asked: int) -> bytes:
                """
                Answer.
                """
                answer = answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer[: asked[2]]

        sock: Any = Asked()
        accepted = AcceptedSocket(self.reactor, sock, Address(""), lambda: self.watch)
        while answers:
            found = accepted.roundTripTime()
        return found

    def test_told(self) -> None:
        """
        The smoothed time of C{struct tcp_info}, which is in microseconds.
        """
        answer = struct.pack("=8x15L2L", *range(15), 2500000, 7)
        self.assertEqual(self.asked(answer), 2.5)
        self.assertEqual(self.asked(b"\0" * 200, answer, OSError()), 2.5)

    def test_notTold(self) -> None:
        """
        It is not known of what is no connection of TCP, is closed, or is on a system that tells less.
        """
        self.assertEqual([self.asked(OSError()), self.asked(b"\0" * 60)], [None, None])
        accepted, _ = self.pair()
        self.assertIsNone(accepted.roundTripTime())


class ArrivalWatchTests(AcceptedCase):
    """
    L{ArrivalWatch} tells of what came, once.
    """

    def test_once(self) -> None:
        """
        Each arrival is told once, although nobody reads it; what was there before counts.
        """
        accepted, theirs = self.pair()
        theirs.send(b"early")
        accepted.watch(lambda ended: self.told.append(("a", ended)))
        self.watch.doRead()
        self.watch.doRead()
        self.assertEqual(self.told, [("a", False)])
        theirs.send(b"late")
        self.watch.doRead()
        self.watch.doRead()
        self.assertEqual(self.told, [("a", False)] * 2)

    def test_ended(self) -> None:
        """
        That the peer finished is told, with bytes that nobody read as well.
        """
        accepted, theirs = self.watched()
        theirs.send(b"last")
        theirs.shutdown(socket.SHUT_WR)
        self.watch.doRead()
        self.assertEqual(self.told, [("a", True)])
        self.assertEqual(accepted.peek(9), b"last")

    def test_reading(self) -> None:
        """
        The reactor has the descriptor only while somebody is watched.
        """
        self.assertEqual(self.reactor.readers, set())
        first, _ = self.watched()
        second, _ = self.watched()
        self.assertEqual(self.reactor.readers, {self.watch})
        first.forget()
        first.forget()
        self.assertEqual(self.reactor.readers, {self.watch})
        second.forget()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.watch.logPrefix(), "first bytes")

    def test_raises(self) -> None:
        """
        Who raises is logged, and the others are told.
        """
        accepted, theirs = self.pair()

        def fail(ended: bool) -> None:
            raise ZeroDivisionError

        accepted.watch(fail)
        _, other = self.watched("b")
        theirs.send(b"x")
        other.send(b"x")
        self.watch.doRead()
        self.assertEqual(self.told, [("b", False)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_numberTaken(self) -> None:
        """
        A descriptor's number that another connection got while events are told gets none of the former one's.
        """
        first, theirs = self.pair()
        second, others = self.pair()
        number = second.socket.fileno()

        def replace(ended: bool) -> None:
            # Both were told at once; the first one closes the second, and a new one comes in its place.
            first.forget()
            if not second.socket._closed:  # type: ignore[attr-defined]  # CPython's
                second.close()
                third, _ = self.watched("third")
                self.assertEqual(third.socket.fileno(), number)

        first.watch(replace)
        second.watch(lambda ended: self.told.append(("second", ended)))
        theirs.send(b"x")
        others.close()
        self.watch.doRead()
        self.assertEqual(self.told, [])
