# -*- test-case-name: tests.xds.test_extensions -*-
"""
Filters whose configuration comes by ECDS (C{config_discovery}), of all kinds, and those that stand in the place of one
whose configuration is not there.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from meshproxy.config import Section
from meshproxy.config.pool import typeName
from meshproxy.config.registry import FoundFilter
from meshproxy.config.sources import compileSource
from meshproxy.flags import ResponseFlag
from meshproxy.headers import RequestHeaders
from meshproxy.http.context import FILTER_CONFIG, ProxyContext
from meshproxy.http.filter import Foreseen, HTTPFilter
from meshproxy.interfaces import IHTTPStream

__all__ = ["MISSING", "Missing", "MissingFilter", "MissingLastFilter", "findFilter", "typeOfFilter"]

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class Missing(Enum):
    """
    What there is in place of a filter whose configuration has not come.
    """

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def findFilter(proxy: ProxyContext, kind: str, item: Section) -> FoundFilter | Missing | None:
    """
    Find the filter of a C{HttpFilter}, a C{Filter} or a C{ListenerFilter}, by what it holds or by what came.

    @param kind: See L{FilterRegistry.find}.

    @return: L{MISSING} where nothing came, or nothing of the types that may come, and nothing is held in its place;
        L{None} where there is a fault, which is told.
    """
    discovery = item.child("config_discovery")
    if discovery is None:
        return proxy.registry.find(kind, item)
    if kind == "network" and _MANAGER in map(typeName, discovery.scalars("type_urls")):
        discovery.refuse("a connection manager comes with its listener", "type_urls")
        return None
    source = compileSource(discovery.child("config_source"), discovery, "config_source", proxy.secrets.hasStream)
    types = [typeName(url) for url in discovery.scalars("type_urls")]
    key = (source.path, item.get("name"))
    default = discovery.any("default_config")
    if default is not None and typeOfFilter(default) not in types:
        discovery.refuse(f"is {typeOfFilter(default)}; type_urls has {', '.join(types)}", "default_config")
        return None
    came = proxy.filterConfigs.get(key)
    config = None if came is None else came.any("typed_config")
    if config is not None and typeOfFilter(config) in types:
        return proxy.registry.findTyped(kind, config)
    if came is None and not (default is not None and discovery.get("apply_default_config_without_warming")):
        proxy.wait((FILTER_CONFIG, *key), source.timeout)
    return MISSING if default is None else proxy.registry.findTyped(kind, default)


def typeOfFilter(config: Section) -> str:
    """
    The type of what a filter is configured with: of a C{TypedStruct} the one that it stands for.
    """
    return typeName(config.get("type_url")) if config.typeName.endswith(".TypedStruct") else config.typeName


class MissingFilter(HTTPFilter):
    """
    Answers each request with 500.
    """

    shared = True

    @classmethod
    def compileConfig(cls, section: Section, context: Any) -> None:
        return None

    @classmethod
    def foresee(cls, config: Any, stream: IHTTPStream, headers: RequestHeaders) -> Foreseen:
        return Foreseen("its configuration comes by ECDS, and has not come", 500)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        return stream.reply(500, flags=ResponseFlag.NO_FILTER_CONFIG_FOUND)


class MissingLastFilter(MissingFilter):
    """
    The same where a chain ends.
    """

    terminal = True
