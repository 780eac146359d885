# -*- test-case-name: tests.testing.test_harness -*-
"""
The smallest thing for authors of filters: one filter, in a chain of its own, in front of a canned upstream::

    class GreeterTests(SynchronousTestCase):
        def test_greets(self) -> None:
            harness = FilterHarness(Greeter, config={"greeting": "hi"})
            result = harness.request("GET", "/")
            self.assertEqual(result.header("x-greeting"), "hi")

The chain belongs to a whole proxy (L{harness.proxy<FilterHarness.proxy>}), so what a filter does here it does
in earnest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from meshproxy.config.pool import typeURL
from meshproxy.http.filter import HTTPFilter
from meshproxy.http.stream import Stream
from meshproxy.interfaces import IHTTPStream
from meshproxy.testing.backend import OK, MemoryBackend, Script
from meshproxy.testing.bootstraps import BACKEND, httpBootstrap, typedStruct
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.messages import Fields, Request, Response
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.peers import HTTPClient
from meshproxy.testing.proxy import MemoryProxy

__all__ = ["FilterHarness", "Result"]

# The name of the filter in its chain, where it has none of its own.
_NAME = "filter.under.test"

# What a line of the access log tells.
_LOG = {
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
}


@dataclass
class Result(Response):
    """
    What became of a request.

    @ivar upstreamRequest: What the upstream saw of it; L{None} if it never came there.
    @ivar upstreamRequests: All tries, where it was tried again.
    @ivar log: The line of the access log: C{status}, C{details}, C{flags}, C{route}, C{cluster}, C{received},
        C{sent}, C{duration} (in ms).
    @ivar messages: What was logged meanwhile, by the filter and by the proxy.
    @ivar stream: The stream, to look at its C{dynamicMetadata} and C{filterState}.
    """

    upstreamRequest: Request | None = None
    upstreamRequests: list[Request] = field(default_factory=list)
    log: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    stream: Stream | None = None


def _watcher(streams: list[Stream]) -> type[HTTPFilter]:
    """
    A filter that remembers the streams that end.
    """

    class Watcher(HTTPFilter):
        shared = True

        def streamEnded(self, stream: IHTTPStream) -> None:
            streams.append(cast(Stream, stream))

    return Watcher


class FilterHarness:
    """
    A filter and what it needs around it.

    @ivar proxy: The proxy: its C{stat}, its C{network} and so on.
    @ivar upstream: The backend behind the filter; what it answers can be changed at any time.
    @ivar backends: The backends of C{clusters}, by the name of the cluster.
    """

    def __init__(
        self,
        filterClass: type[HTTPFilter],
        config: Mapping[str, Any] | None = None,
        routeConfig: Mapping[str, Any] | None = None,
        upstream: Script = OK,
        clusters: Sequence[str] = (),
        before: Sequence[Mapping[str, Any]] = (),
        after: Sequence[Mapping[str, Any]] = (),
        chance: Callable[[], float] = lambda: 0.5,
        readSize: int = 0,
        **more: Any,
    ) -> None:
        """
        @param config: The filter's configuration, as it would stand in a bootstrap: the fields of its message, or the
            keys of its C{Config}.
        @param routeConfig: What the route says to it in C{typed_per_filter_config}.
        @param upstream: What the upstream answers: a L{meshproxy.testing.Answer}, or a function of the request.
        @param clusters: Names of more clusters, for filters that call them; each has a backend that answers 200.
        @param before: More entries of C{http_filters}, and C{after} likewise.
        @param chance: What decides where something is random.
        @param readSize: How many bytes one read takes at most: 1 gives the filter bodies byte by byte.
        @param more: For L{httpBootstrap}.

        @raise meshproxy.errors.ConfigErrors: If the filter refuses its configuration.
        """
        self._streams: list[Stream] = []
        self._filterClass = filterClass
        addresses = {name: f"127.0.0.1:{9001 + number}" for number, name in enumerate(clusters)}
        filters = [
            {"name": "watcher", "typed_config": typedStruct("watcher")},
            *before,
            {"name": _NAME, "typed_config": self._typed(config, filterClass.configType)},
            *after,
        ]
        virtualHost = dict(more.pop("virtualHost", {}))
        if routeConfig is not None:
            typed = self._typed(routeConfig, filterClass.routeConfigType or filterClass.configType)
            virtualHost["typed_per_filter_config"] = {_NAME: typed}
        text = httpBootstrap(filters, clusters=addresses, virtualHost=virtualHost, accessLog=_LOG, **more)
        given = {_NAME: filterClass, "watcher": _watcher(self._streams)}
        network = MemoryNetwork(VirtualReactor(), readSize=readSize)
        self.proxy = MemoryProxy(text, network, given, chance)
        self.upstream = MemoryBackend(network, BACKEND, upstream)
        self.backends = {name: MemoryBackend(network, address) for name, address in addresses.items()}

    def _typed(self, config: Mapping[str, Any] | None, messageName: str) -> dict[str, Any]:
        if messageName:
            return {"@type": typeURL(messageName), **(config or {})}
        return typedStruct(_NAME, config)

    def client(self) -> HTTPClient:
        """
        A client, for what one L{request} cannot do: bodies in pieces, several requests on a connection, one who leaves.
        """
        return self.proxy.client()

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.proxy.advance(seconds)

    def request(
        self,
        method: str | bytes = "GET",
        path: str | bytes = "/",
        headers: Fields = (),
        body: bytes | None = None,
        trailers: Fields = (),
        wait: float = 60.0,
    ) -> Result:
        """
        Send a request through the filter, and let time pass until it is answered.

        @param wait: Seconds of virtual time to wait at most.

        @raise meshproxy.testing.NoAnswer: If there is no answer then.
        """
        seen = len(self.upstream.requests)
        logged = len(self.proxy.accessLog)
        messages: list[str] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            messages.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        try:
            response = self.proxy.request(method, path, headers, body, trailers, wait=wait)
        finally:
            globalLogPublisher.removeObserver(observe)
        tries = self.upstream.requests[seen:]
        lines = self.proxy.accessLog[logged:]
        return Result(
            **vars(response),
            upstreamRequest=tries[-1] if tries else None,
            upstreamRequests=tries,
            log=json.loads(lines[-1]) if lines else {},
            messages=messages,
            stream=self._streams[-1] if self._streams else None,
        )
