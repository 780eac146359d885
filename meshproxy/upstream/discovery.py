# -*- test-case-name: tests.upstream.test_discovery -*-
"""
How a cluster finds its endpoints: as they are written (C{STATIC}), or by their names (C{STRICT_DNS}, C{LOGICAL_DNS}),
or as somebody else tells them (C{EDS}).
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from meshproxy.config import Section
from meshproxy.config.sources import compileSource
from meshproxy.interfaces import INetwork
from meshproxy.secrets.watch import SecretFiles
from meshproxy.upstream.assignmentpolicy import compileAssignmentPolicy
from meshproxy.upstream.assignments import AssignedDiscovery, Assignments, FileDiscovery
from meshproxy.upstream.dnsdiscovery import (
    DNS_CLUSTER,
    LogicalDNSDiscovery,
    StrictDNSDiscovery,
    compileLookups,
)
from meshproxy.upstream.endpoint import Endpoint, Locality
from meshproxy.upstream.forwardproxy import DYNAMIC_FORWARD_PROXY
from meshproxy.upstream.healthchecks.target import compileCheckedBy
from meshproxy.upstream.named import Discovery, NamedEndpoint, isIP
from meshproxy.upstream.plain import metadataOf
from meshproxy.upstream.stats import ClusterStats

__all__ = ["StaticDiscovery", "compileAssigned", "compileDiscovery", "discoveryKind"]

# Names of extensions that say what C{type} says.
_CLUSTER_TYPES: Final = {
    "envoy.cluster.static": "STATIC",
    "envoy.cluster.strict_dns": "STRICT_DNS",
    "envoy.cluster.logical_dns": "LOGICAL_DNS",
    "envoy.cluster.original_dst": "ORIGINAL_DST",
    "envoy.clusters.dynamic_forward_proxy": DYNAMIC_FORWARD_PROXY,
}


class StaticDiscovery:
    """
    C{STATIC}: all addresses are known.
    """

    def __init__(self, named: Sequence[NamedEndpoint]) -> None:
        self._named = named

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start}.
        """
        found([endpoint.at(endpoint.host) for endpoint in self._named])

    def stop(self) -> None:
        """
        See L{Discovery.stop}.
        """


def discoveryKind(section: Section) -> str:
    """
    The C{type} of a cluster, or what its C{cluster_type} stands for; empty where that is not known, which is refused.
    """
    custom = section.child("cluster_type")
    if custom is None:
        kind: str = section.get("type")
        return kind
    config = custom.any("typed_config")
    if config is not None and config.typeName == DNS_CLUSTER:
        return "LOGICAL_DNS" if config.get("all_addresses_in_single_endpoint") else "STRICT_DNS"
    name: str = custom.get("name")
    found = _CLUSTER_TYPES.get(name, "")
    if not found:
        known = ", ".join(_CLUSTER_TYPES)
        custom.refuse(f"{name!r} is not implemented by meshproxy; it knows {known} and DnsCluster", "name")
    return found


def compileDiscovery(
    section: Section,
    network: INetwork,
    clock: IReactorTime,
    stats: ClusterStats,
    random: Callable[[], float] = _random.random,
    assignments: Assignments | None = None,
    files: SecretFiles | None = None,
    assigned: Callable[[Section], list[Endpoint]] | None = None,
) -> Discovery:
    """
    Read it from a C{Cluster} message.

    @param random: From 0 up to 1, for the times between look-ups.
    @param assignments: Where C{EDS} clusters find their endpoints.
    @param files: Watches the files that they may find them in instead.
    @param assigned: The endpoints of an assignment that they find, by default L{compileAssigned}.
    """
    kind = discoveryKind(section)
    if kind == "EDS":
        assignments = Assignments(clock) if assignments is None else assignments
        files = SecretFiles(clock) if files is None else files
        return _compileAssigned(section, assignments, files, stats, assigned or compileAssigned)
    named: list[NamedEndpoint] = []
    assignment = section.child("load_assignment")
    if assignment is None:
        if kind == "LOGICAL_DNS":
            section.refuse(f"a cluster of type {kind} needs a load_assignment")
        elif kind in ("STATIC", "STRICT_DNS"):
            # Envoy takes it; nobody means it.
            section.warn(f"a cluster of type {kind} without a load_assignment has no endpoints")
    else:
        named = _compileAssignment(assignment, kind)
    if kind == "STRICT_DNS":
        return StrictDNSDiscovery(named, network, clock, stats, compileLookups(section), random)
    if kind == "LOGICAL_DNS":
        if assignment is not None and len(named) != 1 and not section.report.errors:
            assignment.refuse(
                "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint", "endpoints"
            )
        if named:
            return LogicalDNSDiscovery(named[0], network, clock, stats, compileLookups(section), random)
    return StaticDiscovery(named)


def _compileAssigned(
    section: Section,
    assignments: Assignments,
    files: SecretFiles,
    stats: ClusterStats,
    compile: Callable[[Section], list[Endpoint]],
) -> AssignedDiscovery | FileDiscovery:
    config = section.childOrEmpty("eds_cluster_config")
    source = compileSource(config.child("eds_config"), config, "eds_config", assignments.hasSource)
    name = config.get("service_name") or section.get("name")
    if source.path:
        return FileDiscovery(name, source.path, files, stats.scope, assignments.clock.seconds, compile)
    return AssignedDiscovery(name, source.timeout, assignments, stats.scope, compile)


def compileAssigned(section: Section) -> list[Endpoint]:
    """
    The endpoints of a C{ClusterLoadAssignment} that came by EDS. Faults go to its report, those of its policy too.
    """
    compileAssignmentPolicy(section.childOrEmpty("policy"))
    return [named.at(named.host) for named in _compileAssignment(section, "STATIC")]


def _compileAssignment(assignment: Section, kind: str) -> list[NamedEndpoint]:
    found = []
    for group in assignment.children("endpoints"):
        for item in group.children("lb_endpoints"):
            endpoint = _compileEndpoint(item, group, kind)
            if endpoint is not None:
                found.append(endpoint)
    return found


def _compileEndpoint(item: Section, group: Section, kind: str) -> NamedEndpoint | None:
    endpoint = item.child("endpoint")
    address = None if endpoint is None else endpoint.child("address")
    if endpoint is None or address is None:
        item.refuse("an endpoint needs an address", "endpoint")
        return None
    pipe = address.child("pipe")
    sock = address.child("socket_address")
    if pipe is not None:
        host, port = pipe.get("path"), None
    elif sock is not None:
        host, port = sock.get("address"), sock.get("port_value")
        if sock.get("protocol") != "TCP":
            sock.refuse("only TCP is spoken to endpoints", "protocol")
        if kind == "STATIC" and not isIP(host):
            sock.refuse(
                f"{host!r} is not an IP address, which a cluster of type STATIC needs; a name needs STRICT_DNS",
                "address",
            )
            return None
    else:
        address.refuse("an address is a socket_address or a pipe")
        return None
    locality = group.childOrEmpty("locality")
    metadata = item.child("metadata")
    return NamedEndpoint(
        host,
        port,
        endpoint.get("hostname"),
        item.wrapped("load_balancing_weight", 1),
        item.get("health_status"),
        Locality(locality.get("region"), locality.get("zone"), locality.get("sub_zone")),
        group.get("priority"),
        None if metadata is None else metadataOf(metadata),
        group.wrapped("load_balancing_weight", 0),
        compileCheckedBy(endpoint.child("health_check_config")),
    )
