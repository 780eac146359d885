"""
What becomes of the fields of a request.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get, request
from tests.conformance.comparison import Comparison, compared

_XFF = "x-forwarded-for: 1.2.3.4"

_ENVOY = (
    "x-envoy-retry-on: 5xx",
    "x-envoy-max-retries: 2",
    "x-envoy-internal: true",
    "x-envoy-downstream-service-cluster: q",
    "x-envoy-downstream-service-node: q",
    "x-envoy-original-path: /zz",
    "x-envoy-original-host: zz",
    "x-envoy-external-address: 9.9.9.9",
    "x-envoy-attempt-count: 7",
    "x-envoy-original-url: u",
    "x-envoy-decorator-operation: o",
    "x-envoy-upstream-alt-stat-name: z",
    "x-envoy-ip-tags: 1",
    "x-envoy-force-trace: 1",
    "x-envoy-expected-rq-timeout-ms: 3",
    "x-envoy-hedge-on-per-try-timeout: 1",
    "x-envoy-retriable-status-codes: 404",
    "x-envoy-retriable-header-names: x",
    "x-envoy-upstream-rq-timeout-alt-response: 1",
    "x-envoy-is-timeout-retry: 1",
    "x-envoy-foo: q",
    "x-envoy-overloaded: 1",
    "x-envoy-immediate-health-check-fail: 1",
)

_FORWARDED = (
    "x-forwarded-proto: https",
    "x-forwarded-host: other.example",
    "x-forwarded-port: 99",
    "x-request-id: abc",
    "forwarded: for=1.2.3.4",
    "x-client-trace-id: t",
)

_OURS = "internal_only_headers: [x-secret, X-Upper, x-forwarded-for, x-request-id, user-agent, cookie%s]"
_OURS_HERE = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"

LISTENERS = {
    "internalOnly": Manager(table=_OURS % ""),
    "internalOnlyEdge": Manager("use_remote_address: true", table=_OURS % ""),
    "internalOnlyFriend": Manager("{use_remote_address: true, %s}" % _OURS_HERE, table=_OURS % ""),
    "internalOnlyEnvoy": Manager(table=_OURS % ", x-envoy-external-address, x-forwarded-host"),
    "internalOnlyRoute": Manager(
        "",
        "[{match: {prefix: /, headers: [{name: x-secret, present_match: true}]}, direct_response: {status: 204}},"
        " {match: {prefix: /}, direct_response: {status: 201}}]",
        table=_OURS % "",
    ),
    "plain": Manager(),
    "edge": Manager("use_remote_address: true"),
    "edgeHop": Manager("{use_remote_address: true, xff_num_trusted_hops: 1}"),
    "edgeHops": Manager("{use_remote_address: true, xff_num_trusted_hops: 2}"),
    "hop": Manager("xff_num_trusted_hops: 1"),
    "internal": Manager(
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8},"
        " {address_prefix: 127.0.0.0, prefix_len: 8}]}"
    ),
    "internalEdge": Manager(
        "{use_remote_address: true,"
        " internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}"
    ),
    "internalDefault": Manager("internal_address_config: {}"),
    "unixInternal": Manager("{use_remote_address: true, internal_address_config: {unix_sockets: true}}"),
    "noAppend": Manager("{use_remote_address: true, skip_xff_append: true}"),
    "everything": Manager(
        "{use_remote_address: true, append_x_forwarded_port: true, add_user_agent: true,"
        " via: gate, preserve_external_request_id: true}"
    ),
    "inside": Manager("{append_x_forwarded_port: true, add_user_agent: true, via: gate}"),
    "noId": Manager("generate_request_id: false"),
    "alwaysId": Manager("always_set_request_id_in_response: true"),
    "stripMatching": Manager("strip_matching_host_port: true"),
    "stripAny": Manager("strip_any_host_port: true"),
    "stripDot": Manager("strip_trailing_host_dot: true"),
    "underscoreReject": Manager("common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"),
    "underscoreDrop": Manager("common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}"),
    "suppress": Manager(router="suppress_envoy_headers: true"),
    "suppressRewritten": Manager(
        "",
        "[{match: {prefix: /literal}, route: {cluster: backend, host_rewrite_literal: other, prefix_rewrite: /new}},"
        " {match: {prefix: /header}, route: {cluster: backend, host_rewrite_header: x-a,"
        " append_x_forwarded_host: true}}]",
        router="suppress_envoy_headers: true",
    ),
}


def _everywhere(name: str, intent: str, message: bytes, listeners: str) -> list[Case]:
    return [
        Case(f"{name}_{listener}", f"{intent} (listener {listener}).", message, listener=listener)
        for listener in listeners.split()
    ]


CASES = [
    *_everywhere(
        "internalOnly",
        "What the routes say that only friends may send",
        get("/", "x-secret: 1", "X-UPPER: 2", "x-secret: 3", "x-request-id: i", "cookie: a=b", "x-other: 4", _XFF),
        "internalOnly internalOnlyEdge internalOnlyFriend internalOnlyEnvoy internalOnlyRoute",
    ),
    *(
        Case(f"rewritten_{path}", "A host is rewritten.", get(f"/{path}", "x-a: b"), listener="suppressRewritten")
        for path in ("literal", "header")
    ),
    *_everywhere(
        "bare", "A request with nothing special", get(), "plain edge everything inside noId alwaysId suppress"
    ),
    *_everywhere(
        "envoyFields",
        "Fields that only friends may send",
        get("/", *_ENVOY),
        "plain edge internal internalEdge internalDefault unixInternal everything",
    ),
    *_everywhere(
        "envoyFieldsForwarded",
        "Fields that only friends may send, with the client's address",
        get("/", *_ENVOY, "x-forwarded-for: 10.1.1.1"),
        "plain edge edgeHop hop internal internalEdge internalDefault unixInternal",
    ),
    *_everywhere(
        "forwarded",
        "What a proxy before said",
        get("/", *_FORWARDED, _XFF),
        "plain edge edgeHop hop everything noId alwaysId",
    ),
    *_everywhere(
        "xffOne", "One address", get("/", _XFF), "plain edge edgeHop edgeHops hop noAppend internal everything"
    ),
    *_everywhere(
        "xffMany",
        "Several addresses",
        get("/", "x-forwarded-for: 1.1.1.1, 2.2.2.2", "x-forwarded-for: 3.3.3.3"),
        "plain edge edgeHop edgeHops hop noAppend internal",
    ),
    *_everywhere("xffGarbage", "No address", get("/", "x-forwarded-for: unknown"), "plain edge edgeHop hop"),
    *_everywhere("xffEmpty", "An empty field", get("/", "x-forwarded-for:"), "plain edge edgeHop hop"),
    *_everywhere(
        "xffPort", "An address with a port", get("/", "x-forwarded-for: 1.2.3.4:80"), "plain edge edgeHop hop"
    ),
    *(
        case
        for name, address in (
            ("Number", "fe80::1%1"),
            ("Name", "fe80::1%lo"),
            ("Unknown", "fe80::1%nosuch"),
            ("Bytes", "fe80::1%\xff"),
            ("Empty", "fe80::1%"),
            ("Nought", "fe80::1%0"),
            ("Loopback", "::1%1"),
            ("Mapped", "::ffff:1.2.3.4%1"),
            ("None", "2001:DB8:0::1"),
            ("NoneMapped", "::ffff:1.2.3.4"),
        )
        for case in _everywhere(
            f"xffZone{name}",
            "An IPv6 address with a zone, or in an unusual form",
            get("/", f"x-forwarded-for: {address}"),
            "plain edgeHop",
        )
    ),
    *_everywhere("xffSix", "An IPv6 address", get("/", "x-forwarded-for: 2001:db8::1"), "plain edge edgeHop hop"),
    *_everywhere(
        "xffPrivate", "A private address", get("/", "x-forwarded-for: 10.0.0.1"), "plain edge internal internalEdge"
    ),
    *(
        Case(
            "xffDefault_" + address.translate({ord("."): "_", ord(":"): "_"}),
            "Who is internal unless it is said",
            get("/", f"x-forwarded-for: {address}"),
            listener="internalDefault",
        )
        for address in (
            "10.255.0.1",
            "11.0.0.1",
            "172.15.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "172.32.0.1",
            "192.168.9.9",
            "192.169.0.1",
            "127.0.0.1",
            "127.0.0.2",
            "169.254.0.1",
            "::1",
            "::2",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        )
    ),
    *_everywhere("protoHttps", "x-forwarded-proto", get("/", "x-forwarded-proto: https"), "plain edge edgeHop"),
    *_everywhere(
        "protoOdd", "An x-forwarded-proto that is none", get("/", "x-forwarded-proto: ftp"), "plain edge edgeHop"
    ),
    *_everywhere("protoTwice", "Two of them", get("/", "x-forwarded-proto: https", "x-forwarded-proto: http"), "plain"),
    *_everywhere("idKept", "x-request-id", get("/", "x-request-id: abc"), "plain edge everything noId alwaysId"),
    *_everywhere("via", "Via", get("/", "via: 1.1 other"), "plain everything inside"),
    *_everywhere("agent", "User-Agent", get("/", "user-agent: me"), "plain inside everything"),
    *_everywhere("agentEmpty", "An empty User-Agent", get("/", "user-agent:"), "plain inside"),
    *_everywhere(
        "underscore", "A name with an underscore", get("/", "a_b: 1", "c: 2"), "plain underscoreReject underscoreDrop"
    ),
    Case("underscoreUpper", "An underscore in capitals.", get("/", "A_B: 1", "c: 2"), listener="underscoreDrop"),
    *[
        Case(
            f"host_{listener}_{number}",
            f"Host: {host} ({listener}).",
            get("/", f"Host: {host}"),
            listener=listener,
        )
        for listener in ("stripMatching", "stripAny", "stripDot")
        for number, host in enumerate(("a.example:1234", "a.example.", "a.example.:80", "[::1]:80", "a.example"))
    ],
    *[
        Case(f"{name}", intent, get("/", *fields))
        for name, intent, fields in (
            (
                "nominated",
                "Fields that Connection names end here.",
                ("Connection: x-a, X-B", "X-A: 1", "x-b: 2", "x-c: 3"),
            ),
            ("nominatedTwice", "Connection twice.", ("Connection: x-a", "X-A: 1", "connection: x-b", "x-b: 2")),
            ("nominatedXFF", "A client may not take x-forwarded-for away.", ("Connection: x-forwarded-for", _XFF)),
            ("nominatedHost", "Nor x-forwarded-host.", ("Connection: x-forwarded-host", "x-forwarded-host: x")),
            ("nominatedProto", "Nor x-forwarded-proto.", ("Connection: x-forwarded-proto", "x-forwarded-proto: x")),
            ("nominatedCookie", "But cookies.", ("Connection: cookie", "cookie: a=b")),
            ("nominatedAuthority", "A pseudo-header.", ("Connection: :authority",)),
            ("nominatedPath", "Another pseudo-header.", ("Connection: :path", "x-a: 1")),
            ("nominatedHostField", "Host itself.", ("Connection: host",)),
            (
                "nominatedMany",
                "More than a client may name.",
                ("Connection: " + ", ".join(f"x-{n}" for n in range(12)),),
            ),
            ("nominatedTen", "As many as it may.", ("Connection: " + ", ".join(f"x-{n}" for n in range(10)), "x-9: 1")),
            ("nominatedEmpty", "Empty tokens.", ("Connection: , ,close,", "x-a: 1")),
            ("nominatedClose", "close among others.", ("Connection: close, x-a", "x-a: 1")),
            (
                "nominatedKeepAlive",
                "keep-alive among others.",
                ("Connection: Keep-Alive, x-a", "x-a: 1", "keep-alive: 5"),
            ),
            ("nominatedLength", "Content-Length.", ("Connection: content-length", "content-length: 0")),
            ("nominatedCoding", "Transfer-Encoding.", ("Connection: transfer-encoding",)),
            ("te", "TE: trailers goes on.", ("TE: trailers",)),
            ("teMore", "What else TE says does not.", ("TE: gzip, trailers;q=0.5",)),
            ("teOther", "TE without trailers.", ("TE: gzip",)),
            ("teNominated", "TE, named by Connection.", ("TE: trailers", "Connection: te")),
            ("teNominatedOther", "TE of another kind, named by Connection.", ("TE: gzip", "Connection: te")),
            ("teLong", "A long TE, named by Connection.", ("TE: " + "x" * 300, "Connection: te")),
            ("teEmpty", "An empty TE.", ("TE:",)),
            ("keepAliveField", "Keep-Alive ends here.", ("Keep-Alive: timeout=5",)),
            ("proxyConnection", "So does Proxy-Connection.", ("Proxy-Connection: keep-alive",)),
            ("proxyConnectionClose", "Which may say close.", ("Proxy-Connection: close",)),
            ("proxyAuthorization", "Proxy-Authorization goes on.", ("Proxy-Authorization: x",)),
            ("upgradeAlone", "Upgrade without Connection.", ("Upgrade: websocket",)),
            (
                "h2c",
                "An upgrade to HTTP/2 is not taken up.",
                ("Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
            ),
            (
                "h2cLoose",
                "One that Connection does not name.",
                ("Connection: close", "Upgrade: h2c", "HTTP2-Settings: AA"),
            ),
            ("duplicates", "Two fields of one name.", ("x-a: 1", "X-A: 2", "accept: a", "accept: b")),
            ("cookies", "Two of cookies.", ("cookie: a=1", "cookie: b=2")),
            ("empty", "A field without a value.", ("x-empty:", "x-blank:   ")),
            ("blanks", "Blanks around a value.", ("x-a: \t a b \t",)),
            ("bytes", "Bytes beyond ASCII.", ("x-a: \xe4\xf6",)),
            ("trailerField", "Trailer.", ("Trailer: x-a",)),
            ("expectOther", "An expectation that nobody knows.", ("Expect: something",)),
            ("contentLengthZero", "A GET that says it has no body.", ("Content-Length: 0",)),
            ("timeoutOrders", "A client may not set time-outs.", ("x-envoy-upstream-rq-timeout-ms: 500",)),
            ("grpc", "gRPC's time-out without gRPC.", ("grpc-timeout: 1S",)),
        )
    ],
    Case("xffLoopback", "A client on this machine.", get(), listener="edge", source="127.0.0.1"),
    Case("orderOfHost", "Host need not be the first field.", b"GET / HTTP/1.1\r\nX-A: 1\r\nHost: h\r\nX-B: 2\r\n\r\n"),
    Case("hostEmpty", "An empty Host.", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    Case("hostMissing", "No Host.", b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n"),
    Case("hostTwice", "Two of them.", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    Case("hostTwiceSame", "Two equal ones.", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    Case("hostSpace", "A blank in it.", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    Case("hostUser", "A user in it.", b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"),
    Case("hostUpper", "Capitals in it.", b"GET / HTTP/1.1\r\nHost: EXAMPLE.com:80\r\n\r\n"),
    Case("postEmpty", "A POST without a length.", request("POST /")),
    Case("putEmpty", "A PUT without a length.", request("PUT /")),
    Case("delete", "A DELETE.", request("DELETE /a")),
    Case("options", "OPTIONS of a path.", request("OPTIONS /a")),
    Case("optionsStar", "OPTIONS of everything.", request("OPTIONS *")),
    Case("trace", "TRACE.", request("TRACE /")),
    Case("patch", "PATCH with a body.", request("PATCH /", "content-length: 3", body="abc")),
    Case("methodOther", "A method of WebDAV.", request("PROPFIND /")),
    Case("methodUnknown", "A method that nobody knows.", request("FOO /")),
    Case("methodLower", "A method in small letters.", request("get /")),
]


@compared(Comparison(LISTENERS, CASES))
class RequestHeaderTests(SynchronousTestCase):
    """
    Fields of requests.
    """


_SERVICE = "X-Envoy-Downstream-Service-Cluster"
_UNNAMED = [
    Case("nameless", "A proxy without a service cluster says so.", request("GET /"), listener="agent"),
    Case("namelessAgent", "And leaves the client's agent.", get("/", "User-Agent: curl"), listener="agent"),
    Case("namelessForged", "It does not pass on what clients say.", get("/", f"{_SERVICE}: forged"), listener="agent"),
]


@compared(Comparison({"agent": Manager("add_user_agent: true")}, _UNNAMED, node={}))
class NamelessTests(SynchronousTestCase):
    """
    Fields of requests that tell of the proxy, where it has no name.
    """
