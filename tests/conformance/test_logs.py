"""
The access log: operators, formats and filters.
"""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, get, ok, request
from tests.conformance.comparison import Comparison, compared

_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_SOURCE = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"


def _logs(*formats: object, filters: tuple[str, ...] = ()) -> str:
    """
    Access logs: each format a text, or the fields of a C{SubstitutionFormatString}; filters in YAML.
    """
    logs = []
    for form in formats:
        if isinstance(form, str):
            form = {"text_format_source": {"inline_string": f"{_SOURCE} {form}\n"}}
        logs.append({"name": "log", "typed_config": {"@type": _STDOUT, "log_format": form}})
    listed = [json.dumps(log) for log in logs]
    for each in filters:
        form = {"text_format_source": {"inline_string": f"{_SOURCE} {each.replace('%', '%%')}\n"}}
        log = json.dumps({"name": "log", "typed_config": {"@type": _STDOUT, "log_format": form}})
        listed.append(f"{{filter: {each}, {log[1:]}")
    return "access_log: [" + ", ".join(listed) + "]"


def _shown(*operators: str) -> str:
    return " ".join(f"{operator.replace('%', '')}=[%{operator}%]" for operator in operators)


_HEADERS = _shown(
    *"""
    REQ(:METHOD) REQ(:PATH) REQ(:AUTHORITY) REQ(host) REQ(x-a) REQ(X-A?X-B) REQ(x-none?x-b) REQ(x-a):3
    REQ(x-none):3 REQUEST_HEADER(x-a) RESP(:STATUS) RESP(x-up) RESP(x-none?x-up):2 RESPONSE_HEADER(server)
    TRAILER(x-t) RESPONSE_TRAILER(x-t)
    """.split()
)
_PATHS = _shown(
    *"""
    PATH PATH(WQ) PATH(NQ) PATH(WQ:ORIG) PATH(NQ:ORIG) PATH(WQ:PATH) PATH(NQ:PATH) PATH(NQ:ORIG_OR_PATH)
    PATH(WQ):4 QUERY_PARAM(a) QUERY_PARAM(b) QUERY_PARAM(none) QUERY_PARAM(a):1 QUERY_PARAMS(ORIG)
    QUERY_PARAMS(DECODED) QUERY_PARAMS
    """.split()
)
_RESULT = _shown(
    *"""
    PROTOCOL UPSTREAM_PROTOCOL RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)
    RESPONSE_FLAGS RESPONSE_FLAGS_LONG CONNECTION_TERMINATION_DETAILS UPSTREAM_TRANSPORT_FAILURE_REASON
    DOWNSTREAM_TRANSPORT_FAILURE_REASON BYTES_RECEIVED BYTES_SENT UPSTREAM_REQUEST_ATTEMPT_COUNT GRPC_STATUS
    GRPC_STATUS(SNAKE_STRING) GRPC_STATUS_NUMBER LOCAL_REPLY_BODY CUSTOM_FLAGS DOWNSTREAM_LOCAL_CLOSE_REASON
    UPSTREAM_LOCAL_CLOSE_REASON ACCESS_LOG_TYPE
    """.split()
)
_SCHEME = _shown("REQ(:SCHEME)")
_PEERS = _shown(
    *"""
    UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_REMOTE_PORT UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT
    UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT DOWNSTREAM_LOCAL_ADDRESS
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16) DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(24)
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID
    REQUESTED_SERVER_NAME DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_SUBJECT
    """.split()
)
_STATE = _shown(
    *"""
    ROUTE_NAME VIRTUAL_CLUSTER_NAME FILTER_CHAIN_NAME METADATA(ROUTE:ns) METADATA(ROUTE:ns:k:deep)
    METADATA(VIRTUAL_HOST:ns) METADATA(CLUSTER:ns) METADATA(UPSTREAM_HOST:ns) METADATA(LISTENER:ns)
    METADATA(DYNAMIC:ns) CLUSTER_METADATA(ns:c) UPSTREAM_METADATA(ns:e) DYNAMIC_METADATA(ns) FILTER_STATE(x)
    FILTER_STATE(x:PLAIN) UPSTREAM_FILTER_STATE(x) STREAM_ID TRACE_ID SPAN_ID METADATA(ROUTE:ns:list)
    METADATA(ROUTE:ns):5
    """.split()
)
_TIMES = _shown(
    *"""
    START_TIME(%Y) START_TIME(%E4Y-) DURATION REQUEST_DURATION REQUEST_TX_DURATION RESPONSE_DURATION
    RESPONSE_TX_DURATION COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms) COMMON_DURATION(US_CX_BEG:US_CX_END:ms)
    COMMON_DURATION(US_HS_END:DS_TX_END:ms) ROUNDTRIP_DURATION DOWNSTREAM_HANDSHAKE_DURATION
    UPSTREAM_CONNECTION_POOL_READY_DURATION COMMON_DURATION(US_TX_END:US_RX_BEG:ms)
    COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)
    """.split()
)
_SIZES = _shown(
    *"""
    REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES BYTES_RETRANSMITTED
    PACKETS_RETRANSMITTED RESP(connection)
    """.split()
)
_WIRE = _shown(
    *(
        f"{side}_{what}_BYTES_{way}"
        for side in ("DOWNSTREAM", "UPSTREAM")
        for what in ("WIRE", "HEADER")
        for way in ("RECEIVED", "SENT")
    )
)
_COALESCE = _shown(
    'COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, {"command": "REQ", "param": "x-a"}]})',
    'COALESCE({"operators": ["RESPONSE_FLAGS", "PROTOCOL"]})',
    'COALESCE({"operators": [{"command": "REQ", "param": "x-a", "max_length": 2}]})',
    'COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, "ROUTE_NAME"]})',
    'COALESCE({"operators": [{"command": "REQ", "param": "x-none"}]}):3',
    'COALESCE({"operators": [{"command": "REQ", "param": "x-a"}]}):3',
)

