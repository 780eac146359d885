# -*- test-case-name: tests.listener.test_listener -*-
"""
A filter chain of a listener: its transport, the filters before the last one, and the last, which ends the chain.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol

from meshproxy.config import Section
from meshproxy.http.discoveredfilters import MISSING, findFilter
from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter
from meshproxy.listener.matching import MatchRule, compileRule
from meshproxy.listener.transports import compileTransport
from meshproxy.net.filter import ConnectionFilter, NetworkFilter, NetworkFilterContext, PassingFilter
from meshproxy.stats import Counter
from meshproxy.upstream.plain import metadataOf

__all__ = ["FilterChain"]


class _MissingFilter(PassingFilter):
    """
    Stands in the place of one whose configuration has not come, and closes each connection.
    """

    def __init__(self, missing: Counter) -> None:
        """
        @param missing: Counts them.
        """
        self._missing = missing

    def buildFilter(self, info: Any) -> INetworkFilter:
        """
        See L{PassingFilter.buildFilter}.
        """
        return _Closing(self._missing)


class _Closing(ConnectionFilter):
    def __init__(self, missing: Counter) -> None:
        self._missing = missing

    def connectionMade(self, connection: INetworkConnection) -> object:
        self._missing.value += 1
        connection.close()
        return STOP


class _MissingLastFilter(NetworkFilter):
    """
    Ends a chain where the configuration of its last filter has not come: no connection gets to it.
    """

    def __init__(self) -> None:
        pass

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        return Protocol()


class FilterChain:
    """
    A filter chain of a listener.

    @ivar name: Its name; may be empty.
    @ivar metadata: Its C{filter_metadata}, by namespace.
    @ivar key: What makes it the same chain after a reload, so that its connections live on: its name, what it matches,
        and by what it believes peers. Names alone may be shared; and who came in clear is not to stay where clients
        need a certificate now.
    @ivar fingerprint: The bytes of its configuration.
    @ivar transport: Makes the transports of its connections.
    @ivar filters: The filters before the terminal one.
    @ivar terminal: The filter that builds its connections' protocols.
    @ivar successor: The chain that took its place, and its connections, after a reload.
    """

    def __init__(self, section: Section, context: NetworkFilterContext, isDefault: bool = False) -> None:
        self.name: str = section.get("name")
        self.section = section
        self.metadata = metadataOf(section.childOrEmpty("metadata")) or None
        self.rule: MatchRule = compileRule(section.child("filter_chain_match"))
        self.fingerprint: bytes = section.message.SerializeToString(deterministic=True)
        self.filters: list[PassingFilter] = []
        self.terminal: NetworkFilter | None = None
        self.successor: FilterChain | None = None
        self.transport = compileTransport(section, context.proxy.secrets, context.listenerScope)
        self.key: object = (self.name, "default" if isDefault else self.rule, self.transport.trust)
        filters = section.children("filters")
        if not filters:
            section.refuse("a filter chain needs a network filter, such as envoy.filters.network.tcp_proxy", "filters")
        for number, item in enumerate(filters):
            self._compile(item, context, number == len(filters) - 1)

    @property
    def latest(self) -> FilterChain:
        """
        The chain that its connections belong to now.
        """
        chain = self
        while chain.successor is not None:
            chain = chain.successor
        return chain

    def _compile(self, item: Section, context: NetworkFilterContext, isLast: bool) -> None:
        found = findFilter(context.proxy, "network", item)
        if found is None:
            return
        if found is MISSING:
            self._standIn(context, isLast)
            return
        if issubclass(found.filterClass, PassingFilter):
            self.filters.append(found.filterClass(found.config, context))
            if isLast:
                item.refuse(
                    f"{item.get('name')!r} is not a terminal filter, and the last one must be, such as "
                    "envoy.filters.network.tcp_proxy"
                )
        elif not issubclass(found.filterClass, NetworkFilter):
            item.refuse(f"{found.filterClass.__qualname__} is no NetworkFilter")
        elif not isLast:
            item.refuse(f"{item.get('name')!r} is a terminal filter and must be the last one")
        else:
            self.terminal = found.filterClass(found.config, context)

    def _standIn(self, context: NetworkFilterContext, isLast: bool) -> None:
        """
        Close connections where the configuration of a filter has not come.
        """
        missing = context.listenerScope.counter("network_extension_config_missing")
        if isLast:
            self.terminal = _MissingLastFilter()
        self.filters.append(_MissingFilter(missing))

    def stop(self) -> None:
        """
        Give up what the filters hold.
        """
        for each in self.filters:
            each.stop()
        if self.terminal is not None:
            self.terminal.stop()
        self.transport.stop()
