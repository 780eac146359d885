"""
A client's reading of an HTTP/2 connection, with nothing in it of the codec that is tested: what tests of the whole
proxy speak HTTP/2 with, in memory and over sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hpack

from tests.codec.http2.frames import framesIn, ping, settings, windowUpdate

__all__ = ["Exchange", "Reading"]


@dataclass
class Exchange:
    """
    What came on one stream.
    """

    interim: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] | None = None
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] | None = None
    ended: bool = False
    resetCode: int | None = None

    @property
    def status(self) -> int:
        """
        The status, 0 where none came.
        """
        return int(dict(self.headers or ()).get(b":status", b"0"))

    @property
    def done(self) -> bool:
        """
        Whether nothing more is to come.
        """
        return self.ended or self.resetCode is not None

    def header(self, name: bytes) -> bytes | None:
        """
        The value of a field.
        """
        return dict(self.headers or ()).get(name)


class Reading:
    """
    Reads what a server sends.

    @ivar exchanges: By stream.
    @ivar settings: What the server announced.
    @ivar answers: What a polite client has to send: acknowledgements, and credit if C{credits} is true.
    @ivar goAways: Last stream and code of each GOAWAY.
    @ivar pongs: What came with the answers to pings.
    """

    def __init__(self, credits: bool = True) -> None:
        self.exchanges: dict[int, Exchange] = {}
        self.settings: dict[int, int] = {}
        self.answers = b""
        self.goAways: list[tuple[int, int]] = []
        self.pongs: list[bytes] = []
        self.credits = credits
        self.answersPings = True
        self.settingsAcknowledged = 0
        self._partial = b""
        self._decoder = hpack.Decoder()

    def of(self, streamId: int) -> Exchange:
        """
        What came on a stream.
        """
        return self.exchanges.setdefault(streamId, Exchange())

    def feed(self, data: bytes) -> None:
        """
        Bytes came.
        """
        data = self._partial + data
        whole = 0
        while len(data) - whole >= 9:
            stop = whole + 9 + int.from_bytes(data[whole : whole + 3], "big")
            if stop > len(data):
                break
            whole = stop
        self._partial = data[whole:]
        for kind, flags, streamId, payload in framesIn(data[:whole]):
            self._frame(kind, flags, streamId, payload)

    def _frame(self, kind: int, flags: int, streamId: int, payload: bytes) -> None:
        exchange = self.of(streamId) if streamId else Exchange()
        if kind == 0:
            exchange.body += payload
            exchange.ended = bool(flags & 1)
            if self.credits and payload:
                self.answers += windowUpdate(0, len(payload))
                if not exchange.ended:
                    self.answers += windowUpdate(streamId, len(payload))
        elif kind == 1:
            if not flags & 4:
                raise AssertionError("a head that is continued")
            fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(payload, raw=True)]
            exchange.ended = bool(flags & 1)
            if exchange.headers is not None:
                exchange.trailers = fields
            elif dict(fields).get(b":status", b"").startswith(b"1"):
                exchange.interim.append(fields)
            else:
                exchange.headers = fields
        elif kind == 3:
            exchange.resetCode = int.from_bytes(payload, "big")
        elif kind == 4 and flags & 1:
            self.settingsAcknowledged += 1
        elif kind == 4:
            for start in range(0, len(payload), 6):
                name = int.from_bytes(payload[start : start + 2], "big")
                self.settings[name] = int.from_bytes(payload[start + 2 : start + 6], "big")
            self.answers += settings(ack=True)
        elif kind == 6 and flags & 1:
            self.pongs.append(payload)
        elif kind == 6:
            if self.answersPings:
                self.answers += ping(payload, True)
        elif kind == 7:
            self.goAways.append((int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")))
