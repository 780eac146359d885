"""
Tests for L{meshproxy.admin.explain.question}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.explain.question import QuestionError, askedIn


class QuestionTests(SynchronousTestCase):
    """
    L{askedIn}.
    """

    def test_url(self) -> None:
        """
        An URL says scheme, authority, port and path; what it leaves out is as usual.
        """
        for url, expected in (
            ("http://a.example:81/p?q=1#f", ("http", "a.example:81", 81, "/p?q=1")),
            ("http://a.example", ("http", "a.example", 80, "/")),
            ("https://u@a.example/", ("https", "a.example", 443, "/")),
            ("/p", ("http", "", 80, "/p")),
            ("http://[::1]:8080/p", ("http", "[::1]:8080", 8080, "/p")),
        ):
            asked = askedIn(url)
            self.assertEqual((asked.scheme, asked.authority, asked.port, asked.path), expected, url)

    def test_head(self) -> None:
        """
        Fields are a head; C{host} among them is the authority.
        """
        headers = askedIn("http://1.2.3.4:80/p", "POST", ["Host: a.example", "X-A:  1 ", "x-a: 2"]).headers()
        self.assertEqual((headers.method, headers.authority, headers.path), (b"POST", b"a.example", b"/p"))
        self.assertEqual(headers.values(b"x-a"), [b"1", b"2"])
        self.assertEqual(askedIn("http://a:1/", "CONNECT").headers().path, b"")

    def test_wrong(self) -> None:
        """
        What is no question is told so.
        """
        for url, method, fields in (
            ("", "GET", ()),
            ("ftp://a/", "GET", ()),
            ("http://a:x/", "GET", ()),
            ("http://a/\u00e9", "GET", ()),
            ("http://a/", "", ()),
            ("http://a/", "GET /", ()),
            ("http://a/", "GET", ("no colon",)),
            ("http://a/", "GET", (": x",)),
            ("http://a/", "GET", ("a: b\nc: d",)),
        ):
            self.assertRaises(QuestionError, askedIn, url, method, fields)
