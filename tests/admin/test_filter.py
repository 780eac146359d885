"""
Tests for L{meshproxy.admin.filter}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.commands import AdminRequest
from meshproxy.admin.filter import parseRequest
from meshproxy.headers import RequestHeaders
from tests.admin.support import ask, makeServer


def request(target: bytes, body: bytes = b"", contentType: bytes = b"") -> AdminRequest:
    """
    A request, taken apart.
    """
    headers = RequestHeaders(b"POST", target)
    if contentType:
        headers.set(b"content-type", contentType)
    return parseRequest(headers, body)[0]


class ParseTests(SynchronousTestCase):
    """
    L{parseRequest}.
    """

    def test_query(self) -> None:
        """
        Parameters are decoded; of equal ones the first counts, and all are there; one without a value is there.
        """
        found = request(b"/stats?filter=a%2Bb+c&usedonly&filter=x")
        every = (("filter", "a+b c"), ("usedonly", ""), ("filter", "x"))
        self.assertEqual(found, AdminRequest("/stats", {"filter": "a+b c", "usedonly": ""}, "POST", every))
        self.assertEqual(found.values("filter"), ["a+b c", "x"])

    def test_form(self) -> None:
        """
        A form counts where there is no query; other bodies do not.
        """
        form = b"Application/x-www-form-urlencoded; charset=utf-8"
        self.assertEqual(request(b"/x", b"a=1", form).parameters, {"a": "1"})
        self.assertEqual(request(b"/x?b=2", b"a=1", form).parameters, {"b": "2"})
        self.assertEqual(request(b"/x", b"a=1", b"text/plain").parameters, {})
        self.assertEqual(request(b"/x", b"a=1").parameters, {})

    def test_bytes(self) -> None:
        """
        Bytes that are no UTF-8 do no harm, in paths, queries and forms.
        """
        self.assertEqual(request(b"/\xff?a=\xff&b=%ff").parameters, {"a": "\ufffd", "b": "\ufffd"})

    def test_many(self) -> None:
        """
        More parameters than anybody needs are refused.
        """
        self.assertRaises(ValueError, request, b"/x?" + b"a=1&" * 1000)


class AdminFilterTests(SynchronousTestCase):
    """
    L{AdminFilter} in its chain.
    """

    def test_many(self) -> None:
        """
        Too many parameters are 400.
        """
        self.assertEqual(ask(makeServer(), "/ready?" + "a=1&" * 1000).status, 400)

    def test_bodies(self) -> None:
        """
        A body is read before the answer, whether it is of use or not, at once or in pieces.
        """
        server = makeServer()
        self.assertEqual(ask(server, "/ready", "POST", "", "x" * 100).text, "LIVE\n")
        self.assertEqual(ask(server, "/stats?filter=^server.live$", "POST", "", "x").text, "server.live: 1\n")

    def test_longBody(self) -> None:
        """
        A body that is too long is 413.
        """
        self.assertEqual(ask(makeServer(), "/ready", "POST", "", "x" * 100000).status, 413)

    def test_raises(self) -> None:
        """
        A command that raises is a 500, which says nothing of the reason; the next one is answered.
        """
        server = makeServer()
        server.refreshStats = lambda: 1 / 0  # type: ignore[method-assign,assignment]
        answer = ask(server, "/stats")
        self.assertEqual(answer.status, 500)
        self.assertNotIn("division", answer.text)
        self.assertEqual(ask(server, "/ready").status, 200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
