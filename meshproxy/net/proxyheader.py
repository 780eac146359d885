# -*- test-case-name: tests.net.test_proxyheader -*-
"""
What the PROXY protocol carries from a listener to an upstream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from meshproxy.codec.proxyprotocol import TLV
from meshproxy.config import Section

__all__ = ["PROXY_PROTOCOL_STATE", "ProxyProtocolData", "compileTLVFilter", "mergedTLVs", "toldOf"]

#: The key of the filter state, which is Envoy's.
PROXY_PROTOCOL_STATE = "envoy.network.proxy_protocol_options"

# In their order.
TLVs: TypeAlias = tuple[TLV, ...]


@dataclass(frozen=True, slots=True)
class ProxyProtocolData:
    """
    The header that a connection came with, or that it is to begin with.

    @ivar source: L{None}, as C{destination}, for what has no IP address.
    @ivar tlvs: Those of its TLVs that may be passed on.
    """

    # Nothing that an access log shows, as in Envoy.
    isShown: ClassVar[bool] = False

    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    tlvs: TLVs = ()


def toldOf(info: Any, tlvs: TLVs = (), policy: str = "ADD_IF_ABSENT") -> ProxyProtocolData:
    """
    What an upstream is to be told of a connection: what its own header said, or else its addresses.

    @param info: Its L{meshproxy.accesslog.streaminfo.ConnectionInfo}.
    @param tlvs: What to say beside its addresses.
    @param policy: What becomes of them where it came with a header: see L{mergedTLVs}.
    """
    state = info.filterState
    said = state.get(PROXY_PROTOCOL_STATE) if state else None
    if isinstance(said, ProxyProtocolData):
        if policy == "ADD_IF_ABSENT":
            return said
        return replace(said, tlvs=mergedTLVs(said.tlvs, tlvs, policy))
    source, destination = (
        (each.host, each.port) if each is not None and each.isIP else None
        for each in (info.remoteAddress, info.localAddress)
    )
    return ProxyProtocolData(source, destination, tlvs)


def mergedTLVs(said: TLVs, added: TLVs, policy: str) -> TLVs:
    """
    What is told where a connection came with TLVs and there are others to add.

    @param policy: A C{ProxyProtocolTlvMergePolicy} that adds them. C{OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD} lets them
        stand for those of the same type, and before the rest; C{APPEND_IF_EXISTS_OR_ADD} puts them behind.
    """
    if policy == "APPEND_IF_EXISTS_OR_ADD":
        return (*said, *added)
    kinds = {kind for kind, _ in added}
    return (*added, *(tlv for tlv in said if tlv[0] not in kinds))


def compileTLVFilter(section: Section | None) -> Callable[[int], bool]:
    """
    Which types of TLVs a C{ProxyProtocolPassThroughTLVs} lets pass; without the message none.
    """
    if section is None:
        return lambda kind: False
    if section.get("match_type") == "INCLUDE_ALL":
        return lambda kind: True
    wanted = frozenset(section.scalars("tlv_type"))
    return lambda kind: kind in wanted
