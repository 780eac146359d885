"""
Tests for L{meshproxy.admin.streams}.
"""

from __future__ import annotations

import json
from typing import Any, cast

from meshproxy.admin.commands import AdminRequest
from meshproxy.admin.streams import streamList
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer
from tests.http.support import ProxyCase, scripted


class StreamsTests(ProxyCase):
    """
    C{/streams}.
    """

    def listed(self) -> Any:
        """
        The answer.
        """
        body = streamList(cast(Any, self.proxy.server), AdminRequest("/streams")).body
        return json.loads("".join(body))

    def waits(self) -> list[str]:
        """
        What streams wait for, the oldest first.
        """
        return [stream["waits_for"] for stream in self.listed()["streams"]]

    def test_none(self) -> None:
        """
        There may be none.
        """
        self.start()
        self.assertEqual(self.listed(), {"total": 0, "streams": []})

    def test_told(self) -> None:
        """
        A stream is told of, without what may be secret.
        """
        self.start(routes=[{"name": "r", "match": {"prefix": "/"}, "route": {"cluster": "backend"}}])
        self.backend.answer(Answer.hang())
        client = self.proxy.client(source="192.0.2.7")
        client.send("GET", "/path?secret=1", {"x-request-id": "id-1", "authorization": "secret"})
        self.proxy.advance(1.5)
        listed = self.listed()
        stream = listed["streams"][0]
        expected = {
            "age_ms": 1500,
            "listener": "front",
            "protocol": "HTTP/1.1",
            "method": "GET",
            "authority": "example.com",
            "path": "/path",
            "request_id": "id-1",
            "route": "r",
            "cluster": "backend",
            "upstream_host": "127.0.0.1:9000",
            "attempts": 1,
            "waits_for": "the response",
            "response_code": 0,
            "response_flags": "-",
        }
        self.assertEqual({name: stream[name] for name in expected}, expected)
        self.assertTrue(stream["client"].startswith("192.0.2.7:"))
        self.assertNotIn("secret", json.dumps(listed))
        client.abort()
        self.proxy.settle()
        self.assertEqual(self.listed()["total"], 0)

    def test_waits(self) -> None:
        """
        What it waits for follows from where it is; the oldest comes first.
        """
        holds = scripted(requestHeaders=lambda stream, headers, end: STOP if headers.path == b"/held" else None)
        self.start(holds, clusters={"silent": "127.0.0.1:9009"}, route={"timeout": "0s"})
        answers = (Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Answer.hang())
        self.backend.answer(*answers)
        for path, whole in (("/held", True), ("/started", True), ("/unfinished", False)):
            body = b"ab" if not whole else None
            headers = {"content-length": "9"} if not whole else {}
            self.proxy.client().send("POST" if body else "GET", path, headers, body=body, whole=whole)
            self.proxy.advance(1)
        self.assertEqual(self.waits(), ["a filter", "the rest of the response", "the rest of the request"])
