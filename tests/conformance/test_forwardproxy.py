"""
Requests that go to the host that they ask for (C{dynamic_forward_proxy}).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Listener, Manager
from tests.conformance.case import OK, Case, get, ok
from tests.conformance.comparison import Comparison, compared

_EXTENSIONS = "type.googleapis.com/envoy.extensions."
_PACKAGE = "dynamic_forward_proxy.v3."
_RESOLVER = (
    "{name: envoy.network.dns_resolver.cares, typed_config: {'@type': "
    f"{_EXTENSIONS}network.dns_resolver.cares.v3.CaresDnsResolverConfig, query_timeout_seconds: 1, query_tries: 1, "
    "resolvers: [{socket_address: {address: 127.0.0.1, port_value: 1}}]}}"
)


def _cache(name: str, more: str = "", family: str = "V4_ONLY") -> str:
    return (
        f"dns_cache_config: {{name: {name}, dns_lookup_family: {family}, typed_dns_resolver_config: {_RESOLVER}{more}}}"
    )


_CACHES = {
    "usual": _cache("usual"),
    "small": _cache("small", ", max_hosts: 1"),
    "six": _cache("six", "", "V6_ONLY"),
    "any": _cache("any", "", "AUTO"),
    "none": _cache("none", ", dns_cache_circuit_breaker: {max_pending_requests: 0}"),
}
CLUSTERS = {
    name: "{type: null, lb_policy: CLUSTER_PROVIDED, load_assignment: null, cluster_type: {name: "
    "envoy.clusters.dynamic_forward_proxy, typed_config: {'@type': "
    f"{_EXTENSIONS}clusters.{_PACKAGE}ClusterConfig, {cache}}}}}}}"
    for name, cache in _CACHES.items()
}


def _filter(name: str, more: str = "") -> str:
    return (
        f"- name: forward\n  typed_config: {{'@type': {_EXTENSIONS}filters.http.{_PACKAGE}FilterConfig, "
        f"{_CACHES[name]}{more}}}\n"
    )


def _route(cluster: str, rewrite: str = "", prefix: str = "/") -> str:
    config = ""
    if rewrite:
        config = (
            f", typed_per_filter_config: {{forward: {{'@type': {_EXTENSIONS}filters.http.{_PACKAGE}PerRouteConfig, "
            f"{rewrite}}}}}"
        )
    return f"{{match: {{prefix: {prefix}}}, route: {{cluster: {cluster}, timeout: 3s}}{config}}}"


def _listener(name: str, *more: str) -> Manager:
    routes = ", ".join([*more, _route("backend", "", "/other"), _route(name)])
    return Manager(routes=f"[{routes}]", filters=_filter(name))


_RULES = (
    "- name: rbac\n  typed_config: {'@type': "
    f"{_EXTENSIONS}filters.http.rbac.v3.RBAC, rules: {{action: ALLOW, policies: {{p: {{principals: [{{any: true}}], "
    "permissions: [{matcher: {name: ip, typed_config: {'@type': "
    f"{_EXTENSIONS}rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher, "
    "upstream_ip: {address_prefix: 127.0.0.1, prefix_len: 32}, upstream_port_range: {start: 1, end: 2}}}}]}}}}\n"
)
_LITERAL = "host_rewrite_literal: '$ADDRESS:$BACKEND'"
LISTENERS: dict[str, Manager | Listener] = {
    "usual": _listener(
        "usual", _route("usual", _LITERAL, "/there"), _route("usual", "host_rewrite_header: x-to", "/header")
    ),
    "unfiltered": Manager(routes=f"[{_route('usual')}]"),
    "small": _listener("small"),
    "six": _listener("six"),
    "any": _listener("any"),
    "none": _listener("none"),
    "saved": Manager(routes=f"[{_route('usual')}]", filters=_filter("usual", ", save_upstream_address: true") + _RULES),
    "unsaved": Manager(routes=f"[{_route('usual')}]", filters=_filter("usual") + _RULES),
}


def _to(host: str) -> bytes:
    return get("/", f"host: {host}")


_NO_NAMES = [
    "a..b",
    ".a",
    "..",
    "a" * 64 + ".b",
    ".".join(["a" * 50] * 5) + ".b",
    "a" * 260,
    "[::1",
    "[]:1",
    "127.0.0.1:99999",
    "127.0.0.1:",
    "[fe80::1%lo]:1",
]

CASES = [
    Case("there", "A backend, by its address.", get("/there"), (ok("x-up: up"),), "usual"),
    Case("there_again", "And again.", get("/there") + get("/there"), (OK,), "usual", responses=2),
    Case("closed", "Where nobody listens.", _to("127.0.0.1:1"), (OK,), "usual"),
    Case("closed_name", "By a name of the hosts file.", _to("localhost:1"), (OK,), "usual"),
    Case("header_closed", "By another field.", get("/header", "x-to: 127.0.0.1:1"), (OK,), "usual"),
    Case("unknown", "A name that cannot be looked up.", _to("a.invalid"), (OK,), "usual", limit=3),
    Case("unknown_again", "And again.", _to("a.invalid"), (OK,), "usual", limit=3),
    *[
        Case(f"name_{index}", "What is no name is asked of nobody.", _to(host), (OK,), "usual")
        for index, host in enumerate(_NO_NAMES)
    ],
    Case("six_in_four", "An address of the wrong kind.", _to("[::1]:1"), (OK,), "usual"),
    Case("six", "One of the right kind.", _to("[::1]:1"), (OK,), "six"),
    Case("four_in_six", "And the other way round.", _to("127.0.0.1:1"), (OK,), "six"),
    Case("six_in_any", "Where both go.", _to("[::1]:1"), (OK,), "any"),
    Case("scope_in_any", "A scope is nobody's business.", _to("[fe80::1%lo]:1"), (OK,), "any"),
    Case("four_in_any", "Where both go.", _to("127.0.0.1:1"), (OK,), "any"),
    Case("upper", "A name in capitals.", _to("LOCALHOST:1"), (OK,), "usual"),
    Case("dot", "A name with its root.", _to("localhost.:1"), (OK,), "usual", limit=3),
    Case("other", "A cluster of another kind.", get("/other"), (OK,), "usual"),
    Case("forward_unfiltered", "Nobody looked it up.", _to("127.0.0.1:7"), (OK,), "unfiltered"),
    Case("small_first", "There is room for one host.", _to("127.0.0.1:1"), (OK,), "small"),
    Case("small_more", "And for no other.", _to("127.0.0.1:2"), (OK,), "small"),
    Case("none", "Nobody may wait.", _to("127.0.0.1:1"), (OK,), "none"),
    Case("saved", "A later filter knows where to.", _to("127.0.0.1:1"), (OK,), "saved"),
    Case("saved_other", "And lets nothing else pass.", _to("127.0.0.1:3"), (OK,), "saved"),
    Case("unsaved", "It is not told.", _to("127.0.0.1:1"), (OK,), "unsaved"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ForwardProxyTests(SynchronousTestCase):
    """
    C{dynamic_forward_proxy}.
    """
