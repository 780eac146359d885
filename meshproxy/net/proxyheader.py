# -*- test-case-name: tests.net.test_proxyheader -*-
"""
What the PROXY protocol carries from a listener to an upstream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshproxy.config import Section
from meshproxy.config.supported import declare

__all__ = ["PROXY_PROTOCOL_STATE", "ProxyProtocolData", "compileTLVFilter"]

declare("envoy.config.core.v3.ProxyProtocolPassThroughTLVs", "match_type", "tlv_type")

#: The key of the filter state, which is Envoy's.
PROXY_PROTOCOL_STATE = "envoy.network.proxy_protocol_options"


@dataclass(frozen=True, slots=True)
class ProxyProtocolData:
    """
    The header that a connection came with.

    @ivar tlvs: Those of its TLVs that may be passed on.
    """

    source: tuple[str, int]
    destination: tuple[str, int]
    tlvs: tuple[tuple[int, bytes], ...] = ()


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
