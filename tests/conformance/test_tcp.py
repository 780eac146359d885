"""
Bytes that pass as they are, and which filter chain a connection gets.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Listener
from tests.conformance.case import Case, Do, Pause, Until
from tests.conformance.comparison import Comparison, compared

_TCP = (
    "{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,"
    " stat_prefix: tcp, access_log: $LOG, %s}}"
)


def _to(fields: str) -> Listener:
    return Listener("[{filters: [%s]}]" % (_TCP % fields))


LISTENERS = {
    "plain": _to("cluster: backend"),
    "empty": _to("cluster: empty"),
    "closed": _to("cluster: closed"),
    "closedTwice": _to("cluster: closed, max_connect_attempts: 2"),
    "idle": _to("cluster: backend, idle_timeout: 0.25s"),
    "duration": _to("cluster: backend, max_downstream_connection_duration: 0.25s"),
    "weights": _to("weighted_clusters: {clusters: [{name: backend, weight: 1}]}"),
    "bySource": Listener(
        "[{filter_chain_match: {source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}, filters: [%s]},"
        " {filters: [%s]}]" % (_TCP % "cluster: backend", _TCP % "cluster: empty")
    ),
    "noChain": Listener(
        "[{filter_chain_match: {source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}, filters: [%s]}]"
        % (_TCP % "cluster: backend")
    ),
    "byServerName": Listener(
        "[{filter_chain_match: {server_names: [a.example]}, filters: [%s]}]" % (_TCP % "cluster: backend")
    ),
    "defaultChain": Listener(
        "[{filter_chain_match: {source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}, filters: [%s]}]"
        % (_TCP % "cluster: backend"),
        "default_filter_chain: {filters: [{name: tcp, typed_config:"
        " {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,"
        " stat_prefix: tcp, cluster: backend}}]}",
    ),
}

_TYPED_LOG = (
    "{name: typed, filter: {log_type_filter: {types: [%s]}}, typed_config: {'@type':"
    " type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source:"
    ' {inline_string: "%%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%% %%ACCESS_LOG_TYPE%%\\n"}}}}'
)
for _name, _types in (("logsStart", "TcpConnectionStart"), ("logsBegin", "TcpConnectionStart, TcpUpstreamConnected")):
    _options = "access_log_options: {flush_access_log_on_start: true, flush_access_log_on_connected: true}"
    LISTENERS[_name] = Listener(
        "[{filters: [%s]}]" % (_TCP % f"cluster: backend, {_options}").replace("$LOG", "[%s]" % (_TYPED_LOG % _types))
    )

# The backend of these tests waits for what looks like a head.
_HELLO = b"HELLO\r\n\r\n"

CASES = [
    Case(
        "echo", "Bytes pass both ways.", [_HELLO, b"more", Until(b"more")], ([b"hi", Do.ECHO],), responses=9, limit=0.2
    ),
    Case(
        "clientEnds",
        "The client ends its side; the answer still comes.",
        [_HELLO, Do.HALF_CLOSE],
        ([Do.EARLY, Pause(0.1), b"late", Do.CLOSE],),
        responses=9,
        limit=1.0,
    ),
    Case(
        "clientEndsTold",
        "The upstream learns of it.",
        [_HELLO, Do.HALF_CLOSE, Until(b"hi")],
        ([b"hi", Do.DRAIN],),
        responses=9,
        limit=0.5,
    ),
    Case(
        "upstreamEnds",
        "The upstream ends its side; the client goes on.",
        [_HELLO, Until(b"hi"), Do.REST, b"more", Pause(0.1)],
        ([b"hi", Do.HALF_CLOSE, Do.DRAIN],),
        responses=9,
        limit=0.3,
    ),
    Case("upstreamCloses", "The upstream closes.", [_HELLO], ([b"bye", Do.CLOSE],), responses=9, limit=0.5),
    Case(
        "upstreamResets",
        "The upstream resets.",
        [_HELLO, Until(b"bye")],
        ([b"bye", Do.REST, Do.RESET],),
        responses=9,
        limit=0.5,
    ),
    Case("clientCloses", "The client closes.", [_HELLO, Until(b"hi"), Do.CLOSE], ([b"hi", Do.DRAIN],)),
    Case("clientResets", "The client resets.", [_HELLO, Until(b"hi"), Do.RESET], ([b"hi", Do.DRAIN],)),
    *[
        Case(name, "Lines of some types.", [_HELLO, Until(b"hi"), Do.CLOSE], ([b"hi", Do.DRAIN],), listener=name)
        for name in ("logsStart", "logsBegin")
    ],
    Case("silent", "The upstream is connected before a byte came.", [Pause(0.1), Do.CLOSE]),
    Case("large", "500 kB.", [_HELLO + b"x" * 500000, Until(b"x" * 1000)], ([Do.ECHO],), responses=9, limit=0.5),
    Case("empty", "A cluster without endpoints.", [_HELLO], listener="empty", responses=9, limit=0.5),
    Case("closed", "An endpoint that refuses.", [_HELLO], listener="closed", responses=9, limit=0.7),
    Case("closedTwice", "It is tried again.", [_HELLO], listener="closedTwice", responses=9, limit=1.0),
    Case(
        "idle", "idle_timeout.", [_HELLO, Until(b"hi")], ([b"hi", Do.DRAIN],), listener="idle", responses=9, limit=0.7
    ),
    Case(
        "duration",
        "max_downstream_connection_duration.",
        [_HELLO, Until(b"hi")],
        ([b"hi", Do.DRAIN],),
        listener="duration",
        responses=9,
        limit=0.7,
    ),
    Case(
        "weights",
        "Weighted clusters.",
        [_HELLO, Until(b"hi")],
        ([b"hi", Do.DRAIN],),
        listener="weights",
        responses=9,
        limit=0.2,
    ),
    Case(
        "bySource",
        "A chain by the client's address.",
        [_HELLO, Until(b"hi")],
        ([b"hi", Do.DRAIN],),
        listener="bySource",
        responses=9,
        limit=0.2,
    ),
    Case("noChain", "No chain matches.", [_HELLO], listener="noChain", responses=9, limit=0.5),
    Case("byServerName", "No TLS, no name.", [_HELLO], listener="byServerName", responses=9, limit=0.5),
    Case(
        "defaultChain",
        "The default chain.",
        [_HELLO, Until(b"hi")],
        ([b"hi", Do.DRAIN],),
        listener="defaultChain",
        responses=9,
        limit=0.2,
    ),
]


@compared(Comparison(LISTENERS, CASES))
class TCPTests(SynchronousTestCase):
    """
    C{tcp_proxy} and filter chains.
    """
