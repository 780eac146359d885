# -*- test-case-name: tests.upstream.test_statssinks -*-
"""
C{stats_sinks}: where metrics are sent at each flush.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger

from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.config.near import near
from meshproxy.net.address import Address
from meshproxy.stats.statsd import StatsdWriter, batched
from meshproxy.stats.store import Store
from meshproxy.stats.tags import TagExtractor
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.tcpconnection import TCPUpstreamConnection

__all__ = ["IStatsSink", "compileStatsSinks"]

_STATSD = "envoy.config.metrics.v3.StatsdSink"
_DOG_STATSD = "envoy.config.metrics.v3.DogStatsdSink"

# Envoy's limit of what waits for a statsd server that does not read.
_MOST_UNSENT = 16 << 20


class _Datagrams(Protocol):
    def send(self, data: bytes) -> None:
        """
        Send one.
        """

    def close(self) -> None:
        """
        Send no more.
        """


class IStatsSink(Protocol):
    """
    Takes metrics.
    """

    def flush(self) -> None:
        """
        An interval is over.
        """

    def close(self) -> None:
        """
        No other comes.
        """


class _DatagramSink:
    """
    Datagrams to an address.
    """

    def __init__(self, writer: StatsdWriter, sender: _Datagrams, limit: int = 0) -> None:
        self._writer = writer
        self._sender = sender
        self._limit = limit

    def flush(self) -> None:
        """
        See L{IStatsSink.flush}.
        """
        for datagram in batched(self._writer.messages(), self._limit):
            self._sender.send(datagram)

    def close(self) -> None:
        """
        See L{IStatsSink.close}.
        """
        self._sender.close()


class _Peer(TwistedProtocol):
    """
    This end of a connection to a statsd server, which is not expected to say anything.
    """

    def __init__(self, lost: Callable[[], object]) -> None:
        self._lost = lost

    def readConnectionLost(self) -> None:
        """
        The server finished: there is nothing more to tell it.
        """
        self.transport.loseConnection()  # type: ignore[union-attr]  # it is connected

    def writeConnectionLost(self) -> None:
        """
        This side finished.
        """

    def connectionLost(self, reason: object = None) -> None:
        """
        The connection is gone.
        """
        self._lost()


class _ClusterSink:
    """
    Lines on a TCP connection to a cluster, which is opened when there is something to tell.
    """

    log = Logger()

    def __init__(self, writer: StatsdWriter, clusters: Mapping[str, Cluster], name: str) -> None:
        self._writer = writer
        self._clusters = clusters
        self._name = name
        self._connection: TCPUpstreamConnection | None = None
        self._peer: _Peer | None = None
        self._waiting = b""

    def flush(self) -> None:
        """
        See L{IStatsSink.flush}.
        """
        lines = "".join(f"{message}\n" for message in self._writer.messages()).encode("utf-8")
        peer = self._peer
        if peer is None or peer.transport is None:
            # What waited until now tells of the growth of counters, too; but not for ever.
            self._waiting = self._waiting + lines if len(self._waiting) < _MOST_UNSENT else lines
            self._connect()
        elif getattr(peer.transport, "unsent", 0) > _MOST_UNSENT:
            self.log.warn("the statsd server of {cluster} does not read", cluster=self._name)
            peer.transport.loseConnection()
        else:
            peer.transport.write(lines)

    def _connect(self) -> None:
        if self._connection is not None:
            return
        cluster = self._clusters.get(self._name)
        endpoint = None if cluster is None else cluster.chooseEndpoint()
        if cluster is None or endpoint is None:
            return
        self._peer = _Peer(self._lost)
        self._connection = TCPUpstreamConnection(cluster, endpoint, self, self._peer)
        self._connection.connect()

    def upstreamConnected(self) -> None:
        """
        See L{meshproxy.upstream.tcpconnection.IConnectionOwner.upstreamConnected}.
        """
        assert self._peer is not None
        waiting, self._waiting = self._waiting, b""
        self._peer.transport.write(waiting)  # type: ignore[union-attr]  # it is connected

    def upstreamFailed(self, why: str) -> None:
        """
        See L{meshproxy.upstream.tcpconnection.IConnectionOwner.upstreamFailed}.
        """
        self._lost()

    def _lost(self) -> None:
        self._connection = self._peer = None

    def close(self) -> None:
        """
        See L{IStatsSink.close}.
        """
        connection, peer = self._connection, self._peer
        if peer is not None and peer.transport is not None:
            peer.transport.loseConnection()
        elif connection is not None:
            connection.cancel()
            self._lost()


def compileStatsSinks(
    sections: Sequence[Section],
    store: Store,
    extractor: TagExtractor,
    datagrams: Callable[[Address], _Datagrams],
    clusters: Mapping[str, Cluster],
    names: frozenset[str],
) -> list[IStatsSink]:
    """
    Compile C{stats_sinks}.

    @param datagrams: Makes what sends datagrams to an address.
    @param clusters: The clusters that serve, by name.
    @param names: The names of those that the configuration has.
    """
    sinks: list[IStatsSink] = []
    for section in sections:
        config = section.any("typed_config")
        if config is None:
            if not section.has("typed_config"):
                section.refuse("a sink of metrics needs a typed_config")
            continue
        if config.typeName not in (_STATSD, _DOG_STATSD):
            section.refuse(f"{config.typeName} is not a sink that this program has", "typed_config", (_STATSD,))
            continue
        isDog = config.typeName == _DOG_STATSD
        writer = StatsdWriter(store, config.get("prefix"), extractor if isDog else None)
        if config.has("address"):
            address = _addressOf(config.childOrEmpty("address"))
            limit = config.wrapped("max_bytes_per_datagram", 0) if isDog else 0
            if address is not None:
                sinks.append(_DatagramSink(writer, datagrams(address), limit))
        elif not isDog and config.has("tcp_cluster_name"):
            name: str = config.get("tcp_cluster_name")
            if name not in names:
                config.refuse(f"there is no cluster {name!r}", "tcp_cluster_name", near(name, names))
            sinks.append(_ClusterSink(writer, clusters, name))
        else:
            config.refuse("an address is needed" if isDog else "an address or a tcp_cluster_name is needed")
    return sinks


def _addressOf(section: Section) -> Address | None:
    sock = section.child("socket_address")
    if sock is None:
        section.refuse("only a socket_address can be sent to")
        return None
    host: str = sock.get("address")
    if packAddress(host) is None:
        sock.refuse(f"{host!r} is not an IP address", "address")
        return None
    return Address(host, sock.get("port_value"))