_JSON = {
    "0": _SOURCE,
    "number": "%RESPONSE_CODE%",
    "numbers": "%RESPONSE_CODE% %BYTES_SENT%",
    "text": "%REQ(x-a)%",
    "none": "%REQ(x-none)%",
    "mixed": "a %REQ(x-none)% b",
    "fixed": "as it is",
    "percent": "100%%",
    "true": True,
    "two": 2,
    "half": 2.5,
    "null": None,
    "list2": ["%REQ(x-none)%", {"n": "%REQ(x-none)%"}, [None], None, ["%REQ(x-none)%"]],
    "list": ["%RESPONSE_CODE%", "x", 1, [], {"b": "%REQ(x-none)%", "a": "%PROTOCOL%"}],
    "nested": {"z": {"y": "%ROUTE_NAME%", "none": "%REQ(x-none)%"}, "empty": {}, "only": {"none": "%REQ(x-none)%"}},
    "metadata": "%METADATA(ROUTE:ns)%",
    "metadataCut": "%METADATA(ROUTE:ns):7%",
    "metadataDeep": "%METADATA(ROUTE:ns:number)%",
    "flag": "%METADATA(ROUTE:ns:flag)%",
    "grpc": "%GRPC_STATUS%",
    "grpcNumber": "%GRPC_STATUS_NUMBER%",
    "status": "%RESP(:STATUS)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "port": "%UPSTREAM_REMOTE_PORT%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "start": "%START_TIME(%Y)%",
    "coalesce": '%COALESCE({"operators": ["ROUTE_NAME"]})%',
    "type": "%ACCESS_LOG_TYPE%",
    "body": "%LOCAL_REPLY_BODY%",
    "environment": "%ENVIRONMENT(NOBODY_HAS_THIS)%",
    'q"uote\\': '"\\\t/\u00e9',
}

_ROUTES = """
- name: named
  match: {prefix: /named}
  route: {cluster: meta}
  metadata:
    filter_metadata:
      ns: {k: {deep: true}, list: [1, two, null], number: 3, half: 0.5, flag: false, text: "a b"}
- match: {path: /direct}
  direct_response: {status: 503, body: {inline_string: "direct"}}
- match: {path: /redirect}
  redirect: {path_redirect: /there}
- match: {path: /rewritten}
  route: {cluster: backend, prefix_rewrite: "/new?x=y"}
- match: {path: /closed}
  route: {cluster: closed}
- match: {path: /none}
  route: {cluster: empty}
- match: {path: /retried}
  route:
    cluster: backend
    timeout: 0s
    retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}
- match: {path: /slow}
  route: {cluster: backend, timeout: 0.2s}
- match: {prefix: /}
  route: {cluster: backend}
"""

_HOST = "metadata: {filter_metadata: {ns: {host: 1}}}"
_LISTENER = "metadata: {filter_metadata: {ns: {listener: 1}}}"

