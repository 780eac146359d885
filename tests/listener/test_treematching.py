"""
L{meshproxy.listener.treematching}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.errors import ConfigErrors
from meshproxy.listener.matching import ConnectionFacts
from meshproxy.net.address import Address
from meshproxy.testing import MemoryProxy
from tests.integration.configs import bootstrap

_INPUTS = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3."
_XDS = "type.googleapis.com/xds.type.matcher.v3."
_DIRECT = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"


def to(name: str) -> dict[str, Any]:
    """
    An action.
    """
    typed = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": name}
    return {"action": {"name": name, "typed_config": typed}}


def tree(kind: str, custom: dict[str, Any] | None = None, **branches: Any) -> dict[str, Any]:
    """
    A matcher by an input.
    """
    held: dict[str, Any] = {"input": {"name": "i", "typed_config": {"@type": f"{_INPUTS}{kind}Input"}}}
    if custom is None:
        held["exact_match_map"] = {"map": branches}
    else:
        held["custom_match"] = {"name": "c", "typed_config": custom}
    return {"matcher_tree": held}


class TreeMatchTests(SynchronousTestCase):
    """
    Which chain a connection gets.
    """

    def listen(self, matcher: dict[str, Any], *names: str, **more: Any) -> None:
        """
        A listener with filter chains of some names.
        """
        config = {"@type": _DIRECT, "response": {"inline_string": "x"}}
        filters = [{"name": "d", "typed_config": config}]
        fields = {
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 10000}},
            "filter_chains": [{"name": name, "filters": filters} for name in names or ("a", "b", "c")],
            "filter_chain_matcher": matcher,
            **more,
        }
        if "default_filter_chain" in more:
            fields["default_filter_chain"] = {"name": "default", "filters": filters}
        self.proxy = MemoryProxy(bootstrap(fields))
        (self.listener,) = self.proxy.server.listeners.byName.values()

    def chosen(self, name: str = "", source: str = "192.0.2.7", port: int = 443, protocols: Any = ()) -> str | None:
        """
        The name of a connection's chain.
        """
        info = ConnectionInfo()
        info.remoteAddress = Address(source, 40000)
        info.directRemoteAddress = Address("198.51.100.2", 40001)
        info.localAddress = Address("198.51.100.1", port)
        chain = self.listener.chainOf(ConnectionFacts(info, name, "tls" if name else "raw_buffer", protocols))
        return None if chain is None else chain.name

    def test_inputs(self) -> None:
        """
        What can be looked at.
        """
        for kind, key in (
            ("ServerName", "a.example"),
            ("TransportProtocol", "tls"),
            ("ApplicationProtocol", "'h2','http/1.1'"),
            ("DestinationIP", "198.51.100.1"),
            ("DestinationPort", "443"),
            ("SourceIP", "192.0.2.7"),
            ("SourcePort", "40000"),
            ("DirectSourceIP", "198.51.100.2"),
        ):
            self.listen(tree(kind, **{key: to("b")}))
            self.assertEqual(self.chosen("a.example", protocols=["h2", "http/1.1"]), "b", kind)
        self.listen(tree("SourceType", local=to("b")))
        found = [self.chosen(source=each) for each in ("192.0.2.7", "127.0.0.1", "198.51.100.1", "127.0.0.2")]
        self.assertEqual(found, [None, "b", "b", None])

    def test_default(self) -> None:
        """
        The default chain is for those that no condition holds for, and not for those whose chain is not there.
        """
        self.listen(tree("ServerName", x=to("a"), y=to("nobody")), default_filter_chain={})
        self.assertEqual([self.chosen(name) for name in ("x", "y", "z", "")], ["a", None, "default", "default"])

    def test_ranges(self) -> None:
        """
        The most specific range first; less specific ones after it, but for those that are exclusive.
        """

        def ranged(prefix: str, length: int, branch: Any, isExclusive: bool = False) -> dict[str, Any]:
            ranges = [{"address_prefix": prefix, "prefix_len": length}]
            return {"ranges": ranges, "on_match": branch, "exclusive": isExclusive}

        for isExclusive, expected in ((False, "b"), (True, "c")):
            matchers = [
                ranged("192.0.0.0", 8, to("c")),
                ranged("192.0.2.0", 24, {"matcher": tree("DestinationPort", **{"443": to("a")})}),
                ranged("192.0.0.0", 16, to("b"), isExclusive),
            ]
            self.listen(tree("SourceIP", {"@type": f"{_XDS}IPMatcher", "range_matchers": matchers}))
            self.assertEqual(self.chosen(), "a")
            self.assertEqual(self.chosen(port=80), expected)
            self.assertEqual(self.chosen(source="192.0.3.1"), "b")
            self.assertIsNone(self.chosen(source="2001:db8::1"))

    def test_domains(self) -> None:
        """
        A name, its suffixes, and all names.
        """
        branches = [
            {"domains": ["a.example"], "on_match": to("a")},
            {"domains": ["*.example", "*.sub.example"], "on_match": to("b")},
            {"domains": ["*"], "on_match": to("c")},
        ]
        self.listen(tree("ServerName", {"@type": f"{_XDS}ServerNameMatcher", "domain_matchers": branches}))
        found = [self.chosen(name) for name in ("A.example", "x.sub.example", "b.example", "example", "")]
        self.assertEqual(found, ["a", "b", "b", "c", None])

    def test_refused(self) -> None:
        """
        Chains need names of their own, an action is a name, and only connections can be looked at.
        """
        header = {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": "x"}
        held = {"input": {"name": "i", "typed_config": header}, "exact_match_map": {"map": {"x": to("a")}}}
        of = {"matcher_tree": held}
        wrong = {"action": {"name": "x", "typed_config": header}}
        for matcher, names, told in (
            (tree("ServerName", x=to("a")), ("a", ""), "needs a name"),
            (tree("ServerName", x=to("a")), ("a", "a"), "two filter chains of the name 'a'"),
            (tree("ServerName", x=wrong), ("a",), "an action is the name of a filter chain"),
            (of, ("a",), "not an input that can be looked at here"),
        ):
            error = self.assertRaises(ConfigErrors, self.listen, matcher, *names)
            self.assertIn(told, str(error))
