"""
L{meshproxy.codec.http1.downstream}: the server's role.
"""

from __future__ import annotations

from meshproxy.codec.http1 import DownstreamCodec, ReadState
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, ResponseHeaders
from tests.codec.http1.helpers import CodecTestCase, RecordingSink, downstream

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT x:80 HTTP/1.1\r\nHost: h\r\n\r\n"


def asked(wire: bytes, **options: object) -> tuple[DownstreamCodec, RecordingSink]:
    """
    A codec that has read something.
    """
    codec, sink = downstream(**options)
    codec.receiveData(wire)
    return codec, sink


def reply(codec: DownstreamCodec, status: int = 200, *pairs: tuple[bytes, bytes], body: bytes = b"ok") -> bytes:
    """
    A whole response.
    """
    head = codec.encodeHeaders(ResponseHeaders(status, [*pairs, (b"content-length", b"%d" % len(body))]), False)
    return head + codec.encodeData(body, True)


class RequestTests(CodecTestCase):
    """
    Requests and their bodies.
    """

    def test_withoutBody(self) -> None:
        """
        A request that announces no body has none, whatever its method.
        """
        for method in (b"GET", b"POST", b"DELETE"):
            for extra in (b"", b"Content-Length: 0\r\n"):
                told = self.assertEverySplit(downstream, method + b" / HTTP/1.1\r\nHost: a\r\n" + extra + b"\r\n")
                self.assertEqual([(event[0], event[2]) for event in told], [("request", True)])

    def test_fixedBody(self) -> None:
        """
        A body of known length, in every split, with the next request behind it.
        """
        for rest in (b"", b"GET"):
            told = self.assertEverySplit(downstream, POST + b"hello" + rest)
            self.assertEqual(told[1:], [("data", b"hello", True)])

    def test_framingIsVisible(self) -> None:
        """
        The fields that frame stay in the head, as in Envoy.
        """
        self.assertIn((b"content-length", b"5"), asked(POST)[1].transcript[0][1])
        self.assertIn((b"transfer-encoding", b"chunked"), asked(CHUNKED)[1].transcript[0][1])

    def test_eachReadIsTold(self) -> None:
        """
        A body is told as it comes, without being gathered.
        """
        codec, sink = asked(POST)
        for piece in (b"h", b"el", b"lo"):
            codec.receiveData(piece)
        self.assertEqual(sink.calls, 4)

    def test_order(self) -> None:
        """
        Fields keep their order; the Host leads, wherever it stood.
        """
        told = asked(b"GET / HTTP/1.1\r\nB: 1\r\nHost: a\r\nA: 2\r\n\r\n")[1].transcript
        self.assertEqual(told[0][1][3:], [(b":path", b"/"), (b"b", b"1"), (b"a", b"2")])

    def test_refusedRequestIsKnown(self) -> None:
        """
        A request that is refused for its framing can stand in the access log.
        """
        codec, sink = downstream()
        wire = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"
        self.assertRaises(RemoteProtocolError, codec.receiveData, wire)
        assert codec.request is not None
        self.assertEqual((codec.request.path, sink.transcript), (b"/x", []))


