# -*- test-case-name: tests.filters.network.test_tcp_proxy -*-
"""
C{envoy.filters.network.tcp_proxy}: passes bytes on to an endpoint of a cluster. The engine is
L{meshproxy.upstream.tcp}.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from twisted.internet.interfaces import IProtocol

from meshproxy.accesslog.logs import compileAccessLogs
from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext
from meshproxy.stats import statName
from meshproxy.upstream.tcp import Backoff, TCPProxy, TCPSettings
from meshproxy.upstream.tcpstats import TCPStats

__all__ = ["TCPProxyFilter"]

_MESSAGE = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"

declare(_MESSAGE, "stat_prefix", "cluster", "weighted_clusters", "idle_timeout", "max_downstream_connection_duration")
declare(_MESSAGE, "max_connect_attempts", "backoff_options", "access_log", "access_log_options")
declare(_MESSAGE, "access_log_flush_interval", "flush_access_log_on_connected")
declare(_MESSAGE + ".WeightedCluster", "clusters")
declare(_MESSAGE + ".WeightedCluster.ClusterWeight", "name", "weight")
declare(_MESSAGE + ".TcpAccessLogOptions", "access_log_flush_interval", "flush_access_log_on_connected")
declare("envoy.config.core.v3.BackoffStrategy", "base_interval", "max_interval")


class TCPProxyFilter(NetworkFilter):
    """
    The network filter for bytes.

    There is nothing to do to drain it: as in Envoy, its connections live on until they end, or the time to drain is
    over.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        self._logs = compileAccessLogs(section.children("access_log"), context.proxy.logs)
        self._scope = context.store.scope(f"tcp.{statName(section.get('stat_prefix'))}.")
        self._proxy = TCPProxy(
            _compileSettings(section, context),
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

    def stop(self) -> None:
        """
        See L{NetworkFilter.stop}.
        """
        self._logs.close()
        self._scope.close()


def _compileSettings(section: Section, context: NetworkFilterContext) -> TCPSettings:
    idle = section.seconds("idle_timeout", 3600.0)
    logs = section.childOrEmpty("access_log_options")
    attempts: int = section.wrapped("max_connect_attempts", 1)
    return TCPSettings(
        chooseCluster=_compileClusters(section, context),
        idleTimeout=idle or 0.0,
        maxDuration=section.seconds("max_downstream_connection_duration", 0.0) or 0.0,
        maxConnectAttempts=attempts,
        backoff=_compileBackoff(section.child("backoff_options")),
        logInterval=logs.seconds("access_log_flush_interval", None)
        or section.seconds("access_log_flush_interval", 0.0)
        or 0.0,
        logOnConnected=logs.get("flush_access_log_on_connected") or section.get("flush_access_log_on_connected"),
    )


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


def _compileClusters(section: Section, context: NetworkFilterContext) -> Callable[[], str]:
    """
    What names the cluster of the next connection.
    """
    weighted = section.child("weighted_clusters")
    if weighted is None:
        name: str = section.get("cluster")
        _warnOfUnknown(section, "cluster", name, context)
        return lambda: name
    entries = weighted.children("clusters")
    names = [entry.get("name") for entry in entries]
    for entry, each in zip(entries, names, strict=True):
        _warnOfUnknown(entry, "name", each, context)
    if len(names) == 1:
        return lambda: names[0]
    bounds = list(accumulate(entry.get("weight") for entry in entries))
    total = bounds[-1] if bounds else 0
    random = context.random
    return lambda: names[bisect_right(bounds, random() * total)]


def _warnOfUnknown(section: Section, field: str, name: str, context: NetworkFilterContext) -> None:
    # As in Envoy it is no fault: the cluster may come later. Until then connections are closed (NC).
    if name not in context.proxy.clusterNames:
        section.warn(f"there is no cluster {name!r}", field)
