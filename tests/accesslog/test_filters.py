"""
Tests for L{meshproxy.accesslog.filters}.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.filters import RuntimeInteger, compileFilter, configuredInteger
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config import Section
from meshproxy.flags import ResponseFlag
from meshproxy.headers import HeaderMap, RequestHeaders
from tests.accesslog.streams import sampleStream


def section(value: Mapping[str, object]) -> Section:
    """
    A filter's section.
    """
    return Section.of("envoy.config.accesslog.v3.AccessLogFilter", value)


class FilterTests(SynchronousTestCase):
    """
    L{compileFilter} makes one function of a filter.
    """

    def takes(self, value: Mapping[str, object], info: StreamInfo, runtime: RuntimeInteger = configuredInteger) -> bool:
        """
        Whether a filter takes a stream.
        """
        compiled = compileFilter(section(value), runtime)
        assert compiled is not None
        return compiled(info)

    def stream(self, **facts: object) -> StreamInfo:
        """
        A stream with some facts.
        """
        info = StreamInfo()
        for name, value in facts.items():
            setattr(info, name, value)
        return info

    def comparison(self, op: str, value: int, key: str = "k") -> dict[str, object]:
        """
        A comparison.
        """
        return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": key}}}

    def test_empty(self) -> None:
        """
        An empty filter is none.
        """
        self.assertIsNone(compileFilter(section({})))

    def test_statusCode(self) -> None:
        """
        Each comparison; the runtime may change the figure while the proxy runs.
        """
        for op, taken in [("EQ", [500]), ("GE", [500, 503]), ("LE", [0, 404, 500]), ("NE", [0, 404, 503])]:
            filter = {"status_code_filter": self.comparison(op, 500)}
            self.assertEqual(
                [code for code in (0, 404, 500, 503) if self.takes(filter, self.stream(responseCode=code))], taken, op
            )
        filter = {"status_code_filter": self.comparison("GE", 500)}
        self.assertTrue(self.takes(filter, self.stream(responseCode=404), lambda key, default: 400))

    def test_duration(self) -> None:
        """
        In milliseconds; a stream that goes on has none.
        """
        filter = {"duration_filter": self.comparison("GE", 30)}
        self.assertTrue(self.takes(filter, self.stream(startMonotonic=1.0, end=1.03)))
        self.assertFalse(self.takes(filter, self.stream(startMonotonic=1.0, end=1.0299)))
        self.assertFalse(self.takes(filter, self.stream(startMonotonic=1.0)))

    def test_marks(self) -> None:
        """
        Health checks and traces.
        """
        self.assertFalse(self.takes({"not_health_check_filter": {}}, self.stream(healthCheck=True)))
        self.assertTrue(self.takes({"not_health_check_filter": {}}, self.stream()))
        self.assertTrue(self.takes({"traceable_filter": {}}, self.stream(traced=True)))
        self.assertFalse(self.takes({"traceable_filter": {}}, self.stream()))

    def test_runtime(self) -> None:
        """
        A share of all streams, by their id, so that each hop decides alike; a value of the runtime is a percentage.
        """
        filter = {"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 50}}}
        low, high = self.stream(requestId="0000000a" + "-" * 28), self.stream(requestId="0000003c" + "-" * 28)
        self.assertEqual([self.takes(filter, info) for info in (low, high)], [True, False])
        self.assertTrue(self.takes(filter, high, lambda key, default: 100))
        self.assertFalse(self.takes(filter, low, lambda key, default: 0))

    def test_runtimeWithoutId(self) -> None:
        """
        Without a usable id, or when asked so, chance decides; all and none are certain all the same.
        """
        for more in ({}, {"use_independent_randomness": True}):
            for requestId in ("", "zzzzzzzz" + "-" * 28):
                for numerator, taken in [(0, False), (1000000, True)]:
                    percent = {"numerator": numerator, "denominator": "MILLION"}
                    filter = {"runtime_filter": {"runtime_key": "k", "percent_sampled": percent, **more}}
                    self.assertEqual(self.takes(filter, self.stream(requestId=requestId)), taken)

    def test_andOr(self) -> None:
        """
        All of them, one of them.
        """
        both = [
            {"status_code_filter": self.comparison("GE", 500)},
            {"duration_filter": self.comparison("GE", 1000)},
        ]
        info = self.stream(responseCode=503, startMonotonic=0.0, end=0.1)
        self.assertFalse(self.takes({"and_filter": {"filters": both}}, info))
        self.assertTrue(self.takes({"or_filter": {"filters": both}}, info))

    def test_header(self) -> None:
        """
        By a field of the request; a stream without a request has none.
        """
        filter = {"header_filter": {"header": {"name": "x", "string_match": {"exact": "y"}}}}
        info = sampleStream()
        self.assertFalse(self.takes(filter, info))
        info.requestHeaders = RequestHeaders(b"GET", b"/", b"", [(b"x", b"y")])
        self.assertTrue(self.takes(filter, info))
        self.assertFalse(self.takes(filter, StreamInfo()))

    def test_responseFlag(self) -> None:
        """
        One of some flags, or any at all.
        """
        overflow = self.stream(responseFlags=ResponseFlag.UPSTREAM_OVERFLOW)
        some = {"response_flag_filter": {"flags": ["UF", "URX"]}}
        self.assertFalse(self.takes(some, overflow))
        self.assertTrue(self.takes(some, self.stream(responseFlags=ResponseFlag.CONNECT_ATTEMPTS_EXCEEDED)))
        self.assertTrue(self.takes({"response_flag_filter": {}}, overflow))
        self.assertFalse(self.takes({"response_flag_filter": {}}, self.stream()))

    def test_unknownFlag(self) -> None:
        """
        A flag that there is not is told.
        """
        wrong = section({"response_flag_filter": {"flags": ["UF", "XX"]}})
        compileFilter(wrong)
        (error,) = wrong.report.errors
        self.assertEqual((error.path, error.why), ("response_flag_filter.flags[1]", "there is no response flag 'XX'"))

    def test_grpcStatus(self) -> None:
        """
        By the gRPC status, or by all others.
        """
        info = sampleStream()
        info.requestHeaders = RequestHeaders(b"POST", b"/", b"", [(b"content-type", b"application/grpc")])
        info.responseTrailers = HeaderMap([(b"grpc-status", b"14")])
        filter = {"grpc_status_filter": {"statuses": ["UNAVAILABLE"]}}
        self.assertTrue(self.takes(filter, info))
        self.assertFalse(self.takes({"grpc_status_filter": {"statuses": ["UNAVAILABLE"], "exclude": True}}, info))
        # What is no status at all is not an unknown one either.
        for value in (b"abc", b"99"):
            info.responseTrailers = HeaderMap([(b"grpc-status", value)])
            self.assertFalse(self.takes({"grpc_status_filter": {"statuses": ["UNKNOWN", "INTERNAL"]}}, info))
        self.assertFalse(self.takes(filter, sampleStream()))

    def test_logType(self) -> None:
        """
        By why a line is written.
        """
        filter = {"log_type_filter": {"types": ["DownstreamEnd"]}}
        self.assertTrue(self.takes(filter, self.stream(logType="DownstreamEnd")))
        self.assertFalse(self.takes(filter, self.stream(logType="DownstreamPeriodic")))

    def test_unsupported(self) -> None:
        """
        What there is not is told, and filters nothing.
        """
        wrong = section({"extension_filter": {"name": "cel"}})
        self.assertIsNone(compileFilter(wrong))
        self.assertEqual([error.path for error in wrong.report.errors], ["extension_filter.typed_config"])

    def test_metadata(self) -> None:
        """
        A value among the dynamic metadata; what is not there counts as configured, and by default matches.
        """
        matcher = {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}
        info = StreamInfo()
        cases: tuple[tuple[dict[str, dict[str, object]] | None, bool, bool], ...] = (
            ({"ns": {"k": "v"}}, False, True),
            ({"ns": {"k": "w"}}, False, False),
            ({"ns": {}}, False, True),
            (None, False, True),
            ({"ns": {}}, True, False),
            ({"ns": {"k": "v"}}, True, True),
        )
        for metadata, strict, logged in cases:
            info.dynamicMetadata = metadata
            fields = {"matcher": matcher, **({"match_if_key_not_found": False} if strict else {})}
            test = compileFilter(section({"metadata_filter": fields}))
            assert test is not None
            self.assertEqual(test(info), logged, (metadata, strict))
        everything = compileFilter(section({"metadata_filter": {}}))
        assert everything is not None
        self.assertTrue(everything(info))

    def test_grpcStatusOfOthers(self) -> None:
        """
        A response that is no gRPC has the status that its HTTP status means.
        """
        test = compileFilter(section({"grpc_status_filter": {"statuses": ["UNAVAILABLE"]}}))
        assert test is not None
        info = StreamInfo()
        for code, logged in ((503, True), (200, False), (404, False)):
            info.responseCode = code
            self.assertEqual(test(info), logged)


class ExpressionTests(SynchronousTestCase):
    """
    Streams for which an expression holds.
    """

    KIND = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

    def section(self, expression: str, **fields: object) -> Section:
        """
        A filter.
        """
        typed = {"@type": self.KIND, "expression": expression, **fields}
        return section({"extension_filter": {"name": "cel", "typed_config": typed}})

    def test_holds(self) -> None:
        """
        Those are taken; neither those for which it is something else, nor those where it fails.
        """
        info = StreamInfo()
        info.responseCode = 404
        for text, taken in {
            "response.code >= 400": True,
            "response.code < 400": False,
            "response.code": False,
            "request.path == '/'": False,
        }.items():
            test = compileFilter(self.section(text))
            self.assertIs(test is not None and test(info), taken, text)

    def test_options(self) -> None:
        """
        C{cel_config} says what it may hold.
        """
        text = "'A'.lowerAscii() == 'a'"
        wrong = self.section(text)
        self.assertIsNone(compileFilter(wrong))
        (error,) = wrong.report.errors
        self.assertEqual(error.path, "extension_filter.typed_config.expression")
        self.assertIn("enable_string_functions", error.why)
        test = compileFilter(self.section(text, cel_config={"enable_string_functions": True}))
        self.assertTrue(test is not None and test(StreamInfo()))
