"""
L{meshproxy.http.walk}: bodies that do not go straight through the filters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer
from tests.http.support import scripted
from tests.http.walksupport import WalkCase


class BytesTests(WalkCase):
    """
    Data events that answer with bytes.
    """

    def test_replaced(self) -> None:
        """
        The bytes go on instead, the filters that follow see them, and nothing waits.
        """
        self.between(
            scripted(
                requestHeaders=lambda stream, headers, end: headers.remove(b"content-length") and None,
                requestData=lambda stream, data, end: data.upper(),
                responseHeaders=lambda stream, headers, end: headers.remove(b"content-length") and None,
                responseData=lambda stream, data, end: bytearray(b"<" + data + b">"),
            )
        )
        self.backend.respond(200, b"answer")
        response = self.proxy.request("POST", body=b"question")
        self.assertEqual(self.backend.last.body, b"QUESTION")
        self.assertEqual(response.body, b"<answer>")
        self.assertEqual(self.seen("after", "requestData"), ["after requestData QUESTION."])
        self.assertEqual(self.seen("before", "responseData"), ["before responseData <answer>."])

    def test_swallowed(self) -> None:
        """
        No bytes at all are bytes too: a piece is swallowed, the end is not.
        """
        self.between(
            scripted(
                requestHeaders=lambda stream, headers, end: headers.remove(b"content-length") and None,
                requestData=lambda stream, data, end: b"",
            )
        )
        self.assertEqual(self.proxy.request("POST", body=b"question").status, 200)
        self.assertEqual((self.backend.last.body, self.backend.last.complete), (b"", True))


class BodyTests(WalkCase):
    """
    C{requestBody} and C{responseBody}.
    """

    def reading(self, limit: int = 0, change: Callable[[bytes], bytes] | None = None) -> type[HTTPFilter]:
        """
        A filter that reads the request's body, and may replace it.
        """
        bodies = self.bodies = []

        async def read(stream: Any, headers: Any, end: bool) -> None:
            body = await stream.requestBody(limit)
            bodies.append(body)
            if change is not None:
                stream.replaceRequestBody(change(body))

        return scripted(requestHeaders=read)

    bodies: list[bytes]

    def test_requestBody(self) -> None:
        """
        The whole body is read before anything goes on, and is sent on then.
        """
        self.between(self.reading())
        client = self.proxy.client()
        client.send("POST", headers={"content-length": "4"}, body=b"ab", whole=False)
        self.proxy.settle()
        self.assertEqual((self.bodies, self.seen("after")), ([], []))
        client.write(b"cd")
        self.assertEqual(client.response().status, 200)
        self.assertEqual((self.bodies, self.backend.last.body), ([b"abcd"], b"abcd"))

    def test_noBody(self) -> None:
        """
        A request without a body has an empty one, that is there at once.
        """
        self.between(self.reading())
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.bodies, [b""])

    def test_replaced(self) -> None:
        """
        A body that is replaced has a length that fits, with trailers and without.
        """
        self.between(self.reading(change=lambda body: body * 3))
        self.proxy.request("POST", body=b"ab")
        self.assertEqual((self.backend.last.body, self.backend.last.header("content-length")), (b"ababab", "6"))
        self.proxy.request("POST", body=b"ab", trailers={"t": "1"})
        self.assertEqual(self.backend.last.body, b"ababab")
        self.between(self.reading(change=lambda body: b""))
        self.proxy.request("POST", body=b"ab")
        self.assertEqual((self.backend.last.body, self.backend.last.header("content-length")), (b"", "0"))
        self.between(self.reading(change=lambda body: b"new"))
        self.proxy.request("POST")
        self.assertEqual((self.backend.last.body, self.backend.last.header("content-length")), (b"new", "3"))

    def test_tooLong(self) -> None:
        """
        A longer body than the limit is answered with 413, by the filter's limit or by the connection's.
        """
        self.between(self.reading(limit=3))
        self.assertEqual(self.proxy.request("POST", body=b"abc").status, 200)
        response = self.proxy.request("POST", body=b"abcd")
        self.assertEqual((response.status, response.body), (413, b"Payload Too Large"))
        self.assertEqual(self.proxy.accessLog[-1], "413 request_payload_too_large -")
        self.assertEqual(self.stat("downstream_rq_too_large"), 1)
        self.between(self.reading(), listener={"per_connection_buffer_limit_bytes": 10})
        self.assertEqual(self.proxy.request("POST", body=b"x" * 10).status, 200)
        self.assertEqual(self.proxy.request("POST", body=b"x" * 11).status, 413)
        self.assertQuiet()

    def test_replaceOutOfTurn(self) -> None:
        """
        A body is replaced by who read it, and not earlier: anything else is the filter's fault.
        """
        self.between(scripted(requestHeaders=lambda stream, headers, end: stream.replaceRequestBody(b"x")))
        self.assertEqual(self.proxy.request("POST", body=b"ab").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def responseReading(self, limit: int = 0, change: Callable[[bytes], bytes] | None = None) -> type[HTTPFilter]:
        """
        A filter that reads the response's body, and may replace it.
        """
        bodies = self.bodies = []

        async def read(stream: Any, headers: Any, end: bool) -> None:
            body = await stream.responseBody(limit)
            bodies.append(body)
            if change is not None:
                stream.replaceResponseBody(change(body))

        return scripted(responseHeaders=read)

    def test_responseBody(self) -> None:
        """
        The same for responses, however they come.
        """
        self.between(self.responseReading(change=lambda body: body[::-1] * 2))
        self.backend.answer(Answer(body=b"abc"), Answer(body=[b"ab", b"c"], delay=1.0), Answer(304))
        response = self.proxy.request()
        self.assertEqual((response.body, response.header("content-length")), (b"cbacba", "6"))
        self.assertEqual(self.proxy.request().body, b"cbacba")
        self.assertEqual(self.proxy.request().status, 304)
        self.assertEqual(self.bodies, [b"abc", b"abc", b""])

    def test_responseTooLong(self) -> None:
        """
        A longer response than the limit is answered with 500.
        """
        self.between(self.responseReading(limit=3))
        self.backend.answer(Answer(body=b"abc"), Answer(body=b"abcd"), Answer(body=[b"ab", b"cd"], delay=1.0))
        self.assertEqual(self.proxy.request().status, 200)
        for _ in range(2):
            response = self.proxy.request()
            self.assertEqual((response.status, response.complete), (500, True))
            self.assertEqual(self.proxy.accessLog[-1], "500 response_payload_too_large -")
        self.assertEqual(self.stat("rs_too_large"), 2)
        self.assertQuiet()

    def test_bothRead(self) -> None:
        """
        Two filters may read the body, one after the other; the second sees what the first made of it.
        """
        second: list[bytes] = []

        async def read(stream: Any, headers: Any, end: bool) -> None:
            second.append(await stream.requestBody())
            stream.replaceRequestBody(second[0] + b"!")

        self.between(self.reading(change=bytes.upper), scripted(requestHeaders=read))
        self.proxy.request("POST", body=b"ab")
        self.assertEqual((second, self.backend.last.body), ([b"AB"], b"AB!"))


class BackPressureTests(WalkCase):
    """
    What holds for long makes its sender wait.
    """

    capacity = 1000

    def test_request(self) -> None:
        """
        A client whose request is held is read up to the limit, and no further; all of it goes on in the end.
        """
        self.between(scripted(requestHeaders=self.keep(STOP)), listener={"per_connection_buffer_limit_bytes": 2000})
        client = self.proxy.client()
        client.send("POST", body=b"x" * 100_000)
        self.proxy.settle()
        self.assertLess(self.stat("downstream_cx_rx_bytes_total"), 10_000)
        self.streams[0].resumeRequest()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(len(self.backend.last.body), 100_000)

    def test_response(self) -> None:
        """
        Likewise an upstream.
        """
        self.between(scripted(responseHeaders=self.keep(STOP)), listener={"per_connection_buffer_limit_bytes": 2000})
        self.backend.respond(200, b"x" * 100_000)
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertLess(self.clusterStat("upstream_cx_rx_bytes_total"), 10_000)
        self.streams[0].resumeResponse()
        self.assertEqual(len(client.response().body), 100_000)
        self.assertQuiet()

    def test_gathering(self) -> None:
        """
        A filter that stops at each piece of a body, and never goes on, gathers no more than the limit.
        """
        self.between(scripted(requestData=self.keep(STOP)), listener={"per_connection_buffer_limit_bytes": 2000})
        response = self.proxy.request("POST", body=b"x" * 5000)
        self.assertEqual(response.status, 413)


class ByteByByteTests(WalkCase):
    """
    The same with reads of one byte: however a message is cut, all of it goes on, in order.
    """

    readSize = 1

    def test_requestHeaders(self) -> None:
        """
        A held request.
        """
        self.between(scripted(requestHeaders=self.keep(STOP)))
        client = self.proxy.client()
        client.send("POST", body=b"abcd", trailers={"t": "1"})
        self.proxy.settle()
        self.assertEqual(self.seen("after"), [])
        self.streams[0].resumeRequest()
        self.assertEqual(client.response().status, 200)
        self.assertEqual((self.backend.last.body, self.backend.last.trailers.get(b"t")), (b"abcd", b"1"))

    def test_responseHeaders(self) -> None:
        """
        A held response.
        """
        self.between(scripted(responseHeaders=self.keep(STOP)))
        self.backend.answer(Answer(body=[b"ab", b"cd"], trailers={"t": "1"}))
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        self.assertEqual(client.received, b"")
        self.streams[0].resumeResponse()
        response = client.response()
        self.assertEqual((response.body, response.trailers.get(b"t")), (b"abcd", b"1"))

    def test_data(self) -> None:
        """
        The second byte is held, and all behind it.
        """
        count = [0]

        def requestData(stream: Any, data: bytes, end: bool) -> object:
            self.streams.append(stream)
            count[0] += 1
            return STOP if count[0] == 2 else None

        self.between(scripted(requestData=requestData))
        client = self.proxy.client()
        client.send("POST", body=b"abcdef")
        self.proxy.settle()
        self.assertEqual(self.seen("after", "Data"), ["after requestData a"])
        self.streams[0].resumeRequest()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.body, b"abcdef")


class LastPieceTests(WalkCase):
    """
    C{bytes} as the answer to trailers are the last piece of the body.
    """

    def test_request(self) -> None:
        """
        They pass the filters that come later, and reach the upstream before the trailers.
        """
        self.between(scripted(requestTrailers=self.keep(b"end")))
        client = self.proxy.client()
        client.send("POST", body=b"ab", trailers={"t": "1"})
        self.assertEqual(client.response().status, 200)
        self.assertEqual((self.backend.last.body, self.backend.last.trailers.get(b"t")), (b"abend", b"1"))
        self.assertEqual(
            self.seen("after", "request")[1:],
            ["after requestData ab", "after requestData end", "after requestTrailers t"],
        )
        self.assertEqual(self.seen("before", "end"), [])

    def test_response(self) -> None:
        """
        Likewise for a response.
        """
        self.between(scripted(responseTrailers=self.keep(b"end")))
        self.backend.answer(Answer(body=[b"ab"], trailers={"t": "1"}))
        client = self.proxy.client()
        client.send()
        response = client.response()
        self.assertEqual((response.body, response.trailers.get(b"t")), (b"abend", b"1"))

    def test_held(self) -> None:
        """
        A filter that holds the piece holds the trailers as well.
        """
        streams = self.streams

        def hold(stream: Any, data: bytes, end: bool) -> object:
            if data != b"end":
                return None
            streams.append(stream)
            return STOP

        self.between(scripted(requestTrailers=lambda stream, trailers: b"end"), scripted(requestData=hold))
        client = self.proxy.client()
        client.send("POST", body=b"ab", trailers={"t": "1"})
        self.proxy.settle()
        self.assertEqual(self.seen("after", "requestTrailers"), [])
        streams[0].resumeRequest()
        self.assertEqual(client.response().status, 200)
        self.assertEqual((self.backend.last.body, self.backend.last.trailers.get(b"t")), (b"abend", b"1"))

    def test_nothing(self) -> None:
        """
        No bytes are no piece.
        """
        self.between(scripted(requestTrailers=self.keep(b"")))
        client = self.proxy.client()
        client.send("POST", body=b"ab", trailers={"t": "1"})
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.seen("after", "requestData"), ["after requestData ab"])


class PartialBodyTests(WalkCase):
    """
    A filter that wants the beginning of a body.
    """

    def test_longer(self) -> None:
        """
        It gets what has come as soon as that is more than its limit; nothing more is read until it is done, and all of
        it goes on.
        """
        told: list[bytes] = []
        waiting: Deferred[None] = Deferred()

        def requestHeaders(stream: Any, headers: Any, end: bool) -> object:
            body: Deferred[bytes] = stream.requestBody(3, partial=True)
            return body.addCallback(told.append).addCallback(lambda _: waiting)

        self.between(scripted(requestHeaders=requestHeaders))
        client = self.proxy.client()
        client.send("POST", "/", whole=False)
        client.sendChunk(b"abc")
        self.proxy.settle()
        self.assertEqual(told, [])
        client.sendChunk(b"def")
        self.proxy.settle()
        self.assertEqual(told, [b"abcdef"])
        self.assertEqual(self.seen("after"), [])
        waiting.callback(None)
        client.sendChunk(b"ghi")
        client.endChunks()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.backend.last.body, b"abcdefghi")

    def test_shorter(self) -> None:
        """
        Of a shorter one it gets the whole.
        """
        told: list[bytes] = []

        def requestHeaders(stream: Any, headers: Any, end: bool) -> object:
            body: Deferred[bytes] = stream.requestBody(3, partial=True)
            return body.addCallback(told.append)

        self.between(scripted(requestHeaders=requestHeaders))
        client = self.proxy.client()
        client.send("POST", "/", body=b"abc")
        self.assertEqual((client.response().status, told), (200, [b"abc"]))
