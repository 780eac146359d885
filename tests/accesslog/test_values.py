"""
Tests for L{meshproxy.accesslog.values}.
"""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.values import clean, encodeText, fromBytes, jsonText, plainText, quoteJSON, serverName


class BytesTests(SynchronousTestCase):
    """
    What a peer sent.
    """

    def test_controls(self) -> None:
        """
        Nothing ends the line or moves a cursor (CVE-2024-45808); a tab, which may be in a field value, stays.
        """
        self.assertEqual(fromBytes(b"a\r\nb\x1b[2Jc\x00\x7f\t"), "a\\x0d\\x0ab\\x1b[2Jc\\x00\\x7f\t")
        self.assertEqual(clean("a\nb"), "a\\x0ab")

    def test_unicode(self) -> None:
        """
        UTF-8 is text, and other bytes survive.
        """
        self.assertEqual(fromBytes("é€".encode()), "é€")
        for value in (b"\xff\xfe", b"a\xe9", "é€".encode()):
            self.assertEqual(encodeText(fromBytes(value)), value)

    def test_serverName(self) -> None:
        """
        A server name keeps only what host names have.
        """
        self.assertEqual(serverName('a.b-c\n\x1b["x'), "invalid:a.b-c____x")


class TextTests(SynchronousTestCase):
    """
    Values in a line of text.
    """

    def test_kinds(self) -> None:
        """
        Each kind of value has one way to be written.
        """
        cases: list[tuple[object, str]] = [
            ("a", "a"),
            (5, "5"),
            (2.5, "2.5"),
            (0.1, "0.1"),
            (True, "true"),
            (False, "false"),
            ({"b": [1, None], "a": "é"}, '{"a":"é","b":[1,null]}'),
            ({"b": [1.0, 1.5], "a": {"c": 2.0}}, '{"a":{"c":2},"b":[1,1.5]}'),
        ]
        for value, expected in cases:
            self.assertEqual(plainText(value), expected)


class JSONTests(SynchronousTestCase):
    """
    Values in a line of JSON. The odd cases are written as Envoy writes them.
    """

    def test_kinds(self) -> None:
        """
        Types are kept.
        """
        cases: list[tuple[object, str]] = [
            (None, "null"),
            ("a", '"a"'),
            ("5", '"5"'),
            (5, "5"),
            (True, "true"),
            (float("nan"), "null"),
            ([1], "[1]"),
        ]
        for value, expected in cases:
            self.assertEqual(jsonText(value), expected)

    def test_strings(self) -> None:
        """
        Valid text is escaped as little as possible; where there is an odd byte, all beyond ASCII goes byte by byte.
        """
        self.assertEqual(quoteJSON("<a>'/&\"\\"), '"<a>\'/&\\"\\\\"')
        self.assertEqual(quoteJSON("é€"), '"é€"')
        self.assertEqual(quoteJSON(fromBytes(b'\xc3\xa9\xff"\\')), '"\\u00c3\\u00a9\\u00ff\\u0022\\u005c"')

    @given(st.binary())
    def test_alwaysJSON(self, value: bytes) -> None:
        """
        Whatever bytes a peer sends, the result is one line of JSON.
        """
        text = quoteJSON(value.decode("utf-8", "surrogateescape"))
        json.loads(text)
        self.assertNotIn("\n", text)
        text.encode("utf-8")
