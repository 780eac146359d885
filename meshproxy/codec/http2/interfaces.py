# -*- test-case-name: tests.codec.http2.test_interfaces -*-
"""
What an HTTP/2 codec is told, and whom it tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from meshproxy.codec.http1.interfaces import ICount, UnderscoreAction
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

if TYPE_CHECKING:
    from meshproxy.codec.http2.stream import CodecStream

__all__ = [
    "Http2Counters",
    "Http2Options",
    "IConnectionSink",
    "IDownstreamSink",
    "IRequestStreamSink",
    "IResponseStreamSink",
]


class IConnectionSink(Interface):
    """
    Who is told what concerns a whole connection.
    """

    def goAwayReceived(lastStreamId: int, code: int, debug: bytes) -> None:
        """
        The peer will begin no streams (as a client), or serve none after C{lastStreamId} (as a server). An upstream
        codec has reset those that the peer does not serve, with C{REFUSED_STREAM}, before it tells this.
        """

    def settingsReceived() -> None:
        """
        The peer's settings came, or changed: more or fewer streams may be begun.
        """

    def pingAnswered(opaque: bytes) -> None:
        """
        The answer to C{sendPing} came.
        """


class IDownstreamSink(IConnectionSink):
    """
    Where a L{DownstreamCodec<meshproxy.codec.http2.DownstreamCodec>} tells of requests.
    """

    def requestReceived(stream: CodecStream, headers: RequestHeaders, endStream: bool) -> None:
        """
        The head of a request came. Set C{stream.sink}, an L{IRequestStreamSink}, unless C{endStream} is true and nobody
        cares for a reset.

        @param headers: The caller's to keep and to change.
        """

    def callReceived(stream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        """
        A request came whole, head and body at once: the same as C{requestReceived(stream, headers, False)} and
        C{stream.sink.dataReceived(message, True)}. The codec may tell either.

        @param message: At least one byte.

        @return: Whether all of it was taken. Where only the head was, as by C{requestReceived}, the codec tells of the
            body as if it came now.
        """

    def requestRefused(streamId: int, headers: RequestHeaders | None, error: RemoteProtocolError) -> None:
        """
        A head came that is malformed or too long. The stream was reset, or the connection is about to fail.

        @param headers: What could be read of it, or L{None}.
        """


class IRequestStreamSink(Interface):
    """
    Where one stream's events go to.
    """

    def dataReceived(data: bytes, endStream: bool) -> None:
        """
        A piece of the body came. It is credited to the peer when this returns, or, when the stream's reading is paused,
        as soon as it is resumed.

        @param data: Empty only where there is nothing but the end to tell.
        """

    def trailersReceived(trailers: HeaderMap) -> None:
        """
        Trailers came; they end the message.
        """

    def metadataReceived(fields: list[tuple[bytes, bytes]]) -> None:
        """
        METADATA came, where the options allow it: pairs that are no part of the message.
        """

    def streamReset(code: int, isRemote: bool, why: str) -> None:
        """
        The stream is over before its end: the peer reset it, or sent what it may not.
        """

    def pauseSending() -> None:
        """
        More waits to be sent than is to be kept: the peer gives no credit, or does not read.
        """

    def resumeSending() -> None:
        """
        Enough of it was sent.
        """


class IResponseStreamSink(IRequestStreamSink):
    """
    Where the events of a request go to that an L{UpstreamCodec<meshproxy.codec.http2.UpstreamCodec>} sent.
    """

    def informationalReceived(headers: ResponseHeaders) -> None:
        """
        A response before the response came: 100, 102, 103 ..., never 101.
        """

    def responseReceived(headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response came. Where an upgrade was asked for and accepted it has status 101.
        """

    def wholeReceived(headers: ResponseHeaders, body: bytes) -> None:
        """
        A whole response came at once: the same as C{responseReceived(headers, False)} and
        C{dataReceived(body, True)}. The codec may tell either.

        @param body: At least one byte.
        """

    takesAnswer = Attribute("Whether L{answerReceived} may be told now; L{USUAL} where of usual answers alone.")

    def answerReceived(headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        A whole response with trailers came at once: the same as C{responseReceived(headers, False)},
        C{dataReceived(body, False)} and C{trailersReceived(trailers)}. The codec may tell either.

        @param body: At least one byte.
        """


class _Count:
    """
    A count that nobody reads.
    """

    def __init__(self) -> None:
        self.value = 0


class Http2Counters:
    """
    What a codec counts, as Envoy names it below C{http2.}.
    """

    names = {
        "droppedHeadersWithUnderscores": "dropped_headers_with_underscores",
        "goawaySent": "goaway_sent",
        "headerListSizeTooLarge": "header_list_size_too_large",
        "headerOverflow": "header_overflow",
        "inboundEmptyFramesFlood": "inbound_empty_frames_flood",
        "inboundPriorityFramesFlood": "inbound_priority_frames_flood",
        "inboundWindowUpdateFramesFlood": "inbound_window_update_frames_flood",
        "keepaliveTimeout": "keepalive_timeout",
        "metadataEmptyFrames": "metadata_empty_frames",
        "outboundControlFlood": "outbound_control_flood",
        "outboundFlood": "outbound_flood",
        "requestsRejectedWithUnderscoresInHeaders": "requests_rejected_with_underscores_in_headers",
        "rxMessagingError": "rx_messaging_error",
        "rxReset": "rx_reset",
        "streamRefusedErrors": "stream_refused_errors",
        "trailers": "trailers",
        "txFlushTimeout": "tx_flush_timeout",
        "txReset": "tx_reset",
    }
    """Each counter's attribute, and its name in the stats."""

    droppedHeadersWithUnderscores: ICount
    goawaySent: ICount
    headerListSizeTooLarge: ICount
    headerOverflow: ICount
    inboundEmptyFramesFlood: ICount
    inboundPriorityFramesFlood: ICount
    inboundWindowUpdateFramesFlood: ICount
    outboundControlFlood: ICount
    outboundFlood: ICount
    requestsRejectedWithUnderscoresInHeaders: ICount
    rxMessagingError: ICount
    rxReset: ICount
    streamRefusedErrors: ICount
    trailers: ICount
    txFlushTimeout: ICount
    txReset: ICount
    keepaliveTimeout: ICount
    metadataEmptyFrames: ICount
    pendingSendBytes: ICount
    streamsActive: ICount

    gauges = {"pendingSendBytes": "pending_send_bytes", "streamsActive": "streams_active"}
    """The same of gauges."""

    def __init__(self, metrics: Mapping[str, ICount] | None = None) -> None:
        """
        @param metrics: By the names of the stats; those that are missing are not read by anybody.
        """
        for attribute, name in {**self.names, **self.gauges}.items():
            setattr(self, attribute, (metrics or {}).get(name) or _Count())


@dataclass(frozen=True, slots=True)
class Http2Options:
    """
    Settings of a codec, compiled once and shared by its connections. Where Envoy has a field, the name and the default
    are of its C{Http2ProtocolOptions}.

    @ivar maxHeadBytes: The most bytes of a head, and of the trailers, decoded: C{max_request_headers_kb}, or
        C{max_response_headers_kb} for an upstream codec.
    @ivar maxHeaderCount: The most fields of a head, and of the trailers (C{max_headers_count}).
    @ivar hpackTableSize: Of both dynamic tables.
    @ivar maxConcurrentStreams: How many streams the peer may have open; of an upstream codec, how many this side
        has open at most.
    @ivar initialStreamWindow: What the peer may send on a stream before it is credited more.
    @ivar initialConnectionWindow: The same for all streams together.
    @ivar allowConnect: Extended CONNECT (RFC 8441).
    @ivar maxOutboundFrames: How many frames may wait for a peer that does not read.
    @ivar maxOutboundControlFrames: The same of answers: acknowledgements and resets.
    @ivar maxEmptyFrames: How many frames in a row may carry nothing and end nothing.
    @ivar maxPriorityFrames: How many PRIORITY frames there may be for each stream.
    @ivar maxWindowUpdates: How many WINDOW_UPDATE frames there may be for each DATA frame sent.
    @ivar streamErrorOnInvalidMessage: C{override_stream_error_on_invalid_http_message}: a malformed message ends its
        stream and not its connection.
    @ivar underscores: What to do with requests whose field names have underscores.
    @ivar sendBufferLimit: How many unsent bytes of a stream pause who sends them.
    @ivar customSettings: C{custom_settings_parameters}, sent after the others.
    @ivar huffman: C{enable_huffman_encoding}: whether strings that are sent may be Huffman-coded.
    @ivar allowMetadata: Whether METADATA frames are read and sent.
    @ivar maxMetadataBytes: How long a block of them may be, decoded; and how many bytes of them may wait for their end,
        or to be sent.
    @ivar streamResetBurst: How many streams a client may reset at once, and C{streamResetRate} how many in a second
        after that. Whoever has the codec sees to it: the codec knows no time.
    """

    maxHeadBytes: int = 60 * 1024
    maxHeaderCount: int = 100
    hpackTableSize: int = 4096
    maxConcurrentStreams: int = 1024
    initialStreamWindow: int = 16 * 1024 * 1024
    initialConnectionWindow: int = 24 * 1024 * 1024
    allowConnect: bool = False
    maxOutboundFrames: int = 10000
    maxOutboundControlFrames: int = 1000
    maxEmptyFrames: int = 1
    maxPriorityFrames: int = 100
    maxWindowUpdates: int = 10
    streamErrorOnInvalidMessage: bool = False
    underscores: UnderscoreAction = UnderscoreAction.ALLOW
    sendBufferLimit: int = 1024 * 1024
    customSettings: tuple[tuple[int, int], ...] = ()
    huffman: bool = True
    streamResetBurst: int = 1000
    streamResetRate: float = 33.0
    allowMetadata: bool = False
    maxMetadataBytes: int = 1024 * 1024
