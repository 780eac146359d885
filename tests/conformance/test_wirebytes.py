"""
The bytes on the wire of each stream, where either side of it is HTTP/2.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import block, continuation, data, headers, priority, request, reset, windowUpdate
from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Step, get, ok
from tests.conformance.case import request as ask
from tests.conformance.comparison import Comparison, compared

_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"


def _log(packed: str = "") -> str:
    """
    An access log. What each proxy's own HPACK makes of a head, and how it cuts bodies into frames, is told as
    C{packed}, so that it is only compared whether it is nothing; what was packed there is the same again.
    """
    shown = ["%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"]
    for side in ("DOWNSTREAM", "UPSTREAM"):
        for what in ("WIRE", "HEADER", "DECOMPRESSED_HEADER"):
            for way in ("RECEIVED", "SENT"):
                name = f"{side}_{what}_BYTES_{way}"
                word = "packed " if re.search(packed or "$.", name) and "_DECOMPRESSED_" not in name else ""
                shown.append(f"{word}{name}=[%{name}%]")
    text = " ".join(shown)
    form = '{text_format_source: {inline_string: "%s\\n"}}' % text
    return "access_log: [{name: log, typed_config: {'@type': %s, log_format: %s}}]" % (_STDOUT, form)


_PACKED = [(re.compile(r"(packed \w+)=\[[1-9]\d*\]"), r"\1=[(some)]")]
_OPTIONS = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, %s}}'
)
_TO_LISTENER = (
    "load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
    '{address: $ADDRESS, port_value: "$PORT_plain"}}}}]}]}'
)
_ROUTES = """
- match: {path: /direct}
  direct_response: {status: 200, body: {inline_string: "direct"}}
- match: {path: /closed}
  route: {cluster: closed}
- match: {prefix: /}
  route: {cluster: %s}
"""

_QUIET = "suppress_envoy_headers: true"


def _manager(codec: str, packed: str, cluster: str) -> Manager:
    return Manager("{codec_type: %s, %s}" % (codec, _log(packed)), _ROUTES % cluster, router=_QUIET)


LISTENERS = {
    "http2": _manager("HTTP2", "DOWNSTREAM_.*SENT", "backend"),
    "auto": _manager("AUTO", "DOWNSTREAM_.*SENT", "backend"),
    "onward": _manager("HTTP2", "DOWNSTREAM_.*SENT|UPSTREAM", "onward"),
    "packed": _manager("HTTP1", "UPSTREAM", "onward"),
    "plain": Manager("codec_type: AUTO"),
}
CLUSTERS = {"onward": "{" + _TO_LISTENER + ", " + _OPTIONS % "explicit_http_config: {http2_protocol_options: {}}" + "}"}

_POST = request((b"x-a", b"some value"), method=b"POST")
_SHORT = block(request(path=b"/somewhere"))

# What a client of HTTP/2 sends: each frame counts, and what is none of a stream's own does not.
_SENT: dict[str, bytes | list[Step]] = {
    "get": headers(1, request()),
    "direct": headers(1, request(path=b"/direct")),
    "closed": headers(1, request(path=b"/closed")),
    "fields": headers(1, request((b"x-a", b"a" * 300), (b"cookie", b"a=b"), (b"cookie", b"c=d"))),
    "post": headers(1, _POST, False) + data(1, b"abc", True),
    "pieces": headers(1, _POST, False) + data(1, b"abc") + data(1, b"defg") + data(1, b"", True),
    "padded": headers(1, _POST, False) + data(1, b"abc", True, padding=20),
    "paddedHead": headers(1, request(), padding=9),
    "dependent": headers(1, request(), dependsOn=0) + priority(1, 0),
    "continued": headers(1, _SHORT[:9], True, False)
    + continuation(1, _SHORT[9:20], False)
    + continuation(1, _SHORT[20:]),
    "trailers": headers(1, _POST, False) + data(1, b"abc") + headers(1, [(b"x-t", b"trailer")]),
    "credit": headers(1, _POST, False) + windowUpdate(1, 100) + data(1, b"abc", True),
    "reset": [headers(1, _POST, False), Pause(0.1), data(1, b"abc"), Pause(0.1), reset(1)],
    "malformed": headers(1, request((b"X-A", b"b"))),
    "two": headers(1, request()) + headers(3, request(path=b"/direct")),
}

CASES = [
    Case(
        f"{listener}_{name}",
        f"What a stream of HTTP/2 takes: {name}.",
        sent,
        (ok("x-up: up"),),
        listener,
        responses=2 if name == "two" else 1,
        limit=1.0,
        http2=True,
    )
    for listener in ("http2", "onward")
    for name, sent in _SENT.items()
]
CASES += [
    Case("auto_get", "HTTP/2 that is found by what comes.", _SENT["get"], (OK,), "auto", http2=True),
    Case("auto_http1", "HTTP/1.1 beside it.", get(), (OK,), "auto"),
    Case("packed_get", "From HTTP/1.1 to HTTP/2.", get(), (OK,), "packed"),
    Case("packed_head", "HEAD.", ask("HEAD /"), (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",), "packed"),
    Case("packed_body", "With a body.", ask("POST /", "content-length: 3", body="abc"), (OK,), "packed"),
    Case("packed_closed", "No upstream.", get("/closed"), (OK,), "packed"),
    Case("packed_reset", "The upstream goes away.", get(), ([Do.RESET],), "packed"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS, _PACKED))
class WireBytesTests(SynchronousTestCase):
    """
    Bytes on the wire in access logs.
    """
