"""
What a cluster says about its connections and its requests.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, Step, get, request
from tests.conformance.comparison import Comparison, compared

_OPTIONS = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
    "common_http_protocol_options: {%s}, explicit_http_config: {http_protocol_options: {}}}}"
)


def _limits(limits: str, more: str = "") -> str:
    return "circuit_breakers: {thresholds: [{%s}]%s}" % (limits, more)


CLUSTERS = {
    "noRequests": _limits("max_requests: 0"),
    "noPending": _limits("max_pending_requests: 0"),
    "noConnections": _limits("max_connections: 0"),
    "noneOfHigh": _limits("priority: HIGH, max_requests: 0"),
    "noneForHost": "circuit_breakers: {per_host_thresholds: [{max_connections: 0}]}",
    "tracked": _limits("track_remaining: true, max_requests: 1"),
    "lasting": _OPTIONS % "max_stream_duration: 0.15s",
    "oneEach": _OPTIONS % "max_requests_per_connection: 1",
    "twoEach": "max_requests_per_connection: 2",
    "idle": _OPTIONS % "idle_timeout: 0.1s",
    "old": _OPTIONS % "max_connection_duration: 0.1s",
    "named": "alt_stat_name: other_name",
    "bound": "upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}}",
    "boundBadly": "upstream_bind_config: {source_address: {address: 192.0.2.77, port_value: 0}}",
    "kept": "upstream_connection_options: {tcp_keepalive: {keepalive_probes: 3, keepalive_time: 9}}",
    "logical": "type: LOGICAL_DNS",
    "strict": "type: STRICT_DNS",
    "ofType": "cluster_type: {name: envoy.cluster.static}",
    "dnsType": (
        "cluster_type: {name: envoy.cluster.dns, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, dns_lookup_family: V4_ONLY}}"
    ),
    "smallBuffer": "per_connection_buffer_limit_bytes: 1024",
}


def _to(cluster: str, action: str = "") -> Manager:
    return Manager("", "[{match: {prefix: /}, route: {cluster: %s%s}}]" % (cluster, action))


LISTENERS = {
    **{name: _to(name) for name in CLUSTERS},
    "high": _to("noneOfHigh", ", priority: HIGH"),
    "lastingTries": _to("lasting", ", retry_policy: {retry_on: reset, num_retries: 1}"),
    "overflowTries": _to("noRequests", ", retry_policy: {retry_on: '5xx,reset', num_retries: 2}"),
    "ownName": _to("strict", ", auto_host_rewrite: true"),
}

_HANGS: Script = [Do.DRAIN]


def _again(pause: float) -> list[Step]:
    return [get("/1"), Do.AWAIT, Pause(pause), get("/2")]


_CASES = [
    *[Case(f"upstream_{name}", f"One request, {name}.", get("/a"), listener=name, limit=1.0) for name in LISTENERS],
    *[
        Case(f"upstreamTwice_{name}", f"Two, {name}.", _again(0.02), listener=name, responses=2, limit=1.0)
        for name in ("oneEach", "twoEach", "tracked", "named", "logical", "noConnections", "noneForHost")
    ],
    Case(
        "upstreamThree",
        "The third has another connection.",
        [get("/1"), Do.AWAIT, Do.REST, get("/2"), Do.AWAIT, Do.REST, get("/3")],
        listener="twoEach",
        responses=3,
    ),
    Case("upstreamIdle", "A connection that was idle.", _again(0.25), listener="idle", responses=2),
    Case("upstreamOld", "One that is old.", _again(0.25), listener="old", responses=2),
    Case("lasting_hangs", "No answer in time.", get("/a"), (_HANGS,), "lasting"),
    Case(
        "lasting_body",
        "None to its end.",
        get("/a"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", Do.DRAIN],),
        "lasting",
    ),
    Case(
        "lasting_post",
        "A request that does not end.",
        [request("POST /a", "content-length: 9", body="abc"), Pause(0.3)],
        ([Do.EARLY, Do.DRAIN],),
        "lasting",
    ),
    Case("lasting_tries", "It is tried again.", get("/a"), (_HANGS, OK), "lastingTries"),
    Case("lasting_triesTwice", "In vain.", get("/a"), (_HANGS, _HANGS), "lastingTries"),
    Case(
        "buffer_post",
        "A body above the buffer.",
        request("POST /a", "content-length: 5000", body="x" * 5000),
        listener="smallBuffer",
    ),
]
CASES = [replace(case, limit=min(case.limit, 1.0)) for case in _CASES]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class UpstreamTests(SynchronousTestCase):
    """
    Clusters.
    """
