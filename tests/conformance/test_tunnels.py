"""
Upgrades and CONNECT.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Until, get, ok, request
from tests.conformance.comparison import Comparison, compared

_CONNECT = "{match: {connect_matcher: {}}, route: {cluster: backend, upgrade_configs: [{upgrade_type: CONNECT}]}}"

LISTENERS = {
    "plain": Manager(),
    "websocket": Manager("upgrade_configs: [{upgrade_type: websocket}]"),
    "other": Manager("upgrade_configs: [{upgrade_type: Foo}]"),
    "off": Manager("upgrade_configs: [{upgrade_type: websocket, enabled: false}]"),
    "perRoute": Manager(
        "upgrade_configs: [{upgrade_type: websocket, enabled: false}]",
        "[{match: {prefix: /ws}, route: {cluster: backend, upgrade_configs: [{upgrade_type: websocket}]}},"
        " {match: {prefix: /}, route: {cluster: backend}}]",
    ),
    "perRouteOff": Manager(
        "upgrade_configs: [{upgrade_type: websocket}]",
        "[{match: {prefix: /}, route: {cluster: backend,"
        " upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}]",
    ),
    "connectForward": Manager("", f"[{_CONNECT}]"),
    "connectNoRoute": Manager("upgrade_configs: [{upgrade_type: CONNECT}]"),
    "closed": Manager(
        "upgrade_configs: [{upgrade_type: websocket}]", "[{match: {prefix: /}, route: {cluster: closed}}]"
    ),
    "short": Manager(
        "upgrade_configs: [{upgrade_type: websocket}]",
        "[{match: {prefix: /}, route: {cluster: backend, timeout: 0.2s}}]",
    ),
    "idle": Manager("{upgrade_configs: [{upgrade_type: websocket}], stream_idle_timeout: 0.3s}"),
}

_SOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nsec-websocket-accept: y\r\n\r\n"
)
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

CASES = [
    Case("refused", "An upgrade is refused by default.", get("/", *_SOCKET)),
    Case("off", "And where it is switched off.", get("/", *_SOCKET), listener="off"),
    Case("another", "And if it is another one.", get("/", *_SOCKET), listener="other"),
    Case(
        "accepted",
        "Bytes pass both ways.",
        [get("/", *_SOCKET), Do.AWAIT, b"hello", Until(b"hello"), b"again", Until(b"again")],
        ([_ACCEPTED, Do.ECHO],),
        listener="websocket",
    ),
    Case(
        "acceptedClientEnds",
        "The client ends its side.",
        [get("/", *_SOCKET), Do.AWAIT, b"hello", Until(b"hello"), Do.HALF_CLOSE],
        ([_ACCEPTED, Until(b"hello"), b"hello", Do.DRAIN],),
        listener="websocket",
        limit=1.0,
        responses=2,
    ),
    Case(
        "acceptedUpstreamEnds",
        "The upstream ends it.",
        [get("/", *_SOCKET), Do.AWAIT, b"hello", Until(b"bye")],
        ([_ACCEPTED, Until(b"hello"), b"bye", Do.CLOSE],),
        listener="websocket",
        settle=0.3,
    ),
    Case(
        "acceptedUpstreamResets",
        "The upstream resets it.",
        [get("/", *_SOCKET), Do.AWAIT, b"hello", Until(b"bye")],
        ([_ACCEPTED, Until(b"hello"), b"bye", Do.REST, Do.RESET],),
        listener="websocket",
        settle=0.3,
    ),
    Case(
        "acceptedClientGone",
        "The client goes away.",
        [get("/", *_SOCKET), Do.AWAIT, b"hello", Until(b"hello"), Do.CLOSE],
        ([_ACCEPTED, Do.ECHO],),
        listener="websocket",
    ),
    Case(
        "acceptedWithData",
        "Bytes right behind the 101.",
        [get("/", *_SOCKET), Until(b"first"), b"x", Until(b"x")],
        ([_ACCEPTED + b"first", Do.ECHO],),
        listener="websocket",
    ),
    Case(
        "refusedByUpstream",
        "The upstream refuses with a body.",
        get("/", *_SOCKET),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",),
        listener="websocket",
    ),
    Case("upstreamSays200", "200 is not a tunnel.", get("/", *_SOCKET), (ok(),), listener="websocket", settle=0.2),
    Case(
        "upstreamSays200Chunked",
        "Nor with chunks.",
        get("/", *_SOCKET),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",),
        listener="websocket",
        settle=0.2,
    ),
    *[
        Case(
            f"upstreamSays{status}",
            "Another answer to an upgrade.",
            get("/", *_SOCKET),
            (f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nno".encode("ascii"),),
            listener="websocket",
            settle=0.2,
        )
        for status in (201, 302, 426, 500)
    ],
    Case(
        "otherSays200",
        "200 to an upgrade that is not WebSocket's.",
        get("/", "Connection: upgrade", "Upgrade: foo"),
        listener="other",
        settle=0.2,
    ),
    Case("upstreamGone", "The upstream closes.", get("/", *_SOCKET), ([Do.CLOSE],), listener="websocket"),
    Case("upstreamClosed", "It cannot be reached.", get("/", *_SOCKET), listener="closed"),
    Case(
        "otherAccepted",
        "Any name may be allowed.",
        [get("/", "Connection: upgrade", "Upgrade: foo"), Do.AWAIT, b"x", Until(b"x")],
        ([b"HTTP/1.1 101 X\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n", Do.ECHO],),
        listener="other",
    ),
    Case(
        "names",
        "What Upgrade says passes as it is.",
        [get("/", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket"), Do.AWAIT],
        ([_ACCEPTED, Do.ECHO],),
        listener="websocket",
    ),
    Case(
        "several",
        "A list of protocols is none of them.",
        get("/", "Connection: upgrade", "Upgrade: foo, websocket"),
        listener="websocket",
    ),
    Case(
        "notNamed",
        "Connection does not name it.",
        get("/", "Connection: keep-alive", "Upgrade: websocket"),
        listener="websocket",
    ),
    Case(
        "withBody",
        "An upgrade with a body.",
        request("POST /", *_SOCKET, "content-length: 2", body="ab"),
        (OK,),
        listener="websocket",
        limit=1.0,
    ),
    Case(
        "withLengthZero",
        "With a length of 0.",
        get("/", *_SOCKET, "content-length: 0"),
        ([_ACCEPTED, Do.ECHO],),
        listener="websocket",
        limit=1.0,
    ),
    Case(
        "perRoute",
        "A route allows what the connection manager does not.",
        [get("/ws", *_SOCKET), Do.AWAIT],
        ([_ACCEPTED, Do.ECHO],),
        listener="perRoute",
    ),
    Case("perRouteOther", "Another route does not.", get("/x", *_SOCKET), listener="perRoute"),
    Case("perRouteOff", "A route forbids it.", get("/ws", *_SOCKET), listener="perRouteOff"),
    Case(
        "shortTimeout",
        "The route's time-out ends with the 101.",
        [get("/", *_SOCKET), Do.AWAIT, Pause(0.35), b"x", Until(b"x")],
        ([_ACCEPTED, Do.ECHO],),
        listener="short",
    ),
    Case("shortTimeoutStrikes", "Or strikes before.", get("/", *_SOCKET), ([Do.DRAIN],), listener="short", limit=1.5),
    Case(
        "idleTimeout",
        "A tunnel may not stay idle.",
        [get("/", *_SOCKET), Do.AWAIT],
        ([_ACCEPTED, Do.ECHO],),
        listener="idle",
        settle=0.7,
    ),
    # CONNECT
    Case(
        "connectRefused",
        "CONNECT without a route for it.",
        request("CONNECT h.example:80", "Host: h.example:80"),
        limit=1.0,
    ),
    Case(
        "connectNoRoute",
        "Allowed, but no route matches it.",
        request("CONNECT h.example:80", "Host: h.example:80"),
        listener="connectNoRoute",
        limit=1.0,
    ),
    Case(
        "connectForwarded",
        "CONNECT goes on.",
        [request("CONNECT h.example:80", "Host: h.example:80"), Do.AWAIT, b"x", Until(b"x")],
        ([_ESTABLISHED, Do.ECHO],),
        listener="connectForward",
    ),
    Case(
        "connectForwardedRefused",
        "The upstream refuses.",
        request("CONNECT h.example:80", "Host: h.example:80"),
        (b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno",),
        listener="connectForward",
    ),
    Case("connectPlainGet", "GET on such a listener.", get("/"), listener="connectForward"),
    Case(
        "connectOtherHost",
        "Host says something else.",
        [request("CONNECT h.example:80", "Host: other"), Do.AWAIT],
        ([_ESTABLISHED, Do.ECHO],),
        listener="connectForward",
        limit=1.0,
    ),
    Case(
        "connectNoPort",
        "CONNECT without a port.",
        request("CONNECT h.example", "Host: h.example"),
        listener="connectForward",
        limit=1.0,
    ),
]


@compared(Comparison(LISTENERS, CASES))
class TunnelTests(SynchronousTestCase):
    """
    Tunnels.
    """
