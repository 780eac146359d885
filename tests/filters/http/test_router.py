"""
Tests for L{meshproxy.filters.http.router}. What the engine does is tested with it, in C{tests.http.test_router}.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from meshproxy.config import Section
from meshproxy.filters.http.router import Router
from meshproxy.headers import HeaderMap
from meshproxy.http.filter import FilterContext
from meshproxy.http.router import Router as RouterEngine
from tests.filters.http.support import FakeStream
from tests.filters.http.support import makeContext as makeContextWithoutClusters
from tests.http.support import ProxyCase

ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def makeContext() -> FilterContext:
    """
    A context that knows no cluster so far.
    """
    return replace(makeContextWithoutClusters(), clusters=cast(Any, SimpleNamespace(byName={})))


class Upstream:
    """
    An upstream side that notes what it is sent.
    """

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Note it.
        """
        self.sent.append((data, endStream))

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Note them.
        """
        self.sent.append(trailers)


class RouterFilterTests(ProxyCase):
    """
    The filter C{envoy.filters.http.router}.
    """

    def engine(self, **fields: Any) -> RouterEngine:
        """
        What is made of a configuration.
        """
        section = Section.of(ROUTER, fields)
        made: RouterEngine = Router.compileConfig(section, makeContext())
        section.report.raiseIfAny()
        return made

    def stream(self, upstream: Upstream | None) -> Any:
        """
        A stream with an upstream side, or without one.
        """
        stream: Any = FakeStream()
        stream.upstream = upstream
        return stream

    def test_config(self) -> None:
        """
        What is configured reaches the engine; it is off by default.
        """
        self.assertFalse(self.engine().suppressGRPCCodes)
        self.assertTrue(self.engine(suppress_grpc_request_failure_code_stats=True).suppressGRPCCodes)
        self.assertFalse(self.engine().suppressHeaders)
        self.assertTrue(self.engine(suppress_envoy_headers=True).suppressHeaders)

    def test_counts(self) -> None:
        """
        Statuses are counted unless it is told otherwise.
        """
        self.assertTrue(self.engine().countsCodes)
        self.assertFalse(self.engine(dynamic_stats=False).countsCodes)

    def test_clusters(self) -> None:
        """
        The engine looks clusters up in the proxy's own dictionary, which changes when they do.
        """
        context = makeContext()
        engine = Router.compileConfig(Section.of(ROUTER, {}), context)
        self.assertIs(engine.clusters, context.clusters.byName)

    def test_headersGoToEngine(self) -> None:
        """
        What the chain calls with a head is the engine's own method, without one in between.
        """
        engine = self.engine()
        made = Router(engine, makeContext())
        self.assertEqual(made.requestHeaders, engine.route)

    def test_body(self) -> None:
        """
        Pieces of a body and trailers go to the stream's upstream side, as they are.
        """
        made = Router(self.engine(), makeContext())
        upstream = Upstream()
        trailers = HeaderMap([(b"t", b"1")])
        stream = self.stream(upstream)
        self.assertIsNone(made.requestData(stream, b"a", False))
        self.assertIsNone(made.requestData(stream, b"", True))
        self.assertIsNone(made.requestTrailers(stream, trailers))
        self.assertEqual(upstream.sent, [(b"a", False), (b"", True), trailers])

    def test_withoutUpstream(self) -> None:
        """
        What still comes of a request that was answered here goes nowhere, and disturbs nothing.
        """
        made = Router(self.engine(), makeContext())
        stream = self.stream(None)
        self.assertIsNone(made.requestData(stream, b"a", True))
        self.assertIsNone(made.requestTrailers(stream, HeaderMap()))

    def test_terminal(self) -> None:
        """
        In a proxy it ends the chain: a request with body and trailers comes out behind it.
        """
        self.start(manager=self.trailers(), cluster=self.trailers())
        answer = self.proxy.request("POST", "/p", [("transfer-encoding", "chunked")], b"body", [("t", "1")])
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.backend.last.body, b"body")
        self.assertEqual(self.backend.last.trailers.get(b"t"), b"1")
