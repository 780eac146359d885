"""
What ordinary requests cost that are not as those of L{bench.exchange}: answers without a body, routes that change
heads, filters that have nothing to do with a request, replies of the proxy's own. Of each the instructions of Python
for one exchange, to be compared with those of the plainest one: how far it goes off the short ways.

C{python -m bench.variations} prints all, C{--only WORD} those whose name has the word, with C{--functions} by function.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bench.exchange import ANSWER, BACKEND, PLAIN, PORT, MemorySocket, frame

__all__ = ["VARIATIONS", "Variation", "VariedExchanges", "counted"]

_TYPES = "type.googleapis.com/envoy."
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_EMPTY = ANSWER.replace(b"200 OK", b"204 No Content").replace(b"Content-Length: 200\r\n", b"")[: -len(b"x" * 200)]
_UNCHANGED = _EMPTY.replace(b"204 No Content", b"304 Not Modified")
_POST = PLAIN.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 20\r\n\r\n" + b"b" * 20)
_LENGTHLESS = ANSWER[:-200].replace(b"Content-Length: 200", b"Content-Length: 0")


def _filter(name: str, config: dict[str, Any], proto: str = "") -> dict[str, Any]:
    """
    An HTTP filter.
    """
    kind = proto or f"extensions.filters.http.{name}.v3.{''.join(word.capitalize() for word in name.split('_'))}"
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": _TYPES + kind, **config}}


def _log(config: dict[str, Any] | None = None, chosen: dict[str, Any] | None = None) -> dict[str, Any]:
    """
    An access log.
    """
    kind = "extensions.access_loggers.file.v3.FileAccessLog"
    written = {"@type": _TYPES + kind, "path": "$log", **(config or {})}
    log: dict[str, Any] = {"name": "envoy.access_loggers.file", "typed_config": written}
    if chosen is not None:
        log["filter"] = chosen
    return log


def _perRoute(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """
    What a route says to a filter.
    """
    typed = {"@type": f"{_TYPES}extensions.filters.http.{name}.v3.{kind}", **config}
    return {"typed_per_filter_config": {f"envoy.filters.http.{name}": typed}}


def _add(value: str, *more: str) -> list[dict[str, Any]]:
    return [{"header": {"key": f"x-{number}", "value": each}} for number, each in enumerate((value, *more))]


def _asking(fields: bytes, request: bytes = PLAIN) -> bytes:
    """
    A request with more fields.
    """
    return request.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n\r\n", 1)


@dataclass(frozen=True)
class Variation:
    """
    How one differs from the plainest exchange.

    @ivar manager: Fields of the connection manager; C{host}, C{route} (what it does) and C{cluster} likewise.
    @ivar overrides: Other fields of the route.
    @ivar routing: What the route does, where it sends nothing to a cluster.
    @ivar filters: Its filters before the router.
    @ivar request: What a client of HTTP/1 sends.
    @ivar answer: What the backend answers, over HTTP/1.
    @ivar isHTTP2: Whether clients speak HTTP/2.
    @ivar toHTTP2: Whether the backend does.
    @ivar status: The status that clients of HTTP/1 get.
    """

    manager: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    route: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    routing: dict[str, Any] | None = None
    filters: tuple[dict[str, Any], ...] = ()
    request: bytes = PLAIN
    answer: bytes = ANSWER
    isHTTP2: bool = False
    toHTTP2: bool = False
    status: int = 200

    def config(self) -> str:
        """
        The bootstrap.
        """
        route = {"match": {"prefix": "/"}, **(self.routing or {"route": {"cluster": "backend", **self.route}})}
        limits = {"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}
        address = {"socket_address": {"address": "127.0.0.1", "port_value": BACKEND}}
        cluster: dict[str, Any] = {
            "name": "backend",
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {
                "cluster_name": "backend",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            **self.cluster,
        }
        if self.toHTTP2:
            explicit: dict[str, Any] = {"http2_protocol_options": {}}
            options = {"@type": _TYPES + _OPTIONS.removeprefix("envoy."), "explicit_http_config": explicit}
            cluster["typed_extension_protocol_options"] = {_OPTIONS: options}
        host = {"name": "all", "domains": ["*"], "routes": [{**route, **self.overrides}], **self.host}
        manager = {
            "@type": _TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front",
            "codec_type": "HTTP2" if self.isHTTP2 else "AUTO",
            "http_filters": [*self.filters, _filter("router", {})],
            "route_config": {"virtual_hosts": [host]},
            **self.manager,
        }
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        port = {"socket_address": {"address": "127.0.0.1", "port_value": PORT}}
        listener = {"name": "front", "address": port, "filter_chains": [chain]}
        return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


_DECOMPRESSOR = {
    "decompressor_library": {
        "name": "gzip",
        "typed_config": {"@type": _TYPES + "extensions.compression.gzip.decompressor.v3.Gzip"},
    }
}
_LIMIT = {
    "stat_prefix": "limit",
    "filter_enabled": {"default_value": {"numerator": 100}},
    "filter_enforced": {"default_value": {"numerator": 100}},
}
_CSRF = {"filter_enabled": _LIMIT["filter_enabled"]}
_MANY = {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"}
_NONE = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "100000s"}
_LOCAL_RATE_LIMIT = "extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_CORS = {
    "allow_origin_string_match": [{"exact": "https://shop.example.com"}],
    "allow_methods": "GET, PUT",
    "allow_headers": "x-a",
    "max_age": "600",
}
_CORS_POLICY = _perRoute("cors", "CorsPolicy", _CORS)
_COMPRESSOR = {
    "compressor_library": {
        "name": "gzip",
        "typed_config": {"@type": _TYPES + "extensions.compression.gzip.compressor.v3.Gzip"},
    }
}
_ABORT = {"abort": {"http_status": 503, "percentage": {"numerator": 100}}}
_ANYBODY = {"all": {"permissions": [{"any": True}], "principals": [{"any": True}]}}
_DENY = {"rules": {"action": "DENY", "policies": _ANYBODY}}
_ALLOW = {"rules": {"action": "ALLOW", "policies": _ANYBODY}}
_KEYS = '{"keys": [{"kty": "oct", "kid": "a", "k": "YWJj", "alg": "HS256"}]}'
_JWT = {
    "providers": {"one": {"issuer": "x", "local_jwks": {"inline_string": _KEYS}}},
    "rules": [{"match": {"prefix": "/secret"}, "requires": {"provider_name": "one"}}],
}
_TO_METADATA = {
    "request_rules": [
        {"header": "x-version", "on_header_present": {"metadata_namespace": "a", "key": "version", "type": "STRING"}}
    ]
}
_USERS = "test:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="
_HEALTH = {"pass_through_mode": False, "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}]}
_FIELDS = {
    "time": "%START_TIME%",
    "code": "%RESPONSE_CODE%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "duration": "%DURATION%",
    "upstream": "%UPSTREAM_HOST%",
    "id": "%REQ(X-REQUEST-ID)%",
}
_JSON = {"log_format": {"json_format": _FIELDS}}
_LINE = "[%START_TIME%] %REQ(:METHOD)% %RESPONSE_CODE% %DURATION%\n"
_TEXT = {"log_format": {"text_format_source": {"inline_string": _LINE}}}
_GE_500 = {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "x"}}}}
_SLOW = {"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 1000, "runtime_key": "y"}}}}
_SAMPLED = {"runtime_filter": {"runtime_key": "z", "percent_sampled": {"numerator": 10}}}
_NOT_HEALTH: dict[str, Any] = {"not_health_check_filter": {}}
_BUFFER_OFF = _perRoute("buffer", "BufferPerRoute", {"disabled": True})
_AUTHZ = {"http_service": {"server_uri": {"uri": "http://127.0.0.1:1", "cluster": "backend", "timeout": "1s"}}}
_AUTHZ_OFF = _perRoute("ext_authz", "ExtAuthzPerRoute", {"disabled": True})
_COUNTED = {
    "virtual_clusters": [
        {"name": name, "headers": [{"name": ":path", "string_match": {"prefix": path}}]}
        for name, path in (("other", "/other"), ("root", "/"))
    ]
}

#: By name.
VARIATIONS: dict[str, Variation] = {
    "plain": Variation(),
    "plain, a log": Variation(manager={"access_log": [_log()]}),
    "204": Variation(answer=_EMPTY, status=204),
    "304": Variation(answer=_UNCHANGED, status=304),
    "304 with a length": Variation(answer=ANSWER[:-200].replace(b"200 OK", b"304 Not Modified"), status=304),
    "content-length: 0": Variation(answer=_LENGTHLESS),
    "301 with content-length: 0": Variation(answer=_LENGTHLESS.replace(b"200 OK", b"301 Moved"), status=301),
    "HEAD": Variation(request=PLAIN.replace(b"GET", b"HEAD"), answer=ANSWER[:-200]),
    "OPTIONS, 204": Variation(request=PLAIN.replace(b"GET", b"OPTIONS"), answer=_EMPTY, status=204),
    "DELETE, 204": Variation(request=PLAIN.replace(b"GET", b"DELETE"), answer=_EMPTY, status=204),
    "304, a log": Variation(manager={"access_log": [_log()]}, answer=_UNCHANGED, status=304),
    "304, retries": Variation(route={"retry_policy": {"retry_on": "5xx"}}, answer=_UNCHANGED, status=304),
    "http2": Variation(isHTTP2=True),
    "http2, 204": Variation(isHTTP2=True, answer=_EMPTY),
    "http2, content-length: 0": Variation(isHTTP2=True, answer=_LENGTHLESS),
    "to http2": Variation(toHTTP2=True),
    "to http2, 204": Variation(toHTTP2=True, answer=_EMPTY, status=204),
    "http2 to http2": Variation(isHTTP2=True, toHTTP2=True),
    "http2 to http2, 204": Variation(isHTTP2=True, toHTTP2=True, answer=_EMPTY),
    "virtual clusters": Variation(host=_COUNTED),
    "stat_prefix": Variation(overrides={"stat_prefix": "shop"}),
    "POST": Variation(request=_POST),
    "POST, 204": Variation(request=_POST, answer=_EMPTY, status=204),
    "POST, content-length: 0": Variation(
        request=PLAIN.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n")
    ),
    "POST, retries": Variation(request=_POST, route={"retry_policy": {"retry_on": "5xx"}}),
    "POST, per_try_timeout": Variation(
        request=_POST, route={"retry_policy": {"retry_on": "5xx", "per_try_timeout": "1s"}}
    ),
    "POST, hash_policy": Variation(
        request=_POST,
        route={"hash_policy": [{"header": {"header_name": "host"}}]},
        cluster={"lb_policy": "RING_HASH"},
    ),
    "hash_policy": Variation(
        route={"hash_policy": [{"header": {"header_name": "user-agent"}}]}, cluster={"lb_policy": "RING_HASH"}
    ),
    "POST, chunked": Variation(
        request=PLAIN.replace(b"GET", b"POST").replace(
            b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + b"b" * 20 + b"\r\n0\r\n\r\n"
        )
    ),
    "POST, expect: 100-continue": Variation(request=_asking(b"Expect: 100-continue", _POST)),
    "direct response": Variation(routing={"direct_response": {"status": 200, "body": {"inline_string": "hello"}}}),
    "direct response without body": Variation(routing={"direct_response": {"status": 404}}, status=404),
    "redirect to https": Variation(routing={"redirect": {"https_redirect": True}}, status=301),
    "no route": Variation(host={"domains": ["other"]}, status=404),
    "cors, preflight": Variation(
        filters=(_filter("cors", {}),),
        host=_CORS_POLICY,
        request=_asking(
            b"Origin: https://shop.example.com\r\nAccess-Control-Request-Method: PUT", PLAIN.replace(b"GET", b"OPTIONS")
        ),
    ),
    "cors, no origin": Variation(filters=(_filter("cors", {}),), host=_CORS_POLICY),
    "cors, origin": Variation(
        filters=(_filter("cors", {}),), host=_CORS_POLICY, request=_asking(b"Origin: https://shop.example.com")
    ),
    "rbac, denied": Variation(filters=(_filter("rbac", _DENY, "extensions.filters.http.rbac.v3.RBAC"),), status=403),
    "rbac, denied, a log": Variation(
        filters=(_filter("rbac", _DENY, "extensions.filters.http.rbac.v3.RBAC"),),
        status=403,
        manager={"access_log": [_log()]},
    ),
    "rbac, allowed": Variation(filters=(_filter("rbac", _ALLOW, "extensions.filters.http.rbac.v3.RBAC"),)),
    "local_ratelimit, 429": Variation(
        filters=(_filter("local_ratelimit", {**_LIMIT, "token_bucket": _NONE}, _LOCAL_RATE_LIMIT),), status=429
    ),
    "local_ratelimit, a token": Variation(
        filters=(_filter("local_ratelimit", {**_LIMIT, "token_bucket": _MANY}, _LOCAL_RATE_LIMIT),)
    ),
    "fault, abort": Variation(
        filters=(_filter("fault", _ABORT, "extensions.filters.http.fault.v3.HTTPFault"),),
        status=503,
    ),
    "request_headers_to_add": Variation(host={"request_headers_to_add": _add("one", "two")}),
    "request_headers_to_add, operators": Variation(
        host={"request_headers_to_add": _add("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(host)%")}
    ),
    "response_headers_to_add": Variation(host={"response_headers_to_add": _add("one", "two")}),
    "response_headers_to_add, operators": Variation(
        host={"response_headers_to_add": _add("%UPSTREAM_HOST%", "%RESPONSE_CODE%")}
    ),
    "response_headers_to_remove": Variation(host={"response_headers_to_remove": ["x-powered-by", "server"]}),
    "prefix_rewrite": Variation(route={"prefix_rewrite": "/shop/"}),
    "regex_rewrite": Variation(
        route={"regex_rewrite": {"pattern": {"regex": "^/(.*)$$"}, "substitution": "/shop/\\1"}}
    ),
    "host_rewrite_literal": Variation(route={"host_rewrite_literal": "shop.example.com"}),
    "auto_host_rewrite": Variation(route={"auto_host_rewrite": True}),
    "compressor, not asked for": Variation(filters=(_filter("compressor", _COMPRESSOR),)),
    "compressor, unfit": Variation(
        filters=(_filter("compressor", _COMPRESSOR),), request=_asking(b"Accept-Encoding: gzip")
    ),
    "compressor, POST": Variation(filters=(_filter("compressor", _COMPRESSOR),), request=_POST),
    "compressor, compressing": Variation(
        filters=(_filter("compressor", _COMPRESSOR),),
        request=_asking(b"Accept-Encoding: gzip"),
        answer=ANSWER.replace(b"application/octet-stream", b"text/html"),
    ),
    "decompressor, of nothing": Variation(filters=(_filter("decompressor", _DECOMPRESSOR),)),
    "grpc_stats, no call": Variation(
        filters=(_filter("grpc_stats", {}, "extensions.filters.http.grpc_stats.v3.FilterConfig"),)
    ),
    "csrf, GET": Variation(filters=(_filter("csrf", _CSRF, "extensions.filters.http.csrf.v3.CsrfPolicy"),)),
    "buffer, GET": Variation(filters=(_filter("buffer", {"max_request_bytes": 1000000}),)),
    "buffer, POST": Variation(filters=(_filter("buffer", {"max_request_bytes": 1000000}),), request=_POST),
    "buffer, POST, disabled": Variation(
        filters=(_filter("buffer", {"max_request_bytes": 1000000}),), request=_POST, overrides=_BUFFER_OFF
    ),
    "jwt_authn, no rule": Variation(
        filters=(_filter("jwt_authn", _JWT, "extensions.filters.http.jwt_authn.v3.JwtAuthentication"),)
    ),
    "ext_authz, disabled": Variation(filters=(_filter("ext_authz", _AUTHZ),), overrides=_AUTHZ_OFF),
    "header_to_metadata, absent": Variation(
        filters=(_filter("header_to_metadata", _TO_METADATA, "extensions.filters.http.header_to_metadata.v3.Config"),)
    ),
    "header_to_metadata": Variation(
        filters=(_filter("header_to_metadata", _TO_METADATA, "extensions.filters.http.header_to_metadata.v3.Config"),),
        request=_asking(b"X-Version: 7"),
    ),
    "set_metadata": Variation(
        filters=(
            _filter(
                "set_metadata",
                {"metadata": [{"metadata_namespace": "a", "value": {"b": "c"}}]},
                "extensions.filters.http.set_metadata.v3.Config",
            ),
        )
    ),
    "health_check, another path": Variation(filters=(_filter("health_check", _HEALTH),)),
    "health_check, answered": Variation(
        filters=(_filter("health_check", _HEALTH),), request=PLAIN.replace(b"GET / ", b"GET /healthz ")
    ),
    "basic_auth": Variation(
        filters=(_filter("basic_auth", {"users": {"inline_string": _USERS}}),),
        request=_asking(b"Authorization: Basic " + base64.b64encode(b"test:test")),
    ),
    "basic_auth, refused": Variation(
        filters=(_filter("basic_auth", {"users": {"inline_string": _USERS}}),), status=401
    ),
    "header_mutation": Variation(
        filters=(
            _filter(
                "header_mutation",
                {"mutations": {"request_mutations": [{"append": {"header": {"key": "x-a", "value": "b"}}}]}},
            ),
        )
    ),
    "JSON log": Variation(manager={"access_log": [_log(_JSON)]}),
    "text log": Variation(manager={"access_log": [_log(_TEXT)]}),
    "log, of errors": Variation(manager={"access_log": [_log(None, _GE_500)]}),
    "log, of what is slow": Variation(manager={"access_log": [_log(None, _SLOW)]}),
    "log, sampled": Variation(manager={"access_log": [_log(None, _SAMPLED)]}),
    "log, not of health checks": Variation(manager={"access_log": [_log(None, _NOT_HEALTH)]}),
    "log, of errors or slow": Variation(
        manager={"access_log": [_log(None, {"or_filter": {"filters": [_GE_500, _SLOW]}})]}
    ),
    "two logs": Variation(manager={"access_log": [_log(), _log(_JSON)]}),
}


def _ends(data: bytes) -> int:
    """
    How many messages end in some frames of HTTP/2.
    """
    position = ended = 0
    while position < len(data):
        length, kind, flags = (
            int.from_bytes(data[position : position + 3], "big"),
            data[position + 3],
            data[position + 4],
        )
        ended += kind in (0, 1) and flags & 1
        position += 9 + length
    return ended


class VariedExchanges:
    """
    A proxy with connections, in memory, as L{bench.exchange.Exchanges}.

    @ivar answered: How many answers the clients have had.
    @ivar answer: The last read of one of them.
    """

    _SAME = (b"\x82\x86\x84\x41\x0f127.0.0.1:21999", b"\x82\x86\x84\xbe")

    def __init__(self, variation: Variation, folder: Path, connections: int = 8) -> None:
        from meshproxy.server import ProxyOptions, ProxyServer
        from meshproxy.testing import MemoryNetwork, Peer, VirtualReactor
        from meshproxy.testing.network import parseAddress

        self._variation = variation
        reactor: Any = VirtualReactor()
        self._now = [1_800_000_000.0]
        reactor.seconds = partial(self._now.__getitem__, 0)
        network = MemoryNetwork(reactor)
        transports: list[Any] = []
        transport = network.transport
        network.transport = lambda *args: transports.append(transport(*args)) or transports[-1]  # type: ignore[method-assign, func-returns-value]
        text = variation.config().replace("$log", str(folder / "access.log")).replace("$$", "$")
        self._server = ProxyServer(ProxyOptions(configText=text), reactor, network)
        self._server.privilegedStartService()
        self._server.startService()
        network.listen(parseAddress(f"127.0.0.1:{BACKEND}"), lambda peer: Peer())
        self.answered = 0
        self.answer = b""
        self._marker = b"HTTP/1.1 %d " % variation.status
        self._waiting: list[Any] = []
        self._upstreams: dict[MemorySocket, Any] = {}
        self._streams: dict[Any, int] = {}
        self._clients: list[Any] = []
        for _ in range(connections):
            network.dial(parseAddress(f"127.0.0.1:{PORT}"), Peer())
            self._clients.append(transports[-1])
        before = len(transports)
        self._first = True
        for client in self._clients:
            self._streams[client] = 1
            client.protocol.dataReceived(self._request(client))
        self._first = False
        for _ in range(10):
            reactor._turn()
        made = [each for each in transports[before:] if type(each.protocol) is not Peer]
        for each in made:
            each.socket = MemorySocket(self._asked)
            self._upstreams[each.socket] = each
            self._streams[each] = 1
        for client in self._clients:
            client.socket = MemorySocket(self._answered)
        for each in made:
            asked = connections // len(made)
            each.socket.inbox = self._answers(each, asked, True)
            each.doRead()

    def _request(self, client: Any) -> bytes:
        if not self._variation.isHTTP2:
            return self._variation.request
        number = self._streams[client]
        self._streams[client] = number + 2
        head = frame(1, 5, number, self._SAME[number > 1])
        if number > 1:
            return head
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + head

    def _answers(self, upstream: Any, count: int, first: bool = False) -> bytes:
        variation = self._variation
        if not variation.toHTTP2:
            return variation.answer
        frames = [frame(4, 0, 0, b"")] if first else []
        body = variation.answer.partition(b"\r\n\r\n")[2]
        for _ in range(count):
            number = self._streams[upstream]
            self._streams[upstream] = number + 2
            if body:
                frames += [frame(1, 4, number, b"\x88\x0f\x0d\x03200"), frame(0, 1, number, body)]
            else:
                frames.append(frame(1, 5, number, b"\x89"))
        return b"".join(frames)

    def _asked(self, sock: MemorySocket, data: bytes) -> None:
        upstream = self._upstreams[sock]
        if not self._variation.toHTTP2:
            self._waiting.append(upstream)
        elif count := _ends(data):
            sock.inbox = self._answers(upstream, count)
            self._waiting.append(upstream)

    def _answered(self, sock: MemorySocket, data: bytes) -> None:
        self.answered += _ends(data) if self._variation.isHTTP2 else data.count(self._marker)
        self.answer = data

    def turn(self) -> None:
        """
        Let each client ask and get its answer, in two turns of the reactor.
        """
        from meshproxy.net.turn import turn

        for client in self._clients:
            client.socket.inbox = self._request(client)
        turn.active = True
        for client in self._clients:
            client.doRead()
        turn.end()
        self._now[0] += 0.005
        waiting, self._waiting = self._waiting, []
        turn.active = True
        for upstream in waiting:
            upstream.doRead()
        turn.end()

    def run(self, turns: int) -> None:
        """
        Make so many turns.

        @raise RuntimeError: If not every request had its answer.
        """
        before = self.answered
        for _ in range(turns):
            self.turn()
        if self.answered - before != turns * len(self._clients):
            raise RuntimeError(f"{self.answered - before} answers to {turns * len(self._clients)}: {self.answer!r}")

    def stop(self) -> None:
        """
        Write what is left of the log.
        """
        self._server.files.close()


def counted(variation: Variation, turns: int = 40) -> tuple[Counter[CodeType], Counter[CodeType], int]:
    """
    The instructions of Python for the exchanges of some turns, and the calls of functions.

    @return: Both by function, and how many exchanges there were.
    """
    opcodes: Counter[CodeType] = Counter()
    calls: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            calls[frame.f_code] += 1
        elif event == "opcode":
            opcodes[frame.f_code] += 1
        return trace

    with tempfile.TemporaryDirectory() as folder:
        exchanges = VariedExchanges(variation, Path(folder))
        exchanges.run(60)
        before = exchanges.answered
        sys.settrace(trace)
        try:
            exchanges.run(turns)
        finally:
            sys.settrace(None)
        exchanges.stop()
    return opcodes, calls, exchanges.answered - before


def main() -> None:
    """
    Count.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.variations", description="Python of exchanges off the usual")
    parser.add_argument("--only", default="", metavar="WORD", help="those whose name has this word")
    parser.add_argument("--functions", action="store_true", help="by function")
    options = parser.parse_args()
    for name, variation in VARIATIONS.items():
        if options.only not in name:
            continue
        opcodes, calls, count = counted(variation)
        print(f"{name:<36} {opcodes.total() / count:7.0f} opcodes {calls.total() / count:5.0f} calls", flush=True)
        if options.functions:
            for code, number in opcodes.most_common(60):
                where = "/".join(Path(code.co_filename).parts[-3:])
                print(f"{number / count:8.1f} {calls[code] / count:6.2f}  {where}:{code.co_firstlineno} {code.co_name}")


if __name__ == "__main__":
    main()
