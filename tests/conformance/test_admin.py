"""
The admin, beside Envoy's: the same bootstrap, the same questions.
"""

from __future__ import annotations

from tests.conformance.admincase import AdminCase

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


class AdminTests(AdminCase):
    """
    The usual questions.
    """

    def test_answers(self) -> None:
        """
        What is to be equal is; and where texts may differ, the rest does not.
        """
        self.begin(BOOTSTRAP)
        self.assertSame(EQUAL, ALIKE)
