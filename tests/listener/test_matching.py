"""
L{meshproxy.listener.matching}.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.config.cidr import CidrRange, packAddress
from meshproxy.listener.matching import ConnectionFacts, MatchRule, compileMatch, compileRule
from meshproxy.net.address import Address


def rule(**fields: Any) -> MatchRule:
    """
    A compiled C{FilterChainMatch} without faults.
    """
    section = Section.of("envoy.config.listener.v3.FilterChainMatch", fields)
    made = compileRule(section)
    section.report.raiseIfAny()
    return made


def ranges(*texts: str) -> list[dict[str, Any]]:
    """
    CIDR ranges.
    """
    pairs = [text.split("/") for text in texts]
    return [{"address_prefix": address, "prefix_len": int(length)} for address, length in pairs]


def facts(
    local: str = "192.0.2.1",
    port: int = 80,
    remote: str = "198.51.100.7",
    remotePort: int = 40000,
    direct: str = "",
    serverName: str = "",
    transport: str = "raw_buffer",
    protocols: Sequence[str] = (),
) -> ConnectionFacts:
    """
    A connection.
    """
    info = ConnectionInfo()
    info.localAddress = Address(local, port)
    info.remoteAddress = Address(remote, remotePort)
    info.directRemoteAddress = Address(direct or remote, remotePort)
    return ConnectionFacts(info, serverName, transport, tuple(protocols))


def find(chains: dict[str, MatchRule], connection: ConnectionFacts, default: str | None = None) -> str | None:
    """
    The name of the chain that a connection gets.
    """

    def refuse(first: str, second: str) -> None:
        raise AssertionError(f"{first} and {second} are twins")

    return compileMatch([(each, name) for name, each in chains.items()], default, refuse).find(connection)


class CriterionTests(SynchronousTestCase):
    """
    Each criterion by itself.
    """

    def check(self, chains: dict[str, MatchRule], *expected: tuple[ConnectionFacts, str | None]) -> None:
        """
        See what each connection gets.
        """
        for connection, name in expected:
            self.assertEqual(find(chains, connection), name)

    def test_nothing(self) -> None:
        """
        A rule without criteria takes everything; without rules there is the default chain, or none.
        """
        self.assertEqual(find({"a": MatchRule()}, facts()), "a")
        self.assertEqual(find({}, facts(), "default"), "default")
        self.assertIsNone(find({}, facts()))

    def test_default(self) -> None:
        """
        The default chain takes what no other does.
        """
        chains = {"a": rule(destination_port=443)}
        self.assertEqual(find(chains, facts(port=443), "default"), "a")
        self.assertEqual(find(chains, facts(port=80), "default"), "default")

    def test_destinationPort(self) -> None:
        """
        The port that was connected to.
        """
        chains = {"a": rule(destination_port=443), "rest": MatchRule()}
        self.check(chains, (facts(port=443), "a"), (facts(port=80), "rest"))

    def test_prefixRanges(self) -> None:
        """
        The address that was connected to, by the longest range; of both families.
        """
        chains = {
            "wide": rule(prefix_ranges=ranges("192.0.2.0/24", "2001:db8::/32")),
            "narrow": rule(prefix_ranges=ranges("192.0.2.128/25")),
            "host": rule(prefix_ranges=ranges("192.0.2.129/32")),
        }
        self.check(
            chains,
            (facts("192.0.2.1"), "wide"),
            (facts("192.0.2.130"), "narrow"),
            (facts("192.0.2.129"), "host"),
            (facts("2001:db8::1"), "wide"),
            (facts("203.0.113.1"), None),
        )

    def test_serverNames(self) -> None:
        """
        The whole name, else its longest suffix, in any case of letters; a suffix does not stand for itself.
        """
        chains = {
            "exact": rule(server_names=["www.example.com"]),
            "example": rule(server_names=["*.example.com"]),
            "com": rule(server_names=["*.com"]),
            "none": MatchRule(),
        }
        self.check(
            chains,
            (facts(serverName="www.example.com"), "exact"),
            (facts(serverName="WWW.Example.COM"), "exact"),
            (facts(serverName="api.example.com"), "example"),
            (facts(serverName="a.b.example.com"), "example"),
            (facts(serverName="example.com"), "com"),
            (facts(serverName="com"), "none"),
            (facts(serverName="example.org"), "none"),
            (facts(serverName=""), "none"),
            (facts(serverName=".com"), "none"),
            (facts(serverName="a..com"), "com"),
            (facts(serverName="example.com."), "none"),
        )

    def test_transportProtocol(self) -> None:
        """
        What the listener filters found, C{raw_buffer} where there was nothing to find.
        """
        chains = {"tls": rule(transport_protocol="tls"), "raw": rule(transport_protocol="raw_buffer")}
        self.check(chains, (facts(transport="tls"), "tls"), (facts(), "raw"), (facts(transport="quic"), None))

    def test_applicationProtocols(self) -> None:
        """
        The first of the client's protocols that any chain wants.
        """
        chains = {
            "h2": rule(application_protocols=["h2"]),
            "h1": rule(application_protocols=["http/1.1", "http/1.0"]),
            "none": MatchRule(),
        }
        self.check(
            chains,
            (facts(protocols=["h2", "http/1.1"]), "h2"),
            (facts(protocols=["x", "http/1.0", "h2"]), "h1"),
            (facts(protocols=["x"]), "none"),
            (facts(), "none"),
        )

    def test_directSource(self) -> None:
        """
        The peer of the socket, whatever the PROXY protocol says.
        """
        chains = {"lb": rule(direct_source_prefix_ranges=ranges("10.0.0.0/8")), "rest": MatchRule()}
        self.check(chains, (facts(direct="10.1.1.1"), "lb"), (facts(remote="10.1.1.1", direct="9.9.9.9"), "rest"))

    def test_sourceType(self) -> None:
        """
        Local is 127.0.0.1 or ::1, as in Envoy, the same address on both ends, or a unix socket.
        """
        chains = {
            "local": rule(source_type="SAME_IP_OR_LOOPBACK"),
            "external": rule(source_type="EXTERNAL"),
        }
        pipe = facts()
        pipe.info.remoteAddress = Address("")
        self.check(
            chains,
            (facts(remote="127.0.0.1"), "local"),
            (facts(remote="127.0.0.9"), "external"),
            (facts(local="::1", remote="::1"), "local"),
            (facts("192.0.2.1", remote="192.0.2.1"), "local"),
            (pipe, "local"),
            (facts(), "external"),
        )
        chains = {"any": MatchRule(), "local": chains["local"]}
        self.check(chains, (facts(), "any"), (facts(remote="127.0.0.1"), "local"))

    def test_source(self) -> None:
        """
        The client's address, then its port.
        """
        chains = {
            "net": rule(source_prefix_ranges=ranges("198.51.100.0/24")),
            "port": rule(source_prefix_ranges=ranges("198.51.100.0/24"), source_ports=[1, 2]),
            "ports": rule(source_ports=[1]),
        }
        self.check(
            chains,
            (facts(), "net"),
            (facts(remotePort=2), "port"),
            (facts(remote="203.0.113.1", remotePort=1), "ports"),
            (facts(remote="203.0.113.1", remotePort=3), None),
        )


class OrderTests(SynchronousTestCase):
    """
    Criteria together.
    """

    def test_order(self) -> None:
        """
        Of two criteria that lead to different chains, the one that Envoy looks at first decides.
        """
        criteria: list[tuple[str, Any]] = [
            ("destination_port", 80),
            ("prefix_ranges", ranges("192.0.2.0/24")),
            ("server_names", ["a.example"]),
            ("transport_protocol", "tls"),
            ("application_protocols", ["h2"]),
            ("direct_source_prefix_ranges", ranges("127.0.0.0/8")),
            ("source_type", "SAME_IP_OR_LOOPBACK"),
            ("source_prefix_ranges", ranges("127.0.0.0/8")),
            ("source_ports", [40000]),
        ]
        connection = facts(remote="127.0.0.1", serverName="a.example", transport="tls", protocols=["h2"])
        for first in range(len(criteria)):
            for second in range(first + 1, len(criteria)):
                chains = {name: rule(**{name: given}) for name, given in (criteria[second], criteria[first])}
                self.assertEqual(find(chains, connection), criteria[first][0])

    def test_noWayBack(self) -> None:
        """
        A chain that won by an early criterion and then fails by a later one leaves nothing for the others.
        """
        chains = {
            "port": rule(destination_port=80, server_names=["a.example"]),
            "name": rule(server_names=["b.example"]),
        }
        self.assertEqual(find(chains, facts(serverName="a.example")), "port")
        self.assertIsNone(find(chains, facts(serverName="b.example")))
        self.assertEqual(find(chains, facts(serverName="b.example"), "default"), "default")
        self.assertEqual(find(chains, facts(port=81, serverName="b.example")), "name")

    def test_severalValues(self) -> None:
        """
        A chain with several values of a criterion is found by each, beside another one that shares some.
        """
        chains = {
            "a": rule(server_names=["x.example", "y.example"], application_protocols=["h2"]),
            "b": rule(server_names=["y.example", "z.example"], application_protocols=["http/1.1"]),
        }
        for name, protocol, expected in (
            ("x.example", "h2", "a"),
            ("y.example", "h2", "a"),
            ("y.example", "http/1.1", "b"),
            ("z.example", "http/1.1", "b"),
            ("z.example", "h2", None),
        ):
            self.assertEqual(find(chains, facts(serverName=name, protocols=[protocol])), expected)


class RefusalTests(SynchronousTestCase):
    """
    Rules that cannot be.
    """

    def twins(self, *rules: MatchRule) -> list[tuple[int, int]]:
        """
        The pairs that are told.
        """
        told: list[tuple[int, int]] = []
        compileMatch(list(zip(rules, range(len(rules)), strict=True)), None, lambda a, b: told.append((a, b)))
        return told

    def test_twins(self) -> None:
        """
        Two chains that match the same connections are told, even if they share only one of their names.
        """
        self.assertEqual(self.twins(MatchRule(), MatchRule()), [(0, 1)])
        one = rule(server_names=["a.example", "b.example"])
        self.assertEqual(self.twins(one, rule(server_names=["B.example", "c.example"])), [(0, 1)])
        self.assertEqual(self.twins(one, rule(server_names=["c.example"])), [])
        self.assertEqual(self.twins(rule(source_ports=[1]), rule(source_ports=[2])), [])

    def test_oneIsNoTwin(self) -> None:
        """
        A chain that names a value twice is not its own twin.
        """
        self.assertEqual(self.twins(rule(source_ports=[1, 1], server_names=["a.example", "A.example"])), [])

    def test_wildcards(self) -> None:
        """
        C{*} stands only for the first labels of a name.
        """
        for name in ("*", "a*.example.com", "*.*.com", "*."):
            section = Section.of("envoy.config.listener.v3.FilterChainMatch", {"server_names": ["ok.example", name]})
            compileRule(section)
            [error] = section.report.errors
            self.assertEqual(error.path, "server_names[1]")

    def test_noMessage(self) -> None:
        """
        Without a message everything matches.
        """
        self.assertEqual(compileRule(None), MatchRule())


# The same, said as plainly as possible: narrow a list, criterion by criterion.


def _exact(wanted: Sequence[Any], actual: Any) -> list[tuple[int, Any]]:
    return [(1, value) for value in wanted if value == actual]


def _within(wanted: Sequence[CidrRange], address: Address | None) -> list[tuple[int, Any]]:
    packed = packAddress(address.host) if address is not None else None
    return [(each.length, each) for each in wanted if packed is not None and packed in each]


def _named(wanted: Sequence[str], name: str) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for each in wanted:
        if each == name:
            found.append((1000, each))
        elif each.startswith("*.") and name.endswith(each[1:]) and len(name) >= len(each):
            found.append((len(each), each))
    return found


_Matches = Callable[[MatchRule, ConnectionFacts], "tuple[bool, list[tuple[int, Any]]]"]

# For each criterion: whether the rule has it, and the values that match with how specific they are.
_PLAINLY: tuple[_Matches, ...] = (
    lambda r, c: (r.destinationPort is not None, _exact([r.destinationPort], c.info.localAddress.port)),  # type: ignore[union-attr]
    lambda r, c: (bool(r.prefixRanges), _within(r.prefixRanges, c.info.localAddress)),
    lambda r, c: (bool(r.serverNames), _named(r.serverNames, c.serverName)),
    lambda r, c: (bool(r.transportProtocol), _exact([r.transportProtocol], c.transportProtocol)),
    lambda r, c: (
        bool(r.applicationProtocols),
        [(-place, name) for place, name in enumerate(c.applicationProtocols) if name in r.applicationProtocols],
    ),
    lambda r, c: (bool(r.directSourcePrefixRanges), _within(r.directSourcePrefixRanges, c.info.directRemoteAddress)),
    lambda r, c: (r.sourceType != "ANY", _exact([r.sourceType], _kind(c.info))),
    lambda r, c: (bool(r.sourcePrefixRanges), _within(r.sourcePrefixRanges, c.info.remoteAddress)),
    lambda r, c: (bool(r.sourcePorts), _exact(r.sourcePorts, c.info.remoteAddress.port)),  # type: ignore[union-attr]
)


def _kind(info: ConnectionInfo) -> str:
    source, local = info.remoteAddress, info.localAddress
    assert source is not None and local is not None
    isLocal = ipaddress.ip_address(source.host).is_loopback or source.host == local.host
    return "SAME_IP_OR_LOOPBACK" if isLocal else "EXTERNAL"


def plainly(rules: Sequence[tuple[MatchRule, int]], connection: ConnectionFacts) -> set[int]:
    """
    The chains that are left when all criteria were looked at.
    """
    left = list(rules)
    for criterion in _PLAINLY:
        found = [(criterion(each, connection), each, chain) for each, chain in left]
        matches = [match for (_, values), _, _ in found for match in values]
        if matches:
            best = max(matches, key=lambda match: match[0])
            left = [(each, chain) for (_, values), each, chain in found if best in values]
        else:
            left = [(each, chain) for (has, _), each, chain in found if not has]
    return {chain for _, chain in left}


class RandomTests(SynchronousTestCase):
    """
    The tree and the plain way agree.
    """

    ADDRESSES = ("127.0.0.1", "10.0.0.1", "10.0.1.1", "10.0.1.2", "2001:db8::1")
    RANGES = ("10.0.0.0/8", "10.0.1.0/24", "10.0.1.2/32", "127.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0")
    NAMES = ("a.example", "b.a.example", "*.example", "*.a.example", "c.b.a.example")
    PROTOCOLS = ("h2", "http/1.1", "x")

    def randomRule(self, random: Random) -> MatchRule:
        """
        A rule with a few criteria.
        """

        def some(values: Sequence[Any]) -> list[Any]:
            return random.sample(values, random.randint(1, 2))

        criteria: dict[str, Callable[[], Any]] = {
            "destination_port": lambda: random.choice((80, 443)),
            "prefix_ranges": lambda: ranges(*some(self.RANGES)),
            "server_names": lambda: some(self.NAMES),
            "transport_protocol": lambda: random.choice(("tls", "raw_buffer")),
            "application_protocols": lambda: some(self.PROTOCOLS),
            "direct_source_prefix_ranges": lambda: ranges(*some(self.RANGES)),
            "source_type": lambda: random.choice(("SAME_IP_OR_LOOPBACK", "EXTERNAL")),
            "source_prefix_ranges": lambda: ranges(*some(self.RANGES)),
            "source_ports": lambda: some((1, 2, 3)),
        }
        chosen = random.sample(sorted(criteria), random.choice((0, 1, 1, 2, 2, 3, 4)))
        return rule(**{name: criteria[name]() for name in chosen})

    def randomFacts(self, random: Random) -> ConnectionFacts:
        """
        A connection that may well match.
        """
        names = [name.replace("*", "q") for name in self.NAMES]
        return facts(
            random.choice(self.ADDRESSES),
            random.choice((80, 443, 81)),
            random.choice(self.ADDRESSES),
            random.choice((1, 2, 3, 4)),
            random.choice(self.ADDRESSES),
            random.choice([*names, "", "other.test"]),
            random.choice(("tls", "raw_buffer")),
            random.sample(self.PROTOCOLS, random.randint(0, 3)),
        )

    def test_agree(self) -> None:
        """
        Hundreds of listeners with up to six chains, a score of connections each.
        """
        random = Random(20261122)
        found = unmatched = 0
        for _ in range(300):
            rules = [(self.randomRule(random), number) for number in range(random.randint(1, 6))]
            twins: list[tuple[int, int]] = []
            match = compileMatch(rules, None, lambda a, b: twins.append((a, b)))  # noqa: B023  # called at once
            if twins:
                continue
            for _ in range(20):
                connection = self.randomFacts(random)
                expected = plainly(rules, connection)
                self.assertLessEqual(len(expected), 1)
                chain = match.find(connection)
                self.assertEqual({chain} - {None}, expected, (rules, connection))
                found += chain is not None
                unmatched += chain is None
        # Both must have come up, or nothing was compared.
        self.assertGreater(found, 500)
        self.assertGreater(unmatched, 500)
