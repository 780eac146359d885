"""
What a backend saw of a proxy that speaks HTTP/2 to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hpack

from tests.codec.http2.frames import framesIn

__all__ = ["describeStreams"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class _Stream:
    lines: list[str] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    resetCode: int | None = None


def describeStreams(data: bytes, isClosed: bool) -> list[str] | None:
    """
    The requests on a connection, in lines. How bodies are cut into frames, settings, credit and pings are each proxy's
    own; so is whether, and with what code, a connection ends by GOAWAY.

    @param isClosed: Whether the connection was closed behind them: whether streams are reset before it is each proxy's
        own as well.

    @return: L{None} where it speaks no HTTP/2.
    """
    if not data.startswith(_PREFACE):
        return None
    data = data[len(_PREFACE) :]
    whole = 0
    while len(data) - whole >= 9 and (stop := whole + 9 + int.from_bytes(data[whole : whole + 3], "big")) <= len(data):
        whole = stop
    streams: dict[int, _Stream] = {}
    decoder = hpack.Decoder()
    for kind, flags, streamId, payload in framesIn(data[:whole]):
        if kind not in (0, 1, 3) or not streamId:
            continue
        stream = streams.setdefault(streamId, _Stream())
        if kind == 3 and isClosed:
            continue
        if kind == 3:
            stream.resetCode = int.from_bytes(payload, "big")
            continue
        if kind == 0:
            stream.body += payload
        else:
            word = "trailer" if stream.lines else "field"
            fields = sorted((bytes(name), bytes(value)) for name, value in decoder.decode(payload, raw=True))
            stream.lines += [f"  {word} {name.decode()}: {value.decode('latin-1')}" for name, value in fields]
        stream.ended = stream.ended or bool(flags & 1)
    return [line for stream in streams.values() for line in _lines(stream)]


def _lines(stream: _Stream) -> list[str]:
    lines = ["request over HTTP/2", *stream.lines]
    if stream.body:
        lines.append(f"  body of {len(stream.body)} bytes, from {stream.body[:40]!r}")
    if stream.resetCode is not None:
        return [*lines, f"  reset with {stream.resetCode}"]
    return [*lines, "  ended" if stream.ended else "  not ended"]
