"""
L{meshproxy.net.network} with real sockets on the reactor that runs these tests: C{trial --reactor=meshproxy} tries the
program's own, plain C{trial} that of the platform.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from meshproxy.errors import ConnectFailed
from meshproxy.net.address import Address
from meshproxy.net.network import ReactorNetwork

LOOPBACK = Address("127.0.0.1", 0)


class Speaker(Protocol):
    """
    Tells when it has received as much as it waits for, and when it is over.
    """

    def __init__(self, wanted: int = 0, echoes: bool = False) -> None:
        self.received = b""
        self.done: Deferred[bytes] = Deferred()
        self.over: Deferred[BaseException] = Deferred()
        self._wanted = wanted
        self._echoes = echoes

    def dataReceived(self, data: bytes) -> None:
        """
        Collect, or send back.
        """
        self.received += data
        if self._echoes:
            transport: Any = self.transport
            transport.write(data)
        elif len(self.received) >= self._wanted and not self.done.called:
            self.done.callback(self.received)

    def connectionLost(self, reason: Any = None) -> None:
        """
        The end.
        """
        self.over.callback(reason.value)


class ReactorNetworkTests(TestCase):
    """
    Listening, connecting, names.
    """

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.network = ReactorNetwork(reactor)
        self.served: list[Speaker] = []
        self.port: Any = self.network.listen(LOOPBACK, self.build)
        self.addCleanup(self.port.stopListening)

    def build(self, peer: Address) -> Speaker:
        """
        Echo.
        """
        self.served.append(Speaker(echoes=True))
        return self.served[-1]

    async def connected(self, speaker: Speaker) -> None:
        """
        Connect.
        """
        made: Deferred[None] = Deferred()
        speaker.connectionMade = lambda: made.callback(None)  # type: ignore[method-assign]  # to be told
        self.network.connect(self.port.address, speaker, made.errback)
        await made

    async def closed(self, speaker: Speaker) -> None:
        """
        Close, and wait until both ends are gone.
        """
        transport: Any = speaker.transport
        transport.loseConnection()
        await speaker.over
        await self.served[-1].over

    async def test_bulk(self) -> None:
        """
        Five megabytes there and back, whole.
        """
        data = bytes(range(256)) * 20000
        speaker = Speaker(len(data))
        await self.connected(speaker)
        transport: Any = speaker.transport
        transport.write(data)
        self.assertEqual(await speaker.done == data, True)
        self.assertEqual(transport.peerAddress, self.port.address)
        self.assertEqual(self.served[0].transport.peerAddress, transport.localAddress)  # type: ignore[union-attr]
        self.assertTrue(transport.getTcpNoDelay())
        await self.closed(speaker)

    async def test_small(self) -> None:
        """
        Small messages one after the other, each answered.
        """
        speaker = Speaker(1)
        await self.connected(speaker)
        transport: Any = speaker.transport
        for _ in range(100):
            speaker.received, speaker.done = b"", Deferred()
            transport.write(b"x")
            self.assertEqual(await speaker.done, b"x")
        await self.closed(speaker)

    async def test_peek(self) -> None:
        """
        The first bytes of an accepted socket can be looked at as they come, each arrival once; what is consumed is
        gone, and the rest is there for its transport.
        """
        told: list[tuple[bytes | None, bool]] = []
        done: Deferred[None] = Deferred()
        reader = Speaker(4)

        def accepted(sock: Any) -> None:
            def arrived(ended: bool) -> None:
                seen = sock.peek(100)
                told.append((seen, ended))
                if seen == b"headerbody":
                    sock.forget()
                    sock.consume(6)
                    sock.begin(reader, 1 << 20)
                    done.callback(None)

            sock.watch(arrived)

        port: Any = self.network.accept(LOOPBACK, accepted)
        self.addCleanup(port.stopListening)
        speaker = Speaker()
        made: Deferred[None] = Deferred()
        speaker.connectionMade = lambda: made.callback(None)  # type: ignore[method-assign]  # to be told
        self.network.connect(port.address, speaker, made.errback)
        await made
        transport: Any = speaker.transport
        for piece in (b"head", b"er", b"body"):
            transport.write(piece)
            while not told or not (told[-1][0] or b"").endswith(piece):
                await self.turn()
            before = len(told)
            await self.turn()
            await self.turn()
            self.assertEqual(len(told), before)
        await done
        self.assertEqual(await reader.done, b"body")
        self.assertFalse(any(ended for _, ended in told))
        transport.loseConnection()
        await speaker.over
        await reader.over

    async def test_abort(self) -> None:
        """
        An abort is a reset on the other side.
        """
        speaker = Speaker()
        await self.connected(speaker)
        transport: Any = speaker.transport
        while not self.served:
            await self.turn()
        transport.abortConnection()
        await speaker.over
        reason = await self.served[0].over
        self.assertIn("reset", f"{reason} {reason.__cause__}".lower())

    async def turn(self) -> None:
        """
        Let the reactor turn.
        """
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(0.001, waiting.callback, None)
        await waiting

    async def test_refused(self) -> None:
        """
        A port on which nobody listens.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = Address("127.0.0.1", free.getsockname()[1])
        failed: Deferred[Exception] = Deferred()
        self.network.connect(address, Speaker(), failed.callback)
        error = await failed
        self.assertIsInstance(error, ConnectFailed)

    async def test_cancel(self) -> None:
        """
        A cancelled attempt tells nothing, though the other side may have accepted it.
        """
        told: list[object] = []
        speaker = Speaker()
        speaker.connectionMade = lambda: told.append("made")  # type: ignore[method-assign]  # to be told
        self.network.connect(self.port.address, speaker, told.append).cancel()
        for _ in range(20):
            await self.turn()
        self.assertEqual(told, [])
        for served in self.served:
            await served.over

    async def test_resolve(self) -> None:
        """
        The name of this machine, by the system's resolver; one that does not exist is empty.
        """
        self.assertEqual(await self.network.resolve("localhost", "V4_ONLY"), ["127.0.0.1"])
        self.assertEqual(await self.network.resolve("does-not-exist.invalid"), [])
