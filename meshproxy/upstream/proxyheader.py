# -*- test-case-name: tests.upstream.test_proxyheader -*-
"""
The PROXY protocol towards an upstream: C{envoy.transport_sockets.upstream_proxy_protocol}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IProtocol

from meshproxy.codec.proxyprotocol import TLV, encodeV1, encodeV2
from meshproxy.config import Section
from meshproxy.config.supported import accept, declare, only
from meshproxy.interfaces import ICancellable
from meshproxy.net.address import Address
from meshproxy.net.dial import SocketOptions
from meshproxy.net.proxyheader import ProxyProtocolData, compileTLVFilter
from meshproxy.stats import Scope

__all__ = ["PROXY_TRANSPORT", "HeaderConnector", "UpstreamHeader", "compileTLVs"]

#: The message that asks for it.
PROXY_TRANSPORT = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"

declare(PROXY_TRANSPORT, "config", "transport_socket")
only(PROXY_TRANSPORT, "allow_unspecified_address", False)
accept(PROXY_TRANSPORT, "tlv_as_pool_key", "connections for requests are never shared between clients here")
declare("envoy.config.core.v3.ProxyProtocolConfig", "version", "pass_through_tlvs", "added_tlvs")
declare("envoy.config.core.v3.TlvEntry", "type", "value")


def compileTLVs(sections: Sequence[Section]) -> tuple[TLV, ...]:
    """
    The TLVs of some C{TlvEntry} messages.
    """
    found = []
    for section in sections:
        kind = section.get("type")
        if kind > 255:
            section.refuse(f"{kind} is no type of a TLV: it has one byte", "type")
        else:
            found.append((kind, section.get("value")))
    return tuple(found)


class UpstreamHeader:
    """
    Which header the connections of a cluster begin with.
    """

    def __init__(self, section: Section | None, scope: Scope) -> None:
        """
        @param section: A C{ProxyProtocolConfig}; without one it is version 1, as in Envoy.
        @param scope: The cluster's.
        """
        self._version = 1 if section is None or section.get("version") == "V1" else 2
        self._passes = compileTLVFilter(None if section is None else section.child("pass_through_tlvs"))
        self._added = () if section is None else compileTLVs(section.children("added_tlvs"))
        self._kinds = frozenset(kind for kind, _ in self._added)
        counters = scope.scope("upstream.proxyprotocol.")
        self._tooLong = counters.counter("v2_tlvs_exceed_max_length")

    def encode(self, told: ProxyProtocolData | None, local: Address, peer: Address) -> bytes:
        """
        Write the header of a connection.

        @param told: Whose it is; L{None} for this proxy's own.
        @param local: This end of the connection.
        @param peer: The endpoint.
        """
        if self._version == 1:
            if told is None:
                ends = [(each.host, each.port) if each.port is not None else None for each in (local, peer)]
                return encodeV1(*ends)
            return encodeV1(told.source, told.destination)
        if told is None:
            return encodeV2(None, None)[0]
        passed = [tlv for tlv in told.tlvs if tlv[0] not in self._kinds and self._passes(tlv[0])]
        header, left = encodeV2(told.source, told.destination, [*self._added, *passed])
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
