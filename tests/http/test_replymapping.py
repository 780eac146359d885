"""
Tests for L{meshproxy.http.replymapping}; C{tests/conformance/test_manager} has more, beside real Envoy.
"""

from __future__ import annotations

from typing import Any

from meshproxy.accesslog.filters import configuredInteger
from meshproxy.config import Section
from meshproxy.http.replymapping import compileReplyRewriter
from meshproxy.testing.messages import Response
from tests.http.support import ProxyCase, scripted

CONFIG = "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig"


def status(code: int) -> dict[str, Any]:
    """
    A filter for one status.
    """
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": code, "runtime_key": "k"}}}}


class ReplyRewriterTests(ProxyCase):
    """
    L{compileReplyRewriter}.
    """

    def answered(self, *mappers: dict[str, Any], **more: Any) -> Response:
        """
        What a client gets from a filter that replies C{404 no} with a field of its own.
        """
        reply = scripted(
            requestHeaders=lambda stream, headers, end: stream.reply(404, b"no", [(b"x-own", b"1")], "test_reply")
        )
        proxy = self.start(reply, manager={"local_reply_config": {"mappers": list(mappers), **more}})
        return proxy.request()

    def test_nothing(self) -> None:
        """
        A configuration that changes nothing costs nothing.
        """
        self.assertIsNone(compileReplyRewriter(None, configuredInteger))
        self.assertIsNone(compileReplyRewriter(Section.of(CONFIG, {}), configuredInteger))

    def test_mapped(self) -> None:
        """
        The first mapper that matches changes status, body and fields; what the filter said besides stays.
        """
        response = self.answered(
            {"filter": status(500), "status_code": 501},
            {
                "filter": status(404),
                "status_code": 410,
                "body": {"inline_string": "gone"},
                "headers_to_add": [{"header": {"key": "x-why", "value": "%RESPONSE_CODE_DETAILS%"}}],
            },
            {"filter": status(410), "status_code": 411},
        )
        self.assertEqual((response.status, response.body), (410, b"gone"))
        for name, value in ((b"x-own", b"1"), (b"x-why", b"test_reply"), (b"content-type", b"text/plain")):
            self.assertEqual(response.headers.get(name), value)
        self.assertEqual(self.proxy.accessLog, ["410 test_reply -"])

    def test_unreadable(self) -> None:
        """
        That a request could not be read no mapper knows, as in Envoy; the log does.
        """
        flags = {"response_flag_filter": {"flags": ["DPE"]}}
        proxy = self.start(
            manager={
                "local_reply_config": {
                    "mappers": [{"filter": flags, "status_code": 499}],
                    "body_format": {"text_format_source": {"inline_string": "%RESPONSE_FLAGS% %RESPONSE_CODE%"}},
                }
            },
            accessLog="%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
        )
        client = proxy.client()
        client.expect()
        client.write(b"GARBAGE\r\n\r\n")
        answer = client.response()
        self.assertEqual((answer.status, answer.body), (400, b"- 400"))
        self.assertEqual(proxy.accessLog, ["DPE http1.codec_error"])

    def test_unmapped(self) -> None:
        """
        Without a match the common format is for all.
        """
        response = self.answered(
            {"filter": status(500), "status_code": 501},
            body_format={"json_format": {"code": "%RESPONSE_CODE%", "text": "%LOCAL_REPLY_BODY%"}},
        )
        self.assertEqual(response.headers.get(b"content-type"), b"application/json")
        self.assertEqual((response.status, response.body), (404, b'{"code":404,"text":"no"}\n'))

    def test_faults(self) -> None:
        """
        A format that is none is refused where it stands.
        """
        section = Section.of(CONFIG, {"body_format": {"text_format_source": {"inline_string": "%NONE%"}}})
        compileReplyRewriter(section, configuredInteger)
        self.assertEqual(
            [error.path for error in section.report.errors], ["body_format.text_format_source.inline_string"]
        )
