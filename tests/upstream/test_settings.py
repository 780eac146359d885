"""
L{meshproxy.upstream.settings}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.settings import ClusterSettings, compileSettings
from tests.upstream.support import clusterSection

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def settings(**fields: Any) -> ClusterSettings:
    """
    Compile them.
    """
    section = clusterSection("192.0.2.1", **fields)
    made = compileSettings(section)
    section.report.raiseIfAny()
    return made


def options(**fields: Any) -> ClusterSettings:
    """
    Those of C{typed_extension_protocol_options}.
    """
    typed = {"@type": f"type.googleapis.com/{_OPTIONS}", **fields}
    return settings(typed_extension_protocol_options={_OPTIONS: typed})


class SettingsTests(SynchronousTestCase):
    """
    What is configured about a cluster's connections.
    """

    def test_defaults(self) -> None:
        """
        Envoy's defaults.
        """
        made = settings()
        self.assertEqual((made.connectTimeout, made.bufferLimit, made.idleTimeout), (5.0, 1 << 20, 3600.0))
        self.assertEqual((made.maxConnectionDuration, made.maxRequestsPerConnection), (0.0, 0))
        self.assertIsNone(made.socketOptions.keepalive)
        self.assertEqual((made.http1.maxHeaderCount, made.http1.maxHeadBytes), (100, 80 * 1024))
        self.assertFalse(made.http1.enableTrailers)

    def test_cluster(self) -> None:
        """
        Fields of the cluster itself, the old ones for HTTP included.
        """
        made = settings(
            connect_timeout="0.25s",
            per_connection_buffer_limit_bytes=4096,
            max_requests_per_connection=3,
            common_http_protocol_options={"idle_timeout": "9s", "max_connection_duration": "60s"},
            http_protocol_options={"enable_trailers": True},
            upstream_connection_options={"tcp_keepalive": {"keepalive_probes": 2, "keepalive_time": 30}},
        )
        self.assertEqual((made.connectTimeout, made.bufferLimit), (0.25, 4096))
        self.assertEqual((made.idleTimeout, made.maxConnectionDuration), (9.0, 60.0))
        self.assertEqual(made.maxRequestsPerConnection, 3)
        self.assertTrue(made.http1.enableTrailers)
        self.assertEqual(made.socketOptions.keepalive, (2, 30, 0))

    def test_typedOptions(self) -> None:
        """
        The typed options have the last word.
        """
        made = options(
            common_http_protocol_options={
                "idle_timeout": "3s",
                "max_headers_count": 7,
                "max_response_headers_kb": 2,
                "max_requests_per_connection": 5,
            },
            explicit_http_config={"http_protocol_options": {"enable_trailers": True}},
        )
        self.assertEqual((made.idleTimeout, made.maxRequestsPerConnection), (3.0, 5))
        self.assertEqual((made.http1.maxHeaderCount, made.http1.maxHeadBytes), (7, 2048))
        self.assertTrue(made.http1.enableTrailers)

    def test_never(self) -> None:
        """
        An idle time-out of 0 is none.
        """
        common = {"idle_timeout": "0s"}
        explicit: dict[str, Any] = {"http_protocol_options": {}}
        made = options(common_http_protocol_options=common, explicit_http_config=explicit)
        self.assertEqual(made.idleTimeout, 0.0)

    def test_streamDuration(self) -> None:
        """
        How long a try may take.
        """
        explicit: dict[str, Any] = {"http_protocol_options": {}}
        made = options(common_http_protocol_options={"max_stream_duration": "1.5s"}, explicit_http_config=explicit)
        self.assertEqual(made.maxStreamDuration, 1.5)

    def test_bindAddresses(self) -> None:
        """
        There may be one more, for the other version of IP; Envoy's older field says the same.
        """
        first, other = {"address": "192.0.2.1", "port_value": 0}, {"address": "::1", "port_value": 0}
        for more, errors in (
            ({"extra_source_addresses": [{"address": other}]}, 0),
            ({"additional_source_addresses": [other]}, 0),
            ({"extra_source_addresses": [{"address": first}]}, 1),
            ({"extra_source_addresses": [{"address": other}, {"address": other}]}, 1),
            ({"extra_source_addresses": [{"address": other}], "additional_source_addresses": [other]}, 2),
        ):
            section = clusterSection("192.0.2.1", upstream_bind_config={"source_address": first, **more})
            binds = compileSettings(section).socketOptions.binds
            self.assertEqual(len(section.report.errors), errors, more)
            self.assertEqual([bind.address.text for bind in binds[:1] if bind.address], ["192.0.2.1:0"])
        alone = clusterSection("192.0.2.1", upstream_bind_config={"extra_source_addresses": [{"address": other}]})
        compileSettings(alone)
        self.assertEqual(len(alone.report.errors), 1)

    def test_freebind(self) -> None:
        """
        An address may be one that this machine does not have yet, and its socket have options of its own.
        """
        option = {"level": 1, "name": 9, "int_value": 1}
        bind = {
            "source_address": {"address": "192.0.2.1", "port_value": 0},
            "freebind": True,
            "socket_options": [option],
        }
        (made,) = compileSettings(clusterSection("192.0.2.1", upstream_bind_config=bind)).socketOptions.binds
        self.assertTrue(made.options.freebind)
        self.assertEqual(made.options.prebind, ((1, 9, 1),))

    def test_bindAddress(self) -> None:
        """
        Where connections come from: an IP address.
        """
        for host, expected in (("192.0.2.1", "192.0.2.1:7"), ("::1", "[::1]:7"), ("a.example", None)):
            source = {"address": host, "port_value": 7}
            section = clusterSection("192.0.2.1", upstream_bind_config={"source_address": source})
            bound = compileSettings(section).socketOptions.bindAddress
            self.assertEqual(None if bound is None else bound.text, expected)
            self.assertEqual(bool(section.report.errors), expected is None)
