"""
Connections that are over: all that was made for one is freed there and then. Nothing is left to the garbage collector,
which would look at everything else that is alive to find it.
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

from meshproxy.testing import Answer
from tests.http.http2support import HTTP2Case

# What each connection has one of; streams and heads hang on these.
_NAMES = frozenset(
    "DownstreamCodec DownstreamConnection HTTP1Connection HTTP2Connection ConnectionInfo UpstreamCodec "
    "HTTP1UpstreamConnection Stream UnaryStream RoutedRequest PlainRequest".split()
)


def _alive() -> Counter[str]:
    return Counter(name for each in gc.get_objects() if (name := type(each).__name__) in _NAMES)


class FreedTests(HTTP2Case):
    """
    Connections of clients.
    """

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(gc.enable)

    def assertFreed(self, converse: Any) -> None:
        """
        Have a conversation, which ends with the connection's end, and look at what is left of it.
        """
        converse()  # what is made once, and kept
        gc.collect()
        gc.disable()
        before = _alive()
        converse()
        self.assertEqual(_alive() - before, Counter())
        gc.enable()

    def test_clientCloses(self) -> None:
        """
        A client has two answers, and leaves.
        """
        self.start()

        def converse() -> None:
            client = self.proxy.client()
            for _ in range(2):
                client.send()
                self.proxy.settle()
            self.assertEqual([each.status for each in client.responses], [200, 200])
            client.close()
            self.proxy.settle()

        self.assertFreed(converse)

    def test_asksToClose(self) -> None:
        """
        A client asks for the end with its request.
        """
        self.start()

        def converse() -> None:
            client = self.proxy.client()
            client.send(headers={"connection": "close"})
            self.proxy.settle()
            self.assertTrue(client.ended)
            client.close()
            self.proxy.settle()

        self.assertFreed(converse)

    def test_leavesWithin(self) -> None:
        """
        A client leaves before it has its answer.
        """
        self.start()

        def converse() -> None:
            self.backend.answers.clear()
            self.backend.answer(Answer.hang())
            client = self.proxy.client()
            client.send("POST", headers={"content-length": "9"}, body=b"abc", whole=False)
            self.proxy.settle()
            client.close()
            self.proxy.settle()

        self.assertFreed(converse)

    def test_nonsense(self) -> None:
        """
        A client that speaks something else.
        """
        self.start()

        def converse() -> None:
            client = self.proxy.client()
            client.write(b"\x16\x03\x01\x02\x00")
            self.proxy.settle()
            self.assertTrue(client.ended)
            client.close()
            self.proxy.settle()

        self.assertFreed(converse)

    def test_http2(self) -> None:
        """
        A client of HTTP/2 has two answers, and leaves while it waits for a third.
        """
        self.start()

        def converse() -> None:
            self.backend.answers.clear()
            self.backend.answer(Answer(), Answer(), Answer.hang())
            client = self.connect()
            streams = [client.ask() for _ in range(3)]
            self.proxy.settle()
            self.assertEqual([client.of(each).done for each in streams], [True, True, False])
            client.close()
            self.proxy.settle()

        self.assertFreed(converse)

    def test_upstreams(self) -> None:
        """
        Upstreams end their connections: after a response, with it, within it, before it, and by nonsense.
        """
        self.start()
        answers = [
            Answer(headers=[("connection", "close")], then="close"),
            Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nuntil the end", then="close"),
            Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", then="close"),
            Answer.close(),
            Answer(raw=b"HTTP/9 nonsense\r\n\r\n"),
        ]

        def converse() -> None:
            for answer in answers:
                self.backend.answers.clear()
                self.backend.answer(answer)
                client = self.proxy.client()
                client.send("POST", headers={"content-length": "3"}, body=b"abc")
                self.proxy.settle()
                self.proxy.advance(1)
                client.close()
                self.proxy.settle()

        self.assertFreed(converse)
