# -*- test-case-name: tests.testing.test_proxy -*-
"""
A whole proxy in memory, from its bootstrap to its access log, in virtual time::

    proxy = MemoryProxy(bootstrapText)
    backend = proxy.backend("127.0.0.1:9000")
    backend.respond(200, b"hello")
    response = proxy.request("GET", "/greeting")
    assert response.status == 200
    assert backend.last.path == b"/greeting"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from meshproxy.net.address import Address
from meshproxy.server import ProxyOptions, ProxyServer
from meshproxy.testing.backend import OK, MemoryBackend, Script
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.filters import AnyFilter, filterRegistry
from meshproxy.testing.logs import MemoryLogFiles
from meshproxy.testing.messages import Fields, Response
from meshproxy.testing.network import MemoryNetwork, parseAddress
from meshproxy.testing.peers import HTTPClient, NoAnswer, Peer

__all__ = ["MemoryProxy"]


class MemoryProxy:
    """
    A proxy that runs as soon as it is made.

    @ivar reactor: Its clock. Nothing happens unless time is let pass, be it none: L{request} does, and L{advance}.
    @ivar network: Whom it listens to and connects to.
    @ivar server: The proxy itself.
    @ivar logFiles: Its access logs.
    """

    def __init__(
        self,
        bootstrap: str,
        network: MemoryNetwork | None = None,
        filters: Mapping[str, AnyFilter] | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        options: ProxyOptions | None = None,
    ) -> None:
        """
        @param bootstrap: YAML or JSON.
        @param network: One that is shared with other proxies, or that is slow, or cuts reads short.
        @param filters: Filters besides those that are installed, by the names that a C{TypedStruct} has for them.
        @param chance: What decides where something is random; from 0 up to 1.
        @param options: What the command line would say.

        @raise meshproxy.errors.ConfigErrors: If the bootstrap has faults.
        """
        self.network = network or MemoryNetwork(VirtualReactor())
        self.reactor = self.network.reactor
        self.logFiles = MemoryLogFiles(self.reactor)
        options = replace(options or ProxyOptions(), configText=bootstrap)
        self.server = ProxyServer(options, self.reactor, self.network, filterRegistry(filters), self.logFiles, chance)
        self.server.privilegedStartService()
        self.server.startService()
        self.reactor.settle()

    # Both ends

    def backend(self, address: Address | str, default: Script = OK) -> MemoryBackend:
        """
        Put a backend at an address.

        @param default: How it answers, unless it is told otherwise.
        """
        return MemoryBackend(self.network, address, default)

    def address(self, listener: str = "") -> Address:
        """
        Where the proxy listens.

        @param listener: The listener's name; by default the first one.
        """
        listeners = self.server.listeners.byName
        found = listeners[listener] if listener else next(iter(listeners.values()))
        address: Address = found.ports[0].address
        return address

    def client(
        self, to: Address | str = "", source: str = "127.0.0.1", authority: bytes = b"example.com"
    ) -> HTTPClient:
        """
        A client that is connected.

        @param to: An address, or the name of a listener; by default the first one.
        @param source: The IP address that it comes from.
        @param authority: What its requests say in C{host}, unless they say otherwise.
        """
        client = HTTPClient(self.reactor, authority)
        self.connect(client, to, source)
        return client

    def connect(self, peer: Peer, to: Address | str = "", source: str = "127.0.0.1") -> None:
        """
        Connect a protocol of the test's own to the proxy.
        """
        isName = isinstance(to, str) and (not to or to in self.server.listeners.byName)
        target = self.address(str(to)) if isName else parseAddress(to)
        self.network.dial(target, peer, source)
        self.reactor.settle()

    def request(
        self,
        method: str | bytes = b"GET",
        path: str | bytes = b"/",
        headers: Fields = (),
        body: bytes | None = None,
        trailers: Fields = (),
        to: Address | str = "",
        wait: float = 60.0,
    ) -> Response:
        """
        Send a request on a connection of its own, and let time pass until its response is there.

        @param headers: C{host} among them where it matters.
        @param wait: Seconds of virtual time to wait at most.

        @return: See L{HTTPClient.request}.
        """
        client = self.client(to)
        try:
            return client.request(method, path, headers, body, trailers, wait)
        finally:
            client.close()
            self.reactor.settle()

    # Time

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.reactor.advance(seconds)

    def settle(self) -> None:
        """
        Let everything happen that takes no time.
        """
        self.reactor.settle()

    # What it says of itself

    def stat(self, name: str) -> int:
        """
        A counter's or a gauge's value, or how many values a histogram has.

        @raise KeyError: If there is none of this name.
        """
        values = self.stats()
        if name not in values:
            near = get_close_matches(name, values, 3)
            raise KeyError(f"there is no {name}; there are {', '.join(near) or len(values)}")
        return values[name]

    def stats(self, prefix: str = "") -> dict[str, int]:
        """
        All of them whose names begin with C{prefix}.
        """
        self.server.refreshStats()
        store = self.server.context.store
        values = {name: int(metric.value) for name, metric in (*store.counters.items(), *store.gauges.items())}
        values.update((name, sum(metric.bins.values())) for name, metric in store.histograms.items())
        return {name: values[name] for name in sorted(values) if name.startswith(prefix)}

    @property
    def accessLog(self) -> list[str]:
        """
        All lines of all access logs.
        """
        return self.logFiles.lines()

    # Changes

    def reload(self, bootstrap: str) -> bool:
        """
        Give it another configuration.

        @return: Whether it took it.
        """
        server = self.server
        before = server.options
        server.options = replace(before, configText=bootstrap)
        taken: bool = self._result(server.reload())
        if not taken:
            server.options = before
        return taken

    def stop(self) -> None:
        """
        Stop it, and let time pass until it has.
        """
        self._result(self.server.stopService(), self.server.options.drainTime + 1.0)

    def _result(self, waiting: Deferred[bool], limit: float = 60.0) -> bool:
        results: list[object] = []
        waiting.addBoth(results.append)
        if not self.reactor.waitFor(lambda: bool(results), limit):
            raise NoAnswer(f"not done within {limit} s")
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return bool(result)
