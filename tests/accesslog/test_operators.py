"""
Tests for L{meshproxy.accesslog.operators}.
"""

from __future__ import annotations

import os
import socket
import uuid

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import FormatError, parseFormat
from meshproxy.accesslog.operators import OPERATORS, compileOperator
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.flags import Details, ResponseFlag
from tests.accesslog.streams import sampleStream


def value(text: str, info: StreamInfo | None = None) -> object:
    """
    The value of one operator, of the sample stream by default.
    """
    (command,) = parseFormat(f"%{text}%")
    assert not isinstance(command, str)
    return compileOperator(command)(sampleStream() if info is None else info)


class OperatorCase(SynchronousTestCase):
    """
    Compares the values of operators.
    """

    def check(self, cases: dict[str, object], info: StreamInfo | None = None) -> None:
        """
        Assert the values of several operators.
        """
        for text, expected in cases.items():
            self.assertEqual(value(text, info), expected, text)


class OperatorTests(OperatorCase):
    """
    Each operator shows its fact.
    """

    def test_durations(self) -> None:
        """
        Whole milliseconds, cut.
        """
        self.check(
            {
                "DURATION": 30,
                "REQUEST_DURATION": 1,
                "REQUEST_TX_DURATION": 3,
                "RESPONSE_DURATION": 20,
                "RESPONSE_TX_DURATION": 9,
                "COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)": 29,
                "COMMON_DURATION(US_TX_BEG:US_RX_END:us)": 23000,
                "COMMON_DURATION(X:Y:ms)": None,
                "ROUNDTRIP_DURATION": None,
            }
        )

    def test_durationsOfNothing(self) -> None:
        """
        What did not happen has no duration.
        """
        names = ("DURATION", "REQUEST_DURATION", "REQUEST_TX_DURATION", "RESPONSE_DURATION", "RESPONSE_TX_DURATION")
        self.check(dict.fromkeys(names), StreamInfo())

    def test_times(self) -> None:
        """
        The start, in any pattern.
        """
        self.check({"START_TIME": "2026-11-22T12:31:31.845Z", "START_TIME(%s)": "1795350691"})
        self.assertTrue(str(value("EMIT_TIME(%s)")).isdigit())

    def test_facts(self) -> None:
        """
        Plain attributes.
        """
        self.check(
            {
                "PROTOCOL": "HTTP/1.1",
                "RESPONSE_CODE": 200,
                "RESPONSE_CODE_DETAILS": "via_upstream",
                "RESPONSE_FLAGS": "-",
                "BYTES_RECEIVED": 7,
                "BYTES_SENT": 1234,
                "UPSTREAM_REQUEST_ATTEMPT_COUNT": 2,
                "UPSTREAM_CLUSTER": "backend",
                "UPSTREAM_CLUSTER_RAW": "backend",
                "ROUTE_NAME": "r1",
                "FILTER_CHAIN_NAME": "fc",
                "CONNECTION_ID": 5,
                "UPSTREAM_CONNECTION_ID": 0,
                "UPSTREAM_CONNECTION_IDS_ATTEMPTED": None,
                "DOWNSTREAM_DETECTED_CLOSE_TYPE": "Normal",
                "STREAM_ID": "962d6ebf-fa9d-498a-9041-4f493e855ee3",
                "ACCESS_LOG_TYPE": "NotSet",
                "LOCAL_REPLY_BODY": "",
                "CUSTOM_FLAGS": "",
                "HOSTNAME": socket.gethostname(),
            }
        )

    def test_missing(self) -> None:
        """
        Missing text is nothing; counts are 0, as in Envoy. Details that say nothing are an empty text.
        """
        silent = StreamInfo()
        silent.responseCodeDetails = Details.EMPTY
        self.check({"RESPONSE_CODE_DETAILS": "", "UPSTREAM_DETECTED_CLOSE_TYPE": None}, silent)
        missing = ("PROTOCOL", "RESPONSE_CODE_DETAILS", "UPSTREAM_CLUSTER", "ROUTE_NAME", "FILTER_CHAIN_NAME")
        self.check({**dict.fromkeys(missing), "STREAM_ID": None, "RESPONSE_CODE": 0, "BYTES_SENT": 0}, StreamInfo())

    def test_flags(self) -> None:
        """
        Short and long names.
        """
        info = StreamInfo()
        info.responseFlags = ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        self.check(
            {
                "RESPONSE_FLAGS": "URX,UF",
                "RESPONSE_FLAGS_LONG": "UpstreamRetryLimitExceeded,UpstreamConnectionFailure",
            },
            info,
        )

    def test_spaces(self) -> None:
        """
        Details are one word, unless asked otherwise.
        """
        info = StreamInfo()
        info.responseCodeDetails = "a b\nc"
        info.upstreamTransportFailureReason = "delayed connect error: Connection refused"
        self.check(
            {
                "RESPONSE_CODE_DETAILS": "a_b\\x0ac",
                "RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)": "a b\\x0ac",
                "UPSTREAM_TRANSPORT_FAILURE_REASON": "delayed_connect_error:_Connection_refused",
            },
            info,
        )

    def test_terminationDetails(self) -> None:
        """
        Why the connection ended, as the stream or else the connection knows it.
        """
        info = sampleStream()
        info.connection.terminationDetails = "rbac_access_denied"
        self.check({"CONNECTION_TERMINATION_DETAILS": "rbac_access_denied"}, info)
        info.connectionTerminationDetails = "mine"
        self.check({"CONNECTION_TERMINATION_DETAILS": "mine"}, info)

    def test_environment(self) -> None:
        """
        A variable of the environment, as it is when the format is read.
        """
        os.environ["MESHPROXY_TEST_WORD"] = "hello"
        self.addCleanup(os.environ.pop, "MESHPROXY_TEST_WORD")
        self.check(
            {
                "ENVIRONMENT(MESHPROXY_TEST_WORD)": "hello",
                "ENVIRONMENT(MESHPROXY_TEST_WORD):2": "he",
                "ENVIRONMENT(MESHPROXY_TEST_NONE)": "-",
            }
        )

    def test_unique(self) -> None:
        """
        A new identifier for each line.
        """
        first = value("UNIQUE_ID")
        self.assertNotEqual(first, value("UNIQUE_ID"))
        uuid.UUID(str(first))

    def test_localReplyBody(self) -> None:
        """
        The body keeps its lines: a local reply's own format shows it.
        """
        info = StreamInfo()
        info.localReplyBody = "a\nb"
        self.check({"LOCAL_REPLY_BODY": "a\nb"}, info)


