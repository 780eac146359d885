"""
L{meshproxy.http.responseheaders}: what is done to the head of a response at the end.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer, Response
from tests.http.support import ProxyCase


class FinishTests(ProxyCase):
    """
    A connection manager's finish.
    """

    def finished(self, headers: dict[str, str], **manager: Any) -> Response:
        """
        What the client gets of a response with these fields.
        """
        self.start(manager=manager)
        self.backend.answer(Answer(body=b"x", headers=headers))
        return self.proxy.request(headers={"x-request-id": "given"})

    def test_hopByHop(self) -> None:
        """
        Fields that speak of the upstream's connection end here.
        """
        response = self.finished(
            {"connection": "keep-alive, x-a", "keep-alive": "timeout=5", "proxy-connection": "keep-alive", "x-b": "2"}
        )
        for name in ("keep-alive", "proxy-connection", "connection"):
            self.assertIsNone(response.header(name))
        self.assertEqual(response.header("x-b"), "2")

    def test_server(self) -> None:
        """
        Whose name C{server} tells.
        """
        for transformation, given, expected in (
            ("OVERWRITE", "theirs", "envoy"),
            ("APPEND_IF_ABSENT", "theirs", "theirs"),
            ("PASS_THROUGH", "theirs", "theirs"),
            ("OVERWRITE", None, "envoy"),
            ("APPEND_IF_ABSENT", None, "envoy"),
            ("PASS_THROUGH", None, None),
        ):
            headers = {} if given is None else {"server": given}
            response = self.finished(headers, server_header_transformation=transformation)
            self.assertEqual(response.header("server"), expected, transformation)

    def test_date(self) -> None:
        """
        C{date} is added where the upstream told none.
        """
        self.assertEqual(self.finished({}).header("date"), "Fri, 15 Jan 2027 08:00:00 GMT")
        self.proxy.advance(61)
        self.assertEqual(self.proxy.request().header("date"), "Fri, 15 Jan 2027 08:01:01 GMT")
        given = "Sun, 06 Nov 1994 08:49:37 GMT"
        self.assertEqual(self.finished({"date": given}).header("date"), given)

    def test_via(self) -> None:
        """
        C{via} grows.
        """
        self.assertEqual(self.finished({"via": "1.1 a"}, via="1.1 b").header("via"), "1.1 a, 1.1 b")
        self.assertEqual(self.finished({}, via="1.1 b").header("via"), "1.1 b")

    def test_requestId(self) -> None:
        """
        The request's id is told where that is configured.
        """
        self.assertIsNone(self.finished({}).header("x-request-id"))
        response = self.finished({}, always_set_request_id_in_response=True, preserve_external_request_id=True)
        self.assertEqual(response.header("x-request-id"), "given")
