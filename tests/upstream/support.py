"""
What the tests of this room share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshproxy.config import Section
from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.idle import IdleWatch
from meshproxy.stats import Scope, Store
from meshproxy.testing import MemoryBackend, MemoryNetwork, VirtualReactor
from meshproxy.upstream.breakers import Breaker
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.http1pool import HTTP1Pool
from meshproxy.upstream.settings import ClusterSettings
from meshproxy.upstream.stats import ClusterStats

__all__ = ["Asker", "PoolKit", "clusterSection", "endpoints", "value"]

BACKEND = "192.0.2.1:80"


def endpoints(*weights: int) -> list[Endpoint]:
    """
    Endpoints of these weights.
    """
    return [Endpoint(Address(f"192.0.2.{number}", 80), weight=weight) for number, weight in enumerate(weights, 1)]


def clusterSection(*hosts: str, port: int = 80, kind: str = "STATIC", **fields: Any) -> Section:
    """
    A C{Cluster} named C{c}.
    """
    found = [{"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} for host in hosts]
    return Section.of(
        "envoy.config.cluster.v3.Cluster",
        {
            "name": "c",
            "type": kind,
            "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": found}]},
            **fields,
        },
    )


def value(store: Store, name: str) -> int | None:
    """
    What a counter or a gauge shows; L{None} where there is none of that name.
    """
    for kind in (store.counters, store.gauges):
        if name in kind:
            return int(kind[name].value)
    return None


class Asker:
    """
    A request that wants a connection, sends itself, and remembers what it was told.

    @ivar told: What happened, in order.
    """

    def __init__(self, path: bytes = b"/", sends: bool = True, pieces: Sequence[bytes] = ()) -> None:
        """
        @param sends: Whether it sends its head, and C{pieces}, as soon as it has a connection.
        """
        self.connection: HTTP1UpstreamConnection | None = None
        self.told: list[Any] = []
        self.body = b""
        self._path = path
        self._sends = sends
        self._pieces = list(pieces)

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Send the request.
        """
        self.connection = connection
        self.told.append("ready")
        if self._sends:
            method = b"POST" if self._pieces else b"GET"
            pairs = [(b"transfer-encoding", b"chunked")] if self._pieces else []
            connection.sendHeaders(RequestHeaders(method, self._path, b"test", pairs), not self._pieces)
            for number, piece in enumerate(self._pieces, 1):
                connection.sendData(piece, number == len(self._pieces))

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        There is none.
        """
        self.told.append(reason)

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        1xx.
        """
        self.told.append(headers.status)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head.
        """
        self.told.append(headers.status)
        if endStream:
            self.told.append("end")

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        All at once.
        """
        self.responseReceived(headers, False)
        self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of the body.
        """
        self.body += data
        if endStream:
            self.told.append("end")

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        Trailers.
        """
        self.told += [dict(trailers.fields()), "end"]

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        It will not come.
        """
        self.told.append(reason)

    def pauseRequest(self) -> None:
        """
        Back pressure.
        """
        self.told.append("pause")

    def resumeRequest(self) -> None:
        """
        No more of it.
        """
        self.told.append("resume")


class PoolKit:
    """
    A pool before a backend in memory.
    """

    def __init__(self, settings: ClusterSettings | None = None, address: str = BACKEND, **limits: Any) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor)
        self.backend = MemoryBackend(self.network, address)
        self.store = Store()
        self.scope: Scope = self.store.scope("cluster.c.")
        self.stats = ClusterStats(self.scope)
        self.settings = settings or ClusterSettings()
        self.breaker = Breaker(self.scope.scope("circuit_breakers.default."), **limits)
        self.endpoint = Endpoint(self.backend.address)
        self.idleWatch: IdleWatch[HTTP1UpstreamConnection] = IdleWatch(
            self.reactor,
            self.settings.idleTimeout or 3600.0,
            lambda connection: connection.idleSince if connection.request is None else None,
            lambda connection: connection.close(),
        )
        self.durations: Deadlines[HTTP1UpstreamConnection] | None = None
        self.pool = self.makePool(self.endpoint)

    def makePool(self, endpoint: Endpoint) -> HTTP1Pool:
        """
        A pool that shares breakers and stats.
        """
        return HTTP1Pool(
            endpoint,
            self.settings,
            self.stats,
            self.breaker,
            self.network,
            self.reactor,
            self.idleWatch,
            self.durations,
        )

    def ask(self, count: int = 1, **options: Any) -> list[Asker]:
        """
        Let requests ask for connections, nothing happening in between.
        """
        askers = [Asker(**options) for _ in range(count)]
        for asker in askers:
            self.pool.request(asker)
        return askers

    def settle(self) -> None:
        """
        Let happen what is due.
        """
        self.reactor.settle()

    def served(self, **options: Any) -> Asker:
        """
        One request and all of its response.
        """
        [asker] = self.ask(**options)
        self.settle()
        return asker

    def __getitem__(self, name: str) -> int | None:
        """
        A metric of the cluster.
        """
        return value(self.store, f"cluster.c.{name}")
