"""
L{meshproxy.upstream.forwardproxy}; most of it is seen through the filter.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.config.pool import typeURL
from meshproxy.headers import RequestHeaders
from meshproxy.stats import Store
from meshproxy.upstream.balancers.base import Origin
from meshproxy.upstream.dnscache import DNSCaches
from meshproxy.upstream.forwardproxy import ForwardedHosts, protocolOptions

_CONFIG = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"


class _Choice:
    def __init__(self, authority: bytes) -> None:
        self._headers = RequestHeaders(b"GET", b"/", authority)

    def origin(self) -> Origin:
        return Origin(self._headers, {}, None)


class ForwardedHostsTests(SynchronousTestCase):
    """
    L{ForwardedHosts}, and L{protocolOptions}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        parts: tuple[Any, ...] = (Store(), None, self.clock, lambda: 0.5)
        self.caches = DNSCaches(*parts)
        self.addCleanup(self.caches.stop)
        custom = {"@type": typeURL(_CONFIG), "dns_cache_config": {"name": "c"}}
        fields = {
            "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": custom},
        }
        self.section = Section.of("envoy.config.cluster.v3.Cluster", fields)
        self.hosts = ForwardedHosts(self.section, self.caches, 443)
        cache = self.caches.compile(Section.of(_CONFIG, {"dns_cache_config": {"name": "c"}}))
        assert cache is not None
        self.cache = cache

    def choose(self, authority: bytes) -> str:
        """
        The address of the endpoint of an authority.
        """
        choice: Any = _Choice(authority)
        endpoint = self.hosts.chooseFor(choice)
        return "" if endpoint is None else endpoint.address.text

    def test_chosen(self) -> None:
        """
        Endpoints are what is in the cache, before it begins and afterwards, until it ends.
        """
        self.cache.load("192.0.2.1", 443)
        found: list[list[str]] = []
        self.hosts.start(lambda endpoints: found.append([each.address.text for each in endpoints]))
        self.cache.load("192.0.2.2:80", 443)
        self.assertEqual(found, [["192.0.2.1:443"], ["192.0.2.1:443", "192.0.2.2:80"]])
        asked = (b"192.0.2.1", b"192.0.2.1:443", b"192.0.2.1:80", b"192.0.2.2:80", b"")
        self.assertEqual(
            [self.choose(each) for each in asked], ["192.0.2.1:443", "192.0.2.1:443", "", "192.0.2.2:80", ""]
        )
        self.assertIsNone(self.hosts.choose())
        self.assertIsNone(self.hosts.chooseFor(None))
        self.hosts.stop()
        self.cache.load("192.0.2.3", 443)
        self.assertEqual(len(found), 2)

    def test_options(self) -> None:
        """
        Where nothing is said, names are asked for and verified.
        """
        options = protocolOptions(self.section, None)
        assert options is not None
        self.assertEqual((options.get("auto_sni"), options.get("auto_san_validation")), (True, True))
