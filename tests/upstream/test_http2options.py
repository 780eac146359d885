"""
L{meshproxy.upstream.http2options}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1 import UnderscoreAction
from meshproxy.codec.http2 import Http2Counters, Http2Options
from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.http2options import (
    KeepaliveSettings,
    bindHttp2Counters,
    compileHttp2Options,
    compileKeepalive,
)

MESSAGE = "envoy.config.core.v3.Http2ProtocolOptions"


def optionsOf(streamErrors: bool = False, **fields: Any) -> Http2Options:
    """
    Compile options.
    """
    section = Section.of(MESSAGE, fields)
    made = compileHttp2Options(section, 60 * 1024, 100, 1 << 20, UnderscoreAction.ALLOW, streamErrors)
    section.report.raiseIfAny()
    return made


class OptionsTests(SynchronousTestCase):
    """
    L{compileHttp2Options}.
    """

    def test_defaults(self) -> None:
        """
        Where nothing is said they are the codec's, which are Envoy's.
        """
        self.assertEqual(optionsOf(), Http2Options())

    def test_all(self) -> None:
        """
        Each field has its place.
        """
        self.assertEqual(
            optionsOf(
                hpack_table_size=1,
                max_concurrent_streams=2,
                initial_stream_window_size=70000,
                initial_connection_window_size=80000,
                allow_connect=True,
                max_outbound_frames=5,
                max_outbound_control_frames=6,
                max_consecutive_inbound_frames_with_empty_payload=7,
                max_inbound_priority_frames_per_stream=8,
                max_inbound_window_update_frames_per_data_frame_sent=9,
                override_stream_error_on_invalid_http_message=True,
                custom_settings_parameters=[{"identifier": 99, "value": 10}],
            ),
            Http2Options(
                hpackTableSize=1,
                maxConcurrentStreams=2,
                initialStreamWindow=70000,
                initialConnectionWindow=80000,
                allowConnect=True,
                maxOutboundFrames=5,
                maxOutboundControlFrames=6,
                maxEmptyFrames=7,
                maxPriorityFrames=8,
                maxWindowUpdates=9,
                streamErrorOnInvalidMessage=True,
                customSettings=((99, 10),),
            ),
        )

    def test_streamErrors(self) -> None:
        """
        The newest of the three fields that say it counts.
        """
        self.assertTrue(optionsOf(True).streamErrorOnInvalidMessage)
        self.assertTrue(optionsOf(stream_error_on_invalid_http_messaging=True).streamErrorOnInvalidMessage)
        made = optionsOf(True, override_stream_error_on_invalid_http_message=False)
        self.assertFalse(made.streamErrorOnInvalidMessage)

    def test_customSettings(self) -> None:
        """
        A setting that has a field of its own is refused, with its place.
        """
        section = Section.of(MESSAGE, {"custom_settings_parameters": [{"identifier": 3, "value": 1}]})
        compileHttp2Options(section, 1, 1, 1)
        self.assertEqual([error.path for error in section.report.errors], ["custom_settings_parameters[0].identifier"])

    def test_keepalive(self) -> None:
        """
        C{connection_keepalive}, and none.
        """
        self.assertIsNone(compileKeepalive(Section.of(MESSAGE, {})))
        fields = {"interval": "10s", "timeout": "2s", "interval_jitter": {"value": 50.0}}
        made = compileKeepalive(Section.of(MESSAGE, {"connection_keepalive": fields}))
        self.assertEqual(made, KeepaliveSettings(10.0, 2.0, 0.5))
        fields = {"timeout": "2s", "connection_idle_interval": "7s"}
        made = compileKeepalive(Section.of(MESSAGE, {"connection_keepalive": fields}))
        self.assertEqual(made, KeepaliveSettings(0.0, 2.0, 0.15, 7.0))

    def test_counters(self) -> None:
        """
        Every counter and gauge of a codec is a metric.
        """
        store = Store()
        counters = bindHttp2Counters(store.scope("http2."))
        for attribute in Http2Counters.names | Http2Counters.gauges:
            getattr(counters, attribute).value += 1
        names = {metric.name: metric.value for metric in store.metrics()}  # type: ignore[attr-defined]
        expected = [*Http2Counters.names.values(), *Http2Counters.gauges.values()]
        self.assertEqual(names, {f"http2.{name}": 1 for name in expected})
