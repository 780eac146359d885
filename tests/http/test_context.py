"""
Tests for L{meshproxy.http.context}.
"""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config import Section
from meshproxy.http.config import compileConnectionManager
from tests.http.support import ProxyCase

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


class ProxyContextTests(ProxyCase):
    """
    L{ProxyContext<meshproxy.http.context.ProxyContext>}.
    """

    def test_clusterNames(self) -> None:
        """
        Routes may name the clusters of the configuration that is being compiled, though they do not serve so far, and
        no others, though they still serve.
        """
        self.start()
        route = {"match": {"prefix": "/"}, "route": {"cluster": "coming"}}
        hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
        fields = {"stat_prefix": "p", "http_filters": [ROUTER], "route_config": {"virtual_hosts": hosts}}
        serving = self.proxy.server.context
        for names, faults in ((frozenset({"coming"}), 0), (frozenset({"backend"}), 1)):
            section = Section.of(MANAGER, fields)
            compileConnectionManager(
                section, replace(serving, clusterNames=names), serving.store.scope("listener.l."), 1024
            )
            self.assertEqual(len(section.report.errors), faults, names)

    def test_running(self) -> None:
        """
        A running proxy's parts are the same for all: one clock, one store, one set of clusters.
        """
        self.start()
        context = self.proxy.server.context
        self.assertIs(context.clock, self.proxy.reactor)
        self.assertIn("backend", context.clusters.byName)
        self.assertIn("cluster.backend.upstream_rq_total", context.store.counters)
