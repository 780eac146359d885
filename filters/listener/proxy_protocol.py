# -*- test-case-name: tests.filters.listener.test_proxy_protocol -*-
"""
C{envoy.filters.listener.proxy_protocol}: takes the addresses of a connection from the header that a proxy before this
one put in front of it.
"""

from __future__ import annotations

from typing import NamedTuple

from meshproxy.codec.proxyprotocol import LONGEST_HEADER, ProxyHeader, mayBegin, parseProxyHeader, versionOf
from meshproxy.config import Section
from meshproxy.config.supported import declare, only
from meshproxy.errors import RemoteProtocolError
from meshproxy.interfaces import MORE, IIncomingConnection
from meshproxy.net.address import Address
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext
from meshproxy.net.proxyheader import PROXY_PROTOCOL_STATE, ProxyProtocolData, compileTLVFilter, toldOf
from meshproxy.stats import Scope, statName
from meshproxy.stats.metrics import Counter

__all__ = ["ProxyProtocol"]

_MESSAGE = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"

declare(_MESSAGE, "rules", "allow_requests_without_proxy_protocol", "pass_through_tlvs", "disallowed_versions")
declare(_MESSAGE, "stat_prefix")
declare(_MESSAGE + ".Rule", "tlv_type", "on_tlv_present")
declare(_MESSAGE + ".KeyValuePair", "metadata_namespace", "key")
only(_MESSAGE, "tlv_location", "DYNAMIC_METADATA")

_NAMESPACE = "envoy.filters.listener.proxy_protocol"


class _VersionCounters(NamedTuple):
    """
    What is counted of a version.
    """

    found: Counter
    disallowed: Counter
    error: Counter


def _versionCounters(scope: Scope) -> _VersionCounters:
    return _VersionCounters(scope.counter("found"), scope.counter("disallowed"), scope.counter("error"))


class ProxyProtocol(ListenerFilter):
    """
    The listener filter.
    """

    configType = _MESSAGE
    maxBytes = LONGEST_HEADER

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        self._isOptional: bool = section.get("allow_requests_without_proxy_protocol")
        disallowed = {{"V1": 1, "V2": 2}[name] for name in section.scalars("disallowed_versions")}
        self._versions = tuple(version for version in (1, 2) if version not in disallowed)
        self._rules: dict[int, tuple[str, str]] = {}
        for rule in section.children("rules"):
            pair = rule.child("on_tlv_present")
            if pair is not None:
                self._rules[rule.get("tlv_type")] = (pair.get("metadata_namespace") or _NAMESPACE, pair.get("key"))
        self._passes = compileTLVFilter(section.child("pass_through_tlvs"))
        prefix = section.get("stat_prefix")
        scope = self._scope = context.store.scope(f"proxy_proto.{statName(prefix) + '.' if prefix else ''}")
        # Envoy's name for the sum of all errors has no prefix.
        self._root = context.store.scope()
        self._errors = self._root.counter("downstream_cx_proxy_proto_error")
        self._notFoundAllowed = scope.counter("not_found_allowed")
        self._notFoundDisallowed = scope.counter("not_found_disallowed")
        self._counters = {version: _versionCounters(scope.scope(f"versions.v{version}.")) for version in (1, 2)}

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        if self._isOptional and not any(mayBegin(data, version) for version in self._versions):
            self._notFoundAllowed.value += 1
            return None
        version = versionOf(data)
        if version and version not in self._versions:
            counters = self._counters[version]
            counters.found.value += 1
            counters.disallowed.value += 1
            connection.close()
            return None
        try:
            header = parseProxyHeader(data)
        except RemoteProtocolError:
            self._refused(connection, version)
            return None
        if header is None:
            return MORE
        self._counters[version].found.value += 1
        connection.consume(header.size)
        if header.source is not None:
            self._take(connection, header)
        connection.info.setState(PROXY_PROTOCOL_STATE, self._told(connection, header))
        return None

    def _refused(self, connection: IIncomingConnection, version: int) -> None:
        if version:
            self._counters[version].error.value += 1
        else:
            self._notFoundDisallowed.value += 1
        self._errors.value += 1
        connection.close()

    def _take(self, connection: IIncomingConnection, header: ProxyHeader) -> None:
        """
        Believe a header.
        """
        info = connection.info
        assert header.source is not None and header.destination is not None
        info.remoteAddress = Address(*header.source)
        info.localAddress = Address(*header.destination)
        # Of several of one type the first counts.
        for kind, value in reversed(header.tlvs):
            if kind in self._rules:
                info.note(*self._rules[kind], value.decode("utf-8", "replace").replace("\ufffd", "!"))

    def _told(self, connection: IIncomingConnection, header: ProxyHeader) -> ProxyProtocolData:
        """
        What an upstream may be told.
        """
        told = toldOf(connection.info)
        passed = tuple(tlv for tlv in header.tlvs if self._passes(tlv[0]))
        return ProxyProtocolData(told.source, told.destination, passed)

    def stop(self) -> None:
        """
        See L{IListenerFilter.stop}.
        """
        self._scope.close()
        self._root.close()
