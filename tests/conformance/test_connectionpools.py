"""
How many connection pools a cluster may have: C{max_connection_pools}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, get, request
from tests.conformance.comparison import Comparison, compared


def _cluster(most: int) -> str:
    """
    One of two endpoints that refuses, and one that does not.
    """
    endpoints = ", ".join(
        f"{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}},"
        f" metadata: {{filter_metadata: {{envoy.lb: {{hash_key: {key}}}}}}}}}"
        for key, host, port in (("one", "$ADDRESS", "$BACKEND"), ("two", "127.0.0.1", "$CLOSED"))
    )
    return (
        f"{{lb_policy: RING_HASH, circuit_breakers: {{thresholds: [{{max_connection_pools: {most}}}]}},"
        f" load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{endpoints}]}}]}}}}"
    )


def _manager(cluster: str) -> Manager:
    hashed = "hash_policy: [{header: {header_name: x-h}}]"
    return Manager(
        host="{include_attempt_count_in_response: true}",
        routes="[{match: {prefix: /again}, route: {cluster: %s, %s, retry_policy: {retry_on: 5xx}}},"
        " {match: {prefix: /}, route: {cluster: %s, %s}}]" % (cluster, hashed, cluster, hashed),
    )


CLUSTERS = {f"most{most}": _cluster(most) for most in (0, 1, 2)} | {
    "single": "{circuit_breakers: {thresholds: [{max_connection_pools: 1}]}}"
}
LISTENERS = {name: _manager(name) for name in CLUSTERS}
CASES = [
    *[
        Case(
            f"{listener}_{number}_{path[1:]}",
            "One more endpoint is as good as none while as many have connections.",
            get(path, f"x-h: {number}"),
            listener=listener,
        )
        for listener in ("most0", "most1", "most2")
        for path in ("/", "/again")
        for number in range(8)
    ],
    Case("again_closed", "A pool without connections does not count.", get(), [(OK, Do.CLOSE)], "single"),
    Case("again_open", "So there is another one.", get(), listener="single"),
    Case("again_body", "For a body, too.", request("POST /", "content-length: 3", body="abc"), listener="single"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ConnectionPoolTests(SynchronousTestCase):
    """
    Beside Envoy.
    """
