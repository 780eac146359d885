"""
What tests of the explanations share: a configuration whose lines can be told, and a way to ask.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import askedIn
from meshproxy.testing import MemoryProxy

__all__ = ["CONFIG", "ExplainCase", "lineOf"]

_FAULT = '"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault'
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

CONFIG = f"""\
static_resources:
  listeners:
  - name: front  # listener front
    address: {{socket_address: {{address: 127.0.0.1, port_value: 8080}}}}
    filter_chains:
    - name: inside  # chain inside
      filter_chain_match:
        source_prefix_ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}]  # inside only
      filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: web
    - name: all  # chain all
      filters:
      - name: manager
        typed_config:
          "@type": {_HCM}
          stat_prefix: front
          normalize_path: true
          stream_idle_timeout: 60s  # stream idle
          common_http_protocol_options: {{idle_timeout: 90s}}  # idle
          http_filters:
          - name: envoy.filters.http.fault  # fault
            typed_config: {{{_FAULT}}}
          - name: quiet
            disabled: true
            typed_config: {{{_FAULT}}}
          - name: nobody  # nobody
            is_optional: true
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            name: routes
            virtual_hosts:
            - name: shop  # host shop
              domains: [shop.example, "*.shop.example"]
              routes:
              - name: beta  # route beta
                match:
                  prefix: /cart
                  headers:
                  - {{name: x-beta, string_match: {{exact: "yes"}}}}  # header of beta
                route: {{cluster: beta}}
              - name: exact
                match: {{path: /now}}
                direct_response: {{status: 204}}  # direct
              - name: post
                match:
                  prefix: /cart
                  query_parameters: [{{name: v, string_match: {{exact: "2"}}}}]  # parameter of post
                route: {{cluster: web}}
              - name: cart  # route cart
                match: {{prefix: /cart}}  # match of cart
                typed_per_filter_config:
                  envoy.filters.http.fault: {{{_FAULT}}}  # fault of cart
                route:
                  timeout: 3s  # timeout
                  retry_policy: {{retry_on: 5xx, num_retries: 2, per_try_timeout: 1s}}  # retries
                  weighted_clusters:
                    clusters:
                    - {{name: web, weight: 90}}  # mostly web
                    - {{name: beta, weight: 10}}
              - name: moved
                match: {{path: /old}}
                redirect: {{path_redirect: /new}}
              - name: gone
                match: {{path: /gone}}
                route: {{cluster_header: x-cluster}}
            - name: safe
              domains: [safe.example]
              require_tls: ALL
              routes: [{{match: {{prefix: /}}, route: {{cluster: web}}}}]
  clusters:
  - name: web  # cluster web
    connect_timeout: 2s  # connect
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9000}}}}}}}}]
  - {{name: beta, load_assignment: {{cluster_name: beta}}}}
"""


def lineOf(comment: str) -> str:
    """
    The place of the line with a comment, as answers tell it.
    """
    lines = [number for number, line in enumerate(CONFIG.splitlines(), 1) if line.endswith(f"  # {comment}")]
    assert len(lines) == 1, (comment, lines)
    return f"--config-yaml:{lines[0]}"


class ExplainCase(SynchronousTestCase):
    """
    Asks a proxy.
    """

    config = CONFIG

    def ask(self, url: str, *fields: str, **more: Any) -> Answer:
        """
        Ask for a request to C{shop.example}, unless its fields say otherwise.

        @param more: Further arguments of L{askedIn}.
        """
        hosts = [] if any(field.startswith("host:") for field in fields) else ["host: shop.example"]
        server = MemoryProxy(self.config).server
        listeners = list(server.listeners.byName.values())
        question = askedIn(f"http://127.0.0.1:8080{url}", fields=[*hosts, *fields], **more)
        return explain(question, listeners, server.clusters.byName, server.context.runtime)
