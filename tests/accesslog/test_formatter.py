"""
Tests for L{meshproxy.accesslog.formatter}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.formatter import DEFAULT_FORMAT, compileFormat
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config import Section
from meshproxy.headers import RequestHeaders
from tests.accesslog.streams import sampleStream


class FormatTests(SynchronousTestCase):
    """
    L{compileFormat} makes lines of text.
    """

    def test_default(self) -> None:
        """
        Envoy's default line.
        """
        self.assertEqual(
            compileFormat(DEFAULT_FORMAT).format(sampleStream()),
            '[2026-11-22T12:31:31.845Z] "GET /p%20q?a=x%41y&b=&a=2&c HTTP/1.1" 200 - 7 1234 30 - "-" "curl/8" "-" '
            '"example.com" "10.0.0.9:8080"\n',
        )

    def test_nothingKnown(self) -> None:
        """
        The same of a request that never was one.
        """
        self.assertEqual(
            compileFormat(DEFAULT_FORMAT).format(StreamInfo()),
            '[1970-01-01T00:00:00.000Z] "- - -" 0 - 0 0 - - "-" "-" "-" "-" "-"\n',
        )

    def test_omitEmpty(self) -> None:
        """
        Missing values may show as nothing.
        """
        format = compileFormat("[%REQ(FOO)%] x%ROUTE_NAME%y%REQ(FOO):3%z%DYNAMIC_METADATA(a)%", omitEmpty=True)
        self.assertEqual(format.format(StreamInfo()), "[] xyz")

    def test_structures(self) -> None:
        """
        What is no text and no number is written as JSON.
        """
        info = StreamInfo()
        info.dynamicMetadata = {"ns": {"o": {"b": True}, "t": True}}
        format = compileFormat("%DYNAMIC_METADATA(ns:o)% %DYNAMIC_METADATA(ns:t)% %DYNAMIC_METADATA(ns:x)%")
        self.assertEqual(format.format(info), '{"b":true} true -')

    def test_constant(self) -> None:
        """
        A format without operators says that it is always the same.
        """
        format = compileFormat("100%% sure")
        self.assertEqual((format.constant, format.format(StreamInfo())), ("100% sure", "100% sure"))
        self.assertIsNone(compileFormat("%PROTOCOL%").constant)

    def test_bytes(self) -> None:
        """
        A header value that is no text comes out as it went in.
        """
        info = StreamInfo()
        info.requestHeaders = RequestHeaders(b"GET", b"/", b"", [(b"x", b"\xff\xe9\xc3\xa9")])
        self.assertEqual(compileFormat("é%REQ(x)%").formatBytes(info), b"\xc3\xa9\xff\xe9\xc3\xa9")

    def test_raised(self) -> None:
        """
        Without a section a fault is raised.
        """
        self.assertRaises(FormatError, compileFormat, "%NOPE%")

    def test_refused(self) -> None:
        """
        With one it is told there, with the field, and the format is empty.
        """
        section = Section.of(
            "envoy.extensions.access_loggers.file.v3.FileAccessLog", {"path": "/x", "format": "%REQS(x)%"}
        )
        format = compileFormat("%REQS(x)%", section, "format")
        self.assertEqual(format.format(StreamInfo()), "")
        (error,) = section.report.errors
        self.assertEqual(error.path, "format")
        self.assertIn("there is no operator %REQS%", error.why)
        self.assertIn("did you mean REQ or RESP?", error.why)
