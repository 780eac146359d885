# -*- test-case-name: tests.filters.http.test_upstream_codec -*-
"""
C{envoy.filters.http.upstream_codec}; what it does is tested with L{meshproxy.http.filteredtry}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.upstream_codec import UpstreamCodec
from meshproxy.headers import HeaderMap, RequestHeaders
from tests.filters.http.support import makeContext


class UpstreamCodecTests(SynchronousTestCase):
    """
    L{UpstreamCodec}.
    """

    def test_passesOn(self) -> None:
        """
        What comes goes to the connection of the try, and no further.
        """
        told: list[Any] = []
        filteredTry = SimpleNamespace(
            encodeHeaders=lambda *args: told.append(args),
            encodeData=lambda *args: told.append(args),
            encodeTrailers=lambda *args: told.append(args),
        )
        stream = SimpleNamespace(filteredTry=filteredTry)
        made = UpstreamCodec(None, makeContext())
        headers, trailers = RequestHeaders(b"GET", b"/", b"a"), HeaderMap()
        verdicts = [
            made.requestHeaders(stream, headers, False),
            made.requestData(stream, b"a", False),
            made.requestTrailers(stream, trailers),
        ]
        self.assertEqual(told, [(headers, False), (b"a", False), (trailers,)])
        self.assertEqual(verdicts, [None, None, None])

    def test_place(self) -> None:
        """
        It ends chains of clusters, and no others.
        """
        self.assertTrue(UpstreamCodec.terminal and UpstreamCodec.servesUpstream)
        self.assertFalse(UpstreamCodec.servesDownstream)
