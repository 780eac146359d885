# -*- test-case-name: tests.upstream.test_proxyheader -*-
"""
Which header of the PROXY protocol a connection to an upstream begins with (C{core.v3.ProxyProtocolConfig}).
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.codec.proxyprotocol import TLV, encodeV1, encodeV2
from meshproxy.config import Section
from meshproxy.net.address import Address
from meshproxy.net.proxyheader import ProxyProtocolData, compileTLVFilter

__all__ = ["OutgoingHeader", "compileTLVs", "typeOfTLV"]


def compileTLVs(sections: Sequence[Section]) -> tuple[TLV, ...]:
    """
    The TLVs of some C{TlvEntry} messages whose values are known beforehand.
    """
    found = []
    for section in sections:
        kind = typeOfTLV(section)
        if section.has("format_string"):
            section.refuse("what is formatted would tell of the connection to the upstream", "format_string")
        else:
            found.append((kind, section.get("value")))
    return tuple(found)


def typeOfTLV(section: Section) -> int:
    """
    The type that a C{TlvEntry} names.
    """
    kind: int = section.get("type")
    if kind > 255:
        section.refuse(f"{kind} is no type of a TLV: it has one byte", "type")
    return min(kind, 255)


class OutgoingHeader:
    """
    Writes headers.
    """

    def __init__(self, section: Section | None) -> None:
        """
        @param section: A C{ProxyProtocolConfig}; without one it is version 1, as in Envoy.
        """
        self._version = 1 if section is None or section.get("version") == "V1" else 2
        self._passes = compileTLVFilter(None if section is None else section.child("pass_through_tlvs"))
        self._added = () if section is None else compileTLVs(section.children("added_tlvs"))
        self._kinds = frozenset(kind for kind, _ in self._added)

    def encode(self, told: ProxyProtocolData | None, local: Address, peer: Address) -> tuple[bytes, int]:
        """
        Write the header of a connection.

        @param told: Whose it is; L{None} for this proxy's own.
        @param local: This end of the connection.
        @param peer: The endpoint.

        @return: The header, and how many TLVs there was no room for.
        """
        if self._version == 1:
            if told is None:
                ends = [(each.host, each.port) if each.port is not None else None for each in (local, peer)]
                return encodeV1(*ends), 0
            return encodeV1(told.source, told.destination), 0
        if told is None:
            return encodeV2(None, None)[0], 0
        passed = [tlv for tlv in told.tlvs if tlv[0] not in self._kinds and self._passes(tlv[0])]
        header, left = encodeV2(told.source, told.destination, [*self._added, *passed])
        return header, len(left)
