"""
What tests of the admin share: a whole proxy without sockets, in virtual time, and a client for its admin.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from meshproxy.accesslog.files import LogFiles
from meshproxy.config.registry import FilterRegistry
from meshproxy.net.address import Address
from meshproxy.server import ProxyOptions, ProxyServer
from meshproxy.stats import Store

__all__ = ["BOOTSTRAP", "Answer", "MemoryNetwork", "MemoryTransport", "ask", "makeServer"]

BOOTSTRAP = """
node: {id: node-1, cluster: cluster-1, locality: {zone: zone-1}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: front
    traffic_direction: INBOUND
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains: &chains
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "hello"}}}
  - name: back
    address: {socket_address: {address: "::1", port_value: 10001}}
    filter_chains: *chains
  clusters:
  - name: hello
    alt_stat_name: greeting
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 7}]}
    load_assignment:
      cluster_name: hello
      endpoints:
      - locality: {region: r, zone: z, sub_zone: s}
        lb_endpoints:
        - endpoint: {hostname: one, address: {socket_address: {address: 192.0.2.1, port_value: 80}}}
          metadata: {filter_metadata: {envoy.lb: {canary: true}}}
          load_balancing_weight: 3
        - endpoint: {address: {pipe: {path: /run/two}}}
          health_status: DRAINING
  - name: other
    connect_timeout: 1s
    load_assignment: {cluster_name: other}
"""


class _Port:
    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self._network = network
        self.address = address

    def stopListening(self) -> None:
        """
        See L{meshproxy.interfaces.IListening}.
        """
        self._network.ports.pop(self.address.text, None)


class MemoryNetwork:
    """
    Addresses that can be bound, each once, and nobody to connect to.

    @ivar ports: Who takes the connections, by address.
    """

    def __init__(self) -> None:
        self.ports: dict[str, Callable[[Any], object]] = {}

    def accept(self, address: Address, accepted: Callable[[Any], object], *_: object) -> _Port:
        """
        See L{meshproxy.interfaces.INetwork.accept}. Port 0 becomes 12345.
        """
        if address.port == 0:
            address = Address(address.host, 12345)
        if address.text in self.ports:
            raise CannotListenError(address.host, address.port or 0, OSError("in use"))
        self.ports[address.text] = accepted
        return _Port(self, address)

    def connect(self, *_: object) -> None:
        """
        See L{meshproxy.interfaces.INetwork.connect}.
        """
        raise AssertionError("nobody is to be connected to")

    def datagrams(self, address: object) -> None:
        """
        See L{meshproxy.interfaces.INetwork.datagrams}.
        """
        raise AssertionError("nobody is to be told of anything")

    def resolve(self, host: str, family: str = "AUTO") -> Deferred[list[str]]:
        """
        See L{meshproxy.interfaces.INetwork.resolve}. No name is ever found, nor is one ever not found.
        """
        return Deferred()


class AcceptedTransport:
    """
    A connection that was accepted.

    @ivar protocol: Who gets it.
    """

    def __init__(self, transport: MemoryTransport, peer: str = "127.0.0.1") -> None:
        self.peerAddress = Address(peer, 50000)
        self.localAddress = transport.localAddress
        self._transport = transport

    def begin(self, protocol: Any, bufferLimit: int) -> None:
        """
        See L{meshproxy.interfaces.IAcceptedSocket.begin}.
        """
        self.protocol = protocol
        protocol.makeConnection(self._transport)


def connect(server: ProxyServer, address: str, transport: MemoryTransport, peer: str = "127.0.0.1") -> Any:
    """
    Let a port of a server with a L{MemoryNetwork} accept a connection.

    @return: Its protocol.
    """
    accepted = AcceptedTransport(transport, peer)
    network: Any = server.context.network
    network.ports[address](accepted)
    return accepted.protocol


class MemoryTransport(StringTransport):
    """
    A connection to the admin, in memory.
    """

    localAddress = Address("127.0.0.1", 9901)

    def endWriting(self) -> None:
        """
        See L{SocketTransport.endWriting<meshproxy.net.transport.SocketTransport.endWriting>}.
        """
        self.disconnecting = True


def makeServer(
    text: str = BOOTSTRAP, start: bool = True, registry: FilterRegistry | None = None, **options: Any
) -> ProxyServer:
    """
    A proxy.

    @param start: Whether it runs.
    @param options: Those of the command line.
    """
    clock = MemoryReactorClock()
    clock.advance(1000000)
    files = LogFiles(clock, Store().scope("filesystem."), lambda work: maybeDeferred(work))
    server = ProxyServer(
        ProxyOptions(configText=text, **options),
        clock,
        MemoryNetwork(),  # type: ignore[arg-type]  # as much of a network as is asked
        registry,
        files,
        lambda: 0.5,
    )
    if start:
        server.privilegedStartService()
        server.startService()
    return server


class Answer:
    """
    A response, taken apart.
    """

    def __init__(self, wire: bytes) -> None:
        head, _, self.body = wire.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}

    @property
    def text(self) -> str:
        """
        The body.
        """
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        """
        The body, read as JSON.
        """
        return json.loads(self.body)


def ask(
    server: ProxyServer,
    target: str,
    method: str = "GET",
    fields: str = "",
    body: str = "",
    address: str = "127.0.0.1:9901",
    pieces: int = 100,
) -> Answer:
    """
    Ask a port of the proxy, by default the admin's.

    @param fields: More lines of the head.
    @param pieces: How many turns of the reactor the answer may take.
    """
    transport = MemoryTransport()
    protocol = connect(server, address, transport)
    length = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
    protocol.dataReceived(f"{method} {target} HTTP/1.1\r\nhost: {address}\r\n{fields}{length}\r\n{body}".encode())
    for _ in range(pieces):
        if transport.value():
            break
        server.reactor.advance(0)
    answer = Answer(transport.value())
    protocol.connectionLost(Failure(ConnectionDone()))
    return answer
