# -*- test-case-name: tests.testing.test_proxy -*-
"""
The other end of a connection, in a test's hands.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.messages import Fields, Message, MessageReader, Response, headerMap, toBytes

__all__ = ["HTTPClient", "NoAnswer", "Peer"]


class NoAnswer(AssertionError):
    """
    An answer was waited for and did not come.
    """


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    A peer that does what it is told, byte for byte.

    @ivar received: All bytes that came.
    @ivar ended: Whether the other side finished writing.
    @ivar lost: Why the connection is gone, or L{None} while it is there.
    """

    def __init__(self) -> None:
        self.received = b""
        self.ended = False
        self.lost: Failure | None = None

    @property
    def closed(self) -> bool:
        """
        Whether the other side ended the connection, in peace or not.
        """
        return self.ended or self.lost is not None

    @property
    def wasReset(self) -> bool:
        """
        Whether it was cut off.
        """
        return self.lost is not None and not self.lost.check(ConnectionDone)

    # What it does

    @property
    def _transport(self) -> Any:
        return self.transport

    def write(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self._transport.write(data)

    def finish(self) -> None:
        """
        Finish writing, and go on reading.
        """
        self._transport.loseWriteConnection()

    def close(self) -> None:
        """
        Close when all is sent.
        """
        if self.lost is None:
            self._transport.loseConnection()

    def abort(self) -> None:
        """
        Cut the connection off.
        """
        self._transport.abortConnection()

    def pause(self) -> None:
        """
        Read no more.
        """
        self._transport.pauseProducing()

    def resume(self) -> None:
        """
        Read again.
        """
        self._transport.resumeProducing()

    # What it is told

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came.
        """
        self.received += data

    def readConnectionLost(self) -> None:
        """
        The other side finished writing.
        """
        self.ended = True

    def writeConnectionLost(self) -> None:
        """
        This side finished writing.
        """

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted has it
        """
        The connection is gone.
        """
        self.lost = reason


class HTTPClient(Peer):
    """
    A client that speaks HTTP/1.1, several requests on one connection, one after the other or pipelined.

    @ivar responses: All final responses that came, or began to come, in order.
    """

    def __init__(self, reactor: VirtualReactor, authority: bytes = b"example.com") -> None:
        super().__init__()
        self.responses: list[Response] = []
        self._reactor = reactor
        self._authority = authority
        self._methods: list[bytes] = []
        self._interim: list[Response] = []
        self._reader = MessageReader(_response, self._began, lambda message: None, self._framing)

    @property
    def tunnel(self) -> bytes | None:
        """
        What came after an upgrade or a CONNECT was accepted; L{None} before.
        """
        return self._reader.tunnel

    def send(
        self,
        method: str | bytes = b"GET",
        path: str | bytes = b"/",
        headers: Fields = (),
        body: bytes | None = None,
        trailers: Fields = (),
        whole: bool = True,
    ) -> None:
        """
        Send a request, or the beginning of one.

        @param body: With a C{content-length}, unless C{headers} say C{transfer-encoding: chunked} or there are
            trailers.
        @param whole: Whether that is all of it. Else C{body} is only its first piece: go on with L{sendChunk} and
            L{endChunks}, or with L{write} where C{headers} tell a length.
        """
        fields = headerMap(headers)
        ending = headerMap(trailers)
        method = toBytes(method)
        if fields.get(b"host") is None:
            fields.add(b"host", self._authority)
        chunked = len(ending) > 0 or fields.get(b"transfer-encoding") is not None
        if not whole and fields.get(b"content-length") is None:
            chunked = True
        if chunked:
            fields.set(b"transfer-encoding", b"chunked")
        elif body is not None and fields.get(b"content-length") is None:
            fields.set(b"content-length", b"%d" % len(body))
        self._methods.append(method)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in fields.fields())
        data = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, toBytes(path), lines)
        if chunked:
            data += _chunk(body or b"") + (_end(ending.fields()) if whole else b"")
        else:
            data += body or b""
        self.write(data)

    def sendChunk(self, data: bytes) -> None:
        """
        Go on with a chunked body.
        """
        self.write(_chunk(data))

    def endChunks(self, trailers: Fields = ()) -> None:
        """
        End a chunked body.
        """
        self.write(_end(headerMap(trailers).fields()))

    def expect(self, method: bytes = b"GET") -> None:
        """
        Say that a response is due, to a request that L{write} sent.
        """
        self._methods.append(method)

    def request(
        self,
        method: str | bytes = b"GET",
        path: str | bytes = b"/",
        headers: Fields = (),
        body: bytes | None = None,
        trailers: Fields = (),
        wait: float = 60.0,
    ) -> Response:
        """
        Send a request and let time pass until its response is there.

        @param wait: Seconds of virtual time to wait at most.

        @return: The response; its C{status} is 0 where the connection ended without one, and it is not C{complete}
            where it ended within.

        @raise NoAnswer: If neither came.
        """
        number = len(self._methods)
        self.send(method, path, headers, body, trailers)
        return self.response(number, wait)

    def response(self, number: int = -1, wait: float = 60.0) -> Response:
        """
        Wait for a response.

        @param number: Which one; by default that to the last request.
        """
        if number < 0:
            number += len(self._methods)

        def isThere() -> bool:
            if self._reader.tunnel is not None:
                return True
            return self.closed or (len(self.responses) > number and self.responses[number].complete)

        if not self._reactor.waitFor(isThere, wait):
            raise NoAnswer(f"no response within {wait} s; received was {self.received!r}")
        return self.responses[number] if len(self.responses) > number else Response()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Peer.dataReceived}.
        """
        super().dataReceived(data)
        self._reader.feed(data)

    def readConnectionLost(self) -> None:
        """
        See L{Peer.readConnectionLost}.
        """
        super().readConnectionLost()
        self._reader.finish()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted has it
        """
        See L{Peer.connectionLost}.
        """
        super().connectionLost(reason)
        if not self.wasReset:
            self._reader.finish()

    def _framing(self, message: Message) -> str | None:
        assert isinstance(message, Response)
        status = message.status
        method = self._methods[len(self.responses)] if len(self.responses) < len(self._methods) else b"GET"
        if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
            return "tunnel"
        if status < 200:
            return "interim"
        return "none" if method == b"HEAD" or status in (204, 304) else None

    def _began(self, message: Message) -> None:
        assert isinstance(message, Response)
        if message.status < 200 and message.status != 101:
            self._interim.append(message)
        else:
            message.interim, self._interim = self._interim, []
            self.responses.append(message)


def _response(firstLine: bytes) -> Response:
    return Response(status=int(firstLine.split(b" ")[1]))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _end(trailers: Any) -> bytes:
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in trailers) + b"\r\n"
