"""
The router's own access logs: a line for each try.
"""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, Until, get, ok, request
from tests.conformance.comparison import Comparison, compared

_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_OPERATORS = """
    ACCESS_LOG_TYPE RESPONSE_CODE RESPONSE_FLAGS RESPONSE_CODE_DETAILS UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_HOST
    UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOST_NAME BYTES_RECEIVED BYTES_SENT
    UPSTREAM_WIRE_BYTES_SENT UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HEADER_BYTES_RECEIVED
    DOWNSTREAM_WIRE_BYTES_SENT DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DURATION REQUEST_DURATION
    REQUEST_TX_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION UPSTREAM_CONNECTION_POOL_READY_DURATION
    COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms) COMMON_DURATION(DS_RX_BEG:US_RX_END:ms) PROTOCOL UPSTREAM_PROTOCOL
    REQ(:PATH) REQ(:AUTHORITY) REQ(x-a) RESP(:STATUS) RESP(x-up) TRAILER(x-t) GRPC_STATUS ROUTE_NAME
    VIRTUAL_CLUSTER_NAME UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_DETECTED_CLOSE_TYPE STREAM_ID RESPONSE_HEADERS_BYTES
    RESPONSE_TRAILERS_BYTES REQUEST_HEADERS_BYTES DYNAMIC_METADATA(ns) METADATA(ROUTE:ns) METADATA(VIRTUAL_HOST:ns)
    METADATA(LISTENER:ns) CLUSTER_METADATA(ns:c) LISTENER_NAME LOCAL_REPLY_BODY
    CEL(xds.virtual_host_name) CEL(xds.virtual_host_metadata) CEL(xds.route_name) CEL(xds.cluster_name)
    CEL(request.size) CEL(response.size) CEL(response.code) CEL(response.flags) CEL(response.grpc_status)
    CEL(request.headers['x-a']) CEL(upstream.request_attempt_count) CEL(has(upstream.address)) CEL(metadata)
"""
_SOURCE = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"


def _log(field: str, text: str, filter: str = "") -> str:
    line = json.dumps(f"{_SOURCE} {text}\n")
    return (
        f"{field}: [{{name: log, {filter} typed_config: {{'@type': {_STDOUT},"
        f" log_format: {{text_format_source: {{inline_string: {line}}}}}}}}}]"
    )


_ROUTES = """
- name: retried
  match: {prefix: /retried}
  route: {cluster: meta, retry_policy: {retry_on: '5xx,reset', num_retries: 2}}
  metadata: {filter_metadata: {ns: {k: v}}}
- match: {prefix: /closed}
  route: {cluster: closed, retry_policy: {retry_on: '5xx,reset', num_retries: 1}}
- match: {prefix: /none}
  route: {cluster: empty}
- match: {prefix: /full}
  route: {cluster: full}
- match: {path: /direct}
  direct_response: {status: 503, body: {inline_string: "direct"}}
- match: {path: /slow}
  route: {cluster: backend, timeout: 0.2s}
- match: {path: /try}
  route: {cluster: backend, timeout: 5s, retry_policy: {retry_on: '5xx,reset', num_retries: 1, per_try_timeout: 0.1s}}
- match: {prefix: /idle}
  route: {cluster: backend, retry_policy: {retry_on: 5xx, num_retries: 0, per_try_idle_timeout: 0.1s}}
- match: {path: /hedge}
  route:
    cluster: backend
    timeout: 5s
    hedge_policy: {hedge_on_per_try_timeout: true}
    retry_policy: {retry_on: '5xx,reset', num_retries: 2, per_try_timeout: 0.3s}
- match: {prefix: /rewritten}
  route: {cluster: backend, prefix_rewrite: "/new", host_rewrite_literal: other}
  request_headers_to_add: [{header: {key: x-a, value: added}}]
  response_headers_to_add: [{header: {key: x-up, value: added}}]
- match: {prefix: /pending}
  route: {cluster: pending}
- match: {prefix: /lasting}
  route: {cluster: lasting}
- match: {prefix: /redirected}
  route: {cluster: backend, internal_redirect_policy: {}}
- match: {prefix: /ws}
  route: {cluster: backend, upgrade_configs: [{upgrade_type: websocket}]}
- match: {prefix: /}
  route: {cluster: backend}
"""

_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CLUSTERS = {
    "meta": "{alt_stat_name: other, metadata: {filter_metadata: {ns: {c: yes}}}}",
    "pending": "circuit_breakers: {thresholds: [{max_requests: 0}]}",
    "lasting": (
        "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': "
        f"{_OPTIONS}, common_http_protocol_options: {{max_stream_duration: 0.2s}},"
        " explicit_http_config: {http_protocol_options: {}}}}"
    ),
}

_HOST = """
metadata: {filter_metadata: {ns: {h: 1}}}
virtual_clusters: [{name: named, headers: [{name: ':path', string_match: {prefix: /named}}]}]
"""
_METADATA = """
- name: set
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata: [{metadata_namespace: ns, value: {k: v}}]
"""
_LISTENER = "metadata: {filter_metadata: {ns: {listener: 1}}}"
_SHOWN = " ".join(f"{operator}=[%{operator}%]" for operator in _OPERATORS.split())
_READY = "upstream_log_options: {flush_upstream_log_on_upstream_stream: true}"
_AGAIN = "upstream_log_options: {flush_upstream_log_on_upstream_stream: true, upstream_log_flush_interval: 0.3s}"


