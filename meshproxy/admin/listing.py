# -*- test-case-name: tests.admin.test_listing -*-
"""
C{/clusters} and C{/listeners}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import re2

from meshproxy.admin.addresses import addressMessage
from meshproxy.admin.commands import AdminRequest, AdminResponse, Lazy, jsonResponse
from meshproxy.admin.messages import dictOf
from meshproxy.admin.served import Served
from meshproxy.config.pool import newMessage
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthflags import HealthFlag, flagsText

__all__ = ["clusterList", "healthFlags", "listenerList"]

# What C{HostHealthStatus} calls them.
_HEALTH_FIELDS = (
    (HealthFlag.FAILED_ACTIVE_HC, "failed_active_health_check"),
    (HealthFlag.FAILED_OUTLIER_CHECK, "failed_outlier_check"),
    (HealthFlag.DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
    (HealthFlag.PENDING_DYNAMIC_REMOVAL, "pending_dynamic_removal"),
    (HealthFlag.PENDING_ACTIVE_HC, "pending_active_hc"),
    (HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "excluded_via_immediate_hc_fail"),
    (HealthFlag.ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
)

# Limits, by the names of the circuit breakers' configuration.
_LIMITS = (
    ("max_connections", "connections"),
    ("max_pending_requests", "pending"),
    ("max_requests", "requests"),
    ("max_retries", "retries"),
)


def healthFlags(endpoint: Endpoint) -> str:
    """
    Why an endpoint is not wholly healthy, or C{healthy}.
    """
    return flagsText(endpoint.allFlags)


def clusterList(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/clusters}.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(request.parameters.get("filter", ""), options).search
    except re2.error:
        return AdminResponse("Invalid re2 regex", 400)
    clusters = [cluster for cluster in server.clusters if search(cluster.name) is not None]
    if request.parameters.get("format") != "json":
        return AdminResponse(_clusterText(clusters))
    return jsonResponse({"cluster_statuses": _lazyClusters(clusters)} if clusters else {})


def _clusterText(clusters: list[Cluster]) -> Iterator[str]:
    for cluster in clusters:
        yield "".join(f"{cluster.name}::{line}\n" for line in _clusterLines(cluster))


def _clusterLines(cluster: Cluster) -> Iterator[str]:
    yield f"observability_name::{cluster.statName}"
    if cluster.outliers is not None:
        for prefix, rates in (("", cluster.outliers.rates), ("local_origin_", cluster.outliers.localRates)):
            yield f"outlier::{prefix}success_rate_average::{rates.average:g}"
            yield f"outlier::{prefix}success_rate_ejection_threshold::{rates.threshold:g}"
    for priority, breaker in (("default", cluster.breakers.default), ("high", cluster.breakers.high)):
        for name, attribute in _LIMITS:
            yield f"{priority}_priority::{name}::{getattr(breaker, attribute).limit}"
    yield f"added_via_api::{str(cluster.addedViaAPI).lower()}"
    for endpoint in cluster.endpoints:
        address = endpoint.address.text
        for name, value in _endpointFacts(endpoint):
            yield f"{address}::{name}::{value}"


def _figures(endpoint: Endpoint) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """
    An endpoint's counters, and its gauges.
    """
    counters = [(counter.name, counter.value) for counter in endpoint.counters]
    gauges = [
        ("cx_active", endpoint.cxActive.value),
        ("rq_active", endpoint.active),
        ("rq_pending_active", endpoint.pending),
    ]
    return counters, gauges


def _endpointFacts(endpoint: Endpoint) -> Iterator[tuple[str, object]]:
    counters, gauges = _figures(endpoint)
    for name, value in sorted(counters + gauges):
        yield name, int(value)
    yield "hostname", endpoint.hostname
    yield "health_flags", healthFlags(endpoint)
    yield "weight", endpoint.weight
    yield "region", endpoint.locality.region
    yield "zone", endpoint.locality.zone
    yield "sub_zone", endpoint.locality.subZone
    canary = (endpoint.metadata or {}).get("envoy.lb", {}).get("canary") is True
    yield "canary", str(canary).lower()
    yield "priority", endpoint.priority
    # -1: too few requests, or nobody looks for outliers.
    monitor = endpoint.monitor
    yield "success_rate", -1 if monitor is None else f"{monitor.successRate:g}"
    yield "local_origin_success_rate", -1 if monitor is None else f"{monitor.localSuccessRate:g}"


def _lazyClusters(clusters: list[Cluster]) -> Lazy:
    return Lazy(lambda: (dictOf(_clusterMessage(cluster)) for cluster in clusters))


def _clusterMessage(cluster: Cluster) -> Any:
    message: Any = newMessage("envoy.admin.v3.ClusterStatus")
    message.name = cluster.name
    message.added_via_api = cluster.addedViaAPI
    message.observability_name = cluster.statName
    for priority, breaker in enumerate((cluster.breakers.default, cluster.breakers.high)):
        thresholds = message.circuit_breakers.thresholds.add()
        thresholds.priority = priority
        for name, attribute in _LIMITS:
            getattr(thresholds, name).value = getattr(breaker, attribute).limit
    if cluster.outliers is not None:
        _addPercent(message.success_rate_ejection_threshold, cluster.outliers.rates.threshold)
        _addPercent(message.local_origin_success_rate_ejection_threshold, cluster.outliers.localRates.threshold)
    for endpoint in cluster.endpoints:
        _addStatus(message.host_statuses.add(), endpoint)
    return message


def _addPercent(percent: Any, value: float) -> None:
    """
    Tell a share, if it is known.
    """
    if value >= 0:
        percent.SetInParent()
        percent.value = value


def _addStatus(status: Any, endpoint: Endpoint) -> None:
    addressMessage(status.address, endpoint.address)
    for kind, figures in enumerate(_figures(endpoint)):
        for name, value in figures:
            stat = status.stats.add()
            stat.type = kind
            stat.name = name
            stat.value = int(value)
    health = status.health_status
    name = "HEALTHY" if endpoint.healthStatus == "UNKNOWN" else endpoint.healthStatus
    known = health.DESCRIPTOR.fields_by_name["eds_health_status"].enum_type.values_by_name
    health.eds_health_status = known[name].number
    for flag, field in _HEALTH_FIELDS:
        if endpoint.flags & flag:
            setattr(health, field, True)
    if endpoint.monitor is not None:
        _addPercent(status.success_rate, endpoint.monitor.successRate)
        _addPercent(status.local_origin_success_rate, endpoint.monitor.localSuccessRate)
    status.weight = endpoint.weight
    status.hostname = endpoint.hostname
    status.priority = endpoint.priority
    place = endpoint.locality
    status.locality.region, status.locality.zone, status.locality.sub_zone = place.region, place.zone, place.subZone
    status.locality.SetInParent()


def listenerList(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/listeners}: those that accept.
    """
    listening = [(listener.name, listener.ownAddresses) for listener in server.listeners]
    listening = [(name, addresses) for name, addresses in listening if addresses]
    if request.parameters.get("format") != "json":
        return AdminResponse("".join(f"{name}::{each.text}\n" for name, addresses in listening for each in addresses))
    message: Any = newMessage("envoy.admin.v3.Listeners")
    for name, addresses in listening:
        status = message.listener_statuses.add()
        status.name = name
        addressMessage(status.local_address, addresses[0])
        for address in addresses[1:]:
            addressMessage(status.additional_local_addresses.add(), address)
    return jsonResponse(dictOf(message))
