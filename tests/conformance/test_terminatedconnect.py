"""
CONNECT that ends at the proxy.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, Pause, Until, get, request
from tests.conformance.comparison import Comparison, compared


def _ends(cluster: str = "backend", more: str = "", config: str = "", settings: str = "") -> Manager:
    connect = "upgrade_configs: [{upgrade_type: CONNECT, connect_config: {%s}}]" % config
    return Manager(settings, "[{match: {connect_matcher: {}}, route: {cluster: %s, %s%s}}]" % (cluster, connect, more))


_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_FACTS = (
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% up=%UPSTREAM_PROTOCOL% id=%UPSTREAM_CONNECTION_ID% "
    "made=%COMMON_DURATION(US_CX_BEG:US_CX_END:ms)% tls=%UPSTREAM_TLS_VERSION% "
    "from=%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% to=%UPSTREAM_REMOTE_ADDRESS% "
    "ready=%UPSTREAM_CONNECTION_POOL_READY_DURATION% tx=%UPSTREAM_WIRE_BYTES_SENT% "
    "rx=%UPSTREAM_WIRE_BYTES_RECEIVED% heads=%UPSTREAM_HEADER_BYTES_SENT%/%UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT%"
)
_FORMAT = '{text_format_source: {inline_string: "%s\\n"}}' % _FACTS
_LOGGED = "access_log: [{name: log, typed_config: {'@type': %s, log_format: %s}}]" % (_STDOUT, _FORMAT)
_VARIABLE = [(re.compile(r"(id|made|ready)=[1-9]\d*"), r"\1=(some)"), (re.compile(r"(made|ready)=0"), r"\1=(some)")]

LISTENERS = {
    "ends": _ends(),
    "logged": _ends(settings=_LOGGED),
    "logged_closed": _ends("closed", settings=_LOGGED),
    "closed": _ends("closed"),
    "full": _ends("full"),
    "empty": _ends("empty"),
    "short": _ends(more=", timeout: 0.2s"),
    "idle": _ends(more=", idle_timeout: 0.2s"),
    "retries": _ends("closed", ", retry_policy: {retry_on: connect-failure, num_retries: 1}"),
    "noConnections": _ends("noConnections"),
    "told1": _ends(config="proxy_protocol_config: {version: V1}"),
    "posts": Manager(
        "",
        "[{match: {prefix: /}, route: {cluster: backend, timeout: 0s, upgrade_configs:"
        " [{upgrade_type: CONNECT, connect_config: {allow_post: true, proxy_protocol_config: {version: V1}}}]}}]",
    ),
}

CLUSTERS = {"noConnections": "circuit_breakers: {thresholds: [{max_connections: 0}]}"}

_CONNECT = request("CONNECT there:80", "Host: there:80")
# The backend waits for something like a head before it does anything.
_HELLO = b"hello\r\n\r\n"

CASES = [
    Case(
        "connectEnds_logged",
        "What the log knows of the upstream.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"hi"), Do.CLOSE],
        ([b"hi", Do.DRAIN],),
        "logged",
    ),
    Case("connectEnds_loggedClosed", "And of one that is not there.", _CONNECT, listener="logged_closed"),
    Case(
        "connectEnds_echo",
        "Bytes pass both ways.",
        [_CONNECT, Do.AWAIT, _HELLO, b"more", Until(b"more")],
        ([b"hi", Do.ECHO],),
        "ends",
    ),
    Case("connectEnds_early", "Bytes that come along.", [_CONNECT + _HELLO, Until(b"hi")], ([b"hi", Do.ECHO],), "ends"),
    Case(
        "connectEnds_upstream",
        "The endpoint ends.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"bye"), Do.REST],
        ([b"bye", Do.CLOSE],),
        "ends",
        limit=1.0,
    ),
    Case(
        "connectEnds_reset",
        "It resets.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"bye"), Do.REST],
        ([b"bye", Do.REST, Do.RESET],),
        "ends",
        limit=1.0,
    ),
    Case(
        "connectEnds_client",
        "The client ends.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"hi"), Do.CLOSE],
        ([b"hi", Do.DRAIN],),
        "ends",
    ),
    Case(
        "connectEnds_half",
        "The client has no more to say.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"hi"), Do.HALF_CLOSE, Until(b"rest")],
        ([b"hi", Pause(0.1), b"rest", Do.DRAIN],),
        "ends",
        limit=1.0,
    ),
    Case("connectEnds_closed", "Nobody listens.", _CONNECT, listener="closed"),
    Case("connectEnds_full", "Nobody answers.", _CONNECT, listener="full"),
    Case("connectEnds_empty", "There is no endpoint.", _CONNECT, listener="empty"),
    Case("connectEnds_retries", "In vain again.", _CONNECT, listener="retries"),
    Case("connectEnds_overflow", "No room.", _CONNECT, listener="noConnections"),
    Case(
        "connectEnds_short",
        "A route's time-out does not end a tunnel.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"hi"), Pause(0.3), b"more", Until(b"more")],
        ([b"hi", Do.ECHO],),
        "short",
    ),
    Case(
        "connectEnds_idle",
        "An idle time-out does.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"hi"), Pause(0.35)],
        ([b"hi", Do.DRAIN],),
        "idle",
        limit=1.0,
    ),
    Case(
        "connectEnds_told1",
        "A PROXY header of version 1 goes first.",
        [_CONNECT, Do.AWAIT, _HELLO, Until(b"hi")],
        ([b"hi", Do.ECHO],),
        "told1",
    ),
    Case(
        "postEnds_length",
        "A POST with a length.",
        [request("POST /x", "content-length: 9") + _HELLO, Until(b"hi")],
        ([b"hi", Do.CLOSE],),
        "posts",
        limit=1.0,
    ),
    Case(
        "postEnds_chunks",
        "With chunks, and its end.",
        [request("POST /x", "transfer-encoding: chunked"), b"9\r\n" + _HELLO + b"\r\n", Until(b"hi"), b"0\r\n\r\n"],
        ([b"hi", Do.DRAIN],),
        "posts",
        limit=0.5,
    ),
    Case(
        "postEnds_open",
        "The endpoint ends first.",
        [request("POST /x", "transfer-encoding: chunked"), b"9\r\n" + _HELLO + b"\r\n", Until(b"hi")],
        ([b"hi", Do.CLOSE],),
        "posts",
        limit=0.5,
    ),
    Case(
        "postEnds_empty", "With no body at all.", request("POST /x", "content-length: 0"), listener="posts", limit=0.5
    ),
    Case("postEnds_get", "GET on such a route.", get("/"), listener="posts"),
    Case("connectEnds_get", "Nothing but CONNECT is for such a route.", get("/"), listener="ends"),
]


# The client's port is another one each time.
_PORTS = re.compile(r"(?<=PROXY TCP4 )(\S+ \S+) \d+")


@compared(Comparison(LISTENERS, CASES, CLUSTERS, [(_PORTS, r"\1 (a port)"), *_VARIABLE]))
class TerminatedConnectTests(SynchronousTestCase):
    """
    Terminated tunnels.
    """
