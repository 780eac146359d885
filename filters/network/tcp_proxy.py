# -*- test-case-name: tests.filters.network.test_tcp_proxy -*-
"""
C{envoy.filters.network.tcp_proxy}: passes bytes on to an endpoint of a cluster. The engine is
L{meshproxy.upstream.tcp}.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from twisted.internet.interfaces import IProtocol

from meshproxy.accesslog.formatter import compileFormat
from meshproxy.accesslog.logs import checkFormatters, compileAccessLogs, compileFormatString
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.codec.proxyprotocol import TLV
from meshproxy.config import Section
from meshproxy.config.near import didYouMean, near
from meshproxy.config.supported import accept, declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.requestids import checkRequestIds, newRequestId
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext
from meshproxy.net.outgoingheader import compileTLVs, typeOfTLV
from meshproxy.routing.mutations import compileHeaderOptions
from meshproxy.routing.xxhash64 import xxhash64
from meshproxy.stats import Scope, statName
from meshproxy.upstream.ondemand import compileOnDemand
from meshproxy.upstream.plain import metadataOf
from meshproxy.upstream.tcp import Backoff, OnDemand, TCPProxy, TCPRoute, TCPSettings
from meshproxy.upstream.tcpstats import OnDemandStats, TCPStats
from meshproxy.upstream.tunneling import TunnelSettings

__all__ = ["TCPProxyFilter"]

_MESSAGE = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"

declare(_MESSAGE, "stat_prefix", "cluster", "weighted_clusters", "idle_timeout", "max_downstream_connection_duration")
declare(_MESSAGE, "max_connect_attempts", "backoff_options", "access_log", "access_log_options")
declare(_MESSAGE, "access_log_flush_interval", "flush_access_log_on_connected")
declare(_MESSAGE + ".WeightedCluster", "clusters")
declare(_MESSAGE + ".WeightedCluster.ClusterWeight", "name", "weight")
declare(_MESSAGE + ".TcpAccessLogOptions", "access_log_flush_interval", "flush_access_log_on_connected")
declare(_MESSAGE + ".TcpAccessLogOptions", "flush_access_log_on_start")
for _field in ("downstream_idle_timeout", "upstream_idle_timeout"):
    accept(_MESSAGE, _field, "Envoy does not heed it either")
declare(_MESSAGE, "metadata_match", "hash_policy", "max_downstream_connection_duration_jitter_percentage")
declare(_MESSAGE, "proxy_protocol_tlv_merge_policy", "check_drain_close")
declare(_MESSAGE, "proxy_protocol_tlvs", "upstream_connect_mode", "max_early_data_bytes")
declare(_MESSAGE + ".WeightedCluster.ClusterWeight", "metadata_match")
_TUNNEL = _MESSAGE + ".TunnelingConfig"
declare(_MESSAGE, "tunneling_config")
declare(_TUNNEL, "formatters", "hostname", "use_post", "post_path", "headers_to_add", "propagate_response_headers")
declare(_TUNNEL, "propagate_response_trailers", "request_id_extension", "request_id_header", "request_id_metadata_key")
declare("envoy.type.v3.HashPolicy", "source_ip", "filter_state")
declare("envoy.type.v3.HashPolicy.SourceIp")
declare("envoy.type.v3.HashPolicy.FilterState", "key")
declare(_MESSAGE, "on_demand")
declare(_MESSAGE + ".OnDemand", "odcds_config", "timeout")
declare("envoy.config.core.v3.BackoffStrategy", "base_interval", "max_interval")


class TCPProxyFilter(NetworkFilter):
    """
    The network filter for bytes.

    As in Envoy its connections live on while it drains, until they end or the time to drain is over, unless
    C{check_drain_close} is set.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        self._logs = compileAccessLogs(section.children("access_log"), context.proxy.logs)
        self._scope = context.store.scope(f"tcp.{statName(section.get('stat_prefix'))}.")
        self._proxy = TCPProxy(
            _compileSettings(section, context, self._scope),
            TCPStats(self._scope),
            context.proxy.clusters.byName,
            context.clock,
            context.random,
            self._logs,
        )

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        return self._proxy.buildSession(info).downstream

    def turnedAway(self, info: Any) -> None:
        """
        See L{NetworkFilter.turnedAway}: as in Envoy, the connection is counted and logged all the same.
        """
        self._proxy.logTurnedAway(info)

    def succeed(self, old: NetworkFilter) -> None:
        """
        See L{NetworkFilter.succeed}.
        """
        if isinstance(old, TCPProxyFilter):
            self._proxy.succeed(old._proxy)

    def drain(self) -> None:
        """
        See L{NetworkFilter.drain}.
        """
        self._proxy.closeGently(True)

    def closeGently(self, closing: bool) -> None:
        """
        See L{NetworkFilter.closeGently}.
        """
        self._proxy.closeGently(closing)

    def stop(self) -> None:
        """
        See L{NetworkFilter.stop}.
        """
        self._logs.close()
        self._scope.close()


