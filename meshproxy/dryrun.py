# -*- test-case-name: tests.test_dryrun -*-
"""
What can be told of a configuration that nobody serves: whether it could be served, and what would become of a request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.task import Clock

from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import Question, askedIn
from meshproxy.config import Report, Section
from meshproxy.config.pool import messageClass
from meshproxy.interfaces import INetwork
from meshproxy.net.network import ReactorNetwork
from meshproxy.server import ProxyOptions, ProxyServer
from meshproxy.upstream.cluster import Cluster
from meshproxy.xds.dynamic import DynamicResources, dynamicSection
from meshproxy.xds.types import CLUSTER, LISTENER, ROUTES

__all__ = ["explainRequest", "explainResources", "validate"]


def explainRequest(options: ProxyOptions, reactor: Any, network: INetwork, question: Question) -> Answer:
    """
    Tell what would become of a request under a configuration that nobody serves.

    @raise ConfigErrors: If it could not be served.
    """
    server = ProxyServer(options, reactor, network)
    byName = {cluster.name: cluster for cluster in server.configuration.clusters}
    return explain(question, server.configuration.listeners, byName, server.context.runtime)


class _Clusters(Mapping[str, Cluster]):
    """
    Clusters that are made when somebody asks for one: a mesh has hundreds, and a request goes to one or two.
    """

    def __init__(
        self, values: Mapping[str, bytes], make: Callable[[Sequence[Section]], list[Cluster]], report: Report
    ) -> None:
        self._values = values
        self._make = make
        self._report = report
        self._made: dict[str, Cluster] = {}

    def __getitem__(self, name: str) -> Cluster:
        if name not in self._made:
            value = _withoutTransports(CLUSTER, self._values[name])
            section = dynamicSection(CLUSTER, "clusters", name, value, self._report)
            self._made[name] = self._make([section])[0]
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _withoutTransports(typeURL: str, value: bytes) -> bytes:
    """
    A listener or a cluster that says nothing of TLS. The files that it may name are those of the proxy's machine:
    whoever asks here is not to learn which there are on this one, nor to make it wait for one that never ends.
    """
    message: Any = messageClass(typeURL.rpartition("/")[2]).FromString(value)
    if typeURL == LISTENER:
        default = [message.default_filter_chain] if message.HasField("default_filter_chain") else []
        for chain in (*message.filter_chains, *default):
            chain.ClearField("transport_socket")
    else:
        message.ClearField("transport_socket")
        message.ClearField("transport_socket_matches")
    data: bytes = message.SerializeToString()
    return data


def explainResources(
    listeners: Mapping[str, bytes],
    routes: Mapping[str, bytes],
    clusters: Mapping[str, bytes],
    bootstrapClusters: Iterable[str],
    request: Mapping[str, Any],
) -> Answer:
    """
    See L{meshproxy.interfaces.IExplainer.explain}. Nothing is bound, no file is read, and nobody is asked for anything.
    """
    question = askedIn(**request)
    static = [{"name": name, "load_assignment": {"cluster_name": name}} for name in {*bootstrapClusters, "xds"}]
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    bootstrap = {"dynamic_resources": {"ads_config": source}, "static_resources": {"clusters": static}}
    # Time stands still, for tokens now: what would be asked for some time later is not.
    clock: Any = Clock()
    clock.advance(time.time())
    server = ProxyServer(ProxyOptions(configText=json.dumps(bootstrap)), clock, ReactorNetwork(clock))
    report = Report()
    plain = {name: _withoutTransports(LISTENER, value) for name, value in listeners.items()}
    dynamic = DynamicResources({}, plain, {("", name): value for name, value in routes.items()})
    server.context.clusterNames = frozenset([*clusters, *server.context.clusterNames])
    server.context.routes = dynamic.sections(ROUTES, report)
    if server.context.hosts is not None:
        # What comes apart is not known here, however it comes.
        server.context.hosts.isDelta = True
    made = server.listeners.compile(list(dynamic.sections(LISTENER, report).values()))
    answer = explain(question, made, _Clusters(clusters, server.clusters.compile, report), server.context.runtime)
    if report.errors:
        answer["not_judged"] = [str(error) for error in report.errors]
    return answer


def validate(options: ProxyOptions, reactor: Any, network: INetwork) -> list[str]:
    """
    See whether a configuration could be served.

    @return: Warnings.

    @raise ConfigErrors: If it could not.
    """
    server = ProxyServer(options, reactor, network)
    report: Report = server.bootstrap.report
    return [str(warning) for warning in report.warnings]
