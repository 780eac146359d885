# -*- test-case-name: tests.filters.network.test_set_filter_state -*-
"""
C{envoy.filters.network.set_filter_state}: shares values of a new connection with the filters behind, as filter state.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from meshproxy.accesslog import Formatter, StreamInfo
from meshproxy.accesslog.logs import compileFormatString
from meshproxy.config import Section
from meshproxy.config.supported import declare, only
from meshproxy.interfaces import INetworkConnection, INetworkFilter
from meshproxy.net.filter import ConnectionFilter, NetworkFilterContext, PassingFilter
from meshproxy.routing.hashing import HashableText
from meshproxy.upstream.tcpsession import PER_CONNECTION_CLUSTER
from meshproxy.upstream.tunneling import DISABLE_TUNNELING

__all__ = ["SetFilterState", "SharedValue", "SharingConnection"]

_MESSAGE = "envoy.extensions.filters.network.set_filter_state.v3.Config"
_VALUE = "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue"

declare(_MESSAGE, "on_new_connection")
declare(_VALUE, "object_key", "factory_key", "format_string", "skip_if_empty")
only(_VALUE, "read_only", False)
only(_VALUE, "shared_with_upstream", "NONE")

# What objects can be made from text, by the names of Envoy's factories for them.
_HASHABLE: Final = "envoy.hashable_string"
_FACTORIES: Final = ("envoy.string", _HASHABLE, PER_CONNECTION_CLUSTER, DISABLE_TUNNELING)


class SharedValue(NamedTuple):
    """
    One value.

    @ivar key: Its key in the filter state.
    @ivar isOptional: Whether an empty one is left out.
    @ivar kind: What text becomes.
    """

    key: str
    make: Formatter
    isOptional: bool
    kind: type[str] = str


class SetFilterState(PassingFilter):
    """
    The network filter.

    @ivar values: What is shared, in order.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        PassingFilter.__init__(self, section, context)
        self.values: tuple[SharedValue, ...] = tuple(map(_compile, section.children("on_new_connection")))

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        See L{PassingFilter.buildFilter}.
        """
        return SharingConnection(self.values) if self.values else None


def _compile(section: Section) -> SharedValue:
    key: str = section.get("object_key")
    factory: str = section.get("factory_key") or key
    if factory not in _FACTORIES:
        field = "factory_key" if section.get("factory_key") else "object_key"
        section.refuse(f"no object is made by {factory!r}; there are {', '.join(_FACTORIES)}", field, _FACTORIES)
    made = compileFormatString(section.childOrEmpty("format_string"))
    return SharedValue(key, made, section.get("skip_if_empty"), HashableText if factory == _HASHABLE else str)


class SharingConnection(ConnectionFilter):
    """
    One connection.
    """

    def __init__(self, values: tuple[SharedValue, ...]) -> None:
        self._values = values

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        info = connection.info
        record = StreamInfo()
        record.connection = info
        for value in self._values:
            # What was shared before may be in the next value.
            record.filterState = info.filterState
            text = value.make.format(record)
            if text or not value.isOptional:
                info.setState(value.key, value.kind(text))
        return None