class PipelineTests(CodecTestCase):
    """
    One request after the other.
    """

    def test_waits(self) -> None:
        """
        The next request is parsed only when the response is over and the codec was told to go on.
        """
        codec, sink = asked(GET + GET)
        self.assertEqual((len(sink.transcript), codec.bufferedBytes), (1, len(GET)))
        codec.resume()
        self.assertEqual(len(sink.transcript), 1)
        reply(codec)
        self.assertEqual(len(sink.transcript), 1)
        codec.resume()
        self.assertEqual((len(sink.transcript), codec.bufferedBytes), (2, 0))

    def test_laterBytes(self) -> None:
        """
        What comes while a request is unanswered is kept in order, however it is cut.
        """
        wire = GET + POST + b"hello" + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + GET
        for size in (1, 7, 40, 1000):
            codec, sink = downstream()
            for place in range(0, len(wire), size):
                codec.receiveData(wire[place : place + size])
            for _ in range(4):
                reply(codec)
                codec.resume()
            told = [event[0] if event[0] == "request" else event[1] for event in sink.transcript]
            self.assertEqual(told, ["request", "request", b"hello", "request", b"hi", "request"], size)
            self.assertEqual(codec.bufferedBytes, 0)

    def test_answerDuringRequest(self) -> None:
        """
        The sink may answer and go on from within the callback, any number of times, without recursion.
        """
        codec, sink = downstream()
        written: list[bytes] = []

        def during(name: str) -> None:
            written.append(reply(codec))
            codec.resume()

        sink.during = during
        codec.receiveData(GET * 5000)
        self.assertEqual((len(sink.transcript), len(written)), (5000, 5000))

    def test_receiveDuringRequest(self) -> None:
        """
        Bytes that come from within a callback are taken after those that were there.
        """
        codec, sink = downstream()
        more = [b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"]

        def during(name: str) -> None:
            if more:
                codec.receiveData(more.pop())
            reply(codec)
            codec.resume()

        sink.during = during
        codec.receiveData(b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual([event[1][3][1] for event in sink.transcript], [b"/0", b"/1", b"/2"])

    def test_answerDuringBody(self) -> None:
        """
        A response that ends within a body ends the connection; the rest of the body is told to nobody.
        """
        for wire in (POST + b"hel", CHUNKED + b"3\r\nabc\r\n"):
            codec, sink = downstream()
            written: list[bytes] = []

            def during(name: str, codec: DownstreamCodec = codec, written: list[bytes] = written) -> None:
                if name == "data":
                    written.append(reply(codec))

            sink.during = during
            codec.receiveData(wire)
            codec.receiveData(b"lo" + GET)
            codec.resume()
            self.assertEqual(len(sink.transcript), 2)
            self.assertIn(b"connection: close\r\n", written[0])
            self.assertIs(codec.readState, ReadState.CLOSED)

    def test_badSecondRequest(self) -> None:
        """
        What follows is judged when its turn comes, and not before.
        """
        codec, _ = asked(GET + b"G(T / HTTP/1.1\r\n\r\n")
        reply(codec)
        error = self.assertRaises(RemoteProtocolError, codec.resume)
        self.assertEqual(error.statusHint, 400)
        self.assertIsNone(codec.request)

    def test_nothingAfterClose(self) -> None:
        """
        After C{Connection: close} nothing is parsed, nor kept.
        """
        codec, sink = asked(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
        self.assertIn(b"\r\nconnection: close\r\n", reply(codec))
        codec.resume()
        codec.receiveData(GET)
        self.assertEqual((len(sink.transcript), codec.bufferedBytes, codec.keepAlive), (1, 0, False))


class ResponseTests(CodecTestCase):
    """
    What responses look like.
    """

    def test_fixed(self) -> None:
        """
        A response with a length.
        """
        codec, _ = asked(GET)
        wire = reply(codec, 200, (b"a", b"b"))
        self.assertEqual(wire, b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\n\r\nok")
        self.assertTrue(codec.keepAlive)

    def test_chunked(self) -> None:
        """
        A response of unknown length; a transfer-encoding of the map does not count.
        """
        codec, _ = asked(GET)
        headers = ResponseHeaders(200, [(b"transfer-encoding", b"gzip"), (b"a", b"b")])
        wire = codec.encodeHeaders(headers, False) + codec.encodeData(b"hello", False) + codec.encodeData(b"", False)
        wire += codec.encodeData(b"", True)
        self.assertEqual(wire, b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    def test_empty(self) -> None:
        """
        A response that ends with its head says so, after everything else.
        """
        codec, _ = asked(GET)
        codec.closeAfterResponse()
        self.assertEqual(
            codec.encodeHeaders(ResponseHeaders(404, [(b"server", b"envoy")]), True),
            b"HTTP/1.1 404 Not Found\r\nserver: envoy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )

    def test_withoutBody(self) -> None:
        """
        204 and 304 have no body, and 204 no length; what a filter gives as a body is not written.
        """
        for status, line in ((204, b"HTTP/1.1 204 No Content\r\n"), (304, b"HTTP/1.1 304 Not Modified\r\n")):
            for endStream in (True, False):
                codec, _ = asked(GET)
                wire = codec.encodeHeaders(ResponseHeaders(status), endStream)
                wire += b"" if endStream else codec.encodeData(b"hello", True)
                self.assertEqual(wire, line + b"\r\n")
                self.assertTrue(codec.keepAlive)
        codec, _ = asked(GET)
        self.assertEqual(
            codec.encodeHeaders(ResponseHeaders(204, [(b"content-length", b"0"), (b"a", b"b")]), True),
            b"HTTP/1.1 204 No Content\r\na: b\r\n\r\n",
        )
        codec, _ = asked(GET)
        self.assertIn(
            b"content-length: 7", codec.encodeHeaders(ResponseHeaders(304, [(b"content-length", b"7")]), True)
        )

    def test_head(self) -> None:
        """
        The response to HEAD has the fields of one to GET, and no body.
        """
        for pairs, framing in (
            ([], b"transfer-encoding: chunked"),
            ([(b"content-length", b"7")], b"content-length: 7"),
        ):
            for endStream in (True, False):
                codec, _ = asked(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                wire = codec.encodeHeaders(ResponseHeaders(200, pairs), endStream)
                wire += b"" if endStream else codec.encodeData(b"1234567", True)
                self.assertEqual(wire, b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")

    def test_informational(self) -> None:
        """
        Any number of them before the response; they have no length.
        """
        codec, _ = asked(POST)
        headers = ResponseHeaders(103, [(b"link", b"x"), (b"content-length", b"0")])
        self.assertEqual(codec.encodeInformational(ResponseHeaders(100)), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(codec.encodeInformational(headers), b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        for status in (101, 200):
            self.assertRaises(LocalProtocolError, codec.encodeInformational, ResponseHeaders(status))
        codec.receiveData(b"hello")
        self.assertTrue(reply(codec).startswith(b"HTTP/1.1 200"))

    def test_overtaking(self) -> None:
        """
        A response that overtakes its request is the last one.
        """
        codec, _ = asked(POST + b"he")
        self.assertIn(b"\r\nconnection: close\r\n", reply(codec, 413))
        self.assertFalse(codec.keepAlive)

    def test_lengthsThatLie(self) -> None:
        """
        A body that is longer or shorter than its length is not passed off as whole.
        """
        for steps in ([(b"abc", False)], [(b"a", True)], [(b"a", False), (b"", True)]):
            codec, _ = asked(GET)
            codec.encodeHeaders(ResponseHeaders(200, [(b"content-length", b"2")]), False)
            for data, endStream in steps[:-1]:
                codec.encodeData(data, endStream)
            self.assertRaises(LocalProtocolError, codec.encodeData, *steps[-1])
        for value in (b"2", b"x", b""):
            codec, _ = asked(GET)
            headers = ResponseHeaders(200, [(b"content-length", value)])
            self.assertRaises(LocalProtocolError, codec.encodeHeaders, headers, True)
        codec, _ = asked(GET)
        headers = ResponseHeaders(200, [(b"content-length", b"0"), (b"content-length", b"0")])
        self.assertRaises(LocalProtocolError, codec.encodeHeaders, headers, True)

    def test_unasked(self) -> None:
        """
        No response without a request, and no 1xx as the response.
        """
        self.assertRaises(LocalProtocolError, downstream()[0].encodeHeaders, ResponseHeaders(200), True)
        for status in (100, 101, 103):
            self.assertRaises(LocalProtocolError, asked(GET)[0].encodeHeaders, ResponseHeaders(status), True)

    def test_trailers(self) -> None:
        """
        With C{enable_trailers} they end a chunked body; otherwise they are left out.
        """
        for enabled, end in ((True, b"0\r\nt: x\r\n\r\n"), (False, b"0\r\n\r\n")):
            codec, _ = asked(GET, enableTrailers=enabled)
            codec.encodeHeaders(ResponseHeaders(200), False)
            self.assertEqual(codec.encodeTrailers(HeaderMap([(b"t", b"x")])), end)
            codec.resume()
            codec.receiveData(GET)
            codec.encodeHeaders(ResponseHeaders(200, [(b"content-length", b"0")]), False)
            self.assertEqual(codec.encodeTrailers(HeaderMap([(b"t", b"x")])), b"")

    def test_injection(self) -> None:
        """
        CR, LF or NUL that a filter let into a value does not get out.
        """
        for value in (b"a\r\nb: c", b"a\nb", b"a\0"):
            headers = ResponseHeaders(200, [(b"x", value)])
            self.assertRaises(LocalProtocolError, asked(GET)[0].encodeHeaders, headers, True)

    def test_properCase(self) -> None:
        """
        C{proper_case_words} is for all names, the codec's own too.
        """
        codec, _ = asked(GET, properCase=True)
        codec.closeAfterResponse()
        self.assertEqual(
            codec.encodeHeaders(ResponseHeaders(200, [(b"x-a", b"x-b")]), True),
            b"HTTP/1.1 200 OK\r\nX-A: x-b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )


class ConnectionTests(CodecTestCase):
    """
    How long a connection lives.
    """

    def test_mapSaysClose(self) -> None:
        """
        A response that says close is the last one, and says it once.
        """
        codec, _ = asked(GET)
        wire = reply(codec, 200, (b"connection", b"Close, x"))
        self.assertEqual(wire.lower().count(b"connection"), 1)
        self.assertFalse(codec.keepAlive)

    def test_closeBeforeRequest(self) -> None:
        """
        A connection that is told to drain while idle serves one more request.
        """
        codec, _ = downstream()
        codec.closeAfterResponse()
        codec.receiveData(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"connection: close", reply(codec))

    def test_http10(self) -> None:
        """
        HTTP/1.0 closes; it stays if it asked to and the response has a length.
        """
        old = b"GET / HTTP/1.0\r\nHost: a\r\n"
        codec, _ = asked(old + b"\r\n", acceptHTTP10=True)
        self.assertEqual(reply(codec), b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        codec, _ = asked(old + b"Connection: keep-alive\r\n\r\n", acceptHTTP10=True)
        self.assertEqual(reply(codec), b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok")
        self.assertTrue(codec.keepAlive)
        codec.resume()
        codec.receiveData(GET)
        self.assertTrue(reply(codec).startswith(b"HTTP/1.1 200 OK\r\n"))
        codec, _ = asked(old + b"Connection: keep-alive\r\n\r\n", acceptHTTP10=True)
        wire = codec.encodeHeaders(ResponseHeaders(200), False) + codec.encodeData(b"ok", True)
        self.assertEqual(wire, b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nok")
        codec, _ = asked(old + b"\r\n", acceptHTTP10=True)
        self.assertEqual(codec.encodeInformational(ResponseHeaders(100)), b"")

    def test_eof(self) -> None:
        """
        The end between requests is no fault; within one it is.
        """
        for wire in (b"", GET, UPGRADE):
            codec, _ = asked(wire)
            codec.receiveEOF()
            self.assertFalse(codec.keepAlive)
        for wire in (b"GET", POST, POST + b"he", CHUNKED, CHUNKED + b"3\r\nabc"):
            codec, _ = asked(wire)
            error = self.assertRaises(RemoteProtocolError, codec.receiveEOF)
            self.assertEqual(error.details, "downstream_remote_disconnect")

    def test_replyAfterError(self) -> None:
        """
        After an error one response can be written, and then everything is dropped.
        """
        codec, _ = downstream()
        self.assertRaises(RemoteProtocolError, codec.receiveData, b"\x16\x03\x01")
        self.assertEqual(
            reply(codec, 400, body=b"Bad Request"),
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\nconnection: close\r\n\r\nBad Request",
        )
        codec.receiveData(GET)
        self.assertRaises(LocalProtocolError, reply, codec)

    def test_errorWithinResponse(self) -> None:
        """
        After an error in a body whose response was begun there is no other response.
        """
        codec, _ = asked(CHUNKED)
        codec.encodeHeaders(ResponseHeaders(200), False)
        self.assertRaises(RemoteProtocolError, codec.receiveData, b"x\r\n")
        self.assertRaises(LocalProtocolError, reply, codec)


class OpaqueTests(CodecTestCase):
    """
    Bodies that go by without the codec.
    """

    def test_opaque(self) -> None:
        """
        The codec counts what it does not see, and tells the end.
        """
        codec, sink = asked(POST + b"h")
        self.assertEqual(codec.opaqueRemaining, 4)
        codec.opaqueReceived(3)
        self.assertEqual(codec.opaqueRemaining, 1)
        codec.opaqueReceived(1)
        self.assertEqual((codec.opaqueRemaining, sink.transcript[1:]), (0, [("data", b"h", True)]))
        reply(codec)
        codec.resume()
        codec.receiveData(GET)
        self.assertEqual(sink.transcript[-1][0], "request")

    def test_tooMuch(self) -> None:
        """
        More than was to come is a fault of the caller, and so is any where the length is not known.
        """
        self.assertRaises(LocalProtocolError, asked(POST)[0].opaqueReceived, 6)
        for wire in (GET, CHUNKED, b""):
            codec, _ = asked(wire)
            self.assertEqual(codec.opaqueRemaining, 0)
            self.assertRaises(LocalProtocolError, codec.opaqueReceived, 1)


class TunnelTests(CodecTestCase):
    """
    CONNECT and Upgrade.
    """

    def test_held(self) -> None:
        """
        Bytes after the request are held until the tunnel is open, and pass then, in every split
        (CVE-2026-73548, CVE-2025-64763).
        """
        early = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        for wire, status in ((UPGRADE, 101), (CONNECT, 200)):
            told = self.assertEverySplit(downstream, wire + early)
            self.assertEqual([(event[0], event[2]) for event in told], [("request", False)])
            codec, sink = asked(wire + early)
            codec.receiveData(b"more")
            self.assertEqual(codec.bufferedBytes, len(early) + 4)
            codec.encodeHeaders(ResponseHeaders(status), False)
            self.assertEqual(len(sink.transcript), 1)
            codec.beginTunnel()
            self.assertTrue(codec.upgraded)
            codec.receiveData(b"!")
            self.assertEqual(sink.transcript[1:], [("data", early + b"more!", False)])

    def test_unparsed(self) -> None:
        """
        Through the tunnel bytes pass as they are; each side ends by itself.
        """
        codec, sink = asked(UPGRADE)
        fields = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
        self.assertEqual(
            codec.encodeHeaders(ResponseHeaders(101, fields), False),
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        codec.beginTunnel()
        self.assertEqual(codec.encodeData(b"\0\r\n", False), b"\0\r\n")
        self.assertEqual(codec.encodeData(b"end", True), b"end")
        codec.receiveData(b"x")
        codec.receiveEOF()
        self.assertEqual(sink.transcript[1:], [("data", b"x", True)])

    def test_connectHead(self) -> None:
        """
        The authority of CONNECT is its target, and its response has no framing.
        """
        codec, sink = asked(CONNECT)
        self.assertEqual(sink.transcript[0][1][2:], [(b":authority", b"x:80"), (b":path", b"")])
        self.assertEqual(codec.encodeHeaders(ResponseHeaders(200), False), b"HTTP/1.1 200 OK\r\n\r\n")

    def test_refusedUpgrade(self) -> None:
        """
        A response other than 101 closes the connection, and what was held is gone; so with CONNECT and no 2xx.
        """
        for wire, status in ((UPGRADE, 200), (UPGRADE, 403), (CONNECT, 403), (CONNECT, 302)):
            codec, sink = asked(wire + GET)
            self.assertIn(b"\r\nconnection: close\r\n", reply(codec, status))
            self.assertRaises(LocalProtocolError, codec.beginTunnel)
            codec.resume()
            self.assertEqual((len(sink.transcript), codec.bufferedBytes, codec.keepAlive), (1, 0, False))

    def test_onlyTheRightStatus(self) -> None:
        """
        101 does not answer CONNECT, and 2xx is no upgrade.
        """
        self.assertRaises(LocalProtocolError, asked(CONNECT)[0].encodeHeaders, ResponseHeaders(101), False)
        codec, _ = asked(UPGRADE)
        codec.encodeHeaders(ResponseHeaders(200), False)
        self.assertRaises(LocalProtocolError, codec.beginTunnel)

    def test_bodyBefore(self) -> None:
        """
        A body before a tunnel is refused; a length of 0 is no body and is taken out.
        """
        for wire in (UPGRADE, CONNECT):
            bare = wire[:-2]
            self.assertRefused(downstream, bare + b"Content-Length: 3\r\n\r\n", 400, "http1.body_disallowed")
            chunked = bare + b"Transfer-Encoding: chunked\r\n\r\n"
            self.assertRefused(downstream, chunked, 501, "http1.invalid_transfer_encoding")
            _, sink = asked(bare + b"Content-Length: 0\r\n\r\n")
            self.assertNotIn(b"content-length", dict(sink.transcript[0][1]))

    def test_h2c(self) -> None:
        """
        An offer of h2c is a usual request.
        """
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
        wire = b"GET / HTTP/1.1\r\nHost: a\r\n" + offer
        codec, sink = asked(wire + GET)
        self.assertEqual((sink.transcript[0][1][4:], sink.transcript[0][2]), ([], True))
        reply(codec)
        codec.resume()
        self.assertEqual(len(sink.transcript), 2)

    def test_openDuringRequest(self) -> None:
        """
        The tunnel may open from within the callback that tells of the request.
        """
        codec, sink = downstream()

        def during(name: str) -> None:
            if name == "request":
                codec.encodeHeaders(ResponseHeaders(101), False)
                codec.beginTunnel()

        sink.during = during
        codec.receiveData(UPGRADE + b"early")
        self.assertEqual(sink.transcript[1:], [("data", b"early", False)])
