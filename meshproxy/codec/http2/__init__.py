# -*- test-case-name: tests.codec.http2 -*-
"""
HTTP/2 (RFC 9113, with HPACK of RFC 7541 and the extended CONNECT of RFC 8441) without I/O: L{DownstreamCodec} plays the
server, L{UpstreamCodec} the client.

A codec takes bytes by C{receiveData}, in any split, and tells its sinks what they say. What is to be written comes from
C{dataToSend}, all frames of a turn in one piece. Each L{CodecStream} is written to on its own.
"""

from meshproxy.codec.http2.counting import (
    CountingDownstreamCodec,
    CountingUpstreamCodec,
    MeasuringDownstreamCodec,
    MeasuringUpstreamCodec,
)
from meshproxy.codec.http2.downstream import DownstreamCodec
from meshproxy.codec.http2.frames import PREFACE, ErrorCode
from meshproxy.codec.http2.interfaces import (
    Http2Counters,
    Http2Options,
    IConnectionSink,
    IDownstreamSink,
    IRequestStreamSink,
    IResponseStreamSink,
)
from meshproxy.codec.http2.stream import CodecStream
from meshproxy.codec.http2.upstream import USUAL, UpstreamCodec

__all__ = [
    "PREFACE",
    "USUAL",
    "CodecStream",
    "CountingDownstreamCodec",
    "CountingUpstreamCodec",
    "DownstreamCodec",
    "ErrorCode",
    "Http2Counters",
    "Http2Options",
    "IConnectionSink",
    "IDownstreamSink",
    "IRequestStreamSink",
    "IResponseStreamSink",
    "MeasuringDownstreamCodec",
    "MeasuringUpstreamCodec",
    "UpstreamCodec",
]
