# -*- test-case-name: tests.codec.http2.test_floods -*-
"""
Frames that cost the peer little and this side much: counted, as Envoy counts them
(C{source/common/http/http2/protocol_constraints.cc}).
"""

from __future__ import annotations

from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options

__all__ = ["Floods"]


class Floods:
    """
    The counts of one connection.

    @ivar emptyFrames: How many empty frames came in a row.
    @ivar why: What was exceeded.
    @ivar name: How the counter is named that counts it.
    @ivar outboundFrames: How many frames wait in this process, for a peer that does not read.
    @ivar outboundControlFrames: How many of them are answers that the peer can ask for at will.
    @ivar outboundDataFrames: How many DATA frames were ever sent.
    @ivar openedStreams: How many streams there ever were.
    """

    __slots__ = (
        "_counters",
        "_options",
        "_priorityFrames",
        "_windowUpdates",
        "emptyFrames",
        "name",
        "openedStreams",
        "outboundControlFrames",
        "outboundDataFrames",
        "outboundFrames",
        "why",
    )

    def __init__(self, options: Http2Options, counters: Http2Counters) -> None:
        self._options = options
        self._counters = counters
        self.emptyFrames = 0
        self._priorityFrames = 0
        self._windowUpdates = 0
        self.openedStreams = 0
        self.outboundFrames = 0
        self.outboundControlFrames = 0
        self.outboundDataFrames = 0
        self.why = self.name = ""

    @property
    def isExceeded(self) -> bool:
        """
        Whether the connection is to end.
        """
        options = self._options
        if not self.why:
            if self.outboundControlFrames > options.maxOutboundControlFrames:
                self.why = "too many answers wait for a peer that does not read"
                self._counters.outboundControlFlood.value += 1
                self.name = "outbound_control_flood"
            elif self.outboundFrames > options.maxOutboundFrames:
                self.why = "too many frames wait for a peer that does not read"
                self._counters.outboundFlood.value += 1
                self.name = "outbound_flood"
        return bool(self.why)

    def received(self, size: int, ends: int) -> None:
        """
        A frame of a message came, DATA, HEADERS or CONTINUATION.

        @param size: Its payload without padding.
        @param ends: Whether it ends something.
        """
        if size or ends:
            self.emptyFrames = 0
        else:
            self.emptyFrames += 1
            if self.emptyFrames > self._options.maxEmptyFrames and not self.why:
                self.why = "too many empty frames in a row"
                self._counters.inboundEmptyFramesFlood.value += 1
                self.name = "inbound_empty_frames_flood"

    def priorityReceived(self) -> None:
        """
        PRIORITY came.
        """
        self._priorityFrames += 1
        if self._priorityFrames > self._options.maxPriorityFrames * (1 + self.openedStreams) and not self.why:
            self.why = "too many PRIORITY frames"
            self._counters.inboundPriorityFramesFlood.value += 1
            self.name = "inbound_priority_frames_flood"

    def windowUpdateReceived(self) -> None:
        """
        WINDOW_UPDATE came.
        """
        self._windowUpdates += 1
        most = 5 + 2 * (self.openedStreams + self._options.maxWindowUpdates * self.outboundDataFrames)
        if self._windowUpdates > most and not self.why:
            self.why = "too many WINDOW_UPDATE frames"
            self._counters.inboundWindowUpdateFramesFlood.value += 1
            self.name = "inbound_window_update_frames_flood"

    def sent(self) -> None:
        """
        The transport holds nothing back.
        """
        self.outboundFrames = 0
        self.outboundControlFrames = 0
