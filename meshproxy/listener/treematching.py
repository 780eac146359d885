# -*- test-case-name: tests.listener.test_treematching -*-
"""
Which filter chain a connection gets where a listener has a C{filter_chain_matcher}: a tree of conditions whose actions
name filter chains. What the chains themselves say of matching does not count then, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from meshproxy.config import Section
from meshproxy.config.matchertree import CompileInput, MatcherTree, Read, compileMatcherTree
from meshproxy.config.supported import declare
from meshproxy.listener.matching import ConnectionFacts, isLocal
from meshproxy.net.address import Address

if TYPE_CHECKING:
    from meshproxy.listener.filterchain import FilterChain

__all__ = ["CONNECTION_INPUTS", "TreeMatch", "compileTreeMatch"]

_INPUTS = "envoy.extensions.matching.common_inputs.network.v3."
_NAME = "google.protobuf.StringValue"

for _input in ("SourceTypeInput", "TransportProtocolInput", "ApplicationProtocolInput"):
    declare(_INPUTS + _input)


def _address(find: Callable[[ConnectionFacts], Address | None], part: str) -> CompileInput:
    def read(facts: ConnectionFacts) -> bytes | None:
        address = find(facts)
        if address is None or not address.isIP:
            return None
        return str(getattr(address, part)).encode("ascii")

    return lambda section: read


def _text(find: Callable[[ConnectionFacts], str]) -> CompileInput:
    def read(facts: ConnectionFacts) -> bytes | None:
        return find(facts).encode("utf-8") or None

    return lambda section: read


def _protocols(section: Section) -> Read:
    def read(facts: ConnectionFacts) -> bytes | None:
        # All of them in one value, as Envoy writes them.
        return ",".join(f"'{name}'" for name in facts.applicationProtocols).encode("utf-8") or None

    return read


#: What can be looked at in a connection that has no filter chain yet.
CONNECTION_INPUTS: Mapping[str, CompileInput] = {
    _INPUTS + "DestinationIPInput": _address(lambda facts: facts.info.localAddress, "host"),
    _INPUTS + "DestinationPortInput": _address(lambda facts: facts.info.localAddress, "port"),
    _INPUTS + "SourceIPInput": _address(lambda facts: facts.info.remoteAddress, "host"),
    _INPUTS + "SourcePortInput": _address(lambda facts: facts.info.remoteAddress, "port"),
    _INPUTS + "DirectSourceIPInput": _address(lambda facts: facts.info.directRemoteAddress, "host"),
    _INPUTS + "SourceTypeInput": _text(lambda facts: "local" if isLocal(facts.info) else ""),
    _INPUTS + "ServerNameInput": _text(lambda facts: facts.serverName),
    _INPUTS + "TransportProtocolInput": _text(lambda facts: facts.transportProtocol),
    _INPUTS + "ApplicationProtocolInput": _protocols,
}


class TreeMatch:
    """
    The filter chains of a listener, chosen from by a tree. It is what a
    L{ChainMatch<meshproxy.listener.matching.ChainMatch>} is.
    """

    def __init__(self, tree: MatcherTree, chains: Mapping[str, FilterChain], default: FilterChain | None) -> None:
        self._tree = tree
        self._chains = chains
        self._default = default

    def find(self, facts: ConnectionFacts) -> FilterChain | None:
        """
        The chain of a connection, or L{None} where it gets none. As in Envoy, the C{default_filter_chain} is for those
        that no condition holds for, and not for those whose chain is not there.
        """
        name = self._tree(facts)
        return self._default if name is None else self._chains.get(name)


def compileTreeMatch(section: Section, chains: Sequence[FilterChain], default: FilterChain | None) -> TreeMatch:
    """
    Compile a C{filter_chain_matcher}. Faults are told by C{refuse}.

    @param chains: The filter chains but for the default one.
    """
    named: dict[str, FilterChain] = {}
    for chain in chains:
        if not chain.name:
            chain.section.refuse("a filter chain needs a name where the listener has a filter_chain_matcher", "name")
        elif chain.name in named:
            chain.section.refuse(f"there are two filter chains of the name {chain.name!r}", "name")
        named[chain.name] = chain

    def compileAction(action: Section) -> str | None:
        held = action.any("typed_config")
        if held is None or held.typeName != _NAME:
            action.refuse(f"an action is the name of a filter chain, in a {_NAME}", "typed_config")
            return None
        name: str = held.message.value
        if name not in named:
            action.warn(f"there is no filter chain {name!r}: connections that come here are closed", "typed_config")
        return name

    return TreeMatch(compileMatcherTree(section, CONNECTION_INPUTS, compileAction), named, default)
