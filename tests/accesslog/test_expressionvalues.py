"""
Tests of L{meshproxy.accesslog.expressionvalues}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.formatter import compileFormat
from meshproxy.accesslog.jsonformat import compileJSONFormat
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.headers import RequestHeaders

#: What is shown in a line of text, and of C{TYPED_CEL} in one of JSON.
SHOWN: dict[str, tuple[str, str]] = {
    "request.path": ("/x", '"/x"'),
    "true": ("true", "true"),
    "1": ("1", "1"),
    "18446744073709551615u": ("18446744073709551615", "18446744073709551616"),
    "1.0/3.0": ("0.333333", "0.3333333333333333"),
    "100000000.0": ("1e+08", "1e+08"),
    "123456789": ("123456789", "123456789"),
    "1000000": ("1000000", "1e+06"),
    "0.00001": ("1e-05", "1e-05"),
    "0.0 / 0.0": ("nan", "null"),
    "-2.5": ("-2.5", "-2.5"),
    "0.0": ("0", "0"),
    "null": ("NULL", "null"),
    "b'ab'": ("ab", '"YWI="'),
    "[1, 'a', b'b']": ("CelList value", '[1,"a","Yg=="]'),
    "{'b': duration('1.5s')}": ("CelMap value", '{"b":"1.500s"}'),
    "{1: 2}": ("CelMap value", '{"1":2}'),
    "{true: 2}": ("CelMap value", "null"),
    "[type(1)]": ("CelList value", "null"),
    "type(1)": ("CelType value", "null"),
    "duration('3661.5s')": ("1h1m1.5s", '"3661.500s"'),
    "duration('-1.000001s')": ("-1.000001s", '"-1.000001s"'),
    "duration('0.0015s')": ("1.5ms", '"0.001500s"'),
    "duration('0.000002s')": ("2us", '"0.000002s"'),
    "duration('60s')": ("1m", '"60s"'),
    "duration('0s')": ("0", '"0s"'),
    "timestamp('2020-01-01T00:00:00Z')": ("2020-01-01T00:00:00+00:00", '"2020-01-01T00:00:00Z"'),
    "timestamp('2020-01-01T00:00:00.25Z')": ("2020-01-01T00:00:00.25+00:00", '"2020-01-01T00:00:00.250Z"'),
    "metadata": (
        'filter_metadata { key: "n" value { fields { key: "k" value { number_value: 7.0 } } } } ',
        '{"filter_metadata":{"n":{"k":7}}}',
    ),
    "envoy.config.core.v3.Metadata{}": ("", "{}"),
    "request.headers['x-b']": ("-", "null"),
    "size(request.path)": ("2", "2"),
    "1 > 0 ? ')' : ':5'": (")", '")"'),
    "10 % 4": ("2", "2"),
}


class ExpressionTests(SynchronousTestCase):
    """
    Operators with expressions.
    """

    def setUp(self) -> None:
        """
        A stream.
        """
        self.info = StreamInfo()
        self.info.requestHeaders = RequestHeaders(b"GET", b"/x", b"a.test", [(b"x-a", "é\t".encode())])
        self.info.dynamicMetadata = {"n": {"k": 7}}

    def text(self, format: str) -> str:
        """
        A line of text.
        """
        return compileFormat(format).format(self.info)

    def test_text(self) -> None:
        """
        As Envoy shows it, whichever of the two it is.
        """
        for expression, (text, _) in SHOWN.items():
            for name in ("CEL", "TYPED_CEL"):
                self.assertEqual(self.text(f"<%{name}({expression})%>"), f"<{text}>", expression)

    def test_json(self) -> None:
        """
        In JSON, one of them is always text.
        """
        for expression, (text, json) in SHOWN.items():
            line = compileJSONFormat({"a": f"%TYPED_CEL({expression})%"}).format(self.info)
            self.assertEqual(line, f'{{"a":{json}}}\n', expression)
            line = compileJSONFormat({"a": f"%CEL({expression})%"}).format(self.info)
            wanted = "null" if text == "-" else '"' + text.replace('"', '\\"') + '"'
            self.assertEqual(line, f'{{"a":{wanted}}}\n', expression)

    def test_cut(self) -> None:
        """
        A length counts bytes, of text only.
        """
        self.assertEqual(self.text("%CEL('abcdef'):3%%TYPED_CEL(123456):2%"), "abc12")
        self.assertEqual(compileFormat("%CEL(request.headers['x-a']):1%").formatBytes(self.info), b"\xc3")
        typed = compileJSONFormat({"a": "%TYPED_CEL('abc'):1%", "b": "%TYPED_CEL(12345):1%"})
        self.assertEqual(typed.format(self.info), '{"a":"a","b":12345}\n')

    def test_clean(self) -> None:
        """
        A line stays a line.
        """
        self.assertEqual(self.text("%CEL('a\\n' )%".replace(" )", ")")), "a\\x0a")

    def test_faults(self) -> None:
        """
        What is wrong with an expression is told.
        """
        for format, why in {
            "%CEL(request.nosuch)%": "there is no attribute request.nosuch",
            "%CEL(1 +)%": "this is no expression",
            "%CEL()%": "this is no expression",
            "%CEL%": "this is no expression",
            "%CEL(string(1))%": "enable_string_conversion",
        }.items():
            self.assertIn(why, str(self.assertRaises(FormatError, compileFormat, format)), format)
