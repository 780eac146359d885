"""
What access logs tell of how connections ended, and of listener and chain.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from tests.conformance.bootstrap import Listener, Manager
from tests.conformance.case import OK, Case, Do, Pause, get
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/envoy.extensions."
_OPERATORS = (
    "down=%DOWNSTREAM_DETECTED_CLOSE_TYPE% up=%UPSTREAM_DETECTED_CLOSE_TYPE% listener=%LISTENER_NAME% "
    "chain=%METADATA(LISTENER_FILTER_CHAIN:m:k)% host=%METADATA(VIRTUAL_HOST:m:k)% query=%QUERY_PARAMS% "
    "flags=%RESPONSE_FLAGS%"
)
_COUNTS = (
    "routes=%ROUTE_RESOLUTION_COUNT% rtt=%DOWNSTREAM_CX_RTT% uri=[%XFCC_VALUE(URI)%] cut=[%XFCC_VALUE(by):1%] "
    "dns=[%XFCC_VALUE(dns)%]"
)

_EMPTY = Path(meshproxy.__file__).with_name("py.typed")
_CONTENTS = f"[%FILE_CONTENT(/etc/passwd):4%] [%FILE_CONTENT({_EMPTY})%] [%SECRET(one)%] [%SECRET(one):5%]"
_FORMATTERS = [
    {"name": "content", "typed_config": {"@type": f"{_TYPES}formatter.file_content.v3.FileContent"}},
    {
        "name": "secret",
        "typed_config": {
            "@type": f"{_TYPES}formatter.generic_secret.v3.GenericSecret",
            "secret_configs": {"one": {"name": "token"}},
        },
    },
]


def _append(name: str, value: str) -> dict[str, Any]:
    return {"append": {"header": {"key": name, "value": value}}}


_MUTATION = {
    "@type": f"{_TYPES}filters.http.header_mutation.v3.HeaderMutation",
    "mutations": {
        "formatters": _FORMATTERS,
        "request_mutations": [
            _append("authorization", "Bearer %SECRET(one)%"),
            _append("x-file", "%FILE_CONTENT(/etc/passwd):4%"),
            _append("x-empty", f"%FILE_CONTENT({_EMPTY})%"),
        ],
        "response_mutations": [_append("x-secret", "%SECRET(one):1%"), _append("x-log", f"a%FILE_CONTENT({_EMPTY})%")],
        "query_parameter_mutations": [{"append": {"record": {"key": "key", "value": "%SECRET(one):1%"}}}],
    },
}


def _log(text: str, formatters: Any = ()) -> str:
    line = json.dumps(f"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% {text}\n")
    return (
        f"access_log: [{{name: log, typed_config: {{'@type': {_TYPES}access_loggers.stream.v3.StdoutAccessLog,"
        f" log_format: {{formatters: {json.dumps(formatters)}, text_format_source: {{inline_string: {line}}}}}}}}}]"
    )


class _Noted(Manager):
    """
    A manager whose chain has metadata.
    """

    def chains(self, name: str) -> list[dict[str, Any]]:
        """
        See L{Manager.chains}.
        """
        chains = super().chains(name)
        chains[0]["metadata"] = {"filter_metadata": {"m": {"k": "chain"}}}
        return chains


LISTENERS: dict[str, Manager | Listener] = {
    "http": _Noted(
        _log(_OPERATORS),
        "[{match: {prefix: /again}, route: {cluster: backend, retry_policy: {retry_on: '5xx,reset', num_retries: 2}}},"
        " {match: {prefix: /closed}, route: {cluster: closed}}, {match: {prefix: /up}, route: {cluster: backend}}]",
        "{metadata: {filter_metadata: {m: {k: host}}}}",
    ),
    "counts": Manager(
        _log(_COUNTS) + "\nforward_client_cert_details: ALWAYS_FORWARD_ONLY",
    ),
    "contents": Manager(
        _log(_CONTENTS, _FORMATTERS),
        filters=json.dumps([{"name": "mutation", "typed_config": _MUTATION}]),
    ),
    "tcpCounts": Listener(
        f"[{{filters: [{{name: tcp, typed_config: {{'@type': {_TYPES}filters.network.tcp_proxy.v3.TcpProxy,"
        f" stat_prefix: tcp, cluster: backend, {_log(_COUNTS)}}}}}]}}]"
    ),
    "tcp": Listener(
        f"[{{filters: [{{name: tcp, typed_config: {{'@type': {_TYPES}filters.network.tcp_proxy.v3.TcpProxy,"
        f" stat_prefix: tcp, cluster: backend, {_log(_OPERATORS)}}}}}]}}]"
    ),
    "tcpStart": Listener(
        f"[{{filters: [{{name: tcp, typed_config: {{'@type': {_TYPES}filters.network.tcp_proxy.v3.TcpProxy,"
        f" stat_prefix: tcp, cluster: backend, {_log('%ACCESS_LOG_TYPE% %UPSTREAM_HOST%')}, access_log_options:"
        " {flush_access_log_on_start: true, flush_access_log_on_connected: true}}}]}]"
    ),
    # Lines of streams that have lasted so long already.
    "meanwhile": Manager(
        "access_log_options: {flush_access_log_on_new_request: true, access_log_flush_interval: 0.5s}\n"
        + _log("%ACCESS_LOG_TYPE% %RESPONSE_CODE%").replace(
            "{name: log,",
            "{name: log, filter: {duration_filter: {comparison:"
            " {op: GE, value: {default_value: 450, runtime_key: none}}}},",
        )
    ),
    "atOnce": Manager(
        "access_log_options: {flush_access_log_on_new_request: true}\n"
        + _log("%ACCESS_LOG_TYPE% %RESPONSE_CODE%").replace(
            "{name: log,",
            "{name: log, filter: {duration_filter: {comparison:"
            " {op: LE, value: {default_value: 450, runtime_key: none}}}},",
        )
    ),
}

# What an element of x-forwarded-client-cert may look like.
_TOLD = (
    "Hash=ab;URI=spiffe://a/b;DNS=a;DNS=b",
    "By=x,URI=one;By=y,URI=two",
    "By=x; uri = spaced \t;DNS",
    'By=x;URI="a,b;c=\\"d\\\\"',
    'Subject="URI=no";URI=yes',
    'URI=before,By="x',
    'By="x,URI=within',
    'By="x;URI=within',
    'By="\\",URI=in";URI=out',
    "By=\\;DNS=\\\\;URI=\\a\\",
    'URI=";DNS=x',
    'URI="";By=a"b',
    'URI="a"b;By="',
)

_LATE = [(Pause(0.6), OK)]


def _case(name: str, listener: str, send: Any = None, replies: Any = (OK,), responses: int = 1) -> Case:
    return Case(name, "The log tells how it ended.", send or get("/up?a=b"), replies, listener, responses=responses)


CASES = [
    _case("answered", "http"),
    _case("noRoute", "http", get("/none?")),
    _case("refused", "http", get("/closed")),
    _case("reset", "http", replies=[(Do.RESET,)]),
    _case("closed", "http", replies=[(Do.CLOSE,)]),
    _case("again", "http", get("/again"), [(Do.RESET,), (Do.CLOSE,), OK]),
    _case("leaves", "http", [get("/up"), Pause(0.2), Do.RESET], _LATE, 0),
    _case("meanwhile", "meanwhile", replies=[(Pause(0.75), OK)]),
    _case("atOnce", "atOnce", replies=[(Pause(0.75), OK)]),
    _case("contents", "contents"),
    _case("counts", "counts"),
    _case("counts_leaves", "counts", [get("/up"), Pause(0.2), Do.RESET], _LATE, 0),
    _case("counts_refused", "counts", b"GET / HTTP/1.1\r\n\r\n"),
    *(
        _case(f"certificate_{number}", "counts", get("/", f"x-forwarded-client-cert: {told}"))
        for number, told in enumerate(_TOLD)
    ),
    _case(
        "certificate_twice", "counts", get("/", "x-forwarded-client-cert: By=x", "x-forwarded-client-cert: URI=second")
    ),
    _case("counts_tcp", "tcpCounts", get(), [(OK, Do.CLOSE)]),
    _case("tcp_start", "tcpStart"),
    _case("tcp_client", "tcp", [get(), Pause(0.2), Do.RESET], _LATE, 0),
    _case("tcp_reset", "tcp", get(), [(Do.RESET,)], 0),
    _case("tcp_closed", "tcp", get(), [(OK, Do.CLOSE)]),
]


@compared(Comparison(LISTENERS, CASES))
class LogOperatorTests(SynchronousTestCase):
    """
    Beside Envoy.
    """
