"""
Tunnels in streams of HTTP/2: extended CONNECT, and CONNECT itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

from meshproxy.codec.websocket import acceptOf
from meshproxy.testing import Answer
from meshproxy.testing.messages import Request
from tests.codec.http2.frames import data
from tests.http.http2support import HTTP2Case


class TunnelTests(HTTP2Case):
    """
    Extended CONNECT and CONNECT.
    """

    websocket: ClassVar[dict[str, Any]] = {
        "manager": {
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http2_protocol_options": {"allow_connect": True},
        }
    }
    accepted = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

    def test_websocket(self) -> None:
        """
        RFC 8441: an extended CONNECT becomes an upgrade of HTTP/1.1, and its 101 a 200; what came before waits.
        """
        self.start(**self.websocket)
        self.backend.answer(Answer(raw=self.accepted + b"hi", delay=1.0))
        peer = self.connect()
        streamId = peer.ask((b":protocol", b"websocket"), method=b"CONNECT", endStream=False)
        peer.nextId = 3
        peer.write(data(streamId, b"early"))
        self.proxy.advance(0.5)
        self.assertEqual(self.backend.last.header("upgrade"), "websocket")
        self.assertEqual(self.backend.last.method, b"GET")
        self.assertEqual(self.backend.last.body, b"")
        self.proxy.advance(1.0)
        answer = peer.of(streamId)
        self.assertEqual((answer.status, answer.body), (200, b"hi"))
        self.assertNotIn(b"upgrade", dict(answer.headers or ()))

    def test_handshake(self) -> None:
        """
        RFC 8441, 5: HTTP/2 has no key, and HTTP/1.1 wants one. An answer that does not fit is none of WebSocket; none
        at all will do, and the client is told of no answer to a key that it never sent. A key of its own is its own.
        """
        for accept, own, status in ((b"", b"", 200), (None, b"", 200), (b"x", b"", 502), (b"x", b"mine", 200)):
            self.start(**self.websocket)

            def respond(seen: Request, accept: bytes | None = accept) -> Answer:
                key = seen.header("sec-websocket-key") or ""
                line = b"" if accept is None else b"sec-websocket-accept: %b\r\n" % (accept or acceptOf(key.encode()))
                return Answer(raw=self.accepted[:-2] + line + b"\r\n")

            self.backend.answer(respond)
            peer = self.connect()
            key = [(b"sec-websocket-key", own)] if own else []
            streamId = peer.ask((b":protocol", b"websocket"), *key, method=b"CONNECT", endStream=False)
            self.proxy.settle()
            answer = peer.of(streamId)
            self.assertEqual(answer.status, status)
            sent = self.backend.last.header("sec-websocket-key") or ""
            self.assertEqual(sent, own.decode() or sent)
            self.assertTrue(sent)
            told = dict(answer.headers or ()).get(b"sec-websocket-accept")
            self.assertEqual(told, b"x" if own else None)

    def test_refused(self) -> None:
        """
        Where upgrades are not configured the answer is 403, and an upstream that refuses sees no byte of the tunnel.
        """
        self.start(manager={"http2_protocol_options": {"allow_connect": True}})
        peer = self.connect()
        answer = self.get(peer, (b":protocol", b"websocket"), method=b"CONNECT", endStream=False)
        self.assertEqual(answer.status, 403)
        self.start(**self.websocket)
        self.backend.answer(Answer(400, b"no", delay=1.0, early=True))
        peer = self.connect()
        streamId = peer.ask((b":protocol", b"websocket"), method=b"CONNECT", endStream=False)
        peer.write(data(streamId, b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"))
        self.proxy.advance(2.0)
        self.assertEqual((peer.of(streamId).status, peer.of(streamId).body), (400, b"no"))
        self.assertEqual([seen.path for seen in self.backend.requests], [b"/"])

    def test_notAllowed(self) -> None:
        """
        Without C{allow_connect} an extended CONNECT is malformed.
        """
        self.start()
        peer = self.connect()
        peer.ask((b":protocol", b"websocket"), method=b"CONNECT", endStream=False)
        self.proxy.settle()
        self.assertTrue(peer.closed)
