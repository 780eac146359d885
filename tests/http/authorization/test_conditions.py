"""
L{meshproxy.http.authorization.conditions}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.expressions import compileFunction, expressionOf
from meshproxy.errors import ConfigErrors
from meshproxy.http.authorization.conditions import UPSTREAM_ADDRESS, compilePermission, compilePrincipal
from meshproxy.http.authorization.rule import Rule
from meshproxy.net.address import Address
from meshproxy.net.certificates import AltNames
from tests.accesslog.streams import TLSRecord
from tests.filters.http.support import FakeStream, connection, routed


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

    def test_upstreamAddress(self) -> None:
        """
        Where a filter before found that the request is about to go: its address, its port, or both.
        """
        kind = "type.googleapis.com/envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
        matcher = f"matcher: {{name: m, typed_config: {{'@type': {kind}, %s}}}}"
        within = matcher % "upstream_ip: {address_prefix: 10.0.0.0, prefix_len: 8}"
        ports = matcher % "upstream_port_range: {start: 80, end: 90}"
        address, span = "upstream_ip: {address_prefix: 10.0.0.0, prefix_len: 8}", "{start: 80, end: 90}"
        both = matcher % f"{address}, upstream_port_range: {span}"
        stream = FakeStream()
        for at, expected in (
            (None, (False, False, False)),
            (Address("10.0.0.1", 80), (True, True, True)),
            (Address("10.0.0.1", 90), (True, True, True)),
            (Address("10.0.0.1", 91), (True, False, False)),
            (Address("11.0.0.1", 80), (False, True, False)),
            (Address("/path"), (False, False, False)),
            ("10.0.0.1:80", (False, False, False)),
        ):
            stream.filterState = None if at is None else {UPSTREAM_ADDRESS: at}
            self.assertEqual(tuple(permits(text, stream) for text in (within, ports, both)), expected, at)
        stream.filterState = None
        stream.connection.filterState = {UPSTREAM_ADDRESS: Address("10.0.0.1", 80)}
        self.assertTrue(permits(both, stream))
        rule = compilePermission(sectionFromYAML("envoy.config.rbac.v3.Permission", both))
        stream.connection.filterState = {UPSTREAM_ADDRESS: Address("10.0.0.1", 91)}
        told = rule.why(stream, stream.requestHeaders)
        self.assertEqual(told, "upstream address is 10.0.0.1:91, not in 10.0.0.0/8 with a port from 80 to 90")
        empty = "matcher: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}"
        for text in (matcher % "", empty):
            section = sectionFromYAML("envoy.config.rbac.v3.Permission", text)
            self.assertFalse(compilePermission(section).test(stream, stream.requestHeaders))
            self.assertTrue(section.report.errors)

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

    def test_custom(self) -> None:
        """
        Who has a certificate that is valid, with one of the names if some are wanted.
        """
        kind = "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
        custom = f"custom: {{name: mtls, typed_config: {{'@type': {kind}, %s}}}}"
        anybody = custom % "any_validated_client_certificate: true"
        named = custom % "san_matcher: {san_type: URI, matcher: {exact: 'spiffe://td/sa'}}"
        self.assertFalse(isPrincipal(anybody))
        info = connection()
        info.peerNames = ("spiffe://td/sa",)
        stream = FakeStream(connectedBy=info)
        for isPresented, isValidated, uri, expected in (
            (True, True, "spiffe://td/sa", (True, True)),
            (True, True, "spiffe://td/other", (True, False)),
            (True, False, "spiffe://td/sa", (False, False)),
            (False, True, "spiffe://td/sa", (False, False)),
        ):
            names = AltNames(uris=(uri,))
            tls = SimpleNamespace(isPresented=isPresented, isValidated=isValidated, peerAltNames=names)
            info.tls = cast(Any, tls)
            self.assertEqual((isPrincipal(anybody, stream), isPrincipal(named, stream)), expected)
        empty = "custom: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}"
        for text in (custom % "", empty):
            section = sectionFromYAML("envoy.config.rbac.v3.Principal", text)
            self.assertFalse(compilePrincipal(section).test(stream, stream.requestHeaders))
            self.assertEqual(len(section.report.errors), 1)

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
