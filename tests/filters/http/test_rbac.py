"""
L{meshproxy.filters.http.rbac}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.rbac import RBAC
from meshproxy.interfaces import STOP
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed

NAMESPACE = "envoy.filters.http.rbac"
ALICE = "policies: {%s: {permissions: [{any: true}], principals: [{header: {name: u, string_match: {exact: alice}}}]}}"


class RBACTests(SynchronousTestCase):
    """
    The filter around the policies.
    """

    def make(self, text: str) -> None:
        """
        Make the filter under test.
        """
        self.context = makeContext()
        self.rbac: Any = makeFilter(RBAC, text, self.context)

    def send(self, user: bytes = b"", route: Any = None) -> FakeStream:
        """
        Let a request pass.
        """
        stream = FakeStream([(b"u", user)], route=route)
        self.answer = self.rbac.requestHeaders(stream, stream.requestHeaders, True)
        return stream

    def counts(self) -> dict[str, int]:
        """
        All counters that are not 0.
        """
        return {
            name.removeprefix("http.test.rbac."): counter.value
            for name, counter in self.context.store.counters.items()
            if counter.value
        }

    def test_allowed(self) -> None:
        """
        An allowed request goes on, counted and noted.
        """
        self.make(f"rules: {{{ALICE % 'p'}}}")
        stream = self.send(b"alice")
        self.assertIsNone(self.answer)
        self.assertEqual(self.counts(), {"allowed": 1})
        noted = {"enforced_effective_policy_id": "p", "enforced_engine_result": "allowed"}
        self.assertEqual(stream.dynamicMetadata, {NAMESPACE: noted})

    def test_denied(self) -> None:
        """
        A denied one gets Envoy's answer, and why stands in the metadata only.
        """
        self.make(f"rules: {{{ALICE % 'p'}}}")
        stream = self.send(b"bob")
        self.assertIs(self.answer, STOP)
        details = "rbac_access_denied_matched_policy[none]"
        self.assertEqual(stream.replies, [(403, b"RBAC: access denied", {}, details)])
        self.assertEqual(self.counts(), {"denied": 1})
        assert stream.dynamicMetadata is not None
        self.assertEqual(
            stream.dynamicMetadata[NAMESPACE],
            {
                "enforced_engine_result": "denied",
                "denied_because": """policy 'p': header u is "bob", not exact "alice\"""",
            },
        )

    def test_detailsWithSpaces(self) -> None:
        """
        The policy that denies is named in the details, without spaces.
        """
        self.make(f"rules: {{action: DENY, {ALICE % 'a  b'}}}")
        self.assertEqual(self.send(b"alice").replies[0][3], "rbac_access_denied_matched_policy[a__b]")
        self.assertEqual(self.send(b"bob").replies, [])

    def test_absentOrEmpty(self) -> None:
        """
        Without rules everything is allowed and nothing counted; empty rules allow nothing.
        """
        self.make("{}")
        self.assertEqual((self.send().replies, self.send().dynamicMetadata, self.counts()), ([], None, {}))
        self.make("rules: {}")
        self.assertEqual(self.send().replies[0][0], 403)

    def test_shadow(self) -> None:
        """
        Shadow rules are only noted and counted, with their own prefix, before the rules.
        """
        self.make(
            f"{{rules: {{{ALICE % 'p'}}}, shadow_rules: {{action: DENY, {ALICE % 's q'}}},"
            " shadow_rules_stat_prefix: sha, rules_stat_prefix: pre}"
        )
        stream = self.send(b"alice")
        self.assertEqual(stream.replies, [])
        assert stream.dynamicMetadata is not None
        self.assertEqual(
            stream.dynamicMetadata[NAMESPACE],
            {
                "shashadow_effective_policy_id": "s q",
                "shashadow_engine_result": "denied",
                "shashadow_denied_because": """policy 's q' matches: anybody may do anything, header u is "alice\"""",
                "preenforced_effective_policy_id": "p",
                "preenforced_engine_result": "allowed",
            },
        )
        self.assertEqual(self.counts(), {"sha.shadow_denied": 1, "pre.allowed": 1})

    def test_perPolicy(self) -> None:
        """
        With C{track_per_rule_stats} each policy that matched has counters.
        """
        self.make(
            f"{{rules: {{{ALICE % 'p'}}}, shadow_rules: {{action: DENY, {ALICE % 'q'}}}, track_per_rule_stats: true}}"
        )
        self.send(b"alice")
        self.send(b"bob")
        self.assertEqual(
            self.counts(),
            {
                "allowed": 1,
                "denied": 1,
                "shadow_allowed": 1,
                "shadow_denied": 1,
                "policy.p.allowed": 1,
                "policy.q.shadow_denied": 1,
            },
        )

    def test_log(self) -> None:
        """
        C{LOG} lets everything through and notes whether to log it.
        """
        self.make(f"rules: {{action: LOG, {ALICE % 'p'}}}")
        for user, hint in ((b"alice", True), (b"bob", False)):
            stream = self.send(user)
            assert stream.dynamicMetadata is not None
            self.assertEqual((stream.replies, stream.dynamicMetadata["envoy.common"]), ([], {"access_log_hint": hint}))

    def test_shadowLog(self) -> None:
        """
        As shadow rules, C{LOG} notes no such thing.
        """
        self.make(f"shadow_rules: {{action: LOG, {ALICE % 'p'}}}")
        self.assertNotIn("envoy.common", self.send(b"alice").dynamicMetadata or {})

    def test_route(self) -> None:
        """
        A route has rules of its own, or, with an empty configuration, none.
        """
        self.make(f"rules: {{{ALICE % 'p'}}}")
        own = compiled(RBAC, f"rbac: {{rules: {{action: DENY, {ALICE % 'q'}}}}}", self.context, True)
        none = compiled(RBAC, "{}", self.context, True)
        self.assertEqual(self.send(b"bob", routed(own)).replies, [])
        self.assertEqual(self.send(b"alice", routed(own)).replies[0][0], 403)
        self.assertEqual(self.send(b"bob", routed(none)).replies, [])

    def test_metadataOfOthers(self) -> None:
        """
        What other filters noted stays.
        """
        self.make(f"rules: {{{ALICE % 'p'}}}")
        stream = FakeStream([(b"u", b"alice")])
        stream.dynamicMetadata = {"other": {"k": "v"}, NAMESPACE: {"k": "v"}}
        self.rbac.requestHeaders(stream, stream.requestHeaders, True)
        self.assertEqual(stream.dynamicMetadata["other"], {"k": "v"})
        self.assertEqual(stream.dynamicMetadata[NAMESPACE]["k"], "v")

    def test_matcher(self) -> None:
        """
        A matcher may decide instead of rules: by its actions, and what leads to none is denied.
        """

        def act(name: str, action: str) -> str:
            kind = "type.googleapis.com/envoy.config.rbac.v3.Action"
            return f"{{action: {{name: a, typed_config: {{'@type': {kind}, name: {name}, action: {action}}}}}}}"

        read = "{'@type': type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: u}"
        tree = (
            f"{{matcher_tree: {{input: {{name: i, typed_config: {read}}}, exact_match_map: {{map: {{"
            f"alice: {act('good', 'ALLOW')}, bob: {act('bad', 'DENY')}, carol: {act('seen', 'LOG')}}}}}}}}}"
        )
        self.make(f"matcher: {tree}")
        expected = {
            b"alice": (None, "good", False),
            b"bob": ("rbac_access_denied_matched_policy[bad]", "bad", False),
            b"carol": (None, "seen", True),
            b"dave": ("rbac_access_denied_matched_policy[none]", None, None),
        }
        for user, (details, policy, hint) in expected.items():
            stream = FakeStream([(b"u", user)])
            self.rbac.requestHeaders(stream, stream.requestHeaders, True)
            assert stream.dynamicMetadata is not None
            found = (
                stream.replies[0][3] if stream.replies else None,
                stream.dynamicMetadata[NAMESPACE].get("enforced_effective_policy_id"),
                stream.dynamicMetadata.get("envoy.common", {}).get("access_log_hint"),
            )
            self.assertEqual(found, (details, policy, hint), user)
        because = [
            self.denied(user).dynamicMetadata[NAMESPACE]["denied_because"]  # type: ignore[index]  # it is there
            for user in (b"bob", b"dave")
        ]
        self.assertEqual(because, ["action 'bad' denies it", "the matcher leads to no action"])

    def denied(self, user: bytes) -> FakeStream:
        """
        What became of a request.
        """
        stream = FakeStream([(b"u", user)])
        self.rbac.requestHeaders(stream, stream.requestHeaders, True)
        return stream

    def test_shadowMatcher(self) -> None:
        """
        A matcher that is only tried denies nothing.
        """
        self.make("shadow_matcher: {}")
        stream = self.denied(b"x")
        assert stream.dynamicMetadata is not None
        self.assertEqual((stream.replies, stream.dynamicMetadata[NAMESPACE]["shadow_engine_result"]), ([], "denied"))

    def test_refused(self) -> None:
        """
        What is not implemented is refused at its place, whatever unknown fields are allowed.
        """
        for text in (
            "{rules: {}, matcher: {}}",
            "{shadow_rules: {}, shadow_matcher: {}}",
            "rules: {audit_logging_options: {audit_condition: ON_DENY}}",
        ):
            with self.assertRaises(ConfigErrors):
                makeFilter(RBAC, text)