def _compileSettings(section: Section, context: NetworkFilterContext, scope: Scope) -> TCPSettings:
    idle = section.seconds("idle_timeout", 3600.0)
    logs = section.childOrEmpty("access_log_options")
    jitter = section.childOrEmpty("max_downstream_connection_duration_jitter_percentage")
    attempts: int = section.wrapped("max_connect_attempts", 1)
    onDemand = _compileOnDemand(section.child("on_demand"), context, scope)
    return TCPSettings(
        chooseRoute=_compileRoutes(section, context, onDemand is None),
        hashPolicy=_compileHashPolicy(section.children("hash_policy")),
        idleTimeout=idle or 0.0,
        maxDuration=section.seconds("max_downstream_connection_duration", 0.0) or 0.0,
        maxDurationJitter=jitter.get("value") / 100,
        tlvs=_compileTLVs(section.children("proxy_protocol_tlvs")),
        tlvPolicy=section.get("proxy_protocol_tlv_merge_policy"),
        closesToDrain=section.wrapped("check_drain_close", False),
        earlyData=_compileEarlyData(section),
        maxConnectAttempts=attempts,
        backoff=_compileBackoff(section.child("backoff_options")),
        logInterval=logs.seconds("access_log_flush_interval", None)
        or section.seconds("access_log_flush_interval", 0.0)
        or 0.0,
        logOnConnected=logs.get("flush_access_log_on_connected") or section.get("flush_access_log_on_connected"),
        logOnStart=logs.get("flush_access_log_on_start"),
        tunnel=_compileTunnel(section.child("tunneling_config")),
        onDemand=onDemand,
    )


def _compileOnDemand(section: Section | None, context: NetworkFilterContext, scope: Scope) -> OnDemand | None:
    """
    What is done where a cluster is not there.
    """
    if section is None or not section.has("odcds_config"):
        return None
    clusters = context.proxy.clusters
    timeout = compileOnDemand(section, "odcds_config", clusters.assignments.hasSource, 60.0)
    return OnDemand(lambda name: clusters.onDemand.ask(name, timeout), OnDemandStats(scope))


def _compileTLVs(sections: Sequence[Section]) -> Callable[[StreamInfo], tuple[TLV, ...]] | None:
    """
    What gives the TLVs of a connection: those with a value, and behind them those with a format, as in Envoy.
    """
    for each in sections:
        if each.has("format_string") and each.get("value"):
            each.refuse("only one of value and format_string may be set", "format_string")
        elif not each.has("format_string") and not each.get("value"):
            each.refuse("value must have a byte at least, or format_string be set", "value")
    known = compileTLVs([each for each in sections if not each.has("format_string")])
    formats = [(typeOfTLV(each), each.child("format_string")) for each in sections if each.has("format_string")]
    made = [(kind, compileFormatString(child).formatBytes) for kind, child in formats if child is not None]
    if not made:
        return (lambda record: known) if known else None

    def tell(record: StreamInfo) -> tuple[TLV, ...]:
        return (*known, *((kind, write(record)) for kind, write in made))

    return tell


def _compileTunnel(section: Section | None) -> TunnelSettings | None:
    if section is None:
        return None
    checkFormatters(section)
    usesPost, path = section.get("use_post"), section.get("post_path")
    if path and not usesPost:
        section.refuse("has no meaning without use_post", "post_path")
    return TunnelSettings(
        hostname=compileFormat(section.get("hostname"), section, "hostname").formatBytes,
        postPath=(path or "/").encode("utf-8") if usesPost else b"",
        finalize=compileHeaderOptions(section, "headers_to_add"),
        requestId=_compileRequestId(section),
        keepsHeaders=section.get("propagate_response_headers"),
        keepsTrailers=section.get("propagate_response_trailers"),
    )