CLUSTERS = {"meta": "{alt_stat_name: other, metadata: {filter_metadata: {ns: {c: yes}}}}"}

_COMPARED = "{comparison: {op: %s, value: {default_value: %d, runtime_key: none}}}"

_FILTERS = (
    "{status_code_filter: %s}" % (_COMPARED % ("GE", 400)),
    "{status_code_filter: %s}" % (_COMPARED % ("LE", 200)),
    "{status_code_filter: %s}" % (_COMPARED % ("NE", 200)),
    "{duration_filter: %s}" % (_COMPARED % ("GE", 100)),
    "{not_health_check_filter: {}}",
    "{traceable_filter: {}}",
    "{runtime_filter: {runtime_key: a, percent_sampled: {numerator: 100}}}",
    "{runtime_filter: {runtime_key: a, percent_sampled: {numerator: 0}}}",
    "{runtime_filter: {runtime_key: a}}",
    "{runtime_filter: {runtime_key: a, percent_sampled: {numerator: 500000, denominator: MILLION}}}",
    "{runtime_filter: {runtime_key: a, percent_sampled: {numerator: 30}}}",
    "{header_filter: {header: {name: x-a, string_match: {prefix: va}}}}",
    "{header_filter: {header: {name: x-none, present_match: true}}}",
    "{header_filter: {header: {name: x-none, present_match: true, invert_match: true}}}",
    "{response_flag_filter: {}}",
    "{response_flag_filter: {flags: [UF, NR]}}",
    "{grpc_status_filter: {statuses: [OK]}}",
    "{grpc_status_filter: {statuses: [UNKNOWN, UNIMPLEMENTED]}}",
    "{grpc_status_filter: {statuses: [OK], exclude: true}}",
    "{log_type_filter: {types: [DownstreamEnd]}}",
    "{log_type_filter: {types: [DownstreamEnd], exclude: true}}",
    "{metadata_filter: {matcher: {filter: ns, path: [{key: k}], value: {string_match: {exact: v}}}}}",
    "{metadata_filter: {matcher: {filter: ns, path: [{key: none}], value: {string_match: {exact: v}}},"
    " match_if_key_not_found: false}}",
    "{metadata_filter: {matcher: {filter: ns, path: [{key: none}], value: {string_match: {exact: v}}}}}",
    "{metadata_filter: {}}",
    "{and_filter: {filters: [{not_health_check_filter: {}}, {response_flag_filter: {}}]}}",
    "{or_filter: {filters: [{status_code_filter: %s}, {response_flag_filter: {}}]}}" % (_COMPARED % ("EQ", 200)),
)

_METADATA = """
- name: set
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
    metadata: [{metadata_namespace: ns, value: {k: v, n: {m: [1, 2]}}}]
"""

