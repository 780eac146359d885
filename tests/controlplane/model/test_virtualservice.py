# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
Tests for L{meshproxy.controlplane.model.virtualservice} and the modules that it is made of.
"""

from __future__ import annotations

from tests.controlplane.model.given import KindTests, document, read

TO_A = "[{destination: {host: a}}]"

FULL = """
hosts: [a.example.com, '*.b.com']
gateways: [mesh, edge/outer]
exportTo: ['.', other]
http:
- name: first
  match:
  - name: m
    uri: {prefix: ''}
    scheme: {exact: https}
    method: {regex: 'GET|HEAD'}
    authority: {prefix: a.}
    headers: {x-a: {exact: b}, ':path': {regex: '/.*'}}
    withoutHeaders: {x-c: {regex: '*'}, x-d: {}}
    queryParams: {q: {exact: ''}}
    port: 80
    sourceLabels: {app: x}
    sourceNamespace: shop
    gateways: [mesh]
    ignoreUriCase: true
    statPrefix: s
  route:
  - destination: {host: a, subset: v1, port: {number: 80}}
    weight: 10
    headers: {request: {set: {x-a: '%HOSTNAME%'}, add: {x-b: c}, remove: [x-c]}, response: {remove: [server]}}
  - destination: {host: b}
    weight: 90
  rewrite: {uri: /x, authority: c}
  timeout: 1.5s
  retries: {attempts: 3, perTryTimeout: 250ms, retryOn: '5xx,503', backoff: 25ms, retryRemoteLocalities: true}
  fault: {delay: {fixedDelay: 5s, percentage: {value: 0.5}}, abort: {grpcStatus: UNAVAILABLE}}
  mirrors: [{destination: {host: c}, percentage: {value: 10}}]
  corsPolicy:
    allowOrigins: [{regex: 'a.*'}]
    allowMethods: [GET, '*']
    allowHeaders: ['*', x-a]
    maxAge: 24h
    allowCredentials: true
    unmatchedPreflights: IGNORE
- match: [{uri: {exact: /r}}]
  redirect: {uri: /, authority: d, redirectCode: 307, derivePort: FROM_REQUEST_PORT}
- match: [{uri: {exact: /d}}]
  directResponse: {status: 503, body: {string: gone}}
- delegate: {name: more, namespace: shop}
tls:
- match: [{sniHosts: [a.example.com], port: 443, destinationSubnets: [10.0.0.0/8]}]
  route: [{destination: {host: a}}]
tcp:
- match: [{port: 27017, sourceLabels: {app: x}}]
  route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 0}]
