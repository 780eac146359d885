"""
Tests for L{meshproxy.http.settings}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.codec.http1 import Http1Options, UnderscoreAction
from meshproxy.codec.http2 import Http2Options
from meshproxy.config import Section
from meshproxy.headers import RequestHeaders
from meshproxy.http.requestheaders import ForwardingSettings
from meshproxy.http.settings import ManagerSettings, compileManagerSettings
from meshproxy.net.address import Address

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def settingsOf(**fields: Any) -> ManagerSettings:
    """
    The settings of a connection manager in a proxy whose node is C{n} of C{c}.
    """
    section = Section.of(MANAGER, {"stat_prefix": "p", **fields})
    settings = compileManagerSettings(section, 1024, "n", "c")
    section.report.raiseIfAny()
    return settings


class ManagerSettingsTests(SynchronousTestCase):
    """
    L{compileManagerSettings} reads what is configured.
    """

    def assertSetting(self, expected: dict[str, object], **fields: Any) -> None:
        """
        Some fields give these settings, each of which has another default.
        """
        settings, defaults = settingsOf(**fields), settingsOf()
        for name, value in expected.items():
            self.assertEqual(getattr(settings, name), value, name)
            self.assertNotEqual(getattr(defaults, name), value, name)

    def test_defaults(self) -> None:
        """
        Where nothing is said, everything is as Envoy has it; the class's own defaults agree.
        """
        expected = ManagerSettings(
            statPrefix="p",
            bufferLimit=1024,
            http2=Http2Options(sendBufferLimit=1024),
            forwarding=ForwardingSettings(serviceNode=b"n"),
        )
        self.assertEqual(settingsOf(), expected)

    def test_times(self) -> None:
        """
        Each time is its own field's.
        """
        common = {"idle_timeout": "1s", "max_connection_duration": "2s", "max_stream_duration": "3s"}
        self.assertSetting(
            {"idleTimeout": 1.0, "maxConnectionDuration": 2.0, "maxStreamDuration": 3.0},
            common_http_protocol_options=common,
        )
        self.assertSetting(
            {
                "streamIdleTimeout": 4.0,
                "requestTimeout": 5.5,
                "requestHeadersTimeout": 6.0,
                "drainTimeout": 7.0,
                "delayedCloseTimeout": 8.0,
                "logInterval": 9.0,
            },
            stream_idle_timeout="4s",
            request_timeout="5.5s",
            request_headers_timeout="6s",
            drain_timeout="7s",
            delayed_close_timeout="8s",
            access_log_options={"access_log_flush_interval": "9s"},
        )

    def test_jitter(self) -> None:
        """
        By how much of itself a time may be longer.
        """
        self.assertSetting(
            {"maxConnectionDurationJitter": 0.25, "drainTimeoutJitter": 1.0},
            common_http_protocol_options={"max_connection_duration_jitter": {"value": 25}},
            drain_timeout_jitter={"value": 100},
        )

    def test_never(self) -> None:
        """
        0 switches a time off whose default is another.
        """
        settings = settingsOf(
            common_http_protocol_options={"idle_timeout": "0s"}, stream_idle_timeout="0s", delayed_close_timeout="0s"
        )
        times = (settings.idleTimeout, settings.streamIdleTimeout, settings.delayedCloseTimeout)
        self.assertEqual(times, (0.0, 0.0, 0.0))

    def test_plain(self) -> None:
        """
        Fields that are taken as they are.
        """
        self.assertSetting(
            {
                "serverName": b"me",
                "serverHeader": "PASS_THROUGH",
                "via": b"1.1 me",
                "maxRequestsPerConnection": 3,
                "alwaysSetRequestId": True,
                "proxy100Continue": True,
                "flushLogOnNewRequest": True,
            },
            server_name="me",
            server_header_transformation="PASS_THROUGH",
            via="1.1 me",
            common_http_protocol_options={"max_requests_per_connection": 3},
            always_set_request_id_in_response=True,
            proxy_100_continue=True,
            access_log_options={"flush_access_log_on_new_request": True},
        )

    def test_codec(self) -> None:
        """
        What the codec is told.
        """
        settings = settingsOf(
            max_request_headers_kb=2,
            common_http_protocol_options={"max_headers_count": 7, "headers_with_underscores_action": "DROP_HEADER"},
            http_protocol_options={
                "allow_absolute_url": False,
                "accept_http_10": True,
                "default_host_for_http_10": "h",
                "enable_trailers": True,
                "allow_chunked_length": True,
                "header_key_format": {"proper_case_words": {}},
            },
        )
        expected = Http1Options(
            maxHeadBytes=2048,
            maxHeaderCount=7,
            allowAbsoluteURL=False,
            acceptHTTP10=True,
            defaultHost=b"h",
            enableTrailers=True,
            allowChunkedLength=True,
            properCase=True,
            underscores=UnderscoreAction.DROP,
        )
        self.assertEqual(settings.http1, expected)

    def test_forwarding(self) -> None:
        """
        What concerns the request's head; node and cluster are told only with C{add_user_agent}.
        """
        found = settingsOf(
            use_remote_address=True,
            xff_num_trusted_hops=2,
            skip_xff_append=True,
            append_x_forwarded_port=True,
            generate_request_id=False,
            preserve_external_request_id=True,
            add_user_agent=True,
            via="v",
        ).forwarding
        expected = ForwardingSettings(
            True, 2, True, True, False, True, None, serviceCluster=b"c", serviceNode=b"n", via=b"v"
        )
        self.assertEqual(found, expected)

    def test_scheme(self) -> None:
        """
        A scheme that is told wins over the upstream's.
        """
        for fields, matches, scheme in (
            ({}, False, b""),
            ({"match_upstream": True}, True, b""),
            ({"match_upstream": True, "scheme_to_overwrite": "https"}, False, b"https"),
        ):
            found = settingsOf(scheme_header_transformation=fields)
            self.assertEqual((found.matchesUpstream, found.forwarding.scheme), (matches, scheme))

    def test_internalAddresses(self) -> None:
        """
        Internal is who is in one of the ranges; where none is named, who has a private address, as in Envoy. Without
        the message nobody is.
        """
        ranges = [{"address_prefix": "10.0.0.0", "prefix_len": 8}, {"address_prefix": "2001:db8::", "prefix_len": 32}]
        isInternal = settingsOf(internal_address_config={"cidr_ranges": ranges}).forwarding.isInternal
        assert isInternal is not None
        found = [isInternal(text) for text in ("10.1.2.3", "2001:db8::1", "192.0.2.1", "2001:db9::1")]
        self.assertEqual(found, [True, True, False, False])
        self.assertIsNone(settingsOf().forwarding.isInternal)
        isPrivate = settingsOf(internal_address_config={}).forwarding.isInternal
        assert isPrivate is not None
        private = "10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 ::1 fd00::1"
        self.assertEqual([text for text in private.split() if not isPrivate(text)], [])
        public = "11.0.0.1 172.32.0.1 172.15.0.1 192.169.0.1 127.0.0.2 ::2 fc00::1 ::ffff:10.1.2.3 /run/socket"
        self.assertEqual([text for text in public.split() if isPrivate(text)], [])
        for isSet in (False, True):
            forwarding = settingsOf(internal_address_config={"unix_sockets": isSet}).forwarding
            self.assertEqual(forwarding.areUnixSocketsInternal, isSet)

    def test_streamErrors(self) -> None:
        """
        HTTP/1's own field has the last word on whether a connection outlives a broken message.
        """
        name = "override_stream_error_on_invalid_http_message"
        cases = ((True, None, True), (True, False, False), (False, True, True), (None, None, False))
        for general, own, expected in cases:
            fields: dict[str, Any] = {} if general is None else {"stream_error_on_invalid_http_message": general}
            if own is not None:
                fields["http_protocol_options"] = {name: own}
            self.assertIs(settingsOf(**fields).streamErrorOnInvalid, expected, (general, own))

    def test_upgrades(self) -> None:
        """
        Upgrade types are told apart without regard to case, and may be switched off.
        """
        configured = [{"upgrade_type": "WebSocket"}, {"upgrade_type": "CONNECT", "enabled": False}]
        self.assertEqual(settingsOf(upgrade_configs=configured).upgrades, {b"websocket": True, b"connect": False})

    def test_normalization(self) -> None:
        """
        Paths are left alone unless a field says otherwise, and then brought in order as it says.
        """
        self.assertIsNone(settingsOf().normalizePath)
        self.assertIsNone(settingsOf(path_with_escaped_slashes_action="KEEP_UNCHANGED").normalizePath)
        for fields, path, expected in (
            ({"normalize_path": True}, b"/a/../b", b"/b"),
            ({"merge_slashes": True}, b"//a", b"/a"),
            ({"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"}, b"/a%2fb", b"/a/b"),
        ):
            normalize = settingsOf(**fields).normalizePath
            assert normalize is not None
            self.assertEqual(normalize(path), expected)


class StripAuthorityTests(SynchronousTestCase):
    """
    What is taken from the authority before a route is chosen.
    """

    def strip(self, authority: bytes, *fields: str, port: int | None = 8080) -> bytes:
        """
        What is left of an authority at a listener on port 8080.
        """
        connection = ConnectionInfo()
        connection.localAddress = Address("192.0.2.1" if port is not None else "/run/socket", port)
        headers = RequestHeaders(b"GET", b"/", authority)
        compiled = settingsOf(**dict.fromkeys(fields, True)).stripAuthority
        assert compiled is not None
        compiled(headers, connection)
        return headers.authority

    def test_nothing(self) -> None:
        """
        Without any of the fields there is nothing to call.
        """
        self.assertIsNone(settingsOf().stripAuthority)

    def test_anyPort(self) -> None:
        """
        Any port goes, and nothing else that has colons.
        """
        for authority, left in (
            (b"a:1", b"a"),
            (b"a", b"a"),
            (b"[2001:db8::1]:80", b"[2001:db8::1]"),
            (b"[2001:db8::1]", b"[2001:db8::1]"),
            (b"a:", b"a:"),
            (b"a:x", b"a:x"),
        ):
            self.assertEqual(self.strip(authority, "strip_any_host_port"), left)

    def test_matchingPort(self) -> None:
        """
        Only the listener's own port goes, in the usual way to write it; at a unix socket there is none.
        """
        for authority, left in ((b"a:8080", b"a"), (b"a:80", b"a:80"), (b"a:08080", b"a:08080")):
            self.assertEqual(self.strip(authority, "strip_matching_host_port"), left)
        self.assertEqual(self.strip(b"a:8080", "strip_matching_host_port", port=None), b"a:8080")

    def test_trailingDot(self) -> None:
        """
        One dot at the end of the host goes, before a port as well.
        """
        for authority, left in ((b"a.", b"a"), (b"a.:80", b"a:80"), (b"a..", b"a."), (b"a", b"a")):
            self.assertEqual(self.strip(authority, "strip_trailing_host_dot"), left)

    def test_together(self) -> None:
        """
        The dot goes with the port.
        """
        self.assertEqual(self.strip(b"a.:80", "strip_any_host_port", "strip_trailing_host_dot"), b"a")
