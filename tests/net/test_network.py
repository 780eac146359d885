"""
L{meshproxy.net.network}, L{meshproxy.net.port} and L{meshproxy.net.dial}: listening and connecting, on unix sockets in
a folder of the test and C{doRead} and C{doWrite} called by hand. TCP is tried in C{tests.integration}.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.errors import BindFailed, ConnectFailed, ConnectTimeout
from meshproxy.interfaces import ICancellable, IListening, INetwork
from meshproxy.net.address import Address
from meshproxy.net.dial import Bind, Dial, SocketOptions, Source
from meshproxy.net.network import ReactorNetwork
from meshproxy.net.port import Port
from tests.net.transportsupport import FakeReactor, Recorder


class SocketCase(SynchronousTestCase):
    """
    A folder for sockets, and a reactor that does nothing by itself.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        # Paths of unix sockets are short, those of trial are not.
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.address = Address(os.path.join(self.folder, "s"))
        self.accepted: list[tuple[socket.socket, Address]] = []

    def port(self, address: Address | None = None, mode: int = 0) -> Port:
        """
        A port that is closed in the end.
        """
        port = Port(self.reactor, address or self.address, self.accept, mode=mode)
        self.addCleanup(port.stopListening)
        return port

    def accept(self, sock: socket.socket, peer: Address) -> None:
        """
        Keep what was accepted.
        """
        self.addCleanup(sock.close)
        self.accepted.append((sock, peer))

    def client(self) -> socket.socket:
        """
        Somebody who connects.
        """
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.connect(self.address.socketName)
        return sock


class FailingSocket:
    """
    A listening socket whose C{accept} raises what a test says, one after the other.
    """

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.family = socket.AF_UNIX

    def accept(self) -> Any:
        """
        Fail.
        """
        number = self.errors.pop(0) if self.errors else errno.EAGAIN
        raise BlockingIOError(number, "") if number == errno.EAGAIN else OSError(number, os.strerror(number))

    def close(self) -> None:
        """
        Nothing to close.
        """


class PortTests(SocketCase):
    """
    Accepting.
    """

    def test_interface(self) -> None:
        """
        It is what C{listen} promises.
        """
        self.assertEqual(self.port().address, self.address)
        network = ReactorNetwork(self.reactor)
        self.assertTrue(verifyObject(INetwork, network))

    def test_accept(self) -> None:
        """
        All that wait are accepted in one turn; their sockets do not block.
        """
        port = self.port()
        for _ in range(3):
            self.client()
        port.doRead()
        self.assertEqual([peer for _, peer in self.accepted], [Address("")] * 3)
        self.assertFalse(any(sock.getblocking() for sock, _ in self.accepted))

    def test_atMost(self) -> None:
        """
        A flood is taken in portions.
        """
        port = self.port()
        for _ in range(70):
            self.client()
        port.doRead()
        self.assertEqual(len(self.accepted), 64)
        port.doRead()
        self.assertEqual(len(self.accepted), 70)

    def test_raises(self) -> None:
        """
        A connection that cannot be served is logged and closed; the port goes on.
        """
        port = self.port()
        bad = self.client()

        def fail(sock: socket.socket, peer: Address) -> None:
            port._accepted = self.accept
            raise ZeroDivisionError

        port._accepted = fail
        self.client()
        port.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(bad.recv(1), b"")

    def test_exhausted(self) -> None:
        """
        Without a descriptor left the port pauses for a moment; others' faults of accept() do not stop it.
        """
        port = self.port()
        port._socket.close()
        port._socket = FailingSocket(errno.ECONNABORTED, errno.EPERM, errno.EMFILE)  # type: ignore[assignment]
        port.doRead()
        self.assertEqual(self.reactor.readers, set())
        self.reactor.advance(0.25)
        self.assertEqual(self.reactor.readers, {port})
        port.doRead()
        self.assertEqual(self.reactor.readers, {port})

    def test_stoppedWhilePausing(self) -> None:
        """
        A port that is closed while it pauses does not come back.
        """
        port = self.port()
        port._socket.close()
        port._socket = FailingSocket(errno.ENFILE)  # type: ignore[assignment]  # as above
        port.doRead()
        port.stopListening()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.readers, set())

    def test_stopWhileAccepting(self) -> None:
        """
        A port that is closed by a connection that it accepted accepts no further one.
        """
        port = self.port()

        def accepted(sock: socket.socket, peer: Address) -> None:
            self.accept(sock, peer)
            port.stopListening()

        port._accepted = accepted
        self.client()
        self.client()
        port.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_stop(self) -> None:
        """
        Closing removes the file, and may be asked for twice; the reactor may give the port up as well.
        """
        port = self.port()
        port.stopListening()
        port.stopListening()
        port.connectionLost(Failure(ZeroDivisionError()))
        self.assertFalse(os.path.exists(self.address.host))
        self.assertEqual(self.reactor.readers, set())
        self.assertIn(self.address.host, port.logPrefix())


