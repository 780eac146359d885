"""
L{meshproxy.http.upstreamlog} and L{meshproxy.http.tryrecord}: the router's logs of tries.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer
from meshproxy.testing.bootstraps import BACKEND, stdoutLog
from tests.codec.http2.frames import data, headers
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.http.http2support import HTTP2Case
from tests.http.support import ProxyCase

_LINE = "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_SENT%/%BYTES_RECEIVED%"
_RETRY = {"retry_policy": {"retry_on": "5xx,reset", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}}


def logging(form: str = _LINE, **options: Any) -> dict[str, Any]:
    """
    Fields of a router that logs its tries.

    @param options: C{upstream_log_options}.
    """
    return {"upstream_log": [stdoutLog(form)], "upstream_log_options": options}


class UpstreamLogCase(ProxyCase):
    """
    A proxy that logs tries, and nothing else.
    """

    def begin(self, *answers: Answer, form: str = _LINE, options: Any = None, **config: Any) -> None:
        """
        Start it.

        @param answers: What tries get.
        """
        self.start(router=logging(form, **(options or {})), **{"accessLog": None, **config})
        self.backend.answer(*answers)

    @property
    def lines(self) -> list[str]:
        """
        What was logged until now.
        """
        return self.proxy.accessLog


class EndTests(UpstreamLogCase):
    """
    A line for each try that is over.
    """

    def test_answered(self) -> None:
        """
        It tells the bodies of request and response, as the upstream saw them.
        """
        self.begin(Answer(200, b"hello"))
        self.proxy.request("POST", body=b"abc")
        self.assertEqual(self.lines, ["UpstreamEnd 200 - 3/5"])
        self.assertQuiet()

    def test_retried(self) -> None:
        """
        Each try has its own, with the status or the flag that it ended with.
        """
        self.begin(Answer(503, b"bad"), Answer.reset(), Answer(200, b"ok"), route=_RETRY)
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.lines, ["UpstreamEnd 503 - 0/0", "UpstreamEnd 0 UC 0/0", "UpstreamEnd 200 - 0/2"])

    def test_beforeTheStream(self) -> None:
        """
        It stands before the line of the stream.
        """
        self.begin(Answer(200), accessLog="%ACCESS_LOG_TYPE%", form="%ACCESS_LOG_TYPE%")
        self.proxy.request()
        self.assertEqual(self.lines, ["UpstreamEnd", "DownstreamEnd"])

    def test_noTry(self) -> None:
        """
        Where no endpoint was found, nothing was tried.
        """
        self.begin(cluster={"load_assignment": {"cluster_name": "backend"}})
        self.assertEqual(self.proxy.request().status, 503)
        self.assertEqual(self.lines, [])

    def test_times(self) -> None:
        """
        Times are those of the try.
        """
        self.begin(
            Answer(raw=b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", delay=1.0),
            Answer(raw=b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n", delay=0.5),
            form="%DURATION% %RESPONSE_DURATION% %REQUEST_DURATION%",
            route=_RETRY,
        )
        self.proxy.request()
        self.assertEqual(self.lines, ["1000 1000 -", "500 500 -"])

    def test_timedOut(self) -> None:
        """
        A try whose own time is over says so; one that the time of the whole request ends has no flag.
        """
        retry = {**_RETRY["retry_policy"], "num_retries": 1, "per_try_timeout": "1s"}
        self.begin(Answer.hang(), Answer.hang(), route={"retry_policy": retry, "timeout": "1.5s"})
        self.assertEqual(self.proxy.request().status, 504)
        self.assertEqual(self.lines, ["UpstreamEnd 0 UT 0/0", "UpstreamEnd 0 - 0/0"])

    def test_clientGone(self) -> None:
        """
        A try that is given up with its stream is over with it.
        """
        self.begin(Answer.hang())
        client = self.proxy.client()
        client.send("GET", "/")
        self.proxy.settle()
        self.assertEqual(self.lines, [])
        client.close()
        self.proxy.settle()
        self.assertEqual(self.lines, ["UpstreamEnd 0 - 0/0"])
        self.assertQuiet()

    def test_hedged(self) -> None:
        """
        A late try that is not the answer ends without one.
        """
        retry = {"retry_on": "5xx", "num_retries": 2, "per_try_timeout": "1s"}
        hedge = {"hedge_on_per_try_timeout": True}
        slow = Answer(raw=b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\nok", delay=1.5)
        self.begin(slow, Answer.hang(), route={"timeout": "8s", "retry_policy": retry, "hedge_policy": hedge})
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.lines, ["UpstreamEnd 0 - 0/0", "UpstreamEnd 200 UT 0/2"])

    def test_lateOnesFail(self) -> None:
        """
        One that fails beside another has its line then.
        """
        retry = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "1s"}
        hedge = {"hedge_on_per_try_timeout": True}
        bad = Answer(raw=b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", delay=1.5)
        good = Answer(raw=b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n", delay=0.7)
        self.begin(bad, good, route={"timeout": "8s", "retry_policy": retry, "hedge_policy": hedge})
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.lines, ["UpstreamEnd 500 UT 0/0", "UpstreamEnd 200 - 0/0"])

    def test_headersAsTheyCame(self) -> None:
        """
        The head of the response is that of the upstream, whatever becomes of it here.
        """
        added = {"response_headers_to_add": [{"header": {"key": "x-up", "value": "added"}}]}
        self.begin(Answer(200, headers=[("x-up", "own")]), form="%RESP(x-up)% %RESP(server)%", virtualHost=added)
        self.proxy.request()
        self.assertEqual(self.lines, ["own -"])

    def test_whatTheStreamKnows(self) -> None:
        """
        What the stream alone knows is not told.
        """
        self.begin(
            Answer(200),
            form="%STREAM_ID% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_CODE_DETAILS% %METADATA(VIRTUAL_HOST:ns)%",
            virtualHost={"metadata": {"filter_metadata": {"ns": {"a": 1}}}},
        )
        self.proxy.request()
        self.assertEqual(self.lines, ["- 0 - -"])


class MeanwhileTests(UpstreamLogCase):
    """
    Lines before the end.
    """

    def test_ready(self) -> None:
        """
        C{flush_upstream_log_on_upstream_stream}: when the connection is there, before anything is sent.
        """
        form = "%ACCESS_LOG_TYPE% %UPSTREAM_PROTOCOL% %UPSTREAM_WIRE_BYTES_SENT%"
        self.begin(Answer.hang(), form=form, options={"flush_upstream_log_on_upstream_stream": True})
        self.proxy.client().send("GET", "/")
        self.proxy.settle()
        self.assertEqual(self.lines, ["UpstreamPoolReady HTTP/1.1 0"])

    def test_periodic(self) -> None:
        """
        C{upstream_log_flush_interval}: again and again, as it is then, and no more once it is over.
        """
        raw = b"HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\nab"
        self.begin(
            Answer(raw=raw),
            form="%ACCESS_LOG_TYPE% %DURATION% %BYTES_RECEIVED%",
            options={"upstream_log_flush_interval": "1s"},
        )
        client = self.proxy.client()
        client.send("GET", "/")
        self.proxy.settle()
        self.proxy.advance(1.0)
        self.proxy.advance(1.0)
        self.assertEqual(self.lines, ["UpstreamPeriodic 1000 2", "UpstreamPeriodic 2000 2"])
        client.close()
        self.proxy.settle()
        self.proxy.advance(5.0)
        self.assertEqual(self.lines[2:], ["UpstreamEnd 2000 2"])


class BytesTests(UpstreamLogCase):
    """
    Bytes on the wire.
    """

    def test_addUp(self) -> None:
        """
        Tries add up, and the log of streams tells the same in the end.
        """
        form = "%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED%"
        self.begin(Answer(503), Answer(200), form=form, accessLog=form, route=_RETRY)
        self.proxy.request()
        first, second, stream = ([int(number) for number in line.split()] for line in self.lines)
        # The second try carries the number of no attempt, and has as many bytes as the first.
        self.assertEqual(second[0], 2 * first[0])
        self.assertEqual(stream, second)
        self.assertGreater(second[1], first[1])

    def test_downstream(self) -> None:
        """
        What went downstream of the response until the upstream's end came: all but that end.
        """
        form = "%DOWNSTREAM_WIRE_BYTES_SENT%"
        self.begin(Answer(200, b"hello"), form=form, accessLog=form)
        self.proxy.request()
        self.assertEqual(len(set(self.lines)), 1)

    def test_logged_without(self) -> None:
        """
        They are counted where the router's log alone asks for them.
        """
        self.begin(Answer(200, b"hello"), form="%DOWNSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_SENT%")
        self.proxy.request()
        self.assertTrue(all(int(number) for number in self.lines[0].split()))


class HTTP2Tests(HTTP2Case):
    """
    Over HTTP/2.
    """

    def test_calls(self) -> None:
        """
        Trailers are known, and calls do not go the short way past the log.
        """
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        protocol = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
        self.start(
            cluster={"typed_extension_protocol_options": {options: protocol}},
            router=logging("%PROTOCOL% %TRAILER(grpc-status)% %GRPC_STATUS% %BYTES_SENT%/%BYTES_RECEIVED%"),
            accessLog=None,
        )
        self.backend.stop()

        def respond(connection: ServiceConnection, request: Seen) -> None:
            number = request.streamId
            head = headers(number, [(b":status", b"200"), (b"content-type", b"application/grpc")], False)
            connection.write(head + data(number, b"answer") + headers(number, [(b"grpc-status", b"5")]))

        HTTP2Backend(self.proxy, BACKEND).respond = respond
        client = self.connect()
        for _ in range(3):
            self.get(client, (b"content-type", b"application/grpc"), body=b"hello", method=b"POST")
        self.assertEqual(self.proxy.accessLog, ["HTTP/2 5 NotFound 5/6"] * 3)