class FaultTests(SynchronousTestCase):
    """
    What is wrong in an operator is told.
    """

    def test_unknown(self) -> None:
        """
        An unknown name comes with near ones.
        """
        error = self.assertRaises(FormatError, value, "RESPONSE_CODES")
        self.assertEqual(error.why, "there is no operator %RESPONSE_CODES%")
        self.assertIn("RESPONSE_CODE", error.near)

    def test_parameters(self) -> None:
        """
        Parameters where none belong, and none where some do.
        """
        for text in (
            "PROTOCOL(x)",
            "PROTOCOL:5",
            "DURATION:3",
            "REQ",
            "REQ()",
            "DYNAMIC_METADATA",
            "COMMON_DURATION(a)",
        ):
            self.assertRaises(FormatError, value, text)
        self.assertRaises(FormatError, value, "COMMON_DURATION(DS_RX_BEG:DS_TX_END:hours)")

    def test_coalesce(self) -> None:
        """
        The first operator that has a value; a length cuts it. What is no list of operators is refused.
        """
        info = sampleStream()
        for text, expected in (
            ('{"operators": [{"command": "REQ", "param": "x-none"}, "ROUTE_NAME"]}', "r1"),
            ('{"operators": [{"command": "REQ", "param": "user-agent", "max_length": 3}]}', "cur"),
            ('{"operators": ["RESPONSE_CODE"]}', 200),
            ('{"operators": [{"command": "REQ", "param": "x-none"}]}', None),
        ):
            self.assertEqual(value(f"COALESCE({text})", info), expected)
        self.assertEqual(value('COALESCE({"operators": ["RESPONSE_CODE"]}):1', info), "2")
        for text in ("", "{}", "[]", '{"operators": []}', '{"operators": [1]}', '{"operators": [{"param": "x"}]}', "{"):
            self.assertRaises(FormatError, value, f"COALESCE({text})", info)
        self.assertRaises(FormatError, value, 'COALESCE({"operators": ["NONE"]})', info)

    def test_backwards(self) -> None:
        """
        Between points that came in the other order there is no time.
        """
        self.assertIsNone(value("COMMON_DURATION(DS_TX_END:DS_RX_BEG:ms)", sampleStream()))

    def test_allOfAnEmptyStream(self) -> None:
        """
        No operator fails on a stream of which nothing is known.
        """
        parameters = {"METADATA": "(ROUTE:x)", "COMMON_DURATION": "(DS_RX_BEG:DS_TX_END:ms)"}
        parameters["COALESCE"] = '({"operators": ["DURATION", {"command": "REQ", "param": "x"}]})'
        needing = {"REQ", "REQUEST_HEADER", "RESP", "RESPONSE_HEADER", "TRAILER", "RESPONSE_TRAILER", "QUERY_PARAM"}
        needing |= {"REQ_WITHOUT_QUERY", "DYNAMIC_METADATA", "CLUSTER_METADATA", "UPSTREAM_METADATA", "FILTER_STATE"}
        needing |= {"UPSTREAM_FILTER_STATE"}
        needing |= {"ENVIRONMENT"}
        parameters["XFCC_VALUE"] = "(uri)"
        parameters |= {"CEL": "(request.headers.x)", "TYPED_CEL": "(request.time)"}
        for name in OPERATORS:
            value(name + parameters.get(name, "(x)" if name in needing else ""), StreamInfo())
