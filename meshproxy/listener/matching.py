# -*- test-case-name: tests.listener.test_matching -*-
"""
Which filter chain a connection gets.

The criteria of C{FilterChainMatch} are looked at in Envoy's order. Each narrows the chains to those that match it most
specifically; there is no way back: a chain that wins by its port and then fails by its server name leaves the
connection without a chain, even if another one without a port would have had the name.

Each criterion is one level of a tree, made when the listener is compiled; a connection costs one look-up a level,
however many chains there are. Levels that no chain uses do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.config.cidr import CidrRange, CidrSet, compileCidrRange, packAddress
from meshproxy.net.address import Address

__all__ = ["ChainMatch", "ConnectionFacts", "MatchRule", "compileMatch", "compileRule", "isLocal"]

Chain = TypeVar("Chain")


@dataclass(frozen=True, slots=True)
class MatchRule:
    """
    A C{FilterChainMatch}; an empty criterion matches whatever there is.
    """

    destinationPort: int | None = None
    prefixRanges: tuple[CidrRange, ...] = ()
    serverNames: tuple[str, ...] = ()
    transportProtocol: str = ""
    applicationProtocols: tuple[str, ...] = ()
    directSourcePrefixRanges: tuple[CidrRange, ...] = ()
    sourceType: str = "ANY"
    sourcePrefixRanges: tuple[CidrRange, ...] = ()
    sourcePorts: tuple[int, ...] = ()


@dataclass(slots=True)
class ConnectionFacts:
    """
    What the criteria are held against.
    """

    info: ConnectionInfo
    serverName: str = ""
    transportProtocol: str = "raw_buffer"
    applicationProtocols: Sequence[str] = field(default=())


Find = Callable[[ConnectionFacts], "Chain | None"]
_Rules = Sequence[tuple[MatchRule, Chain]]


def compileRule(section: Section | None) -> MatchRule:
    """
    Read a C{FilterChainMatch} message; none matches everything.
    """
    if section is None:
        return MatchRule()

    def ranges(name: str) -> tuple[CidrRange, ...]:
        found = (compileCidrRange(child) for child in section.children(name))
        return tuple(each for each in found if each is not None)

    names = tuple(name.lower() for name in section.scalars("server_names"))
    for number, name in enumerate(names):
        if "*" in name.removeprefix("*.") or name == "*.":
            section.refuse(
                f"{name!r} is neither a name nor a name behind '*.'; to match every name, leave server_names out",
                f"server_names[{number}]",
            )
    return MatchRule(
        destinationPort=section.wrapped("destination_port", None),
        prefixRanges=ranges("prefix_ranges"),
        serverNames=names,
        transportProtocol=section.get("transport_protocol"),
        applicationProtocols=tuple(section.scalars("application_protocols")),
        directSourcePrefixRanges=ranges("direct_source_prefix_ranges"),
        sourceType=section.get("source_type"),
        sourcePrefixRanges=ranges("source_prefix_ranges"),
        sourcePorts=tuple(section.scalars("source_ports")),
    )


class ChainMatch(Generic[Chain]):
    """
    The filter chains of a listener, ready to be chosen from.
    """

    def __init__(self, find: Find[Chain], default: Chain | None) -> None:
        """
        @param default: The C{default_filter_chain}.
        """
        self._find = find
        self._default = default

    def find(self, facts: ConnectionFacts) -> Chain | None:
        """
        The chain of a connection, or L{None} where it gets none.
        """
        found = self._find(facts)
        return self._default if found is None else found


def compileMatch(
    rules: _Rules[Chain], default: Chain | None, refuse: Callable[[Chain, Chain], object]
) -> ChainMatch[Chain]:
    """
    Make the tree.

    @param refuse: Is told of two chains that match the same connections.
    """
    find = _level(rules, 0, refuse)
    return ChainMatch(find, default)


def _level(rules: _Rules[Chain], number: int, refuse: Callable[[Chain, Chain], object]) -> Find[Chain]:
    if not rules:
        return _nothing
    if number == len(_LEVELS):
        first = rules[0][1]
        for _, other in rules[1:]:
            if other is not first:
                refuse(first, other)
        return lambda facts: first
    level: _Level[Chain] = _LEVELS[number]
    return level(rules, lambda some: _level(some, number + 1, refuse))


def _nothing(facts: ConnectionFacts) -> None:
    return None


Deeper = Callable[["_Rules[Chain]"], "Find[Chain]"]
_Level = Callable[["_Rules[Chain]", "Deeper[Chain]"], "Find[Chain]"]


def _split(
    rules: _Rules[Chain], values: Callable[[MatchRule], Sequence[object]], deeper: Deeper[Chain]
) -> tuple[dict[object, Find[Chain]], Find[Chain]]:
    """
    Group rules by the values of one criterion.

    @return: For each value what is left to decide, and the same for rules without the criterion.
    """
    groups: dict[object, list[tuple[MatchRule, Chain]]] = {}
    rest: list[tuple[MatchRule, Chain]] = []
    for rule, chain in rules:
        wanted = values(rule)
        for value in wanted:
            groups.setdefault(value, []).append((rule, chain))
        if not wanted:
            rest.append((rule, chain))
    return {value: deeper(some) for value, some in groups.items()}, deeper(rest)


def _byValue(
    values: Callable[[MatchRule], Sequence[object]], keyOf: Callable[[ConnectionFacts], object]
) -> Callable[[_Rules[Chain], Deeper[Chain]], Find[Chain]]:
    """
    A level of one exact value.
    """

    def level(rules: _Rules[Chain], deeper: Deeper[Chain]) -> Find[Chain]:
        groups, rest = _split(rules, values, deeper)
        if not groups:
            return rest
        return lambda facts: groups.get(keyOf(facts), rest)(facts)

    return level


def _byPrefix(
    values: Callable[[MatchRule], Sequence[object]], addressOf: Callable[[ConnectionFacts], Address | None]
) -> Callable[[_Rules[Chain], Deeper[Chain]], Find[Chain]]:
    """
    A level of address ranges, where the longest one wins.
    """

    def level(rules: _Rules[Chain], deeper: Deeper[Chain]) -> Find[Chain]:
        groups, rest = _split(rules, values, deeper)
        if not groups:
            return rest
        ranges = CidrSet(each for each in groups if isinstance(each, CidrRange))

        def find(facts: ConnectionFacts) -> Chain | None:
            address = addressOf(facts)
            packed = packAddress(address.host) if address is not None and address.isIP else None
            longest = None if packed is None else ranges.longestMatch(packed)
            return rest(facts) if longest is None else groups[longest](facts)

        return find

    return level


def _byServerName(rules: _Rules[Chain], deeper: Deeper[Chain]) -> Find[Chain]:
    """
    The level of server names: the whole name, else its longest suffix behind C{*.}.
    """
    groups, rest = _split(rules, lambda rule: rule.serverNames, deeper)
    if not groups:
        return rest

    def find(facts: ConnectionFacts) -> Chain | None:
        name = facts.serverName.lower()
        found = groups.get(name)
        # As in Envoy, a dot that is the first or the last character begins no suffix.
        dot = name.find(".", 1)
        while found is None and 0 < dot < len(name) - 1:
            found = groups.get("*" + name[dot:])
            dot = name.find(".", dot + 1)
        return (rest if found is None else found)(facts)

    return find


def _byApplicationProtocol(rules: _Rules[Chain], deeper: Deeper[Chain]) -> Find[Chain]:
    """
    The level of ALPN: the first of the client's protocols that any chain wants.
    """
    groups, rest = _split(rules, lambda rule: rule.applicationProtocols, deeper)
    if not groups:
        return rest

    def find(facts: ConnectionFacts) -> Chain | None:
        for name in facts.applicationProtocols:
            if name in groups:
                return groups[name](facts)
        return rest(facts)

    return find


def _bySourceType(rules: _Rules[Chain], deeper: Deeper[Chain]) -> Find[Chain]:
    """
    The level of C{source_type}.
    """
    groups, rest = _split(rules, lambda rule: () if rule.sourceType == "ANY" else (rule.sourceType,), deeper)
    if not groups:
        return rest

    def find(facts: ConnectionFacts) -> Chain | None:
        kind = "SAME_IP_OR_LOOPBACK" if isLocal(facts.info) else "EXTERNAL"
        return groups.get(kind, rest)(facts)

    return find


def isLocal(info: ConnectionInfo) -> bool:
    """
    Whether the client runs on this machine.
    """
    source, local = info.remoteAddress, info.localAddress
    if source is None or not source.isIP:
        return True
    # As in Envoy, the rest of 127.0.0.0/8 is another machine's.
    return source.host in ("127.0.0.1", "::1") or (local is not None and source.host == local.host)


def _portOf(address: Address | None) -> int | None:
    return None if address is None else address.port


# Envoy's order (config/listener/v3/listener_components.proto, FilterChainMatch).
_LEVELS: tuple[Callable[..., Any], ...] = (
    _byValue(
        lambda rule: () if rule.destinationPort is None else (rule.destinationPort,),
        lambda facts: _portOf(facts.info.localAddress),
    ),
    _byPrefix(lambda rule: rule.prefixRanges, lambda facts: facts.info.localAddress),
    _byServerName,
    _byValue(
        lambda rule: (rule.transportProtocol,) if rule.transportProtocol else (), lambda facts: facts.transportProtocol
    ),
    _byApplicationProtocol,
    _byPrefix(lambda rule: rule.directSourcePrefixRanges, lambda facts: facts.info.directRemoteAddress),
    _bySourceType,
    _byPrefix(lambda rule: rule.sourcePrefixRanges, lambda facts: facts.info.remoteAddress),
    _byValue(lambda rule: rule.sourcePorts, lambda facts: _portOf(facts.info.remoteAddress)),
)
