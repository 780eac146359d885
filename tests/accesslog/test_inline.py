"""
Tests for L{meshproxy.accesslog.inline}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import parseFormat
from meshproxy.accesslog.formatter import _separated
from meshproxy.accesslog.inline import Inline, _compilePlain, compileLines, compileTemplate
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.accesslog.values import Value, encodeText, plainText
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.net.address import Address
from meshproxy.upstream.endpoint import Endpoint


class TemplateTests(SynchronousTestCase):
    """
    L{compileTemplate} writes one function for a whole format.
    """

    def test_both(self) -> None:
        """
        Expressions and functions stand side by side.
        """
        values: list[Value] = [Inline("{a}", a="x"), lambda info: 5, Inline("info.bytesSent", True)]
        format = compileTemplate(["<", "|", "|", ">"], values, str, "-")
        self.assertEqual(format(StreamInfo()), "<x|5|0>")

    def test_sameNames(self) -> None:
        """
        Two expressions may use the same name for different things.
        """
        values: list[Value] = [Inline("{a}", a="x"), Inline("{a}", a="y")]
        self.assertEqual(compileTemplate(["", "", ""], values, str, "-")(StreamInfo()), "xy")

    def test_missing(self) -> None:
        """
        Nothing shows as the text for it.
        """
        values: list[Value] = [Inline("None"), lambda info: None]
        self.assertEqual(compileTemplate(["", ",", ""], values, str, "-")(StreamInfo()), "-,-")

    def test_show(self) -> None:
        """
        Without a text for nothing, each value is shown by the function, but for whole numbers.
        """
        values: list[Value] = [Inline("None"), Inline("{a}", a="x"), lambda info: None, Inline("3", True)]
        format = compileTemplate(["", " ", " ", " ", ""], values, repr, None)
        self.assertEqual(format(StreamInfo()), "None 'x' None 3")

    def test_literals(self) -> None:
        """
        Whatever the text between holds, it is text: braces, quotes, backslashes, line ends, odd bytes.
        """
        for literal in ("{info}", "}{", "'", '"', "\\", "\n", "{{", "%s", "\udcff", "\\N{DASH}", "'''\""):
            format = compileTemplate([literal, literal], [Inline("1", True)], str, "-")
            self.assertEqual(format(StreamInfo()), f"{literal}1{literal}")

    def test_alone(self) -> None:
        """
        An expression can be called by itself.
        """
        self.assertEqual(Inline("requestFirst.get({name})", name=b"x")(StreamInfo()), None)


class QuickLineTests(SynchronousTestCase):
    """
    A line that is put together as bytes is the line that is put together value by value.
    """

    FORMAT = (
        '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-A?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_SENT% '
        "%DURATION% %REQ(B):3% %RESP(C)%%TRAILER(D)% %UPSTREAM_HOST% %RESPONSE_CODE_DETAILS% %LOCAL_REPLY_BODY% 100%%"
        "%REQ(:AUTHORITY)% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME%"
    )

    def assertSameLine(self, info: StreamInfo, end: str = "\n") -> str:
        """
        Both ways give one line.
        """
        literals, values = _separated(parseFormat(self.FORMAT + end))
        line = _compilePlain(literals, values, plainText, "-")(info)
        quick = compileTemplate(literals, values, plainText, "-")
        self.assertEqual(quick(info), line)
        lines = compileLines(literals, values, plainText, "-", quick)
        for streams in ([], [info], [info, StreamInfo(), info]):
            self.assertEqual(lines(streams), encodeText("".join(map(quick, streams))))
        return line

    def info(self, value: bytes) -> StreamInfo:
        """
        A stream whose headers have a value everywhere.
        """
        info = StreamInfo()
        info.startTime = 1_800_000_000.1234
        info.requestHeaders = RequestHeaders(b"GET", b"/" + value, b"h" + value, [(b"x-a", value), (b"b", value)])
        info.responseHeaders = ResponseHeaders(200, [(b"c", value)])
        info.responseTrailers = HeaderMap([(b"d", value)])
        return info

    def test_values(self) -> None:
        """
        Plain text, nothing, control characters and line ends, UTF-8 whole and cut, bytes of no encoding, characters
        that do not show.
        """
        odd = [b"a", b"", b"a\tb", b"a\nb", b"\x7f", b"\0", "\u00fc\u20ac".encode(), b"\xc3", b"\xa4", b"\xff\xfe"]
        for value in [*odd, b"%s", "\u200b\u2028".encode(), b"\xed\xa0\x80", b"{x}", b"-", b"abcdef"]:
            self.assertSameLine(self.info(value))
            self.assertSameLine(self.info(value), "")

    def test_nothing(self) -> None:
        """
        A stream of which nothing is known.
        """
        self.assertIn(" - ", self.assertSameLine(StreamInfo()))

    def test_facts(self) -> None:
        """
        Facts of other kinds.
        """
        info = self.info(b"v")
        info.end = info.startTime + 1.5
        info.startMonotonic = info.startTime
        info.protocol, info.routeName = "HTTP/1.1", "a\nb"
        info.responseFlags = 6
        info.localReplyBody = "two\nlines"
        info.responseCodeDetails = "some details"
        info.upstreamHost = Endpoint(Address("10.0.0.1", 80))
        self.assertIn("a\\x0ab", self.assertSameLine(info))
        info.routeName = info.localReplyBody = "plain"
        self.assertIn(" 1500 ", self.assertSameLine(info))

    def test_oddLiterals(self) -> None:
        """
        Literals that are not fit to print, percent signs and braces.
        """
        for literal in ("a\nb", "\t", "100%", "{}", "\udcff", "%d"):
            values: list[Value] = [Inline("info.routeName", False, "{encoded}[info.routeName]")]
            for name in ("x", "\x00"):
                info = StreamInfo()
                info.routeName = name
                for literals in ([literal, ""], ["", literal], ["", literal + "\n"]):
                    plain = _compilePlain(literals, values, plainText, "-")(info)
                    self.assertEqual(compileTemplate(literals, values, plainText, "-")(info), plain)