LISTENERS = {
    name: Manager(_logs(form), _ROUTES, _HOST, listener=_LISTENER)
    for name, form in (
        ("headers", _HEADERS),
        ("paths", _PATHS),
        ("result", _RESULT),
        ("scheme", _SCHEME),
        ("peers", _PEERS),
        ("coalesce", _COALESCE),
    )
}
# Without the time that the upstream took: on a busy machine it has another digit.
LISTENERS["sizes"] = Manager(_logs(_SIZES), _ROUTES, _HOST, router="suppress_envoy_headers: true", listener=_LISTENER)
LISTENERS["times"] = Manager(_logs(_TIMES), _ROUTES)
# How many digits the time takes that Envoy tells is no business of the sizes.
LISTENERS["wire"] = Manager(_logs(_WIRE), _ROUTES, _HOST, router="suppress_envoy_headers: true")
LISTENERS["state"] = Manager(_logs(_STATE), _ROUTES, _HOST, filters=_METADATA, listener=_LISTENER)
LISTENERS["json"] = Manager(_logs({"json_format": _JSON}), _ROUTES, _HOST)
LISTENERS["jsonSparse"] = Manager(_logs({"json_format": _JSON, "omit_empty_values": True}), _ROUTES, _HOST)
LISTENERS["textSparse"] = Manager(
    _logs(
        {
            "text_format_source": {"inline_string": f"{_SOURCE} [%REQ(x-none)%] [%REQ(x-a)%] [%RESPONSE_FLAGS%]\n"},
            "omit_empty_values": True,
        }
    ),
    _ROUTES,
)
_FORMATTERS = [
    {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.formatter.{message}"}}
    for name, message in (
        ("envoy.formatter.req_without_query", "req_without_query.v3.ReqWithoutQuery"),
        ("envoy.formatter.metadata", "metadata.v3.Metadata"),
    )
]
LISTENERS["formatters"] = Manager(
    _logs(
        {
            "text_format_source": {
                "inline_string": f"{_SOURCE} [%REQ_WITHOUT_QUERY(:PATH)%] [%REQ_WITHOUT_QUERY(X-NONE?:PATH):3%]"
                " [%METADATA(ROUTE:ns:text)%]\n"
            },
            "formatters": _FORMATTERS,
        }
    ),
    _ROUTES,
)
LISTENERS["filters"] = Manager(_logs(filters=_FILTERS), _ROUTES, filters=_METADATA)

_REQUEST = (
    "X-A: value of a",
    "X-B: b",
    "X-Request-Id: 11111111-2222-4333-8444-555555555555",
    "User-Agent: me",
)
_TRAILED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-up: up\r\n\r\n2\r\nok\r\n0\r\nx-t: trailer\r\n\r\n"

_CONVERSATIONS: dict[str, tuple[bytes, tuple[Script, ...]]] = {
    "get": (get("/named?a=1&b=%20x%2By&a=2&c=%41%25%C3%A9%7f%61%22%5c%2f%26%3d", *_REQUEST), (ok("x-up: up"),)),
    "post": (request("POST /p", *_REQUEST, "content-length: 3", body="abc"), (_TRAILED,)),
    "chunked": (
        request("POST /p", *_REQUEST, "transfer-encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n"),
        (_TRAILED,),
    ),
    "direct": (get("/direct", *_REQUEST), (OK,)),
    "redirect": (get("/redirect"), (OK,)),
    "rewritten": (get("/rewritten?a=1"), (ok("x-up: up"),)),
    "closed": (get("/closed", *_REQUEST), (OK,)),
    "none": (get("/none", *_REQUEST), (OK,)),
    "retried": (get("/retried"), (b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", OK)),
    "reset": (get("/x", *_REQUEST), ([Do.RESET],)),
    "slow": (get("/slow", *_REQUEST), ([Pause(0.5)],)),
    "grpc": (
        request("POST /g", *_REQUEST, "content-type: application/grpc", "content-length: 0"),
        (ok("grpc-status: 5", "content-type: application/grpc"),),
    ),
    "grpcNone": (request("POST /g", *_REQUEST, "content-type: application/grpc+x", "content-length: 0"), (ok(),)),
    "head": (request("HEAD /named"), (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",)),
    "bad": (b"GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n", (OK,)),
    "noHost": (b"GET / HTTP/1.1\r\n\r\n", (OK,)),
    "early": (request("POST /p", "content-length: 3"), ([Do.EARLY, OK],)),
    "closing": (get("/named", "Connection: close"), (OK,)),
}

_ASKED = {
    "headers": "get post direct bad noHost rewritten",
    "paths": "get rewritten direct noHost",
    "result": "get post chunked direct redirect closed none retried reset slow grpc grpcNone head bad noHost",
    "scheme": "get direct",
    "peers": "get post direct closed none retried",
    "sizes": "get post direct head early closing none redirect",
    "wire": "get post chunked direct redirect rewritten closed none retried reset grpc head bad noHost",
    "coalesce": "get post none",
    "times": "get direct none post",
    "state": "get post direct none",
    "json": "get post direct none grpc head bad",
    "jsonSparse": "get post direct none grpc bad",
    "textSparse": "get direct",
    "formatters": "get direct",
    "filters": "get post direct none slow grpc grpcNone reset",
}

CASES = [
    Case(
        f"{listener}_{name}",
        f"The log's {listener} of {name}.",
        _CONVERSATIONS[name][0],
        _CONVERSATIONS[name][1],
        listener=listener,
    )
    for listener, names in _ASKED.items()
    for name in names.split()
]


#: A few milliseconds, of which there are more on a busy machine.
_SHORTLY = (re.compile(r"(DURATION(?:\([^)]*\))?=)\[\d{1,3}\]"), r"\1[(a time)]")


@compared(Comparison(LISTENERS, CASES, CLUSTERS, [_SHORTLY]))
class LogTests(SynchronousTestCase):
    """
    Lines of access logs.
    """
