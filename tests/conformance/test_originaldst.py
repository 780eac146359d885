"""
Clusters whose endpoints are where requests and connections were meant to go.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Listener, Manager
from tests.conformance.case import OK, Case, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/envoy.extensions."
_PROXY = f"""
listener_filters:
- name: proxy_protocol
  typed_config:
    '@type': {_TYPES}filters.listener.proxy_protocol.v3.ProxyProtocol
    allow_requests_without_proxy_protocol: true
- name: original_dst
  typed_config: {{'@type': {_TYPES}filters.listener.original_dst.v3.OriginalDst}}
"""
_TO = "[{match: {prefix: /}, route: {cluster: %s, timeout: 1s}}]"
_METADATA = f"""
- name: note
  typed_config:
    '@type': {_TYPES}filters.http.header_to_metadata.v3.Config
    request_rules: [{{header: x-to, on_header_present: {{metadata_namespace: ns, key: to, type: STRING}}}}]
"""
_TCP = (
    f"[{{filters: [{{name: tcp, typed_config: {{'@type': {_TYPES}filters.network.tcp_proxy.v3.TcpProxy,"
    " stat_prefix: tcp, cluster: plain, access_log: $LOG}}]}]"
)


def _cluster(lb: str = "", more: str = "") -> str:
    config = f", original_dst_lb_config: {{{lb}}}" if lb else ""
    return f"{{type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, load_assignment: null{config}{more}}}"


def _to(address: str, *fields: str, path: str = "/") -> bytes:
    """
    A request whose load balancer says where it was meant to go.
    """
    host, _, port = address.rpartition(":")
    return f"PROXY TCP4 192.0.2.7 {host} 40000 {port}\r\n".encode("ascii") + get(path, *fields)


CLUSTERS = {
    "plain": _cluster(),
    "header": _cluster("use_http_header: true"),
    "other": _cluster("use_http_header: true, http_header_name: x-to"),
    "port": _cluster('use_http_header: true, upstream_port_override: "$BACKEND"'),
    "metadata": _cluster("use_http_header: true, metadata_key: {key: ns, path: [{key: to}]}"),
}
LISTENERS: dict[str, Manager | Listener] = {
    name: Manager(routes=_TO % name, listener=_PROXY, filters=_METADATA if name == "metadata" else "")
    for name in CLUSTERS
}
LISTENERS["tcp"] = Listener(_TCP, _PROXY)


_BAD = ("here", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "[::1]:x", "[::1]", "::1:80", ":80")

CASES = [
    Case("plain_nothing", "Nothing tells where to.", get("/"), (OK,), "plain"),
    Case(
        "plain_header",
        "A field that nobody asked for.",
        get("/", "x-envoy-original-dst-host: 127.0.0.1:1"),
        (OK,),
        "plain",
    ),
    Case("header_none", "No field.", get("/"), (OK,), "header"),
    Case("header_closed", "Where nobody listens.", get("/", "x-envoy-original-dst-host: 127.0.0.1:1"), (OK,), "header"),
    Case("header_six", "IPv6.", get("/", "x-envoy-original-dst-host: [::1]:1"), (OK,), "header"),
    Case("other_closed", "Another field.", get("/", "x-to: 127.0.0.1:1"), (OK,), "other"),
    Case("other_usual", "Not the usual one.", get("/", "x-envoy-original-dst-host: 127.0.0.1:1"), (OK,), "other"),
    Case("metadata_closed", "By metadata.", get("/", "x-to: 127.0.0.1:1"), (OK,), "metadata"),
    Case(
        "metadata_first",
        "Metadata goes before the field.",
        get("/", "x-to: 127.0.0.1:1", "x-envoy-original-dst-host: 127.0.0.1:2"),
        (OK,),
        "metadata",
    ),
    Case(
        "metadata_bad",
        "Or else the field.",
        get("/", "x-to: x", "x-envoy-original-dst-host: 127.0.0.1:2"),
        (OK,),
        "metadata",
    ),
    Case("told_closed", "By the connection.", _to("127.0.0.1:1"), (OK,), "plain"),
    Case(
        "told_header",
        "A field goes before it.",
        _to("127.0.0.1:1", "x-envoy-original-dst-host: 127.0.0.1:2"),
        (OK,),
        "header",
    ),
    Case(
        "told_tcp",
        "TCP by the connection.",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 40000 1\r\nhello",
        (OK,),
        "tcp",
        limit=0.6,
    ),
    Case("nothing_tcp", "TCP that nothing tells of.", b"hello", (OK,), "tcp", limit=0.6),
    *[
        Case(
            f"bad_{number}", f"{value} is no address.", get("/", f"x-envoy-original-dst-host: {value}"), (OK,), "header"
        )
        for number, value in enumerate(_BAD)
    ],
]

# With a port of the configuration, the address of the backend is known: each proxy's own.
LISTENERS["back"] = Manager(
    routes="[{match: {prefix: /}, route: {cluster: port, timeout: 1s}, request_headers_to_add: "
    "[{header: {key: x-envoy-original-dst-host, value: '$ADDRESS:1'}}]}]",
)
CASES += [
    Case("back_there", "The backend, by another port.", get("/"), (ok("x-up: up"),), "back"),
    Case("back_again", "The same one again.", get("/") + get("/"), (ok("x-up: up"),), "back", responses=2),
    Case("back_body", "With a body.", request("POST /", "content-length: 3", body="abc"), (OK,), "back"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class OriginalDstTests(SynchronousTestCase):
    """
    C{ORIGINAL_DST}.
    """
