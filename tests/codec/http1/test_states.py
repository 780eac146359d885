"""
L{meshproxy.codec.http1.states}, and what each state takes.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1 import DownstreamCodec, ReadState, UpstreamCodec, WriteState
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http1.helpers import downstream, upstream

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

Step = Callable[[DownstreamCodec], object]
ClientStep = Callable[[UpstreamCodec], object]

# How to reach each state of a server that writes.
DOWNSTREAM: dict[WriteState, tuple[bytes, list[Step]]] = {
    WriteState.IDLE: (b"", []),
    WriteState.HEAD: (GET, []),
    WriteState.FIXED: (GET, [lambda c: c.encodeHeaders(ResponseHeaders(200, [(b"content-length", b"2")]), False)]),
    WriteState.CHUNKED: (GET, [lambda c: c.encodeHeaders(ResponseHeaders(200), False)]),
    WriteState.UNTIL_CLOSE: (
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        [lambda c: c.encodeHeaders(ResponseHeaders(200), False)],
    ),
    WriteState.NOTHING: (GET, [lambda c: c.encodeHeaders(ResponseHeaders(304), False)]),
    WriteState.TUNNEL: (UPGRADE, [lambda c: c.encodeHeaders(ResponseHeaders(101), False)]),
}

INPUTS: dict[str, Step] = {
    "informational": lambda c: c.encodeInformational(ResponseHeaders(103)),
    "headers": lambda c: c.encodeHeaders(ResponseHeaders(200), False),
    "data": lambda c: c.encodeData(b"ab", False),
    "trailers": lambda c: c.encodeTrailers(HeaderMap()),
    "tunnel": lambda c: c.beginTunnel(),
}

# What each state takes; anything else is a fault of the caller.
TAKEN: dict[WriteState, set[str]] = {
    WriteState.IDLE: set(),
    WriteState.HEAD: {"informational", "headers"},
    WriteState.FIXED: {"data"},
    WriteState.CHUNKED: {"data", "trailers"},
    WriteState.UNTIL_CLOSE: {"data", "trailers"},
    WriteState.NOTHING: {"data", "trailers"},
    WriteState.TUNNEL: {"data", "trailers", "tunnel"},
}

CLIENT_INPUTS: dict[str, ClientStep] = {
    "headers": lambda c: c.encodeHeaders(RequestHeaders(b"GET", b"/", b"a"), True),
    "data": lambda c: c.encodeData(b"ab", False),
    "trailers": lambda c: c.encodeTrailers(HeaderMap()),
    "tunnel": lambda c: c.beginTunnel(),
}


def clientIn(state: WriteState) -> UpstreamCodec:
    """
    A client in a state.
    """
    if state is WriteState.IDLE:
        codec, _ = upstream()
        codec.receiveData(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    elif state is WriteState.FIXED:
        codec, _ = upstream(b"POST", [(b"content-length", b"2")], False)
    elif state is WriteState.CHUNKED:
        codec, _ = upstream(b"POST", [], False)
    else:
        codec, _ = upstream(b"CONNECT", [], False)
        if state is WriteState.TUNNEL:
            codec.receiveData(b"HTTP/1.1 200 OK\r\n\r\n")
    return codec


CLIENT_TAKEN: dict[WriteState, set[str]] = {
    WriteState.IDLE: {"headers"},
    WriteState.FIXED: {"data"},
    WriteState.CHUNKED: {"data", "trailers"},
    WriteState.HELD: set(),
    WriteState.TUNNEL: {"tunnel"},
}


class StateTests(SynchronousTestCase):
    """
    Every state of what is written, against everything that can be asked.
    """

    def test_downstream(self) -> None:
        """
        A server's codec refuses what its state does not take, whatever it is, with L{LocalProtocolError}.
        """
        for state, (wire, steps) in DOWNSTREAM.items():
            for name, call in INPUTS.items():
                codec, _ = downstream(acceptHTTP10=True)
                codec.receiveData(wire)
                for step in steps:
                    step(codec)
                self.assertIs(codec.writeState, state)
                if name in TAKEN[state]:
                    call(codec)
                else:
                    self.assertRaises(LocalProtocolError, call, codec)

    def test_upstream(self) -> None:
        """
        A client's codec does too.
        """
        for state, taken in CLIENT_TAKEN.items():
            for name, call in CLIENT_INPUTS.items():
                codec = clientIn(state)
                if state is not WriteState.TUNNEL:
                    self.assertIs(codec.writeState, state)
                if name in taken:
                    call(codec)
                else:
                    self.assertRaises(LocalProtocolError, call, codec)

    def test_repr(self) -> None:
        """
        A codec shows its two states.
        """
        self.assertEqual(repr(downstream()[0]), "<DownstreamCodec reads head, writes idle>")
        self.assertEqual(repr(upstream()[0]), "<UpstreamCodec writes idle, reads head>")

    def test_readStates(self) -> None:
        """
        Each state of what is read is reached.
        """
        seen = set()
        for wire in (b"", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", GET, UPGRADE):
            codec, _ = downstream()
            codec.receiveData(wire)
            seen.add(codec.readState)
        for wire in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"):
            client, _ = upstream()
            client.receiveData(wire)
            seen.add(client.readState)
        tunnel = clientIn(WriteState.TUNNEL)
        seen.add(tunnel.readState)
        tunnel.receiveEOF()
        seen.add(tunnel.readState)
        failed, _ = downstream()
        self.assertRaises(RemoteProtocolError, failed.receiveData, b"\0")
        seen.add(failed.readState)
        self.assertEqual(seen, set(ReadState))
