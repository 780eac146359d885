"""
Tests for L{meshproxy.accesslog.logs}.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.files import LogFiles
from meshproxy.accesslog.logs import (
    AccessLogContext,
    AccessLogs,
    checkFormatters,
    compileAccessLogs,
    compileFormatString,
)
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config import Section
from meshproxy.net.turn import turn
from meshproxy.stats import Store
from tests.accesslog.streams import sampleStream

TYPES = "type.googleapis.com/envoy.extensions.access_loggers."
FORMAT = "envoy.config.core.v3.SubstitutionFormatString"


class LogTests(SynchronousTestCase):
    """
    L{compileAccessLogs} makes logs of their configuration.
    """

    def setUp(self) -> None:
        self.files = LogFiles(Clock(), Store().scope("filesystem."), maybeDeferred)
        self.addCleanup(self.files.close)
        self.path = Path(self.mktemp())
        self.report: list[str] = []

    def compile(self, *logs: Mapping[str, object]) -> AccessLogs:
        """
        Compile some logs; faults go to C{self.report}.
        """
        sections = [Section.of("envoy.config.accesslog.v3.AccessLog", log) for log in logs]
        compiled = compileAccessLogs(sections, AccessLogContext(self.files))
        self.report = [f"{error.path}: {error.why}" for section in sections for error in section.report.errors]
        return compiled

    def file(self, **fields: object) -> dict[str, object]:
        """
        A file's configuration.
        """
        return {"@type": TYPES + "file.v3.FileAccessLog", "path": str(self.path), **fields}

    def written(self, *logs: Mapping[str, object]) -> str:
        """
        What some logs write of the sample stream.
        """
        compiled = self.compile(*logs)
        self.assertEqual(self.report, [])
        compiled.log(sampleStream(), "DownstreamEnd")
        self.successResultOf(compiled.close())
        return self.path.read_text()

    def test_default(self) -> None:
        """
        Without a format, Envoy's.
        """
        self.assertIn('HTTP/1.1" 200 - 7 1234 30', self.written({"typed_config": self.file()}))

    def test_formats(self) -> None:
        """
        Each way to give a format.
        """
        cases: list[tuple[dict[str, object], str]] = [
            ({"format": "%RESPONSE_CODE%\n"}, "200\n"),
            ({"json_format": {"a": "%RESPONSE_CODE%"}}, '{"a":200}\n'),
            ({"typed_json_format": {"a": "%RESPONSE_CODE%"}}, '{"a":200}\n'),
            ({"log_format": {"text_format": "%PROTOCOL% %REQ(x)%\n"}}, "HTTP/1.1 -\n"),
            ({"log_format": {"text_format_source": {"inline_string": "%ACCESS_LOG_TYPE%\n"}}}, "DownstreamEnd\n"),
            ({"log_format": {"json_format": {"a": "%REQ(x)%"}, "omit_empty_values": True}}, "{}\n"),
        ]
        for fields, expected in cases:
            self.assertEqual(self.written({"typed_config": self.file(**fields)}), expected)
            self.path.unlink()

    def test_filtered(self) -> None:
        """
        A filter decides on each stream.
        """
        comparison = {"op": "GE", "value": {"default_value": 500, "runtime_key": "k"}}
        log = {
            "filter": {"status_code_filter": {"comparison": comparison}},
            "typed_config": self.file(format="%RESPONSE_CODE%\n"),
        }
        compiled = self.compile(log)
        for code in (200, 503):
            info = StreamInfo()
            info.responseCode = code
            compiled.log(info, "DownstreamEnd")
        compiled.close()
        self.assertEqual(self.path.read_text(), "503\n")

    def test_several(self) -> None:
        """
        Two logs of one file keep their lines whole and in order.
        """
        self.assertEqual(
            self.written({"typed_config": self.file(format="a\n")}, {"typed_config": self.file(format="b\n")}), "a\nb\n"
        )

    def test_endedWithinATurn(self) -> None:
        """
        Streams that end within a turn of the reactor are logged at its end, in order, and at once outside of one;
        nothing is lost where the logs are closed before.
        """
        config = self.file(log_format={"text_format_source": {"inline_string": "%BYTES_SENT% "}})
        logs = self.compile({"typed_config": config})

        def end(sent: int) -> None:
            info = sampleStream()
            info.bytesSent = sent
            logs.logEnd(info)

        def lines() -> str:
            self.files.flush()
            return self.path.read_text()

        end(1)
        self.assertEqual(lines(), "1 ")
        turn.active = True
        end(2)
        end(3)
        self.assertEqual(lines(), "1 ")
        turn.end()
        self.assertEqual(lines(), "1 2 3 ")
        turn.active = True
        end(4)
        logs.close()
        turn.end()
        self.assertEqual(self.path.read_text(), "1 2 3 4 ")

    def test_none(self) -> None:
        """
        No logs are false, and take lines all the same.
        """
        logs = self.compile()
        self.assertFalse(logs)
        logs.log(StreamInfo(), "DownstreamEnd")
        self.successResultOf(logs.close())

    def test_standardStreams(self) -> None:
        """
        Standard output and error.
        """
        logs = self.compile(
            {"typed_config": {"@type": TYPES + "stream.v3.StdoutAccessLog"}},
            {"typed_config": {"@type": TYPES + "stream.v3.StderrAccessLog", "log_format": {"text_format": "x"}}},
        )
        self.assertTrue(logs)
        self.assertEqual(self.report, [])

    def test_faults(self) -> None:
        """
        Each fault has its path; the log is left out.
        """
        other = "type.googleapis.com/envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig"
        wrong = {**self.file(format="x"), "path": str(self.path / "none" / "x")}
        logs = self.compile(
            {},
            {"typed_config": {"@type": other, "cluster": "c"}},
            {"typed_config": wrong},
            {"typed_config": self.file(format="%NOPE%")},
            {"typed_config": self.file(log_format={"json_format": {"a": "%NOPE%"}})},
        )
        logs.close()
        self.assertEqual(len(self.report), 5)
        self.assertIn("an access log needs a typed_config", self.report[0])
        self.assertIn("FluentdAccessLogConfig is not an access log", self.report[1])
        self.assertTrue(self.report[2].startswith(f"typed_config.path: cannot open {wrong['path']}"))
        self.assertTrue(self.report[3].startswith("typed_config.format: there is no operator %NOPE%"))
        self.assertTrue(self.report[4].startswith("typed_config.log_format.json_format: there is no operator"))


class FormatStringTests(SynchronousTestCase):
    """
    L{compileFormatString}, for local replies too.
    """

    def format(self, value: Mapping[str, object]) -> str:
        """
        The sample stream in a format.
        """
        return compileFormatString(Section.of(FORMAT, value)).format(sampleStream())

    def faults(self, value: Mapping[str, object]) -> list[str]:
        """
        What is wrong with a format.
        """
        section = Section.of(FORMAT, value)
        compileFormatString(section)
        return [f"{error.path}: {error.why}" for error in section.report.errors]

    def test_sources(self) -> None:
        """
        A text may come from a file, the environment, or bytes.
        """
        path = Path(self.mktemp())
        path.write_text("%PROTOCOL%!")
        os.environ["MESHPROXY_TEST_FORMAT"] = "%PROTOCOL%?"
        self.addCleanup(os.environ.pop, "MESHPROXY_TEST_FORMAT")
        self.assertEqual(self.format({"text_format_source": {"filename": str(path)}}), "HTTP/1.1!")
        self.assertEqual(
            self.format({"text_format_source": {"environment_variable": "MESHPROXY_TEST_FORMAT"}}), "HTTP/1.1?"
        )
        self.assertEqual(self.format({"text_format_source": {"inline_bytes": "JVBST1RPQ09MJQ=="}}), "HTTP/1.1")

    def test_missingSources(self) -> None:
        """
        What is not there is told.
        """
        (fault,) = self.faults({"text_format_source": {"filename": "/nonexistent/format"}})
        self.assertTrue(fault.startswith("text_format_source.filename: cannot read /nonexistent/format"))
        (fault,) = self.faults({"text_format_source": {"environment_variable": "MESHPROXY_TEST_NONE"}})
        self.assertTrue(fault.startswith("text_format_source.environment_variable: there is no environment variable"))

    def test_formatters(self) -> None:
        """
        Extensions whose operators are built in may be named; others are told.
        """
        known = {"@type": "type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"}
        self.assertEqual(
            self.format(
                {
                    "text_format": "%REQ_WITHOUT_QUERY(:PATH)%",
                    "formatters": [{"name": "x", "typed_config": known}],
                }
            ),
            "/p%20q",
        )
        other = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
        (fault,) = self.faults({"text_format": "x", "formatters": [{"name": "x", "typed_config": other}]})
        self.assertTrue(fault.startswith("formatters[0]: envoy.extensions.filters.http.router.v3.Router is not"))

    def test_secrets(self) -> None:
        """
        A formatter names secrets, for those who may show some; one that is not there is told once.
        """
        secret = {
            "@type": "type.googleapis.com/envoy.extensions.formatter.generic_secret.v3.GenericSecret",
            "secret_configs": {"a": {"name": "b"}},
        }
        form = {"text_format": "%SECRET(a)%", "formatters": [{"name": "x", "typed_config": secret}]}
        section = Section.of(FORMAT, form)
        found = compileFormatString(section, lambda held: lambda: held.get("name").encode())
        self.assertEqual((found.format(sampleStream()), section.report.errors), ("b", []))
        compileFormatString(section, lambda held: held.refuse("none", "name"))
        paths = [error.path for error in section.report.errors]
        self.assertEqual(paths, ['formatters[0].typed_config.secret_configs["a"].name'])
        faults = self.faults(form)
        self.assertTrue(faults[0].startswith("formatters[0]: secrets cannot be shown here"))

    def test_expressions(self) -> None:
        """
        A formatter says what expressions may hold, of texts and of JSON; where it cannot, it must say nothing.
        """
        cel = {
            "@type": "type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel",
            "cel_config": {"enable_string_functions": True},
        }
        more = {"formatters": [{"name": "x", "typed_config": cel}]}
        shout = "%CEL('a'.upperAscii())%"
        self.assertEqual(self.format({"text_format": shout, **more}), "A")
        self.assertEqual(self.format({"json_format": {"a": shout}, **more}), '{"a":"A"}\n')
        self.assertEqual(self.format({"text_format_source": {"inline_string": shout}, **more}), "A")
        (fault,) = self.faults({"text_format": shout})
        self.assertIn("enable_string_functions", fault)
        section = Section.of(FORMAT, more)
        checkFormatters(section)
        self.assertEqual([error.path for error in section.report.errors], ["formatters"])
