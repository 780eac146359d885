"""
L{meshproxy.http.authorization} and L{meshproxy.http.authorizationrules}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.expressions import compileFunction, expressionOf
from meshproxy.errors import ConfigErrors
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization import Policies, Verdict, compilePolicies
from meshproxy.http.authorizationrules import Rule, compilePermission, compilePrincipal
from meshproxy.net.address import Address
from tests.accesslog.streams import TLSRecord
from tests.filters.http.support import FakeStream, connection, routed

RBAC = "envoy.config.rbac.v3.RBAC"


def policies(text: str) -> Policies:
    """
    Compiled policies.
    """
    section = sectionFromYAML(RBAC, text)
    made = compilePolicies(section)
    section.report.raiseIfAny()
    quick = made.check

    def check(stream: Any, headers: RequestHeaders) -> Verdict:
        # The function that was written for the policies decides as they do one by one.
        verdict = quick(stream, headers)
        assert verdict is made.checkEach(stream, headers)
        return verdict

    made.check = check
    return made


def holds(rule: Rule, stream: FakeStream) -> bool:
    """
    Whether a rule holds, which what it tells of itself says too.
    """
    expression = expressionOf(rule.test, "stream, headers")
    quick = compileFunction("stream, headers", [f"return {expression.source}"], expression.names)
    outcome = rule.test(stream, stream.requestHeaders)
    assert bool(quick(stream, stream.requestHeaders)) is outcome
    return outcome


def permits(text: str, stream: FakeStream | None = None) -> bool:
    """
    Whether a permission matches.
    """
    section = sectionFromYAML("envoy.config.rbac.v3.Permission", text)
    rule = compilePermission(section)
    section.report.raiseIfAny()
    return holds(rule, stream or FakeStream())


def isPrincipal(text: str, stream: FakeStream | None = None) -> bool:
    """
    Whether a principal matches.
    """
    section = sectionFromYAML("envoy.config.rbac.v3.Principal", text)
    rule = compilePrincipal(section)
    section.report.raiseIfAny()
    return holds(rule, stream or FakeStream())


class PermissionTests(SynchronousTestCase):
    """
    What a request may do.
    """

    def test_any(self) -> None:
        """
        Everything.
        """
        self.assertTrue(permits("any: true"))

    def test_header(self) -> None:
        """
        Headers, pseudo-header fields included.
        """
        stream = FakeStream([(b"x-a", b"1")], method=b"POST")
        self.assertTrue(permits("header: {name: x-a, string_match: {exact: '1'}}", stream))
        self.assertFalse(permits("header: {name: x-b, present_match: true}", stream))
        self.assertTrue(permits("header: {name: ':method', string_match: {exact: POST}}", stream))

    def test_urlPath(self) -> None:
        """
        The path without its query; a request without a path has none that matches.
        """
        text = "url_path: {path: {exact: /a}}"
        self.assertTrue(permits(text, FakeStream(path=b"/a?b=c")))
        self.assertFalse(permits(text, FakeStream(path=b"/a/")))
        everything = "url_path: {path: {safe_regex: {regex: '.*'}}}"
        self.assertFalse(permits(everything, FakeStream(path=b"", method=b"CONNECT")))

    def test_destination(self) -> None:
        """
        Where the client connected to.
        """
        stream = FakeStream(connectedBy=connection(local="10.1.2.3", port=8080))
        self.assertTrue(permits("destination_ip: {address_prefix: 10.1.0.0, prefix_len: 16}", stream))
        self.assertFalse(permits("destination_ip: {address_prefix: 10.2.0.0, prefix_len: 16}", stream))
        self.assertTrue(permits("destination_port: 8080", stream))
        self.assertFalse(permits("destination_port: 8081", stream))

    def test_portRange(self) -> None:
        """
        The end of a range is not in it.
        """
        for start, end, expected in ((8080, 8081, True), (8079, 8080, False), (8081, 9000, False)):
            text = f"destination_port_range: {{start: {start}, end: {end}}}"
            self.assertEqual(permits(text), expected, text)

    def test_unixSocket(self) -> None:
        """
        A unix socket has neither address nor port that matches.
        """
        info = connection()
        info.localAddress = info.remoteAddress = info.directRemoteAddress = Address("/run/x.sock")
        stream = FakeStream(connectedBy=info)
        self.assertFalse(permits("destination_ip: {address_prefix: 0.0.0.0, prefix_len: 0}", stream))
        self.assertFalse(permits("destination_port_range: {start: 0, end: 65536}", stream))
        self.assertFalse(isPrincipal("direct_remote_ip: {address_prefix: 0.0.0.0, prefix_len: 0}", stream))

    def test_requestedServerName(self) -> None:
        """
        The server name of the ClientHello, empty on cleartext.
        """
        info = connection()
        info.requestedServerName = "a.example"
        self.assertTrue(permits("requested_server_name: {suffix: .example}", FakeStream(connectedBy=info)))
        self.assertTrue(permits("requested_server_name: {exact: ''}"))

    def test_metadata(self) -> None:
        """
        Dynamic metadata, or those of the route.
        """
        matcher = "{filter: f, path: [{key: k}], value: {string_match: {exact: v}}}"
        stream = FakeStream()
        stream.dynamicMetadata = {"f": {"k": "v"}}
        self.assertTrue(permits(f"metadata: {matcher}", stream))
        self.assertTrue(permits(f"sourced_metadata: {{metadata_matcher: {matcher}}}", stream))
        onRoute = f"sourced_metadata: {{metadata_matcher: {matcher}, metadata_source: ROUTE}}"
        self.assertFalse(permits(onRoute, stream))
        self.assertTrue(permits(onRoute, FakeStream(route=routed(metadata={"f": {"k": "v"}}))))

    def test_compound(self) -> None:
        """
        All, one, none of.
        """
        yes, no = "any: true", "not_rule: {any: true}"
        for text, expected in (
            (f"and_rules: {{rules: [{{{yes}}}, {{destination_port: 8080}}]}}", True),
            (f"and_rules: {{rules: [{{destination_port: 8080}}, {{{no}}}]}}", False),
            (f"or_rules: {{rules: [{{{no}}}, {{destination_port: 8080}}]}}", True),
            (f"or_rules: {{rules: [{{{no}}}, {{destination_port: 1}}]}}", False),
            (f"not_rule: {{{no}}}", True),
            (no, False),
            ("not_rule: {destination_port: 1}", True),
            (f"and_rules: {{rules: [{{{yes}}}]}}", True),
            (f"or_rules: {{rules: [{{destination_port: 1}}, {{{yes}}}]}}", True),
        ):
            self.assertEqual(permits(text), expected, text)

    def test_template(self) -> None:
        """
        A template is for the whole path, without its query; a star is one segment of any characters that a path may
        have, and not a star alone.
        """
        kind = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
        text = f"uri_template: {{name: t, typed_config: {{'@type': {kind}, path_template: '/a/*/{{name}}'}}}}"
        cases = {b"/a/b/c": True, b"/a/b/c?d/e": True, b"/a/b/c/d": False, b"/a/b/": False, b"/a/*~!/c": True}
        for path, expected in cases.items():
            self.assertEqual(permits(text, FakeStream(path=path)), expected, path)
        self.assertRaises(ConfigErrors, permits, text.replace("/a/", "a/"))

    def test_refused(self) -> None:
        """
        A condition that is not implemented is refused and matches nothing, never everything.
        """
        for text, field in (
            ({"uri_template": {"name": "x"}}, "uri_template"),
            ({"matcher": {"name": "x"}}, "matcher"),
            ({}, ""),
            ({"destination_port_range": {"start": 9, "end": 9}}, "destination_port_range"),
        ):
            section = Section.of("envoy.config.rbac.v3.Permission", text)
            stream = FakeStream()
            self.assertFalse(compilePermission(section).test(stream, stream.requestHeaders))
            self.assertEqual([error.path for error in section.report.errors], [field])


class PrincipalTests(SynchronousTestCase):
    """
    Who asks.
    """

    def test_addresses(self) -> None:
        """
        The peer of the socket, the client of the connection, and the client that C{x-forwarded-for} tells differ.
        """
        info = connection()
        info.directRemoteAddress = Address("10.0.0.1", 1)
        info.remoteAddress = Address("10.0.0.2", 1)
        stream: Any = FakeStream(connectedBy=info)
        told: Any = FakeStream(connectedBy=info)
        told.remoteAddress = Address("10.0.0.3", 0)
        for kind, expected, expectedTold in (
            ("direct_remote_ip", "10.0.0.1", "10.0.0.1"),
            ("source_ip", "10.0.0.2", "10.0.0.2"),
            ("remote_ip", "10.0.0.2", "10.0.0.3"),
        ):
            for last in "123":
                text = f"{kind}: {{address_prefix: 10.0.0.{last}, prefix_len: 32}}"
                self.assertEqual(isPrincipal(text, stream), expected.endswith(last), text)
                self.assertEqual(isPrincipal(text, told), expectedTold.endswith(last), text)

    def test_authenticated(self) -> None:
        """
        Without TLS nobody is; with it anybody, or who has one of the names.
        """
        named = "authenticated: {principal_name: {exact: 'spiffe://td/sa'}}"
        self.assertFalse(isPrincipal("authenticated: {}"))
        self.assertFalse(isPrincipal(named))
        info = connection()
        info.tls = TLSRecord()
        info.peerNames = ()
        stream = FakeStream(connectedBy=info)
        self.assertTrue(isPrincipal("authenticated: {}", stream))
        self.assertFalse(isPrincipal(named, stream))
        info.peerNames = ("spiffe://other/sa", "spiffe://td/sa")
        self.assertTrue(isPrincipal(named, stream))
        info.peerNames = ("spiffe://evil/x,spiffe://td/sa",)
        self.assertFalse(isPrincipal(named, stream), "a comma in a name begins no other name")

    def test_namesForgotten(self) -> None:
        """
        A TLS connection that does not know its peer's names raises, so that it passes by no policy that denies.
        """
        info = connection()
        info.tls = TLSRecord()
        with self.assertRaises(TypeError):
            isPrincipal("authenticated: {principal_name: {exact: x}}", FakeStream(connectedBy=info))

    def test_filterState(self) -> None:
        """
        An object of another filter, as text or as an address.
        """
        stream = FakeStream()
        self.assertFalse(isPrincipal("filter_state: {key: k, string_match: {safe_regex: {regex: '.*'}}}", stream))
        stream.filterState = {"k": "value", "ip": Address("10.0.0.1", 1)}
        self.assertTrue(isPrincipal("filter_state: {key: k, string_match: {exact: value}}", stream))
        ranges = "ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"
        self.assertTrue(isPrincipal(f"filter_state: {{key: ip, address_match: {{{ranges}}}}}", stream))
        self.assertFalse(isPrincipal(f"filter_state: {{key: k, address_match: {{{ranges}}}}}", stream))

    def test_compound(self) -> None:
        """
        All, one, none of.
        """
        for text, expected in (
            ("and_ids: {ids: [{any: true}, {header: {name: x, present_match: true}}]}", False),
            ("or_ids: {ids: [{header: {name: x, present_match: true}}, {any: true}]}", True),
            ("not_id: {header: {name: x, present_match: true}}", True),
            ("url_path: {path: {prefix: /}}", True),
        ):
            self.assertEqual(isPrincipal(text), expected, text)


class PoliciesTests(SynchronousTestCase):
    """
    Policies together.
    """

    def check(self, action: str, *headers: bytes) -> tuple[bool, str]:
        """
        The verdict of two policies, each about one header.
        """
        text = f"{{action: {action}, policies: {{b: {self.about('b')}, a: {self.about('a')}}}}}"
        stream = FakeStream([(name, b"1") for name in headers])
        return policies(text).check(stream, stream.requestHeaders)

    def about(self, name: str) -> str:
        """
        A policy.
        """
        return f"{{permissions: [{{header: {{name: {name}, present_match: true}}}}], principals: [{{any: true}}]}}"

    def test_allow(self) -> None:
        """
        Only what matches is allowed; policies are asked by name.
        """
        self.assertEqual(self.check("ALLOW"), (False, ""))
        self.assertEqual(self.check("ALLOW", b"b"), (True, "b"))
        self.assertEqual(self.check("ALLOW", b"b", b"a"), (True, "a"))

    def test_deny(self) -> None:
        """
        Only what matches is denied.
        """
        self.assertEqual(self.check("DENY"), (True, ""))
        self.assertEqual(self.check("DENY", b"b"), (False, "b"))

    def test_log(self) -> None:
        """
        Everything is allowed.
        """
        self.assertEqual(self.check("LOG"), (True, ""))
        self.assertEqual(self.check("LOG", b"a"), (True, "a"))

    def test_empty(self) -> None:
        """
        No policy matches anything.
        """
        stream = FakeStream()
        self.assertEqual(policies("{}").check(stream, stream.requestHeaders), (False, ""))
        self.assertEqual(policies("action: DENY").check(stream, stream.requestHeaders), (True, ""))

    def test_both(self) -> None:
        """
        A permission and a principal must match, each one of several.
        """
        made = policies(
            "policies: {p: {permissions: [{destination_port: 1}, {destination_port: 8080}],"
            " principals: [{header: {name: u, string_match: {exact: x}}}, {header: {name: v, present_match: true}}]}}"
        )
        for headers, allowed in (([], False), ([(b"u", b"x")], True), ([(b"u", b"y")], False), ([(b"v", b"")], True)):
            stream = FakeStream(headers)
            self.assertEqual(made.check(stream, stream.requestHeaders).allowed, allowed, headers)

    def test_condition(self) -> None:
        """
        A condition is refused, not left out.
        """
        policy = {"permissions": [{"any": True}], "principals": [{"any": True}], "condition": {"id": 1}}
        section = Section.of(RBAC, {"policies": {"p": policy}})
        compilePolicies(section)
        self.assertEqual([error.path for error in section.report.errors], ['policies["p"].condition'])


class ExplainTests(SynchronousTestCase):
    """
    Why a request was refused.
    """

    def why(self, text: str, *headers: tuple[bytes, bytes], path: bytes = b"/") -> str:
        """
        The explanation.
        """
        made = policies(text)
        stream = FakeStream(headers, path)
        verdict = made.check(stream, stream.requestHeaders)
        self.assertFalse(verdict.allowed)
        return made.explain(stream, stream.requestHeaders, verdict)

    def test_nearest(self) -> None:
        """
        The policy of which most matches is named, and of it the first condition that fails, with what is there.
        """
        text = """
        policies:
          admins:
            permissions: [{url_path: {path: {prefix: /admin}}}]
            principals: [{source_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]
          users:
            permissions:
            - and_rules:
                rules:
                - url_path: {path: {prefix: /pub}}
                - header: {name: x-user, string_match: {exact: alice}}
            principals: [{any: true}]
        """
        self.assertEqual(
            self.why(text, (b"x-user", b"bob"), path=b"/pub/x"),
            """policy 'users': header x-user is "bob", not exact "alice\"""",
        )
        self.assertEqual(
            self.why(text, path=b"/admin/x"),
            "policy 'admins': source address is 192.0.2.7, not in 10.0.0.0/8",
        )

    def test_matched(self) -> None:
        """
        A policy that denies says what made it match.
        """
        text = "{action: DENY, policies: {p: {permissions: [{destination_port: 8080}], principals: [{any: true}]}}}"
        self.assertEqual(self.why(text), "policy 'p' matches: destination port is 8080, anybody may do anything")

    def test_nothing(self) -> None:
        """
        No policy at all is a reason.
        """
        self.assertIn("there is no policy", self.why("{}"))

    def test_words(self) -> None:
        """
        Each kind of condition says what is there and what is wanted.
        """
        for permission, expected in (
            ("destination_port: 1", "destination port is 8080, not 1"),
            ("destination_port_range: {start: 1, end: 5}", "destination port is 8080, not from 1 to 4"),
            ("not_rule: {destination_port: 8080}", "destination port is 8080, which is excluded"),
            ("header: {name: x, present_match: true}", "header x is missing, not present"),
            ("header: {name: x-a, range_match: {start: 1, end: 9}}", 'header x-a is "no", not from 1 to below 9'),
            (
                "header: {name: x-a, invert_match: true, string_match: {prefix: 'no'}}",
                'header x-a is "no", not other than prefix "no"',
            ),
            ("header: {name: x-a, string_match: {safe_regex: {regex: y+}}}", 'header x-a is "no", not matched by y+'),
            (
                "url_path: {path: {exact: /A, ignore_case: true}}",
                'path is "/", not exact "/A", whatever the case',
            ),
            ("requested_server_name: {suffix: x}", 'requested server name is "", not suffix "x"'),
            (
                "metadata: {filter: f, path: [{key: k}], value: {bool_match: true}}",
                "metadata f k is missing, not the one that is wanted",
            ),
            ("or_rules: {rules: [{destination_port: 1}, {destination_port: 2}]}", "destination port is 8080, not 1"),
        ):
            text = f"policies: {{p: {{permissions: [{{{permission}}}], principals: [{{any: true}}]}}}}"
            self.assertEqual(self.why(text, (b"x-a", b"no")), f"policy 'p': {expected}")

    def test_principalWords(self) -> None:
        """
        So do principals.
        """
        for principal, expected in (
            ("authenticated: {principal_name: {exact: x}}", 'the connection is not authenticated, not exact "x"'),
            (
                "filter_state: {key: k, string_match: {exact: x}}",
                "filter state k is missing, not the one that is wanted",
            ),
            ("remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}", "remote address is 192.0.2.7, not in 10.0.0.0/8"),
        ):
            text = f"policies: {{p: {{permissions: [{{any: true}}], principals: [{{{principal}}}]}}}}"
            self.assertEqual(self.why(text), f"policy 'p': {expected}")

    def test_secrets(self) -> None:
        """
        Neither the credentials of a request nor those that a policy wants are told.
        """
        for name in ("authorization", "cookie", "x-api-key", "x-auth-token"):
            text = (
                f"policies: {{p: {{permissions: [{{header: {{name: {name}, string_match: {{exact: WANTED}}}}}}],"
                " principals: [{any: true}]}}"
            )
            why = self.why(text, (name.encode(), b"SENT"))
            self.assertIn(f"header {name} is hidden", why)
            self.assertNotIn("SENT", why)
            self.assertNotIn("WANTED", why)

    def test_long(self) -> None:
        """
        What a client sent is cut, and cannot break out of its quotes.
        """
        text = (
            "policies: {p: {permissions: [{header: {name: x, string_match: {exact: why}}}], principals: [{any: true}]}}"
        )
        why = self.why(text, (b"x", b'"\n' + b"z" * 9999))
        self.assertLess(len(why), 150)
        self.assertIn('header x is "\\"\\nzzz', why)

    def test_manyPolicies(self) -> None:
        """
        With very many policies the explanation looks at some of them only.
        """
        each = ", ".join(
            f"p{number:03}: {{permissions: [{{destination_port: 1}}], principals: [{{any: true}}]}}"
            for number in range(99)
        )
        near = "z: {permissions: [{any: true}], principals: [{header: {name: x, present_match: true}}]}"
        self.assertIn("policy 'p000'", self.why(f"policies: {{{each}, {near}}}"))
