# -*- test-case-name: tests.admin.explain.test_chains -*-
"""
Why a filter chain is not the one.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshproxy.admin.explain.place import placeOf
from meshproxy.config.cidr import compileCidrSet
from meshproxy.config.section import Section
from meshproxy.listener.matching import ConnectionFacts, isLocal
from meshproxy.net.address import Address

__all__ = ["chainMisses"]


def chainMisses(chain: Section, facts: ConnectionFacts, listener: Section | None = None) -> list[dict[str, str]]:
    """
    The criteria of a chain that do not hold, in Envoy's order; if all do, that another chain is nearer.

    @param listener: Its listener, which may choose by other means.
    """
    if listener is not None and listener.has("filter_chain_matcher"):
        at = placeOf(listener, "filter_chain_matcher")
        return [_told("filter_chain_matcher", "", "the filter_chain_matcher leads elsewhere", at)]
    match = chain.child("filter_chain_match")
    missed = [] if match is None else list(_missed(match, facts))
    if not missed:
        why = "it is for what no other chain matches" if match is None else "another chain matches more specifically"
        missed.append(_told("filter_chain_match", "", why, placeOf(chain)))
    return missed


def _told(what: str, wanted: str, actual: str, at: str) -> dict[str, str]:
    return {"what": what, "wanted": wanted, "actual": actual, "at": at}


def _missed(match: Section, facts: ConnectionFacts) -> Iterator[dict[str, str]]:
    info = facts.info
    local, direct, remote = info.localAddress, info.directRemoteAddress, info.remoteAddress
    port = match.wrapped("destination_port", None)
    if port is not None and (local is None or local.port != port):
        yield _criterion(match, "destination_port", str(port), _text(local))
    yield from _ranges(match, "prefix_ranges", local)
    names = [name.lower() for name in match.scalars("server_names")]
    if names and not any(_isFor(name, facts.serverName.lower()) for name in names):
        yield _criterion(match, "server_names", ", ".join(names), facts.serverName or "none")
    transport: str = match.get("transport_protocol")
    if transport and transport != facts.transportProtocol:
        yield _criterion(match, "transport_protocol", transport, facts.transportProtocol)
    protocols = match.scalars("application_protocols")
    if protocols and not set(protocols) & set(facts.applicationProtocols):
        actual = ", ".join(facts.applicationProtocols) or "none"
        yield _criterion(match, "application_protocols", ", ".join(protocols), actual)
    yield from _ranges(match, "direct_source_prefix_ranges", direct)
    kind: str = match.get("source_type")
    if kind != "ANY" and (kind == "SAME_IP_OR_LOOPBACK") is not isLocal(info):
        yield _criterion(match, "source_type", kind, _text(remote))
    yield from _ranges(match, "source_prefix_ranges", remote)
    ports = match.scalars("source_ports")
    if ports and (remote is None or remote.port not in ports):
        yield _criterion(match, "source_ports", ", ".join(map(str, ports)), _text(remote))


def _criterion(match: Section, field: str, wanted: str, actual: str) -> dict[str, str]:
    return _told(field, wanted, actual, placeOf(match, field))


def _ranges(match: Section, field: str, address: Address | None) -> Iterator[dict[str, str]]:
    sections = match.children(field)
    if sections and (address is None or not compileCidrSet(sections).containsText(address.host)):
        wanted = ", ".join(f"{each.get('address_prefix')}/{each.wrapped('prefix_len', 0)}" for each in sections)
        yield _criterion(match, field, wanted, "none" if address is None else address.host)


def _isFor(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) and len(name) >= len(pattern) if pattern.startswith("*.") else name == pattern


def _text(address: Address | None) -> str:
    return "none" if address is None else address.text