class BindTests(SocketCase):
    """
    Binding.
    """

    def test_mode(self) -> None:
        """
        The file has the permissions that are configured.
        """
        self.port(mode=0o640)
        self.assertEqual(os.stat(self.address.host).st_mode & 0o777, 0o640)

    def test_stale(self) -> None:
        """
        The file of a socket on which nobody listens any more is no hindrance.
        """
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.address.host)
        self.port()
        self.client()

    def test_alive(self) -> None:
        """
        One on which somebody listens is left to him.
        """
        self.port()
        error = self.assertRaises(CannotListenError, Port, self.reactor, self.address, self.accept)
        self.assertEqual(error.interface, self.address.host)
        self.client()

    def test_otherFile(self) -> None:
        """
        A file that is no socket is not removed.
        """
        with open(self.address.host, "w") as file:
            file.write("precious")
        self.assertRaises(CannotListenError, Port, self.reactor, self.address, self.accept)
        with open(self.address.host) as file:
            self.assertEqual(file.read(), "precious")

    def test_abstract(self) -> None:
        """
        Names of Linux' abstract name space have no file.
        """
        name = "@meshproxy-test-" + os.path.basename(self.folder)
        port = self.port(Address(name), mode=0o600)
        self.assertEqual(port.address, Address(name))
        self.assertFalse(os.path.exists(name))


