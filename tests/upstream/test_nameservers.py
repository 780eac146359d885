"""
L{meshproxy.upstream.nameservers}, and look-ups that ask them.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config import Section
from meshproxy.net.dns import NameServers
from meshproxy.upstream.nameservers import AskingNetwork, compileNameServers
from tests.upstream.dnssupport import DiscoveryCase
from tests.upstream.support import clusterSection

_CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"


def resolvers(*addresses: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """
    A C{typed_dns_resolver_config}.
    """
    config = {"@type": _CARES, "resolvers": list(addresses), **fields}
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}


def socketAddress(host: str, port: int) -> dict[str, Any]:
    """
    An address.
    """
    return {"socket_address": {"address": host, "port_value": port}}


class NameServersTests(DiscoveryCase):
    """
    C{typed_dns_resolver_config}.
    """

    def asked(self, **fields: Any) -> NameServers | None:
        """
        Whom a cluster asks.
        """
        section = clusterSection("a.example", type="STRICT_DNS", **fields)
        self.begin(section)
        return self.names.servers

    def test_asked(self) -> None:
        """
        The servers that are named, with the times of c-ares or others; a cluster's, or its C{DnsCluster}'s.
        """
        self.assertIsNone(self.asked())
        one, two = socketAddress("192.0.2.53", 53), socketAddress("2001:db8::1", 5353)
        both = (("192.0.2.53", 53), ("2001:db8::1", 5353))
        self.assertEqual(
            self.asked(typed_dns_resolver_config=resolvers(one, two)), NameServers(both, (5.0, 5.0, 5.0, 5.0))
        )
        told = resolvers(one, query_timeout_seconds=2, query_tries=3)
        self.assertEqual(self.asked(typed_dns_resolver_config=told), NameServers(both[:1], (2.0, 2.0, 2.0)))
        self.assertIsNone(self.asked(typed_dns_resolver_config=resolvers()))

    def test_older(self) -> None:
        """
        The fields of former times say the same, and that questions go by TCP.
        """
        one = socketAddress("192.0.2.53", 53)
        usual = NameServers((("192.0.2.53", 53),), (5.0, 5.0, 5.0, 5.0))
        byTCP = usual._replace(byTCP=True)
        options = {"use_tcp_for_dns_lookups": True, "no_default_search_domain": True}
        for fields, expected in (
            ({"dns_resolvers": [one]}, usual),
            ({"dns_resolvers": [one], "use_tcp_for_dns_lookups": True}, byTCP),
            ({"use_tcp_for_dns_lookups": True}, byTCP._replace(addresses=())),
            ({"dns_resolution_config": {"resolvers": [one]}}, usual),
            ({"dns_resolution_config": {"resolvers": [one], "dns_resolver_options": options}}, byTCP),
            ({"typed_dns_resolver_config": resolvers(one, dns_resolver_options=options)}, byTCP),
        ):
            self.assertEqual(self.asked(**fields), expected, fields)

    def test_fallback(self) -> None:
        """
        Servers that are only for a machine without any are left aside where it has some.
        """
        one = socketAddress("192.0.2.53", 53)
        config = resolvers(one, use_resolvers_as_fallback=True)
        section = clusterSection("a.example", type="STRICT_DNS", typed_dns_resolver_config=config)
        path = self.mktemp()
        for text, expected in (("nameserver 192.0.2.1\n", False), ("# nameserver\n", True), (None, True)):
            if text is not None:
                with open(path, "w") as file:
                    file.write(text)
            found = compileNameServers(section, path if text is not None else self.mktemp())
            self.assertEqual(found is not None, expected)

    def test_bootstrap(self) -> None:
        """
        Those of a bootstrap are asked by whoever names no others.
        """
        section = Section.of(
            "envoy.config.bootstrap.v3.Bootstrap",
            {"typed_dns_resolver_config": resolvers(socketAddress("192.0.2.53", 53), query_tries=1)},
        )
        servers = compileNameServers(section)
        assert servers is not None
        own = NameServers((("192.0.2.54", 53),), (1.0,))
        asked: list[object] = []

        class Names:
            listen = accept = connect = datagrams = None

            def resolve(self, *args: object) -> None:
                asked.append(args)

        network = AskingNetwork(Names(), servers)
        network.resolve("a.example", "ALL", True)
        network.resolve("a.example", servers=own)
        self.assertEqual(asked, [("a.example", "ALL", True, servers), ("a.example", "AUTO", False, own)])

    def test_custom(self) -> None:
        """
        Of a C{DnsCluster}, its own.
        """
        typed = {
            "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
            "typed_dns_resolver_config": resolvers(socketAddress("192.0.2.53", 53)),
        }
        custom = {"name": "envoy.clusters.dns", "typed_config": typed}
        section = Section.of("envoy.config.cluster.v3.Cluster", {"name": "c", "cluster_type": custom})
        section.message.load_assignment.CopyFrom(clusterSection("a.example").message.load_assignment)
        self.begin(section)
        assert self.names.servers is not None
        self.assertEqual(self.names.servers.addresses, (("192.0.2.53", 53),))

    def test_ttl(self) -> None:
        """
        Whether the time of an answer is needed is another question.
        """
        servers = resolvers(socketAddress("192.0.2.53", 53))
        for heeds in (False, True):
            self.asked(typed_dns_resolver_config=servers, respect_dns_ttl=heeds)
            self.assertIs(self.names.neededTTL, heeds)

    def test_refused(self) -> None:
        """
        A server without an IP address, or without a port; another resolver.
        """
        path = "typed_dns_resolver_config.typed_config"
        other = {"@type": _CARES.replace("cares.v3.Cares", "apple.v3.Apple")}
        for config, fault in (
            (resolvers(socketAddress("ns.example", 53)), f"{path}.resolvers[0]"),
            (resolvers(socketAddress("192.0.2.53", 53), {"pipe": {"path": "/x"}}), f"{path}.resolvers[1]"),
            ({"name": "apple", "typed_config": other}, path),
        ):
            section = clusterSection("a.example", type="STRICT_DNS", typed_dns_resolver_config=config)
            self.make(section)
            self.assertEqual([error.path for error in section.report.errors], [fault])
