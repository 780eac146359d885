"""
L{meshproxy.http.wirecount} and L{meshproxy.upstream.wirecount}: bytes on the wire of each stream.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.headers import RequestHeaders
from meshproxy.http.wirecount import Showing, showWireBytes
from meshproxy.testing import Answer, httpBootstrap
from meshproxy.testing.bootstraps import BACKEND
from meshproxy.upstream.wirecount import headBytes, receivedHeadBytes
from tests.codec.http2.frames import framesIn, headers, request
from tests.http.http2backend import HTTP2Backend, answer
from tests.http.http2support import HTTP2Case
from tests.http.support import ProxyCase

_LOG = " ".join(
    f"%{side}_{what}_BYTES_{way}%"
    for side in ("DOWNSTREAM", "UPSTREAM")
    for what in ("WIRE", "HEADER")
    for way in ("RECEIVED", "SENT")
)
_GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class HeadTests(SynchronousTestCase):
    """
    Heads, as Envoy counts them.
    """

    def test_sent(self) -> None:
        """
        Of a head that is sent, the fields with their line ends.
        """
        self.assertEqual(headBytes(_OK), len(b"content-length: 2\r\n"))
        self.assertEqual(headBytes(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK"), 0)

    def test_received(self) -> None:
        """
        Of one that came, names and values, and three bytes for each field; three where there is none.
        """
        headers = RequestHeaders(b"GET", b"/")
        self.assertEqual(receivedHeadBytes(headers), 3)
        headers.add(b"x-a", b"12")
        headers.add(b"x-a", b"345")
        self.assertEqual(receivedHeadBytes(headers), 5 + 6 + 6)
        self.assertEqual(receivedHeadBytes(headers, (b"host", b"a")), 5 + 6 + 6 + 8)


class AskedTests(SynchronousTestCase):
    """
    L{showWireBytes}.
    """

    def logs(self, **form: Any) -> list[Section]:
        """
        An access log.
        """
        package = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
        config = {"@type": package, "log_format": form}
        return [Section.of("envoy.config.accesslog.v3.AccessLog", {"name": "a", "typed_config": config})]

    def test_asked(self) -> None:
        """
        Any operator of them, in any kind of format; not what is only like one.
        """
        cases = {
            "DOWNSTREAM_WIRE_BYTES_SENT": Showing.BYTES,
            "UPSTREAM_HEADER_BYTES_RECEIVED": Showing.BYTES,
            "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": Showing.FIELDS,
            "BYTES_SENT": Showing.NOTHING,
        }
        for operator, expected in cases.items():
            self.assertIs(showWireBytes(self.logs(text_format_source={"inline_string": f"%{operator}%"})), expected)
            self.assertIs(showWireBytes(self.logs(json_format={"a": {"b": f"%{operator}%"}})), expected)
        self.assertIs(showWireBytes([]), Showing.NOTHING)


class WireTests(ProxyCase):
    """
    Streams through a proxy whose log shows them.
    """

    def lines(self, *pieces: bytes, answers: tuple[Answer, ...] = (Answer(raw=_OK),), **config: Any) -> list[list[int]]:
        """
        The numbers in the log after a client sent some pieces, each once the former one is answered.
        """
        self.start(accessLog=_LOG, **config)
        self.backend.answer(*answers)
        self.client = self.proxy.client()
        for piece in pieces:
            self.client.write(piece)
            self.proxy.settle()
        return [[int(word) for word in line.split()] for line in self.proxy.accessLog]

    def test_get(self) -> None:
        """
        All bytes of a stream on both sides; the next one of the connection begins at zero, by the short way as well.
        """
        first, second = self.lines(_GET, _GET, answers=(Answer(raw=_OK), Answer(raw=_OK)))
        self.assertEqual(first, second)
        self.assertEqual((first[0], first[2]), (len(_GET), 4 + 11 + 3))
        self.assertEqual((first[4], first[6]), (len(_OK), 14 + 1 + 3))
        self.assertEqual(2 * first[1], len(self.client.received))
        head, _, _ = bytes(self.client.received).partition(b"\r\n\r\n")
        self.assertEqual(first[3], len(head) - len(b"HTTP/1.1 200 OK"))
        self.assertEqual(first[5], first[7] + len(b"GET / HTTP/1.1\r\n\r\n"))

    def test_bodies(self) -> None:
        """
        Framing counts.
        """
        body = b"3\r\nabc\r\n0\r\n\r\n"
        sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        (line,) = self.lines(sent[:70], sent[70:], answers=(Answer(raw=raw),))
        self.assertEqual((line[0], line[1], line[4]), (len(sent), len(self.client.received), len(raw)))
        self.assertEqual(line[5], line[7] + len(b"POST / HTTP/1.1\r\n\r\n") + len(body))

    def test_retry(self) -> None:
        """
        All tries are counted, on the upstream's side.
        """
        raw = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
        (line,) = (
            self.lines(
                _GET,
                b"",
                answers=(Answer(raw=raw), Answer(raw=_OK)),
                route={"retry_policy": {"retry_on": "5xx", "retry_back_off": {"base_interval": "0.001s"}}},
            )
            or self.later()
        )
        self.assertEqual((line[0], line[4], line[6]), (len(_GET), len(raw) + len(_OK), 18 + 18))
        self.assertEqual(line[5], line[7] + 2 * len(b"GET / HTTP/1.1\r\n\r\n"))

    def later(self) -> list[list[int]]:
        """
        The numbers after a while.
        """
        self.proxy.advance(1)
        return [[int(word) for word in line.split()] for line in self.proxy.accessLog]

    def test_withoutUpstream(self) -> None:
        """
        A stream that this proxy answers has nothing on the other side; neither has one that it refuses, whose head is
        not counted.
        """
        routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
        (line,) = self.lines(_GET, routes=routes)
        self.assertEqual((line[0], line[1], line[2]), (len(_GET), len(self.client.received), 18))
        self.assertEqual(line[4:], [0, 0, 0, 0])
        bad = b"GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n"
        (line,) = self.lines(bad, routes=routes)
        self.assertEqual((line[0], line[1], line[2]), (len(bad), len(self.client.received), 0))

    def test_pipelined(self) -> None:
        """
        What waits for its turn belongs to its own stream.
        """
        other = _GET.replace(b"GET / ", b"GET /longer ")
        answers = (Answer(raw=_OK, delay=1.0), Answer(raw=_OK))
        self.assertEqual(self.lines(_GET + other, answers=answers), [])
        self.assertEqual([line[0] for line in self.later()], [len(_GET), len(other)])

    def test_notAsked(self) -> None:
        """
        Without such an operator nothing is counted, and other classes do the work.
        """
        self.start(accessLog="%BYTES_SENT%")
        self.assertEqual(self.proxy.request("GET", "/").status, 200)
        (pool,) = self.proxy.server.clusters.byName["backend"].pools()
        (connection,) = pool.connections
        self.assertEqual(type(connection).__name__, "HTTP1UpstreamConnection")

    def test_reload(self) -> None:
        """
        A reload that asks for it has it counted on connections that begin then.
        """
        self.start(accessLog="%BYTES_SENT%")
        self.proxy.request("GET", "/")
        self.assertTrue(self.proxy.reload(httpBootstrap(accessLog=_LOG, cluster={"connect_timeout": "9s"})))
        self.backend.answer(Answer(raw=_OK))
        client = self.proxy.client()
        client.write(_GET)
        self.proxy.settle()
        line = [int(word) for word in self.proxy.accessLog[-1].split()]
        self.assertEqual((line[0], line[1], line[4]), (len(_GET), len(client.received), len(_OK)))


class HTTP2WireTests(HTTP2Case):
    """
    Streams of HTTP/2, on either side.
    """

    def line(self, place: int = -1) -> list[int]:
        """
        The numbers of a line.
        """
        return [int(word) for word in self.proxy.accessLog[place].split()]

    def test_downstream(self) -> None:
        """
        Each stream has its own figures, whether the connection was known to speak HTTP/2 or is found to; a local reply,
        too.
        """
        routes = [
            {"match": {"path": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "abc"}}},
            {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
        ]
        for codec in ("HTTP2", "AUTO"):
            self.start(accessLog=_LOG, manager={"codec_type": codec}, routes=routes)
            self.backend.answer(Answer(raw=_OK), Answer(raw=_OK))
            peer = self.connect()
            for path in (b"/", b"/direct", b"/"):
                before = len(peer.received)
                exchange = self.get(peer, path=path)
                self.assertEqual(exchange.status, 200)
                streamId = peer.nextId - 2
                came = framesIn(bytes(peer.received[before:]))
                sent = sum(9 + len(payload) for _, _, of, payload in came if of == streamId)
                heads = sum(9 + len(payload) for kind, _, of, payload in came if of == streamId and kind == 1)
                asked = len(headers(streamId, request(path=path)))
                self.assertEqual(self.line()[:4], [asked, sent, asked, heads])
                expected = [0, 0, 0, 0] if path == b"/direct" else [len(_OK), 18]
                self.assertEqual([self.line()[4], self.line()[6]], [expected[0], expected[1]])

    def test_upstream(self) -> None:
        """
        The bytes of the tries that go upstream by HTTP/2.
        """
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        protocol = {
            "@type": f"type.googleapis.com/{options}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        self.start(accessLog=_LOG, cluster={"typed_extension_protocol_options": {options: protocol}})
        self.backend.stop()
        service = HTTP2Backend(self.proxy, BACKEND)
        service.respond = answer(b"hello")
        self.assertEqual(self.proxy.request("GET", "/").status, 200)
        (connection,) = service.connections
        sent = sum(9 + len(payload) for _, _, of, payload in connection.frames if of == 1)
        self.assertEqual(self.line()[5:8:2], [sent, sent])
        self.assertGreater(self.line()[4], self.line()[6])
