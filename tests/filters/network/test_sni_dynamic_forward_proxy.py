"""
L{meshproxy.filters.network.sni_dynamic_forward_proxy}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.net.dns import Addresses
from meshproxy.testing.peers import Peer
from tests.filters.http.support import pageExample
from tests.filters.network.support import TCP, BytesBackend, FilterProxy
from tests.filters.network.test_sni_cluster import Named

_CLUSTER = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"


class SNIDynamicForwardProxyTests(SynchronousTestCase):
    """
    Connections go where their server name says; look-ups wait for the test.
    """

    def start(self, **cache: Any) -> None:
        """
        Start a proxy with the example of the page.

        @param cache: More about the cache.
        """
        example, _ = pageExample("sni_dynamic_forward_proxy")
        fields = {name: value for name, value in example["typed_config"].items() if name != "@type"}
        fields["dns_cache_config"].update(cache)
        custom = {"@type": typeURL(_CLUSTER), "dns_cache_config": fields["dns_cache_config"]}
        cluster = {
            "type": None,
            "load_assignment": None,
            "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": custom},
        }
        self.proxy = FilterProxy(
            ("sni_dynamic_forward_proxy", {**fields, "save_upstream_address": True}),
            ("rbac", {"stat_prefix": "r", "rules": _ONLY}),
            ("tcp_proxy", TCP),
            before=[("named", {})],
            custom={"named": Named},
            cluster=cluster,
        )
        self.addCleanup(self.proxy.proxy.stop)
        self.host = BytesBackend(self.proxy.proxy, 443)
        self.asked: list[Deferred[Any]] = []
        self.patch(self.proxy.proxy.network, "resolve", self.resolve)

    def resolve(self, *_: object) -> Deferred[Any]:
        """
        Somebody looks a name up.
        """
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self, *hosts: str) -> None:
        """
        What the name stands for.
        """
        self.asked.pop(0).callback(Addresses(hosts))
        self.proxy.proxy.advance(0.1)

    def test_goes(self) -> None:
        """
        A connection waits for its host, and goes there; the next one finds it.
        """
        self.start()
        self.proxy.talk(b"a.example")
        self.assertEqual(self.host.received, [])
        self.answer("127.0.0.1")
        self.assertEqual(self.host.received, [b"a.example"])
        self.proxy.talk(b"a.example")
        self.assertEqual((self.host.received, self.asked), ([b"a.example"] * 2, []))

    def test_denied(self) -> None:
        """
        Later filters know where it goes.
        """
        self.start()
        peer = self.proxy.talk(b"a.example")
        self.answer("127.0.0.9")
        self.assertTrue(peer.closed)
        self.assertEqual(self.proxy.stat("r.rbac.denied"), 1)

    def test_missing(self) -> None:
        """
        A host that does not exist, and a connection that asks for none, have no endpoint.
        """
        self.start()
        peer = self.proxy.talk(b"a.example")
        self.answer()
        self.assertTrue(peer.closed)
        self.assertTrue(self.proxy.talk(b" ").closed)
        self.assertEqual(self.asked, [])

    def test_full(self) -> None:
        """
        Where there is no room the connection ends; one that leaves makes room.
        """
        self.start(dns_cache_circuit_breaker={"max_pending_requests": 1})
        peer: Peer = self.proxy.talk(b"a.example")
        self.assertFalse(peer.closed)
        self.assertTrue(self.proxy.talk(b"a.example").closed)
        peer.abort()
        self.proxy.proxy.advance(0.1)
        self.assertFalse(self.proxy.talk(b"a.example").closed)
        self.assertEqual(self.proxy.stat("dns_cache.hosts.dns_rq_pending_overflow"), 1)


_MATCHER = "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
_ONLY = {
    "action": "ALLOW",
    "policies": {
        "p": {
            "principals": [{"any": True}],
            "permissions": [
                {
                    "matcher": {
                        "name": "ip",
                        "typed_config": {
                            "@type": typeURL(_MATCHER),
                            "upstream_ip": {"address_prefix": "127.0.0.1", "prefix_len": 32},
                        },
                    }
                }
            ],
        }
    },
}
