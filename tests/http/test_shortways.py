"""
Whole messages take shorter ways than messages in pieces: through the codecs (C{wholeReceived}, C{encodeResponse}), the
router and the stream (C{responseReceived}). That must not be seen from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

from meshproxy.codec.http1 import UpstreamCodec
from meshproxy.http import unary
from meshproxy.http.downstream import HTTP1Connection
from meshproxy.http.filter import HTTPFilter
from meshproxy.http.plainrequest import PlainRequest, RetriedPlainRequest, carryWithBody
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.testing import Peer
from tests.http.support import ProxyCase, scripted

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


class Seen(NamedTuple):
    """
    All that can be seen of an exchange.
    """

    client: bytes
    ended: bool
    upstream: bytes
    log: list[str]
    stats: dict[str, int]


class RawBackend(Peer):
    """
    A backend that sends what the test writes.
    """


class ShortWayTests(ProxyCase):
    """
    An exchange in whole reads, and the same one cut at every place.
    """

    maxDiff = None
    log = (
        "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
        "%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% "
        "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(X-A)% "
        "%RESP(CONTENT-TYPE)% %TRAILER(T)%"
    )

    def make(self, *filters: type[HTTPFilter], **config: Any) -> None:
        """
        A proxy without anything random, whose upstream connection is there.
        """
        manager = {"generate_request_id": False, **config.pop("manager", {})}
        self.start(*filters, accessLog=self.log, manager=manager, **config)
        self.backend.stop()
        self.upstreams: list[RawBackend] = []

        def build(peer: object) -> RawBackend:
            self.upstreams.append(RawBackend())
            return self.upstreams[-1]

        self.proxy.network.listen(self.backend.address, build)

    def exchange(self, request: list[bytes], response: list[bytes], closes: bool = False) -> Seen:
        """
        Send the pieces of a request, answer with the pieces of a response.

        @param closes: Whether the upstream closes after it.
        """
        proxy = self.proxy
        # A connection that waits, as the shortest way wants it.
        if not any(upstream.lost is None and not upstream.ended for upstream in self.upstreams):
            warm = Peer()
            proxy.connect(warm)
            warm.write(b"GET / HTTP/1.1\r\nhost: warm\r\n\r\n")
            proxy.settle()
            self.upstreams[-1].write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
            proxy.settle()
            warm.close()
            proxy.settle()
        before, logged = proxy.stats(), len(proxy.accessLog)
        upstream = self.upstreams[-1]
        already = len(upstream.received)
        client = Peer()
        proxy.connect(client)
        for piece in request:
            client.write(piece)
            proxy.settle()
        proxy.advance(0.25)
        for piece in response:
            upstream.write(piece)
            proxy.settle()
        if closes:
            upstream.close()
            proxy.settle()
        ended = client.ended
        client.close()
        proxy.settle()
        stats = {
            name: value - before.get(name, 0)
            for name, value in proxy.stats().items()
            if value != before.get(name, 0) and not name.startswith("server.")
        }
        received = re.sub(rb"date: [^\r]+", b"date: now", client.received)
        return Seen(received, ended, upstream.received[already:], proxy.accessLog[logged:], stats)

    def assertSeen(self, seen: Seen, expected: Seen, where: str) -> None:
        """
        Compare part by part.
        """
        for name, one, other in zip(Seen._fields, seen, expected, strict=True):
            self.assertEqual(one, other, f"{name}, {where}")

    def assertSame(self, request: bytes, response: bytes, closes: bool = False) -> Seen:
        """
        However request and response are cut, what is seen is what is seen of them whole.
        """
        expected = self.exchange([request], [response], closes)
        self.assertSeen(self.exchange([request], [response], closes), expected, "the same again")
        for cut in range(1, len(request)):
            seen = self.exchange([request[:cut], request[cut:]], [response], closes)
            self.assertSeen(seen, expected, f"request cut at {request[:cut]!r}")
        for cut in range(1, len(response)):
            seen = self.exchange([request], [response[:cut], response[cut:]], closes)
            self.assertSeen(seen, expected, f"response cut at {response[:cut]!r}")
        pieces = [bytes([byte]) for byte in request], [bytes([byte]) for byte in response]
        self.assertSeen(self.exchange(*pieces, closes), expected, "byte by byte")
        return expected

    GET = b"GET /x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n"
    SHORT = HEAD + b"content-length: 4\r\n\r\nbody"

    def test_plain(self) -> None:
        """
        The shortest of all.
        """
        self.make()
        seen = self.assertSame(self.GET, self.SHORT)
        self.assertIn(b"x-envoy-upstream-service-time: 250", seen.client)
        self.assertTrue(seen.client.endswith(b"\r\n\r\nbody"))
        self.assertTrue(seen.upstream.startswith(b"GET /x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n"), seen.upstream)
        self.assertEqual(len(seen.log), 1)
        self.assertEqual(seen.stats["http.test.downstream_rq_2xx"], 1)

    def test_bodies(self) -> None:
        """
        Requests with bodies, of known length and chunked; responses in chunks, with trailers, and none.
        """
        self.make(manager=self.trailers(), cluster={"http_protocol_options": {"enable_trailers": True}})
        self.assertSame(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", self.SHORT)
        self.assertSame(self.GET, HEAD + b"content-length: 0\r\n\r\n")
        self.assertSame(self.GET, b"HTTP/1.1 204 No Content\r\nx-b: 1\r\n\r\n")
        self.assertSame(self.GET, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n")

    def test_chunked(self) -> None:
        """
        An answer in chunks goes on in one, in the same read.
        """
        self.make()
        for body in (b"4\r\nbody\r\n0\r\n\r\n", b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"):
            answer = HEAD + b"transfer-encoding: chunked\r\n\r\n" + body
            seen = self.exchange([self.GET], [answer])
            self.assertTrue(seen.client.endswith(b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"), seen)
            for cut in range(1, len(HEAD) + 20):
                self.assertSeen(self.exchange([self.GET], [answer[:cut], answer[cut:]]), seen, f"{cut}")
        for request in (self.GET.replace(b"GET", b"HEAD"), self.GET.replace(b"x-a", b"connection: close\r\nx-a")):
            answer = answer.removesuffix(body) if request.startswith(b"HEAD") else answer
            seen = self.exchange([request], [answer], closes=True)
            self.assertSeen(self.exchange([request], [answer[:20], answer[20:]], closes=True), seen, "cut")

    POST = b"POST /x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ncontent-length: 4\r\n\r\nabcd"

    def taken(self) -> list[bool]:
        """
        Whether bodies that came with their heads went the short way, one by one.
        """
        told: list[bool] = []
        short = carryWithBody

        def carry(*args: Any) -> bool:
            told.append(short(*args))
            return told[-1]

        self.patch(unary, "carryWithBody", carry)
        return told

    def test_withBody(self) -> None:
        """
        A body that comes with its head goes with it to the upstream.
        """
        taken = self.taken()
        self.make()
        seen = self.assertSame(self.POST, self.SHORT)
        self.assertTrue(seen.upstream.endswith(b"\r\n\r\nabcd"), seen.upstream)
        self.assertIn(b"content-length: 4\r\n", seen.upstream)
        self.assertEqual(len(taken), taken.count(True))
        self.assertGreater(len(taken), 10)
        for method in (b"PUT", b"PATCH", b"DELETE", b"GET", b"HEAD"):
            answer = HEAD + b"content-length: 4\r\n\r\n" if method == b"HEAD" else self.SHORT
            self.assertSame(self.POST.replace(b"POST", method), answer)
        for field in (
            b"connection: keep-alive",
            b"connection: close",
            b"expect: 100-continue",
            b"te: trailers",
            b"x-a: 2",
        ):
            self.assertSame(self.POST.replace(b"x-a", field + b"\r\nx-a"), self.SHORT, closes=b"close" in field)
        for manager in ({"use_remote_address": True}, {"use_remote_address": True, "via": "us"}):
            self.make(manager=manager)
            self.assertSame(self.POST, self.SHORT)

    def test_withBodyNotSo(self) -> None:
        """
        Where the route, or what the client asks for, needs more, the body follows its head.
        """
        taken = self.taken()
        self.make(route={"retry_policy": {"retry_on": "5xx", "per_try_timeout": "5s"}, "timeout": "0s"})
        self.assertSame(self.POST, self.SHORT)
        self.make()
        self.assertSame(self.POST.replace(b"x-a", b"grpc-timeout: 1S\r\nx-a"), self.SHORT)
        self.make(route={"max_stream_duration": {"max_stream_duration": "9s"}})
        self.assertSame(self.POST, self.SHORT)
        self.assertEqual(taken, [])

    def test_withBodyOfACall(self) -> None:
        """
        A call of gRPC counts by the status of gRPC, or by its absence, for its endpoint.
        """
        taken = self.taken()
        self.make()
        self.exchange([self.GET], [self.SHORT])
        (endpoint,) = self.proxy.server.clusters.byName["backend"].endpoints
        request = self.POST.replace(b"x-a", b"content-type: application/grpc\r\nx-a")
        head = HEAD.replace(b"text/plain", b"application/grpc")
        for more, counts in (
            (b"grpc-status: 0\r\ncontent-length: 0\r\n\r\n", (1, 0)),
            (b"grpc-status: 14\r\ncontent-length: 0\r\n\r\n", (0, 1)),
            (b"content-length: 4\r\n\r\nbody", (0, 1)),
        ):
            for pieces in ([request], [request[:-2], request[-2:]]):
                before = endpoint.rqSuccess.value, endpoint.rqError.value
                self.exchange(pieces, [head + more])
                after = endpoint.rqSuccess.value, endpoint.rqError.value
                self.assertEqual((after[0] - before[0], after[1] - before[1]), counts, (more, len(pieces)))
        self.assertEqual(taken, [])

    def test_withBodyAndFilters(self) -> None:
        """
        Filters that look at the body, change it, wait for all of it, or answer at either part.
        """
        told: list[tuple[bytes, bool]] = []

        async def change(stream: Any, headers: Any, end: bool) -> None:
            stream.replaceRequestBody((await stream.requestBody()).upper())

        def forget(stream: Any, headers: Any, end: bool) -> None:
            headers.remove(b"content-length")

        def refuse(stream: Any, payload: Any, end: bool) -> None:
            if stream.requestHeaders.method == b"POST":
                stream.reply(418, b"no")

        def look(stream: Any, data: bytes, end: bool) -> None:
            told.append((data, end))

        self.make(scripted(requestData=look))
        self.assertSame(self.POST, self.SHORT)
        self.assertEqual(told[0], (b"abcd", True))
        self.make(scripted(requestHeaders=change))
        self.assertTrue(self.assertSame(self.POST, self.SHORT).upstream.endswith(b"ABCD"))
        self.make(scripted(requestHeaders=forget))
        self.assertIn(b"transfer-encoding: chunked", self.exchange([self.POST], [self.SHORT]).upstream)
        for event in ("requestHeaders", "requestData"):
            self.make(scripted(**{event: refuse}))
            seen = self.exchange([self.POST], [])
            self.assertIn(b"HTTP/1.1 418", seen.client)
            self.assertEqual(seen.upstream, b"")

    def test_withBodyRefused(self) -> None:
        """
        A body with a head that is refused, or answered without an upstream, is for nobody.
        """
        self.make()
        for change in ((b"/x", b"x"), (b"host: a\r\n", b""), (b"x-a: 1", b"x a: 1"), (b"length: 4", b"length: 4x")):
            request = self.POST.replace(*change)
            whole = self.exchange([request], [])
            self.assertIn(b"HTTP/1.1 4", whole.client, change)
            self.assertEqual(whole.upstream, b"")

    def test_withBodyPipelined(self) -> None:
        """
        Several requests with bodies in one read, and what follows them.
        """
        self.make()
        once = self.exchange([self.POST], [self.SHORT])
        waited = once.client.replace(b"service-time: 250", b"service-time: 0")
        both = self.POST * 2
        twice = self.exchange([both], [self.SHORT, self.SHORT])
        self.assertEqual((twice.client, twice.upstream), (once.client + waited, once.upstream * 2))
        for cut in range(1, len(both)):
            seen = self.exchange([both[:cut], both[cut:]], [self.SHORT, self.SHORT])
            self.assertSeen(seen, twice, f"cut at {both[:cut]!r}")

    def test_head(self) -> None:
        """
        A HEAD, whose response has a length and no body.
        """
        self.make()
        seen = self.assertSame(b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n", HEAD + b"content-length: 4\r\n\r\n")
        self.assertIn(b"content-length: 4\r\n", seen.client)

    def test_withoutBody(self) -> None:
        """
        An answer that ends with its head is one step from the connection to the stream, where the long way has five.
        """
        answers = [
            b"HTTP/1.1 204 No Content\r\nx-b: 1\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nserver: b\r\nconnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
            HEAD + b"content-length: 0\r\n\r\n",
            HEAD + b"content-length: 0\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n",
            HEAD + b"x-envoy-upstream-service-time: 1\r\nx-envoy-upstream-service-time: 2\r\ncontent-length: 0\r\n\r\n",
        ]
        forHead = [HEAD + b"content-length: 4\r\n\r\n", HEAD + b"\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\n"]
        head = self.GET.replace(b"GET", b"HEAD")
        requests = (self.GET, head, self.POST, self.GET.replace(b"x-a", b"connection: close\r\nx-a"))
        exchanges = [*product(requests, answers), *product([head], forHead)]
        shorts: list[object] = []
        short = PlainRequest.wholeReceived

        def whole(request: PlainRequest, headers: Any, body: bytes) -> None:
            shorts.append(body)
            short(request, headers, body)

        def stop(stream: Any, headers: Any, end: bool) -> None:
            # Not the one that makes the connection.
            if stream.requestHeaders.path == b"/x":
                stream.reply(418, b"instead")

        async def wait(stream: Any, headers: Any, end: bool) -> None:
            headers.set(b"x-length", b"%d" % len(await stream.responseBody()))

        def raising(stream: Any, headers: Any, end: bool) -> None:
            if stream.requestHeaders.path == b"/x":
                raise ValueError("so")

        told: list[object] = []
        chains: list[list[type[HTTPFilter]]] = [
            [],
            [scripted(responseHeaders=lambda stream, headers, end: headers.set(b"x-filter", b"%d" % end))],
            [scripted(responseHeaders=stop)],
            [scripted(responseHeaders=wait)],
            [scripted(responseHeaders=raising)],
            [scripted(responseData=lambda stream, data, end: told.append(data))],
            [scripted(streamEnded=lambda stream: told.append(stream.responseCode))],
        ]
        routes: list[dict[str, Any]] = [
            {},
            {"retry_policy": {"retry_on": "connect-failure", "per_try_timeout": "5s"}, "timeout": "0s"},
        ]
        for chain, route in product(chains, routes):
            seen = []
            for isShort in (False, True):
                with self.only(isShort):
                    self.make(*chain, route=dict(route), virtualHost={"include_request_attempt_count": True})
                    self.patch(PlainRequest, "wholeReceived", whole)
                    told.clear()
                    shorts.clear()
                    seen.append([self.exchange([a], [b], b"close" in b) for a, b in exchanges])
                    seen[-1].append(list(told))  # type: ignore[arg-type]  # compared as a whole
                    self.flushLoggedErrors(ValueError)
            for (request, answer), one, other in zip(exchanges, *seen, strict=False):
                self.assertSeen(one, other, f"{request!r} {answer!r} {route}")
            self.assertEqual(seen[0][-1], seen[1][-1])
            self.assertGreater(shorts.count(b""), 20)

    @contextmanager
    def only(self, isShort: bool) -> Iterator[None]:
        """
        Let answers without a body take the long way, unless they are to take the short one.
        """
        kept = PlainRequest.responseReceived, RetriedPlainRequest.responseReceived, UpstreamCodec._mayEnd
        changed: list[tuple[Any, str]] = [
            (PlainRequest, "responseReceived"),
            (RetriedPlainRequest, "responseReceived"),
            (UpstreamCodec, "_mayEnd"),
        ]
        if not isShort:
            PlainRequest.responseReceived = RoutedRequest.responseReceived  # type: ignore[method-assign]
            RetriedPlainRequest.responseReceived = RoutedRequest.responseReceived  # type: ignore[method-assign]
            UpstreamCodec._mayEnd = lambda codec, match: False  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            for (owner, name), method in zip(changed, kept, strict=True):
                setattr(owner, name, method)

    def test_manyValues(self) -> None:
        """
        Fields with several values.
        """
        self.make()
        request = b"GET /x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-a: 2\r\ncookie: b\r\ncookie: c\r\n\r\n"
        seen = self.assertSame(request, HEAD + b"set-cookie: a\r\nset-cookie: b\r\ncontent-length: 4\r\n\r\nbody")
        self.assertEqual(seen.client.count(b"set-cookie"), 2)

    def test_closing(self) -> None:
        """
        Either side wants to close.
        """
        self.make()
        self.assertSame(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", self.SHORT)
        self.assertSame(self.GET, HEAD + b"connection: close\r\ncontent-length: 4\r\n\r\nbody", closes=True)
        self.assertSame(self.GET, HEAD + b"connection: keep-alive\r\nkeep-alive: 5\r\ncontent-length: 4\r\n\r\nbody")

    def test_errors(self) -> None:
        """
        Statuses of errors, with the stats of their class.
        """
        self.make()
        for status in (b"404 Not Found", b"500 Oops", b"599 Odd"):
            self.assertSame(self.GET, b"HTTP/1.1 %b\r\ncontent-length: 4\r\n\r\nbody" % status)

    def test_route(self) -> None:
        """
        A route that says more: head mutations, a name, an attempt count, a retry policy, no time-out.
        """
        host = {
            "include_request_attempt_count": True,
            "include_attempt_count_in_response": True,
            "response_headers_to_add": [{"header": {"key": "x-r", "value": "%RESPONSE_CODE%"}}],
            "request_headers_to_add": [{"header": {"key": "x-q", "value": "%REQ(X-A)%"}}],
        }
        self.make(virtualHost=host)
        self.assertIn(b"x-r: 200", self.assertSame(self.GET, self.SHORT).client)
        self.make(virtualHost=host, route={"retry_policy": {"retry_on": "5xx"}, "timeout": "0s"})
        self.assertSame(self.GET, self.SHORT)

    def test_manager(self) -> None:
        """
        A connection manager that says more.
        """
        self.make(
            manager={"use_remote_address": True, "via": "us", "server_header_transformation": "PASS_THROUGH"},
        )
        self.assertSame(self.GET, HEAD + b"server: theirs\r\ncontent-length: 4\r\n\r\nbody")

    def test_headerFilter(self) -> None:
        """
        A filter that sees heads alone.
        """
        self.make(scripted(responseHeaders=lambda stream, headers, end: headers.set(b"x-filter", b"%d" % end)))
        self.assertSame(self.GET, self.SHORT)

    def test_usualHead(self) -> None:
        """
        The usual head of a request takes a shorter way through the connection manager to the same result: a field that
        makes it unusual, and is taken away, leaves no trace.
        """
        managers: list[dict[str, Any]] = [
            {},
            {"use_remote_address": True},
            {"use_remote_address": True, "via": "us"},
            {"forward_client_cert_details": "APPEND_FORWARD"},
            {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY", "normalize_path": True},
        ]
        heads = [
            self.GET,
            self.GET.replace(
                b"x-a", b"x-forwarded-for: 192.0.2.1, 192.0.2.2\r\nx-forwarded-client-cert: Hash=1\r\nx-a"
            ),
        ]
        for manager, head in product(managers, heads):
            self.make(manager=manager)
            unusual = head.replace(b"x-a", b"keep-alive: 5\r\nx-a")
            usual, other = self.exchange([head], [self.SHORT]), self.exchange([unusual], [self.SHORT])
            self.assertEqual((usual.client, usual.log), (other.client, other.log))
            self.assertEqual(sorted(usual.upstream.split(b"\r\n")), sorted(other.upstream.split(b"\r\n")))

    def test_trailersWanted(self) -> None:
        """
        C{te: trailers}, which each call of gRPC has, is as usual: it goes on. What else a C{te} may say does not.
        """
        plain = {"use_remote_address": False}
        for manager in (plain, {"use_remote_address": True}, {"use_remote_address": True, "via": "us"}):
            self.make(manager=manager)
            expected = self.exchange([self.GET], [self.SHORT]).upstream.split(b"\r\n")
            for te, goesOn in (
                (b"te: trailers\r\n", True),
                (b"te: gzip, trailers\r\n", True),
                (b"te: gzip\r\n", False),
                (b"te: trailers\r\nte: gzip\r\n", True),
                (b"te: trailers\r\nkeep-alive: 5\r\n", True),
                (b"te: trailers\r\nx-envoy-internal: true\r\n", True),
            ):
                asked = self.exchange([self.GET.replace(b"x-a", te + b"x-a")], [self.SHORT]).upstream.split(b"\r\n")
                self.assertEqual(sorted(asked), sorted([*expected, *([b"te: trailers"] if goesOn else [])]), te)

    def test_heedlessFilter(self) -> None:
        """
        A body that no filter heeds goes past them with its head, as if none of them had ever looked at bodies: for each
        stream that its filters say so of.
        """
        looked: list[bytes] = []
        sent: list[bytes] = []
        send = HTTP1Connection.sendResponse

        def sendWhole(connection: HTTP1Connection, stream: Any, headers: Any, body: bytes) -> None:
            sent.append(body)
            send(connection, stream, headers, body)

        self.patch(HTTP1Connection, "sendResponse", sendWhole)

        def look(stream: Any, data: bytes, end: bool) -> bytes | None:
            looked.append(data)
            return data.upper() if stream.requestHeaders.method == b"POST" else None

        def heeds(stream: Any) -> bool:
            return bool(stream.requestHeaders.method == b"POST")

        def mark(stream: Any, headers: Any, end: bool) -> None:
            headers.set(b"x-filter", b"%d" % end)

        heedless = scripted(responseData=look, responseHeaders=mark, heedsBody=heeds)
        long = HEAD + b"content-length: 300000\r\n\r\n" + b"0123456789" * 30_000
        bare = b"HTTP/1.1 204 No Content\r\nx-b: 1\r\n\r\n"
        for more in ([], [scripted(responseData=look, heedsBody=lambda stream: False)], [scripted(responseData=look)]):
            seen = []
            for first in (heedless, scripted(responseData=look, responseHeaders=mark)):
                self.make(first, *more)
                pieces = ([self.SHORT], [self.SHORT[:-2], self.SHORT[-2:]], [bare], [long])
                seen.append([self.exchange([request], each) for request in (self.GET, self.POST) for each in pieces])
            for one, other in zip(*seen, strict=True):
                self.assertSeen(one, other, f"{more}")
        self.make(heedless)
        looked.clear()
        sent.clear()
        self.exchange([self.GET], [self.SHORT])
        self.assertEqual((looked, sent[-1]), ([], b"body"))
        sent.clear()
        self.exchange([self.POST], [self.SHORT])
        self.assertEqual((looked, sent), ([b"body"], []))

    def test_stoppingFilter(self) -> None:
        """
        A filter that replies instead of the response.
        """
        self.make(scripted(responseHeaders=lambda stream, headers, end: stream.reply(418, b"instead") and None))
        request = b"GET /x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n"
        expected = self.exchange([request], [self.SHORT])
        self.assertIn(b"HTTP/1.1 418", expected.client)
        self.assertEqual(self.exchange([request], [self.SHORT[:-4], self.SHORT[-4:]]).client, expected.client)

    def test_bufferingFilter(self) -> None:
        """
        A filter that reads the whole body, and changes it.
        """

        async def change(stream: Any, headers: Any, end: bool) -> None:
            stream.replaceResponseBody((await stream.responseBody()).upper())

        self.make(scripted(responseHeaders=change))
        self.assertTrue(self.assertSame(self.GET, self.SHORT).client.endswith(b"BODY"))

    def test_longBody(self) -> None:
        """
        A long body that no filter looks at goes from socket to socket: the same bytes, the same figures.
        """
        response = HEAD + b"content-length: 300000\r\n\r\n" + b"0123456789" * 30_000
        self.make(scripted(responseData=lambda stream, data, end: None))
        looked = self.exchange([self.GET], [response])
        self.assertEqual(len(looked.client.partition(b"\r\n\r\n")[2]), 300_000)
        self.make()
        self.assertSeen(self.exchange([self.GET], [response]), looked, "at once")
        pieces = [response[start : start + 10_000] for start in range(0, len(response), 10_000)]
        self.assertSeen(self.exchange([self.GET], pieces), looked, "in pieces")

    def test_pipelined(self) -> None:
        """
        Two requests, of which the second waits, behave as two that come one after the other.
        """
        self.make()
        once = self.exchange([self.GET], [self.SHORT])
        twice = self.exchange([self.GET * 2], [self.SHORT, self.SHORT])
        # The first one waited for its answer, the second one's was there at once.
        waited = once.client.replace(b"service-time: 250", b"service-time: 0")
        self.assertEqual(twice.client, once.client + waited)
        self.assertEqual(twice.upstream, once.upstream * 2)
        self.assertEqual(len(twice.log), 2)
        for cut in range(1, 2 * len(self.GET)):
            both = self.GET * 2
            seen = self.exchange([both[:cut], both[cut:]], [self.SHORT, self.SHORT])
            self.assertSeen(seen, twice, f"cut at {both[:cut]!r}")
