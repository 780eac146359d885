# -*- test-case-name: tests.upstream.test_proxyheader -*-
"""
The PROXY protocol towards an upstream: C{envoy.transport_sockets.upstream_proxy_protocol}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol

from meshproxy.config import Section
from meshproxy.config.supported import accept, declare, only
from meshproxy.interfaces import ICancellable
from meshproxy.net.address import Address
from meshproxy.net.dial import SocketOptions
from meshproxy.net.outgoingheader import OutgoingHeader
from meshproxy.net.proxyheader import ProxyProtocolData
from meshproxy.stats import Scope

__all__ = ["PROXY_TRANSPORT", "HeaderConnector", "UpstreamHeader"]

#: The message that asks for it.
PROXY_TRANSPORT = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"

declare(PROXY_TRANSPORT, "config", "transport_socket")
only(PROXY_TRANSPORT, "allow_unspecified_address", False)
accept(PROXY_TRANSPORT, "tlv_as_pool_key", "connections for requests are never shared between clients here")


class UpstreamHeader:
    """
    Which header the connections of a cluster begin with.
    """

    def __init__(self, section: Section | None, scope: Scope) -> None:
        """
        @param section: A C{ProxyProtocolConfig}; without one it is version 1, as in Envoy.
        @param scope: The cluster's.
        """
        self._header = OutgoingHeader(section)
        counters = scope.scope("upstream.proxyprotocol.")
        self._tooLong = counters.counter("v2_tlvs_exceed_max_length")

    def encode(self, told: ProxyProtocolData | None, local: Address, peer: Address) -> bytes:
        """
        Write the header of a connection, see L{OutgoingHeader.encode}.
        """
        header, left = self._header.encode(told, local, peer)
        if left:
            self._tooLong.value += 1
        return header


class HeaderConnector:
    """
    Connects as a network does, and begins each connection with a header, before TLS.
    """

    def __init__(self, network: Any, header: UpstreamHeader, told: ProxyProtocolData | None) -> None:
        """
        @param told: Whose connection it is going to be.
        """
        self._network = network
        self._header = header
        self._told = told

    def connect(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float = 5.0,
        bufferLimit: int = 1 << 20,
        options: SocketOptions | None = None,
    ) -> ICancellable:
        """
        See L{meshproxy.interfaces.INetwork.connect}.
        """
        beginning: Any = _Beginning(self._header, self._told, protocol)
        attempt: ICancellable = self._network.connect(address, beginning, failed, timeout, bufferLimit, options)
        return attempt


class _Beginning:
    """
    Stands for the protocol until the header is written.
    """

    def __init__(self, header: UpstreamHeader, told: ProxyProtocolData | None, protocol: IProtocol) -> None:
        self._header = header
        self._told = told
        self._protocol = protocol

    def makeConnection(self, transport: Any) -> None:
        """
        It is connected.
        """
        transport.protocol = self._protocol
        transport.write(self._header.encode(self._told, transport.localAddress, transport.peerAddress))
        # TLS writes to the socket itself: nothing may be left for later.
        transport.flush()
        self._protocol.makeConnection(transport)
