"""
Tests for L{meshproxy.http.proxystatus}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.flags import ResponseFlag
from meshproxy.headers import ResponseHeaders
from meshproxy.http.proxystatus import compileProxyStatus

STATUS = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ProxyStatusConfig"


class ProxyStatusTests(SynchronousTestCase):
    """
    L{compileProxyStatus}.
    """

    def told(
        self, flags: int, before: tuple[bytes, ...] = (), details: str = "why", ended: str = "", **fields: Any
    ) -> ResponseHeaders:
        """
        The head of a response that is told of.

        @param before: Values that are there already.
        """
        tell = compileProxyStatus(Section.of(STATUS, fields), "mesh", "node-7")
        assert tell is not None
        stream = SimpleNamespace(
            responseFlags=flags,
            responseCodeDetails=details,
            connectionTerminationDetails=ended,
            connection=ConnectionInfo(),
        )
        headers = ResponseHeaders(503, [(b"proxy-status", value) for value in before])
        tell(cast(Any, stream), headers)
        return headers

    def test_off(self) -> None:
        """
        Without a configuration nothing is told.
        """
        self.assertIsNone(compileProxyStatus(None, "mesh", "node-7"))

    def test_fine(self) -> None:
        """
        Nor where nothing went wrong, or nothing that the field has a word for.
        """
        for flags in (0, ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, ResponseFlag.FAULT_INJECTED):
            self.assertEqual(len(self.told(flags)), 0)

    def test_parts(self) -> None:
        """
        Name, error and details, of which each part may be left out.
        """
        refused = ResponseFlag.UPSTREAM_CONNECTION_FAILURE
        for fields, expected in (
            ({}, b'mesh; error=connection_refused; details="why; gone; UF"'),
            ({"use_node_id": True}, b'node-7; error=connection_refused; details="why; gone; UF"'),
            ({"literal_proxy_name": "p"}, b'p; error=connection_refused; details="why; gone; UF"'),
            ({"remove_details": True}, b"mesh; error=connection_refused"),
            ({"remove_response_flags": True}, b'mesh; error=connection_refused; details="why; gone"'),
            ({"remove_connection_termination_details": True}, b'mesh; error=connection_refused; details="why; UF"'),
        ):
            headers = self.told(refused, ended="gone", **fields)
            self.assertEqual((headers.status, headers.get(b"proxy-status")), (503, expected))

    def test_appended(self) -> None:
        """
        What proxies nearer to the origin said stays before it (RFC 9209, 2).
        """
        headers = self.told(ResponseFlag.NO_ROUTE_FOUND, (b"a", b"b"), remove_details=True)
        self.assertEqual(headers.values(b"proxy-status"), [b"a,b, mesh; error=destination_not_found"])

    def test_quoted(self) -> None:
        """
        Details cannot leave their quotes, nor the line.
        """
        headers = self.told(ResponseFlag.NO_ROUTE_FOUND, details='a"b\\c\r\nd', remove_response_flags=True)
        self.assertEqual(headers.get(b"proxy-status"), b'mesh; error=destination_not_found; details="a\\"b\\\\c__d"')

    def test_status(self) -> None:
        """
        The status that RFC 9209 recommends is taken if asked for.
        """
        for flags, status in (
            (ResponseFlag.UPSTREAM_REQUEST_TIMEOUT, 504),
            (ResponseFlag.NO_ROUTE_FOUND, 500),
            (ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED | ResponseFlag.UPSTREAM_CONNECTION_FAILURE, 502),
        ):
            self.assertEqual(self.told(flags, set_recommended_response_code=True).status, status)
