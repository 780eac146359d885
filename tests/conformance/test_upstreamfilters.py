"""
Filters that each try of a request passes on its way upstream, and its response on the way back.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Until, get, ok, request
from tests.conformance.comparison import Comparison, compared

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_CODEC = f'{{name: codec, typed_config: {{"@type": {_FILTERS}upstream_codec.v3.UpstreamCodec}}}}'


def _cluster(filters: str, options: str = "", more: str = "") -> str:
    return (
        f'{{typed_extension_protocol_options: {{{_OPTIONS}: {{"@type": type.googleapis.com/{_OPTIONS}, '
        f"explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}, "
        f"http_filters: [{filters}, {_CODEC}]{options}}}}}{more}}}"
    )


def _added(field: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> str:
    return f"{{append: {{header: {{key: '{field}', value: '{value}'}}, append_action: {action}}}}}"


def _mutation(name: str = "mutation", more: str = "", **kinds: str) -> str:
    mutations = ", ".join(f"{kind}: [{value}]" for kind, value in kinds.items())
    return (
        f'{{name: {name}, {more} typed_config: {{"@type": {_FILTERS}header_mutation.v3.HeaderMutation, '
        f"mutations: {{{mutations}}}}}}}"
    )


_BOTH = _mutation(
    request_mutations=_added("x-up", "a"),
    response_mutations=_added("x-down", "b") + ", {remove: x-gone}",
    request_trailers_mutations=_added("x-late", "a"),
    response_trailers_mutations=_added("x-late", "b"),
)
_BUFFER = f'{{name: buffer, typed_config: {{"@type": {_FILTERS}buffer.v3.Buffer, max_request_bytes: 10}}}}'
_RBAC = (
    f'{{name: rbac, typed_config: {{"@type": {_FILTERS}rbac.v3.RBAC, rules: {{action: DENY, policies: {{no: {{'
    "permissions: [{header: {name: x-no, present_match: true}}], principals: [{any: true}]}}}}}"
)
_GZIP = "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"
_COMPRESSOR = (
    f'{{name: compressor, typed_config: {{"@type": {_FILTERS}compressor.v3.Compressor, '
    f'compressor_library: {{name: gzip, typed_config: {{"@type": {_GZIP}}}}}, '
    "request_direction_config: {common_config: {enabled: {default_value: true, runtime_key: x}, "
    "min_content_length: 30}}, response_direction_config: {common_config: {enabled: "
    "{default_value: false, runtime_key: y}}}}}"
)
_RETRY = ", retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}"
# A response that was good becomes one to be tried again, and one that was bad a good one.
_BAD = _mutation(response_mutations=_added("x-again", "1"))
_AGAIN = (
    ", retry_policy: {retry_on: retriable-headers, retriable_headers: [{name: x-again, present_match: true}], "
    "num_retries: 1, retry_back_off: {base_interval: 0.001s}}"
)

CLUSTERS = {
    "both": _cluster(_BOTH),
    "retries": _cluster(_BOTH, _RETRY),
    "again": _cluster(_BAD, _AGAIN),
    "buffers": _cluster(_BUFFER),
    "guards": _cluster(_RBAC, _RETRY),
    "order": _cluster(
        _mutation("one", request_mutations=_added("x-up", "1"), response_mutations=_added("x-down", "1"))
        + ", "
        + _mutation("two", request_mutations=_added("x-up", "2"), response_mutations=_added("x-down", "2"))
    ),
    "idle": _cluster(_mutation("mutation", "disabled: true,", request_mutations=_added("x-up", "off"))),
    "mirrors": _cluster(_BOTH, ", request_mirror_policies: [{cluster: both}]"),
    "shuts": _cluster(
        _BOTH,
        "",
        ", load_assignment: {cluster_name: shuts, endpoints: [{lb_endpoints: "
        "[{endpoint: {address: {socket_address: {address: $ADDRESS, port_value: $CLOSED}}}}]}]}",
    ),
    "compresses": _cluster(_COMPRESSOR),
}


def _to(cluster: str, route: str = "", action: str = "", router: str = "", settings: str = "") -> Manager:
    routes = "[{match: {prefix: /}, route: {cluster: %s%s}%s}]" % (cluster, action, route)
    return Manager(settings, routes, "{include_request_attempt_count: true}", router=router)


_OF_ROUTER = f"upstream_http_filters: [{_mutation('routers', request_mutations=_added('x-router', '1'))}, {_CODEC}]"
_PER_ROUTE = (
    ', typed_per_filter_config: {mutation: {"@type": %sheader_mutation.v3.HeaderMutationPerRoute, mutations: '
    "{request_mutations: [%s]}}}" % (_FILTERS, _added("x-route", "1"))
)
_OFF = (
    ', typed_per_filter_config: {mutation: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, '
    "disabled: true}}"
)
_TRAILERS = "http_protocol_options: {enable_trailers: true}"
_UPGRADES = "upgrade_configs: [{upgrade_type: websocket}]"

LISTENERS = {
    **{name: _to(name, settings=_TRAILERS) for name in CLUSTERS},
    "routers": _to("backend", router=_OF_ROUTER),
    "clustersFirst": _to("both", router=_OF_ROUTER),
    "perRoute": _to("both", _PER_ROUTE),
    "perRouteOn": _to("idle", _PER_ROUTE),
    "perRouteOff": _to("both", _OFF),
    "upgrades": _to("both", settings=_UPGRADES),
    "times": _to("both", action=", timeout: 0.3s"),
}


def _says(status: int, *fields: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} X", "content-length: 2", *fields, "", "no")).encode("ascii")


_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-t: 1\r\n\r\n"
_INTERIM = b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\n"
_ACCEPTED = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
_HANDSHAKE = request(
    "GET /", "connection: upgrade", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
)

CASES = [
    *[
        Case(f"get_{name}", f"A GET: {name}.", get("/a"), (ok("x-gone: 1"),), name, unordered=name == "mirrors")
        for name in LISTENERS
        if name not in ("upgrades", "again")
    ],
    *[
        Case(
            f"post_{name}",
            f"A POST: {name}.",
            request("POST /a", "content-length: 5", body="hello"),
            (OK,),
            name,
            unordered=name == "mirrors",
        )
        for name in ("both", "retries", "buffers", "mirrors", "shuts", "guards")
    ],
    Case("tried", "Each try passes them.", get("/"), (_says(503), _says(503), OK), "retries"),
    Case(
        "triedPost",
        "With a body.",
        request("POST /", "content-length: 5", body="hello"),
        (_says(503), OK),
        "retries",
    ),
    Case("again", "What they make of a response decides.", get("/"), (OK, OK), "again"),
    Case(
        "trailers",
        "They see trailers.",
        request("POST /", "transfer-encoding: chunked", "te: trailers", body="2\r\nab\r\n0\r\nx-s: 1\r\n\r\n"),
        (_CHUNKED,),
        "both",
    ),
    Case("filtered103", "Interim responses pass.", get("/"), (_INTERIM + OK,), "both"),
    Case("denied", "One answers.", get("/", "x-no: 1"), (OK,), "guards"),
    Case(
        "large",
        "A body too large for one.",
        request("POST /", "content-length: 20", body="x" * 20),
        (OK,),
        "buffers",
    ),
    Case(
        "buffered",
        "All of a body is awaited.",
        [request("POST /", "transfer-encoding: chunked", body="2\r\nab\r\n"), Pause(0.1), b"2\r\ncd\r\n0\r\n\r\n"],
        (OK,),
        "buffers",
    ),
    Case(
        "compressed",
        "A body is compressed.",
        request("POST /", "content-type: text/html", "content-length: 100", body="x" * 100),
        (OK,),
        "compresses",
    ),
    Case("gone", "The upstream closes.", get("/"), ([Do.CLOSE],), "both"),
    Case(
        "cut",
        "In the middle.",
        get("/"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Do.REST, Do.CLOSE],),
        "both",
    ),
    Case("late", "The time is over.", get("/"), ([Do.DRAIN],), "times"),
    Case(
        "upgrade",
        "A tunnel.",
        [_HANDSHAKE, Until(b"\r\n\r\n"), b"ping", Until(b"pong"), Do.REST],
        ([_ACCEPTED, Until(b"ping"), b"pong", Do.REST, Do.CLOSE],),
        "upgrades",
    ),
    Case("upgradeRefused", "None.", _HANDSHAKE, (_says(403),), "upgrades"),
    Case("inTurn", "One after the other.", get("/") + get("/b"), (OK, OK), "both", responses=2),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class UpstreamFilterTests(SynchronousTestCase):
    """
    C{http_filters} of C{HttpProtocolOptions}, and C{upstream_http_filters} of the router.
    """
