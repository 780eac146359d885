"""
A client and a server that speak gRPC in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.grpc.client import ChannelOptions, GRPCChannel, IResponseReceiver
from meshproxy.grpc.server import GRPCServer, IReceiver, Method, ServerCall, ServerOptions, unary
from meshproxy.grpc.status import GRPCError
from meshproxy.net.address import Address
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.network import MemoryNetwork

__all__ = ["ADDRESS", "Echo", "GRPCTestCase", "Received", "echo"]

ADDRESS = Address("192.0.2.1", 15010)


@implementer(IResponseReceiver)
class Received:
    """
    Writes down what comes of a call.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended: list[GRPCError | None] = []

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IResponseReceiver}.
        """
        self.messages.append(message)

    def callEnded(self, error: GRPCError | None) -> None:
        """
        See L{IResponseReceiver}.
        """
        self.ended.append(error)

    @property
    def status(self) -> str:
        """
        How it ended: C{OK}, the name of a status, or nothing yet.
        """
        if not self.ended:
            return ""
        (error,) = self.ended
        return "OK" if error is None else error.status.name


@implementer(IReceiver)
class Echo:
    """
    A bidirectional method: each message comes back; it ends when the client does.
    """

    def __init__(self, call: ServerCall) -> None:
        self.call = call
        self.cancellations: list[GRPCError] = []
        self.pauses: list[str] = []

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IReceiver}.
        """
        self.call.send(message)

    def halfClosed(self) -> None:
        """
        See L{IReceiver}.
        """
        self.call.finish()

    def cancelled(self, error: GRPCError) -> None:
        """
        See L{IReceiver}.
        """
        self.cancellations.append(error)

    def pauseSending(self) -> None:
        """
        See L{IReceiver}.
        """
        self.pauses.append("pause")

    def resumeSending(self) -> None:
        """
        See L{IReceiver}.
        """
        self.pauses.append("resume")


async def echo(request: bytes, call: ServerCall) -> bytes:
    """
    A unary method.
    """
    return request


class GRPCTestCase(SynchronousTestCase):
    """
    A server and a channel to it.
    """

    serverOptions = ServerOptions()
    channelOptions = ChannelOptions(authority=b"mesh.test")

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor)
        self.echoes: list[Echo] = []
        methods: dict[str, Method] = {"/test.Test/Echo": unary(echo), "/test.Test/Bidi": self._bidi}
        self.server = GRPCServer(methods, self.reactor, self.serverOptions)
        self.listening = self.network.listen(ADDRESS, self.server.buildProtocol)
        self.channel = self.makeChannel()

    def _bidi(self, call: ServerCall) -> Echo:
        self.echoes.append(Echo(call))
        return self.echoes[-1]

    def makeChannel(self) -> GRPCChannel:
        """
        Another channel.
        """

        def connect(protocol: Any, failed: Any) -> Any:
            return self.network.connect(ADDRESS, protocol, failed)

        return GRPCChannel(connect, self.reactor, self.channelOptions)

    def method(self, path: str, method: Method) -> None:
        """
        Another method of the server.
        """
        self.server.methods[path.encode()] = method

    def settle(self, seconds: float = 0.0) -> None:
        """
        Let happen what happens.
        """
        self.reactor.advance(seconds)
