"""
L{meshproxy.codec.http1.upstream}: the client's role.
"""

from __future__ import annotations

from typing import Any

from meshproxy.codec.http1 import Http1Options, ReadState, UpstreamCodec
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders
from tests.codec.http1.helpers import CodecTestCase, RecordingSink, upstream

OK = b"HTTP/1.1 200 OK\r\n"
TUNNEL = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


def fresh(**options: Any) -> UpstreamCodec:
    """
    A codec that sent nothing so far.
    """
    return UpstreamCodec(RecordingSink(), Http1Options(**options)) if options else UpstreamCodec(RecordingSink())


def request(
    method: bytes = b"GET", *pairs: tuple[bytes, bytes], path: bytes = b"/", host: bytes = b"h"
) -> RequestHeaders:
    """
    A request.
    """
    return RequestHeaders(method, path, host, pairs)


def watched(codec: UpstreamCodec, sink: RecordingSink) -> list[bool]:
    """
    What C{keepAlive} is at each event.
    """
    seen: list[bool] = []

    def during(name: str) -> None:
        seen.append(codec.keepAlive)

    sink.during = during
    return seen


class RequestTests(CodecTestCase):
    """
    What requests look like.
    """

    def test_head(self) -> None:
        """
        The Host comes first, then the fields in order.
        """
        headers = request(b"GET", (b"b", b"1"), (b"a", b"2"), (b"b", b"3"), path=b"/x?y")
        wire = b"GET /x?y HTTP/1.1\r\nhost: h\r\nb: 1\r\nb: 3\r\na: 2\r\n\r\n"
        self.assertEqual(fresh().encodeHeaders(headers, True), wire)

    def test_withoutBody(self) -> None:
        """
        A length of 0 is said where somebody might expect a body, as in Envoy.
        """
        for method in (b"GET", b"HEAD", b"DELETE", b"TRACE"):
            self.assertNotIn(b"content-length", fresh().encodeHeaders(request(method), True))
        for method in (b"POST", b"PUT", b"PATCH", b"OPTIONS", b"PROPFIND"):
            self.assertTrue(fresh().encodeHeaders(request(method), True).endswith(b"\r\ncontent-length: 0\r\n\r\n"))

    def test_fixed(self) -> None:
        """
        A body with a length; for GET too.
        """
        codec = fresh()
        wire = codec.encodeHeaders(request(b"GET", (b"content-length", b"3")), False) + codec.encodeData(b"abc", True)
        self.assertEqual(wire, b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc")

    def test_chunked(self) -> None:
        """
        A body without one; a transfer-encoding that was left in the map does not count.
        """
        codec = fresh()
        headers = request(b"POST", (b"transfer-encoding", b"gzip, chunked"))
        wire = codec.encodeHeaders(headers, False) + codec.encodeData(b"abc", False) + codec.encodeData(b"", True)
        self.assertEqual(wire, b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    def test_trailers(self) -> None:
        """
        With C{enable_trailers} they end a chunked body.
        """
        for options, end in (({"enableTrailers": True}, b"0\r\nt: x\r\n\r\n"), ({}, b"0\r\n\r\n")):
            codec = fresh(**options)
            codec.encodeHeaders(request(b"POST"), False)
            self.assertEqual(codec.encodeTrailers(HeaderMap([(b"t", b"x")])), end)

    def test_lengthsThatLie(self) -> None:
        """
        A body that is not as long as it says would let a smuggler fill it up (CVE-2026-48743).
        """
        for steps in ([(b"abc", False)], [(b"a", True)], [(b"a", False), (b"", True)]):
            codec = fresh()
            codec.encodeHeaders(request(b"POST", (b"content-length", b"2")), False)
            for data, endStream in steps[:-1]:
                codec.encodeData(data, endStream)
            self.assertRaises(LocalProtocolError, codec.encodeData, *steps[-1])
        for values in ([b"2"], [b"x"], [b"0", b"0"]):
            headers = request(b"POST", *[(b"content-length", value) for value in values])
            self.assertRaises(LocalProtocolError, fresh().encodeHeaders, headers, True)

    def test_injection(self) -> None:
        """
        Nothing that another protocol let through makes a second line or a second request line (CVE-2023-27491).
        """
        for bad in (b"\r", b"\n", b"\0", b" HTTP/1.1\r\nx: y"):
            for headers in (
                request(b"GET" + bad),
                request(path=b"/" + bad),
                request(host=b"h" + bad),
                request(b"GET", (b"a", bad + b"b")),
            ):
                self.assertRaises(LocalProtocolError, fresh().encodeHeaders, headers, True)
        for headers in (request(b"GET /x"), request(path=b"/ x"), request(path=b""), request(b"")):
            self.assertRaises(LocalProtocolError, fresh().encodeHeaders, headers, True)

    def test_forms(self) -> None:
        """
        C{send_fully_qualified_url} and C{proper_case_words}.
        """
        wire = fresh(sendFullyQualifiedURL=True).encodeHeaders(request(path=b"/x"), True)
        self.assertEqual(wire, b"GET http://h/x HTTP/1.1\r\nhost: h\r\n\r\n")
        wire = fresh(properCase=True).encodeHeaders(request(b"POST", (b"x-a", b"b")), True)
        self.assertEqual(wire, b"POST / HTTP/1.1\r\nHost: h\r\nX-A: b\r\nContent-Length: 0\r\n\r\n")

    def test_oneAtATime(self) -> None:
        """
        No second request before the first response is over.
        """
        codec, _ = upstream()
        self.assertRaises(LocalProtocolError, codec.encodeHeaders, request(), True)


class ResponseTests(CodecTestCase):
    """
    Responses and their bodies.
    """

    def test_bodies(self) -> None:
        """
        In every split: a length, none, chunks, and whether the connection may go on.
        """
        for wire, events in (
            (OK + b"content-length: 2\r\n\r\nok", [("response", False), ("data", b"ok", True)]),
            (OK + b"content-length: 0\r\n\r\n", [("response", True)]),
            (
                OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                [("response", False), ("data", b"ok", True)],
            ),
            (b"HTTP/1.1 204 No\r\n\r\n", [("response", True)]),
            (b"HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n", [("response", True)]),
            (
                b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok",
                [("response", False), ("data", b"ok", True)],
            ),
        ):
            told = self.assertEverySplit(upstream, wire)
            self.assertEqual([event if event[0] == "data" else (event[0], event[2]) for event in told], events)
            codec, _ = upstream()
            codec.receiveData(wire)
            self.assertTrue(codec.keepAlive)
            codec.encodeHeaders(request(), True)

    def test_head(self) -> None:
        """
        The response to HEAD has no body, whatever it says.
        """
        for fields in (b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b""):
            codec, sink = upstream(b"HEAD")
            codec.receiveData(OK + fields + b"\r\n")
            self.assertEqual([event[2] for event in sink.transcript], [True])
            self.assertTrue(codec.keepAlive)

    def test_untilClose(self) -> None:
        """
        A response without length ends with its connection.
        """
        codec, sink = upstream()
        codec.receiveData(OK + b"\r\nok")
        self.assertFalse(codec.keepAlive)
        codec.receiveEOF()
        self.assertEqual(sink.transcript[1:], [("data", b"ok", True)])
        codec.receiveEOF()

    def test_close(self) -> None:
        """
        What ends the life of the connection.
        """
        for head in (
            OK + b"connection: close\r\ncontent-length: 0\r\n\r\n",
            OK + b"proxy-connection: close\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        ):
            codec, sink = upstream()
            seen = watched(codec, sink)
            codec.receiveData(head)
            self.assertEqual(seen, [False])
            self.assertRaises(LocalProtocolError, codec.encodeHeaders, request(), True)
        codec, _ = upstream(b"GET", [(b"connection", b"close")])
        codec.receiveData(OK + b"content-length: 0\r\n\r\n")
        self.assertFalse(codec.keepAlive)

    def test_nextDuringEnd(self) -> None:
        """
        The next request may go out from within the callback that tells the end.
        """
        codec, sink = upstream()
        requests: list[bytes] = []

        def during(name: str) -> None:
            if name == "data":
                requests.append(codec.encodeHeaders(request(), True))

        sink.during = during
        codec.receiveData(OK + b"content-length: 2\r\n\r\nok")
        codec.receiveData(OK + b"content-length: 2\r\n\r\nok")
        self.assertEqual((len(requests), len(sink.transcript)), (2, 4))

    def test_overtaking(self) -> None:
        """
        A response that overtakes its request leaves a connection of no use.
        """
        codec, sink = upstream(b"POST", [(b"content-length", b"5")], False)
        codec.receiveData(OK + b"content-length: 0\r\n\r\n")
        self.assertFalse(codec.keepAlive)
        codec.encodeData(b"hello", True)
        self.assertRaises(LocalProtocolError, codec.encodeHeaders, request(), True)

    def test_framingThatLies(self) -> None:
        """
        Responses that could be read in two ways.
        """
        for fields in (
            b"content-length: 2\r\ncontent-length: 2\r\n",
            b"content-length: 2\r\ncontent-length: 3\r\n",
            b"content-length: +2\r\n",
            b"content-length: 2,2\r\n",
            b"content-length: \r\n",
        ):
            self.assertRefused(upstream, OK + fields + b"\r\nok")
        both = OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n"
        self.assertRefused(upstream, both, 400, "http1.content_length_and_chunked_not_allowed")
        for coding in (b"gzip", b"gzip, chunked", b"identity"):
            wire = OK + b"transfer-encoding: " + coding + b"\r\n\r\n"
            self.assertRefused(upstream, wire, 501, "http1.invalid_transfer_encoding")

    def test_bodiless(self) -> None:
        """
        1xx and 204 announce no body; a length of 0 is overlooked.
        """
        for status in (b"103", b"204", b"100"):
            head = b"HTTP/1.1 " + status + b" x\r\n"
            wire = head + b"content-length: 5\r\n\r\n"
            self.assertRefused(upstream, wire, 400, "http1.content_length_not_allowed")
            wire = head + b"transfer-encoding: chunked\r\n\r\n"
            self.assertRefused(upstream, wire, 400, "http1.transfer_encoding_not_allowed")
            told = self.assertEverySplit(upstream, head + b"content-length: 0\r\n\r\n")
            self.assertNotIn(b"content-length", dict(told[0][1]))

    def test_informational(self) -> None:
        """
        Any number of 1xx come before the response.
        """
        wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: y\r\n\r\n" + OK + b"content-length: 0\r\n\r\n"
        told = self.assertEverySplit(upstream, wire)
        self.assertEqual([event[0] for event in told], ["informational", "informational", "response"])

    def test_began(self) -> None:
        """
        C{responseBegan} tells whether a request may be tried again without anybody noticing.
        """
        for wire, expected in ((b"", False), (b"H", True), (b"HTTP/1.1 100 x\r\n\r\n", True), (OK + b"\r\n", True)):
            codec, _ = upstream()
            codec.receiveData(wire)
            self.assertEqual(codec.responseBegan, expected)
        codec, _ = upstream()
        codec.receiveData(OK + b"content-length: 0\r\n\r\n")
        codec.encodeHeaders(request(), True)
        self.assertFalse(codec.responseBegan)

    def test_eof(self) -> None:
        """
        The end within a response, and before one.
        """
        for wire, details in (
            (b"", "connection_termination"),
            (OK + b"conte", "http1.codec_error"),
            (OK + b"content-length: 5\r\n\r\nok", "http1.codec_error"),
            (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "http1.codec_error"),
            (b"HTTP/1.1 100 x\r\n\r\n", "connection_termination"),
        ):
            codec, _ = upstream()
            codec.receiveData(wire)
            error = self.assertRaises(RemoteProtocolError, codec.receiveEOF)
            self.assertEqual(error.details, details)
            codec.receiveEOF()
        codec = fresh()
        codec.receiveEOF()
        self.assertRaises(LocalProtocolError, codec.encodeHeaders, request(), True)


class UnaskedTests(CodecTestCase):
    """
    Bytes that answer no request.
    """

    def test_idle(self) -> None:
        """
        On an idle connection they are a fault.
        """
        self.assertRaises(RemoteProtocolError, fresh().receiveData, OK)
        codec, _ = upstream()
        codec.receiveData(OK + b"content-length: 0\r\n\r\n")
        self.assertTrue(codec.keepAlive)
        self.assertRaises(RemoteProtocolError, codec.receiveData, b"x")
        self.assertFalse(codec.keepAlive)
        self.assertIs(codec.readState, ReadState.FAILED)

    def test_afterResponse(self) -> None:
        """
        Behind a response they are not told, and the connection is known to be of no use when the end is.
        """
        for wire in (
            OK + b"content-length: 2\r\n\r\nok",
            OK + b"content-length: 0\r\n\r\n",
            OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 204 x\r\n\r\n",
        ):
            codec, sink = upstream()
            seen = watched(codec, sink)
            codec.receiveData(wire + OK + b"content-length: 6\r\n\r\npoison")
            self.assertFalse(seen[-1])
            self.assertFalse([event for event in sink.transcript if b"poison" in event])
            codec.receiveData(b"more")
            self.assertRaises(LocalProtocolError, codec.encodeHeaders, request(), True)


class TunnelTests(CodecTestCase):
    """
    CONNECT and Upgrade.
    """

    def test_upgrade(self) -> None:
        """
        Only after 101 bytes pass; until then none can be sent.
        """
        codec, sink = upstream(b"GET", TUNNEL, False)
        self.assertRaises(LocalProtocolError, codec.encodeData, b"x", False)
        self.assertRaises(LocalProtocolError, codec.beginTunnel)
        codec.receiveData(b"HTTP/1.1 101 x\r\nupgrade: websocket\r\n\r\nhel")
        codec.beginTunnel()
        codec.receiveData(b"lo")
        self.assertTrue(codec.upgraded)
        self.assertEqual(codec.encodeData(b"\0", False), b"\0")
        self.assertEqual(codec.encodeData(b"", True), b"")
        codec.receiveEOF()
        self.assertEqual(sink.transcript[1:], [("data", b"hello", True)])

    def test_head(self) -> None:
        """
        A request for a tunnel has no framing; CONNECT names its authority.
        """
        wire = fresh().encodeHeaders(request(b"GET", *TUNNEL), False)
        self.assertEqual(wire, b"GET / HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        wire = fresh().encodeHeaders(request(b"CONNECT", path=b"", host=b"x:80"), False)
        self.assertEqual(wire, b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n")

    def test_refused(self) -> None:
        """
        Any other response is a usual one, on a connection that is never used again (CVE-2024-23326).
        """
        for method, pairs, status in ((b"GET", TUNNEL, b"200"), (b"GET", TUNNEL, b"403"), (b"CONNECT", [], b"403")):
            codec, sink = upstream(method, pairs, False)
            codec.receiveData(b"HTTP/1.1 " + status + b" x\r\ncontent-length: 2\r\n\r\nok")
            self.assertEqual(sink.transcript[1:], [("data", b"ok", True)])
            self.assertFalse(codec.upgraded or codec.keepAlive)
            self.assertRaises(LocalProtocolError, codec.beginTunnel)

    def test_unasked(self) -> None:
        """
        101 to a request that asked for nothing, or for CONNECT, is a fault.
        """
        self.assertRefused(upstream, b"HTTP/1.1 101 x\r\n\r\n")
        self.assertRefused(lambda: upstream(b"CONNECT", [], False), b"HTTP/1.1 101 x\r\n\r\n")

    def test_connect(self) -> None:
        """
        Any 2xx opens the tunnel, whatever length it says.
        """
        for head in (OK, OK + b"content-length: 2\r\n", OK + b"transfer-encoding: chunked\r\n"):
            told = self.assertEverySplit(lambda: upstream(b"CONNECT", [], False), head + b"\r\n2\r\nok\r\n")
            self.assertEqual(told, [("response", [(b":status", b"200")], False), ("data", b"2\r\nok\r\n", False)])


class OpaqueTests(CodecTestCase):
    """
    Bodies that go by without the codec.
    """

    def test_opaque(self) -> None:
        """
        The connection can be used again after them.
        """
        codec, sink = upstream()
        codec.receiveData(OK + b"content-length: 10\r\n\r\nab")
        self.assertEqual(codec.opaqueRemaining, 8)
        codec.opaqueReceived(8)
        self.assertEqual(sink.transcript[1:], [("data", b"ab", True)])
        codec.encodeHeaders(request(), True)
