# -*- test-case-name: tests.admin.explain.test_answer -*-
"""
Where a request is forwarded to: the cluster or clusters, their endpoints, and what is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.explain.place import Answer, originOf, placeOf
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.net.address import Address
from meshproxy.routing.actions import runtimeWeights
from meshproxy.routing.route import RouteAction
from meshproxy.runtime import Runtime
from meshproxy.upstream.settings import httpOptions

if TYPE_CHECKING:
    from meshproxy.upstream.cluster import Cluster

__all__ = ["clustersOf", "connectionClusters", "retriesOf"]


def clustersOf(
    section: Section, action: RouteAction, headers: RequestHeaders, clusters: Mapping[str, Cluster], runtime: Runtime
) -> Iterator[Answer]:
    """
    The cluster, or those that one is drawn from.

    @param section: The configuration of the action.
    @param clusters: All clusters there are, by name.
    """
    weighted = section.child("weighted_clusters")
    if weighted is None:
        name = action.selectCluster(headers, StreamInfo())
        field = section.oneof("cluster_specifier") or "cluster"
        yield {**_cluster(name, clusters), "chosen_at": placeOf(section, field)}
        return
    entries = weighted.children("clusters")
    current = runtimeWeights(weighted, entries, runtime)
    weights = [entry.wrapped("weight", 0) for entry in entries] if current is None else current()
    for entry, weight in zip(entries, weights, strict=True):
        if weight:
            header = entry.get("cluster_header").lower().encode("utf-8")
            name = entry.get("name") or fromBytes(headers.first.get(header, b""))
            share = f"{weight / sum(weights):.4g}"
            yield {**_cluster(name, clusters), "share": share, "chosen_at": placeOf(entry)}


def connectionClusters(section: Section, clusters: Mapping[str, Cluster]) -> Iterator[Answer]:
    """
    The cluster of a connection, or those that one is drawn from.

    @param section: The configuration of the TCP proxy.
    """
    weighted = section.childOrEmpty("weighted_clusters").children("clusters")
    whole = sum(entry.get("weight") for entry in weighted)
    for entry in weighted:
        share = f"{entry.get('weight') / whole:.4g}"
        yield {**_cluster(entry.get("name"), clusters), "share": share, "chosen_at": placeOf(entry)}
    if not weighted and section.get("cluster"):
        yield {**_cluster(section.get("cluster"), clusters), "chosen_at": placeOf(section, "cluster")}


def retriesOf(section: Section, host: Section, cluster: Section | None) -> Answer | None:
    """
    What is tried again, and how often; L{None} where nothing is.

    @param section: The configuration of the action, whose policy goes before that of its virtual host.
    @param host: Its virtual host.
    @param cluster: The cluster, whose policy goes before both.
    """
    options = None if cluster is None else httpOptions(cluster)
    sources = (section, host) if options is None else (options, section, host)
    source = next((each for each in sources if each.has("retry_policy")), None)
    if source is None:
        return None
    retry = source.childOrEmpty("retry_policy")
    return {
        "retry_on": retry.get("retry_on"),
        "num_retries": retry.wrapped("num_retries", 1),
        "at": placeOf(retry),
    }


def _cluster(name: str, clusters: Mapping[str, Cluster]) -> Answer:
    cluster = clusters.get(name)
    if cluster is None:
        return {"name": name, "missing": True}
    section = cluster.section
    options = httpOptions(section)
    filters = [] if options is None else [item.get("name") for item in options.children("http_filters")]
    return {
        "name": name,
        "at": placeOf(section),
        **originOf(section),
        "type": cluster.kind,
        "lb_policy": section.get("lb_policy"),
        "endpoints": list(_endpointsOf(cluster)),
        **({"upstream_filters": filters} if filters else {}),
    }


def _endpointsOf(cluster: Cluster) -> Iterator[Answer]:
    """
    The endpoints that were found, or those that are configured where nobody looked yet.
    """
    if cluster.endpoints or cluster.warmed.called:
        for endpoint in cluster.endpoints:
            yield {"address": endpoint.address.text, "hostname": endpoint.hostname, "healthy": endpoint.healthy}
        return
    for group in cluster.section.childOrEmpty("load_assignment").children("endpoints"):
        for item in group.children("lb_endpoints"):
            address = item.childOrEmpty("endpoint").childOrEmpty("address")
            sock = address.child("socket_address")
            text = address.childOrEmpty("pipe").get("path")
            if sock is not None:
                text = Address(sock.get("address"), sock.get("port_value")).text
            healthy = item.get("health_status") in ("UNKNOWN", "HEALTHY", "DEGRADED")
            yield {"address": text, "hostname": item.childOrEmpty("endpoint").get("hostname"), "healthy": healthy}
