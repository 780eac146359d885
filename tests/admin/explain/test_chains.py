"""
Tests for L{meshproxy.admin.explain.chains}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.admin.explain.chains import chainMisses
from meshproxy.config import Section
from meshproxy.listener.matching import ConnectionFacts
from meshproxy.net.address import Address

CHAIN = "envoy.config.listener.v3.FilterChain"
INSIDE = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]


def missed(**match: Any) -> list[tuple[str, str, str]]:
    """
    What a chain misses of a TLS connection from 192.0.2.7:5000 to 192.0.2.1:443, for C{a.example} and C{h2}.
    """
    info = ConnectionInfo()
    info.remoteAddress = info.directRemoteAddress = Address("192.0.2.7", 5000)
    info.localAddress = Address("192.0.2.1", 443)
    facts = ConnectionFacts(info, "a.example", "tls", ("h2",))
    chain = Section.of(CHAIN, {"filter_chain_match": match} if match else {})
    return [(told["what"], told["wanted"], told["actual"]) for told in chainMisses(chain, facts)]


class ChainMissesTests(SynchronousTestCase):
    """
    L{chainMisses}.
    """

    def test_each(self) -> None:
        """
        Each criterion with what the connection has.
        """
        for field, wrong, right, wanted, actual in (
            ("destination_port", 80, 443, "80", "192.0.2.1:443"),
            ("server_names", ["b.example", "*.a.example"], ["A.example"], "b.example, *.a.example", "a.example"),
            ("server_names", ["*.b.example"], ["*.example"], "*.b.example", "a.example"),
            ("transport_protocol", "raw_buffer", "tls", "raw_buffer", "tls"),
            ("application_protocols", ["http/1.1"], ["h2"], "http/1.1", "h2"),
            ("source_type", "SAME_IP_OR_LOOPBACK", "EXTERNAL", "SAME_IP_OR_LOOPBACK", "192.0.2.7:5000"),
            ("source_ports", [1, 2], [5000], "1, 2", "192.0.2.7:5000"),
            ("prefix_ranges", INSIDE, [], "10.0.0.0/8", "192.0.2.1"),
            ("source_prefix_ranges", INSIDE, [], "10.0.0.0/8", "192.0.2.7"),
            ("direct_source_prefix_ranges", INSIDE, [], "10.0.0.0/8", "192.0.2.7"),
        ):
            self.assertEqual(missed(**{field: wrong}), [(field, wanted, actual)])
            self.assertEqual([what for what, _, _ in missed(**{field: right})], ["filter_chain_match"])

    def test_several(self) -> None:
        """
        All that is missed, in the order in which it is looked at.
        """
        found = missed(transport_protocol="raw_buffer", destination_port=1)
        self.assertEqual([what for what, _, _ in found], ["destination_port", "transport_protocol"])

    def test_nothing(self) -> None:
        """
        Where nothing is missed another chain is nearer, or this one is for the rest.
        """
        self.assertEqual(missed(destination_port=443)[0][2], "another chain matches more specifically")
        self.assertEqual(missed()[0][2], "it is for what no other chain matches")

    def test_tree(self) -> None:
        """
        Where a tree of conditions decides, it is the tree that leads elsewhere.
        """
        listener = Section.of("envoy.config.listener.v3.Listener", {"filter_chain_matcher": {}})
        facts = ConnectionFacts(ConnectionInfo())
        (told,) = chainMisses(Section.of(CHAIN, {}), facts, listener)
        self.assertEqual(told["what"], "filter_chain_matcher")
