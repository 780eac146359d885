"""
L{meshproxy.testing.messages}: an HTTP/1.1 parser for tests.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing.messages import Message, MessageReader, Request, Response, headerMap


def read(wire: bytes, step: int = 0, framing: str | None = None, isRequest: bool = False) -> list[Message]:
    """
    The messages of some bytes.

    @param step: How many bytes are fed at a time.
    """
    messages: list[Message] = []
    reader = MessageReader(
        _request if isRequest else _response,
        messages.append,
        lambda message: None,
        lambda message: framing,
    )
    for start in range(0, len(wire), step or len(wire)):
        reader.feed(wire[start : start + (step or len(wire))])
    reader.finish()
    return messages


def _request(line: bytes) -> Message:
    return Request(method=line.split()[0])


def _response(line: bytes) -> Message:
    return Response(status=int(line[9:12]))


class MessageReaderTests(SynchronousTestCase):
    """
    How messages end.
    """

    def test_everyFraming(self) -> None:
        """
        Lengths, chunks with trailers, nothing, and the end of the connection; one after the other, however they are
        cut.
        """
        wire = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\nx-a: 2\r\n\r\nabc"
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\nde\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n"
            b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"HTTP/1.1 203 Fine\r\ncontent-length: 0\r\n\r\n"
            b"HTTP/1.0 200 OK\r\n\r\nto the end"
        )
        for step in (0, 1, 7):
            first, second, third, fourth, fifth = read(wire, step)
            self.assertEqual((first.body, first.headers.values(b"x-a")), (b"abc", [b"1", b"2"]))
            self.assertEqual(first.header("X-A"), "1,2")
            self.assertEqual((second.body, second.trailers), (b"de0123456789", headerMap({"t": "v"})))
            self.assertEqual((third.body, fourth.body, fifth.body), (b"", b"", b"to the end"))
            self.assertTrue(all(message.complete for message in (first, second, third, fourth, fifth)))

    def test_cutOff(self) -> None:
        """
        A message whose end did not come is not complete.
        """
        for wire in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        ):
            (message,) = read(wire)
            self.assertEqual((message.body, message.complete), (b"ab", False))
        self.assertEqual(read(b"HTTP/1.1 200 OK\r\nContent-Le"), [])

    def test_requests(self) -> None:
        """
        A request without a length has no body.
        """
        first, second = read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPUT / HTTP/1.1\r\nHost: b\r\n\r\n", isRequest=True)
        self.assertTrue(first.complete and second.complete)
        assert isinstance(second, Request)
        self.assertEqual((second.method, second.host), (b"PUT", b"b"))

    def test_framing(self) -> None:
        """
        What the test knows better than the headers is believed.
        """
        (message,) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", framing="none")
        self.assertTrue(message.complete)
