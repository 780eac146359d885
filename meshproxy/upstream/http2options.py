# -*- test-case-name: tests.upstream.test_http2options -*-
"""
What C{Http2ProtocolOptions} says, for both sides of the proxy.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.codec.http1 import UnderscoreAction
from meshproxy.codec.http2 import Http2Counters, Http2Options
from meshproxy.config import Section
from meshproxy.stats.store import Scope

__all__ = ["KeepaliveSettings", "bindHttp2Counters", "compileHttp2Options", "compileKeepalive"]

# RFC 9113, 6.5.2: what this program says itself, or may not say at all.
_OWN_SETTINGS = frozenset((1, 2, 3, 4, 8))


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """
    C{connection_keepalive}, in seconds; 0 for never.

    @ivar interval: How often a ping is sent.
    @ivar timeout: How long its answer may take.
    @ivar jitter: By which part of itself the interval is made longer at most.
    @ivar idleInterval: After which idleness a ping goes before the next request.
    """

    interval: float = 0.0
    timeout: float = 0.0
    jitter: float = 0.15
    idleInterval: float = 0.0


def compileHttp2Options(
    section: Section,
    maxHeadBytes: int,
    maxHeaderCount: int,
    bufferLimit: int,
    underscores: UnderscoreAction = UnderscoreAction.ALLOW,
    streamErrors: bool = False,
) -> Http2Options:
    """
    Options of a codec.

    @param section: C{Http2ProtocolOptions}.
    @param bufferLimit: The connection's.
    @param streamErrors: Whether a malformed message ends its stream only, unless the options say so themselves.
    """
    older = section.get("stream_error_on_invalid_http_messaging") or streamErrors
    return Http2Options(
        maxHeadBytes=maxHeadBytes,
        maxHeaderCount=maxHeaderCount,
        hpackTableSize=section.wrapped("hpack_table_size", 4096),
        maxConcurrentStreams=section.wrapped("max_concurrent_streams", 1024),
        initialStreamWindow=section.wrapped("initial_stream_window_size", 16 << 20),
        initialConnectionWindow=section.wrapped("initial_connection_window_size", 24 << 20),
        allowConnect=section.get("allow_connect"),
        maxOutboundFrames=section.wrapped("max_outbound_frames", 10000),
        maxOutboundControlFrames=section.wrapped("max_outbound_control_frames", 1000),
        maxEmptyFrames=section.wrapped("max_consecutive_inbound_frames_with_empty_payload", 1),
        maxPriorityFrames=section.wrapped("max_inbound_priority_frames_per_stream", 100),
        maxWindowUpdates=section.wrapped("max_inbound_window_update_frames_per_data_frame_sent", 10),
        streamErrorOnInvalidMessage=section.wrapped("override_stream_error_on_invalid_http_message", older),
        underscores=underscores,
        sendBufferLimit=bufferLimit,
        customSettings=_customSettings(section),
        huffman=section.wrapped("enable_huffman_encoding", True),
        streamResetBurst=section.wrapped("stream_reset_burst", 1000),
        streamResetRate=section.wrapped("stream_reset_rate", 33.0),
        allowMetadata=section.get("allow_metadata"),
        maxMetadataBytes=section.wrapped("max_metadata_size", 1 << 20),
    )


def _customSettings(section: Section) -> tuple[tuple[int, int], ...]:
    settings = []
    for child in section.children("custom_settings_parameters"):
        name = child.wrapped("identifier", 0)
        if name in _OWN_SETTINGS or not 0 < name < 1 << 16:
            child.refuse(f"{name} is not for custom settings: it has a field of its own, or is none", "identifier")
        settings.append((name, child.wrapped("value", 0)))
    return tuple(settings)


def compileKeepalive(section: Section) -> KeepaliveSettings | None:
    """
    C{connection_keepalive} of C{Http2ProtocolOptions}, or L{None} where nothing is to be sent.
    """
    keepalive = section.child("connection_keepalive")
    if keepalive is None:
        return None
    jitter = keepalive.child("interval_jitter")
    settings = KeepaliveSettings(
        keepalive.seconds("interval", 0.0) or 0.0,
        keepalive.seconds("timeout", 0.0) or 0.0,
        0.15 if jitter is None else jitter.get("value") / 100.0,
        keepalive.seconds("connection_idle_interval", 0.0) or 0.0,
    )
    return settings if settings.interval or settings.idleInterval else None


def bindHttp2Counters(scope: Scope) -> Http2Counters:
    """
    The counters of the codecs, under Envoy's names.

    @param scope: C{http2.}, or that of a cluster with C{http2.} at its end.
    """
    metrics: dict[str, object] = {name: scope.counter(name) for name in Http2Counters.names.values()}
    metrics |= {name: scope.gauge(name) for name in Http2Counters.gauges.values()}
    return Http2Counters(metrics)  # type: ignore[arg-type]  # counters and gauges both have a value