"""


def http(text: str) -> str:
    """
    A VirtualService with one HTTP route to C{a}.
    """
    return f"hosts: [a]\nhttp: [{{route: {TO_A}, {text}}}]"


class VirtualServiceTests(KindTests):
    """
    What a VirtualService may say.
    """

    kind = "VirtualService"

    def test_full(self) -> None:
        """
        Every field, as it may be.
        """
        spec = self.accepted(FULL).spec
        self.assertEqual(spec.http[0].retries.perTryTimeout, 0.25)
        self.assertEqual(spec.http[0].corsPolicy.maxAge, 86400)
        self.assertEqual(spec.http[0].match[0].withoutHeaders["x-c"].regex, "*")
        self.assertEqual(spec.boundTo, ["mesh", "edge/outer"])
        self.assertEqual(self.accepted(http("name: x")).spec.boundTo, ["mesh"])

    def test_hosts(self) -> None:
        """
        Hosts can be, do not overlap, and are no bare wildcard in the mesh.
        """
        rest = f"http: [{{route: {TO_A}}}]"
        self.refusals(
            (f"hosts: {hosts}\n{rest}", path, code)
            for hosts, path, code in (
                ("['*']", "spec.hosts[0]", "invalid"),
                ("['a..b']", "spec.hosts[0]", "invalid"),
                ("[a, a]", "spec.hosts[1]", "duplicate"),
                ("['*.com', a.com]", "spec.hosts[1]", "duplicate"),
            )
        )
        self.accepted(f"hosts: ['*']\ngateways: [edge]\n{rest}")
        self.accepted(f"hosts: [10.0.0.1]\n{rest}")

    def test_gateways(self) -> None:
        """
        Gateways are names, with a namespace or without; the old form is warned of.
        """
        rest = f"hosts: [a.b]\nhttp: [{{route: {TO_A}}}]"
        self.refusals(
            [
                (f"gateways: [a/b/c]\n{rest}", "spec.gateways[0]", "invalid"),
                (f"gateways: [/b]\n{rest}", "spec.gateways[0]", "invalid"),
                (f"gateways: ['*']\n{rest}", "spec.gateways[0]", "invalid"),
            ]
        )
        self.warnings([(f"gateways: [b.a.svc.cluster.local]\n{rest}", "spec.gateways[0]", "deprecated")])

    def test_delegates(self) -> None:
        """
        One without hosts is a delegate: no gateways, no TLS or TCP, and no delegate of its own.
        """
        self.accepted(f"http: [{{match: [{{uri: {{prefix: /a}}}}], route: {TO_A}}}]")
        self.refusals(
            [
                (f"gateways: [edge]\nhttp: [{{route: {TO_A}}}]", "spec.gateways", "exclusive"),
                (f"http: [{{route: {TO_A}}}]\ntcp: [{{route: {TO_A}}}]", "spec.tcp", "exclusive"),
                (f"http: [{{route: {TO_A}, delegate: {{name: b}}}}]", "spec.http[0].delegate", "exclusive"),
                (http("delegate: {name: b}"), "spec.http[0].route", "exclusive"),
                ("hosts: [a]\nhttp: [{delegate: {namespace: b}}]", "spec.http[0].delegate.name", "required"),
            ]
        )

    def test_actions(self) -> None:
        """
        A route does one thing.
        """
        self.refusals(
            [
                ("hosts: [a]", "spec", "required"),
                ("hosts: [a]\nhttp: [{timeout: 1s}]", "spec.http[0]", "required"),
                (http("redirect: {uri: /}"), "spec.http[0].route", "exclusive"),
                (http("directResponse: {status: 200}"), "spec.http[0].route", "exclusive"),
                (
                    "hosts: [a]\nhttp: [{redirect: {uri: /}, directResponse: {status: 200}}]",
                    "spec.http[0].directResponse",
                    "exclusive",
                ),
                (
                    "hosts: [a]\nhttp: [{redirect: {uri: /}, rewrite: {uri: /}}]",
                    "spec.http[0].rewrite",
                    "exclusive",
                ),
            ]
        )

    def test_matches(self) -> None:
        """
        Matches that can match.
        """
        self.refusals(
            (http(f"match: [{{{match}}}]"), f"spec.http[0].match[0].{path}", code)
            for match, path, code in (
                ("uri: {exact: /, prefix: /}", "uri.prefix", "exclusive"),
                ("uri: {regex: '('}", "uri.regex", "invalid"),
                ("uri: {prefx: /}", "uri.prefx", "unknown-field"),
                ("method: {prefix: ''}", "method.prefix", "invalid"),
                ("headers: {'a b': {exact: c}}", 'headers["a b"]', "invalid"),
                ("headers: {a: {regex: '*'}}", "headers.a.regex", "invalid"),
                ("headers: {'@request.auth.claims.a': {exact: b}}", 'headers["@request.auth.claims.a"]', "invalid"),
                ("port: 65536", "port", "invalid"),
                ("sourceLabels: {'a b': c}", "sourceLabels", "invalid"),
                ("sourceNamespace: a.b", "sourceNamespace", "invalid"),
                ("gateways: [a/]", "gateways[0]", "invalid"),
                ("queryParams: {q: {regex: ''}}", "queryParams.q.regex", "invalid"),
            )
        )

    def test_claims(self) -> None:
        """
        A claim can be matched at a gateway, whichever way its name is written; what names none is no header either.
        """
        for name in ("@request.auth.claims.a", "@request.auth.claims[a.b][c]", "@request.Auth.claims.a.b"):
            match = f"match: [{{headers: {{'{name}': {{exact: b}}}}, withoutHeaders: {{'{name}': {{exact: c}}}}}}]"
            resource, problems = read(document(self.kind, f"gateways: [edge]\n{http(match)}"))
            self.assertEqual((resource is not None, problems), (True, []))
        nameless = [f"@request.auth.claims{end}" for end in ("", ".", "[]", ".a..b", "[a")]
        self.refusals(
            (
                "gateways: [edge]\n" + http(f"match: [{{headers: {{'{name}': {{exact: b}}}}}}]"),
                f'spec.http[0].match[0].headers["{name}"]',
                "invalid",
            )
            for name in nameless
        )

    def test_destinations(self) -> None:
        """
        Destinations exist as names, with weights that are not all 0.
        """
        self.refusals(
            (f"hosts: [a]\nhttp: [{{route: {route}}}]", f"spec.http[0].route{path}", code)
            for route, path, code in (
                ("[{weight: 1}]", "[0].destination", "required"),
                ("[{destination: {subset: a}}]", "[0].destination.host", "required"),
                ("[{destination: {host: '*'}}]", "[0].destination.host", "invalid"),
                ("[{destination: {host: a, subset: b.c}}]", "[0].destination.subset", "invalid"),
                ("[{destination: {host: a, port: {number: 0}}}]", "[0].destination.port.number", "invalid"),
                ("[{destination: {host: a, port: 80}}]", "[0].destination.port", "type"),
                ("[{destination: {host: a}, weight: -1}]", "[0].weight", "invalid"),
                ("[{destination: {host: a}}, {destination: {host: b}}]", "", "invalid"),
            )
        )

    def test_policies(self) -> None:
        """
        Times, retries, faults, mirrors, rewrites, redirects and cross-origin policies.
        """
        self.refusals(
            (http(text), f"spec.http[0].{path}", code)
            for text, path, code in (
                ("timeout: 0s", "timeout", "invalid"),
                ("timeout: 5", "timeout", "type"),
                ("retries: {attempts: -1}", "retries.attempts", "invalid"),
                ("retries: {attempts: 0, retryOn: 5xx}", "retries.retryOn", "exclusive"),
                ("retries: {attempts: 1, retryOn: '5xx, reset'}", "retries.retryOn", "invalid"),
                ("retries: {attempts: 1, perTryTimeout: 1us}", "retries.perTryTimeout", "invalid"),
                ("fault: {}", "fault", "required"),
                ("fault: {delay: {percentage: {value: 5}}}", "fault.delay.fixedDelay", "required"),
                ("fault: {delay: {exponentialDelay: 1s}}", "fault.delay.exponentialDelay", "invalid"),
                (
                    "fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}",
                    "fault.delay.percentage.value",
                    "invalid",
                ),
                ("fault: {abort: {httpStatus: 199}}", "fault.abort.httpStatus", "invalid"),
                ("fault: {abort: {httpStatus: 200, grpcStatus: OK}}", "fault.abort.grpcStatus", "exclusive"),
                ("fault: {abort: {grpcStatus: UNAVAILIBLE}}", "fault.abort.grpcStatus", "invalid"),
                ("fault: {abort: {http2Error: x}}", "fault.abort.http2Error", "invalid"),
                ("mirror: {host: b}, mirrors: [{destination: {host: c}}]", "mirrors", "exclusive"),
                ("mirrors: [{percentage: {value: 1}}]", "mirrors[0].destination", "required"),
                ("mirror: {host: b}, mirrorPercentage: {value: 101}", "mirrorPercentage.value", "invalid"),
                ("rewrite: {}", "rewrite", "required"),
                (
                    "rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}",
                    "rewrite.uriRegexRewrite",
                    "exclusive",
                ),
                ("rewrite: {uriRegexRewrite: {match: a}}", "rewrite.uriRegexRewrite.rewrite", "required"),
                ("corsPolicy: {allowOrigins: [{}]}", "corsPolicy.allowOrigins[0]", "required"),
                ("corsPolicy: {allowMethods: [GETS]}", "corsPolicy.allowMethods[0]", "invalid"),
                ("corsPolicy: {exposeHeaders: ['']}", "corsPolicy.exposeHeaders[0]", "invalid"),
                ("corsPolicy: {maxAge: 1500ms}", "corsPolicy.maxAge", "invalid"),
                ("headers: {request: {set: {':path': /}}}", 'headers.request.set[":path"]', "invalid"),
                ("headers: {response: {add: {host: a}}}", "headers.response.add.host", "invalid"),
                ("headers: {request: {add: {a: 'b%'}}}", "headers.request.add.a", "invalid"),
                ("headers: {request: {remove: [host]}}", "headers.request.remove[0]", "invalid"),
                (
                    "rewrite: {authority: b}, headers: {request: {set: {host: c}}}",
                    "headers.request.set.host",
                    "exclusive",
                ),
            )
        )

    def test_redirects(self) -> None:
        """
        Redirects lead somewhere, with a status that browsers follow.
        """
        self.refusals(
            (f"hosts: [a]\nhttp: [{{redirect: {text}}}]", f"spec.http[0].redirect{path}", code)
            for text, path, code in (
                ("{redirectCode: 301}", "", "required"),
                ("{uri: /, redirectCode: 200}", ".redirectCode", "invalid"),
                ("{scheme: ftp}", ".scheme", "invalid"),
                ("{port: 80, derivePort: FROM_REQUEST_PORT}", ".derivePort", "exclusive"),
                ("{derivePort: FROM_REQUEST}", ".derivePort", "type"),
                ("{uri: /, prefixRewrite: /}", ".prefixRewrite", "exclusive"),
                ("{port: 70000}", ".port", "invalid"),
            )
        )
        self.refusals(
            [
                (
                    "hosts: [a]\nhttp: [{match: [{uri: {exact: /}}], redirect: {prefixRewrite: /}}]",
                    "spec.http[0].redirect.prefixRewrite",
                    "invalid",
                )
            ]
        )

    def test_bodies(self) -> None:
        """
        A body is a text or base64, and not too large.
        """
        self.refusals(
            (f"hosts: [a]\nhttp: [{{directResponse: {text}}}]", f"spec.http[0].directResponse.{path}", code)
            for text, path, code in (
                ("{status: 700}", "status", "invalid"),
                ("{status: 200, body: {string: a, bytes: YQ==}}", "body.bytes", "exclusive"),
                ("{status: 200, body: {bytes: '?'}}", "body.bytes", "invalid"),
                (f"{{status: 200, body: {{string: {'a' * (1024 * 1024 + 1)}}}}}", "body", "invalid"),
            )
        )

    def test_connections(self) -> None:
        """
        Routes of connections need destinations, those of TLS names within the hosts.
        """
        route = f"route: {TO_A}"
        self.refusals(
            [
                ("hosts: [a]\ntcp: [{}]", "spec.tcp[0].route", "required"),
                (f"hosts: [a]\ntcp: [{{match: [{{port: -1}}], {route}}}]", "spec.tcp[0].match[0].port", "invalid"),
                (
                    f"hosts: [a]\ntcp: [{{match: [{{destinationSubnets: [a]}}], {route}}}]",
                    "spec.tcp[0].match[0].destinationSubnets[0]",
                    "invalid",
                ),
                (f"hosts: [a]\ntls: [{{{route}}}]", "spec.tls[0].match", "required"),
                (f"hosts: [a]\ntls: [{{match: [{{port: 1}}], {route}}}]", "spec.tls[0].match[0].sniHosts", "required"),
                (
                    f"hosts: [a]\ntls: [{{match: [{{sniHosts: [b]}}], {route}}}]",
                    "spec.tls[0].match[0].sniHosts[0]",
                    "invalid",
                ),
            ]
        )

    def test_unreachable(self) -> None:
        """
        What no request can reach is told: behind a route without matches, behind the same match, behind a shorter
        prefix that asks for nothing else.
        """

        def routes(*matches: str) -> str:
            return "hosts: [a]\nhttp:\n" + "".join(f"- {{match: {match}, route: {TO_A}}}\n" for match in matches)

        self.assertEqual(self.told(routes("[]", "[]")), [("spec.http[1]", "unreachable")])
        twice = [("spec.http[1]", "unreachable"), ("spec.http[1].match[0]", "unreachable")]
        for earlier, later in (
            ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /a}, name: b}]"),
            ("[{uri: {prefix: /a}}]", "[{uri: {prefix: /ab}}]"),
            ("[{uri: {prefix: /a}, port: 80}]", "[{uri: {exact: /ab}, port: 80}]"),
        ):
            self.assertEqual(self.told(routes(earlier, later)), twice, later)
        for earlier, later in (
            ("[{uri: {prefix: /a}, port: 80}]", "[{uri: {prefix: /ab}, port: 81}]"),
            ("[{uri: {exact: /a}}]", "[{uri: {prefix: /a}}]"),
            ("[{uri: {prefix: /ab}}]", "[{uri: {prefix: /a}}]"),
        ):
            self.assertEqual(self.told(routes(earlier, later)), [], later)

    def test_old(self) -> None:
        """
        Old names still work, and are warned of; what does nothing is told.
        """
        self.warnings(
            [
                (http("mirror: {host: b}, mirrorPercent: 5"), "spec.http[0].mirrorPercent", "deprecated"),
                (http("corsPolicy: {allowOrigin: [a]}"), "spec.http[0].corsPolicy.allowOrigin", "deprecated"),
                (
                    http("fault: {delay: {fixedDelay: 1s, percent: 5}}"),
                    "spec.http[0].fault.delay.percent",
                    "deprecated",
                ),
                (http("fault: {abort: {}}"), "spec.http[0].fault.abort", "ineffective"),
                (
                    f"hosts: [a]\ntcp: [{{match: [{{sourceSubnet: 10.0.0.0/8}}], route: {TO_A}}}]",
                    "spec.tcp[0].match[0].sourceSubnet",
                    "not-programmed",
                ),
            ]
        )

    def test_exportTo(self) -> None:
        """
        Namespaces, each once; all of them alone.
        """
        self.refusals(
            (f"{http('name: x')}\nexportTo: {given}", path, code)
            for given, path, code in (
                ("['*', a]", "spec.exportTo", "exclusive"),
                ("[a, a]", "spec.exportTo[1]", "duplicate"),
                ("['.', shop]", "spec.exportTo[1]", "duplicate"),
                ("['~']", "spec.exportTo[0]", "invalid"),
                ("[a.b]", "spec.exportTo[0]", "invalid"),
            )
        )