def _compileRequestId(section: Section) -> Callable[[RequestHeaders, StreamInfo], None] | None:
    """
    What gives each request an id, and notes it as dynamic metadata of the connection.
    """
    extension = section.child("request_id_extension")
    if extension is None:
        for field in ("request_id_header", "request_id_metadata_key"):
            if section.get(field):
                section.refuse("has no meaning without request_id_extension", field)
        return None
    checkRequestIds(extension)
    name = (section.get("request_id_header") or "x-request-id").lower().encode("utf-8")
    key = section.get("request_id_metadata_key") or "tunnel_request_id"

    def give(headers: RequestHeaders, record: StreamInfo) -> None:
        made = newRequestId()
        headers.set(name, made)
        record.connection.note("envoy.filters.network.tcp_proxy", key, made.decode("ascii"))

    return give


def _compileEarlyData(section: Section) -> int:
    """
    How much to read before the upstream is connected. When a connection comes to this filter its TLS handshake is over:
    C{ON_DOWNSTREAM_TLS_HANDSHAKE} is nothing special here.
    """
    mode, most = section.get("upstream_connect_mode"), section.wrapped("max_early_data_bytes", None)
    if mode != "IMMEDIATE" and most is None:
        section.refuse("must be set when upstream_connect_mode is not IMMEDIATE", "max_early_data_bytes")
    return max(most or 0, 1) if mode == "ON_DOWNSTREAM_DATA" else 0


def _compileBackoff(section: Section | None) -> Backoff | None:
    if section is None:
        return None
    base = section.seconds("base_interval", 0.0) or 0.0
    most = section.seconds("max_interval", None)
    if most is None:
        most = 10 * base
    elif most < base:
        section.refuse("must be greater than or equal to base_interval", "max_interval")
    return Backoff(base, most)


def _compileRoutes(section: Section, context: NetworkFilterContext, warns: bool) -> Callable[[], TCPRoute]:
    """
    What gives the cluster of the next connection, and the labels its endpoint must have.

    @param warns: Whether to warn of clusters that are not there.
    """
    labels = _labels(section)
    weighted = section.child("weighted_clusters")
    if weighted is None:
        name: str = section.get("cluster")
        if warns:
            _warnOfUnknown(section, "cluster", name, context)
        only = TCPRoute(name, labels)
        return lambda: only
    entries = weighted.children("clusters")
    routes = [TCPRoute(entry.get("name"), {**labels, **_labels(entry)}) for entry in entries]
    for entry, each in zip(entries, routes, strict=True):
        if warns:
            _warnOfUnknown(entry, "name", each.cluster, context)
    if len(routes) == 1:
        return lambda: routes[0]
    bounds = list(accumulate(entry.get("weight") for entry in entries))
    total = bounds[-1] if bounds else 0
    random = context.random
    return lambda: routes[bisect_right(bounds, random() * total)]


def _labels(section: Section) -> dict[str, object]:
    match = section.child("metadata_match")
    return {} if match is None else metadataOf(match).get("envoy.lb", {})


def _compileHashPolicy(sections: Sequence[Section]) -> Callable[[ConnectionInfo], int | None] | None:
    """
    What connections are alike; the message takes one policy.
    """
    if not sections:
        return None
    state = sections[0].child("filter_state")
    if state is None:
        return _hashSource
    key: str = state.get("key")

    def hashState(info: ConnectionInfo) -> int | None:
        held = (info.filterState or {}).get(key)
        return xxhash64(held.encode("utf-8", "surrogateescape")) if isinstance(held, str) else None

    return hashState


def _hashSource(info: ConnectionInfo) -> int | None:
    address = info.remoteAddress
    return xxhash64(address.host.encode()) if address is not None and address.isIP else None


def _warnOfUnknown(section: Section, field: str, name: str, context: NetworkFilterContext) -> None:
    # As in Envoy it is no fault: the cluster may come later. Until then connections are closed (NC).
    if name not in context.proxy.clusterNames:
        section.warn(f"there is no cluster {name!r}{didYouMean(near(name, context.proxy.clusterNames))}", field)
