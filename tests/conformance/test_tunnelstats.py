"""
What is counted of TCP that goes on through an HTTP proxy, beside Envoy's: the proxy in between is another listener.
"""

from __future__ import annotations

import socket
import time

from tests.conformance.admincase import AdminCase

BOOTSTRAP = """
node: {id: node-1, cluster: cluster-1}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tunnels
          cluster: exit
          tunneling_config: {hostname: "HOST:1"METHOD}
  - name: exit
    address: {pipe: {path: FOLDER/exit}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: exit
          http2_protocol_options: {allow_connect: true}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: there
              domains: ["there:1"]
              routes:
              - match: {connect_matcher: {}}
                route: &ends
                  cluster: end
                  upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]
              - {match: {prefix: /}, route: *ends}
  - name: end
    address: {pipe: {path: FOLDER/end}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.echo
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
  clusters:
  - name: exit
    load_assignment:
      cluster_name: exit
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: FOLDER/exit}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
  - name: end
    load_assignment:
      cluster_name: end
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: FOLDER/end}}}}]}]
"""

# Heads have other fields, bodies other frames, and who waits for a connection depends on when it is there; histograms
# are of times.
_FILTER = (
    "^(tcp.tunnels.downstream_(cx|flow)|cluster.exit.(upstream_(cx|rq)|http[12].tx_reset)"
    "|http.exit.downstream_cx_upgrades)"
)
_OWN = (
    "upstream_cx_rx_bytes",
    "upstream_cx_tx_bytes",
    "flow_control",
    "_ms",
    "buffered",
    "rq_per_cx",
    "rq_pending_total",
)


class TunnelStatsTests(AdminCase):
    """
    The same connections, the same figures.
    """

    def figures(self, kind: str) -> list[str]:
        """
        What one of them counted.
        """
        lines = self.ask(kind, f"GET /stats?usedonly&filter={_FILTER}")[2]
        return [line for line in lines if not any(each in line for each in _OWN) and not line.endswith(": 0\n")]

    def compare(self, *replaced: tuple[str, str]) -> list[str]:
        """
        Have some connections with both, and give what both counted.
        """
        text = BOOTSTRAP
        for old, new in replaced:
            text = text.replace(old, new)
        self.begin(text.replace("HOST", "there").replace("METHOD", ""))
        held = []
        for ports in self.ports.values():
            for number in range(3):
                sock = socket.create_connection(("127.0.0.1", ports["FRONT"]), timeout=60)
                held.append(sock)
                if "nowhere" in text:
                    self.assertEqual(sock.recv(5), b"")
                else:
                    sock.sendall(b"hello")
                    self.assertEqual(sock.recv(5), b"hello")
                if number:
                    sock.close()
        for sock in held:
            self.addCleanup(sock.close)
        end = time.monotonic() + 60
        while (found := [self.figures(kind) for kind in self.ports])[0] != found[1] and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(found[1], found[0])
        return found[1]

    def test_http2(self) -> None:
        """
        Streams of one connection.
        """
        counted = self.compare()
        self.assertIn("cluster.exit.upstream_cx_http2_total: 1\n", counted)
        self.assertIn("http.exit.downstream_cx_upgrades_total: 4\n", counted)

    def test_http1(self) -> None:
        """
        Each a connection of its own; the fourth is that of whoever looked whether the proxy listens.
        """
        self.assertIn(
            "cluster.exit.upstream_cx_total: 4\n", self.compare(("{http2_protocol_options", "{http_protocol_options"))
        )

    def test_post(self) -> None:
        """
        POST.
        """
        self.compare(("METHOD", ", use_post: true"))

    def test_refused(self) -> None:
        """
        Tunnels that are refused.
        """
        self.compare(("HOST", "nowhere"))
