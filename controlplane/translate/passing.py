# -*- test-case-name: tests.controlplane.translate.test_gateways -*-
"""
What passes a gateway between networks as it is (C{AUTO_PASSTHROUGH}): mutual TLS that ends at the workloads, told apart
by the name that the caller asks for, which is that of the service, of the port and of the subset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve

from meshproxy.controlplane.model.hosts import within
from meshproxy.controlplane.registry.services import Service
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.httpconnection import tcpProxy
from meshproxy.controlplane.translate.messages import JSON
from meshproxy.controlplane.translate.names import sniName
from meshproxy.controlplane.translate.policies import Rules, policyFor
from meshproxy.controlplane.translate.tls import MUTUAL_ALPN

__all__ = ["PASSES", "passingChains", "passingHosts", "passingServices"]

#: The mode of a server that lets pass.
PASSES = "AUTO_PASSTHROUGH"


def passingHosts(context: Context) -> list[str]:
    """
    The hosts that servers of this gateway let pass.
    """
    if context.proxy.isSidecar:
        return []
    return [
        host
        for gateway in context.resources.gateways(context.proxy.labels)
        for server in gateway.spec.servers
        if server.tls is not None and server.tls.mode == PASSES
        for host in server.hosts
    ]


def passingServices(context: Context, hosts: Iterable[str], services: Sequence[Service] | None = None) -> list[Service]:
    """
    The services of the mesh that some hosts of a server mean.

    @param services: Of which ones; of all that the gateway sees if not told.
    """
    names = [host.rpartition("/")[2] for host in hosts]
    found = context.scope.services if services is None else services
    return [one for one in found if not one.external and any(within(one.host, name) for name in names)]


def passingChains(context: Context, rules: Rules, hosts: Iterable[str]) -> list[JSON]:
    """
    A chain for each port and subset of each service. Who asks for no protocol of the mesh does not pass; whether its
    certificate is one, only the workload sees, so that there are clusters of those alone that ask for one.
    """
    chains: list[JSON] = []
    for service in passingServices(context, hosts):
        context.usesService(service.key)
        rule = rules.of(service)
        for port in service.ports:
            if port.protocol == "UDP":
                continue
            for subset in [None, *(one for one, _ in rule.subsets)] if rule is not None else [None]:
                name = sniName(port.number, subset.name if subset is not None else "", service.host)
                policy = evolve(policyFor(rule, port.number, subset), tunnel=None)
                match = {
                    "serverNames": [name],
                    "transportProtocol": "tls",
                    "applicationProtocols": list(MUTUAL_ALPN),
                }
                chains.append({"filterChainMatch": match, "filters": [tcpProxy(context, name, [(name, 1)], policy)]})
    return chains
