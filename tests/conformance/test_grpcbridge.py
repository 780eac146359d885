"""
The filter grpc_http1_bridge: gRPC for clients of HTTP/1.1.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import data, headers
from tests.codec.http2.frames import request as http2Request
from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, Pause, Step, ok, request
from tests.conformance.comparison import Comparison, compared
from tests.conformance.test_grpcfilters import _ANSWERS, chunked, frame

_BRIDGE = "type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_GRPC = "application/grpc"
_PROTOBUF = "application/x-protobuf"
_ROUTES = (
    "[{match: {prefix: /closed}, route: {cluster: closed}}, {match: {prefix: /, grpc: {}}, name: grpc, "
    "route: {cluster: grpc, timeout: 0.3s}}, {match: {prefix: /}, name: other, route: {cluster: grpc, timeout: 0.3s}}]"
)
CLUSTERS = {
    "grpc": f"typed_extension_protocol_options: {{{_OPTIONS}: {{'@type': type.googleapis.com/{_OPTIONS},"
    " explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}"
}


def _manager(fields: str = "", settings: str = "") -> Manager:
    bridge = f"{{name: envoy.filters.http.grpc_http1_bridge, typed_config: {{'@type': {_BRIDGE}{fields}}}}}"
    return Manager(settings or "codec_type: AUTO", _ROUTES, filters=f"[{bridge}]")


LISTENERS = {
    "bridge": _manager(),
    "upgrades": _manager(", upgrade_protobuf_to_grpc: true"),
    "ignores": _manager(", ignore_query_parameters: true"),
    "both": _manager(", ignore_query_parameters: true, upgrade_protobuf_to_grpc: true"),
    "trailers": _manager("", "{codec_type: AUTO, http_protocol_options: {enable_trailers: true}}"),
}


def _post(contentType: str, body: bytes = frame(b"ask"), *fields: str, path: str = "/t.T/M") -> bytes:
    lines = (f"content-type: {contentType}", f"content-length: {len(body)}", *fields)
    return request(f"POST {path}", *lines, body=body.decode("latin-1"))


def _inPieces(*pieces: bytes, contentType: str = _PROTOBUF) -> list[Step]:
    steps: list[Step] = [request("POST /t.T/M", f"content-type: {contentType}", "transfer-encoding: chunked")]
    for piece in pieces:
        steps += [Do.REST, b"%x\r\n%b\r\n" % (len(piece), piece)]
    return [*steps, Do.REST, b"0\r\n\r\n"]


_ASKED = (
    *("answer", "proto", "split", "compressed", "empty", "failed", "noStatus", "odd", "text", "huge", "signed"),
    *("padded", "only", "onlyBare", "html", "fault", "nothing", "hangs", "cut"),
)
_MESSAGE = chunked(_GRPC, frame(b"hello"))
_HTTP2 = [
    headers(1, http2Request((b"content-type", b"application/grpc"), method=b"POST"), False)
    + data(1, frame(b"ask"), True)
]

CASES = [
    *[
        Case(f"{listener}_{name}", f"An answer to gRPC: {name}.", _post(_GRPC), (_ANSWERS[name],), listener, limit=0.8)
        for listener, names in (("bridge", _ASKED), ("trailers", ("answer", "failed", "html")))
        for name in names
    ],
    *[
        Case(f"{name}_asked_{kind}", f"A request: {name}.", send, (script,), name.partition("_")[0], limit=0.8)
        for kind, send in (
            ("query", _post(_GRPC, path="/t.T/M?a=1&b=?")),
            ("protobuf", _post(_PROTOBUF, b"ask")),
            ("protobufQuery", _post(_PROTOBUF, b"ask", path="/t.T/M?a=1")),
            ("proto", _post("application/grpc+proto")),
            ("text", _post("text/plain")),
        )
        for name in ("bridge", "upgrades", "ignores", "both")
        for script in (_MESSAGE,)
    ],
    *[
        Case(f"upgrades_{name}", f"Protobuf: {name}.", send, (script,), "upgrades", limit=0.8)
        for name, send, script in (
            ("pieces", _inPieces(b"a", b"sk"), _MESSAGE),
            ("nothing", _post(_PROTOBUF, b""), _MESSAGE),
            ("parameter", _post(_PROTOBUF + "; charset=x", b"ask"), _MESSAGE),
            ("other", _post("application/protobuf", b"ask"), _MESSAGE),
            ("split", _post(_PROTOBUF, b"ask"), chunked(_GRPC, frame(b"hello")[:7], frame(b"hello")[7:])),
            ("failed", _post(_PROTOBUF, b"ask"), chunked(_GRPC, frame(b"x"), trailers="grpc-status: 5\r\n")),
            ("only", _post(_PROTOBUF, b"ask"), _ANSWERS["only"]),
            ("closed", _post(_PROTOBUF, b"ask", path="/closed/M"), _MESSAGE),
            ("none", _post(_PROTOBUF, b"ask"), _ANSWERS["nothing"]),
        )
    ],
    Case("bridge_closed", "No endpoint.", _post(_GRPC, path="/closed/M"), (_MESSAGE,), "bridge"),
    Case("bridge_late", "The service is late.", _post(_GRPC), ([Pause(0.6)],), "bridge", limit=0.9),
    Case("bridge_reset", "The service goes away.", _post(_GRPC), ([Do.RESET],), "bridge"),
    Case("bridge_get", "Not gRPC.", request("GET /x"), (ok(),), "bridge"),
    Case("bridge_http2", "A client of HTTP/2 gets trailers.", _HTTP2, (_MESSAGE,), "bridge", http2=True),
    Case("ignores_http2", "HTTP/2, with a query.", _HTTP2, (_MESSAGE,), "ignores", http2=True),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class GRPCBridgeTests(SynchronousTestCase):
    """
    The bridge.
    """