def _manager(text: str, options: str = "", access: str = "access_log: []", filter: str = "") -> Manager:
    # How many digits the time takes that Envoy tells is no business of the sizes.
    router = f"suppress_envoy_headers: true\n{_log('upstream_log', text, filter)}\n{options}"
    return Manager(access, _ROUTES, _HOST, filters=_METADATA, router=router, listener=_LISTENER)


LISTENERS = {
    "tries": _manager(_SHOWN),
    "ready": _manager(_SHOWN, _READY),
    "again": _manager("%ACCESS_LOG_TYPE% %RESPONSE_CODE% %BYTES_RECEIVED% %BYTES_SENT%", _AGAIN),
    # Before the line of the stream, and all bytes of that are told where the other does not ask for them.
    "both": _manager(
        "a try: %ACCESS_LOG_TYPE% %RESPONSE_CODE% %UPSTREAM_WIRE_BYTES_SENT%",
        access=_log("access_log", "%ACCESS_LOG_TYPE% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_FLAGS%"),
    ),
    "whole": _manager("a try", access=_log("access_log", "%VIRTUAL_CLUSTER_NAME% %RESPONSE_FLAGS%")),
    "types": _manager(
        "%ACCESS_LOG_TYPE% of some", _READY, filter="filter: {log_type_filter: {types: [UpstreamPoolReady]}},"
    ),
    "statuses": _manager(
        "%RESPONSE_CODE% of some",
        filter="filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: none}}}},",
    ),
}

_BAD = b"HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nbad"
_TRAILED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-up: up\r\n\r\n2\r\nok\r\n0\r\nx-t: trailer\r\n\r\n"
_ACCEPTED = (
    b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_HANDSHAKE = get(
    "/ws",
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version: 13",
)

_CONVERSATIONS: dict[str, tuple[bytes | list[object], tuple[Script, ...], int]] = {
    "get": (get("/named", "x-a: A"), (ok("x-up: up"),), 1),
    "post": (request("POST /p", "content-length: 3", body="abc"), (_TRAILED,), 1),
    "retried": (get("/retried"), (_BAD, [Do.RESET], OK), 1),
    "retriedOut": (request("POST /retried", "content-length: 3", body="abc"), (_BAD,), 1),
    "closed": (get("/closed"), (OK,), 1),
    "none": (get("/none"), (OK,), 1),
    "full": (get("/full"), (OK,), 1),
    "direct": (get("/direct"), (OK,), 1),
    "slow": (get("/slow"), ([Pause(0.6)],), 1),
    "tryTimeout": (get("/try"), ([Pause(0.8)],), 1),
    "idleTry": (get("/idle"), ([Pause(0.5)],), 1),
    "rewritten": (get("/rewritten/x", "x-a: A"), (ok("x-up: up"),), 1),
    "hedgedByNewer": (get("/hedge"), ([Pause(1.5), OK], OK), 1),
    "hedgedByOlder": (get("/hedge"), ([Pause(0.4), OK], [Pause(1.5)]), 1),
    "reset": (get("/x"), ([Do.RESET],), 1),
    "cut": (get("/x"), ([b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nbad", Pause(0.1), Do.CLOSE],), 1),
    "gone": ([get("/x"), Pause(0.2), Do.RESET], ([Pause(0.6), OK],), 0),
    "long": (get("/x"), ([b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nbad", Pause(0.45), b"bad"],), 1),
    "early": (
        [b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", Pause(0.3), b"def"],
        ([Do.EARLY, OK],),
        1,
    ),
    "grpc": (
        request("POST /g", "content-type: application/grpc", "content-length: 0"),
        (ok("grpc-status: 5", "content-type: application/grpc"),),
        1,
    ),
    "pending": (get("/pending"), (OK,), 1),
    "lasting": (get("/lasting"), ([Pause(0.6)],), 1),
    "redirected": (
        get("/redirected"),
        (b"HTTP/1.1 302 X\r\nlocation: http://example.com/x\r\ncontent-length: 0\r\n\r\n", OK),
        1,
    ),
    "tunnel": (
        [_HANDSHAKE, Until(b"\r\n\r\n"), b"hello", Until(b"hello"), Do.CLOSE],
        ([_ACCEPTED, Do.ECHO],),
        1,
    ),
    "head": (request("HEAD /x"), (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",), 1),
    "slowPost": ([b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", Pause(0.4), b"def"], (OK,), 1),
}

_ASKED = {
    "tries": " ".join(_CONVERSATIONS),
    "ready": "get post retried closed full hedgedByNewer lasting",
    "again": "get long slowPost lasting",
    "both": "get retried closed none direct slow",
    "whole": "get retried",
    "types": "get retried",
    "statuses": "get retried closed",
}

CASES = [
    Case(
        f"{listener}_{name}",
        f"The log of tries, {listener}, of {name}.",
        _CONVERSATIONS[name][0],  # type: ignore[arg-type]
        _CONVERSATIONS[name][1],
        listener=listener,
        responses=_CONVERSATIONS[name][2],
    )
    for listener, names in _ASKED.items()
    for name in names.split()
]

#: A few milliseconds, of which there are more on a busy machine.
_SHORTLY = (re.compile(r"(DURATION(?:\([^)]*\))?=)\[\d{1,4}\]"), r"\1[(a time)]")


@compared(Comparison(LISTENERS, CASES, CLUSTERS, [_SHORTLY]))
class UpstreamLogTests(SynchronousTestCase):
    """
    Lines of tries.
    """