class DialTests(SocketCase):
    """
    Connecting.
    """

    def setUp(self) -> None:
        super().setUp()
        self.results: list[Any] = []

    def dial(self, timeout: float = 5.0, options: SocketOptions | None = None, address: Address | None = None) -> Dial:
        """
        Begin to connect.
        """

        def connected(sock: socket.socket) -> None:
            self.addCleanup(sock.close)
            self.results.append(sock)

        dial = Dial(self.reactor, address or self.address, timeout, connected, self.results.append, options)
        self.addCleanup(dial.cancel)
        return dial

    def test_interface(self) -> None:
        """
        It can be cancelled.
        """
        self.port()
        network = ReactorNetwork(self.reactor)
        attempt = network.connect(self.address, Protocol(), self.results.append)
        self.addCleanup(attempt.cancel)
        self.assertTrue(verifyObject(ICancellable, attempt))

    def test_connected(self) -> None:
        """
        The socket comes later, even if it was connected at once, and once; no timer is left.
        """
        self.port()
        dial = self.dial()
        self.assertEqual(self.results, [])
        self.assertEqual(self.reactor.writers, {dial})
        dial.doWrite()
        dial.doWrite()
        self.assertEqual([type(result) for result in self.results], [socket.socket])
        self.assertEqual(self.reactor.writers, set())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        A refusal comes later, too, and says why.
        """
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.address.host)
        self.dial()
        self.assertEqual(self.results, [])
        self.reactor.advance(0)
        self.assertIsInstance(self.results[0], ConnectFailed)
        self.assertIn("Connection refused", str(self.results[0]))
        self.assertEqual(len(self.results), 1)

    def test_unbindable(self) -> None:
        """
        So does a local address that cannot be had.
        """
        self.dial(options=SocketOptions(Address("/nowhere/at/all")))
        self.reactor.advance(0)
        self.assertIsInstance(self.results[0], BindFailed)

    def test_hangUp(self) -> None:
        """
        A reactor that sees a hang-up instead of a writable socket tells a failure.
        """
        self.port()
        dial = self.dial()
        dial.connectionLost(Failure(ZeroDivisionError()))
        dial.connectionLost(Failure(ZeroDivisionError()))
        self.assertEqual([type(result) for result in self.results], [ConnectFailed])

    def test_timeout(self) -> None:
        """
        An attempt that takes too long is given up.
        """
        self.port()
        dial = self.dial(2)
        self.reactor.advance(2)
        self.assertEqual([type(result) for result in self.results], [ConnectTimeout])
        self.assertEqual(self.reactor.writers, set())
        dial.doWrite()
        self.assertEqual(len(self.results), 1)

    def test_cancel(self) -> None:
        """
        A cancelled attempt tells nothing any more, whether it was to succeed, to fail, or to take too long.
        """
        self.port()
        for address in (self.address, Address("/nowhere")):
            dial = self.dial(1, address=address)
            dial.cancel()
            dial.cancel()
            dial.doRead()
            self.reactor.advance(2)
        self.assertEqual(self.results, [])
        self.assertEqual(self.reactor.writers, set())

    def test_options(self) -> None:
        """
        A TCP socket gets what is configured; a unix one has none of it.
        """
        with socket.socket() as sock:
            SocketOptions(Address("127.0.0.1", 0), (3, 60, 0)).apply(sock)
            self.assertEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3)
            self.assertEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 60)
            self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self.assertEqual(sock.getsockname()[0], "127.0.0.1")
        binds = [Bind(Address("::1", 0)), Bind(Address("127.0.0.1", 0))]
        with socket.socket() as sock:
            SocketOptions(binds=binds).apply(sock)
            self.assertEqual(sock.getsockname()[0], "127.0.0.1")
        with socket.socket() as sock, self.assertRaises(OSError):
            SocketOptions(binds=binds[:1]).apply(sock)
        with socket.socket(socket.AF_UNIX) as sock:
            SocketOptions(None, (3, 60, 0)).apply(sock)
            self.assertFalse(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def test_source(self) -> None:
        """
        A source takes the place of what is configured. Whoever may not be so bold is told.
        """
        options = SocketOptions(Address("127.0.0.1", 0)).withSource(Source(Address("192.0.2.7", 0), 3))
        with socket.socket() as sock:
            try:
                options.apply(sock)
            except PermissionError as error:
                raise SkipTest("needs CAP_NET_ADMIN") from error
            self.assertEqual(sock.getsockname()[0], "192.0.2.7")
            self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, 36), 3)


class NetworkTests(SocketCase):
    """
    Both together.
    """

    def test_both(self) -> None:
        """
        A protocol on each side, with the buffer limits that were asked for.
        """
        network = ReactorNetwork(self.reactor)
        served: list[Recorder] = []

        def build(peer: Address) -> Recorder:
            served.append(Recorder())
            return served[-1]

        port: Any = network.listen(self.address, build, bufferLimit=111)
        self.addCleanup(port.stopListening)
        self.assertTrue(verifyObject(IListening, port))
        self.assertEqual(port.address, self.address)
        client = Recorder()
        attempt: Any = network.connect(self.address, client, self.fail, bufferLimit=222)
        attempt.doWrite()
        port.doRead()
        here: Any = client.transport
        there: Any = served[0].transport
        self.assertEqual((here.bufferSize, there.bufferSize), (222, 111))
        self.assertEqual(here.peerAddress, self.address)
        here.write(b"hello")
        there.doRead()
        self.assertEqual(served[0].received, [b"hello"])
        for transport in (here, there):
            transport.connectionLost(Failure(ZeroDivisionError()))

    def test_unwanted(self) -> None:
        """
        A connection for which there is no protocol closes.
        """
        port: Any = ReactorNetwork(self.reactor).listen(self.address, lambda peer: None)
        self.addCleanup(port.stopListening)
        client = self.client()
        port.doRead()
        self.assertEqual(client.recv(1), b"")
