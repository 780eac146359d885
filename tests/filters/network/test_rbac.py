"""
L{meshproxy.filters.network.rbac}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.listenerfilter import ListenerFilter
from meshproxy.testing import Peer
from tests.filters.network.support import TCP, FilterProxy, accessLog, refusals

NEAR = {
    "permissions": [{"any": True}],
    "principals": [{"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}],
}
LOG = accessLog(
    "%CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %BYTES_RECEIVED% "
    "%DYNAMIC_METADATA(envoy.filters.network.rbac)%\n"
)


def rules(action: str = "ALLOW", **policies: Any) -> dict[str, Any]:
    """
    A C{RBAC} message.
    """
    return {"action": action, "policies": policies}


class Named(ListenerFilter):
    """
    Stands for what tells a server name and notes something.
    """

    def inspect(self, connection: Any, data: bytes) -> object:
        """
        Note.
        """
        connection.facts.serverName = "a.example"
        connection.info.note("ns", "role", "admin")
        connection.info.setState("team", "blue")
        return None


class RBACTests(SynchronousTestCase):
    """
    Who may connect.
    """

    def proxy(self, **fields: Any) -> FilterProxy:
        """
        A proxy with policies before tcp_proxy.
        """
        return FilterProxy(
            ("rbac", {"stat_prefix": "p.", **fields}),
            ("tcp_proxy", {**TCP, "access_log": LOG}),
            before=[("named", {})],
            custom={"named": Named},
        )

    def isAllowed(self, policy: dict[str, Any], source: str = "10.1.1.1") -> bool:
        """
        Whether one policy lets a connection pass.
        """
        proxy = self.proxy(rules=rules(p=policy))
        peer = proxy.talk(b"abc", source=source)
        self.assertEqual(proxy.backend.received, [b""] if peer.closed else [b"abc"])
        return not peer.closed

    def test_allow(self) -> None:
        """
        Whom a policy names passes, others are closed when their first bytes come, and nothing of those reaches the
        upstream.
        """
        self.assertTrue(self.isAllowed(NEAR))
        self.assertFalse(self.isAllowed(NEAR, "192.0.2.1"))

    def test_deny(self) -> None:
        """
        The other way round, with the policy's name in the log.
        """
        proxy = self.proxy(rules=rules("DENY", **{"no way": NEAR}))
        self.assertFalse(proxy.talk(b"abc", source="192.0.2.1").closed)
        self.assertTrue(proxy.talk(b"abc", source="10.1.1.1").closed)
        self.assertEqual(proxy.stat("p.rbac.denied"), 1)
        self.assertEqual(proxy.stat("p.rbac.allowed"), 1)
        [line] = proxy.log
        self.assertIn("rbac_access_denied_matched_policy[no_way] rbac_deny_close 3 ", line)
        self.assertIn("policy 'no way' matches", line)

    def test_empty(self) -> None:
        """
        Without C{rules} everybody passes, with C{rules} without policies nobody does.
        """
        self.assertFalse(self.proxy().talk(b"abc").closed)
        self.assertTrue(self.proxy(rules=rules()).talk(b"abc").closed)

    def test_conditions(self) -> None:
        """
        All that a connection has: addresses, ports, the server name, metadata and filter state; and, or, not.
        """
        anybody = {"principals": [{"any": True}]}
        metadata = {"filter": "ns", "path": [{"key": "role"}], "value": {"string_match": {"exact": "admin"}}}
        for permission, wanted in (
            ({"destination_port": 10000}, True),
            ({"destination_port": 10001}, False),
            ({"destination_port_range": {"start": 9000, "end": 10000}}, False),
            ({"destination_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}, True),
            ({"requested_server_name": {"exact": "a.example"}}, True),
            ({"requested_server_name": {"suffix": ".b"}}, False),
            ({"metadata": metadata}, True),
            ({"metadata": {**metadata, "invert": True}}, False),
            ({"not_rule": {"destination_port": 10000}}, False),
            ({"and_rules": {"rules": [{"any": True}, {"destination_port": 10001}]}}, False),
            ({"or_rules": {"rules": [{"destination_port": 10000}, {"destination_port": 10001}]}}, True),
        ):
            self.assertEqual(self.isAllowed({**anybody, "permissions": [permission]}), wanted, permission)
        anything = {"permissions": [{"any": True}]}
        near, far = ({"address_prefix": prefix, "prefix_len": 8} for prefix in ("10.0.0.0", "11.0.0.0"))
        for principal, wanted in (
            ({"source_ip": near}, True),
            ({"remote_ip": near}, True),
            ({"remote_ip": far}, False),
            ({"not_id": {"remote_ip": far}}, True),
            ({"or_ids": {"ids": [{"remote_ip": far}, {"source_ip": near}]}}, True),
            ({"and_ids": {"ids": [{"remote_ip": far}, {"source_ip": near}]}}, False),
            ({"authenticated": {}}, False),
            ({"metadata": metadata}, True),
            ({"filter_state": {"key": "team", "string_match": {"exact": "blue"}}}, True),
            ({"filter_state": {"key": "team", "string_match": {"exact": "red"}}}, False),
        ):
            self.assertEqual(self.isAllowed({**anything, "principals": [principal]}), wanted, principal)

    def test_ofRequests(self) -> None:
        """
        What only requests have is refused wherever it stands; so is what is not implemented.
        """
        header = {"header": {"name": "x", "present_match": True}}
        for permission in (header, {"not_rule": {"or_rules": {"rules": [header]}}}):
            policy = {"permissions": [permission], "principals": [{"any": True}]}
            told = refusals(("rbac", {"stat_prefix": "p", "rules": rules(p=policy)}), ("tcp_proxy", TCP))
            self.assertIn("a connection has no request", told)
        policy = {
            "permissions": [{"any": True}],
            "principals": [{"not_id": {"and_ids": {"ids": [{"url_path": {"path": {"exact": "/"}}}]}}}],
        }
        told = refusals(("rbac", {"stat_prefix": "p", "rules": rules(p=policy)}), ("tcp_proxy", TCP))
        self.assertIn("a connection has no request", told)
        tree = {
            "on_no_match": {
                "action": {"name": "a", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}
            }
        }
        self.assertIn("matcher", refusals(("rbac", {"stat_prefix": "p", "matcher": tree}), ("tcp_proxy", TCP)))

    def test_matcher(self) -> None:
        """
        A tree may decide in the place of rules; who comes to no action is denied.
        """

        def tree(action: str) -> dict[str, Any]:
            inputs = "type.googleapis.com/envoy.extensions.matching."
            read = {"@type": f"{inputs}common_inputs.network.v3.SourceIPInput"}
            near = {"address_prefix": "10.0.0.0", "prefix_len": 8}
            ranges = {"@type": f"{inputs}input_matchers.ip.v3.Ip", "cidr_ranges": [near], "stat_prefix": "x"}
            single = {
                "input": {"name": "i", "typed_config": read},
                "custom_match": {"name": "m", "typed_config": ranges},
            }
            act = {"@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": "a", "action": action}
            then = {"action": {"name": "a", "typed_config": act}}
            return {"matcher_list": {"matchers": [{"predicate": {"single_predicate": single}, "on_match": then}]}}

        for action, source, isClosed in (
            ("ALLOW", "10.1.1.1", False),
            ("ALLOW", "192.0.2.1", True),
            ("DENY", "10.1.1.1", True),
        ):
            proxy = self.proxy(matcher=tree(action))
            self.assertEqual(proxy.talk(b"abc", source=source).closed, isClosed)
            self.assertEqual(proxy.stat("p.rbac.denied"), int(isClosed))
        self.assertIn("action 'a' denies it", proxy.log[0])
        proxy = self.proxy(shadow_matcher=tree("DENY"))
        self.assertFalse(proxy.talk(b"abc", source="10.1.1.1").closed)
        self.assertEqual(proxy.stat("p.rbac.shadow_denied"), 1)
        told = refusals(("rbac", {"stat_prefix": "p", "matcher": tree("DENY"), "rules": {}}), ("tcp_proxy", TCP))
        self.assertIn("Envoy ignores the rules beside a matcher", told)

    def test_shadow(self) -> None:
        """
        Shadow rules are counted and noted, and refuse nobody.
        """
        proxy = self.proxy(shadow_rules=rules(near=NEAR), shadow_rules_stat_prefix="try_")
        self.assertFalse(proxy.talk(b"abc", source="192.0.2.1").closed)
        proxy.talk(b"abc", source="10.1.1.1").abort()
        self.assertEqual(proxy.stat("p.rbac.try_.shadow_denied"), 1)
        self.assertEqual(proxy.stat("p.rbac.try_.shadow_allowed"), 1)
        [line] = proxy.log
        self.assertIn('"try_shadow_effective_policy_id":"near"', line)
        self.assertIn('"try_shadow_engine_result":"allowed"', line)

    def test_whyShadowDenied(self) -> None:
        """
        Why shadow rules would refuse is told as well.
        """
        proxy = self.proxy(shadow_rules=rules(near=NEAR))
        proxy.talk(b"abc", source="192.0.2.1").abort()
        self.assertIn("shadow_denied_because", proxy.log[0])

    def test_log(self) -> None:
        """
        C{LOG} refuses nobody and notes a hint.
        """
        proxy = self.proxy(rules=rules("LOG", near=NEAR))
        for source in ("10.1.1.1", "192.0.2.1"):
            self.assertFalse(proxy.talk(b"abc", source=source).closed)

    def test_once(self) -> None:
        """
        Usually the first bytes decide; C{CONTINUOUS} asks with each piece, and at the end.
        """
        for kind, counted in (("ONE_TIME_ON_FIRST_BYTE", 1), ("CONTINUOUS", 3)):
            proxy = self.proxy(rules=rules(near=NEAR), enforcement_type=kind)
            peer = proxy.talk(b"abc", b"def", source="10.1.1.1")
            peer.finish()
            proxy.proxy.settle()
            self.assertEqual(proxy.stat("p.rbac.allowed"), counted)
            self.assertEqual(proxy.backend.received, [b"abcdef"])
            self.assertTrue(proxy.backend.peers[0].ended)

    def test_silent(self) -> None:
        """
        Who says nothing is judged when he ends; until then the upstream may speak.
        """
        proxy = self.proxy(rules=rules(near=NEAR))
        peer = proxy.talk(source="192.0.2.1")
        proxy.backend.peers[0].write(b"welcome")
        proxy.proxy.settle()
        self.assertEqual(peer.received, b"welcome")
        peer.finish()
        proxy.proxy.settle()
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.stat("p.rbac.denied"), 1)

    def test_delay(self) -> None:
        """
        With C{delay_deny} the one who is denied is kept for a while; what he sends meanwhile goes nowhere.
        """
        proxy = self.proxy(rules=rules(near=NEAR), delay_deny="3s")
        peer = proxy.talk(b"abc", b"def", source="192.0.2.1", limit=1)
        self.assertFalse(peer.closed)
        proxy.proxy.advance(1)
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.backend.received, [b""])
        early = Peer()
        proxy.proxy.connect(early, source="192.0.2.1")
        early.write(b"abc")
        proxy.proxy.settle()
        early.abort()
        proxy.proxy.advance(5)
        self.assertEqual(proxy.stat("p.rbac.denied"), 2)
