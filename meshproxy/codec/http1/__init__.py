# -*- test-case-name: tests.codec.http1 -*-
"""
HTTP/1.1 and 1.0 (RFC 9112) without I/O: L{DownstreamCodec} plays the server, L{UpstreamCodec} the client.

A codec takes bytes by C{receiveData}, in any split, and tells its sink what they say; C{encodeX} answers with
the bytes to write. It removes no field that is not its own: hop-by-hop fields are the business of the
connection manager.
"""

from meshproxy.codec.http1.cases import makeDownstreamCodec, makeUpstreamCodec
from meshproxy.codec.http1.downstream import DownstreamCodec
from meshproxy.codec.http1.framing import connectionTokens
from meshproxy.codec.http1.interfaces import (
    Http1Counters,
    Http1Options,
    IRequestSink,
    IResponseSink,
    UnderscoreAction,
)
from meshproxy.codec.http1.serialize import COOKIES, DECIMAL
from meshproxy.codec.http1.states import ReadState, WriteState
from meshproxy.codec.http1.upstream import UpstreamCodec

__all__ = [
    "COOKIES",
    "DECIMAL",
    "DownstreamCodec",
    "Http1Counters",
    "Http1Options",
    "IRequestSink",
    "IResponseSink",
    "ReadState",
    "UnderscoreAction",
    "UpstreamCodec",
    "WriteState",
    "connectionTokens",
    "makeDownstreamCodec",
    "makeUpstreamCodec",
]
