"""
Tests for L{meshproxy.http.responseheaders}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.requestheaders import ForwardingSettings
from meshproxy.http.responseheaders import compileResponseHeaders
from meshproxy.http.settings import ManagerSettings
from meshproxy.http.stream import Stream

Pair = tuple[bytes, bytes]

# RFC 9110's own example of a date.
THEN = 784111777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def streamOf(*pairs: Pair, upgrade: bytes = b"") -> Stream:
    """
    What is asked of a stream: its request, and what its connection is to become.
    """
    stream = SimpleNamespace(requestHeaders=RequestHeaders(b"GET", b"/", b"a", pairs), upgrade=upgrade)
    return cast(Stream, stream)


class ResponseHeadersTests(SynchronousTestCase):
    """
    L{compileResponseHeaders} makes what finishes heads.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(THEN)

    def finish(self, *pairs: Pair, status: int = 200, stream: Stream | None = None, **settings: Any) -> ResponseHeaders:
        """
        Finish a head.

        @param settings: Of L{ManagerSettings}.
        """
        headers = ResponseHeaders(status, pairs)
        compileResponseHeaders(ManagerSettings(**settings), self.clock)(stream or streamOf(), headers)
        return headers

    def test_usual(self) -> None:
        """
        The server and the date are added; the upstream's own server is replaced.
        """
        expected = {b"x-a": b"1", b"server": b"envoy", b"date": DATE}
        self.assertEqual(self.finish((b"x-a", b"1")).first, expected)
        self.assertEqual(self.finish((b"x-a", b"1"), (b"server", b"nginx")).first, expected)

    def test_dateKept(self) -> None:
        """
        The upstream's date stays.
        """
        self.assertEqual(self.finish((b"date", b"then")).first[b"date"], b"then")

    def test_dateGoesOn(self) -> None:
        """
        The date is that of the second in which the head is finished.
        """
        finish = compileResponseHeaders(ManagerSettings(), self.clock)
        dates = []
        for wait in (0.0, 0.9, 0.2):
            self.clock.advance(wait)
            headers = ResponseHeaders(200)
            finish(streamOf(), headers)
            dates.append(headers.first[b"date"])
        self.assertEqual(dates, [DATE, DATE, b"Sun, 06 Nov 1994 08:49:38 GMT"])

    def test_server(self) -> None:
        """
        Each C{server_header_transformation}, with a server of the upstream, with two, and with none.
        """
        for transformation, outcomes in {
            "OVERWRITE": ([b"me"], [b"me"], [b"me"]),
            "APPEND_IF_ABSENT": ([b"a"], [b"a", b"b"], [b"me"]),
            "PASS_THROUGH": ([b"a"], [b"a", b"b"], []),
        }.items():
            for there, expected in zip(([b"a"], [b"a", b"b"], []), outcomes, strict=True):
                pairs = [(b"server", value) for value in there]
                headers = self.finish(*pairs, serverHeader=transformation, serverName=b"me")
                self.assertEqual(headers.values(b"server"), expected, (transformation, there))

    def test_hopByHop(self) -> None:
        """
        Fields of the upstream's connection end here, however often they are there.
        """
        names = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
        for name in names:
            for count in (1, 2):
                self.assertNotIn(name, self.finish(*[(name, b"x")] * count))
        left = self.finish(*((name, b"x") for name in names), (b"x-a", b"1"), (b"x-a", b"2"))
        self.assertEqual((set(left.first), left.values(b"x-a")), ({b"x-a", b"server", b"date"}, [b"1", b"2"]))

    def test_upgrade(self) -> None:
        """
        Whose connection becomes another protocol's is told so; whose does not is not.
        """
        pairs = ((b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"keep-alive", b"1"))
        told = self.finish(*pairs, status=101, stream=streamOf(upgrade=b"websocket"))
        self.assertEqual(set(told.first), {b"connection", b"upgrade", b"server", b"date"})
        for status, stream in ((101, streamOf()), (200, streamOf(upgrade=b"websocket"))):
            self.assertEqual(set(self.finish(*pairs, status=status, stream=stream).first), {b"server", b"date"})

    def test_requestId(self) -> None:
        """
        C{always_set_request_id_in_response} tells the request's id, if it has one.
        """
        stream = streamOf((b"x-request-id", b"i"))
        self.assertNotIn(b"x-request-id", self.finish(stream=stream))
        self.assertEqual(self.finish(stream=stream, alwaysSetRequestId=True).first[b"x-request-id"], b"i")
        self.assertNotIn(b"x-request-id", self.finish(alwaysSetRequestId=True))

    def test_forcedTrace(self) -> None:
        """
        Who forced a trace is told its id, where there are internal clients who may.
        """
        stream = streamOf((b"x-request-id", b"i"), (b"x-envoy-force-trace", b"true"))
        internal = ForwardingSettings(isInternal=lambda address: True)
        self.assertEqual(self.finish(stream=stream, forwarding=internal).first[b"x-request-id"], b"i")
        self.assertNotIn(b"x-request-id", self.finish(stream=stream))
        self.assertNotIn(b"x-request-id", self.finish(stream=streamOf((b"x-request-id", b"i")), forwarding=internal))

    def test_via(self) -> None:
        """
        C{via} is appended to all that is there.
        """
        self.assertEqual(self.finish(via=b"me").values(b"via"), [b"me"])
        self.assertEqual(self.finish((b"via", b"a"), (b"via", b"b"), via=b"me").values(b"via"), [b"a,b, me"])
