# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
VirtualService: how requests to some hosts are routed. Its checks; the classes of its fields stand in
L{meshproxy.controlplane.model.routes}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshproxy.controlplane.model.common import checkExportTo
from meshproxy.controlplane.model.hosts import overlaps, within
from meshproxy.controlplane.model.httproute import checkHTTPRoute, checkShares
from meshproxy.controlplane.model.names import (
    badDomain,
    badFQDN,
    badLabels,
    badPort,
    badSubnet,
    isAddress,
    isDNSLabel,
)
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.routes import (
    MESH,
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.unreachable import checkReachable

__all__ = ["VirtualService", "checkVirtualService"]

#: What a gateway of another network asks for: C{outbound_.80_.v1_.reviews.default.svc.cluster.local}.
_INTERNAL_SNI = re.compile(r"outbound_\.?[0-9]+_\.?[^_]*_\.?[a-zA-Z].*\Z")


def checkVirtualService(spec: VirtualService, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    toMesh = MESH in spec.boundTo
    _checkGateways(spec.gateways, spot["gateways"])
    if spec.hosts:
        _checkHosts(spec, toMesh, spot["hosts"])
    else:
        for name in ("gateways", "tls", "tcp"):
            if getattr(spec, name):
                spot[name].refuse(f"one without hosts is a delegate, and has no {name}", "exclusive")
    if not (spec.http or spec.tls or spec.tcp):
        spot.refuse("one of http, tls, tcp is required", "required")
    for index, http in enumerate(spec.http):
        here = spot["http"][index]
        checkHTTPRoute(http, here, isDelegate=not spec.hosts, toGateway=not toMesh)
        for number, match in enumerate(http.match):
            _checkGateways(match.gateways, here["match"][number]["gateways"])
    for index, tls in enumerate(spec.tls):
        _checkTLS(tls, spec, spot["tls"][index])
    for index, tcp in enumerate(spec.tcp):
        here = spot["tcp"][index]
        for number, l4 in enumerate(tcp.match):
            _checkConnection(l4, here["match"][number])
        _checkDestinations(tcp.route, here["route"])
    checkExportTo(spec.exportTo, metadata.namespace, spot)
    checkReachable(spec.http, spot["http"])
    checkReachable(spec.tls, spot["tls"])
    checkReachable(spec.tcp, spot["tcp"])


def _checkHosts(spec: VirtualService, toMesh: bool, spot: Spot) -> None:
    """
    Hosts that can be, and none that another of them covers.
    """
    fine: list[str] = []
    for index, host in enumerate(spec.hosts):
        if (
            not isAddress(host)
            and not (not toMesh and _INTERNAL_SNI.match(host))
            and not spot[index].judge(badDomain(host))
        ):
            continue
        if toMesh and host == "*":
            spot[index].refuse("'*' is not allowed for the mesh, only for gateways")
            continue
        for other in fine:
            if overlaps(host, other):
                spot[index].refuse(f"{host!r} and {other!r} stand for some of the same names", "duplicate")
                break
        fine.append(host)


def _checkGateways(names: Sequence[str], spot: Spot) -> None:
    """
    Gateways by name, or by namespace and name.
    """
    for index, name in enumerate(names):
        namespace, slash, rest = name.partition("/")
        if slash:
            if not isDNSLabel(namespace) or not isDNSLabel(rest):
                spot[index].refuse(f"{name!r} is not NAMESPACE/NAME of a Gateway")
        elif spot[index].judge(badFQDN(name)) and "." in name:
            first, second = name.split(".")[:2]
            spot[index].warn(f"{name!r} is the old form; prefer {second}/{first}", "deprecated")


def _checkTLS(route: TLSRoute, spec: VirtualService, spot: Spot) -> None:
    """
    A route for TLS connections.
    """
    spot["match"].require(route.match)
    for index, match in enumerate(route.match):
        here = spot["match"][index]
        if here["sniHosts"].require(match.sniHosts):
            for number, host in enumerate(match.sniHosts):
                _checkSNI(host, spec, here["sniHosts"][number])
        _checkConnection(match, here)
    _checkDestinations(route.route, spot["route"])


def _checkSNI(host: str, spec: VirtualService, spot: Spot) -> None:
    """
    A name of TLS that lies within the hosts of the resource.
    """
    if isAddress(host):
        spot.warn(f"{host!r} is an address; clients ask for names (RFC 6066, 3)")
        return
    if MESH not in spec.boundTo and _INTERNAL_SNI.match(host):
        return
    if spot.judge(badDomain(host)) and not any(within(host, one) for one in spec.hosts):
        spot.refuse(f"{host!r} lies within none of the hosts: {', '.join(spec.hosts)}")


def _checkConnection(match: TLSMatchAttributes | L4MatchAttributes, spot: Spot) -> None:
    """
    What matches of connections have in common.
    """
    for index, subnet in enumerate(match.destinationSubnets):
        spot["destinationSubnets"][index].judge(badSubnet(subnet))
    if match.port:
        spot["port"].judge(badPort(match.port))
    spot["sourceLabels"].judge(badLabels(match.sourceLabels))
    _checkGateways(match.gateways, spot["gateways"])


def _checkDestinations(routes: Sequence[RouteDestination], spot: Spot) -> None:
    """
    The destinations of connections.
    """
    if spot.require(routes):
        checkShares(routes, spot)
