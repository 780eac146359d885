"""
Tests for L{meshproxy.stats.tags}. The expectations are what Envoy 1.40 shows under C{/stats/prometheus}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.tags import TagExtractor, regexRule

CASES: list[tuple[str, str, dict[str, str]]] = [
    ("cluster.ok.upstream_rq_total", "cluster.upstream_rq_total", {"envoy.cluster_name": "ok"}),
    (
        "cluster.ok.external.upstream_rq_200",
        "cluster.external.upstream_rq",
        {"envoy.response_code": "200", "envoy.cluster_name": "ok"},
    ),
    (
        "cluster.ok.upstream_rq_5xx",
        "cluster.upstream_rq_xx",
        {"envoy.response_code_class": "5", "envoy.cluster_name": "ok"},
    ),
    ("cluster.a.ext_authz.ok", "cluster.ext_authz.ok", {"envoy.cluster_name": "a"}),
    (
        "cluster.a.ext_authz.waf.ok",
        "cluster.ext_authz.ok",
        {"envoy.cluster_name": "a", "envoy.ext_authz_prefix": "waf"},
    ),
    (
        "cluster.a.grpc.svc.Method.success",
        "cluster.grpc.success",
        {"envoy.grpc_bridge_method": "Method", "envoy.grpc_bridge_service": "svc", "envoy.cluster_name": "a"},
    ),
    (
        "cluster.a.ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256",
        "cluster.ssl.ciphers",
        {"envoy.ssl_cipher_suite": "ECDHE-RSA-AES128-GCM-SHA256", "envoy.cluster_name": "a"},
    ),
    (
        "cluster.a.ssl.certificate.of.mine.expiration_unix_time_seconds",
        "cluster.ssl.certificate.expiration_unix_time_seconds",
        {"envoy.tls_certificate": "of.mine", "envoy.cluster_name": "a"},
    ),
    ("cluster_manager.cluster_added", "cluster_manager.cluster_added", {}),
    (
        "http.ingress.downstream_rq_total",
        "http.downstream_rq_total",
        {"envoy.http_conn_manager_prefix": "ingress"},
    ),
    (
        "http.in.rds.routes.v1.update_success",
        "http.rds.update_success",
        {"envoy.rds_route_config": "routes.v1", "envoy.http_conn_manager_prefix": "in"},
    ),
    (
        "listener.127.0.0.1_21201.downstream_cx_total",
        "listener.downstream_cx_total",
        {"envoy.listener_address": "127.0.0.1_21201"},
    ),
    (
        "listener.[__1]_80.downstream_cx_total",
        "listener.downstream_cx_total",
        {"envoy.listener_address": "[__1]_80"},
    ),
    ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", {}),
    (
        "listener.tcpl.http.ingress.downstream_rq_1xx",
        "listener.http.downstream_rq_xx",
        {
            "envoy.response_code_class": "1",
            "envoy.http_conn_manager_prefix": "ingress",
            "envoy.listener_address": "tcpl",
        },
    ),
    (
        "listener.0.0.0.0_80.worker_0.downstream_cx_total",
        "listener.worker_downstream_cx_total",
        {"envoy.worker_id": "0", "envoy.listener_address": "0.0.0.0_80"},
    ),
    (
        "vhost.vh.vcluster.other.upstream_rq_503",
        "vhost.vcluster.upstream_rq",
        {"envoy.response_code": "503", "envoy.virtual_cluster": "other", "envoy.virtual_host": "vh"},
    ),
    (
        "vhost.vh.route.r.upstream_rq_total",
        "vhost.route.upstream_rq_total",
        {"envoy.virtual_host": "vh", "envoy.route": "r"},
    ),
    ("tcp.tp.downstream_cx_total", "tcp.downstream_cx_total", {"envoy.tcp_prefix": "tp"}),
    (
        "rl.http_local_rate_limit.enforced",
        "http_local_rate_limit.enforced",
        {"envoy.local_http_ratelimit_prefix": "rl"},
    ),
    ("redis.r.command.get.total", "redis.command.get.total", {"envoy.redis_prefix": "r"}),
    ("server.live", "server.live", {}),
]


class TagTests(SynchronousTestCase):
    """
    L{TagExtractor} takes names apart as Envoy does.
    """

    def test_wellKnown(self) -> None:
        """
        Envoy's names, with labels in Envoy's order.
        """
        extractor = TagExtractor()
        for name, base, tags in CASES:
            found = extractor.extract(name)
            self.assertEqual((found.name, list(found.tags)), (base, list(tags.items())), name)

    def test_fixed(self) -> None:
        """
        Fixed labels come first, and hide an extracted one of the same name.
        """
        extractor = TagExtractor(fixed=[("envoy.cluster_name", "all"), ("zone", "z")])
        found = extractor.extract("cluster.a.x")
        self.assertEqual(found, ("cluster.a.x", (("envoy.cluster_name", "all"), ("zone", "z"))))

    def test_overlap(self) -> None:
        """
        Rules that want the same part of a name both get their label; the part leaves once.
        """
        extractor = TagExtractor([regexRule("one", r"((b)\.)"), regexRule("two", r"((b\.c)\.)")])
        self.assertEqual(extractor.extract("a.b.c.d"), ("a.d", (("one", "b"), ("two", "b.c"))))
