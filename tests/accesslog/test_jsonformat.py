"""
Tests for L{meshproxy.accesslog.jsonformat}. The expected lines are Envoy's.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.jsonformat import JSONValue, compileJSONFormat
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.headers import RequestHeaders
from tests.accesslog.streams import sampleStream


class JSONFormatTests(SynchronousTestCase):
    """
    L{compileJSONFormat} makes lines of JSON.
    """

    STRUCTURE: dict[str, JSONValue] = {
        "z": "%RESPONSE_CODE%",
        "a": "%REQ(:METHOD)%",
        "n": {"s": "x %DURATION% y", "d": "%DURATION%"},
        "l": ["a", 1.0, True, "%PROTOCOL%", 1.5, None],
        "missing": "%REQ(FOO)%",
        "mix": "[%REQ(FOO)%]",
        "t": "%START_TIME%",
        "st": "%START_TIME(%s)%",
        "port": "%UPSTREAM_REMOTE_PORT%",
        "plain": "100%%",
    }

    def test_line(self) -> None:
        """
        Keys are sorted, values keep their types, and a missing one is null.
        """
        self.assertEqual(
            compileJSONFormat(self.STRUCTURE).format(sampleStream()),
            '{"a":"GET","l":["a",1,true,"HTTP/1.1",1.5,null],"missing":null,"mix":"[-]","n":{"d":30,"s":"x 30 y"},'
            '"plain":"100%","port":8080,"st":"1795350691","t":"2026-11-22T12:31:31.845Z","z":200}\n',
        )

    def test_omitEmpty(self) -> None:
        """
        What has no value is left out, in inner structures as well, and those in which nothing is left; a missing value
        among others shows as nothing.
        """
        format = compileJSONFormat(
            {"a": "%REQ(x)%", "n": {"b": "%ROUTE_NAME%", "c": 1.0}, "l": ["%REQ(x)%", "%DURATION%"]}, True
        )
        self.assertEqual(format.format(StreamInfo()), '{"l":[],"n":{"c":1}}\n')
        self.assertEqual(format.format(sampleStream()), '{"l":[30],"n":{"b":"r1","c":1}}\n')

    def test_omitEmptyParts(self) -> None:
        """
        Constants that are nothing, lists within lists.
        """
        format = compileJSONFormat(
            {"a": None, "b": {"c": {"d": "%REQ(x)%"}}, "e": [[None], None, 1], "f": "<%REQ(x)%>", "g": {}}, True
        )
        self.assertEqual(format.format(StreamInfo()), '{"e":[[],1],"f":"<>"}\n')
        self.assertEqual(compileJSONFormat({"a": None}, True).format(StreamInfo()), "{}\n")

    def test_cutStructure(self) -> None:
        """
        A length cuts texts, and leaves structures whole.
        """
        info = StreamInfo()
        info.dynamicMetadata = {"n": {"text": "abcdef", "list": [1, 2, 3]}}
        format = compileJSONFormat({"a": "%DYNAMIC_METADATA(n:text):3%", "b": "%DYNAMIC_METADATA(n:list):3%"})
        self.assertEqual(format.format(info), '{"a":"abc","b":[1,2,3]}\n')

    def test_unsorted(self) -> None:
        """
        The order may be kept.
        """
        self.assertEqual(
            compileJSONFormat({"b": "%DURATION%", "a": 1.0}, sort=False).format(StreamInfo()), '{"b":null,"a":1}\n'
        )

    def test_hostile(self) -> None:
        """
        No value of a peer's breaks out of its string.
        """
        info = StreamInfo()
        info.requestHeaders = RequestHeaders(b"GET", b"/", b"", [(b"x", b'","admin":"1'), (b"y", b'\xff"\\')])
        line = compileJSONFormat({"x": "%REQ(x)%", "%REQ(x)%": "k", "m": "<%REQ(y)%>"}).format(info)
        self.assertEqual(json.loads(line), {"x": '","admin":"1', "%REQ(x)%": "k", "m": '<\xff"\\>'})

    def test_metadata(self) -> None:
        """
        Structures are structures.
        """
        info = StreamInfo()
        info.routeMetadata = {"ns": {"k": "v", "o": {"b": [1, 2.5, True, None], "a": 1}}}
        self.assertEqual(
            compileJSONFormat({"m": "%METADATA(ROUTE:ns)%"}).format(info),
            '{"m":{"k":"v","o":{"a":1,"b":[1,2.5,true,null]}}}\n',
        )

    def test_fault(self) -> None:
        """
        A fault anywhere is one of the whole.
        """
        self.assertRaises(FormatError, compileJSONFormat, {"a": {"b": ["%NOPE%"]}})
        self.assertRaises(FormatError, compileJSONFormat, {"a": {"b": ["%NOPE%"]}}, True)
